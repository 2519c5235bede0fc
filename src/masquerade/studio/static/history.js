// Undo and redo, who decided what and when, and the file of all edits.

import { find, make, redraw } from "./dom.js";
import * as edits from "./edits.js";
import { tell } from "./notice.js";
import { changed, on, state } from "./store.js";

export async function undo() {
  const what = state.video?.undo;
  if (what && (await edits.undo())) tell(`Taken back: ${what}`);
}

export async function redo() {
  const what = state.video?.redo;
  if (what && (await edits.redo())) tell(`Done again: ${what}`);
}

function showButtons() {
  for (const [id, word] of [["undo", "Undo"], ["redo", "Redo"]]) {
    const what = state.video?.[id] ?? null;
    const button = find(`#${id}`);
    button.disabled = !what;
    button.setAttribute("aria-label", what ? `${word}: ${what}` : word);
    button.title = what ? `${word}: ${what}` : `Nothing to ${word.toLowerCase()}`;
    find(".step-what", button).textContent = what ?? "";
  }
}

const time = (at) => {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return at;
  return date.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
};

function showLog() {
  if (!state.video) return;
  const log = [...state.video.log].reverse(); // the newest first
  find("#log-empty").hidden = log.length > 0;
  redraw(find("#log"), log, () =>
    log.map((one) =>
      make("li", {},
        make("span", {}, one.what),
        make("span", { class: "muted" }, one.by ? `${one.by}, ` : "", make("time", { datetime: one.at }, time(one.at))),
      ),
    ),
  );
  find("#export").href = `/api/videos/${state.video.id}/edits.json`;
  find("#export").download = `${state.video.name.replace(/\.[^.]*$/, "")}.edits.json`;
}

/** What holds runs or changes back, until somebody decides: it is over all else. */
function showHeld() {
  const { held_back: held, changed_elsewhere: elsewhere } = state.video ?? {};
  find("#held").hidden = !held;
  find("#held-file").textContent = held ? `${held.file}: ${held.reason}` : "";
  find("#elsewhere").hidden = !elsewhere;
  find("#run").disabled = Boolean(held || elsewhere);
  find("#run").title = held || elsewhere ? "First answer the question at the top of the page." : "";
}

export function setUp() {
  find("#held-go").addEventListener("click", async () => (await edits.acknowledge()) && tell("Runs may begin. What could not be used stays in the studio's folder."));
  find("#elsewhere-take").addEventListener("click", async () => {
    if (!(await edits.reload())) return;
    changed("settings");
    tell("What was decided elsewhere was taken over. Undo brings yours back.");
  });
  on("video", showHeld);
  find("#undo").addEventListener("click", undo);
  find("#redo").addEventListener("click", redo);
  find("#import-button").addEventListener("click", () => find("#import").click());
  find("#import").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (!file) return;
    const id = state.video?.id;
    const text = await file.text();
    if (state.video?.id !== id) return; // they are for the video that was shown
    if (await edits.takeEdits(text)) {
      changed("settings");
      tell(`The edits of ${file.name} were taken over.`);
    }
  });
  on("video", showButtons);
  on("video", showLog);
}
