// "Who was found": a thumbnail of every track, and the menu with what can be done with it.

import { paths } from "./api.js";
import { find, findAll, icon, make, plural, redraw, span } from "./dom.js";
import { decide, hideAll, join, split } from "./edits.js";
import * as menu from "./menu.js";
import { enter, leave } from "./modes.js";
import { tell } from "./notice.js";
import { stop } from "./playback.js";
import { changed, on, state, trackName, visibleTracks } from "./store.js";
import { seek } from "./viewer.js";

const people = () => state.tracks.tracks.filter((track) => track.label !== "drawn");

const trackOf = (id) => people().find((track) => track.id === id || track.ids?.includes(id));

function show() {
  const { video, tracks, mode, selected } = state;
  if (!video) return;
  const list = people();
  find("#people-count").textContent = list.length ? `${list.length} found` : "";
  showChosen();
  showEmpty(list);
  // How often and where they are seen is filled in apart, so that a search that goes on replaces no button under the pointer.
  const who = list.map(({ id, ids, label, choice, method }) => [id, ids, label, choice, method]);
  const key = [video.id, tracks.only, mode?.kind === "join" && mode.track.id, selected, who];
  redraw(find("#people-list"), key, () => list.map(thumbnail));
  list.forEach(fill);
  showBanner();
}

/** Which line of the strip belongs to whom. */
function showChosen() {
  const chosen = people().find((track) => track.id === state.selected);
  find("#legend-chosen").hidden = !chosen;
  if (chosen) find("#legend-name").textContent = trackName(chosen);
}

function showEmpty(list) {
  const place = find("#people-empty");
  place.hidden = list.length > 0;
  find("#people-hint").hidden = list.length === 0 || state.tracks.choosable === false;
  const scanning = ["waiting", "running"].includes(state.video.scan?.state);
  place.textContent = state.tracks.listed === false
    ? "Nobody is listed: what is looked for gives nobody a number, and all that is found is hidden. To choose among people, look for faces or people first, under More."
    : scanning
    ? "The search is going on. Whoever is found appears here."
    : "Nobody was found yet. Look through the video, and draw your own region over whoever was missed.";
}

function thumbnail(track) {
  const { mode } = state;
  const joining = mode?.kind === "join";
  const visible = track.choice === "visible";
  const picture = make("img", { alt: "", loading: "lazy", width: 96, height: 96, draggable: "false" });
  picture.addEventListener("load", () => picture.classList.remove("missing"));
  picture.addEventListener("error", () => picture.classList.add("missing"));
  const button = make(
    "button",
    {
      type: "button", class: "person", "data-track": track.id, "data-choice": track.choice,
      "aria-haspopup": joining ? null : "menu", "aria-expanded": joining ? null : "false",
      "data-selected": state.selected === track.id,
      "data-own": joining && mode.track.id === track.id,
      disabled: joining && mode.track.id === track.id,
      onclick: () => (joining ? joinWith(track) : openMenu(trackOf(track.id) ?? track, button)),
    },
    make("span", { class: "person-picture" }, picture, sign(visible, track)),
    make("span", { class: "person-name" }, trackName(track)),
    make("span", { class: "person-more" }),
  );
  return make("li", {}, button);
}

/** What of a thumbnail changes while the search goes on. */
function fill(track) {
  const button = find(`[data-track="${track.id}"]`);
  const hidden = track.method ? `hidden by ${track.method}` : "hidden";
  const says = [trackName(track), track.choice === "visible" ? "stays visible" : hidden, span(track.first, track.last)];
  button.setAttribute("aria-label", (state.mode?.kind === "join" ? "Join with " : "") + says.join(", "));
  find(".person-more", button).textContent = plural(track.frames, "frame");
  // The best frame of a track may change, its picture does so only then.
  const src = paths.track(state.video.id, track.id, `${track.best}-${(track.ids ?? []).length}`);
  const picture = find("img", button);
  if (picture.getAttribute("src") !== src) picture.src = src;
}

