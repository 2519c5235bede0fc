// Puts the parts together: starts the page, shows a video, and keeps up with the server.

import { get, isAbort, watch } from "./api.js";
import * as camera from "./camera.js";
import * as compare from "./compare.js";
import * as comparison from "./comparison.js";
import { find, findAll } from "./dom.js";
import { adopt, busy, cause, editCount, searchAgain } from "./edits.js";
import * as history from "./history.js";
import * as jobs from "./jobs.js";
import * as keys from "./keys.js";
import * as levels from "./levels.js";
import * as menu from "./menu.js";
import * as modes from "./modes.js";
import * as notice from "./notice.js";
import * as open from "./open.js";
import * as outlines from "./outlines.js";
import * as people from "./people.js";
import { forget, Latest } from "./pictures.js";
import * as playback from "./playback.js";
import * as regions from "./regions.js";
import * as settings from "./settings.js";
import { changed, on, state } from "./store.js";
import * as strip from "./strip.js";
import * as viewer from "./viewer.js";

const OFTEN = 500; // ms between questions while the server reads, searches or runs a job
const SELDOM = 5000; // ms between questions while nothing goes on
const AGAIN = 1500; // ms between tries to reach a lost server

// ---- the video that is shown ----

function show(video) {
  playback.stop();
  modes.leave();
  menu.close();
  closeDialogs();
  if (state.video?.id !== video.id) {
    leave();
    forget();
    Object.assign(state, { frame: 0, strip: null, tracks: { only: false, tracks: [] }, heat: null, comparison: null, selected: null });
    state.looked = remembered(video.id);
  }
  cause.name = null;
  if (video.notice && state.video?.id !== video.id) notice.alarm(video.notice);
  state.video = video;
  window.history.replaceState(null, "", `#${video.id}${comparison.address()}`);
  document.title = `${video.name} · masquerade studio`;
  open.showStart(false);
  changed("video", "frames", "scan", "strip", "tracks", "frame", "settings", "looked", "comparison");
  viewer.want();
  known = "";
  refreshDetails();
  wake();
}

let shown = new AbortController(); // ends the question about a video when another one is shown

/** End what is asked of the server about a video that is not shown any more. */
function leave() {
  shown.abort();
  shown = new AbortController();
  viewer.clear();
  details.cancel();
  changed("left");
}

// What they ask is about the video that was shown.
const closeDialogs = () => findAll("dialog[open]").forEach((dialog) => dialog.close());

let chosen = 0; // how often a video was chosen: the last one is shown, whoever answers last

async function choose(id) {
  const mine = ++chosen;
  if (!id) {
    closeDialogs();
    state.video = null;
    leave();
    window.history.replaceState(null, "", location.pathname);
    document.title = "masquerade studio";
    changed("videos");
    return open.showStart();
  }
  try {
    const video = await get(`/videos/${id}`);
    if (mine === chosen) show(video);
  } catch (error) {
    notice.report(error);
    if (error.status === 404) state.videos = state.videos.filter((video) => video.id !== id); // it was closed elsewhere
    if (mine === chosen) changed("videos"); // the list names the one that is still shown
  }
}

// Which marks were looked at is remembered in this tab only, and by numbers only.
const remembered = (id) => new Set(JSON.parse(sessionStorage.getItem(`looked-${id}`) ?? "[]"));

function remember() {
  if (state.video) sessionStorage.setItem(`looked-${state.video.id}`, JSON.stringify([...state.looked]));
}

// ---- the strip and who was found: asked for anew when an edit or the search has changed them ----

let known = "";

const details = new Latest(async (id, signal) => {
  const [newStrip, newTracks] = await Promise.all([
    get(`/videos/${id}/strip`, signal),
    get(`/videos/${id}/tracks`, signal),
  ]);
  if (state.video?.id !== id) return;
  state.strip = newStrip;
  state.tracks = newTracks;
  changed("strip", "tracks");
}, (error) => {
  known = ""; // the next question to the server tries again
  notice.report(error);
});

function refreshDetails() {
  const { video } = state;
  if (!video) return;
  const key = [video.id, video.revision, video.scan?.state, video.scan?.done, video.frames].join();
  if (key === known) return;
  known = key;
  details.want(video.id);
}

// ---- progress of reading and searching ----

let lastSaid = "";

function showProgress() {
  const { video } = state;
  if (!video) return;
  const { text, value, max, bad } = progress(video);
  find("#scan").hidden = !text;
  find("#scan").dataset.bad = Boolean(bad);
  find("#scan-text").textContent = text;
  const bar = find("#scan-bar");
  bar.hidden = Boolean(bad);
  find("#search-again").hidden = video.state === "failed" || video.scan?.state !== "failed";
  if (max) {
    bar.max = max;
    bar.value = value;
  } else bar.removeAttribute("value");
  // Screen readers hear of a beginning and an end, not of every frame.
  const said = `${video.id} ${video.state} ${video.scan?.state}`;
  if (said === lastSaid) return;
  const first = !lastSaid.startsWith(video.id);
  lastSaid = said;
  if (text) notice.tell(text, { seen: false });
  else if (!first && video.scan?.state === "done") notice.tell("The search is done.");
}

