// One person labeling one project: what was answered, what can be undone, what comes next. No DOM.

import { Refused } from "./api.js";
import { entry } from "./entry.js";
import { meanMerged } from "./merged.js";
import { Outbox } from "./outbox.js";
import { Steps } from "./steps.js";
import { Timeline } from "./timeline.js";

const LOW = 6; // ask for more images when fewer are ahead
const BUSY_POLL = 2000;
const IDLE_POLL = 10_000;
const AFTER_ANSWER = 700; // by then the server has learned from it and chosen anew
const NOT_OPEN = 400; // what any question gets while the project is not open

export class Session {
  state = null;
  timeline = new Timeline();
  trouble = null; // text: the server could not be asked
  saved = 0; // the newest of this page's answers that is on disk, by its number
  #api;
  #wanted; // images to ask for; 0 for a page that shows no next image
  #by;
  #on;
  #held; // ids of what is on screen besides the timeline
  #steps = new Steps((item, event) => this.#push(item, event));
  #unsaved = new Set(); // items with an answer that is not on disk yet
  #items = new Map(); // id -> item, all that was ever sent to this page
  #asking = false;
  #asked = 0; // questions to the server so far
  #known = 0; // the state is as of the answer to this one of them
  #dry = false; // the last reply left fewer than LOW ahead: only the poll asks again
  #timer = null;
  #closed = false;
  #begun = false;

