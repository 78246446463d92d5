// The classes as the person sees them: the legend with its keys and bars, and the finder behind "/".

import { button, h, hue, percent, setText } from "./dom.js";
import { suggestionOf } from "./item.js";
import { keysFor } from "./keys.js";
import { near } from "./near.js";

const MANY = 12; // beyond this the likely classes stand above the list
const LIKELY = 5;
const WORTH = 0.005; // a share below is shown as 0 %: not likely

export class Legend {
  keys = [];
  #classes = [];
  #signature = JSON.stringify([[], {}]); // of what the rows show
  #rows = [];
  #likely = [];

  /** on: {pick(index, event), add(), rename()} */
  constructor(on) {
    this.on = on;
    this.list = h("div", { class: "classes", role: "group", "aria-label": "Classes" });
    this.top = h("div", { class: "likely", role: "group", "aria-label": "Most likely classes", hidden: true });
    this.none = h("p", { class: "none", text: "no suggestion here" });
    this.invite = h("p", { class: "invite", text: "What do you want to tell apart? Name the first class." });
    this.add = button({ class: "add", onclick: () => on.add(), text: "+ new class" });
    this.rename = button({ class: "rename", onclick: () => on.rename(), text: "rename…", title: "another name for a class" });
    this.rename.hidden = true; // there is no class yet
    const change = h("div", { class: "change" }, this.add, this.rename);
    this.element = h("div", { class: "legend" }, this.top, this.list, this.invite, change);
  }

  /**
   * Builds the rows again when the classes changed. firstNames: before they were renamed; keys come from these.
   * One that was merged into another has no row; its key is not given to others.
   */
  setClasses(classes, firstNames, merged) {
    const signature = JSON.stringify([classes, merged]);
    if (signature === this.#signature) return;
    this.#signature = signature;
    this.#classes = [...classes];
    this.keys = keysFor(firstNames);
    this.#rows = classes.map((name, index) => this.#row(name, index));
    this.list.replaceChildren(...this.#rows.filter(({ index }) => !(index in merged)).map((row) => row.element));
    this.#likely = Array.from({ length: classes.length > MANY ? LIKELY : 0 }, () => this.#row("", 0));
    this.top.replaceChildren(this.none, ...this.#likely.map((row) => row.element));
    this.top.hidden = !this.#likely.length;
    this.invite.hidden = classes.length > 0;
    this.rename.hidden = !classes.length;
  }

  /** Shows the guess for an image (or no guess: null), what was answered, and how many each class has. */
  show(item, counts) {
    const guess = item && !item.exam ? new Map(item.probs) : new Map();
    const suggestion = suggestionOf(item);
    const answered = item?.answer?.kind === "label" ? item.answer.class : null;
    this.#rows.forEach((row, index) => {
      this.#fill(row, guess.get(index), index === suggestion, index === answered, counts[index]);
    });
    const best = [...guess.keys()].filter((index) => guess.get(index) >= WORTH).slice(0, LIKELY);
    this.none.hidden = best.length > 0;
    this.#likely.forEach((row, place) => {
      const index = best[place];
      row.element.classList.toggle("blank", index === undefined);
      if (index === undefined) return;
      this.#name(row, index);
      this.#fill(row, guess.get(index), index === suggestion, index === answered, counts[index]);
    });
  }

  #row(name, index) {
    const row = {
      index,
      key: h("kbd"),
      name: h("span", { class: "name" }),
      enter: h("kbd", { class: "enter", text: "Enter", hidden: true }),
      share: h("span", { class: "share" }),
      count: h("span", { class: "count" }),
      bar: h("span", { class: "bar" }),
    };
    row.element = button(
      { class: "class", onclick: (event) => this.on.pick(row.index, event) },
      row.key,
      row.name,
      row.enter,
      row.share,
      row.count,
      row.bar,
    );
    if (name) this.#name(row, index);
    return row;
  }

  #name(row, index) {
    row.index = index;
    setText(row.name, this.#classes[index]);
    setText(row.key, this.keys[index].toUpperCase());
    row.element.title = this.#classes[index];
    row.element.setAttribute("aria-keyshortcuts", this.keys[index]);
    row.element.style.setProperty("--hue", hue(index));
  }

  #fill(row, share, isSuggestion, isAnswer, count) {
    row.element.classList.toggle("suggested", isSuggestion);
    row.element.classList.toggle("answered", isAnswer);
    row.enter.hidden = !isSuggestion;
    setText(row.share, share === undefined ? "" : percent(share));
    setText(row.count, count ? String(count) : "");
    row.bar.style.transform = `scaleX(${share ?? 0})`;
  }
}

