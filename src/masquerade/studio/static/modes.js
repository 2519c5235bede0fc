// Modes of the picture: drawing a region of one's own, pointing at a part, choosing a second person to join.

import { clamp, find, findAll, span } from "./dom.js";
import { correct, draw, point } from "./edits.js";
import { tell } from "./notice.js";
import { stop } from "./playback.js";
import { changed, on, regionName, state, trackName } from "./store.js";
import { place } from "./viewer.js";

const SMALLEST = 4; // pixels: less than this is a click, no rectangle

let stage;
let sketch; // the rectangle or cross that is being placed
let from = null; // where a drag began
let box = null; // [x0, y0, x1, y1] in pixels of the video
let spot = null; // {x, y}, while the keys move a cross
let lastTurned = null; // the button to which the focus goes back

const HINTS = {
  draw: "Drag a rectangle over what was missed. With the keys: Enter, then arrows to move, Shift and arrows to size, Enter.",
  point: "Click a part of the picture. What looks like it will be hidden too. With the keys: Enter, arrows, Enter.",
};

export function enter(mode) {
  if (!state.video) return;
  stop();
  if (state.comparison) {
    state.comparison = null; // one draws over what was filmed and the present result
    changed("comparison");
  }
  lastTurned = document.activeElement;
  state.mode = mode;
  reset();
  changed("mode");
  if (mode.kind !== "join") stage.focus({ preventScroll: false });
  tell(hint(), { seen: false });
}

export function leave() {
  if (!state.mode) return;
  state.mode = null;
  reset();
  changed("mode");
  if (lastTurned?.isConnected && lastTurned !== document.body) lastTurned.focus({ preventScroll: true });
}

export const toggle = (kind) => (state.mode?.kind === kind ? leave() : enter({ kind }));

function reset() {
  from = box = spot = null;
  showSketch();
}

function hint() {
  const { mode } = state;
  if (mode.kind === "join") return `Choose the second one to join with ${trackName(mode.track)}.`;
  if (mode.region) return `Draw where ${regionName(mode.region).toLowerCase()} is in the frame that you see.`;
  return HINTS[mode.kind];
}

function showSketch() {
  const { video } = state;
  sketch.hidden = !box && !spot;
  if (sketch.hidden) return;
  const [x0, y0, x1, y1] = box ?? [spot.x, spot.y, spot.x, spot.y];
  sketch.dataset.kind = box ? "box" : "cross";
  sketch.style.left = `${(x0 / video.width) * 100}%`;
  sketch.style.top = `${(y0 / video.height) * 100}%`;
  sketch.style.width = `${((x1 - x0) / video.width) * 100}%`;
  sketch.style.height = `${((y1 - y0) / video.height) * 100}%`;
}

// Where the picture of the frame that is asked for is late, one draws over that of another frame.
const seenFrame = () => state.seen ?? state.frame;

async function finishBox() {
  const [x0, y0, x1, y1] = box.map(Math.round);
  if (x1 - x0 < SMALLEST || y1 - y0 < SMALLEST) {
    reset();
    tell("That is too small. Drag a rectangle.");
    return;
  }
  const { mode, video } = state;
  const frame = seenFrame();
  const known = new Set(video.drawn.map((region) => String(region.id)));
  stage.dataset.working = "true";
  find("#mode-text").textContent = "Following your own region through the video …";
  const answer = mode.region
    ? await correct(mode.region.id, frame, [x0, y0, x1, y1])
    : await draw(frame, [x0, y0, x1, y1]);
  delete stage.dataset.working;
  if (!answer || state.video?.id !== video.id) { // it is another video's region where another one is shown by now
    if (state.mode === mode) showMode();
    return;
  }
  const region = answer.drawn.find((one) => (mode.region ? one.id === mode.region.id : !known.has(String(one.id))));
  if (state.mode === mode) leave();
  if (!region) return;
  const where = `${regionName(region)} is hidden in ${span(region.first, region.last)}.`;
  tell([where, ...region.lost].join(" "));
}

