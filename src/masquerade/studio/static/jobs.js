// Anonymizing the whole video, and what became of it.

import { get, post, remove } from "./api.js";
import * as comparison from "./comparison.js";
import { find, icon, make, once, plural, redraw, sentence } from "./dom.js";
import { settled } from "./edits.js";
import { ask, report, tell } from "./notice.js";
import { stop, togglePlay } from "./playback.js";
import { addJobs, askJobs, changed, marksKnown, on, openMarks, searching, state, visibleTracks } from "./store.js";
import { seek } from "./viewer.js";

const allowed = new Map(); // job -> what it was allowed to publish without
const KINDS = { anonymize: "Anonymize", attack: "Try to undo it" };
const STATES = { waiting: "Waiting", running: "Running", done: "Done", failed: "Not published", cancelled: "Cancelled" };

export const active = () => state.jobs.some((job) => job.state === "waiting" || job.state === "running");

/** What the server says of its jobs; new ends are told to screen readers too. */
export async function refresh() {
  const before = new Map(state.jobs.map((job) => [job.id, job.state]));
  if (!(await askJobs(() => get("/jobs")))) return;
  for (const job of state.jobs) {
    const was = before.get(job.id);
    if (!was || was === job.state || !["done", "failed", "cancelled"].includes(job.state)) continue;
    tell(`${KINDS[job.kind]}, ${job.name}: ${job.error ?? STATES[job.state]}`);
  }
  changed("jobs");
}

/** Put a job in the queue; `seen` is the video and the decisions that it is of. */
const start = once(async (body, permits, seen) => {
  if (!seen || seen.id !== state.video?.id) return;
  try {
    const job = await post(`/videos/${seen.id}/jobs?seen=${seen.decisions}`, { ...body, ...permits });
    allowed.set(job.id, permits);
    addJobs(job);
    find("#jobs-panel").scrollIntoView({ block: "nearest" });
    tell("It was put in the queue.");
  } catch (error) {
    report(error);
  }
});

let goOn = null; // what begins when the dialog's questions are answered

/** Ask before a whole video is written, where something is open; else begin: `begin(SEEN)`, of the decisions that are asked about. */
export async function check(begin) {
  const seen = await settled();
  if (!seen || find("#check-dialog").open) return;
  goOn = () => begin(seen); // others may decide while the dialog is open
  const { video } = state;
  const known = marksKnown();
  const open = known ? openMarks().length : 0;
  const visible = visibleTracks().length;
  const points = [];
  if (!known) points.push("The marks are not known yet; look, or wait.");
  if (open) points.push(`${plural(open, "place")} ${open === 1 ? "was" : "were"} not looked at.`);
  if (visible || video.only.length) {
    points.push(visible ? `${plural(visible, "person", "people")} ${visible === 1 ? "stays" : "stay"} visible.` : "Only who was chosen is hidden.");
  }
  if (searching()) points.push("The search is still going on. There may be more places to look at.");
  if (video.scan?.state === "failed") points.push("The search failed: the rest of the video was not searched.");
  if (points.length === 0) return goOn();
  find("#check-list").replaceChildren(...points.map((text) => make("li", {}, text)));
  find("#check-look").hidden = open === 0;
  // What is offered first is to look; where there is nothing to look at, to go on.
  find("#check-go").className = known && open === 0 ? "primary" : "plain";
  find("#check-dialog").showModal();
}

function look() {
  find("#check-dialog").close();
  stop();
  comparison.close(); // what is shown of it, or on a map, is not what this run would hide
  if (state.heat) {
    state.heat = null;
    changed("heat");
  }
  const [first] = openMarks();
  if (first) {
    seek(first.first);
    tell(first.text, { seen: false });
  }
  find("#viewer").focus();
}

function show() {
  const jobs = [...state.jobs].reverse();
  find("#jobs-empty").hidden = jobs.length > 0;
  // Progress is filled in apart, so that a button is not replaced under the pointer twice a second.
  const key = jobs.map(({ done, seconds, total, ...rest }) => ({ ...rest, mine: state.video?.id === rest.video }));
  const pairs = comparison.pairs();
  redraw(find("#jobs"), key, () => jobs.map((job) => {
    const pair = pairs.get(job.compared?.group);
    if (!pair) return entry(job);
    return job === pair.second ? pairEntry(pair) : null; // both are one entry
  }));
  for (const job of jobs) showProgress(job);
}

function showProgress(job) {
  const bar = find(`[data-job="${job.id}"] progress`);
  if (!bar) return;
  if (job.total) {
    bar.max = job.total;
    bar.value = job.done;
  } else bar.removeAttribute("value");
  const text = job.state === "waiting" ? "Waiting for its turn" : progressText(job);
  find(`[data-job="${job.id}"] .job-progress-text`).textContent = text;
}

