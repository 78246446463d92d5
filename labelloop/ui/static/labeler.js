// The labeling page: mounts into any element, listens to the keyboard, and lets session, views and panels do the rest.
// mount({parentElement, data: {base, by, mode, reopen}}) -> {update({data}), destroy()}. Nothing here knows Streamlit.
// reopen() asks for the project to be opened again, where somebody can do that; it may be missing.

import { Api } from "./api.js";
import { Finder, Legend } from "./classes.js";
import { button, h, hue } from "./dom.js";
import { Focus } from "./focus.js";
import { suggestionOf, wordFor } from "./item.js";
import { readKey } from "./keys.js";
import { Many } from "./many.js";
import { acked, pressed, whenPainted } from "./measure.js";
import { Help, Note, Preview, Toast } from "./panels.js";
import { Session } from "./session.js";
import { Status } from "./status.js";

const QUEUE = 24; // images asked for at a time
const STYLE_AGAIN = 500; // ms until the style is asked for again

export function mount({ parentElement, data }) {
  const root =
    parentElement instanceof ShadowRoot
      ? parentElement
      : (parentElement.shadowRoot ?? parentElement.attachShadow({ mode: "open" }));
  let page = new Labeler(root, data);
  return {
    update({ data: now }) {
      const same = now.base === page.data.base && now.by === page.data.by && now.mode === page.data.mode;
      if (same) {
        page.data = now;
        return page.fit();
      }
      page.destroy();
      page = new Labeler(root, now);
    },
    destroy: () => page.destroy(),
  };
}

class Labeler {
  #refused = ""; // the last text that must not go unseen
  #drawing = false;
  #tabbed = false; // the focus was last moved by keyboard

