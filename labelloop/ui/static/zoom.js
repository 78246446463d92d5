// A closer look at the picture on screen: pixel for pixel where the original is large, twice as large at least, and
// around the mouse. Ends with the same key, and with the picture.

import { h } from "./dom.js";

const [LEAST, MOST] = [2, 12];
const VIEW = 1280; // pixels of the longest side that the page has anyway; more are fetched only to look closer

export class Zoom {
  #img = null; // the picture as it was, while one is looked at closely
  #at = null; // where the mouse is

  /** frame: holds one <img>; full(id) -> address of the picture with all its pixels */
  constructor(frame, full) {
    this.frame = frame;
    this.full = full;
    frame.addEventListener("pointermove", (event) => this.#follow(event));
    frame.addEventListener("pointerleave", () => (this.#at = null));
  }

  /** Begins or ends; a click or tap begins where it was made. */
  toggle(item, event) {
    if (this.#img) return this.off();
    if (event.type === "click") this.#follow(event);
    const img = this.frame.querySelector("img");
    if (!img) return;
    this.#img = img;
    const { width, height } = img.getBoundingClientRect();
    const shown = Math.min(width, (height * item.w) / item.h) * devicePixelRatio;
    this.frame.style.setProperty("--zoom", Math.min(MOST, Math.max(LEAST, item.w / shown)));
    this.#point(this.#at ?? { x: 0.5, y: 0.5 });
    this.frame.classList.add("closer");
    if (Math.max(item.w, item.h) > VIEW) this.#sharpen(item, img);
  }

  off() {
    if (!this.#img) return;
    this.frame.classList.remove("closer");
    const img = this.#img;
    this.#img = null;
    const child = this.frame.firstElementChild;
    if (child && child !== img) child.replaceWith(img);
  }

  /** All pixels in the place of fewer, once they are there; where they do not come, fewer have to do. */
  async #sharpen(item, img) {
    const sharp = h("img", { src: this.full(item.id), alt: img.alt, draggable: "false" });
    sharp.style.cssText = img.style.cssText; // as large on screen
    const isThere = await sharp.decode().then(
      () => true,
      () => false,
    );
    if (isThere && this.#img === img && img.isConnected) img.replaceWith(sharp);
  }

  #follow(event) {
    const box = this.frame.getBoundingClientRect();
    this.#at = { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
    if (this.#img) this.#point(this.#at);
  }

  /** Each edge of the picture is reached at the same edge of the frame. */
  #point({ x, y }) {
    this.frame.style.setProperty("--x", `${(100 * x).toFixed(1)}%`);
    this.frame.style.setProperty("--y", `${(100 * y).toFixed(1)}%`);
  }
}
