// The server, as functions. Knows addresses and errors, keeps no state.

/**
 * The server answered, and said no. `status` is the HTTP status; `seq` the one answer it is about, if it is, and `now`
 * what is on disk of that image.
 */
export class Refused extends Error {
  constructor(text, status, { seq, now } = {}) {
    super(text);
    this.status = status;
    this.seq = seq;
    this.now = now;
  }
}

/** Nobody answered: the server is gone, the network is down or the answer took too long. */
export class Unreachable extends Error {}

export class Api {
  constructor(base) {
    this.base = base;
  }

  thumb(id) {
    return `${this.base}/thumb/${id}`;
  }

  view(id) {
    return `${this.base}/view/${id}`;
  }

  full(id) {
    return `${this.base}/full/${id}`;
  }

  state(client) {
    return this.#get("state", { client });
  }

  goodbye(client) {
    return this.#post("goodbye", { client });
  }

  queue(client, have, n) {
    return this.#get("queue", { client, have: have.join(","), n });
  }

  reserve(client, n) {
    return this.#get("reserve", { client, n });
  }

  recent(by, n) {
    return this.#get("recent", { by, n });
  }

  review(filters) {
    return this.#get("review", filters);
  }

  answers(body, timeout) {
    return this.#post("answers", body, timeout);
  }

  addClass(name) {
    return this.#post("classes", { name });
  }

  renameClass(index, name) {
    return this.#post(`classes/${index}`, { name });
  }

  mergeClass(index, into) {
    return this.#post(`classes/${index}/merge`, { into });
  }

  job(body) {
    return this.#post("jobs", body);
  }

  #get(path, params = {}) {
    const wanted = Object.entries(params).filter(([, value]) => value !== null && value !== undefined);
    const search = new URLSearchParams(wanted.map(([name, value]) => [name, String(value)]));
    return ask(`${this.base}/${path}${wanted.length ? `?${search}` : ""}`, { cache: "no-store" });
  }

  #post(path, body, timeout) {
    const data = new TextEncoder().encode(JSON.stringify(body));
    return ask(
      `${this.base}/${path}`,
      {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Labelloop": "1" },
        body: data,
        keepalive: data.length < 60_000, // lets the last answers arrive when the page is being closed
      },
      timeout,
    );
  }
}

async function ask(url, options, timeout = 15_000) {
  let response, body;
  try {
    response = await fetch(url, { ...options, signal: AbortSignal.timeout(timeout) });
    body = await response.text();
  } catch (error) {
    throw new Unreachable(error.message);
  }
  const answer = parse(body);
  if (response.ok && answer) return answer;
  throw new Refused(answer?.error ?? `the server answered ${response.status}`, response.status, answer ?? {});
}

function parse(body) {
  try {
    return JSON.parse(body);
  } catch {
    return null; // a proxy's error page, say; the status tells
  }
}
