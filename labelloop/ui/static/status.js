// The thin line on top: how far, how good, is it saved, what runs, who. And the red line when something is wrong.

import { Unreachable } from "./api.js";
import { h, percent, setText } from "./dom.js";
import { isActive } from "./session.js";

const EXAM_TITLE =
  "Measured on images picked at random that the model never learns from. The range covers the true value 95 times out of 100.";

const TOLD = 60_000; // ms for which the outcome of fine-tuning stays

export class Status {
  #running = null; // the job that went on when last seen
  #ended = -Infinity; // when it did no more

  /** buttons: the elements at the right end */
  constructor(by, buttons) {
    this.labeled = h("span", { class: "figure" });
    this.accuracy = h("span", { class: "accuracy", title: EXAM_TITLE });
    this.job = h("span", { class: "job", role: "status" });
    this.saved = h("span", { class: "saved", role: "status" });
    this.who = h("span", { class: "who", text: by });
    this.bar = h("div", { class: "hairline" });
    this.trouble = h("div", { class: "trouble", role: "alert", hidden: true });
    const line = h(
      "div",
      { class: "line" },
      this.labeled,
      this.accuracy,
      this.job,
      h("span", { class: "gap" }),
      this.saved,
      this.who,
      ...buttons,
    );
    this.element = h("header", {}, line, this.bar);
  }

  /** refused: the last text that must not go unseen, or "" */
  /** refused: what must not go unseen; failed: an error that is being tried again, or null */
  show(session, refused, failed) {
    const { state, outbox } = session;
    if (state) this.#figures(state);
    const { waiting } = outbox;
    setText(this.saved, waiting ? `${waiting} waiting` : "✓ saved");
    this.saved.classList.toggle("waiting", waiting > 0);
    const trouble = said(session, refused, failed);
    setText(this.trouble, trouble);
    this.trouble.hidden = !trouble;
  }

  #figures(state) {
    setText(this.labeled, `${state.labeled.toLocaleString("en")} / ${state.images.toLocaleString("en")} labeled`);
    setText(this.accuracy, accuracy(state.exam));
    const { job, notice } = state;
    setText(this.job, notice ?? (this.#hasJustEnded(job) ? outcome(job) : jobText(job)));
    this.job.title = notice ?? job?.message ?? "";
    this.job.classList.toggle("failed", Boolean(notice) || job?.state === "failed");
    this.bar.classList.toggle("running", isActive(job));
    this.bar.style.setProperty("--share", isActive(job) && job.total ? job.done / job.total : 0);
  }

  /** Whether this page saw a fine-tuning go on that was done a moment ago. */
  #hasJustEnded(job) {
    if (isActive(job)) this.#running = job.id;
    else if (job?.id === this.#running) {
      this.#running = null;
      this.#ended = performance.now();
    }
    return job?.kind === "fine-tune" && job.state === "done" && performance.now() - this.#ended < TOLD;
  }
}

function accuracy({ n, wanted, accuracy: value, low, high }) {
  if (value === null) return n < wanted ? `accuracy: not enough yet (${n} of ${wanted})` : "accuracy: no model yet";
  const range = low === null ? "" : `${Math.round(low * 100)}–${Math.round(high * 100)}, `;
  return `accuracy ${percent(value)} (${range}n = ${n})`;
}

function jobText(job) {
  if (job?.state === "failed")
    return `${job.kind === "embed" ? "reading the images" : "fine-tuning"} failed: ${job.message}`;
  if (!isActive(job)) return "";
  const what = job.kind === "embed" ? "getting to know the images" : "fine-tuning";
  if (job.state === "waiting") return `${what}: starting…`;
  const share = job.total ? ` ${percent(job.done / job.total)}` : "…";
  return `${what}${share}${job.seconds_left === null ? "" : `, ${duration(job.seconds_left)} left`}`;
}

function duration(seconds) {
  return seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.round(seconds / 60)} min`;
}

/** The decision without its fine print, which Progress shows. */
function outcome({ message }) {
  return message.split(" (")[0];
}

function said({ outbox, trouble }, refused, failed) {
  const waiting = outbox.waiting;
  const answers = waiting === 1 ? "1 answer" : `${waiting} answers`;
  if (outbox.trouble && waiting) {
    if (outbox.trouble.lost) return `connection lost, ${answers} safe in this browser, trying again…`;
    return `not saved: ${answers} wait${waiting === 1 ? "s" : ""} here — ${outbox.trouble.text}`;
  }
  if (refused) return refused;
  if (trouble?.lost || failed instanceof Unreachable) return "connection lost, trying again…";
  return trouble?.text ?? failed?.message ?? "";
}
