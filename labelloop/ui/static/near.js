// Which name was probably meant when another one was typed.

const LONG = 6; // letters, from which on two slips are as likely as one is in short words
const SHORT = 4; // below this a letter more or less is another word

/**
 * Indices of the names that are a slip or two away from what was typed, nearest first; capitals do not matter. None
 * where a digit was typed: names that are numbered are all alike.
 */
export function near(typed, names) {
  const text = typed.toLowerCase();
  const most = text.length < SHORT || /\d/.test(text) ? 0 : text.length < LONG ? 1 : 2;
  return names
    .map((name, index) => [slips(text, name.toLowerCase()), index])
    .filter(([slip]) => slip > 0 && slip <= most)
    .sort((a, b) => a[0] - b[0] || a[1] - b[1])
    .map(([, index]) => index);
}

/** Letters to leave out, put in, change, or swap with the next one (optimal string alignment). */
function slips(a, b) {
  const rows = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = rows[i - 1][j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      row[j] = Math.min(rows[i - 1][j] + 1, row[j - 1] + 1, change);
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (isSwap) row[j] = Math.min(row[j], rows[i - 2][j - 2] + 1);
    }
    rows.push(row);
  }
  return rows[a.length][b.length];
}
