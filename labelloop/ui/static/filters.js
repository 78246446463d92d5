// Which answered images the review shows, and in what order.

import { button, h } from "./dom.js";

const SHOW = [
  ["all", "All"],
  ["disagree", "Model sees it differently"],
  ["flagged", "Flagged"],
  ["noted", "With a note"],
  ["unsure", "Unsure"],
  ["skipped", "Skipped"],
  ["exam", "Exam"],
];
const ORDER = [
  ["new", "newest first"],
  ["old", "oldest first"],
  ["doubt", "most doubtful first"],
];

export class Filters {
  value = { show: "all", class: null, order: "new" };
  #signature = "";

  constructor(changed) {
    this.changed = changed;
    this.chips = SHOW.map(([show, text]) =>
      button({ class: "chip", "data-show": show, text, onclick: () => this.#set({ show, class: null }) }),
    );
    this.byClass = h("select", { "aria-label": "Class", onchange: () => this.#pick() });
    this.order = h(
      "select",
      { "aria-label": "Order", onchange: () => this.#set({ order: this.order.value }) },
      ...options(ORDER),
    );
    this.total = h("span", { class: "total" });
    this.element = h(
      "nav",
      { class: "filters" },
      ...this.chips,
      this.byClass,
      h("span", { class: "tail" }, this.total, this.order),
    );
    this.setClasses([], {});
    this.#mark();
  }

  /** merged: by index, classes that are part of another; there is nothing to show of them. */
  setClasses(classes, merged) {
    const there = classes.map((name, index) => [String(index), name]).filter(([index]) => !(index in merged));
    if (JSON.stringify(there) === this.#signature) return;
    this.#signature = JSON.stringify(there);
    this.byClass.replaceChildren(...options([["", "One class…"], ...there]));
    this.byClass.value = this.value.class === null ? "" : String(this.value.class);
  }

  #pick() {
    const index = this.byClass.value;
    this.#set(index === "" ? { show: "all", class: null } : { show: "class", class: Number(index) });
  }

  #set(change) {
    Object.assign(this.value, change);
    this.#mark();
    this.byClass.blur(); // keys belong to the images again
    this.order.blur();
    this.changed();
  }

  #mark() {
    for (const chip of this.chips) chip.setAttribute("aria-pressed", String(chip.dataset.show === this.value.show));
    this.byClass.classList.toggle("on", this.value.show === "class");
    if (this.value.show !== "class") this.byClass.value = "";
  }
}

function options(pairs) {
  return pairs.map(([value, text]) => h("option", { value, text }));
}
