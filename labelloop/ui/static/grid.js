// Many images at once: a scrolling wall of tiles with a selection. Only the tiles on screen are in the page, so that
// tens of thousands of images scroll alike; positions come from arithmetic, not from the browser's layout.

import { h, hue, percent, setText } from "./dom.js";
import { Selection } from "./selection.js";

const WISH = 150; // wished width of a tile
const GAP = 10;
const CAPTION = 26;
const RETRY = 3000; // ms from a failure to the next try
const OVERSCAN = 2; // rows kept above and below the screen
const WORDS = { skip: "skipped", unsure: "unsure" };

export class Grid {
  items = [];
  selection = new Selection();
  #tiles = new Map(); // position -> tile
  #known = new Set(); // ids
  #columns = 1;
  #width = WISH;
  #loading = false;
  #finished = true; // until the first reset()
  #generation = 0; // a reply for an older list is thrown away
  #drag = null;

  /**
   * load() -> Promise<items>; classes() -> names; isUnsaved(item); isMeant(item): whether "all" means it, too;
   * nothing: {say() -> text, wayOut}: what stands where there is no image, and an element below it;
   * on: {changed(), open(item), failed(error), loaded()}
   */
  constructor({ thumb, load, classes, isUnsaved, isMeant, nothing, on }) {
    Object.assign(this, { thumb, load, classes, isUnsaved, isMeant, nothing, on });
    this.band = h("div", { class: "band", hidden: true });
    this.wall = h("div", { class: "wall" }, this.band);
    this.hint = h("div", { class: "empty", role: "status", hidden: true }, h("p"), nothing.wayOut);
    this.element = h(
      "section",
      {
        class: "grid",
        hidden: true,
        onscroll: () => this.#draw(),
        onpointerdown: (event) => this.#press(event),
        onpointermove: (event) => this.#move(event),
        onpointerup: () => this.#release(),
        onpointercancel: () => this.#release(),
        onclick: (event) => this.#click(event),
        ondblclick: (event) => this.#open(event),
      },
      this.wall,
      this.hint,
    );
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
    for (const [index, tile] of this.#tiles) this.#fill(tile, index);
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
    return this.#columns;
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
    const steps = { left: -1, right: 1, up: -this.#columns, down: this.#columns };
    if (action in steps) this.#cursorTo(cursor < 0 ? this.#firstOnScreen() : cursor + steps[action], event.shiftKey);
    else if (action === "toggle") this.selection.toggle(Math.max(0, cursor));
    else if (action === "all") this.selection.add(this.#onScreen().filter((index) => this.isMeant(this.items[index])));
    else this.selection.clear();
    this.refresh();
    return true;
  }

  /** Loads the next images when the end is near. */
  async more() {
    const end = this.#rows() * this.#height();
    const near = end - this.element.scrollTop < 3 * (this.element.clientHeight || 600);
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

  // ---- geometry

  #height = () => this.#width + CAPTION + GAP;
  #rows = () => Math.ceil(this.items.length / this.#columns);

  #measure() {
    const width = this.element.clientWidth - 2 * GAP;
    if (width <= 0) return;
    const columns = Math.max(2, Math.round((width + GAP) / (WISH + GAP)));
    const tile = Math.floor((width - (columns - 1) * GAP) / columns);
    if (columns !== this.#columns || tile !== this.#width) this.#clearTiles();
    [this.#columns, this.#width] = [columns, tile];
    this.wall.style.height = `${this.#rows() * this.#height() + GAP}px`;
    this.#draw();
  }

  #place(index) {
    const x = GAP + (index % this.#columns) * (this.#width + GAP);
    return [x, GAP + Math.floor(index / this.#columns) * this.#height()];
  }

  #draw() {
    const top = Math.floor(this.element.scrollTop / this.#height()) - OVERSCAN;
    const bottom = Math.ceil((this.element.scrollTop + this.element.clientHeight) / this.#height()) + OVERSCAN;
    const first = Math.max(0, top * this.#columns);
    const last = Math.min(this.items.length, bottom * this.#columns);
    for (const [index, tile] of this.#tiles) {
      if (index >= first && index < last) continue;
      tile.element.remove();
      this.#tiles.delete(index);
    }
    for (let index = first; index < last; index++) if (!this.#tiles.has(index)) this.#addTile(index);
    this.more();
  }

  #onScreen() {
    const { scrollTop, clientHeight } = this.element;
    const seen = (index) => {
      const y = this.#place(index)[1];
      return y + this.#width / 2 >= scrollTop && y + this.#width / 2 <= scrollTop + clientHeight;
    };
    return [...this.#tiles.keys()].filter(seen);
  }

  #firstOnScreen = () => Math.min(...this.#onScreen(), this.items.length - 1);

  #cursorTo(index, extend) {
    if (!this.items.length) return;
    const inside = Math.max(0, Math.min(this.items.length - 1, index));
    this.selection.moveTo(inside, extend);
    this.#scrollTo(inside);
  }

  #scrollTo(index) {
    const y = this.#place(index)[1];
    const { scrollTop, clientHeight } = this.element;
    if (y < scrollTop) this.element.scrollTop = y - GAP;
    else if (y + this.#height() > scrollTop + clientHeight) this.element.scrollTop = y + this.#height() - clientHeight;
  }

  // ---- tiles

  #clearTiles() {
    for (const tile of this.#tiles.values()) tile.element.remove();
    this.#tiles.clear();
  }

  #addTile(index) {
    const item = this.items[index];
    const [x, y] = this.#place(index);
    const tile = {
      img: h("img", { src: this.thumb(item.id), alt: "", draggable: "false", decoding: "async" }),
      chip: h("span", { class: "chip" }),
      guess: h("span", { class: "guess" }),
    };
    tile.element = h(
      "div",
      { class: "tile", "data-index": index },
      h("div", { class: "pic" }, tile.img, h("span", { class: "mark" })),
      h("div", { class: "caption" }, tile.chip, tile.guess),
    );
    tile.element.style.cssText = `width:${this.#width}px;height:${this.#width + CAPTION}px;transform:translate(${x}px,${y}px)`;
    this.#tiles.set(index, tile);
    this.#fill(tile, index);
    this.wall.append(tile.element);
  }

  #fill(tile, index) {
    const item = this.items[index];
    const { classList, style } = tile.element;
    const names = this.classes();
    const { answer } = item;
    const isLabel = answer?.kind === "label";
    const hasGuess = !item.exam && item.suggestion !== null && item.suggestion !== undefined;
    setText(tile.chip, answer ? (isLabel ? (names[answer.class] ?? "") : WORDS[answer.kind]) : "");
    const differs = hasGuess && isLabel && item.suggestion !== answer.class;
    const guess =
      hasGuess && (!answer || differs) ? `${names[item.suggestion]}? ${percent(item.probability ?? 0)}` : "";
    setText(tile.guess, guess || item.note || "");
    tile.element.title = item.note ? `${item.name}\n${item.note}` : item.name;
    style.setProperty("--hue", hue(isLabel ? answer.class : 0));
    classList.toggle("labeled", isLabel);
    classList.toggle("answered", Boolean(answer));
    classList.toggle("unsaved", this.isUnsaved(item));
    classList.toggle("flagged", Boolean(item.flagged));
    classList.toggle("selected", this.selection.has(index));
    classList.toggle("cursor", this.selection.cursor === index);
  }

  // ---- mouse and touch

  #indexAt(event) {
    const tile = event.target.closest?.(".tile");
    return tile ? Number(tile.dataset.index) : -1;
  }

  #click(event) {
    if (this.#drag?.moved) return;
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

  #press(event) {
    this.#drag = null;
    const onScrollbar = event.offsetX > this.element.clientWidth && event.target === this.element;
    if (event.pointerType === "touch" || event.button !== 0 || onScrollbar) return;
    const [x, y] = this.#point(event);
    this.#drag = { x, y, id: event.pointerId, moved: false, down: true };
    this.selection.startDrag(event.ctrlKey || event.metaKey || event.shiftKey);
  }

  #move(event) {
    const drag = this.#drag;
    if (!drag?.down) return;
    const [x, y] = this.#point(event);
    if (!drag.moved && Math.hypot(x - drag.x, y - drag.y) < 6) return;
    if (!drag.moved) this.element.setPointerCapture(drag.id);
    drag.moved = true;
    const box = [Math.min(x, drag.x), Math.min(y, drag.y), Math.max(x, drag.x), Math.max(y, drag.y)];
    this.band.hidden = false;
    this.band.style.cssText = `transform:translate(${box[0]}px,${box[1]}px);width:${box[2] - box[0]}px;height:${box[3] - box[1]}px`;
    this.selection.drag(this.#inside(box));
    this.#scrollAlong(event);
    this.refresh();
  }

  #release() {
    this.band.hidden = true;
    if (this.#drag) this.#drag.down = false; // `moved` stays for the click that follows
  }

  #point(event) {
    const edge = this.element.getBoundingClientRect();
    return [event.clientX - edge.left + this.element.scrollLeft, event.clientY - edge.top + this.element.scrollTop];
  }

  #inside([left, top, right, bottom]) {
    const hits = [];
    const first = Math.max(0, Math.floor((top - GAP) / this.#height())) * this.#columns;
    const last = Math.min(this.items.length, (Math.floor(bottom / this.#height()) + 1) * this.#columns);
    for (let index = first; index < last; index++) {
      const [x, y] = this.#place(index);
      if (x < right && x + this.#width > left && y < bottom && y + this.#width + CAPTION > top) hits.push(index);
    }
    return hits;
  }

  #scrollAlong(event) {
    const edge = this.element.getBoundingClientRect();
    if (event.clientY < edge.top + 24) this.element.scrollTop -= 24;
    else if (event.clientY > edge.bottom - 24) this.element.scrollTop += 24;
  }
}