function progressText(job) {
  if (!job.total) return "Running";
  const left = job.done > 0 && job.seconds > 2 ? (job.seconds / job.done) * (job.total - job.done) : null;
  const rest = left === null ? "" : left < 60 ? ", less than a minute left" : `, about ${plural(Math.round(left / 60), "minute")} left`;
  return `${Math.round((100 * job.done) / job.total)} %${rest}`;
}

const MARKS = { done: "check", failed: "warning", cancelled: "close", running: "play", waiting: "clock" };

function entry(job) {
  const running = job.state === "waiting" || job.state === "running";
  const bad = job.kind === "attack" && job.exit_code === 4;
  const word = bad ? "Something was recovered" : job.kind === "attack" && job.state === "failed" ? "Failed" : STATES[job.state];
  return make(
    "li",
    { class: "entry job", "data-job": job.id, "data-state": job.state, "data-kind": job.kind },
    make("div", { class: "entry-head" },
      make("b", {}, KINDS[job.kind] ?? job.kind),
      make("span", { class: `badge ${job.state === "failed" || bad ? "badge-bad" : ""}` }, icon(bad ? "warning" : MARKS[job.state]), word),
    ),
    make("p", { class: "job-name muted" }, job.compared ? `${job.name}, ${job.compared.label}` : job.name),
    running && make("div", { class: "job-progress" },
      make("progress", { "aria-label": `Progress of ${job.name}` }),
      make("span", { class: "job-progress-text muted" })),
    job.error && make("p", { class: "entry-note", role: "status" }, icon("warning"), sentence(job.error)),
    job.warnings?.length > 0 && make("ul", { class: "job-warnings" }, job.warnings.map((text) => make("li", {}, icon("warning"), sentence(text)))),
    job.summary?.length > 0 && make("ul", { class: "job-summary" }, job.summary.map((text) => make("li", {}, sentence(text)))),
    job.files?.saved && job.state === "done" && make("p", { class: "muted" }, `Saved in the studio’s folder as ${job.files.saved}`),
    mayPublish(job) && publishForm(job, "Publish all the same", async () => start({ kind: "anonymize", looked_at: [job.id] }, permits(job), await settled())),
    make("div", { class: "entry-row" }, links(job), actions(job, running)),
  );
}

const ENDED = ["done", "failed", "cancelled"];
// Of a job that failed by exit code 4: what whoever looked at the frames may allow.
const ALLOWABLE = /allow.(empty|gaps)|nothing to hide was found/i;

/** Two runs of one video that are to be compared. */
function pairEntry(pair) {
  const both = [pair.first, pair.second];
  const running = both.some((job) => !ENDED.includes(job.state));
  const done = both.every((job) => job.state === "done");
  const now = running ? (both.some((job) => job.state === "running" || job.state === "done") ? "running" : "waiting") : done ? "done" : both.some((job) => job.state === "failed") ? "failed" : "cancelled";
  const names = both.map((job) => job.compared.label).join(" and ");
  return make(
    "li",
    { class: "entry job", "data-comparison": pair.group, "data-state": now },
    make("div", { class: "entry-head" },
      make("b", {}, "Compare"),
      make("span", { class: `badge ${now === "failed" ? "badge-bad" : ""}` }, icon(MARKS[now]), STATES[now]),
    ),
    make("p", { class: "job-name muted" }, pair.first.name),
    make("ul", { class: "pair-runs" }, both.map(pairRun)),
    mayRepeat(pair) && publishForm(pair.second, "Run both all the same", () => repeat(pair)),
    make("div", { class: "entry-row" },
      done && pair.first.video === state.video?.id && make("button", { type: "button", class: "primary small", "data-play-both": pair.group, "aria-label": `Play both: ${names}`, onclick: () => play(pair) }, icon("play"), "Play both"),
      make("button", {
        type: "button", class: "quiet small", [running ? "data-cancel" : "data-forget"]: pair.group,
        "aria-label": `${running ? "Cancel" : "Remove"} the comparison of ${names}`,
        onclick: () => dropPair(both, running, names),
      }, icon(running ? "close" : "delete"), running ? "Cancel" : "Remove"),
    ),
  );
}

function pairRun(job) {
  const running = !ENDED.includes(job.state);
  return make(
    "li",
    { "data-job": job.id, "data-state": job.state },
    make("div", { class: "entry-head" }, make("b", {}, sentence(job.compared.label)), !running && make("span", { class: "muted" }, job.facts.Size?.split(",")[0] ?? STATES[job.state])),
    running && make("div", { class: "job-progress" },
      make("progress", { "aria-label": `Progress of ${job.compared.label}` }),
      make("span", { class: "job-progress-text muted" })),
    job.error && make("p", { class: "entry-note", role: "status" }, icon("warning"), sentence(job.error)),
  );
}

function play(pair) {
  comparison.open(pair.group);
  find("#compare-bar").scrollIntoView({ block: "start" });
  find("#viewer").focus({ preventScroll: true });
  togglePlay(); // opening stopped what was played
}