  constructor(root, data) {
    this.data = data;
    this.api = new Api(data.base);
    const on = {
      changed: () => this.#drawSoon(),
      saved: acked,
      refused: (text) => this.#refuse(text),
      closed: () => this.data.reopen?.(),
      begins: () => this.#isReview() && this.many.open(),
    };
    const wanted = data.mode === "review" ? 0 : QUEUE;
    const held = () => (this.view === "grid" ? this.many.held() : []);
    this.session = new Session({ api: this.api, base: data.base, by: data.by, wanted, held, on });
    this.view = data.mode === "review" ? "grid" : "focus";
    this.#build(root);
    document.addEventListener("keydown", this.#key, { capture: true });
    document.addEventListener("pointerdown", this.#pointed, { capture: true });
    window.addEventListener("beforeunload", this.#leave);
    window.addEventListener("resize", this.fit);
    for (const wait of [50, 400, 1500]) setTimeout(this.fit, wait); // elements above may still be arriving
    this.session.start().then(() => this.#isReview() || this.focus.reserve.start());
    this.#draw();
  }

  destroy() {
    document.removeEventListener("keydown", this.#key, { capture: true });
    document.removeEventListener("pointerdown", this.#pointed, { capture: true });
    window.removeEventListener("beforeunload", this.#leave);
    window.removeEventListener("resize", this.fit);
    this.session.close();
    this.focus.close();
    this.many.grid.close();
    this.element.remove();
    this.style.remove();
  }

  /** Fills the window from here down. */
  fit = () => {
    const top = Math.max(0, this.element.getBoundingClientRect().top);
    this.element.style.setProperty("--top", `${Math.round(top)}px`);
  };

  #pointed = () => (this.#tabbed = false);
  #isReview = () => this.data.mode === "review";
  #keysOf = () => (this.#isReview() ? "review" : this.view);

  // ---- the page

  #build(root) {
    const { session, api } = this;
    this.style = h("link", { rel: "stylesheet", href: new URL("labeler.css", import.meta.url).href });
    this.toast = new Toast();
    this.help = new Help();
    this.preview = new Preview();
    this.note = new Note((items, text) => this.#keepNote(items, text));
    this.legend = new Legend({
      pick: (index, event) => this.#act("label", event, index),
      add: () => this.#find("add"),
      rename: () => this.#find("rename"),
    });
    this.finder = new Finder({
      pick: (index) => this.#act("label", new Event("found"), index),
      add: (name) => session.addClass(name),
      rename: (index, name) => this.#rename(index, name),
      merge: (index, into) => this.#merge(index, into),
      closed() {},
    });
    this.focus = new Focus(session, api, {
      open: (item) => this.#browse(item),
      ready: () => this.#draw(),
      zoom: (event) => this.#act("zoom", event),
    });
    this.many = new Many(session, api, this.#isReview(), {
      say: (answer, n) => this.#say(answer, n),
      toast: (text) => this.toast.say(text),
      note: (items) => this.note.open(items),
      open: (item) => this.preview.open(api.view(item.id), item.name, this.#wordFor(item.answer)),
      isSeen: (time) => this.preview.isSeen(time),
      shut: () => this.preview.close(),
      changed: () => this.#drawSoon(),
      draw: () => this.#draw(),
    });
    this.status = new Status(this.data.by, this.#buttons());
    this.element = this.#layout();
    this.element.style.visibility = "hidden"; // until the style is there
    this.element.dataset.mode = this.data.mode;
    this.style.addEventListener("load", () => {
      this.element.style.visibility = "";
      this.fit();
    });
    // A server that was just away: another address is asked for again.
    this.style.addEventListener("error", () => setTimeout(() => (this.style.href += "?"), STYLE_AGAIN));
    root.append(this.style, this.element);
  }

  #layout() {
    const { focus, many, status, legend, finder, help, preview, note, toast } = this;
    const views = [focus.element, many.grid.element, status.trouble, note.element, toast.element];
    const aside = h("aside", {}, many.said, legend.element, this.#actions());
    const body = h("div", { class: "body" }, h("div", { class: "views" }, ...views), aside);
    const over = [finder.element, help.element, preview.element];
    return h("div", { class: "ll" }, status.element, many.filters.element, body, ...over);
  }

  #buttons() {
    const grid = button(
      { class: "quiet", title: "many images at once", onclick: (event) => this.#act("grid", event) },
      "Grid ",
      h("kbd", { text: "G" }),
    );
    const help = button(
      { class: "quiet", title: "all keys", onclick: (event) => this.#act("help", event) },
      "Keys ",
      h("kbd", { text: "?" }),
    );
    grid.hidden = this.#isReview();
    this.toGrid = grid;
    return [grid, help];
  }

  #actions() {
    const action = (name, text, key) =>
      button(
        { class: "action", "data-action": name, onclick: (event) => this.#act(name, event) },
        text,
        h("kbd", { text: key }),
      );
    return h(
      "div",
      { class: "actions" },
      action("skip", "Skip", "S"),
      action("unsure", "Unsure", "U"),
      action("flag", "Flag", "F"),
      action("note", "Note", "N"),
      action("find", "Find", "/"),
      action("undo", "Undo", "⌫"),
    );
  }

  #draw() {
    const { session } = this;
    const isFocus = this.view === "focus";
    this.legend.setClasses(session.classes, session.firstNames, session.merged);
    this.element.dataset.view = this.view;
    this.toGrid.setAttribute("aria-pressed", String(!isFocus));
    this.focus.element.hidden = !isFocus;
    this.many.grid.element.hidden = isFocus;
    if (isFocus) this.focus.show();
    else this.many.show();
    this.legend.show(isFocus ? session.timeline.current : null, session.state?.counts ?? []);
    this.status.show(session, this.#refused, isFocus ? null : this.many.trouble);
  }

  #drawSoon() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      if (this.element.isConnected) this.#draw();
    });
  }

  #refuse(text) {
    this.#refused = text;
    this.#drawSoon();
  }

  // ---- keys and buttons

  #key = (event) => {
    const isSeen = !this.element.style.visibility; // not before the style is there
    if (!this.element.isConnected || !isSeen) return;
    this.#tabbed ||= event.key === "Tab";
    const read = readKey(event, this.legend.keys, this.#keysOf(), this.#tabbed);
    if (!read) return;
    event.preventDefault();
    event.stopPropagation();
    const moves = /^(back|forward|left|right|up|down)$/.test(read.action);
    if (!event.repeat || moves) this.#act(read.action, event, read.index);
  };

  #act(action, event, index) {
    const meant = this.session.merged[index] ?? index; // the key of a class that was merged
    if (this.preview.isOpen && this.many.actOnLarge(action, event, meant)) return;
    const panel = [this.help, this.preview].find((one) => one.isOpen);
    panel?.close();
    if (panel && !(panel === this.preview && action === "undo")) return;
    this.finder.close(); // it may still wait for a new class, which is not for the next image
    if (action !== "undo") this.#refused = "";
    if (this.#common(action)) return;
    if (this.view === "focus") this.#actOnImage(action, event, meant);
    else this.many.act(action, event, meant);
  }

  #common(action) {
    if (action === "help") this.help.open(this.#keysOf());
    else if (action === "search") this.many.filters.search.open();
    else if (action === "find") this.#find("pick");
    else if (action === "train") this.#train();
    else if (action === "grid") this.#toggleGrid();
    else if (action === "undo") this.#undo();
    else return false;
    return true;
  }

  #actOnImage(action, event, index) {
    const { session } = this;
    const item = session.timeline.current;
    if (action === "label") this.#answer({ kind: "label", class: index }, "human", event);
    else if (action === "skip" || action === "unsure") this.#answer({ kind: action }, "human", event);
    else if (action === "accept") this.#accept(item, event);
    else if (action === "back" || action === "forward") this.#step(action === "back" ? -1 : 1);
    else if (action === "zoom" && this.focus.shown) this.focus.zoom.toggle(this.focus.shown, event);
    else if (action === "darker" || action === "brighter") this.focus.lighten(action === "darker" ? -1 : 1);
    else if (action === "close") this.focus.zoom.off();
    else if (action === "flag" && item) this.toast.say(session.flag([item]) ? "flagged" : "flag removed");
    else if (action === "note" && item) return this.note.open([item]);
    this.#draw();
  }

  #answer(answer, source, event) {
    const { session, focus } = this;
    const item = session.timeline.current;
    const skipsBroken = answer.kind === "skip" && item && focus.pictures.hasFailed(item.id);
    if (!focus.isMeant(item, event.timeStamp) && !skipsBroken) return this.toast.say("wait for the image");
    if (focus.isDoubled(event)) return this.toast.say("a double click counts once");
    const seq = session.answer([item], () => answer, {
      source,
      seconds: skipsBroken ? null : focus.seconds(event.timeStamp),
    });
    session.timeline.advance(focus.pictures.isReady);
    this.#draw();
    this.#say(answer);
    whenPainted(pressed(event, item.id, seq), () => focus.shown !== null);
    session.refill();
  }

  #accept(item, event) {
    const suggestion = suggestionOf(item);
    if (suggestion !== null) this.#answer({ kind: "label", class: suggestion }, "accepted", event);
    else this.toast.say("nothing is suggested here");
  }

  #undo() {
    const items = this.session.undo();
    if (!items) return this.toast.say("nothing to undo");
    this.toast.say(items.length > 1 ? `undone, ${items.length} images` : "undone");
    if (this.view === "focus") this.session.timeline.goTo(items[0]);
    else this.many.grid.reveal(items[0]);
    this.#draw();
  }

  #step(by) {
    if (!this.session.timeline.step(by))
      this.toast.say(by < 0 ? "this is the first one" : "this is the last one so far");
    this.session.refill();
  }

