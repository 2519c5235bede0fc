// The start: a video is dropped, chosen, or taken from the server's folder.

import { get, post, remove, upload } from "./api.js";
import { bytes, find, icon, make, redraw } from "./dom.js";
import { alarm, ask, calm, report, tell } from "./notice.js";
import { changed, on, state } from "./store.js";

let show = () => {};
let folder = "";

// By the endings that the server knows, for browsers know no type of some. Before it named them, it decides itself.
const isVideo = ({ type, name }) =>
  !state.about || type.startsWith("video/") || state.about.videos.some((ending) => name.toLowerCase().endsWith(ending));

export function showStart(wanted = true) {
  document.body.dataset.view = wanted ? "start" : "work";
  find("#start").hidden = !wanted;
  find("#work").hidden = wanted;
  find("#camera").hidden = true;
  find("#back-to-video").hidden = !state.video;
  const { activeElement } = document;
  const gone = activeElement !== document.body && activeElement.getClientRects().length === 0;
  if (gone) find(wanted ? "#choose" : "#viewer").focus({ preventScroll: true });
  if (wanted && state.about?.root) browse(folder);
}

async function send(files) {
  const videos = files.filter(isVideo);
  if (videos.length === 0) {
    if (files.length) alarm(files.length === 1 ? `${files[0].name} is not a video.` : "There is no video among these files.");
    return;
  }
  calm();
  const list = find("#uploads");
  let first = null;
  const failed = [];
  for (const [place, file] of videos.entries()) {
    const bar = make("progress", { max: 1, value: 0, "aria-label": `Sending ${file.name}` });
    const entry = make("li", {}, make("span", {}, file.name), make("span", { class: "muted" }, bytes(file.size)), bar);
    list.append(entry);
    tell(videos.length > 1 ? `Sending ${place + 1} of ${videos.length}: ${file.name}` : `Sending ${file.name}`);
    try {
      const video = await upload(file, (share) => (bar.value = share));
      state.videos.push({ id: video.id, name: video.name, state: video.state });
      changed("videos");
      // The first one is shown at once, while the others are still being sent.
      if (!first) {
        first = video;
        show(video);
      }
    } catch (error) {
      const { message, status } = error;
      failed.push(message.includes(file.name) ? message : `${file.name}: ${message}`);
      if (status !== 401) alarm(failed.join(" "));
    }
    entry.remove();
  }
}

