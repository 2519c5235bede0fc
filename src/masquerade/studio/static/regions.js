// What the user added: regions drawn by hand, and parts that were pointed at.

import { find, icon, make, redraw, span } from "./dom.js";
import { erase, erasePoint, turnPoint } from "./edits.js";
import { enter } from "./modes.js";
import { ask, tell } from "./notice.js";
import { stop } from "./playback.js";
import { changed, on, regionName, state } from "./store.js";
import { seek } from "./viewer.js";

const button = (text, names, run, iconName) =>
  make("button", { type: "button", class: "quiet small", ...names, onclick: run }, iconName && icon(iconName), text);

function showDrawn() {
  if (!state.video) return;
  const { drawn } = state.video;
  find("#drawn-empty").hidden = drawn.length > 0;
  redraw(find("#drawn-list"), [state.video.id, drawn], () => drawn.map(drawnEntry));
}

function drawnEntry(region) {
  const name = regionName(region);
  const go = () => {
    stop();
    seek(region.keys?.[0] ?? region.first);
  };
  return make(
    "li",
    { class: "entry", "data-drawn": region.id },
    make("div", { class: "entry-head" },
      make("b", {}, name),
      make("span", { class: "muted" }, span(region.first, region.last)),
    ),
    region.lost.length > 0 && make("p", { class: "entry-note" }, icon("warning"), region.lost.join(" ")),
    make("div", { class: "entry-row" },
      button("Show", { "data-show": region.id, "aria-label": `Show ${name}` }, go, "jump"),
      button("Correct here", { "data-correct": region.id, "aria-label": `Correct ${name} in this frame` },
        () => enter({ kind: "draw", region }), "draw"),
      button("Delete", { "data-erase": region.id, "aria-label": `Delete ${name}` },
        async () => (await erase(region.id)) && tell(`${name} was deleted.`), "delete"),
    ),
  );
}

function showPoints() {
  if (!state.video) return;
  const { templates } = state.video;
  if (state.heat && !templates.some((one) => one.id === state.heat)) {
    state.heat = null;
    changed("heat");
    return;
  }
  find("#points-empty").hidden = templates.length > 0;
  redraw(find("#points-list"), [state.video.id, templates, state.heat], () => templates.map(pointEntry));
  const heat = templates.find((one) => one.id === state.heat);
  find("#heat-bar").hidden = !heat;
  if (heat) find("#heat-text").textContent = `On the left: what looks like “${heat.name}”. Bright is hidden.`;
}

function pointEntry(one) {
  const id = `point-${one.id}`;
  const shown = state.heat === one.id;
  const box = make("input", {
    type: "checkbox", id, class: "switch", role: "switch", checked: one.on, "data-template": one.id,
    onchange: (event) => turnPoint(one.id, event.target.checked),
  });
  const origin = one.keys === null ? "not in your collection any more" : one.keys === "colour-hog" ? "by colour and shape" : `by ${one.keys}`;
  return make(
    "li",
    { class: "entry", "data-point": one.id },
    make("div", { class: "entry-head" },
      make("label", { for: id, class: "entry-switch" }, box, make("b", {}, one.name || "Without a name")),
      make("span", { class: "muted" }, origin),
    ),
    make("div", { class: "entry-row" },
      button(shown ? "Close the map" : "Show where", { "data-heat": one.id, "aria-pressed": shown, "aria-label": `${shown ? "Close the map of" : "Show where is"} ${one.name}` },
        () => showHeat(shown ? null : one.id), "heat"),
      button("Delete", { "data-erase-point": one.id, "aria-label": `Delete ${one.name}` },
        () => dropPoint(one), "delete"),
    ),
  );
}

async function dropPoint({ id, name }) {
  if (!(await ask(`Delete “${name}” from your collection, for all videos? Undo does not bring it back.`, "Delete"))) return;
  if (state.heat === id) showHeat(null); // a map that is still being drawn would fail
  if (await erasePoint(id)) tell(`“${name}” was deleted.`);
}

const WORDS = {
  "colour-hog": "Colour and shape: the same thing in this video",
};

/** A sentence whose flags and commands are not broken at a hyphen. */
const withCode = (text) =>
  text.split(/(`[^`]+`|--\S+ [\w-]+)/).map((part, place) => (place % 2 ? make("code", {}, part.replaceAll("`", "")) : part));

/** By which kind of keys the next part is compared; one whose weights are not here cannot be chosen. */
function buildKeys() {
  const { first, kinds } = state.about.keys;
  const select = find("#keys");
  const word = (kind) => WORDS[kind.name] ?? `${kind.name}: the same kind of thing, on others too`;
  const order = [...kinds].sort((a, b) => (b.name in WORDS) - (a.name in WORDS));
  select.replaceChildren(...order.map((kind) => make("option", { value: kind.name, disabled: kind.missing !== null }, word(kind) + (kind.missing ? " (weights missing)" : ""))));
  const kept = sessionStorage.getItem("keys");
  const usable = kinds.filter((kind) => kind.missing === null).map((kind) => kind.name);
  state.keys = select.value = usable.includes(kept) ? kept : first;
  const missing = kinds.filter((kind) => kind.missing !== null);
  find("#keys-missing").hidden = missing.length === 0;
  find("#keys-missing-list").replaceChildren(...missing.map((kind) => make("li", {}, withCode(kind.missing))));
}

function showHeat(id) {
  if (state.comparison) {
    state.comparison = null;
    changed("comparison");
  }
  state.heat = id;
  changed("heat");
}

export function setUp() {
  find("#keys").addEventListener("change", (event) => {
    state.keys = event.target.value;
    sessionStorage.setItem("keys", state.keys);
  });
  on("about", buildKeys);
  find("#heat-close").addEventListener("click", () => showHeat(null));
  on("video", showDrawn);
  on("video heat", showPoints);
}