const ASKS = { pick: "find a class…", add: "name of the new class", rename: "which class gets another name?" };
const SAYS = { pick: "", add: "Enter adds it, Esc closes", rename: "Enter chooses, Esc closes" };

/** Type a few letters, Enter chooses; a name that is not there can be added, one that is there changed. */
export class Finder {
  #classes = [];
  #keys = [];
  #counts = [];
  #found = []; // class indices, then null for "add"
  #at = 0;
  #merged = {};
  #wish = "pick"; // or "add", "rename"
  #renamed = null; // index of the class whose new name is being typed
  #into = null; // index of the class that has this name already: Enter merges
  #hinted = ""; // what was said last of a class that was probably meant
  #opened = 0; // how often: a reply that comes after it was closed has nothing to close or choose any more

  /** on: {pick(index), add(name) -> Promise<index>, rename(index, name), merge(index, into) -> Promise, closed()} */
  constructor(on) {
    this.on = on;
    this.input = h("input", {
      type: "text",
      spellcheck: "false",
      autocomplete: "off",
      maxlength: "200",
      role: "combobox",
      "aria-expanded": "true",
      "aria-autocomplete": "list",
      "aria-controls": "found",
      oninput: () => this.#typed(),
      onkeydown: (event) => this.#key(event),
      onblur: () => this.close(),
    });
    this.list = h("div", { class: "found", id: "found", role: "listbox", "aria-label": "Classes" });
    this.message = h("p", { class: "message", role: "status" });
    this.element = h(
      "div",
      { class: "finder panel", role: "dialog", hidden: true },
      this.input,
      this.list,
      this.message,
    );
  }

  get isOpen() {
    return !this.element.hidden;
  }

  open({ classes, merged, keys, counts, wish = "pick" }) {
    this.#classes = classes;
    this.#merged = merged;
    this.#keys = keys;
    this.#counts = counts;
    this.#wish = wish;
    this.#renamed = null;
    this.#into = null;
    this.#opened++;
    this.input.value = "";
    this.input.placeholder = ASKS[wish];
    for (const one of [this.element, this.input]) one.setAttribute("aria-label", ASKS[wish]);
    setText(this.message, SAYS[wish]);
    this.element.hidden = false;
    this.#look();
    this.input.focus();
  }

  close() {
    if (!this.isOpen) return;
    this.element.hidden = true;
    this.input.blur();
    this.on.closed();
  }

