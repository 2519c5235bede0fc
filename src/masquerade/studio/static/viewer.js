// The picture: what was filmed and the result, one over the other, with a divider between them.

import { paths } from "./api.js";
import { clamp, find, findAll } from "./dom.js";
import { because, cause } from "./edits.js";
import { Latest, load, paint, wipe } from "./pictures.js";
import { changed, lastFrame, markKey, on, redMarks, state } from "./store.js";

const STEP = 2; // per cent that an arrow key moves the divider
const PATIENCE = 60; // milliseconds that what was filmed waits for the result
const SLACK = 4; // pixels that a pointer may move in a click

let share = 50; // where the divider stands, in per cent from the left
let stage;
let incomplete = false; // one of the two pictures could not be shown

/** Go to a frame; `by` is "seek", or "play", which leaves no performance mark. */
export function seek(frame, by = "seek") {
  if (!state.video) return;
  const target = clamp(Math.round(frame), 0, lastFrame());
  if (target === state.frame && state.shown?.frame === target) {
    if (by === "seek") look(target);
    return;
  }
  state.frame = target;
  if (by === "seek") because("seek to frame");
  changed("frame");
  want({ by });
}

// Of the two pictures of a frame each is asked for once; they are shown together, so that both sides of the
// divider are always the same moment. Where the result of another frame takes long, as before its people are
// known, what was filmed is shown alone, and the other side stays empty: it never shows another moment.
const pair = new Latest(async (wish, signal) => {
  const { id, frame, revision, name, since } = wish;
  const left = load(wish.left, signal);
  const right = load(wish.right, signal);
  const both = Promise.allSettled([left, right]); // at once: one that is stopped is no error
  if (frame !== state.shown?.frame) await early(wish, left, right, signal);
  const [raw, result] = await both;
  if (signal.aborted || state.video?.id !== id) return;
  const failed = [raw, result].find((one) => one.status === "rejected");
  // Without an answer the last pictures stay; the page says that the server is lost, and asks again.
  if (failed && [0, 401].includes(failed.reason.status)) return;
  if (raw.status === "fulfilled") paint(find("#raw"), raw.value);
  else wipe(find("#raw"));
  if (result.status === "fulfilled") paint(find("#result"), result.value);
  else wipe(find("#result"));
  incomplete = Boolean(failed);
  note(failed?.reason.message ?? null);
  show(wish, result.status === "fulfilled", name, since);
});

/** Show what was filmed if the result lets wait for it. */
async function early(wish, left, right, signal) {
  const { id, frame, name, since } = wish;
  const raw = await left.catch(() => null);
  const slow = new Promise((resolve) => setTimeout(resolve, PATIENCE, true));
  const late = await Promise.race([right.then(() => false, () => false), slow]);
  if (!late || !raw || signal.aborted || state.video?.id !== id) return;
  paint(find("#raw"), raw);
  wipe(find("#result"));
  state.seen = frame;
  changed("seen");
  note(state.comparison ? "Reading the result." : "Looking for what to hide in this frame.");
  if (name === "seek to frame") performance.measure(name, { start: since, end: performance.now(), detail: { frame } });
}

/** Ask for the pictures of the frame and the settings of now. */
export function want({ hurry = false, by = null } = {}) {
  const { video, frame } = state;
  if (!video || video.frames === 0) return;
  stage.dataset.waiting = "true";
  // What the user changed last is what this wish brings to light; a frame of playing is nobody's wish.
  const why = by === "play" ? { name: null, since: 0 } : { ...cause };
  pair.want({ id: video.id, frame, revision: video.revision, by, ...addresses(), ...why }, { hurry });
}

/** Which pictures lie on the two sides of the divider. */
function addresses() {
  const { video: { id, revision }, frame, heat, comparison } = state;
  if (comparison) {
    const { left, first, second } = comparison;
    return { left: left === "raw" ? paths.raw(id, frame) : paths.job(first.id, frame), right: paths.job(second.id, frame) };
  }
  return {
    left: heat ? paths.heat(id, heat, frame, revision) : paths.raw(id, frame),
    right: paths.result(id, frame, revision),
  };
}

/** What the two sides are called. */
function sides() {
  const { heat, comparison, video } = state;
  if (comparison) {
    const { left, first, second } = comparison;
    return [left === "raw" ? "As filmed" : first.compared.label, second.compared.label];
  }
  const one = heat && video?.templates.find((template) => template.id === heat);
  return [one ? `Where “${one.name}” is seen` : "As filmed", "Result"];
}

function showSides() {
  const [left, right] = sides();
  find("#side-raw").textContent = left;
  find("#side-result").textContent = right;
  find('[data-side="100"]').textContent = state.heat ? "Map" : left;
  find('[data-side="0"]').textContent = right;
  find("#divider").setAttribute("aria-label", `Divider between ${left} and ${right}`);
  moveDivider(share);
}

export const arriving = () => pair.busy;