function sign(visible, track) {
  if (visible) return make("span", { class: "sign sign-visible" }, icon("eye"), "Visible");
  if (track.method) return make("span", { class: "sign" }, track.method);
  return null;
}

function openMenu(track, anchor) {
  state.selected = track.id;
  changed("selected");
  // The thumbnails were drawn anew with the selection.
  const button = find(`[data-track="${track.id}"]`) ?? anchor;
  menu.open(button, items(track), `What to do with ${trackName(track)}`);
}

function items(track) {
  const name = trackName(track);
  const off = state.tracks.choosable === false; // the server would refuse it
  const choose = (choice, said) => async () => (await decide(track.id, choice)) && tell(said);
  return [
    { action: "hide", text: "Hide", icon: "hidden", on: track.choice === "hidden" && !track.method,
      run: choose({ choice: "hidden", method: null }, `${name} is hidden.`) },
    { action: "visible", text: "Leave visible", icon: "eye", on: track.choice === "visible", off,
      run: choose({ choice: "visible" }, `${name} stays visible.`) },
    { action: "only", text: "Hide only this", icon: "only", off,
      run: choose({ choice: "only" }, `Only ${name} is hidden. Everybody else stays visible.`) },
    { action: "method", text: "Hide by another method", icon: "method", off: !state.tracks.methods, more: () => methodItems(track) },
    null,
    { action: "join", text: "Join with …", icon: "join", off: people().length < 2,
      run: () => enter({ kind: "join", track }) },
    { action: "split", text: "Split", icon: "split", off: (track.ids ?? []).length < 2,
      run: async () => (await split(track.id)) && tell(`${name} was split.`) },
    null,
    { action: "jump", text: "Jump to where it is seen", icon: "jump", run: () => (stop(), seek(track.best)) },
  ];
}

function methodItems(track) {
  const name = trackName(track);
  const same = {
    action: "method-same", text: "The same as for everybody", on: !track.method,
    run: async () => (await decide(track.id, { choice: "hidden", method: null })) && tell(`${name} is hidden as everybody.`),
  };
  const others = state.about.methods.filter((method) => method.alone).map((method) => ({
    action: `method-${method.name}`, text: method.name, hint: method.hides, on: track.method === method.name,
    run: async () =>
      (await decide(track.id, { choice: "hidden", method: method.name })) && tell(`${name} is hidden by ${method.name}.`),
  }));
  return [same, null, ...others];
}

async function joinWith(track) {
  const first = state.mode.track;
  leave();
  if (await join(first.id, track.id)) tell(`${trackName(first)} and ${trackName(track)} are now one.`);
}

/** Whoever stays visible is said below the picture, as long as it is so. */
function showBanner() {
  const visible = visibleTracks();
  const only = state.video.only.length > 0;
  find("#visible-banner").hidden = visible.length === 0 && !only;
  const faces = visible.length > 0 && visible.every((track) => track.label === "face");
  const who = plural(visible.length, faces ? "face" : "person", faces ? "faces" : "people");
  const stays = `${who} ${visible.length === 1 ? "stays" : "stay"} visible.`;
  const text = only
    ? `Only who was chosen is hidden. ${visible.length ? stays : "Whoever else is found stays visible."}`
    : stays;
  const place = find("#visible-text");
  if (place.textContent !== text) place.textContent = text;
}

/** The menu of a person whose box was clicked in the picture. */
export function chooseBox(id) {
  const track = trackOf(id);
  if (!track) return;
  find(`[data-track="${track.id}"]`)?.scrollIntoView({ block: "nearest" });
  openMenu(track, find(`[data-track="${track.id}"]`));
}

export function setUp() {
  find("#hide-all").addEventListener("click", async () => (await hideAll()) && tell("Everybody is hidden again."));
  on("video tracks mode scan selected", show);
  on("mode", () => state.mode?.kind === "join" && findAll("[data-track]:not([disabled])")[0]?.focus());
}
