// Two results of the whole video, played under the one divider, with what their receipts say beside each other.

import { get, post } from "./api.js";
import { find, icon, make, once, redraw, sentence } from "./dom.js";
import { set } from "./edits.js";
import { report, tell } from "./notice.js";
import { stop } from "./playback.js";
import { addJobs, changed, on, state } from "./store.js";
import { want } from "./viewer.js";

const OFTEN = 700; // ms between questions how much of the results can be shown
const PLACES = ["first", "second"];

let wished = null; // [group, left] of a page that was loaded anew
let attack = () => {};

/** The pairs of runs that belong together, by their group; a run whose video is closed has none. */
export function pairs() {
  const found = new Map();
  for (const job of state.jobs) {
    if (!job.compared || !job.video) continue;
    const { group, place } = job.compared;
    found.set(group, { ...found.get(group), group, [place]: job });
  }
  for (const [group, pair] of found) if (!pair.first || !pair.second) found.delete(group);
  return found;
}

/** Put two runs of the whole video in the queue, and give them if it worked; a setting is {level}, {method} or {} for what is set now. `seen` is the video and the decisions that they are of. */
export const run = once(async (first, second, permits, seen) => {
  if (!seen || seen.id !== state.video?.id) return;
  try {
    const added = await post(`/videos/${seen.id}/comparisons?seen=${seen.decisions}`, { first, second, ...permits });
    addJobs(...added);
    find("#jobs-panel").scrollIntoView({ block: "nearest" });
    tell("Both runs were put in the queue.");
    return added;
  } catch (error) {
    report(error);
  }
});

/** Show two results; what was filmed, or the first of them, lies on the left. */
export function open(group, left = "first") {
  const pair = pairs().get(group);
  if (!pair || !PLACES.every((place) => pair[place].state === "done") || pair.first.video !== state.video?.id) return;
  stop();
  state.heat = null;
  state.mode = null;
  state.comparison = { ...pair, left, decisions: state.video.decisions };
  changed("mode", "heat", "comparison");
  follow();
}

export function close() {
  if (!state.comparison) return;
  stop();
  const { group } = state.comparison;
  state.comparison = null;
  changed("comparison");
  find(`[data-play-both="${group}"]`)?.focus({ preventScroll: true });
}

/** What the address says besides the video, so that a page loaded anew shows the same. */
export const address = () => (state.comparison ? `/compare/${state.comparison.group}/${state.comparison.left}` : "");

/** Take over what an address said, once its runs are known. */
export function wish(hash) {
  const [, word, group, left] = hash.split("/");
  wished = word === "compare" ? [group, left === "raw" ? "raw" : "first"] : null;
}

function meet() {
  if (wished && state.jobs.length && state.video) {
    const [group, left] = wished;
    wished = null;
    open(group, left);
  }
  const { comparison } = state;
  if (comparison && !PLACES.every((place) => state.jobs.some((job) => job.id === comparison[place].id))) close();
}

// A result is copied while it is looked at; until all of it is there, the page says how far it is.
let timer = 0;

async function follow() {
  clearTimeout(timer);
  const { comparison } = state;
  if (!comparison) return;
  let text = "";
  try {
    const told = await Promise.all(PLACES.map((place) => get(`/jobs/${comparison[place].id}/pictures`)));
    if (state.comparison?.group !== comparison.group) return;
    const failed = told.find((one) => one.error);
    const open = !failed && told.some((one) => !one.done);
    if (failed) text = sentence(failed.error);
    else if (open) text = `Reading the results: ${Math.min(...told.map((one) => one.frames))} of ${state.video.frames} frames.`;
    if (open) timer = setTimeout(follow, OFTEN);
    if (find("#compare-progress").textContent) want(); // what was not there may be there now
  } catch (error) {
    text = error.message;
    timer = setTimeout(follow, OFTEN); // one request that was lost does not end it
  }
  find("#compare-progress").textContent = text;
}

// ---- what is seen ----

const labels = (pair) => PLACES.map((place) => pair[place].compared.label);

function show() {
  const { comparison } = state;
  find("#comparison").hidden = find("#compare-bar").hidden = !comparison;
  document.body.dataset.comparing = Boolean(comparison);
  if (state.video) window.history.replaceState(null, "", `#${state.video.id}${address()}`);
  if (!comparison) return redraw(find("#compare-facts"), null, () => []);
  const [first, second] = labels(comparison);
  const left = find("#compare-left");
  left.replaceChildren(make("option", { value: "raw" }, "As filmed"), make("option", { value: "first" }, first));
  left.value = comparison.left;
  find("#compare-right").textContent = second;
  redraw(find("#compare-facts"), comparison, () => table(comparison));
}

/** The lines of both receipts; a narrow page puts each line's name above its two values. */
function table(pair) {
  const jobs = PLACES.map((place) => pair[place]);
  const names = [...new Set(jobs.flatMap((job) => Object.keys(job.facts)))];
  const row = (...cells) => make("tr", { role: "row" }, cells.flat());
  const head = (text, scope) => make("th", { scope, role: scope === "row" ? "rowheader" : "columnheader" }, text);
  const cell = (...content) => make("td", { role: "cell" }, content);
  return [
    make("thead", { role: "rowgroup" }, row(make("td", { role: "cell" }), jobs.map((job) => head(job.compared.label, "col")))),
    make("tbody", { role: "rowgroup" },
      names.map((name) => row(head(name, "row"), jobs.map((job) => cell(sentence(job.facts[name] ?? "not said"))))),
      row(head("Warnings", "row"), jobs.map((job) => cell(job.warnings.length ? job.warnings.map((text) => make("p", {}, sentence(text))) : "None"))),
      row(head("Go on", "row"), jobs.map((job) => cell(make("div", { class: "entry-row" }, buttons(job)))))),
  ];
}

function buttons(job) {
  const { label, setting } = job.compared;
  const named = (text) => ({ "aria-label": `${text}: ${label}` });
  const chosen = Object.keys(setting).length > 0;
  return [
    chosen && make("button", { type: "button", class: "plain small", "data-use": label, ...named("Use this setting"), onclick: () => use(setting) }, icon("check"), "Use this"),
    make("a", { class: "button quiet small", href: job.files.result, download: "", ...named("Download") }, icon("download"), "Download"),
    make("a", { class: "button quiet small", href: job.files.receipt, download: "", ...named("Receipt") }, "Receipt"),
    make("button", { type: "button", class: "quiet small", ...named("Try to undo it"), onclick: () => attack(job) }, icon("attack"), "Try to undo it"),
  ];
}

/** Set the level or method of one side for the video. */
export function use({ level, method }) {
  set(level ? { level } : { method, arguments: {} });
  tell(`${sentence(level ?? method)} is set for the whole video.`);
}

/** `onAttack(JOB)` puts an attack of a result in the queue. */
export function setUp(onAttack) {
  attack = onAttack;
  find("#compare-close").addEventListener("click", close);
  find("#compare-left").addEventListener("change", (event) => {
    state.comparison = { ...state.comparison, left: event.target.value };
    changed("comparison");
  });
  on("comparison", show);
  on("jobs video", meet);
  // What is decided anew is seen in the present result.
  on("video", () => {
    const { comparison, video } = state;
    if (comparison && (video.id !== comparison.first.video || video.decisions !== comparison.decisions)) close();
  });
}
