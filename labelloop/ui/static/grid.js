// Many images at once: a scrolling wall of tiles with a selection. Only the tiles on screen are in the page, so that
// tens of thousands of images scroll alike; positions come from arithmetic (layout.js), not from the browser's layout.

import { Band } from "./band.js";
import { h, setText } from "./dom.js";
import { GAP, Layout } from "./layout.js";
import { Selection } from "./selection.js";
import { Tile } from "./tile.js";

const RETRY = 3000; // ms from a failure to the next try

export class Grid {
  items = [];
  selection = new Selection();
  #tiles = new Map(); // position -> tile
  #known = new Set(); // ids
  #layout = new Layout();
  #loading = false;
  #finished = true; // until the first reset()
  #generation = 0; // a reply for an older list is thrown away

  /**
   * load() -> Promise<items>; classes() -> names; isUnsaved(item); isMeant(item): whether "all" means it, too;
   * nothing: {say() -> text, wayOut}: what stands where there is no image, and an element below it;
   * on: {changed(), open(item), failed(error), loaded()}
   */
  constructor({ thumb, load, classes, isUnsaved, isMeant, nothing, on }) {
    Object.assign(this, { thumb, load, classes, isUnsaved, isMeant, nothing, on });
    this.wall = h("div", { class: "wall" });
    this.hint = h("div", { class: "empty", role: "status", hidden: true }, h("p"), nothing.wayOut);
    this.element = h(
      "section",
      {
        class: "grid",
        hidden: true,
        onscroll: () => this.#draw(),
        onclick: (event) => this.#click(event),
        ondblclick: (event) => this.#open(event),
      },
      this.wall,
      this.hint,
    );
    this.band = new Band(this.element, {
      start: (keeps) => this.selection.startDrag(keeps),
      move: (box) => {
        this.selection.drag(this.#layout.inside(box, this.items.length));
        this.refresh();
      },
    });
    this.wall.append(this.band.element);
    this.resize = new ResizeObserver(() => this.#measure());
    this.resize.observe(this.element);
  }

  close() {
    this.#generation++;
    this.resize.disconnect();
  }

  /** Starts over with these images and loads the next ones. */
  reset(items) {
    this.#generation++;
    this.#loading = this.#finished = false;
    this.items = [];
    this.#known.clear();
    this.selection.reset();
    this.#clearTiles();
    this.element.scrollTop = 0;
    this.#append(items);
    this.more();
  }

  has(id) {
    return this.#known.has(id);
  }

  /** Selected images, or the one under the cursor. */
  targets() {
    return this.selection.targets().map((index) => this.items[index]);
  }

  /** The image under the cursor, if it is somewhere. */
  get atCursor() {
    return this.items[this.selection.cursor];
  }

  /** After an answer: nothing is selected, the cursor goes to the next open image. */
  answered() {
    const last = this.selection.targets().at(-1) ?? -1;
    const hadCursor = this.selection.cursor >= 0;
    this.selection.clear();
    const next = this.items.findIndex((item, index) => index > last && !item.answer);
    if (hadCursor && next >= 0) this.#cursorTo(next, false);
    this.refresh();
  }

  /** Shows the newest truth on the tiles that are on screen. */
  refresh() {
    for (const [index, tile] of this.#tiles) this.#show(tile, index);
    this.on.changed();
  }

  /** The image so many steps from one that is looked at large; the cursor goes along. */
  step(item, by) {
    const index = this.items.indexOf(item);
    return index < 0 ? item : this.#lookAt(index, Math.max(0, Math.min(this.items.length - 1, index + by)));
  }

  /** The next image without an answer after one that is looked at large, undefined after the last. */
  nextOpen(item) {
    const index = this.items.indexOf(item);
    const next = this.items.findIndex((one, k) => k > index && !one.answer);
    return next < 0 ? undefined : this.#lookAt(index, next);
  }

  #lookAt(from, to) {
    if (this.selection.size === 1 && this.selection.has(from)) this.selection.clear(); // only the click that opened it
    this.#cursorTo(to, false);
    this.refresh();
    return this.items[to];
  }

  get columns() {
    return this.#layout.columns;
  }

  reveal(item) {
    const index = this.items.findIndex((one) => one.id === item.id);
    if (index >= 0) this.#scrollTo(index);
  }

  /** left, right, up, down, toggle, all, close. Returns whether it was one of them. */
  act(action, event) {
    const { cursor } = this.selection;
    const known = ["left", "right", "up", "down", "toggle", "all", "close"].includes(action);
    if (!known || !this.items.length) return known;
    const steps = { left: -1, right: 1, up: -this.columns, down: this.columns };
    if (action in steps) this.#cursorTo(cursor < 0 ? this.#firstOnScreen() : cursor + steps[action], event.shiftKey);
    else if (action === "toggle") this.selection.toggle(Math.max(0, cursor));
    else if (action === "all") this.selection.add(this.#onScreen().filter((index) => this.isMeant(this.items[index])));
    else this.selection.clear();
    this.refresh();
    return true;
  }

  /** Loads the next images when the end is near. */
  async more() {
    const below = this.#layout.height(this.items.length) - this.element.scrollTop;
    const near = below < 3 * (this.element.clientHeight || 600);
    if (this.#loading || this.#finished || !near) return;
    const generation = this.#generation;
    this.#loading = true;
    try {
      const items = await this.load();
      if (generation !== this.#generation) return;
      this.#finished = !this.#append(items);
      this.on.loaded();
    } catch (error) {
      if (generation !== this.#generation) return;
      this.on.failed(error);
      await new Promise((done) => setTimeout(done, RETRY)); // as if it were loading: nothing else asks meanwhile
      if (generation !== this.#generation) return;
    }
    this.#loading = false;
    this.#sayEmpty();
    if (this.element.hidden) return;
    if (!this.#finished) this.more();
  }

  /** Asks again although the end was reached: there may be new images. */
  again() {
    this.#finished = false;
    this.more();
  }

  #append(items) {
    const fresh = items.filter((item) => !this.#known.has(item.id));
    for (const item of fresh) this.#known.add(item.id);
    this.items.push(...fresh);
    this.#measure();
    return fresh.length;
  }

  #sayEmpty() {
    this.hint.hidden = this.items.length > 0 || this.#loading;
    setText(this.hint.firstChild, this.nothing.say());
  }

  // ---- tiles

  #measure() {
    const room = this.element.clientWidth - 2 * GAP;
    if (room <= 0) return;
    if (this.#layout.fit(room)) this.#clearTiles();
    this.wall.style.height = `${this.#layout.height(this.items.length) + GAP}px`;
    this.#draw();
  }

  #draw() {
    const { scrollTop, clientHeight } = this.element;
    const [first, last] = this.#layout.around(scrollTop, clientHeight, this.items.length);
    for (const [index, tile] of this.#tiles) {
      if (index >= first && index < last) continue;
      tile.remove();
      this.#tiles.delete(index);
    }
    for (let index = first; index < last; index++) if (!this.#tiles.has(index)) this.#addTile(index);
    this.more();
  }

  #addTile(index) {
    const { id } = this.items[index];
    const { width } = this.#layout;
    const tile = new Tile({ index, src: this.thumb(id), place: this.#layout.place(index), width });
    this.#tiles.set(index, tile);
    this.#show(tile, index);
    this.wall.append(tile.element);
  }

  #show(tile, index) {
    const item = this.items[index];
    tile.show(item, this.classes(), {
      isUnsaved: this.isUnsaved(item),
      isSelected: this.selection.has(index),
      isCursor: this.selection.cursor === index,
    });
  }

  #clearTiles() {
    for (const tile of this.#tiles.values()) tile.remove();
    this.#tiles.clear();
  }

  #onScreen() {
    const { scrollTop, clientHeight } = this.element;
    return [...this.#tiles.keys()].filter((index) => this.#layout.isSeen(index, scrollTop, clientHeight));
  }

  #firstOnScreen = () => Math.min(...this.#onScreen(), this.items.length - 1);

  #cursorTo(index, extend) {
    if (!this.items.length) return;
    const inside = Math.max(0, Math.min(this.items.length - 1, index));
    this.selection.moveTo(inside, extend);
    this.#scrollTo(inside);
  }

  #scrollTo(index) {
    const { scrollTop, clientHeight } = this.element;
    const wanted = this.#layout.scrolledTo(index, scrollTop, clientHeight);
    if (wanted !== scrollTop) this.element.scrollTop = wanted;
  }

  // ---- mouse and touch

  #indexAt(event) {
    const tile = event.target.closest?.(".tile");
    return tile ? Number(tile.dataset.index) : -1;
  }

  #click(event) {
    if (this.band.wasDrawn) return;
    const index = this.#indexAt(event);
    const keep = event.ctrlKey || event.metaKey;
    if (index < 0) {
      if (!keep && !event.shiftKey) this.selection.clear();
    } else if (event.shiftKey) this.selection.extendTo(index);
    else if (keep || event.pointerType === "touch") this.selection.toggle(index);
    else this.selection.only(index);
    this.refresh();
  }

  #open(event) {
    const index = this.#indexAt(event);
    if (index >= 0) this.on.open(this.items[index]);
  }
}
