// Two methods on this frame, beside each other.

import { paths } from "./api.js";
import { find, findAll, make } from "./dom.js";
import { set } from "./edits.js";
import { Latest, load, paint } from "./pictures.js";
import { on, state } from "./store.js";

const FIRST = ["blur", "blacken"]; // what is compared until something else is chosen

function build() {
  const names = state.about.methods.map((one) => one.name);
  findAll("[data-compare]").forEach((select, place) => {
    select.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
    select.value = names.includes(FIRST[place]) ? FIRST[place] : (names[place] ?? "");
  });
}

const sides = () => findAll(".compare-side");

const pictures = new Latest(async ({ id, frame, revision }, signal) => {
  for (const side of sides()) {
    const name = find("select", side).value;
    const key = `${id} ${frame} ${revision} ${name}`;
    if (side.dataset.key === key || !name) continue;
    const text = find(".compare-text", side);
    try {
      const decoded = await load(paths.method(id, name, frame, revision), signal);
      paint(find("canvas", side), decoded);
      find("canvas", side).setAttribute("aria-label", `Frame ${frame} by ${name}`);
      side.dataset.key = key;
      text.textContent = `Hides ${state.about.methods.find((one) => one.name === name)?.hides ?? ""}.`;
    } catch (error) {
      if (signal.aborted) throw error;
      text.textContent = error.message;
    }
  }
}, () => {});

function follow(hurry = true) {
  if (!find("#compare").open || !state.video || !state.shown || state.playing) return;
  pictures.want({ id: state.video.id, frame: state.frame, revision: state.video.revision }, { hurry });
}

export function setUp() {
  find("#compare").addEventListener("toggle", () => {
    if (find("#compare").open) find("#compare").scrollIntoView({ block: "nearest" });
    follow();
  });
  for (const side of sides()) {
    find("select", side).addEventListener("change", () => follow());
    find("button", side).addEventListener("click", () => set({ method: find("select", side).value, arguments: {} }));
  }
  on("about", build);
  on("shown playing", () => follow());
}