async function finishSpot() {
  const { id } = state.video;
  const frame = seenFrame();
  const at = { x: Math.round(spot.x), y: Math.round(spot.y) };
  const name = await askName();
  if (name === null || state.video?.id !== id) { // the point is in no picture of another video
    reset();
    return;
  }
  const known = new Set(state.video.templates.filter((one) => one.on).map((one) => one.id));
  const answer = await point({ frame, ...at, keys: state.keys, ...(name ? { name } : {}) });
  if (!answer || state.video?.id !== id) return;
  leave();
  const made = answer.templates.find((one) => one.on && !known.has(one.id));
  if (made) {
    state.heat = made.id;
    changed("heat");
    tell(`What looks like “${made.name}” is hidden too. The map on the left shows where it is seen.`);
  }
}

/** The name of a point, "" for none, or null where the user changed his mind. */
function askName() {
  const dialog = find("#name-dialog");
  const input = find("#name-input");
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "add" ? input.value.trim() : null), {
      once: true,
    });
  });
}

const placing = () => state.video && (state.mode?.kind === "draw" || state.mode?.kind === "point") && !stage.dataset.working;

function setUpPointer() {
  stage.addEventListener("pointerdown", (event) => {
    if (!placing() || event.button !== 0) return;
    event.preventDefault();
    stage.setPointerCapture(event.pointerId);
    from = place(event);
    if (state.mode.kind === "point") spot = from;
    else box = [from.x, from.y, from.x, from.y];
    showSketch();
  });
  stage.addEventListener("pointermove", (event) => {
    if (!from || !placing()) return;
    const to = place(event);
    if (state.mode.kind === "point") spot = to;
    else box = [Math.min(from.x, to.x), Math.min(from.y, to.y), Math.max(from.x, to.x), Math.max(from.y, to.y)];
    showSketch();
  });
  stage.addEventListener("pointerup", () => {
    if (!from || !placing()) return;
    from = null;
    if (state.mode.kind === "point") finishSpot();
    else finishBox();
  });
  stage.addEventListener("pointercancel", reset);
}

/** Place and move the sketch with the keys; true where the key was taken. */
export function takeKey(event) {
  if (!placing()) return false;
  const { video, mode } = state;
  if (event.key === "Enter" && (document.activeElement === stage || document.activeElement === document.body)) {
    if (box) finishBox();
    else if (spot) finishSpot();
    else if (mode.kind === "point") spot = { x: video.width / 2, y: video.height / 2 };
    else box = [0.4 * video.width, 0.35 * video.height, 0.6 * video.width, 0.65 * video.height];
    showSketch();
    return true;
  }
  if (from || (!box && !spot)) return false;
  const unit = Math.max(1, Math.round(Math.max(video.width, video.height) / 100));
  const moves = { ArrowLeft: [-unit, 0], ArrowRight: [unit, 0], ArrowUp: [0, -unit], ArrowDown: [0, unit] };
  const move = moves[event.key];
  if (!move) return false;
  if (spot) spot = { x: clamp(spot.x + move[0], 0, video.width - 1), y: clamp(spot.y + move[1], 0, video.height - 1) };
  else if (event.shiftKey) {
    box[2] = clamp(box[2] + move[0], box[0] + SMALLEST, video.width);
    box[3] = clamp(box[3] + move[1], box[1] + SMALLEST, video.height);
  } else {
    const x = clamp(move[0], -box[0], video.width - box[2]);
    const y = clamp(move[1], -box[1], video.height - box[3]);
    box = [box[0] + x, box[1] + y, box[2] + x, box[3] + y];
  }
  showSketch();
  return true;
}

function showMode() {
  const { mode } = state;
  find("#mode-bar").hidden = !mode;
  if (mode) find("#mode-text").textContent = hint();
  stage.dataset.mode = mode?.kind ?? "";
  for (const button of findAll("[data-mode-button]")) {
    button.setAttribute("aria-pressed", mode?.kind === button.dataset.modeButton);
  }
}

export function setUp() {
  stage = find("#viewer");
  sketch = find("#sketch");
  setUpPointer();
  for (const button of findAll("[data-mode-button]")) {
    button.addEventListener("click", () => toggle(button.dataset.modeButton));
  }
  find("#mode-leave").addEventListener("click", leave);
  find("#name-cancel").addEventListener("click", () => find("#name-dialog").close());
  on("mode", showMode);
  // A rectangle belongs to the frame in which it was begun.
  on("frame", () => {
    if (!from && (box || spot) && !stage.dataset.working && !find("#name-dialog").open) reset();
    if (state.mode?.region) showMode();
  });
}
