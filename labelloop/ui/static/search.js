// The field in which a person types parts of a file's name, and when these are looked for.

import { h } from "./dom.js";

const PAUSE = 150; // ms without a key after which the words are looked for

export class Search {
  #timer = null;
  #looked = ""; // the words that were looked for last

  /** changed(): there are other words */
  constructor(changed) {
    this.changed = changed;
    this.element = h("input", {
      type: "search",
      placeholder: "Find a file name",
      title: "part of the path below the image folder; all words must occur (Ctrl+F)",
      "aria-label": "Find images by file name",
      "aria-keyshortcuts": "Control+F Meta+F",
      maxlength: "200",
      spellcheck: "false",
      autocomplete: "off",
      autocapitalize: "off",
      enterkeyhint: "search",
      oninput: () => this.#lookSoon(),
      onkeydown: (event) => this.#key(event),
    });
  }

  get words() {
    return this.element.value.trim();
  }

  open() {
    this.element.focus();
    this.element.select();
  }

  clear() {
    this.element.value = "";
    this.#look();
  }

  /** Looks for what was typed, if that was not done yet, and gives the keys back to the page. */
  leave() {
    this.#look();
    this.element.blur();
  }

  #key(event) {
    if (event.isComposing || (event.key !== "Enter" && event.key !== "Escape")) return;
    event.preventDefault(); // Esc would empty the field
    event.stopPropagation();
    this.leave();
  }

  #lookSoon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), PAUSE);
  }

  #look() {
    clearTimeout(this.#timer);
    if (this.words === this.#looked || !this.element.isConnected) return;
    this.#looked = this.words;
    this.changed();
  }
}
