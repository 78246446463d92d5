// Which answered images the review shows, and in what order.

import { button, h, plural, setText } from "./dom.js";
import { Search } from "./search.js";

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

const EVERYTHING = { show: "all", class: null, by: null };

export class Filters {
  value = { ...EVERYTHING, order: "new", find: "" }; // another object after each change
  #signature = "";
  #people = [];

  constructor(changed) {
    this.changed = changed;
    this.chips = SHOW.map(([show, text]) =>
      button({ class: "chip", "data-show": show, text, onclick: () => this.#choose({ show, class: null }) }),
    );
    this.search = new Search(() => this.#set({ find: this.search.words }));
    this.byClass = h("select", { "aria-label": "Class", onchange: () => this.#pick() });
    this.byWho = h("select", { "aria-label": "Answered by", onchange: () => this.#pickWho() });
    this.order = h(
      "select",
      { "aria-label": "Order", onchange: () => this.#choose({ order: this.order.value }) },
      ...options(ORDER),
    );
    this.total = h("span", { class: "total", role: "status" });
    this.widen = button({ class: "chip", text: "Look among all answers", onclick: () => this.#choose(EVERYTHING) });
    const clear = button({ class: "chip", text: "Clear the search", onclick: () => this.search.clear() });
    this.wayOut = h("div", { class: "way-out" }, this.widen, clear);
    this.element = h(
      "nav",
      { class: "filters" },
      this.search.element,
      ...this.chips,
      this.byClass,
      this.byWho,
      h("span", { class: "tail" }, this.total, this.order),
    );
    this.setClasses([], {});
    this.setPeople([]);
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

  /** Who has answered. With one person there is nothing to choose; the one that is chosen stays, answers or not. */
  setPeople(people) {
    const { by } = this.value;
    const names = by === null || people.includes(by) ? people : [...people, by];
    this.byWho.hidden = names.length < 2;
    if (areSame(names, this.#people) && this.byWho.options.length) return;
    this.#people = [...names];
    const texts = names.map((name, index) => [String(index), `by: ${name || "no name"}`]);
    this.byWho.replaceChildren(...options([["", "by: everybody"], ...texts]));
    this.byWho.value = by === null ? "" : String(names.indexOf(by));
  }

  /** Says how many images there are. */
  count(total) {
    setText(this.total, `${plural(total, "image")}${this.value.find ? " found" : ""}`);
  }

  /** What is said where no image is left. */
  nothing() {
    const { find } = this.value;
    if (!find) return "No images here.";
    const words = find.split(/\s+/).map((word) => `“${word}”`);
    return `${this.#isNarrow() ? "None of these images" : "No answered image"} has ${words.join(" and ")} in its path.`;
  }

  #isNarrow = () => this.value.show !== "all" || this.value.by !== null;

  #pick() {
    const index = this.byClass.value;
    this.#choose(index === "" ? { show: "all", class: null } : { show: "class", class: Number(index) });
  }

  #pickWho() {
    const index = this.byWho.value;
    this.#choose({ by: index === "" ? null : this.#people[Number(index)] });
  }

  #choose(change) {
    this.search.leave();
    for (const select of [this.byClass, this.byWho, this.order]) select.blur(); // keys belong to the images again
    this.#set(change);
  }

  #set(change) {
    this.value = { ...this.value, ...change };
    this.#mark();
    this.changed();
  }

  #mark() {
    const { show, by, find } = this.value;
    for (const chip of this.chips) chip.setAttribute("aria-pressed", String(chip.dataset.show === show));
    this.byClass.classList.toggle("on", show === "class");
    if (show !== "class") this.byClass.value = "";
    this.byWho.classList.toggle("on", by !== null);
    if (by === null) this.byWho.value = "";
    this.wayOut.hidden = !find;
    this.widen.hidden = !this.#isNarrow();
  }
}

function areSame(some, others) {
  return some.length === others.length && some.every((one, index) => one === others[index]);
}

function options(pairs) {
  return pairs.map(([value, text]) => h("option", { value, text }));
}