function progress(video) {
  const { scan } = video;
  if (video.state === "failed") return { text: video.error ?? "The video could not be read.", bad: true };
  if (video.state === "reading") {
    const expected = video.frames_expected;
    return { text: `Reading the video: ${video.frames}${expected ? ` of ${expected}` : ""} frames`, value: video.frames, max: expected };
  }
  if (scan?.state === "waiting") return { text: "Waiting to search for people" };
  if (scan?.state === "running") {
    return { text: `Searching for people: ${scan.done} of ${video.frames} frames`, value: scan.done, max: video.frames };
  }
  if (scan?.state === "failed") return { text: scan.error ?? "The search failed.", bad: true };
  return { text: "" };
}

// ---- keeping up with the server ----

let timer = 0;
let asking = false;

function wake() {
  clearTimeout(timer);
  timer = setTimeout(ask, OFTEN);
}

function pace() {
  if (state.lost) return AGAIN;
  const { video } = state;
  const working = video && (video.state === "reading" || ["waiting", "running"].includes(video.scan?.state));
  return working || jobs.active() ? OFTEN : SELDOM;
}

async function ask() {
  if (asking) return;
  asking = true;
  try {
    await keepUp();
  } catch (error) {
    if (!isAbort(error)) notice.report(error);
  } finally {
    asking = false;
    clearTimeout(timer);
    timer = setTimeout(ask, pace());
  }
}

async function keepUp() {
  if (!state.about) await begin();
  const { video: old } = state;
  if (old) {
    const before = editCount();
    const video = await get(`/videos/${old.id}`, shown.signal).catch((error) => {
      if (error.status !== 404) throw error;
    });
    if (!video) return gone(old);
    // An answer from before an edit would take the edit back on the page.
    if (state.video?.id === old.id && before === editCount() && !busy() && video.revision >= state.video.revision) {
      if (video.decisions !== state.video.decisions) {
        menu.close(); // its number may be somebody else's now, and so may that of whom one joins
        if (state.mode?.kind === "join") modes.leave();
      }
      adopt(video);
    }
  }
  await jobs.refresh();
  refreshDetails();
  if (find("#refused").open) find("#refused").close(); // the address was opened meanwhile
}

/** The video was closed elsewhere, or the command was started anew. */
async function gone(video) {
  state.videos = await get("/videos").catch(() => []);
  changed("videos");
  if (state.video?.id !== video.id) return; // another one is shown by now
  notice.alarm(`${video.name} is no longer open. Open it again.`);
  choose(null);
}

function setUpWatch() {
  const banner = find("#lost");
  watch.lost = () => {
    if (state.lost) return;
    state.lost = true;
    banner.hidden = false;
    playback.stop();
    wake();
  };
  watch.answered = () => {
    if (!state.lost) return;
    state.lost = false;
    banner.hidden = true;
    notice.tell("The studio answers again.");
    known = "";
    viewer.want();
    wake();
  };
  watch.refused = (message) => {
    find("#refused-text").textContent = message;
    const dialog = find("#refused");
    if (!dialog.open) dialog.showModal();
  };
}

async function begin() {
  const about = await get("/about");
  const videos = await get("/videos");
  Object.assign(state, { about, videos }); // both or none: without the first, it begins again
  changed("about");
  changed("videos");
  comparison.wish(location.hash);
  const wanted = location.hash.slice(1).split("/")[0];
  const one = state.videos.find((video) => video.id === wanted) ?? state.videos[0];
  if (one) await choose(one.id);
  else if (!camera.isOpen()) open.showStart();
}

function setUp() {
  setUpWatch();
  notice.setUp();
  open.setUp(show, choose);
  camera.setUp(() => open.showStart());
  viewer.setUp();
  playback.setUp();
  strip.setUp();
  modes.setUp();
  outlines.setUp(people.chooseBox);
  menu.setUp();
  people.setUp();
  levels.setUp();
  settings.setUp();
  compare.setUp();
  regions.setUp();
  history.setUp();
  jobs.setUp();
  keys.setUp();
  on("video scan frames", showProgress);
  on("revision scan frames", refreshDetails);
  on("looked", remember);
  on("queued", wake);
  find("#search-again").addEventListener("click", searchAgain);
  // An edit often begins a new search: its progress is asked for soon.
  on("edits", () => {
    document.body.dataset.busy = busy();
    wake();
  });
  document.addEventListener("visibilitychange", () => document.hidden || wake());
}

setUp();
ask();
