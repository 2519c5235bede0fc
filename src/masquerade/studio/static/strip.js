// The strip under the picture: the whole video at once, drawn on a canvas, and a slider for keys and readers.

import { clamp, clock, find, make, span } from "./dom.js";
import { tell } from "./notice.js";
import { stop } from "./playback.js";
import { frameCount, lastFrame, markKey, marksKnown, on, openMarks, RED, redMarks, state } from "./store.js";
import { seek } from "./viewer.js";

const MARKS = 22; // height of the lane of marks, in CSS pixels
const SPANS = 14; // height of the lane of the user's own regions and of the chosen person
const APART = 13; // marks whose shapes would overlap get one shape
const LISTED = 300; // marks with a button of their own

let canvas;
let colours = {};
let asked = false;
let spoken = 0; // the frame of which was told last, or will be

/** Colours follow the theme of the page. */
function readColours() {
  const style = getComputedStyle(canvas);
  for (const name of ["accent", "alert", "line", "text", "muted", "surface", "found", "unread"]) {
    colours[name] = style.getPropertyValue(`--${name}`).trim();
  }
}

/** Draw at the next moment in which the browser draws anyway; any number of wishes is one drawing. */
export function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(() => {
    asked = false;
    draw();
  });
}

function draw() {
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (!width || !state.video) return;
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
  if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const total = Math.max(1, frameCount());
  const at = (frame) => (frame / total) * width;
  const floor = height - SPANS;
  drawUnread(context, at, floor, width);
  drawFound(context, total, width, floor);
  context.fillStyle = colours.line;
  context.fillRect(0, floor, width, 1);
  drawMarks(context, at, floor);
  drawSpans(context, at, floor);
  drawHead(context, at, height);
}

/** What nobody has searched yet is hatched: an empty place there says nothing. */
function drawUnread(context, at, floor, width) {
  const { strip } = state;
  const from = at(strip?.done ?? 0);
  if (from >= width - 1) return;
  context.save();
  context.beginPath();
  context.rect(from, MARKS, width - from, floor - MARKS);
  context.clip();
  context.strokeStyle = colours.unread;
  context.lineWidth = 1;
  context.beginPath();
  for (let x = from - floor; x < width; x += 9) {
    context.moveTo(x, floor);
    context.lineTo(x + floor - MARKS, MARKS);
  }
  context.stroke();
  context.restore();
}

/** How much was found: the share of the picture, by its root, so that small people are seen too. */
function drawFound(context, total, width, floor) {
  const { strip } = state;
  if (!strip) return;
  const { share, found } = strip;
  const done = Math.min(strip.done, found.length);
  const most = share.reduce((a, b) => Math.max(a, b), 0);
  const people = found.reduce((a, b) => Math.max(a, b), 1);
  const high = floor - MARKS - 6;
  const value = (n) => {
    if (!found[n] && !share[n]) return 0;
    return most > 0 ? Math.sqrt(share[n] / most) : found[n] / people;
  };
  context.fillStyle = colours.found;
  context.beginPath();
  // Of several frames in a pixel the least counts: a single empty frame must not vanish.
  for (let x = 0; x < width; x += 1) {
    const first = Math.floor((x / width) * total);
    const last = Math.min(Math.max(first + 1, Math.floor(((x + 1) / width) * total)), done);
    let least = Infinity;
    for (let n = first; n < last; n += 1) least = Math.min(least, value(n));
    if (least === Infinity || least === 0) continue;
    const tall = Math.max(2, least * high);
    context.rect(x, floor - tall, 1, tall);
  }
  context.fill();
}

const SHAPES = {
  nothing(context, x, y) {
    context.moveTo(x - 5.5, y - 5);
    context.lineTo(x + 5.5, y - 5);
    context.lineTo(x, y + 5);
    context.closePath();
  },
  gap(context, x, y) {
    context.moveTo(x, y - 6);
    context.lineTo(x + 6, y);
    context.lineTo(x, y + 6);
    context.lineTo(x - 6, y);
    context.closePath();
  },
  unsure(context, x, y) {
    context.arc(x, y, 5, 0, Math.PI * 2);
  },
};

