// Which tiles of the grid are selected, and where the cursor is. Positions in the list, no DOM.

export class Selection {
  cursor = -1; // -1: the keyboard has not been used yet
  #chosen = new Set();
  #anchor = 0; // where a range starts
  #before = new Set(); // what stays selected beside a range, as far as it reaches
  #held = new Set(); // what stays selected beside a drag

  get size() {
    return this.#chosen.size;
  }

  has(index) {
    return this.#chosen.has(index);
  }

  /** Chosen positions in order; without any, the one under the cursor. */
  targets() {
    if (this.#chosen.size) return [...this.#chosen].sort((a, b) => a - b);
    return this.cursor >= 0 ? [this.cursor] : [];
  }

  clear() {
    this.#chosen.clear();
    this.#before.clear();
  }

  reset() {
    this.clear();
    this.cursor = -1;
    this.#anchor = 0;
  }

  only(index) {
    this.#chosen = new Set([index]);
    this.#from(index);
  }

  toggle(index) {
    if (!this.#chosen.delete(index)) this.#chosen.add(index);
    this.#from(index);
  }

  /** From the anchor to here, besides what was selected before the range began. */
  extendTo(index) {
    this.#chosen = new Set(this.#before);
    const [low, high] = [Math.min(this.#anchor, index), Math.max(this.#anchor, index)];
    for (let i = low; i <= high; i++) this.#chosen.add(i);
    this.cursor = index;
  }

  moveTo(index, extend) {
    if (extend) {
      if (this.cursor < 0) this.#from(index);
      this.extendTo(index);
      return;
    }
    this.#from(index);
  }

  add(indices) {
    for (const index of indices) this.#chosen.add(index);
    this.#before = new Set(this.#chosen);
  }

  startDrag(keep) {
    this.#held = keep ? new Set(this.#chosen) : new Set();
  }

  drag(indices) {
    this.#chosen = new Set(this.#held);
    this.add(indices);
  }

  #from(index) {
    this.cursor = this.#anchor = index;
    this.#before = new Set(this.#chosen);
    this.#before.delete(index);
  }
}
