// What the page tells: errors in the alert region, progress in the quiet one.

import { find } from "./dom.js";

let quietTimer = 0;

/** An error, in one sentence. It stays until it is closed or the next action succeeds. */
export function alarm(message) {
  find("#alert-text").textContent = message;
  find("#alert").hidden = false;
}

export function calm() {
  if (find("#alert").hidden) return;
  find("#alert").hidden = true;
  find("#alert-text").textContent = "";
}

/** Something for screen readers, and for a moment at the foot of the page unless it is seen elsewhere. */
export function tell(message, { seen = true } = {}) {
  if (!seen) {
    find("#spoken").textContent = message;
    return;
  }
  const place = find("#status");
  place.textContent = message;
  place.dataset.seen = "true";
  clearTimeout(quietTimer);
  quietTimer = setTimeout(() => delete place.dataset.seen, 4500);
}

/** An error of a request; lost connections and 401 have their own places. */
export function report(error) {
  if (error.status === 0 || error.status === 401 || error.name === "AbortError") return;
  if (error.status === undefined) console.error(error);
  alarm(error.message);
}

/** Ask before something is lost; resolves to whether the user wants it. */
export function ask(question, yes) {
  const dialog = find("#ask-dialog");
  find("#ask-text").textContent = question;
  find("#ask-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

export function setUp() {
  find("#alert-close").addEventListener("click", calm);
}
