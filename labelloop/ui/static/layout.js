// Where the tiles of a wall are: arithmetic on positions, so that nothing waits for the browser's layout. No DOM.

const WISH = 150; // wished width of a tile
const OVERSCAN = 2; // rows kept above and below the screen
export const GAP = 10;
export const CAPTION = 26;

export class Layout {
  columns = 1;
  width = WISH; // of a tile; its height is that and the caption

  /** Fits tiles into a wall so many pixels wide. Returns whether they are of another size or elsewhere now. */
  fit(room) {
    const columns = Math.max(2, Math.round((room + GAP) / (WISH + GAP)));
    const width = Math.floor((room - (columns - 1) * GAP) / columns);
    const differs = columns !== this.columns || width !== this.width;
    [this.columns, this.width] = [columns, width];
    return differs;
  }

  /** From one row to the next. */
  get step() {
    return this.width + CAPTION + GAP;
  }

  /** Of n tiles. */
  height(n) {
    return Math.ceil(n / this.columns) * this.step;
  }

  /** Left and top of a tile. */
  place(index) {
    const x = GAP + (index % this.columns) * (this.width + GAP);
    return [x, GAP + Math.floor(index / this.columns) * this.step];
  }

  /** The tiles to have in the page for a screen so high: from, and up to but without. */
  around(top, height, n) {
    const first = Math.floor(top / this.step) - OVERSCAN;
    const last = Math.ceil((top + height) / this.step) + OVERSCAN;
    return [Math.max(0, first * this.columns), Math.min(n, last * this.columns)];
  }

  /** Whether the middle of a tile's picture is on the screen. */
  isSeen(index, top, height) {
    const middle = this.place(index)[1] + this.width / 2;
    return middle >= top && middle <= top + height;
  }

  /** How far to scroll so that a tile is seen whole. */
  scrolledTo(index, top, height) {
    const y = this.place(index)[1];
    if (y < top) return y - GAP;
    return y + this.step > top + height ? y + this.step - height : top;
  }

  /** Which of n tiles a box touches. */
  inside([left, top, right, bottom], n) {
    const hits = [];
    const first = Math.max(0, Math.floor((top - GAP) / this.step)) * this.columns;
    const last = Math.min(n, (Math.floor(bottom / this.step) + 1) * this.columns);
    for (let index = first; index < last; index++) {
      const [x, y] = this.place(index);
      if (x < right && x + this.width > left && y < bottom && y + this.width + CAPTION > top) hits.push(index);
    }
    return hits;
  }
}