function drawMarks(context, at, floor) {
  let last = -Infinity;
  for (const mark of state.strip?.marks ?? []) {
    const left = at(mark.first);
    const wide = Math.max(2, at(mark.last + 1) - left);
    if (!RED.includes(mark.kind)) {
      context.fillStyle = colours.muted;
      for (let y = MARKS; y < floor; y += 6) context.fillRect(Math.round(left), y, 1, 3);
      continue;
    }
    const looked = state.looked.has(markKey(mark));
    context.fillStyle = colours.alert;
    context.globalAlpha = looked ? 0.07 : 0.16;
    context.fillRect(left, MARKS, wide, floor - MARKS);
    context.globalAlpha = looked ? 0.5 : 1;
    context.fillRect(left, MARKS - 3, wide, 3);
    context.globalAlpha = 1;
    const middle = clamp(left + wide / 2, 7, canvas.clientWidth - 7);
    if (middle - last < APART) continue;
    last = middle;
    context.beginPath();
    SHAPES[mark.kind](context, middle, 9);
    context.lineWidth = 1.6;
    context.strokeStyle = colours.alert;
    // A filled shape waits for a look, an empty one had it.
    if (!looked) context.fill();
    context.stroke();
  }
}

function drawSpans(context, at, floor) {
  const bar = (first, last, y, tall) => {
    context.beginPath();
    context.roundRect(at(first), y, Math.max(3, at(last + 1) - at(first)), tall, tall / 2);
    context.fill();
  };
  context.fillStyle = colours.text;
  const chosen = state.tracks.tracks.find((track) => track.id === state.selected && track.label !== "drawn");
  for (const [first, last] of chosen?.spans ?? []) bar(first, last, floor + 3, 3);
  context.fillStyle = colours.accent;
  for (const region of state.video.drawn) {
    bar(region.first, region.last, floor + 8, 4);
    for (const key of region.keys ?? []) {
      context.beginPath();
      context.arc(at(key + 0.5), floor + 10, 3.5, 0, Math.PI * 2);
      context.fill();
    }
  }
}

function drawHead(context, at, height) {
  const x = Math.round(at(state.frame + 0.5));
  context.fillStyle = colours.surface;
  context.fillRect(x - 2, 0, 5, height);
  context.fillStyle = colours.text;
  context.fillRect(x - 1, 0, 2, height);
  context.beginPath();
  context.roundRect(x - 5, 0, 10, 7, 2);
  context.fill();
}

function frameAt(event) {
  const box = canvas.getBoundingClientRect();
  return Math.floor(clamp((event.clientX - box.left) / box.width, 0, 0.99999) * Math.max(1, frameCount()));
}

function describe(frame) {
  const mark = redMarks().find((one) => one.first <= frame && frame <= one.last);
  const region = state.video.drawn.some((one) => one.first <= frame && frame <= one.last);
  const found = state.strip && frame < state.strip.done ? state.strip.found[frame] : null;
  const parts = [`Frame ${frame}`, clock(frame / (state.video.rate || 25))];
  if (mark) parts.push(mark.text);
  else if (found !== null && found !== undefined) parts.push(found === 1 ? "1 found" : `${found} found`);
  else parts.push("not searched yet");
  if (region) parts.push("your own region");
  return parts.join(" · ");
}

function showBubble(event) {
  const bubble = find("#strip-bubble");
  bubble.textContent = describe(frameAt(event));
  bubble.hidden = false;
  const box = canvas.getBoundingClientRect();
  const half = bubble.offsetWidth / 2;
  const x = clamp(event.clientX - box.left, half, Math.max(half, box.width - half));
  bubble.style.left = `${x}px`;
}

