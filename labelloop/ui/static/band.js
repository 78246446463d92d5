// A box drawn with the mouse, as files are selected on a desktop.

import { h } from "./dom.js";

const STILL = 6; // px up to which a press that moves is a click
const EDGE = 24; // px from the upper or lower edge where the wall scrolls along, and how far

export class Band {
  element = h("div", { class: "band", hidden: true });
  #drag = null;

  /** scroller: the element that scrolls; on: {start(keeps), move(box)}, keeps: whether what is selected stays so. */
  constructor(scroller, on) {
    this.scroller = scroller;
    this.on = on;
    scroller.addEventListener("pointerdown", (event) => this.#press(event));
    scroller.addEventListener("pointermove", (event) => this.#move(event));
    scroller.addEventListener("pointerup", () => this.#release());
    scroller.addEventListener("pointercancel", () => this.#release());
  }

  /** Whether the last press drew a box, so that the click which follows is none. */
  get wasDrawn() {
    return Boolean(this.#drag?.moved);
  }

  #press(event) {
    this.#drag = null;
    const onScrollbar = event.offsetX > this.scroller.clientWidth && event.target === this.scroller;
    if (event.pointerType === "touch" || event.button !== 0 || onScrollbar) return;
    const [x, y] = this.#point(event);
    this.#drag = { x, y, id: event.pointerId, moved: false, down: true };
    this.on.start(event.ctrlKey || event.metaKey || event.shiftKey);
  }

  #move(event) {
    const drag = this.#drag;
    if (!drag?.down) return;
    const [x, y] = this.#point(event);
    if (!drag.moved && Math.hypot(x - drag.x, y - drag.y) < STILL) return;
    if (!drag.moved) this.scroller.setPointerCapture(drag.id);
    drag.moved = true;
    const [left, right] = [Math.min(x, drag.x), Math.max(x, drag.x)];
    const [top, bottom] = [Math.min(y, drag.y), Math.max(y, drag.y)];
    this.element.hidden = false;
    this.element.style.cssText = `transform:translate(${left}px,${top}px);width:${right - left}px;height:${bottom - top}px`;
    this.#scrollAlong(event);
    this.on.move([left, top, right, bottom]);
  }

  #release() {
    this.element.hidden = true;
    if (this.#drag) this.#drag.down = false; // `moved` stays for the click that follows
  }

  #point(event) {
    const edge = this.scroller.getBoundingClientRect();
    return [event.clientX - edge.left + this.scroller.scrollLeft, event.clientY - edge.top + this.scroller.scrollTop];
  }

  #scrollAlong(event) {
    const edge = this.scroller.getBoundingClientRect();
    if (event.clientY < edge.top + EDGE) this.scroller.scrollTop -= EDGE;
    else if (event.clientY > edge.bottom - EDGE) this.scroller.scrollTop += EDGE;
  }
}
