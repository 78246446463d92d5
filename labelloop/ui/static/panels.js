// What lies over the page for a moment: the help, one image large, a note, and the short word after each key.

import { button, h, setText } from "./dom.js";
import { HELP } from "./keys.js";

const TOAST = 900;

/** A layer that any key or click closes. It has the focus while it is open, so that screen readers read it. */
class Panel {
  #before = null; // what had the focus

  constructor(name, title) {
    const modal = { role: "dialog", "aria-modal": "true", "aria-label": title };
    const on = { onclick: () => this.close(), onkeydown: (event) => event.key === "Tab" && event.preventDefault() };
    this.element = h("div", { class: `cover ${name}`, hidden: true, ...modal, ...on });
  }

  get isOpen() {
    return !this.element.hidden;
  }

  /** Shows this; the arrow keys scroll it. */
  show(element) {
    if (!this.isOpen) this.#before = this.element.getRootNode().activeElement;
    this.element.replaceChildren(element);
    this.element.hidden = false;
    element.tabIndex = -1;
    element.focus({ preventScroll: true });
  }

  close() {
    this.element.hidden = true;
    this.#before?.focus({ preventScroll: true });
  }
}

export class Help extends Panel {
  constructor() {
    super("help", "All keys");
  }

  open(view) {
    const rows = HELP[view].flatMap(([keys, text]) => [h("dt", {}, h("kbd", { text: keys })), h("dd", { text })]);
    const title = view === "focus" ? "Keys" : "Keys and mouse";
    const close = button({ class: "quiet", text: "close" });
    const note = "Each answer is saved at once. More than ten classes get letters, shown beside their names.";
    this.show(h("div", { class: "panel" }, h("h2", { text: title }), h("dl", {}, ...rows), h("p", { text: note }), close));
  }
}

export class Preview extends Panel {
  #img = null;
  #since = Infinity; // when the image itself was painted, not only its place

  constructor() {
    super("preview", "One image, large");
  }

  /** answer: what was said of it, "" for nothing. */
  open(address, name, answer) {
    const img = h("img", { alt: name, decoding: "sync" }); // it is decoded by the time it is shown
    this.#img = img;
    this.#since = Infinity;
    img.onload = () => requestAnimationFrame((now) => this.#img === img && (this.#since = now));
    img.src = address;
    const caption = h("figcaption", {}, h("span", { class: "name", text: name }), answer && h("b", { text: answer }));
    this.show(h("figure", {}, img, caption));
  }

  /** Whether a key pressed at that time is meant for this image: a busy page may get to keys late. */
  isSeen(time) {
    return this.isOpen && this.#since <= time;
  }
}

/** A line of text about the images it was opened for. Only Esc throws away what was typed. */
export class Note {
  #items = [];
  #before = ""; // what the images have in common

  constructor(keep) {
    this.keep = keep;
    this.input = h("input", {
      type: "text",
      maxlength: "2000",
      placeholder: "a note: Enter keeps it, Esc cancels",
      "aria-label": "Note",
      onkeydown: (event) => this.#key(event),
      onblur: () => this.#end(true),
    });
    this.element = h("div", { class: "note panel", hidden: true }, this.input);
  }

  open(items) {
    this.#end(true);
    this.#items = items;
    this.#before = items.every(({ note }) => note === items[0].note) ? items[0].note : "";
    this.input.value = this.#before;
    this.element.hidden = false;
    this.input.focus();
  }

  #key(event) {
    event.stopPropagation();
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    this.#end(event.key === "Enter");
  }

  #end(isKept) {
    if (this.element.hidden) return;
    this.element.hidden = true;
    this.input.blur();
    const text = this.input.value.trim();
    if (isKept && text !== this.#before) this.keep(this.#items, text);
  }
}

export class Toast {
  #timer = null;

  constructor() {
    this.element = h("div", { class: "toast", role: "status", "aria-live": "polite" });
  }

  say(text, hue = null) {
    setText(this.element, text);
    this.element.style.setProperty("--hue", hue ?? "0");
    this.element.classList.toggle("colored", hue !== null);
    this.element.classList.add("on");
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.element.classList.remove("on"), TOAST);
  }
}
