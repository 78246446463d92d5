// From key press to picture, in milliseconds, kept for the benchmark in window.__labelloop.paints.

const KEPT = 1000;
const PATIENCE = 5000; // there may be no next picture at all
const paints = [];
const unacked = new Map(); // seq -> entry
window.__labelloop = { paints };

/** Notes one key press and the answer it made. */
export function pressed(event, image, seq) {
  const entry = { image, seq, t_key: event.timeStamp, t_paint: null, ack_ms: null };
  paints.push(entry);
  if (paints.length > KEPT) paints.shift();
  unacked.set(seq, entry);
  return entry;
}

/** Fills in t_paint: the frame after the one that sees the next picture complete. */
export function whenPainted(entry, isComplete) {
  requestAnimationFrame(function look(now) {
    if (isComplete()) requestAnimationFrame((painted) => (entry.t_paint = painted));
    else if (now - entry.t_key < PATIENCE) requestAnimationFrame(look);
  });
}

export function acked(upTo) {
  for (const [seq, entry] of unacked) {
    if (seq > upTo) break;
    entry.ack_ms = performance.now() - entry.t_key;
    unacked.delete(seq);
  }
}