  #look() {
    const typed = this.input.value.trim();
    const text = typed.toLowerCase();
    const isAdding = this.#wish === "add";
    const rank = (name) => (name.startsWith(text) ? 0 : name.includes(text) ? 1 : 2);
    const ranked = this.#classes.map((name, index) => [rank(name.toLowerCase()), index]);
    const isThere = ([place, index]) => place < 2 && !(index in this.#merged);
    const matches = ranked.filter(isThere).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    this.#found = this.#renamed !== null || (isAdding && !typed) ? [] : matches.map(([, index]) => index);
    const isKnown = this.#classes.some((name) => name.toLowerCase() === text);
    if (isAdding && typed && !isKnown) this.#found.unshift(null);
    else if (this.#wish === "pick" && typed && !matches.length) this.#found.push(null);
    this.#offer(this.#found.includes(null) ? near(typed, this.#classes).filter((index) => !(index in this.#merged)) : []);
    this.#at = 0;
    this.#draw();
  }

  /** Says which class was probably meant, and has it in the list: below "add", which is what Enter does. */
  #offer(meant) {
    this.#found.push(...meant.filter((index) => !this.#found.includes(index)));
    const hint = meant.length ? `Did you mean “${this.#classes[meant[0]]}”? It is in the list: ↓, Enter` : "";
    if (hint || this.message.textContent === this.#hinted) setText(this.message, hint || SAYS[this.#wish]);
    this.#hinted = hint;
  }

  #draw() {
    const rows = this.#found.slice(0, 60).map((index, place) =>
      button(
        {
          class: place === this.#at ? "row current" : "row",
          id: `found-${place}`,
          role: "option",
          "aria-selected": String(place === this.#at),
          onclick: () => this.#choose(index),
        },
        h("span", {
          class: "name",
          text: index === null ? `add new class “${this.input.value.trim()}”` : this.#classes[index],
        }),
        h("span", { class: "count", text: index === null ? "" : String(this.#counts[index] || "") }),
        index !== null && this.#keys[index] ? h("kbd", { text: this.#keys[index].toUpperCase() }) : null,
      ),
    );
    this.list.replaceChildren(...rows);
    this.input.setAttribute("aria-activedescendant", rows[this.#at]?.id ?? "");
    rows[this.#at]?.scrollIntoView({ block: "nearest" });
  }

  #key(event) {
    event.stopPropagation();
    const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (move) {
      this.#at = Math.max(0, Math.min(this.#found.length - 1, this.#at + move));
      this.#draw();
    } else if (event.key === "Enter" && this.#into !== null) this.#merge();
    else if (event.key === "Enter" && this.#renamed !== null) this.#rename();
    else if (event.key === "Enter" && this.#found.length) this.#choose(this.#found[this.#at]);
    else if (event.key === "Escape") this.close();
    else return;
    event.preventDefault();
  }

  async #choose(index) {
    if (index === null) return this.#addTyped();
    if (this.#wish === "rename") return this.#askName(index);
    this.close();
    return this.on.pick(index);
  }

  async #addTyped() {
    const name = this.input.value.trim();
    const opened = this.#opened;
    const isAdding = this.#wish === "add";
    if (isAdding) {
      this.input.value = ""; // what is typed before the reply is the next name
      setText(this.message, `adding ${name}…`);
      this.#look();
    }
    let index;
    try {
      index = await this.on.add(name);
    } catch (error) {
      if (this.#isStill(opened)) this.#refuse(name, error);
      return;
    }
    if (!this.#isStill(opened)) return;
    if (!isAdding) {
      this.close();
      this.on.pick(index);
      return;
    }
    this.#classes = [...this.#classes, name];
    setText(this.message, `added ${name}; type another, or Esc`);
    this.#look();
  }

  /** Says why a class was not added; its name is back where nothing was typed since. */
  #refuse(name, error) {
    this.input.value ||= name;
    setText(this.message, error.message);
    this.#look();
  }

  #isStill(opened) {
    return this.isOpen && this.#opened === opened;
  }

  #askName(index) {
    this.#renamed = index;
    this.input.value = this.#classes[index];
    this.input.setAttribute("aria-label", `new name of ${this.#classes[index]}`);
    this.#typed();
    this.input.select();
  }

  #typed() {
    this.#into = null;
    if (this.#renamed !== null)
      setText(this.message, `a new name for “${this.#classes[this.#renamed]}”, in all its answers: Enter, or Esc`);
    this.#look();
  }

  /** A name that another class has: both are one class then, if that is meant. */
  #rename() {
    const name = this.input.value.trim();
    const [index, before] = [this.#renamed, this.#classes[this.#renamed]];
    if (!name) return;
    const other = this.#classes.findIndex(
      (one, k) => k !== index && !(k in this.#merged) && one.toLowerCase() === name.toLowerCase(),
    );
    if (other < 0) {
      this.#change(() => name !== before && this.on.rename(index, name));
      return;
    }
    this.#into = other;
    const n = this.#counts[index] || 0;
    const labels = `${n || "no"} ${n === 1 ? "label" : "labels"}`;
    const into = this.#classes[other];
    setText(this.message, `There is a class “${into}”. Enter merges “${before}” (${labels}) into it; Esc does not.`);
  }

  #merge() {
    this.#change(() => this.on.merge(this.#renamed, this.#into));
  }

  async #change(change) {
    const opened = this.#opened;
    try {
      await change();
    } catch (error) {
      if (this.#isStill(opened)) setText(this.message, error.message);
      return;
    }
    if (this.#isStill(opened)) this.close();
  }
}