  #browse(item) {
    this.session.timeline.goTo(item);
    this.#draw();
  }

  #say(answer, n = 1) {
    const word = this.#wordFor(answer);
    this.toast.say(n > 1 ? `${n} × ${word}` : word, answer.kind === "label" ? hue(answer.class) : null);
  }

  #wordFor(answer) {
    return wordFor(answer, this.session.classes);
  }

  #keepNote(items, text) {
    this.session.note(items, text);
    this.toast.say(text ? "noted" : "note removed");
    this.#draw();
  }

  #find(wish) {
    const { classes, merged, state } = this.session;
    this.finder.open({ classes, merged, keys: this.legend.keys, counts: state?.counts ?? [], wish });
  }

  async #rename(index, name) {
    const before = this.session.classes[index];
    await this.session.renameClass(index, name);
    this.toast.say(`${before} is now ${this.session.classes[index]}`);
  }

  async #merge(index, into) {
    const before = this.session.classes[index];
    const target = await this.session.mergeClass(index, into);
    this.toast.say(`${before} is ${this.session.classes[target]} now; Progress takes them apart`);
  }

  async #train() {
    try {
      await this.session.train();
      this.toast.say("fine-tuning starts");
    } catch (error) {
      this.#refuse(error.message);
    }
  }

  #leave = (event) => {
    if (this.session.outbox.waiting) event.preventDefault();
  };

  // ---- the grid

  #toggleGrid() {
    if (this.#isReview()) return;
    const { timeline } = this.session;
    this.view = this.view === "grid" ? "focus" : "grid";
    if (this.view === "focus" && timeline.current?.answer) timeline.advance(this.focus.pictures.isReady);
    this.#draw();
    if (this.view === "grid") this.many.open();
  }
}
