// The order of images in front of one person: answered ones behind, the next ones ahead. No DOM, no network.

const PINNED = 3; // images after the current one that a fresh choice may not replace; more for a fast hand
const MEMORY = 400; // answered images kept for looking back

export class Timeline {
  items = [];
  at = 0;
  #chosen = null; // the person went there on purpose
  #answered = []; // when the answers of the last second were given, ms

  get current() {
    return this.items[this.at] ?? null;
  }

  has(id) {
    return this.items.some((item) => item.id === id);
  }

  /** Unanswered images after the current one. */
  ahead() {
    return this.items.slice(this.at + 1).filter((item) => !item.answer);
  }

  /** Ids that this client keeps: on screen, passed over, or about to be shown. */
  have() {
    const kept = this.#kept();
    return this.items.filter((item) => kept.has(item) && !item.answer).map((item) => item.id);
  }

  /** Answered images from earlier visits, oldest first. */
  addPast(past) {
    const fresh = past.filter((item) => !this.has(item.id));
    this.items.unshift(...fresh);
    this.at += fresh.length;
  }

  /** Replaces all but what is kept, here or as one of the ids in `held`, by the server's freshest choice. */
  merge(fresh, held = []) {
    const kept = this.#kept();
    const current = this.current;
    const items = this.items.filter((item) => kept.has(item) || held.includes(item.id));
    const known = new Set(items.map((item) => item.id));
    items.push(...fresh.filter((item) => !known.has(item.id)));
    this.items = items;
    this.at = current ? items.indexOf(current) : this.#nextOpen(0, () => true);
    this.#forget();
  }

  /** To the next unanswered image; one that is ready goes before one that still loads. */
  advance(isReady) {
    this.#answered.push(performance.now());
    this.#chosen = null;
    this.at = this.#nextOpen(this.at + 1, isReady);
  }

  /** Instead of waiting for the current image: another one that is ready, or else one from spare(), if it has any. */
  bridge(isReady, spare) {
    if (!this.#isWaiting(isReady)) return;
    const here = this.at;
    this.at = this.#nextOpen(here, isReady);
    const item = this.#isWaiting(isReady) && spare();
    if (!item) return;
    this.at = here;
    this.items.splice(here, 0, item);
  }

  /** One step back or ahead without an answer. Returns whether there was one. */
  step(by) {
    const to = this.at + by;
    if (to < 0 || to >= this.items.length) return false;
    this.at = to;
    this.#chosen = this.current;
    return true;
  }

  remove(item) {
    const found = this.items.indexOf(item);
    if (found < 0) return;
    this.items.splice(found, 1);
    if (found < this.at) this.at--;
  }

  goTo(item) {
    const found = this.items.findIndex((one) => one.id === item.id);
    if (found < 0) this.items.splice(this.at, 0, item);
    else this.at = found;
    this.#chosen = item;
  }

  /** The images around the current one, null where there is none. */
  around(before, after) {
    return Array.from({ length: before + after + 1 }, (_, i) => this.items[this.at - before + i] ?? null);
  }

  #kept() {
    const open = this.items.slice(this.at + 1).filter((item) => !item.answer);
    const dropped = new Set(open.slice(Math.max(PINNED, this.#pace())));
    return new Set(this.items.filter((item) => !dropped.has(item)));
  }

  /** Answers in the last second: as many pictures will be needed before those of a fresh choice can be here. */
  #pace() {
    const now = performance.now();
    this.#answered = this.#answered.filter((time) => now - time < 1000);
    return this.#answered.length;
  }

  #isWaiting(isReady) {
    const { current } = this;
    return !current || !(current.answer || current === this.#chosen || isReady(current.id));
  }

  #nextOpen(from, isReady) {
    const open = (start) => this.items.findIndex((item, i) => i >= start && !item.answer);
    let next = open(from);
    if (next < 0) next = open(0);
    if (next < 0) return this.items.length;
    const ready = this.items.findIndex((item, i) => i >= next && i < next + 8 && !item.answer && isReady(item.id));
    if (ready > next) this.items.splice(next, 0, ...this.items.splice(ready, 1));
    return next;
  }

  #forget() {
    const extra = Math.min(
      this.at - MEMORY,
      this.items.findIndex((item) => !item.answer),
    );
    if (extra <= 0) return;
    this.items.splice(0, extra);
    this.at -= extra;
  }
}
