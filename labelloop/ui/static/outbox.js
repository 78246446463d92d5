// Answers on their way to the server: numbered, kept in this browser until the server has them on disk, sent again
// until it says so. One flight at a time. Each mount is a new client with numbers from 1; what an earlier client
// left behind (a closed tab, a crash) is sent under that client's own id, which the server takes once only.

import { Refused } from "./api.js";

const PREFIX = "labelloop/outbox";
const FLIGHT = 500; // answers in one request,
const FLIGHT_BYTES = 800_000; // and what the server takes at once, with room to spare
const LATE = 500; // ms that a flight takes when all is well
const FIRST_WAIT = 3000;
const LONGEST_WAIT = 12_000;

export class Outbox {
  #base;
  #by;
  #send;
  #on;
  #storage = openStorage();
  #lanes = []; // [{client, by, answers}], our own first
  #last = 0;
  #flying = false;
  #resting = false; // after a failure, until the timer says to try again
  #timer = null;
  #wait = FIRST_WAIT;

  /** send(body, timeout) -> reply; on: {acked(seq, reply), changed(), refused(text, seq, now)}, seq if it is one of ours */
  constructor({ base, by, send, on }) {
    this.#base = base;
    this.#by = by;
    this.#send = send;
    this.#on = on;
    this.client = newClient();
    this.trouble = null; // {text, lost}: why the last flight failed; until one lands
    this.isLate = false; // the flight takes longer than it should
    this.#lanes.push({ client: this.client, by, answers: [] });
    if (!this.#storage) on.refused("this browser keeps no copy of answers that are not saved yet: keep the page open");
    window.addEventListener("online", this.retry);
  }

  get waiting() {
    return this.#lanes.reduce((sum, lane) => sum + lane.answers.length, 0);
  }

  /** Ids of images with an answer of an earlier client: one that is given meanwhile would be saved before it. */
  get inherited() {
    const earlier = this.#lanes.filter(({ client }) => client !== this.client);
    return earlier.flatMap(({ answers }) => answers.map(({ image }) => image));
  }

  /** Takes up what earlier clients left in this browser and tries once to send it. */
  async adopt() {
    for (const lane of leftovers(this.#storage, `${PREFIX}|${this.#base}|`)) {
      if (!this.#lanes.some((known) => known.client === lane.client)) this.#lanes.push(lane);
    }
    while (this.waiting && !this.trouble && !this.#flying) await this.#fly();
  }

  /** Keeps one answer and sends it as soon as the flight before it has landed. Returns its number. */
  push(answer) {
    const seq = ++this.#last;
    const numbered = { seq, ...answer };
    this.#lanes[0].answers.push(numbered);
    this.#keep(numbered);
    queueMicrotask(() => this.#fly());
    return seq;
  }

  /** After this nothing more is pushed; what waits is still sent. */
  close() {
    this.#on = { acked() {}, changed() {}, refused() {} };
    window.removeEventListener("online", this.retry);
  }

  /** Tries again now instead of when the wait is over. */
  retry = () => {
    clearTimeout(this.#timer);
    this.#resting = false;
    this.#fly();
  };

  async #fly() {
    const lane = this.#lanes.find((one) => one.answers.length);
    if (this.#flying || this.#resting || !lane) return;
    this.#flying = true;
    const answers = flight(lane.answers);
    const watch = setTimeout(this.#late, LATE);
    try {
      const reply = await this.#send({ client: lane.client, by: lane.by, answers }, this.#wait + 5000);
      this.#landed(lane, reply);
    } catch (error) {
      this.#failed(lane, error);
    } finally {
      clearTimeout(watch);
      this.#flying = this.isLate = false;
    }
    if (this.waiting) queueMicrotask(() => this.#fly());
    this.#on.changed();
  }

  #late = () => {
    this.isLate = true;
    this.#on.changed();
  };

  #landed(lane, reply) {
    const before = lane.answers.length;
    this.#drop(lane, (answer) => answer.seq <= reply.acked);
    if (lane.answers.length === before) throw new Refused(`the server has answers up to ${reply.acked} only`, 500);
    this.#wait = FIRST_WAIT;
    this.trouble = null;
    if (lane.client === this.client) this.#on.acked(reply.acked, reply);
    if (lane !== this.#lanes[0] && !lane.answers.length) this.#lanes.splice(this.#lanes.indexOf(lane), 1);
  }

  #failed(lane, error) {
    const bad = error instanceof Refused && error.status < 500 && lane.answers.find((one) => one.seq === error.seq);
    if (bad) {
      this.#drop(lane, (answer) => answer === bad);
      this.trouble = null;
      const own = lane.client === this.client ? bad.seq : null;
      this.#on.refused(`one answer was not taken: ${error.message}`, own, error.now);
      return;
    }
    this.trouble = { text: error.message, lost: !(error instanceof Refused) };
    if (lane !== this.#lanes[0]) this.#lanes.push(...this.#lanes.splice(this.#lanes.indexOf(lane), 1));
    this.#resting = true;
    this.#timer = setTimeout(this.retry, this.#wait);
    this.#wait = Math.min(this.#wait * 1.5, LONGEST_WAIT);
  }

  #drop(lane, gone) {
    for (const answer of lane.answers.filter(gone)) this.#storage?.removeItem(this.#name(lane.client, answer.seq));
    lane.answers = lane.answers.filter((answer) => !gone(answer));
  }

  #keep(answer) {
    try {
      this.#storage?.setItem(this.#name(this.client, answer.seq), JSON.stringify({ by: this.#by, answer }));
    } catch (error) {
      this.#on.refused(`this browser cannot keep more answers (${error.name}): wait until they are saved`);
    }
  }

  #name(client, seq) {
    return `${PREFIX}|${this.#base}|${client}|${seq}`;
  }
}

function openStorage() {
  try {
    return window.localStorage;
  } catch {
    return null; // storage is switched off; the outbox says so
  }
}

/** The first answers, as many as fit into one request. */
function flight(answers) {
  const encoder = new TextEncoder();
  let bytes = 0;
  const fits = (answer) => (bytes += encoder.encode(JSON.stringify(answer)).length) <= FLIGHT_BYTES;
  const first = answers.slice(0, FLIGHT);
  const end = first.findIndex((answer, i) => !fits(answer) && i > 0);
  return end < 0 ? first : first.slice(0, end);
}

function leftovers(storage, prefix) {
  const lanes = new Map();
  for (let i = 0; i < (storage?.length ?? 0); i++) {
    const name = storage.key(i);
    if (!name.startsWith(prefix)) continue;
    const client = name.slice(prefix.length).split("|")[0];
    const { by, answer } = JSON.parse(storage.getItem(name));
    if (!lanes.has(client)) lanes.set(client, { client, by, answers: [] });
    lanes.get(client).answers.push(answer);
  }
  for (const lane of lanes.values()) lane.answers.sort((a, b) => a.seq - b.seq);
  return [...lanes.values()];
}

function newClient() {
  // not randomUUID: that one is missing on plain http from another machine
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
