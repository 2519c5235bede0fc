// Boxes of what was found in this frame, drawn over the picture.

import { get } from "./api.js";
import { find, svgElement } from "./dom.js";
import { Latest } from "./pictures.js";
import { changed, on, regionName, state, trackName } from "./store.js";

const TEXT = 13; // height of a label, in pixels of the screen

let overlay;
let choose = () => {};
let known = null; // {id, frame, revision, boxes}

const found = new Latest(async ({ id, frame, revision }, signal) => {
  const { boxes } = await get(`/videos/${id}/found?frame=${frame}`, signal);
  if (state.video?.id !== id) return;
  known = { id, frame, revision, boxes };
  draw();
});

function refresh() {
  find("#outlines").setAttribute("aria-pressed", state.outlines);
  find("#outline-legend").hidden = !state.outlines;
  overlay.toggleAttribute("hidden", !state.outlines);
  if (!state.outlines || !state.video || !state.shown) return;
  const { id } = state.video;
  const { frame, revision } = state.shown;
  if (known?.id === id && known.frame === frame && known.revision === revision) draw();
  else found.want({ id, frame, revision });
}

function nameOf(box) {
  if (box.label === "drawn") return regionName({ id: box.track });
  const track = state.tracks.tracks.find((one) => one.id === box.track || one.ids?.includes(box.track));
  if (track) return trackName(track) + (track.choice === "visible" ? " (visible)" : "");
  return box.label === "face" ? "Face" : "Person";
}

function draw() {
  const { video, seen } = state;
  // Boxes of another frame than the one that is seen would point at the wrong place.
  if (!known || known.id !== video?.id || known.frame !== seen || !overlay.clientWidth) {
    overlay.replaceChildren();
    return;
  }
  overlay.setAttribute("viewBox", `0 0 ${video.width} ${video.height}`);
  const pixel = video.width / overlay.clientWidth;
  overlay.replaceChildren(...known.boxes.map((one) => drawBox(one, pixel)));
}

function drawBox(one, pixel) {
  const [x0, y0, x1, y1] = one.box;
  const size = { x: x0, y: y0, width: Math.max(1, x1 - x0), height: Math.max(1, y1 - y0) };
  const kind = one.label === "drawn" ? "drawn" : one.source;
  const group = svgElement("g", { class: `found found-${kind}` });
  group.append(svgElement("rect", { ...size, class: "casing" }), svgElement("rect", { ...size, class: "edge" }));
  // A label near the right edge goes to the left instead of out of the picture.
  const below = kind === "drawn" && y1 + 1.5 * TEXT * pixel < state.video.height;
  const right = x0 > 0.7 * state.video.width;
  const text = svgElement("text", {
    x: right ? Math.min(x1, state.video.width) - 4 * pixel : Math.max(0, x0) + 4 * pixel,
    // Own regions are named below, for they often lie over a person, who is named above.
    y: below ? y1 + (TEXT + 3) * pixel : Math.max(TEXT * 1.3 * pixel, y0 - 5 * pixel),
    "font-size": TEXT * pixel,
    "text-anchor": right ? "end" : "start",
  });
  text.textContent = nameOf(one);
  group.append(text);
  if (one.label !== "drawn" && one.track !== null) {
    group.classList.add("choosable");
    group.addEventListener("click", (event) => !state.mode && choose(one.track, event));
  }
  return group;
}

export function toggle() {
  state.outlines = !state.outlines;
  changed("outlines");
}

/** `onChoose(track, event)` is called when a box is clicked. */
export function setUp(onChoose) {
  overlay = find("#overlay");
  choose = onChoose;
  find("#outlines").addEventListener("click", toggle);
  new ResizeObserver(() => state.outlines && draw()).observe(overlay);
  on("outlines shown video", refresh);
  on("left", () => found.cancel());
  on("left seen tracks", () => state.outlines && draw());
}