function setUpPointer() {
  let dragging = false;
  const strip = find("#strip");
  strip.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    dragging = true;
    strip.setPointerCapture(event.pointerId);
    stop();
    seek(frameAt(event));
  });
  strip.addEventListener("pointermove", (event) => {
    if (state.video) showBubble(event);
    if (dragging) seek(frameAt(event));
  });
  const end = () => (dragging = false);
  strip.addEventListener("pointerup", end);
  strip.addEventListener("pointercancel", end);
  strip.addEventListener("pointerleave", () => (find("#strip-bubble").hidden = true));
}

function setUpKeys() {
  find("#strip").addEventListener("keydown", (event) => {
    const large = Math.max(10, Math.round(frameCount() / 20));
    const target = { Home: 0, End: lastFrame(), PageUp: state.frame + large, PageDown: state.frame - large }[event.key];
    // Left and right are keys of the whole page; up and down belong to sliders.
    const more = { ArrowUp: state.frame + 1, ArrowDown: state.frame - 1 }[event.key];
    if (target === undefined && more === undefined) return;
    event.preventDefault();
    stop();
    seek(target ?? more);
  });
}

let quiet = 0;

/** Whoever steps through the frames without seeing them hears where he is, once he rests. */
function speak() {
  if (state.frame === spoken) return;
  spoken = state.frame;
  clearTimeout(quiet);
  // The slider itself says its value, and playing is no place to rest.
  if (state.playing || document.activeElement === find("#strip")) return;
  quiet = setTimeout(() => state.video && tell(describe(state.frame), { seen: false }), 700);
}

function showValue() {
  if (!state.video) return;
  speak();
  const strip = find("#strip");
  strip.setAttribute("aria-valuemax", lastFrame());
  strip.setAttribute("aria-valuenow", state.frame);
  strip.setAttribute("aria-valuetext", describe(state.frame));
  redraw();
}

/** The same marks as buttons: for whoever does not see the strip, and to see all sentences at once. */
function listMarks() {
  const marks = redMarks();
  const open = openMarks().length;
  find("#mark-fold").hidden = marks.length === 0 && state.strip !== null;
  const summary = find("#mark-fold-title");
  summary.textContent = !marksKnown() ? "Places to look at (they are being read)" : open ? `Places to look at (${open} of ${marks.length} left)` : "Places to look at (all were looked at)";
  const list = find("#mark-list");
  const key = marks.map((mark) => markKey(mark) + state.looked.has(markKey(mark))).join();
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.mark : null;
  list.replaceChildren(...marks.slice(0, LISTED).map(markEntry));
  if (marks.length > LISTED) list.append(make("li", { class: "help" }, `These are the first ${LISTED} of ${marks.length}. N and P lead to the others.`));
  if (focused) find(`[data-mark="${focused}"]`, list)?.focus({ preventScroll: true });
}

function markEntry(mark, place) {
  const entry = find("#mark-entry").content.firstElementChild.cloneNode(true);
  const looked = state.looked.has(markKey(mark));
  const button = find("button", entry);
  button.dataset.mark = place;
  button.dataset.looked = looked;
  find("use", button).setAttribute("href", looked ? "#icon-check" : `#mark-${mark.kind}`);
  find(".mark-where", button).textContent = span(mark.first, mark.last);
  find(".mark-what", button).textContent = mark.text;
  find(".mark-looked", button).textContent = looked ? "looked at" : "";
  button.addEventListener("click", () => {
    stop();
    seek(mark.first);
  });
  return entry;
}

export function setUp() {
  canvas = find("#strip-canvas");
  readColours();
  setUpPointer();
  setUpKeys();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readColours();
    redraw();
  });
  new ResizeObserver(redraw).observe(canvas);
  on("frame frames video strip", showValue);
  on("strip looked scan revision", listMarks);
  on("strip looked tracks selected", redraw);
}
