// Classes that were merged into others: what a page knows of one is about the other from then on.

/** Changes these items; merged: index -> index of the class it is part of now. */
export function meanMerged(items, merged) {
  const now = (index) => merged[index] ?? index;
  for (const item of items) {
    if (item.answer?.kind === "label") item.answer = { ...item.answer, class: now(item.answer.class) };
    item.suggestion = now(item.suggestion);
    const probs = new Map();
    for (const [index, p] of item.probs ?? []) probs.set(now(index), (probs.get(now(index)) ?? 0) + p);
    item.probs = [...probs].sort((a, b) => b[1] - a[1]);
  }
}
