// Small helpers to make and find elements; nothing here knows what the page is about.

export const find = (selector, within = document) => within.querySelector(selector);
export const findAll = (selector, within = document) => [...within.querySelectorAll(selector)];

/** Make an element: make("button", {class: "quiet", onclick: f, "data-x": 1}, "text", child, ...). */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "selected") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An icon of the sprite in index.html; it says nothing to screen readers. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

export const svgElement = (tag, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

const drawnBy = new WeakMap(); // parent -> the key of what it holds

/** Replace children, but only where what they say has changed, so that focus and screen readers stay calm. */
export function redraw(parent, key, build) {
  const text = JSON.stringify(key);
  if (drawnBy.get(parent) === text) return;
  const focused = parent.contains(document.activeElement) ? nameOf(document.activeElement) : null;
  drawnBy.set(parent, text);
  parent.replaceChildren(...[build()].flat().filter(Boolean));
  // Whoever was on a button that was drawn anew stays on it.
  if (focused) find(focused, parent)?.focus({ preventScroll: true });
}

/** What finds an element that was drawn anew: its id, or the first of its data attributes, which says what it is of. */
function nameOf(element) {
  if (element.id) return `#${CSS.escape(element.id)}`;
  const name = [...element.attributes].find((one) => one.name.startsWith("data-"));
  return name ? `[${name.name}="${CSS.escape(name.value)}"]` : null;
}

const MOMENT = 700; // ms in which a second click belongs to a double click

/** A function that does the same thing once: the same call does nothing while it runs, and for a moment after. */
export function once(action) {
  const running = new Set();
  return async (...given) => {
    const key = JSON.stringify(given);
    if (running.has(key)) return undefined;
    running.add(key);
    try {
      return await action(...given);
    } finally {
      setTimeout(() => running.delete(key), MOMENT);
    }
  };
}

export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Seconds as m:ss.t or h:mm:ss. */
export function clock(seconds) {
  const tenths = Math.floor(seconds * 10 + 1e-6); // 1.2 s is no multiple of a tenth to a computer
  const whole = Math.floor(tenths / 10);
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  if (hours) return `${hours}:${two(minutes)}:${two(whole % 60)}`;
  return `${minutes}:${two(whole % 60)}.${tenths % 10}`;
}

export function bytes(count) {
  if (count < 1e6) return `${Math.max(1, Math.round(count / 1e3))} kB`;
  return count < 1e9 ? `${(count / 1e6).toFixed(1)} MB` : `${(count / 1e9).toFixed(1)} GB`;
}

export const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1) : "");

export const span = (first, last) => (first === last ? `frame ${first}` : `frames ${first} to ${last}`);