function show(wish, complete, name, since) {
  const { frame, revision, by } = wish;
  if (frame === state.frame && revision === state.video.revision) delete stage.dataset.waiting;
  state.shown = { frame, revision };
  state.seen = frame;
  stage.dataset.frame = frame;
  stage.dataset.revision = revision;
  stage.setAttribute("aria-label", `Frame ${frame}: ${sides().join(" and ")}`);
  if (complete && name) {
    const late = performance.getEntriesByName(name).some((one) => one.startTime === since);
    performance.measure(late ? "seek to result" : name, { start: since, end: performance.now(), detail: { frame, revision } });
    if (cause.since === since) cause.name = null;
  }
  if (by === "seek" || by === "play") look(frame);
  changed("shown");
}

/** A mark counts as looked at when one of its frames was shown because somebody went there.

What is shown of a comparison, or on a map, is not what a run by these decisions would hide. */
function look(frame) {
  if (state.comparison || state.heat) return;
  const before = state.looked.size;
  for (const mark of redMarks()) if (mark.first <= frame && frame <= mark.last) state.looked.add(markKey(mark));
  if (state.looked.size !== before) changed("looked");
}

/** One sentence over the picture where one of the two cannot be shown. */
function note(text) {
  const place = find("#viewer-note");
  place.hidden = !text;
  if (place.textContent !== (text ?? "")) place.textContent = text ?? "";
}

function moveDivider(value) {
  share = clamp(value, 0, 100);
  stage.style.setProperty("--share", `${share}%`);
  const divider = find("#divider");
  divider.setAttribute("aria-valuenow", Math.round(share));
  const [left, right] = sides();
  divider.setAttribute("aria-valuetext", `${Math.round(share)} per cent ${left}, the rest ${right}`);
  for (const button of findAll("[data-side]")) {
    button.setAttribute("aria-pressed", Number(button.dataset.side) === share);
  }
  find("#side-raw").dataset.faded = share < 14;
  find("#side-result").dataset.faded = share > 86;
}

/** Where a pointer is, in pixels of the video. */
export function place(event) {
  const box = stage.getBoundingClientRect();
  const { width, height } = state.video;
  return {
    x: clamp(((event.clientX - box.left) / box.width) * width, 0, width),
    y: clamp(((event.clientY - box.top) / box.height) * height, 0, height),
  };
}

function dragDivider(event) {
  const box = stage.getBoundingClientRect();
  moveDivider(((event.clientX - box.left) / box.width) * 100);
}

function setUpPointer() {
  let start = null;
  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || state.mode?.kind === "draw" || state.mode?.kind === "point") return;
    start = { x: event.clientX, id: event.pointerId, moving: Boolean(event.target.closest("#divider")) };
  });
  stage.addEventListener("pointermove", (event) => {
    if (!start || event.pointerId !== start.id) return;
    if (!start.moving && Math.abs(event.clientX - start.x) > SLACK) start.moving = true;
    if (!start.moving) return;
    if (!stage.hasPointerCapture(start.id)) stage.setPointerCapture(start.id);
    dragDivider(event);
  });
  // After a drag the arrow keys still belong to the frames: only the Tab key leads to the divider.
  find("#divider").addEventListener("mousedown", (event) => {
    event.preventDefault();
    stage.focus({ preventScroll: true });
  });
  const end = () => (start = null);
  stage.addEventListener("pointerup", end);
  stage.addEventListener("pointercancel", end);
  // A pointer that leaves before it is captured would else go on dragging when it comes back.
  stage.addEventListener("pointerleave", () => start && !start.moving && end());
}

function setUpKeys() {
  find("#divider").addEventListener("keydown", (event) => {
    const step = event.shiftKey ? STEP * 5 : STEP;
    const moves = { ArrowLeft: share - step, ArrowDown: share - step, ArrowRight: share + step, ArrowUp: share + step };
    const target = { ...moves, Home: 0, End: 100, PageUp: share + 10, PageDown: share - 10 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    event.stopPropagation(); // these keys would else change the frame
    moveDivider(target);
  });
}

function fit() {
  const { video } = state;
  if (!video) return;
  if (video.width && video.height) stage.style.setProperty("--aspect", video.width / video.height);
  const empty = find("#viewer-empty");
  empty.hidden = video.frames > 0;
  empty.textContent = video.state === "failed" ? "There is no picture to show." : "The first frame is on its way.";
}

/** Forget what was shown, for another video. */
export function clear() {
  pair.cancel();
  state.shown = state.seen = null;
  for (const id of ["#raw", "#result"]) wipe(find(id));
  note(null);
  for (const name of ["frame", "revision", "waiting"]) delete stage.dataset[name];
}

export function setUp() {
  stage = find("#viewer");
  moveDivider(share);
  setUpPointer();
  setUpKeys();
  for (const button of findAll("[data-side]")) {
    button.addEventListener("click", () => moveDivider(Number(button.dataset.side)));
  }
  on("video", () => {
    fit();
    find("#frame").max = lastFrame();
  });
  // Only what the user changed himself stops a request: a search that goes on would else starve the picture.
  on("revision heat", () => want({ hurry: cause.name === "setting to frame" }));
  on("comparison", () => want({ hurry: true }));
  on("video heat comparison", showSides);
  on("scan", () => incomplete && want());
  on("frames", () => {
    fit();
    if (!state.shown || incomplete) want();
    if (state.frame > lastFrame()) seek(lastFrame());
  });
}

