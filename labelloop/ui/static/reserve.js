// Images for when the server is away: drawn at random, their pictures loaded while nothing else is to be done, shown
// only when the queue has nothing left. Here are the images and their pictures; when to show them is up to focus.js.

import { Refused, Unreachable } from "./api.js";

const SIZE = 200; // ten seconds of the fastest hand, minutes for anyone who looks
const FIRST = 2000; // ms after the start: the images that are next come first
const PAUSE = 500; // between two looks whether there is time
const AGAIN = 30_000; // between two lists
const SMALL = 512; // pixels: larger ones are kept as thumbnails, so that all together take some 10 MB

export class Reserve {
  #api;
  #session;
  #hasTime;
  #items = [];
  #pictures = new Map(); // id -> loaded <img>, of the items
  #lent = new Map(); // id -> <img>, of what next() gave away
  #asked = -AGAIN;
  #timer = null;
  #closed = false;

  /** hasTime() -> whether nothing that is more urgent is on its way */
  constructor(api, session, hasTime) {
    this.#api = api;
    this.#session = session;
    this.#hasTime = hasTime;
  }

  start() {
    if (!this.#closed) this.#timer = setTimeout(this.#look, FIRST);
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  /** An image that nobody answered as far as this page knows, its picture there; null when none is left. */
  next() {
    const found = this.#items.findIndex((item) => this.#pictures.has(item.id) && this.#session.isNew(item));
    if (found < 0) return null;
    const [item] = this.#items.splice(found, 1);
    this.#lent.set(item.id, this.#pictures.get(item.id));
    this.#pictures.delete(item.id);
    return this.#session.same(item);
  }

  /** The loaded <img> of an image that next() gave away, or null. */
  picture(id) {
    return this.#lent.get(id) ?? null;
  }

  #look = async () => {
    const loaded = this.#hasTime() && !document.hidden && (await this.#work());
    if (this.#closed) return;
    if (loaded) whenIdle(this.#look);
    else this.#timer = setTimeout(() => whenIdle(this.#look), PAUSE);
  };

  /** One list or one picture. Returns whether there may be more to do at once. */
  async #work() {
    const missing = this.#items.find((item) => !this.#pictures.has(item.id));
    if (missing) return this.#load(missing);
    this.#items = this.#items.filter((item) => this.#session.isNew(item));
    const isDue = performance.now() - this.#asked >= AGAIN;
    return this.#items.length < SIZE / 2 && isDue ? this.#draw() : false;
  }

  async #draw() {
    this.#asked = performance.now();
    try {
      this.#items = (await this.#api.reserve(this.#session.outbox.client, SIZE)).items;
    } catch (error) {
      if (error instanceof Refused || error instanceof Unreachable) return false; // whoever needs the server says so
      throw error;
    }
    const kept = this.#items.filter((item) => this.#pictures.has(item.id));
    this.#pictures = new Map(kept.map((item) => [item.id, this.#pictures.get(item.id)]));
    this.#lent.clear();
    return true;
  }

  async #load(item) {
    const img = new Image();
    img.fetchPriority = "low";
    const isThere = new Promise((done) => {
      img.onload = () => done(true);
      img.onerror = () => done(false);
    });
    img.src = Math.max(item.w, item.h) <= SMALL ? this.#api.view(item.id) : this.#api.thumb(item.id);
    if (await isThere) this.#pictures.set(item.id, img);
    else this.#items.splice(this.#items.indexOf(item), 1);
    return true;
  }
}

/** Safari has no requestIdleCallback. */
function whenIdle(work) {
  if (window.requestIdleCallback) requestIdleCallback(work);
  else setTimeout(work, 20);
}
