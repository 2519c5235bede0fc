// The three cards: this very frame with the face, the person, or the person and the place hidden.

import { paths } from "./api.js";
import { find, findAll, icon, make, sentence } from "./dom.js";
import { set } from "./edits.js";
import { Latest, load, paint, wipe } from "./pictures.js";
import { on, state } from "./store.js";

const REST = 220; // ms without a change of frame, after which the cards follow

let timer = 0;

const TITLES = { face: "Face", person: "Person", figure: "Figure" };

function build() {
  const cards = state.about.levels.map((level) => {
    const title = make("span", { class: "card-title" }, TITLES[level.name] ?? sentence(level.name), icon("check"));
    return make(
      "button",
      { type: "button", class: "card", "data-level": level.name, "aria-pressed": "false", onclick: () => set({ level: level.name }) },
      make("span", { class: "card-picture" }, make("canvas", { width: 320, height: 180, "aria-hidden": "true" })),
      make("span", { class: "card-words" }, title, make("span", { class: "card-hides" }, `Hides ${level.hides}.`)),
      make("span", { class: "card-measured" }, make("b", {}, "Measured: "), `${level.measured}.`),
    );
  });
  find("#cards").replaceChildren(...cards);
}

/** Pictures of another video must not stand there as if they were of this one. */
function forget() {
  const id = state.video?.id;
  for (const card of findAll("[data-level]")) {
    if (!card.dataset.key || card.dataset.key.startsWith(`${id} `)) continue;
    delete card.dataset.key;
    wipe(find("canvas", card));
  }
}

function showChoice() {
  forget();
  const level = state.video?.settings.level ?? null;
  for (const card of findAll("[data-level]")) card.setAttribute("aria-pressed", card.dataset.level === level);
  find("#level-none").hidden = !state.video || level !== null;
}

// One card after another: the picture that the user works with must not wait for three others.
const pictures = new Latest(async ({ id, frame, revision }, signal) => {
  const cards = findAll("[data-level]");
  // The chosen one first.
  cards.sort((a, b) => (b.getAttribute("aria-pressed") === "true") - (a.getAttribute("aria-pressed") === "true"));
  for (const card of cards) {
    const key = `${id} ${frame} ${revision}`;
    if (card.dataset.key === key) continue;
    try {
      const decoded = await load(paths.level(id, card.dataset.level, frame, revision), signal);
      if (state.video?.id !== id) return;
      paint(find("canvas", card), decoded);
      card.dataset.key = key;
      delete card.dataset.missing;
    } catch (error) {
      if (signal.aborted) throw error;
      card.dataset.missing = "true"; // an old picture is better than none, but is said to be old
    }
  }
}, () => {});

function follow() {
  clearTimeout(timer);
  if (!state.video || !state.shown || state.playing) return;
  timer = setTimeout(() => {
    if (!state.video || document.hidden) return;
    pictures.want({ id: state.video.id, frame: state.frame, revision: state.video.revision }, { hurry: true });
  }, REST);
}

export function setUp() {
  on("about", build);
  on("video", showChoice);
  on("shown playing", follow);
  // The picture in the middle goes first: what the cards ask for is stopped.
  on("frame revision left", () => {
    clearTimeout(timer);
    pictures.cancel();
  });
  document.addEventListener("visibilitychange", follow);
}
