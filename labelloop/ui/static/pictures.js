// Pictures loaded and decoded ahead of time, so that the next one is painted in the next frame.

const RETRY = 3000;

export class Pictures {
  #address;
  #onReady;
  #held = new Map(); // id -> {img, ready, failed}

  constructor(address, onReady) {
    this.#address = address;
    this.#onReady = onReady;
  }

  /** Holds exactly these, most urgent first; anything else is let go. */
  want(ids) {
    const wanted = new Set(ids);
    for (const id of this.#held.keys()) if (!wanted.has(id)) this.#held.delete(id);
    for (const id of ids) if (!this.#held.has(id)) this.#load(id);
  }

  isReady = (id) => this.#held.get(id)?.ready ?? false;

  hasFailed(id) {
    return this.#held.get(id)?.failed ?? false;
  }

  /** The decoded <img>, always the same one for an id while it is held. */
  get(id) {
    return this.#held.get(id)?.img ?? null;
  }

  async #load(id) {
    const img = new Image();
    const picture = { img, ready: false, failed: false };
    this.#held.set(id, picture);
    img.alt = "";
    img.draggable = false;
    img.fetchPriority = "high"; // before the thumbnails of the film strip
    img.decoding = "sync"; // it is decoded by the time it is shown
    img.src = this.#address(id);
    try {
      await img.decode();
      picture.ready = true;
      img.style.setProperty("--w", img.naturalWidth);
      img.style.setProperty("--h", img.naturalHeight);
    } catch {
      picture.failed = true; // the server may be away: try again while it is still wanted
      setTimeout(() => this.#held.get(id) === picture && this.#load(id), RETRY);
    }
    if (this.#held.get(id) === picture) this.#onReady(id);
  }
}