/** All files of what was dropped, folders included. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (entries.length === 0) return [...transfer.files];
  const files = [];
  const walk = async (entry) => {
    if (entry.isFile) return files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
    const reader = entry.createReader();
    // A reader gives at most a hundred entries at a time.
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) break;
      for (const one of some) await walk(one);
    }
  };
  try {
    for (const entry of entries) await walk(entry);
  } catch {
    alarm("The folder could not be read.");
  }
  return files.sort((a, b) => (a.webkitRelativePath || a.name).localeCompare(b.webkitRelativePath || b.name));
}

function setUpDrop() {
  let depth = 0;
  const holds = (event) => event.dataTransfer?.types.includes("Files");
  const mark = () => (document.body.dataset.dropping = depth > 0);
  addEventListener("dragenter", (event) => holds(event) && (event.preventDefault(), (depth += 1), mark()));
  addEventListener("dragleave", (event) => holds(event) && ((depth = Math.max(0, depth - 1)), mark()));
  addEventListener("dragover", (event) => holds(event) && event.preventDefault());
  addEventListener("drop", async (event) => {
    if (!holds(event)) return;
    event.preventDefault();
    depth = 0;
    mark();
    send(await dropped(event.dataTransfer));
  });
}

async function browse(path) {
  const list = find("#root-list");
  try {
    const answer = await get(`/root?path=${encodeURIComponent(path)}`);
    folder = answer.path ?? path;
    const inside = (name) => (folder ? `${folder}/${name}` : name);
    const up = folder && make("li", {}, entry("up", "One folder up", "", () => browse(folder.split("/").slice(0, -1).join("/")), { "data-folder": ".." }));
    const folders = answer.folders.map((name) => make("li", {}, entry("folder", name, "", () => browse(inside(name)), { "data-folder": name })));
    const videos = answer.videos.map((one) => make("li", {}, entry("film", one.name, bytes(one.bytes), (event) => open(inside(one.name), event.currentTarget), { "data-file": one.name })));
    const reports = (answer.reports ?? []).map((name) => make("li", {}, make("a", { class: "file", target: "_blank", rel: "noopener", href: `${state.about.reports}${inside(name).split("/").map(encodeURIComponent).join("/")}`, "data-report": name }, icon("outline"), make("span", {}, "Report of a benchmark"))));
    const nothing = !reports.length && !folders.length && !videos.length && make("li", { class: "muted" }, "There is no video in this folder.");
    find("#root-path").textContent = folder ? `/ ${folder.replaceAll("/", " / ")}` : "/";
    list.replaceChildren(...[up, ...folders, ...videos, ...reports, nothing].filter(Boolean));
    find("#root").hidden = false;
  } catch (error) {
    if (error.status !== 404) report(error);
    else if (!folder) find("#root").hidden = true;
  }
}

const entry = (iconName, text, more, run, names) =>
  make("button", { type: "button", class: "file", ...names, onclick: run }, icon(iconName), make("span", {}, text), more && make("span", { class: "muted" }, more));

let opened = 0; // how often a file was clicked: the last one is shown, whichever is there first

async function open(path, button) {
  const mine = ++opened;
  const said = make("span", { class: "muted" }, "Opening …");
  button.append(said);
  button.disabled = true;
  try {
    const video = await post("/videos/open", { path });
    calm();
    if (!state.videos.some((one) => one.id === video.id)) state.videos.push({ id: video.id, name: video.name, state: video.state });
    changed("videos");
    if (mine === opened) show(video);
  } catch (error) {
    report(error);
  } finally {
    said.remove();
    button.disabled = false;
  }
}

/** The open videos, to change between them. */
function showVideos() {
  const select = find("#videos");
  redraw(select, state.videos.map(({ id, name }) => [id, name]), () => state.videos.map((one) => make("option", { value: one.id }, one.name)));
  if (state.video && select.value !== state.video.id) select.value = state.video.id;
  find("#which").hidden = state.videos.length === 0 || !state.video;
  find("#open-count").textContent = state.videos.length > 1 ? `${state.videos.length} open` : "";
}

async function close(choose) {
  const { video } = state;
  if (!video || !(await ask(`Close ${video.name}? What you decided is kept for when it is opened again.`, "Close it"))) return;
  const others = () => state.videos.filter((one) => one.id !== video.id);
  await choose(others()[0]?.id ?? null); // first: then nothing more is asked about a closed video
  try {
    await remove(`/videos/${video.id}`);
  } catch (error) {
    report(error);
    if (error.status !== 404) return choose(video.id); // 404: it was closed elsewhere
  }
  state.videos = others();
  changed("videos");
}

/** `onOpen(VIDEO)` shows a video; `choose(id or null)` changes to another one. */
export function setUp(onOpen, choose) {
  show = onOpen;
  setUpDrop();
  for (const id of ["#upload", "#upload-folder"]) {
    find(id).addEventListener("change", (event) => {
      const files = [...event.target.files];
      event.target.value = "";
      send(files);
    });
  }
  find("#choose").addEventListener("click", () => find("#upload").click());
  find("#choose-folder").addEventListener("click", () => find("#upload-folder").click());
  find("#open-another").addEventListener("click", () => showStart());
  find("#back-to-video").addEventListener("click", () => showStart(false));
  find("#close-video").addEventListener("click", () => close(choose));
  find("#videos").addEventListener("change", (event) => choose(event.target.value));
  on("videos video", showVideos);
  on("about", () => {
    const { ready, missing, version, videos } = state.about;
    find("#upload").accept = ["video/*", ...videos].join();
    find("#missing").hidden = ready;
    find("#missing-list").replaceChildren(...missing.map((text) => make("li", {}, text)));
    find("#version").textContent = version;
    if (state.about.root) browse("");
  });
}
