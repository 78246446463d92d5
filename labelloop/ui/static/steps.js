// What one person did, step by step, so that each step can be taken back. No DOM, no network.

const MOST = 1000; // steps kept

export class Steps {
  #push;
  #steps = []; // oldest first: [{item, before, named}] of answers, or [{item, flagged}] of flags as they were

  /** push(item, event) -> the number of the event. */
  constructor(push) {
    this.#push = push;
  }

  /** Answers from before this page was opened, oldest first: they come after all that was done here. */
  addPast(items) {
    this.#steps.unshift(...items.map((item) => [{ item, before: item.before, named: { undoes: item.event } }]));
  }

  /** Answers one or many images in one step; answerOf(item) -> {kind, class}. Returns the last number given. */
  answer(items, answerOf, about) {
    const step = items.map((item) => {
      const before = item.answer;
      item.answer = answerOf(item);
      return { item, before, named: { undoes_seq: this.#push(item, { ...item.answer, ...about }) } };
    });
    this.#add(step);
    return step.at(-1)?.named.undoes_seq ?? 0;
  }

  /** Flags all, or unflags all when every one was flagged. Returns whether they are flagged now. */
  flag(items) {
    const flagged = !items.every((item) => item.flagged);
    const changed = items.filter((one) => one.flagged !== flagged);
    this.#add(changed.map((item) => ({ item, flagged: item.flagged })));
    for (const item of changed) this.#setFlag(item, flagged);
    return flagged;
  }

  /** Takes back the last step. Returns its images, oldest first, or null when there is nothing left. */
  undo() {
    const step = this.#steps.pop();
    if (!step) return null;
    for (const { item, before, named, flagged } of step) {
      if (flagged !== undefined) {
        this.#setFlag(item, flagged);
        continue;
      }
      this.#push(item, { kind: "undo", ...named });
      item.answer = before;
    }
    return step.map(({ item }) => item);
  }

  #add(step) {
    this.#steps.push(step);
    if (this.#steps.length > MOST) this.#steps.shift();
  }

  #setFlag(item, flagged) {
    this.#push(item, { kind: flagged ? "flag" : "unflag" });
    item.flagged = flagged;
  }
}
