// One tile of a wall: an image with its answer and what the model makes of it.

import { h, hue, percent, setText } from "./dom.js";
import { suggestionOf, wordFor } from "./item.js";
import { CAPTION } from "./layout.js";

export class Tile {
  constructor({ index, src, place: [x, y], width }) {
    this.img = h("img", { src, alt: "", draggable: "false", decoding: "async" });
    this.chip = h("span", { class: "chip" });
    this.guess = h("span", { class: "guess" });
    this.element = h(
      "div",
      { class: "tile", "data-index": index },
      h("div", { class: "pic" }, this.img, h("span", { class: "mark" })),
      h("div", { class: "caption" }, this.chip, this.guess),
    );
    this.element.style.cssText = `width:${width}px;height:${width + CAPTION}px;transform:translate(${x}px,${y}px)`;
  }

  /** Shows the newest truth; names: of the classes. */
  show(item, names, { isUnsaved, isSelected, isCursor }) {
    const { classList, style } = this.element;
    const { answer } = item;
    const isLabel = answer?.kind === "label";
    setText(this.chip, wordFor(answer, names));
    setText(this.guess, guessed(item, names) || item.note || "");
    this.element.title = item.note ? `${item.name}\n${item.note}` : item.name;
    style.setProperty("--hue", hue(isLabel ? answer.class : 0));
    classList.toggle("labeled", isLabel);
    classList.toggle("answered", Boolean(answer));
    classList.toggle("unsaved", isUnsaved);
    classList.toggle("flagged", Boolean(item.flagged));
    classList.toggle("selected", isSelected);
    classList.toggle("cursor", isCursor);
  }

  remove() {
    this.element.remove();
  }
}

/** What the model takes an image for, where that says something new. */
function guessed(item, names) {
  const { answer, probability } = item;
  const suggestion = suggestionOf(item);
  const differs = answer?.kind === "label" && suggestion !== answer.class;
  return suggestion !== null && (!answer || differs) ? `${names[suggestion]}? ${percent(probability ?? 0)}` : "";
}
