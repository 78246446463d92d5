// Many images at once: what the grid shows (the next images, or a review of answered ones), and what a key does to all
// that are selected.

import { h, plural } from "./dom.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { suggestionOf } from "./item.js";

const NEXT_LOAD = 60;
const REVIEW_LOAD = 200;

export class Many {
  trouble = null; // why the last images could not be had; until some can
  #large = null; // the image that is looked at large

  /** on: {say(answer, n), toast(text), note(items), open(item), isSeen(time), shut(), changed(), draw()} */
  constructor(session, api, isReview, on) {
    Object.assign(this, { session, api, isReview, on });
    this.said = h("p", { class: "grid-said", role: "status" });
    this.filters = new Filters(() => this.grid.reset([]));
    this.filters.element.hidden = !isReview;
    this.grid = new Grid({
      thumb: (id) => api.thumb(id),
      load: () => (isReview ? this.#loadReview() : this.#loadNext()),
      classes: () => session.classes,
      isUnsaved: (item) => session.isUnsaved(item),
      isMeant: (item) => isReview || !item.answer,
      nothing: { say: () => this.filters.nothing(), wayOut: isReview ? this.filters.wayOut : null },
      on: {
        changed: () => this.#saySelected(),
        open: (item) => this.#enlarge(item),
        failed: (error) => this.#setTrouble(error),
        loaded: () => this.trouble && this.#setTrouble(null),
      },
    });
  }

  /** Starts over: with the images that come next, or with the review as filtered. */
  open() {
    this.trouble = null;
    this.grid.reset(this.isReview ? [] : this.#next());
  }

  /** Ids of the images that wait for an answer here. */
  held() {
    return this.grid.items.filter((item) => !item.answer).map((item) => item.id);
  }

  /** Shows the newest truth; asks for more images when all of these have an answer. */
  show() {
    this.filters.setClasses(this.session.classes, this.session.merged);
    this.grid.refresh();
    if (!this.isReview && this.grid.items.every((item) => item.answer)) this.grid.again();
  }

  /** What a key or button means for the selected images. */
  act(action, event, index) {
    if (this.grid.act(action, event)) return;
    const items = this.grid.targets();
    if (!items.length) this.on.toast("select images first");
    else if (action === "accept") this.#accept(items);
    else if (action === "flag") this.#flag(items);
    else if (action === "note") this.on.note(items);
    else if (action === "open") this.#enlarge(this.grid.atCursor ?? items[0]);
    else this.#answer(items, action === "label" ? { kind: "label", class: index } : { kind: action });
    this.on.draw();
  }

  /** What a key means while one image is large: it is about that one. Returns whether it means something there. */
  actOnLarge(action, event, index) {
    const item = this.#large;
    const { columns } = this.grid;
    const steps = { left: -1, right: 1, up: -columns, down: columns };
    if (action in steps) this.#enlarge(this.grid.step(item, steps[action]));
    else if (action === "flag") this.#flag([item]);
    else if (action === "label") this.#answerLarge(item, { kind: "label", class: index }, "human", event);
    else if (action === "skip" || action === "unsure") this.#answerLarge(item, { kind: action }, "human", event);
    else if (action === "accept" && suggestionOf(item) !== null)
      this.#answerLarge(item, { kind: "label", class: item.suggestion }, "accepted", event);
    else return false;
    return true;
  }

  #answerLarge(item, answer, source, event) {
    if (!this.on.isSeen(event.timeStamp)) return this.on.toast("wait for the image");
    this.session.answer([item], () => answer, { source });
    this.on.say(answer, 1);
    const next = this.isReview ? item : this.grid.nextOpen(item);
    if (next) this.#enlarge(next);
    else this.on.shut();
    this.on.draw();
  }

  #enlarge(item) {
    this.#large = item;
    this.on.open(item);
  }

  #answer(items, answer) {
    this.session.answer(items, () => answer, { source: items.length > 1 ? "bulk" : "human" });
    this.grid.answered();
    this.on.say(answer, items.length);
  }

  #accept(items) {
    const guessed = items.filter((item) => suggestionOf(item) !== null);
    if (!guessed.length) return this.on.toast("nothing is suggested here");
    this.session.answer(guessed, (item) => ({ kind: "label", class: item.suggestion }), { source: "accepted" });
    this.grid.answered();
    this.on.toast(guessed.length > 1 ? `${guessed.length} suggestions taken` : "suggestion taken");
  }

  #flag(items) {
    const isFlagged = this.session.flag(items);
    this.on.toast(`${plural(items.length, "image")} ${isFlagged ? "flagged" : "not flagged any more"}`);
  }

  #next() {
    const { timeline } = this.session;
    return [timeline.current, ...timeline.ahead()].filter((item) => item && !item.answer);
  }

  /** What this page has already goes before what it asks for: nobody else is shown it. */
  async #loadNext() {
    const own = this.#next().filter((item) => !this.grid.has(item.id));
    return own.length ? own : this.session.more(NEXT_LOAD);
  }

  async #loadReview() {
    // Images answered here may have left the list on the server: start that much earlier, and pass over known ones.
    const touched = this.grid.items.filter((item) => item.seq).length;
    let offset = Math.max(0, this.grid.items.length - touched);
    let isAnew = offset === 0;
    const asked = this.filters.value;
    for (;;) {
      const { saved } = this.session;
      const reply = await this.api.review({ ...asked, offset, n: REVIEW_LOAD });
      if (asked !== this.filters.value) return []; // something else is wanted by now
      this.filters.count(reply.total);
      this.filters.setPeople(reply.people);
      const fresh = reply.items.filter((item) => !this.grid.has(item.id)).map((item) => this.session.same(item, saved));
      if (fresh.length) return fresh;
      offset += reply.items.length;
      if (reply.items.length) continue;
      // The end. A new model puts the doubtful in another order: what moved up meanwhile was passed over.
      if (isAnew || this.grid.items.length >= reply.total) return [];
      offset = 0;
      isAnew = true;
    }
  }

  #setTrouble(error) {
    this.trouble = error;
    this.on.changed();
  }

  #saySelected() {
    const n = this.grid.selection.size;
    this.said.textContent = n ? `${plural(n, "image")} selected` : "Select images, then choose a class";
  }
}
