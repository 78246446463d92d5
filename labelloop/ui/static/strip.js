// The film strip: what was just answered, what is on screen, what comes next. The current image keeps its place.

import { h, hue, setText } from "./dom.js";
import { wordFor } from "./item.js";

const BEFORE = 5;
const AFTER = 6;

export class Strip {
  #cells = [];

  /** on: {open(item)} */
  constructor({ thumb, open }) {
    this.thumb = thumb;
    this.#cells = Array.from({ length: BEFORE + AFTER + 1 }, (_, place) => this.#cell(place, open));
    this.element = h("div", { class: "strip", "aria-label": "Film strip" }, ...this.#cells.map((cell) => cell.element));
  }

  show(timeline, classes, isUnsaved) {
    timeline.around(BEFORE, AFTER).forEach((item, place) => {
      const cell = this.#cells[place];
      cell.item = item;
      cell.element.classList.toggle("none", !item);
      if (!item) return;
      const address = this.thumb(item.id);
      if (cell.address !== address) cell.img.src = cell.address = address;
      const { kind } = item.answer ?? {};
      const word = wordFor(item.answer, classes);
      setText(cell.word, word);
      cell.element.title = word ? `${item.name}: ${word}` : item.name;
      cell.element.style.setProperty("--hue", hue(item.answer?.class ?? 0));
      cell.element.classList.toggle("labeled", kind === "label");
      cell.element.classList.toggle("answered", Boolean(kind));
      cell.element.classList.toggle("unsaved", isUnsaved(item));
      cell.element.classList.toggle("flagged", Boolean(item.flagged));
    });
  }

  #cell(place, open) {
    const cell = { item: null, address: "" };
    cell.img = h("img", { alt: "", draggable: "false", decoding: "async", fetchpriority: "low" });
    cell.img.addEventListener("load", () => (cell.img.style.visibility = ""));
    cell.img.addEventListener("error", () => {
      cell.img.style.visibility = "hidden"; // no torn picture
      cell.address = ""; // the next show() tries again
    });
    cell.word = h("span", { class: "word" });
    cell.element = h(
      "div",
      { class: place === BEFORE ? "cell current none" : "cell none", onclick: () => cell.item && open(cell.item) },
      cell.img,
      h("span", { class: "tick" }),
      cell.word,
    );
    return cell;
  }
}
