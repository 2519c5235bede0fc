// Decoded pictures: a small memory of the last ones, and "the latest wins" with one request at a time.

import { isAbort, picture } from "./api.js";

const KEPT = 40; // pictures of at most 960 pixels: about 2 MB each when decoded
const memory = new Map();

/** A decoded picture by its address, from memory where it was seen lately. */
export async function load(path, signal) {
  let decoded = memory.get(path);
  if (decoded) memory.delete(path);
  else decoded = await picture(path, signal);
  memory.set(path, decoded);
  // Those that fall out are left to the browser: one that is still being drawn must not be closed.
  if (memory.size > KEPT) memory.delete(memory.keys().next().value);
  return decoded;
}

/** Forget everything, such as when a video was removed. */
export const forget = () => memory.clear();

/**
 * Does one piece of work at a time. What is wanted meanwhile waits, and only the newest of it is done.
 * A hurried wish stops the work that runs: what it would bring is out of date.
 */
export class Latest {
  #work;
  #failed;
  #next = null;
  #stop = null;

  constructor(work, failed) {
    this.#work = work;
    this.#failed = failed;
  }

  get busy() {
    return this.#stop !== null;
  }

  want(wish, { hurry = false } = {}) {
    this.#next = wish;
    if (!this.#stop) this.#run();
    else if (hurry) this.#stop.abort();
  }

  cancel() {
    this.#next = null;
    this.#stop?.abort();
  }

  async #run() {
    while (this.#next) {
      const wish = this.#next;
      this.#next = null;
      this.#stop = new AbortController();
      try {
        await this.#work(wish, this.#stop.signal);
      } catch (error) {
        if (!isAbort(error)) this.#failed?.(error, wish);
      }
    }
    this.#stop = null;
  }
}

/** Put a decoded picture into a canvas; the old one stays until this very moment. */
export function paint(canvas, decoded) {
  if (canvas.width !== decoded.width) canvas.width = decoded.width;
  if (canvas.height !== decoded.height) canvas.height = decoded.height;
  canvas.getContext("2d").drawImage(decoded, 0, 0);
  canvas.dataset.painted = "true";
}

export function wipe(canvas) {
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  delete canvas.dataset.painted;
}