// Both runs are asked for anew where one of them was not published for what it did not find, and the
// other one likewise, or is done: of a run that ended otherwise nobody knows what would be allowed.
function mayRepeat(pair) {
  const both = [pair.first, pair.second];
  const asked = both.filter((job) => job.state === "failed" && job.exit_code === 4 && ALLOWABLE.test(job.error ?? ""));
  const named = both.every((job) => job.state === "done" || asked.includes(job));
  const before = allowed.get(pair.first.id) ?? {};
  return asked.length > 0 && named && pair.first.video === state.video?.id && !(before.allow_empty && before.allow_gaps);
}

/** Ask for both runs anew, and allow no more than what they named. */
async function repeat(pair) {
  const both = [pair.first, pair.second];
  const given = Object.assign({}, ...both.map(permits));
  const settings = both.map((job) => job.compared.setting);
  const added = await comparison.run(...settings, { ...given, looked_at: both.map((job) => job.id) }, await settled());
  for (const job of added ?? []) allowed.set(job.id, given);
}

async function dropPair(both, running, names) {
  if (!running && !(await ask(`Remove the comparison of ${names} and its files from the studio?`, "Remove"))) return;
  try {
    // The one that waits first: it would else begin when the other one ends.
    for (const job of [...both].reverse()) if (!running || !ENDED.includes(job.state)) await end(job, running);
    await refresh();
  } catch (error) {
    report(error);
  }
}

function links(job) {
  const files = job.files ?? {};
  return [
    files.result && make("a", { class: "button primary small", href: files.result, download: "", "data-download": job.id }, icon("download"), "Download"),
    files.receipt && make("a", { class: "button quiet small", href: files.receipt, download: "", "data-receipt": job.id }, "Receipt"),
    files.page && make("a", { class: "button quiet small", href: files.page, target: "_blank", rel: "noopener", "data-page": job.id }, "Open its page"),
  ];
}

function actions(job, running) {
  const attackable = job.kind === "anonymize" && job.state === "done" && job.video && job.video === state.video?.id;
  return [
    attackable && make("button", { type: "button", class: "quiet small", "data-attack": job.id, onclick: () => attack(job) }, icon("attack"), "Try to undo it"),
    make("button", {
      type: "button", class: "quiet small", [running ? "data-cancel" : "data-forget"]: job.id,
      "aria-label": `${running ? "Cancel" : "Remove"} ${KINDS[job.kind]}, ${job.name}`,
      onclick: () => drop(job, running),
    }, icon(running ? "close" : "delete"), running ? "Cancel" : "Remove"),
  ];
}

const attack = async (job) => start({ kind: "attack", job: job.id }, {}, await settled());

async function drop(job, running) {
  const keeps = job.files?.result || job.files?.page;
  if (!running && keeps && !(await ask(`Remove ${job.name} and its file from the studio?`, "Remove"))) return;
  try {
    await end(job, running);
    await refresh();
  } catch (error) {
    report(error);
  }
}

/** Cancel a job that runs, or remove one; one that was done just before it is cancelled stays. */
const end = (job, running) => remove(`/jobs/${job.id}${running ? "?cancel=true" : ""}`);

/** What would have to be allowed, beside what was. */
function permits(job) {
  const text = job.error ?? "";
  const empty = /allow.empty|nothing to hide was found/i.test(text);
  const gaps = /allow.gaps/i.test(text);
  const before = allowed.get(job.id) ?? {};
  return { ...before, ...(empty && { allow_empty: true }), ...(gaps && { allow_gaps: true }) };
}

// A job that failed although everything was allowed failed for another reason.
function mayPublish(job) {
  if (job.kind !== "anonymize" || job.compared || job.state !== "failed" || job.exit_code !== 4) return false;
  if (!ALLOWABLE.test(job.error ?? "")) return false; // as detail that is still there
  const before = allowed.get(job.id) ?? {};
  const newer = state.jobs.slice(state.jobs.indexOf(job) + 1).some((one) => one.video === job.video && one.kind === "anonymize" && !one.compared);
  return job.video === state.video?.id && !newer && !(before.allow_empty && before.allow_gaps);
}

function publishForm(job, words, again) {
  const id = `looked-${job.id}`;
  const button = make("button", { type: "button", class: "small danger", disabled: true, "data-publish": job.id, onclick: again }, words);
  const box = make("input", { type: "checkbox", id, "data-looked-frames": job.id, onchange: () => (button.disabled = !box.checked) });
  return make("div", { class: "publish" },
    make("p", {}, "Whoever was not found is not hidden. Look at the marked frames first."),
    make("label", { for: id }, box, "I looked at these frames"),
    button);
}

export function setUp() {
  comparison.setUp(attack);
  find("#run").addEventListener("click", () => check((seen) => start({ kind: "anonymize" }, {}, seen)));
  find("#check-look").addEventListener("click", look);
  find("#check-go").addEventListener("click", () => {
    find("#check-dialog").close();
    goOn();
  });
  on("jobs video", show);
}
