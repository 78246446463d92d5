// Pictures loaded and decoded ahead of time, so that the next one is painted in the next frame.

const RETRY = 3000;

export class Pictures {
  #address;
  #onReady;
  #spare;
  #held = new Map(); // id -> {img, ready, failed}

  /** spare(id) -> an <img> that is loaded already, or null */
  constructor(address, onReady, spare) {
    this.#address = address;
    this.#onReady = onReady;
    this.#spare = spare;
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

  /** Whether a picture that is wanted is still on its way. */
  get isLoading() {
    return [...this.#held.values()].some(({ ready, failed }) => !ready && !failed);
  }

  /** Tries now again what failed. */
  retry() {
    for (const [id, { failed }] of this.#held) if (failed) this.#load(id);
  }

  /** The decoded <img>, always the same one for an id while it is held. */
  get(id) {
    return this.#held.get(id)?.img ?? null;
  }

  async #load(id) {
    const spare = this.#spare(id);
    const img = spare ?? new Image();
    const picture = { img, ready: false, failed: false };
    this.#held.set(id, picture);
    img.alt = "";
    img.draggable = false;
    img.fetchPriority = "high"; // before the thumbnails of the film strip
    img.decoding = "sync"; // it is decoded by the time it is shown
    if (spare) return becomeReady(picture); // small enough to be decoded in the frame that shows it
    img.src = this.#address(id);
    try {
      await img.decode();
      becomeReady(picture);
    } catch {
      picture.failed = true; // the server may be away: try again while it is still wanted
      setTimeout(() => this.#held.get(id) === picture && this.#load(id), RETRY);
    }
    if (this.#held.get(id) === picture) this.#onReady(id);
  }
}

function becomeReady(picture) {
  picture.ready = true;
  picture.img.style.setProperty("--w", picture.img.naturalWidth);
  picture.img.style.setProperty("--h", picture.img.naturalHeight);
}
