// Whatever changes a video goes through here: one request after another, and its answer is the new truth.

import { post, put, putText, remove } from "./api.js";
import { alarm, calm, report } from "./notice.js";
import { changed, state } from "./store.js";

let queue = Promise.resolve();
let waiting = 0;
let finished = 0;

export const busy = () => waiting > 0;

/** A number that grows with each finished edit: an answer that was asked for before is out of date. */
export const editCount = () => finished;

/** When the user last changed something whose picture has not been seen yet; for the performance marks. */
export const cause = { name: null, since: 0 };

export const because = (name) => Object.assign(cause, { name, since: performance.now() });

/**
 * What a run may be of: the video that the user sees, and its decisions with the last change, once every edit was
 * answered. Null where another video is shown by then.
 */
export async function settled() {
  const id = state.video?.id;
  await queue;
  return id && state.video?.id === id ? { id, decisions: state.video.decisions } : null;
}

/** Take over what the server says of the video that is shown. */
export function adopt(video) {
  if (!video || video.id !== state.video?.id) return;
  const old = state.video;
  state.video = video;
  if (video.notice && video.notice !== old.notice) alarm(video.notice);
  const parts = ["video"];
  if (old.revision !== video.revision) parts.push("revision");
  if (old.frames !== video.frames) parts.push("frames");
  if (old.scan?.state !== video.scan?.state || old.scan?.done !== video.scan?.done) parts.push("scan");
  changed(...parts);
}

const decided = new Map(); // video -> its decisions with the last change of this page

/** The decisions that a video had when an edit was asked for, with those that this page sent since. */
const seen = (asked) => {
  const now = state.video?.id === asked?.id ? state.video : asked;
  return `seen=${Math.max(now?.decisions ?? 0, decided.get(asked?.id) ?? 0)}`;
};

/** Send an edit; returns the VIDEO, or null where it was refused (that is said in the alert). */
export function edit(send) {
  const asked = state.video;
  const id = asked?.id;
  because("setting to frame");
  waiting += 1;
  const turn = queue.then(async () => {
    try {
      const video = await send(id, seen(asked));
      if (video) decided.set(id, video.decisions);
      calm();
      finished += 1;
      adopt(video);
      if (video?.notice) alarm(video.notice); // also one that was said before, and closed since
      return video;
    } catch (error) {
      cause.name = null;
      report(error);
      return null;
    } finally {
      waiting -= 1;
      changed("edits");
    }
  });
  queue = turn;
  changed("edits");
  return turn;
}

// What changes faster than the server answers is put into one request, but only where it replaces what waits there: a
// level or a method clears other settings, so that their order counts.
let pending = null;

export function set(part) {
  const id = state.video?.id;
  if (pending && pending.id === id && Object.keys(part).every((name) => name in pending.part)) {
    Object.assign(pending.part, part);
    because("setting to frame");
    return;
  }
  const mine = { id, part: { ...part } };
  pending = mine;
  edit((video) => {
    if (pending === mine) pending = null;
    return put(`/videos/${video}/settings`, mine.part);
  }).then(() => changed("settings"));
}

/** Change an argument of the method. All of them are sent, as they are once the edits before this one are answered. */
export function setArgument(name, value) {
  const old = state.video;
  edit((id) => {
    const { settings } = state.video?.id === id ? state.video : old;
    return put(`/videos/${id}/settings`, { arguments: { ...settings.arguments, [name]: value } });
  }).then(() => changed("settings"));
}

// What is decided by a number, and what is taken back, is for what this page has seen: the server refuses it otherwise.
export const decide = (track, choice) => edit((id, seen) => put(`/videos/${id}/tracks/${track}?${seen}`, choice));
export const hideAll = () => edit((id) => post(`/videos/${id}/tracks/hide-all`));
export const join = (a, b) => edit((id, seen) => post(`/videos/${id}/tracks/join?${seen}`, { ids: [a, b] }));
export const split = (track) => edit((id, seen) => post(`/videos/${id}/tracks/split?${seen}`, { id: track }));
export const draw = (frame, box) => edit((id) => post(`/videos/${id}/drawn`, { frame, box }));
export const correct = (region, frame, box) => edit((id, seen) => put(`/videos/${id}/drawn/${region}?${seen}`, { frame, box }));
export const erase = (region) => edit((id, seen) => remove(`/videos/${id}/drawn/${region}?${seen}`));
export const point = (body) => edit((id) => post(`/videos/${id}/templates`, body));
export const turnPoint = (name, on) => edit((id) => put(`/videos/${id}/templates/${name}`, { on }));
export const erasePoint = (name) => edit((id) => remove(`/videos/${id}/templates/${name}`));
export const undo = () => edit((id, seen) => post(`/videos/${id}/undo?${seen}`));
export const redo = () => edit((id, seen) => post(`/videos/${id}/redo?${seen}`));
export const searchAgain = () => edit((id) => post(`/videos/${id}/search`));
export const reload = () => edit((id) => post(`/videos/${id}/reload`));
export const acknowledge = () => edit((id) => post(`/videos/${id}/acknowledge`));
export const takeEdits = (text) => edit((id) => putText(`/videos/${id}/edits`, text));
