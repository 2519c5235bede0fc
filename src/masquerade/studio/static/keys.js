// The keys of the whole page. What is typed into a field, and what a button does by itself, is left alone.

import * as comparison from "./comparison.js";
import * as camera from "./camera.js";
import { find } from "./dom.js";
import { redo, undo } from "./history.js";
import * as modes from "./modes.js";
import * as outlines from "./outlines.js";
import { step, stepMark, togglePlay } from "./playback.js";
import { changed, state } from "./store.js";

const MEMORY = "masquerade-letters"; // whether single letters are keys

const typing = (target) => target.closest("input:not([type=checkbox]), select, textarea") !== null;

const pressing = (target) => target.closest("button, a, summary, input") !== null;

function letter(key) {
  const actions = {
    n: () => stepMark(1),
    p: () => stepMark(-1),
    d: () => modes.toggle("draw"),
    t: () => modes.toggle("point"),
    o: () => outlines.toggle(),
    "?": () => find("#help").showModal(),
  };
  return actions[key.toLowerCase()];
}

function onKey(event) {
  if (document.querySelector("dialog[open]") || event.isComposing) return;
  const { target, key } = event;
  const control = event.ctrlKey || event.metaKey;
  const working = document.body.dataset.view === "work";
  if (control && !event.altKey && key.toLowerCase() === "z" && working && !typing(target)) {
    event.preventDefault();
    if (event.shiftKey) redo();
    else undo();
    return;
  }
  if (control || event.altKey) return;
  if (key === "Escape") return escape();
  if (typing(target) || !state.video || !working) return;
  if (modes.takeKey(event)) return event.preventDefault();
  const action = pageAction(event);
  if (!action) return;
  event.preventDefault();
  action();
}

/** Leave the camera or a mode; without one, let go of the chosen person. */
function escape() {
  if (camera.isOpen()) return camera.close();
  if (state.mode) return modes.leave();
  if (state.comparison) return comparison.close();
  if (state.selected === null) return;
  state.selected = null;
  changed("selected");
}

function pageAction({ key, shiftKey, target, repeat }) {
  const far = shiftKey ? 10 : 1;
  if (key === "ArrowLeft") return () => step(-far);
  if (key === "ArrowRight") return () => step(far);
  if (key === " ") return pressing(target) || repeat ? null : togglePlay;
  return find("#letters").checked && !repeat ? letter(key) : null;
}

export function setUp() {
  document.addEventListener("keydown", onKey);
  const letters = find("#letters");
  letters.checked = localStorage.getItem(MEMORY) !== "off";
  letters.addEventListener("change", () => localStorage.setItem(MEMORY, letters.checked ? "on" : "off"));
  find("#help-button").addEventListener("click", () => find("#help").showModal());
  // After a click with a pointer the keys belong to the picture again, so that Space plays.
  for (const row of document.querySelectorAll("[data-returns-focus]")) {
    row.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button && event.detail > 0 && !state.mode) find("#viewer").focus({ preventScroll: true });
    });
  }
}
