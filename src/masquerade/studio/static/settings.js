// "More": the method with its arguments, the regions, and how the rest is treated.

import { find, findAll, make, redraw, sentence } from "./dom.js";
import { busy, set, setArgument } from "./edits.js";
import { on, state } from "./store.js";

const TYPING = 350; // ms without a key, after which a number is sent

const OUTSIDE = { keep: "Leave the surroundings", black: "Black out the surroundings" };
const AUDIO = {
  drop: "Remove the sound",
  keep: "Keep the sound (a voice identifies)",
  pitch: "Shift the voices (words stay)",
};

const method = (name) => state.about.methods.find((one) => one.name === name);

/** Call `send` when a field was left, or when nothing was typed for a moment. */
function whenTyped(input, send) {
  let timer = 0;
  const now = () => {
    clearTimeout(timer);
    timer = 0;
    if (input.reportValidity()) send(); // else the browser says beside the field what is wrong
  };
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(now, TYPING);
  });
  input.addEventListener("change", () => timer && now());
}

/** The number in a field, null where it is empty, undefined where it is none. */
function number(input) {
  if (input.value.trim() === "") return input.validity.badInput ? undefined : null;
  const value = Number(input.value);
  return Number.isFinite(value) ? value : undefined;
}

// A field in which somebody is typing is left alone.
const fill = (input, value) => {
  if (document.activeElement !== input || input.tagName === "SELECT") input.value = value ?? "";
};

const options = (names, words = {}) => names.map((name) => make("option", { value: name }, words[name] ?? name));

// A region source that needs names behind its own, as in parts:eyes,lips.
const needsMore = (name) => name === "parts";

function build() {
  const { about } = state;
  find("#method").replaceChildren(...options(about.methods.map((one) => one.name)));
  find("#regions").replaceChildren(...options(about.regions.map((one) => one.name)), make("option", { value: "…" }, "Others …"));
  find("#outside").replaceChildren(...options(["keep", "black"], OUTSIDE));
  find("#audio").replaceChildren(...options(about.audio, AUDIO));
}

function show() {
  const { video } = state;
  if (!video) return;
  const { settings } = video;
  fill(find("#method"), settings.method);
  showRegions(settings.regions);
  fill(find("#outside"), settings.outside);
  fill(find("#audio"), settings.audio);
  fill(find("#threshold"), settings.threshold);
  fill(find("#mask-scale"), settings.mask_scale);
  fill(find("#feather"), settings.feather);
  const card = method(settings.method);
  find("#method-help").textContent = card ? `Hides ${card.hides}. Can it be undone? ${sentence(card.undo)}.` : "";
  redraw(find("#arguments"), [settings.method], () => (card?.arguments ?? []).map(argumentField));
  for (const input of findAll("[data-argument]")) showArgument(input, settings.arguments);
}

function showRegions(value) {
  const select = find("#regions");
  const known = state.about.regions.some((one) => one.name === value);
  const text = find("#regions-text");
  // Whoever has just chosen "Others …" and types keeps the field, whatever the server says meanwhile.
  const typed = select.value === "…" || needsMore(select.value);
  if (document.activeElement !== text && !(document.activeElement === select && typed)) {
    select.value = known ? value : "…";
    find("#regions-more").hidden = known;
  }
  fill(text, value);
  find("#regions-help").textContent = sentence(state.about.regions.find((one) => one.name === value)?.help ?? "");
}

function argumentField(argument) {
  const id = `argument-${argument.name}`;
  const input = argumentInput(argument, id);
  const send = () => {
    const value = readArgument(argument, input);
    if (value !== undefined) setArgument(argument.name, value);
  };
  if (argument.kind === "choice" || argument.kind === "flag") input.addEventListener("change", send);
  else whenTyped(input, send);
  const label = make("label", { for: id }, sentence(argument.name.replaceAll("_", " ")));
  if (argument.kind === "flag") return make("div", { class: "field field-flag" }, input, label);
  return make("div", { class: "field" }, label, input);
}

function argumentInput(argument, id) {
  const names = { id, "data-argument": argument.name, "data-kind": argument.kind };
  if (argument.kind === "choice") return make("select", names, options((argument.choices ?? []).map(String)));
  if (argument.kind === "flag") return make("input", { ...names, type: "checkbox" });
  if (argument.kind === "text") return make("input", { ...names, type: "text", autocomplete: "off" });
  return make("input", {
    ...names, type: "number", step: argument.kind === "integer" ? "1" : "any", inputmode: "decimal",
    placeholder: argument.default === null ? "automatic" : String(argument.default),
  });
}

function readArgument(argument, input) {
  if (argument.kind === "flag") return input.checked;
  if (argument.kind === "text") return input.value === "" ? (argument.default ?? null) : input.value;
  if (argument.kind === "choice") return (argument.choices ?? []).find((one) => String(one) === input.value);
  const value = number(input);
  return value === null ? (argument.default ?? null) : value;
}

function showArgument(input, values) {
  const known = method(state.video.settings.method)?.arguments.find((one) => one.name === input.dataset.argument);
  const value = values?.[input.dataset.argument] ?? known?.default ?? null;
  if (input.type === "checkbox") input.checked = Boolean(value);
  else fill(input, value === null ? "" : String(value));
}

function setUpFields() {
  // Another method has other arguments: the old ones are not sent.
  find("#method").addEventListener("change", (event) => set({ method: event.target.value, arguments: {} }));
  find("#outside").addEventListener("change", (event) => set({ outside: event.target.value }));
  find("#audio").addEventListener("change", (event) => set({ audio: event.target.value }));
  const regions = find("#regions");
  const text = find("#regions-text");
  regions.addEventListener("change", () => {
    const other = regions.value === "…" || needsMore(regions.value);
    find("#regions-more").hidden = !other;
    if (!other) return set({ regions: regions.value });
    if (needsMore(regions.value)) text.value = `${regions.value}:`;
    text.focus();
  });
  text.addEventListener("change", () => text.value.trim() && set({ regions: text.value.trim() }));
  for (const [id, name, empty] of [["#threshold", "threshold", null], ["#mask-scale", "mask_scale"], ["#feather", "feather"]]) {
    const input = find(id);
    whenTyped(input, () => {
      const value = number(input);
      if (value === undefined || (value === null && empty === undefined)) return;
      if (busy() || value !== state.video.settings[name]) set({ [name]: value });
    });
  }
}

export function setUp() {
  setUpFields();
  on("about", build);
  on("video settings", show);
}
