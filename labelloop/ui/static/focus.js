// One image at a time: the picture, why it is shown, what looks like it, and the film strip.

import { h, hue, percent, plural, setText } from "./dom.js";
import { wordFor } from "./item.js";
import { Pictures } from "./pictures.js";
import { Reserve } from "./reserve.js";
import { Strip } from "./strip.js";
import { Zoom } from "./zoom.js";

const AHEAD = 14;
const BEHIND = 3;
const ENOUGH = 10; // images of the queue that are ready, half a second at 20 keys a second: the reserve can rest
const [DARKEST, BRIGHTEST, BRIGHTER] = [-4, 8, 1.25]; // steps, and what each does to the light
const BOUNCE = 15; // ms between two presses: a worn key or a slip of the finger, not two answers
const RHYTHM = 120; // ms between two presses: a hand in rhythm may outrun a late frame; more, and it is impatience
const DOUBLE = 300; // ms after a new picture in which a second click still means the one before
const EXAM = "for the exam: drawn at random, so no suggestion is shown";

export class Focus {
  shown = null; // the item whose picture is on screen, null while there is none
  #since = 0; // when it was painted, 0 before
  #swapped = 0; // when it was put on the page
  #hiddenSince = 0;
  #pressed = -Infinity; // when the last key was pressed
  #wasAway = false;
  #light = 0; // steps that pictures are brighter than they are
  #isCutOff = false; // the server went away, and the queue is not back yet

