// A small menu beside a button: arrow keys, Home, End, Escape, and one level below.

import { clamp, find, icon, make } from "./dom.js";

const GAP = 6; // pixels between the button and its menu

let anchor = null;
let place;

/** Items are {action, text, hint?, icon?, on?, off?, run or more}; null is a line between them. */
export function open(beside, items, label) {
  close();
  anchor = beside;
  anchor.setAttribute("aria-expanded", "true");
  place.setAttribute("aria-label", label);
  fill(items);
}

export function close() {
  if (!anchor) return;
  const again = place.contains(document.activeElement);
  place.hidden = true;
  anchor.setAttribute("aria-expanded", "false");
  const same = button();
  anchor = null;
  if (again) same?.focus({ preventScroll: true });
}

// The button may have been drawn anew since the menu was opened.
const button = () => (anchor.isConnected ? anchor : (find(`[data-track="${anchor.dataset.track}"]`) ?? anchor));

function fill(items) {
  place.replaceChildren(...items.map(entry));
  place.hidden = false;
  put();
  (find('[aria-checked="true"]:not([disabled])', place) ?? entries()[0])?.focus({ preventScroll: true });
}

function entry(item) {
  if (!item) return make("hr", { role: "separator" });
  const words = make("span", { class: "menu-words" }, item.text, item.hint && make("small", {}, item.hint));
  return make(
    "button",
    {
      type: "button", role: item.on === undefined ? "menuitem" : "menuitemradio", tabindex: "-1",
      "aria-checked": item.on === undefined ? null : String(item.on), "data-action": item.action, disabled: item.off,
      "aria-haspopup": item.more ? "menu" : null,
      onclick: () => {
        if (item.more) return fill(item.more());
        close();
        item.run();
      },
    },
    item.icon && icon(item.icon), words, item.on && icon("check"), item.more && icon("right"),
  );
}

const entries = () => [...place.querySelectorAll("button:not([disabled])")];

/** Below the button, or above it where there is no room. */
function put() {
  const box = button().getBoundingClientRect();
  place.style.left = place.style.top = "0";
  const { offsetWidth: width, offsetHeight: height } = place;
  const below = box.bottom + GAP + height <= innerHeight;
  const top = below ? box.bottom + GAP : Math.max(GAP, box.top - GAP - height);
  place.style.left = `${clamp(box.left, GAP, Math.max(GAP, innerWidth - width - GAP))}px`;
  place.style.top = `${clamp(top, GAP, Math.max(GAP, innerHeight - height - GAP))}px`;
}

function onKey(event) {
  const all = entries();
  const at = all.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
  if (to !== undefined) all[(to + all.length) % all.length]?.focus();
  else if (event.key === "Escape" || event.key === "Tab") close();
  else return event.stopPropagation();
  event.preventDefault();
  event.stopPropagation();
}

export function setUp() {
  place = find("#menu");
  place.addEventListener("keydown", onKey);
  document.addEventListener("pointerdown", (event) => {
    if (anchor && !place.contains(event.target) && !button().contains(event.target)) close();
  });
  window.addEventListener("resize", close);
  // The menu stays with its button when the page is scrolled.
  document.addEventListener("scroll", (event) => anchor && event.target !== place && put(), true);
}
