// Two settings on this frame, beside each other, and both on the whole video.

import { paths } from "./api.js";
import { run, use } from "./comparison.js";
import { find, findAll, make, sentence } from "./dom.js";
import { check } from "./jobs.js";
import { Latest, load, paint, wipe } from "./pictures.js";
import { on, state } from "./store.js";

const FIRST = ["now", "method:blur"]; // what is compared until something else is chosen

function build() {
  const { levels, methods } = state.about;
  const group = (label, kind, names) => make("optgroup", { label }, names.map((name) => make("option", { value: `${kind}:${name}` }, name)));
  findAll("[data-compare]").forEach((select, place) => {
    select.replaceChildren(
      make("option", { value: "now" }, "As it is set now"),
      group("Levels", "level", levels.map((one) => one.name)),
      group("Methods", "method", methods.map((one) => one.name)),
    );
    select.value = FIRST[place];
  });
}

const sides = () => findAll(".compare-side");

/** {level} or {method} of the API; {} for what is set now. */
function setting(side) {
  const [kind, name] = find("select", side).value.split(":");
  return name ? { [kind]: name } : {};
}

function address({ id, frame, revision }, { level, method }) {
  if (level) return paths.level(id, level, frame, revision);
  return method ? paths.method(id, method, frame, revision) : paths.result(id, frame, revision);
}

function words({ level, method }) {
  const { about, video } = state;
  if (level) return about.levels.find((one) => one.name === level)?.hides;
  return about.methods.find((one) => one.name === (method ?? video.settings.method))?.hides;
}

const pictures = new Latest(async ({ id, frame, revision }, signal) => {
  for (const side of sides()) {
    const wanted = setting(side);
    const path = address({ id, frame, revision }, wanted);
    if (side.dataset.key === path) continue;
    const text = find(".compare-text", side);
    try {
      const decoded = await load(path, signal);
      paint(find("canvas", side), decoded);
      const name = find("select", side).selectedOptions[0].textContent;
      find("canvas", side).setAttribute("aria-label", `Frame ${frame}: ${name}`);
      side.dataset.key = path;
      text.textContent = sentence(`Hides ${words(wanted) ?? ""}.`);
    } catch (error) {
      if (signal.aborted) throw error;
      text.textContent = error.message;
    }
  }
}, () => {});

function follow(hurry = true) {
  showButtons();
  if (!find("#compare").open || !state.video || !state.shown || state.playing) return;
  pictures.want({ id: state.video.id, frame: state.frame, revision: state.video.revision }, { hurry });
}

function showButtons() {
  const chosen = sides().map((side) => find("select", side).value);
  for (const side of sides()) find("button", side).disabled = find("select", side).value === "now";
  find("#compare-run").disabled = chosen[0] === chosen[1];
}

/** Pictures of another video must not stand there as if they were of this one. */
function forget() {
  pictures.cancel();
  for (const side of sides()) {
    delete side.dataset.key;
    wipe(find("canvas", side));
    find(".compare-text", side).textContent = "";
  }
}

export function setUp() {
  find("#compare").addEventListener("toggle", () => {
    if (find("#compare").open) find("#compare").scrollIntoView({ block: "nearest" });
    follow();
  });
  for (const side of sides()) {
    find("select", side).addEventListener("change", () => follow());
    find("button", side).addEventListener("click", () => use(setting(side)));
  }
  find("#compare-run").addEventListener("click", () => check((seen) => run(...sides().map(setting), {}, seen)));
  on("about", build);
  on("shown playing", () => follow());
  on("left", forget);
}
