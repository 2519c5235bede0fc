// The row of buttons under the picture: frame by frame, from mark to mark, and playing.

import { clamp, clock, find } from "./dom.js";
import { tell } from "./notice.js";
import { frameCount, lastFrame, changed, marksKnown, on, openMarks, redMarks, state } from "./store.js";
import { arriving, seek } from "./viewer.js";

let started = { frame: 0, at: 0 };

export const step = (frames) => {
  stop();
  seek(state.frame + frames);
};

/** Go to the next (1) or the previous (-1) red mark. */
export function stepMark(direction) {
  stop();
  const marks = redMarks();
  const ahead =
    direction > 0
      ? marks.find((mark) => mark.first > state.frame)
      : marks.findLast((mark) => mark.last < state.frame);
  if (!ahead) {
    if (!marksKnown()) tell("The marks are still being read.");
    else tell(marks.length === 0 ? "There are no marks." : direction > 0 ? "No mark after this." : "No mark before this.");
    return;
  }
  seek(direction > 0 ? ahead.first : ahead.last);
  tell(ahead.text, { seen: false });
}

export function togglePlay() {
  if (state.playing) stop();
  else play();
}

function play() {
  if (!state.video || state.video.frames < 2) return;
  const frame = state.frame >= lastFrame() ? 0 : state.frame;
  started = { frame, at: performance.now() };
  state.playing = true;
  changed("playing");
  requestAnimationFrame(tick);
}

export function stop() {
  if (!state.playing) return;
  state.playing = false;
  changed("playing");
}

// The clock decides which frame is due. While pictures are on their way nothing is asked for, so that frames
// are dropped and requests never wait in a row.
function tick(now) {
  if (!state.playing || !state.video) return;
  const due = started.frame + Math.floor(((now - started.at) / 1000) * (state.video.rate || 25));
  if (due >= lastFrame()) {
    if (!arriving()) {
      seek(lastFrame(), "play");
      stop();
      return;
    }
  } else if (!arriving() && due !== state.frame) seek(due, "play");
  requestAnimationFrame(tick);
}

function show() {
  const { video, frame } = state;
  if (!video) return;
  const input = find("#frame");
  if (document.activeElement !== input || state.playing) input.value = frame;
  find("#frame-count").textContent = `of ${Math.max(0, frameCount() - 1).toLocaleString("en")}`;
  find("#clock").textContent = clock(frame / (video.rate || 25));
  const here = (state.strip?.marks ?? []).filter((mark) => mark.first <= frame && frame <= mark.last);
  const red = marksKnown() && here.find((mark) => mark.kind !== "cut");
  find("#mark-text").textContent = red ? red.text : "";
  find("#mark-here").hidden = !red;
  find("#marks-open").hidden = Boolean(red);
  if (red) find("#mark-shape").setAttribute("href", `#mark-${red.kind}`);
}

function showMarks() {
  const all = redMarks().length;
  const open = openMarks().length;
  const none = state.video?.scan?.state === "done" ? "No marks" : "No marks so far";
  const some = open === 0 ? `All ${all} marks looked at` : `${open} of ${all} marks to look at`;
  find("#marks-open").textContent = !marksKnown() ? "Reading the marks" : all === 0 ? none : some;
  find("#next-mark").disabled = find("#previous-mark").disabled = all === 0;
  show();
}

export function setUp() {
  const press = (id, action) => find(id).addEventListener("click", action);
  press("#play", togglePlay);
  press("#back", () => step(-1));
  press("#forward", () => step(1));
  press("#next-mark", () => stepMark(1));
  press("#previous-mark", () => stepMark(-1));
  const input = find("#frame");
  input.addEventListener("change", () => {
    stop();
    seek(clamp(Number(input.value) || 0, 0, lastFrame()));
    input.value = state.frame;
  });
  on("frame video", show);
  on("strip looked scan revision", showMarks);
  on("playing", () => {
    const button = find("#play");
    find("use", button).setAttribute("href", state.playing ? "#icon-pause" : "#icon-play");
    button.setAttribute("aria-label", state.playing ? "Pause" : "Play");
  });
}