  /** on: {open(item), ready(), zoom(event)} */
  constructor(session, api, on) {
    this.session = session;
    this.api = api;
    this.on = on;
    this.pictures = new Pictures(
      (id) => api.view(id),
      (id) => (this.#isCutOff || id === session.timeline.current?.id) && on.ready(),
      (id) => this.reserve.picture(id),
    );
    this.reserve = new Reserve(api, session, () => !session.isAway && !this.pictures.isLoading);
    this.strip = new Strip({ thumb: (id) => this.reserve.picture(id)?.src ?? api.thumb(id), open: on.open });
    this.frame = h("div", { class: "frame", onclick: on.zoom });
    this.zoom = new Zoom(this.frame, (id) => api.full(id));
    this.badge = h("div", { class: "badges" });
    this.message = h("div", { class: "empty", role: "status" });
    this.reason = h("span", { class: "reason" });
    this.near = h("span", { class: "near" });
    this.noteText = h("span", { class: "note-text" });
    this.name = h("bdi", { dir: "ltr" });
    const file = h("span", { class: "file" }, this.name);
    const words = h("span", { class: "words" }, this.reason, this.noteText, file);
    const why = h("div", { class: "why" }, words, this.near);
    this.stage = h("div", { class: "stage" }, this.frame, this.message, this.badge);
    this.element = h("section", { class: "focus" }, this.stage, why, this.strip.element);
    document.addEventListener("visibilitychange", this.#pause);
  }

  close() {
    this.reserve.close();
    document.removeEventListener("visibilitychange", this.#pause);
  }

  /** Seconds that the picture has been looked at, at most five minutes. */
  seconds(now) {
    const since = this.#since || this.#swapped;
    return Math.min(300, Math.max(0, Math.round((now - since) / 10) / 100));
  }

  /**
   * Whether a key pressed at that time is meant for this item: its picture was on screen then. What counts is when keys
   * are pressed, not when a busy page gets to them. Wants to hear of every press, in order.
   */
  isMeant(item, time) {
    const gap = time - this.#pressed;
    this.#pressed = time;
    if (!item || this.shown !== item || gap < BOUNCE) return false;
    const wasSeen = this.#since > 0 && this.#since <= time;
    return wasSeen || gap < RHYTHM;
  }

  /** Whether this is the second half of a double click that the image on screen came in between of. */
  isDoubled(event) {
    return event.detail > 1 && event.timeStamp - this.#swapped < DOUBLE;
  }

  /** Shows all pictures a step brighter (1) or darker (-1), on this page only and until it is changed back. */
  lighten(by) {
    this.#light = Math.max(DARKEST, Math.min(BRIGHTEST, this.#light + by));
    this.frame.style.setProperty("--light", BRIGHTER ** this.#light);
    this.frame.classList.toggle("lit", this.#light !== 0);
  }

  /** Paints the current image if it is decoded; everything here only writes to the page. */
  show() {
    this.#bridge();
    const { timeline } = this.session;
    const item = timeline.current;
    this.#preload();
    const ready = item && this.pictures.isReady(item.id);
    if (ready && this.shown !== item) this.#swap(item);
    else if (!ready && this.shown) this.#clear();
    this.#sayEmpty(item, ready);
    this.#sayWhy(item);
    this.strip.show(timeline, this.session.classes, (one) => this.session.isUnsaved(one));
  }

  /** While the server is away, and until images of the queue are here again, the reserve fills in. */
  #bridge() {
    const { timeline, isAway } = this.session;
    const { isReady } = this.pictures;
    if (isAway) this.#isCutOff = true;
    if (!this.#isCutOff) return;
    timeline.bridge(isReady, () => this.reserve.next());
    if (this.#wasAway && !isAway) this.pictures.retry();
    this.#wasAway = isAway;
    const next = timeline.ahead().slice(0, ENOUGH);
    const isBack = next.every(({ id }) => isReady(id) || this.pictures.hasFailed(id));
    this.#isCutOff = isAway || !isBack;
  }

  #swap(item) {
    this.shown = item;
    this.#since = 0;
    this.#swapped = performance.now();
    this.zoom.off();
    const picture = this.pictures.get(item.id);
    picture.alt = item.name;
    this.frame.replaceChildren(picture);
    requestAnimationFrame((now) => this.shown === item && (this.#since = now));
  }

  #clear() {
    this.shown = null;
    this.zoom.off();
    this.frame.replaceChildren();
  }

  #preload() {
    const { items, at } = this.session.timeline;
    const current = items.slice(at, at + 1);
    const behind = items.slice(Math.max(0, at - BEHIND), at).reverse();
    const ahead = this.session.timeline.ahead().slice(0, AHEAD);
    this.pictures.want([...current, ...ahead, ...behind].map((item) => item.id));
  }

  #pause = () => {
    if (document.hidden) this.#hiddenSince = performance.now();
    else if (this.#since && this.#hiddenSince) this.#since += performance.now() - this.#hiddenSince;
  };

  #sayWhy(item) {
    const { classes } = this.session;
    setText(this.reason, item ? item.reason || (item.exam ? EXAM : "") : "");
    if (this.reason.title !== this.reason.textContent) this.reason.title = this.reason.textContent; // a long one is cut
    setText(this.noteText, item?.note ? `note: ${item.note}` : "");
    setText(this.name, item?.name ?? "");
    if (this.name.title !== this.name.textContent) this.name.title = this.name.textContent;
    const near = item && !item.exam ? item.neighbours : [];
    const signature = near.map((one) => `${one.id}:${one.class}:${classes[one.class]}`).join(" ");
    if (this.near.dataset.of !== signature) {
      this.near.dataset.of = signature;
      this.near.replaceChildren(...near.map((one) => this.#neighbour(one, classes)));
    }
    const answer = item?.answer;
    const word = wordFor(answer, classes);
    const badges = [];
    if (item?.flagged) badges.push(h("span", { class: "badge flag", text: "⚑ flagged" }));
    if (word) badges.push(h("span", { class: "badge", "--hue": hue(answer.class ?? 0), text: `answered: ${word}` }));
    const light = `brightness ${percent(BRIGHTER ** this.#light)}`;
    if (this.#light) badges.push(h("span", { class: "badge light", text: light }));
    if (badges.length || this.badge.childElementCount) this.badge.replaceChildren(...badges);
  }

  #neighbour({ id, class: index }, classes) {
    const name = classes[index] ?? "";
    const img = h("img", { src: this.api.thumb(id), alt: "", draggable: "false" });
    return h("figure", { title: `labeled ${name}`, "--hue": hue(index) }, img, h("figcaption", { text: name }));
  }

  #sayEmpty(item, ready) {
    this.message.hidden = Boolean(ready);
    if (ready) return;
    const failed = item && this.pictures.hasFailed(item.id);
    const [title, text, extra] = failed ? FAILED : item ? LOADING : this.#phase();
    const key = `${title}|${text}|${extra?.key ?? ""}`;
    if (this.message.dataset.of === key) return;
    this.message.dataset.of = key;
    this.message.replaceChildren(h("h2", { text: title }), h("p", { text }), ...(extra?.nodes ?? []));
  }

  #phase() {
    const { state, phase } = this.session;
    if (phase === "connecting") return ["", "Opening the project…"];
    if (phase === "empty") return ["No images here yet", "Add a folder of images to this project first."];
    if (phase === "preparing") return preparing(state);
    if (phase === "done") return done(state);
    if (phase === "elsewhere") return elsewhere(state);
    if (phase === "passed over")
      return ["No image is left to show", `${state.open} have no answer, but the strategy leaves them out.`];
    if (phase === "stuck")
      return [
        "No image is ready",
        `${state.embedded} of ${state.images} images are prepared, and nothing prepares the others right now.`,
      ];
    return ["", "Looking for the next images…"];
  }
}

const LOADING = ["", "Looking for the next images…"];
const FAILED = ["This image cannot be shown right now", "Trying again. Press S to skip it or F to flag it."];

function preparing({ job }) {
  const share = job.total ? job.done / job.total : 0;
  const bar = h("div", { class: "big-bar", "--share": share });
  const left = job.seconds_left ? `, about ${plural(job.seconds_left, "second")} left` : "";
  const text = `${job.done.toLocaleString("en")} of ${job.total.toLocaleString("en")}${left}. The first ones appear in a moment.`;
  return ["Getting to know the images", text, { key: share, nodes: [bar] }];
}

function elsewhere({ elsewhere: n }) {
  const title = `${plural(n, "image")} ${n === 1 ? "is" : "are"} with another page`;
  return [title, "What has no answer when that page is closed comes here."];
}

function done(state) {
  const own = state.classes.map((name, index) => [name, index]).filter(([, index]) => !(index in state.merged));
  const rows = own.map(([name, index]) =>
    h(
      "li",
      { "--hue": hue(index) },
      h("span", { class: "name", text: name }),
      h("b", { text: String(state.counts[index] ?? 0) }),
    ),
  );
  const left = [state.unsure && `${state.unsure} unsure`, state.flagged && `${state.flagged} flagged`]
    .filter(Boolean)
    .join(", ");
  const text = left ? `${left}: the Review page shows them again.` : "The arrow key ← looks back over your answers.";
  return [
    "Everything here is labeled",
    text,
    { key: `${state.classes} ${state.counts}`, nodes: [h("ul", { class: "tally" }, ...rows)] },
  ];
}