  /**
   * held() -> ids of images that are shown besides the timeline's.
   * on: {changed(), saved(acked), refused(text), closed(), begins()}; closed: the server runs, but does not know the
   * project; begins: what waited from before was sent
   */
  constructor({ api, base, by, wanted, held, on }) {
    this.#api = api;
    this.#wanted = wanted;
    this.#by = by;
    this.#held = held;
    this.#on = on;
    this.outbox = new Outbox({
      base,
      by,
      send: (body, timeout) => this.#send(body, timeout),
      on: { acked: this.#acked, changed: () => on.changed(), refused: this.#refused },
    });
  }

  /** Sends what waits from before, then asks for the first images and for this person's latest answers. */
  async start() {
    document.addEventListener("visibilitychange", this.#poll);
    window.addEventListener("pagehide", this.#leave);
    await this.outbox.adopt();
    if (this.#closed) return;
    this.#on.begins();
    await this.#ask(this.#begin);
    this.#schedule();
  }

  #begin = async () => {
    this.#take(await this.#queue(this.#wanted));
    this.#on.changed();
    const past = (await this.#api.recent(this.#by, 50)).items.reverse().map((item) => this.same(item));
    this.timeline.addPast(past);
    this.#steps.addPast(past.filter((item) => item.answer && !item.seq)); // those of this page can be undone already
    this.#begun = true;
  };

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.#poll);
    window.removeEventListener("pagehide", this.#leave);
    this.outbox.close();
    this.#leave();
  }

  /** Others may have the images of this page. Where nobody hears it, the server finds out after a while. */
  #leave = () => {
    if (this.#wanted) this.#api.goodbye(this.outbox.client).catch(() => {});
  };

  get classes() {
    return this.state?.classes ?? [];
  }

  /** What each class was called when it was added. */
  get firstNames() {
    return this.state?.first_names ?? [];
  }

  /** Of classes that were merged: index -> index of the one it is part of. It goes by that one's name in `classes`. */
  get merged() {
    return this.state?.merged ?? {};
  }

  /** Whether the server cannot be asked, or lets a whole flight of answers wait. */
  get isAway() {
    return Boolean(this.trouble?.lost || this.outbox.trouble?.lost || this.outbox.isLate);
  }

  /** Whether an image can still be shown for the first time. */
  isNew({ id }) {
    const known = this.#items.get(id);
    return !known || !(known.answer || this.#unsaved.has(known) || this.timeline.has(id));
  }

  isUnsaved(item) {
    return this.#unsaved.has(item);
  }

  /**
   * The object that stands for this image here, so that all views show one truth; news never changes what is in use, nor
   * what was answered here after `saved`, the number that was on disk when the server was asked.
   */
  same(fresh, saved = Infinity) {
    const known = this.#items.get(fresh.id);
    if (!known) this.#items.set(fresh.id, fresh);
    else if (!this.#inUse(known) && !(known.seq > saved)) Object.assign(known, fresh);
    return known ?? fresh;
  }

  #inUse(item) {
    if (this.#unsaved.has(item)) return true;
    return this.#wanted > 0 && (Boolean(item.answer) || this.timeline.has(item.id));
  }

  /**
   * Answers one or many images in one step of undo. answerOf(item) -> {kind: "label", class} or {kind: "unsure" | "skip"}.
   * Returns the last number given.
   */
  answer(items, answerOf, { source = "human", seconds = null } = {}) {
    return this.#steps.answer(items, answerOf, { source, seconds });
  }

  /** Takes back the last step. Returns its images, oldest first, or null when there is nothing left. */
  undo() {
    return this.#steps.undo();
  }

  /** Flags all, or unflags all when every one was flagged. Returns whether they are flagged now. */
  flag(items) {
    return this.#steps.flag(items);
  }

  note(items, text) {
    for (const item of items) {
      this.#push(item, { kind: "note", note: text });
      item.note = text;
    }
  }

  /** Returns the index of the new class. */
  async addClass(name) {
    return this.#knowClasses(await this.#api.addClass(name));
  }

  async renameClass(index, name) {
    return this.#knowClasses(await this.#api.renameClass(index, name));
  }

  /** Two classes are one from now on. Returns its index. */
  async mergeClass(index, into) {
    const target = this.#knowClasses(await this.#api.mergeClass(index, into));
    this.#schedule(AFTER_ANSWER); // then the counts are known
    return target;
  }

  async train() {
    await this.#update(this.#api.job({ kind: "finetune" }));
    this.#schedule(BUSY_POLL);
    this.#on.changed();
  }

  /** Asks for more when few are left and no answer on its way will bring them. */
  refill() {
    const enough = this.timeline.ahead().length >= LOW || this.#dry;
    if (!enough && !this.outbox.waiting) this.#fetchQueue();
  }

  /** More images for the grid, beyond those it has. */
  async more(n) {
    const reply = await this.#queue(n);
    this.#know(reply.state);
    const items = reply.items.map((item) => (item.again ? this.#next(item) : this.same(item)));
    return items.filter((item) => !item.answer);
  }

  /** What to show when there is no image: a word for each of these reasons. */
  get phase() {
    const { state } = this;
    if (!state) return "connecting";
    if (state.job?.kind === "embed" && isActive(state.job)) return "preparing";
    if (!state.images) return "empty";
    if (!this.#dry || this.outbox.waiting || this.#asking) return "looking";
    if (!state.open) return "done";
    if (state.elsewhere) return "elsewhere";
    return state.embedded < state.images ? "stuck" : "passed over";
  }

  #push(item, event) {
    this.#unsaved.add(item);
    item.seq = this.outbox.push(entry(item, event));
    return item.seq;
  }

  #send(body, timeout) {
    const own = body.client === this.outbox.client && !this.#closed;
    const wish = own ? { have: this.#have(), n: this.#wanted } : { have: [], n: 0 };
    return this.#keeps(this.#api.answers({ ...body, ...wish }, timeout));
  }

  #queue(n) {
    return this.#keeps(this.#api.queue(this.outbox.client, this.#have(), n));
  }

  /** Ids of the images that nobody else may have. */
  #have() {
    return [...new Set([...this.timeline.have(), ...this.#held(), ...this.outbox.inherited])];
  }

  /**
   * The server keeps images for who asks: one that it heard late keeps none. A state that is older than what is known
   * here by now is left out.
   */
  async #keeps(question) {
    const number = ++this.#asked;
    try {
      const reply = await question;
      if (this.state && number < this.#known) reply.state = this.state;
      else this.#known = number;
      return reply;
    } finally {
      if (this.#closed) this.#leave();
    }
  }

  #refused = (text, seq, now) => {
    this.#settle((item) => item.seq === seq, now);
    this.#on.refused(text);
  };

  /** Nothing of these is on its way any more. Where the server says what it has on disk, that is shown. */
  #settle(isDone, now = {}) {
    for (const item of [...this.#unsaved].filter(isDone)) {
      this.#unsaved.delete(item);
      if (item.id in now && !item.again) item.answer = now[item.id];
    }
  }

  #acked = (acked, reply) => {
    this.saved = acked;
    this.#settle((item) => item.seq <= acked, reply.now);
    this.trouble = null;
    this.#take(reply);
    this.#on.saved(acked);
    this.#schedule(AFTER_ANSWER);
  };

  async #update(question) {
    this.#know((await this.#keeps(question.then((state) => ({ state })))).state);
  }

  /** Takes in the server's state. */
  #know(state) {
    const hadMerged = JSON.stringify(this.merged);
    this.state = state;
    if (JSON.stringify(this.merged) !== hadMerged) meanMerged(this.#items.values(), this.merged);
  }

  #knowClasses(reply) {
    this.#known = ++this.#asked; // what was asked before has not heard of it
    const { classes, merged } = reply;
    const first_names = classes.map((name, index) => this.firstNames[index] ?? name);
    if (this.state) Object.assign(this.state, { classes, first_names, merged });
    meanMerged(this.#items.values(), merged);
    this.#on.changed();
    return reply.class;
  }

  #take(reply) {
    this.#know(reply.state);
    const fresh = reply.items.map((item) => this.#next(item)).filter((item) => item && !item.answer);
    this.timeline.merge(fresh, this.#held());
    this.#dry = this.timeline.ahead().length < LOW;
  }

  /**
   * An image that the server wants answered. One that was skipped before comes back. One that has an answer comes back
   * once, if the server asks about it again, and then as if it had none.
   */
  #next(fresh) {
    const wasAsked = this.#items.get(fresh.id)?.again;
    const item = this.same(fresh);
    const comesBack = item.answer?.kind === "skip" || (item.answer && fresh.again && !wasAsked);
    if (!comesBack || this.#unsaved.has(item) || item === this.timeline.current) return item;
    this.timeline.remove(item);
    if (fresh.again) Object.assign(item, fresh);
    item.answer = null;
    return item;
  }

  #fetchQueue() {
    return this.#ask(async () => this.#take(await this.#queue(this.#wanted)));
  }

  /** Runs one question to the server; a failure is told, and the poll asks again. */
  async #ask(question) {
    if (this.#asking) return;
    this.#asking = true;
    try {
      await question();
      if (this.trouble || this.outbox.trouble?.lost) this.outbox.retry(); // the server is back
      this.trouble = null;
    } catch (error) {
      this.trouble = { text: error.message, lost: !(error instanceof Refused) };
      if (error.status === NOT_OPEN) this.#on.closed?.();
    } finally {
      this.#asking = false;
    }
    if (!this.#closed) this.#on.changed();
  }

  /** Asks again after so many ms. Unless told when, what was planned while a question was under way still holds. */
  #schedule(wait = null) {
    if (wait === null && this.#timer !== null) return;
    clearTimeout(this.#timer);
    this.#timer = document.hidden || this.#closed ? null : setTimeout(this.#poll, wait ?? this.#wait());
  }

  #wait() {
    const isEmpty = this.#wanted > 0 && !this.timeline.current;
    return isEmpty || isActive(this.state?.job) || this.trouble || this.outbox.trouble ? BUSY_POLL : IDLE_POLL;
  }

  #poll = async () => {
    clearTimeout(this.#timer);
    this.#timer = null;
    if (document.hidden || this.#closed) return;
    if (this.#asking) return this.#schedule(AFTER_ANSWER);
    const version = this.state?.version;
    if (!this.#begun) await this.#ask(this.#begin);
    else if (this.timeline.ahead().length < LOW) await this.#fetchQueue();
    else await this.#ask(() => this.#update(this.#api.state(this.outbox.client)));
    if (version !== undefined && this.state?.version !== version) await this.#fetchQueue();
    this.#schedule();
  };
}

export function isActive(job) {
  return job?.state === "waiting" || job?.state === "running";
}
