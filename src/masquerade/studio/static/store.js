// What the page knows, in one place, and who wants to hear when a part of it changes.

export const state = {
  about: null,
  videos: [], // [{id, name, state}]
  video: null, // VIDEO of the API, the one that is shown
  frame: 0, // the frame that is asked for
  shown: null, // {frame, revision}: the pair of pictures that is seen
  seen: null, // the frame that is seen, also while its result is on its way
  playing: false,
  strip: null, // {decisions, frames, done, found, share, marks}: of which decisions, and how many frames were searched
  tracks: { only: false, tracks: [] },
  jobs: [],
  mode: null, // null or {kind: "draw", region: one of `video.drawn` or null} or {kind: "point"} or {kind: "join", track}
  outlines: false,
  keys: "colour-hog", // by which what is pointed at is compared
  comparison: null, // null or {group, left: "raw" or "first", first: JOB, second: JOB, decisions}
  heat: null, // id of the point whose heat map is shown in place of the raw picture
  selected: null, // track or own region whose times the strip shows
  looked: new Set(), // marks that somebody looked at, by `markKey`
  lost: false, // the server does not answer
};

const listeners = new Map();

/** Call `listener` whenever one of the parts, given by names separated by spaces, has changed. */
export function on(names, listener) {
  for (const name of names.split(" ")) {
    if (!listeners.has(name)) listeners.set(name, []);
    listeners.get(name).push(listener);
  }
}

export function changed(...names) {
  const called = new Set();
  for (const name of names) {
    for (const listener of listeners.get(name) ?? []) {
      if (called.has(listener)) continue;
      called.add(listener);
      listener();
    }
  }
}

let questions = 0; // about jobs, and answers that the page knew by itself
let newest = 0; // the last of them whose answer is shown

/** Take over the answer about all jobs; gives false where the page knew something newer before it came. */
export async function askJobs(ask) {
  const mine = ++questions;
  const jobs = await ask();
  if (mine < newest) return false;
  newest = mine;
  state.jobs = jobs;
  return true;
}

/** Show jobs that were put in the queue: what the server was asked before does not tell of them. */
export function addJobs(...jobs) {
  newest = ++questions;
  state.jobs = [...state.jobs.filter((old) => !jobs.some((job) => job.id === old.id)), ...jobs];
  changed("jobs", "queued");
}

/** How many frames there will be, as far as one knows. */
export const frameCount = () => {
  const { video } = state;
  return video ? Math.max(video.frames, video.state === "reading" ? (video.frames_expected ?? 0) : 0) : 0;
};

export const lastFrame = () => Math.max(0, (state.video?.frames ?? 0) - 1);

export const RED = ["nothing", "gap", "unsure"];

/** Whether a search goes on, or will: there may be more marks. */
export const searching = () => state.video?.state === "reading" || ["waiting", "running"].includes(state.video?.scan?.state);

/** Whether the marks are those of what is decided now, and of all that was searched by the end of the search. */
export const marksKnown = () => {
  const { strip, video } = state;
  if (!strip || strip.decisions !== video?.decisions) return false;
  return searching() || strip.done >= (video.scan?.done ?? 0);
};

export const redMarks = () => (state.strip?.marks ?? []).filter((mark) => RED.includes(mark.kind));

/** What identifies a mark: of one about the user's own regions also where these lie. */
export const markKey = (mark) => [mark.kind, mark.first, mark.last, mark.boxes ?? ""].join(":");

export const openMarks = () => redMarks().filter((mark) => !state.looked.has(markKey(mark)));

/**
 * Who stays visible, without the user's own regions; also those chosen earlier whom the search has not come to yet. By
 * the decisions of the video: tracks are fetched after them, and would say who stayed visible before.
 */
export const visibleTracks = () => {
  const { visible = [], only = [] } = state.video ?? {};
  const stays = ({ id }) => (only.length ? !only.includes(id) : visible.includes(id));
  const seen = state.tracks.tracks.filter((track) => track.label !== "drawn" && stays(track));
  const known = new Set(state.tracks.tracks.map((track) => track.id));
  const later = visible.filter((id) => !known.has(id));
  return [...seen, ...later.map((id) => ({ id, ids: [id], label: "person", choice: "visible" }))];
};

const FIRST_BOX = 1_000_000; // from here on numbers are of people who were found without a pose

const shortNumber = (id) => (id >= FIRST_BOX ? `X${id - FIRST_BOX}` : `${id}`);

export const trackName = (track) => {
  const kind = track.label === "face" ? "Face" : "Person";
  const ids = track.ids?.length ? track.ids : [track.id];
  return `${kind} ${[...ids].sort((a, b) => a - b).map(shortNumber).join(" + ")}`;
};

/** Own regions are counted from 1 in the order in which they were drawn. */
export const regionName = (region) => {
  const place = (state.video?.drawn ?? []).findIndex((one) => String(one.id) === String(region.id));
  return `Your own region ${place + 1}`;
};
