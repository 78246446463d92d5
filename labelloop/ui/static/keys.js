// Which key means what. Knows nothing of images or the server.

/** Letters with a meaning of their own in one of the views; r and c belong to Streamlit. */
const RESERVED = "acfgnrstuz";

const FOCUS = {
  Enter: "accept",
  s: "skip",
  u: "unsure",
  f: "flag",
  n: "note",
  Backspace: "undo",
  z: "undo",
  ArrowLeft: "back",
  ArrowRight: "forward",
  g: "grid",
  t: "train",
  " ": "zoom",
  "[": "darker",
  "]": "brighter",
  "/": "find",
  "?": "help",
  Escape: "close",
};

const GRID = {
  Enter: "accept",
  s: "skip",
  u: "unsure",
  f: "flag",
  n: "note",
  Backspace: "undo",
  z: "undo",
  ArrowLeft: "left",
  ArrowRight: "right",
  ArrowUp: "up",
  ArrowDown: "down",
  " ": "toggle",
  a: "all",
  g: "grid",
  t: "train",
  "/": "find",
  "?": "help",
  Escape: "close",
};

/** What the help shows: [keys, what they do] by view. */
export const HELP = {
  focus: [
    ["1 … 9, 0", "this class, next image"],
    ["Enter", "take the suggestion"],
    ["/", "find a class by its name, or add one"],
    ["Backspace or Z", "undo, and back to that image; Ctrl+Z or ⌘Z, too"],
    ["S", "skip for now"],
    ["U", "unsure, nobody could tell"],
    ["F", "flag: come back to this one"],
    ["N", "write a note"],
    ["Space or click", "look closer: the mouse moves around; again: the whole image"],
    ["[   ]", "darker, brighter: on this screen only, for all images, until it is changed back"],
    ["← →", "look back and ahead; any class key corrects"],
    ["G", "many images at once"],
    ["T", "fine-tune the model now"],
    ["Esc", "close"],
  ],
  grid: [
    ["click", "select one; Shift: up to here; Ctrl or ⌘: one more"],
    ["drag", "select with a rubber band"],
    ["← → ↑ ↓", "move; with Shift: select on the way"],
    ["Space", "select or unselect"],
    ["A", "select all on screen; while labeling, those without an answer"],
    ["1 … 9, 0 or /", "this class for all selected"],
    ["Enter", "take the suggestion of each selected image"],
    ["S   U   F", "skip, unsure, flag"],
    ["N", "write a note"],
    ["Backspace or Z", "undo all of the last step"],
    ["double click", "look at it large; also Shift+Space. There ← → show the next one, and keys answer the one you see"],
    ["Esc", "select nothing"],
  ],
};

HELP.review = [...HELP.grid, ["Ctrl+F or ⌘F", "find images by their file names; Enter or Esc: back to the images"]];

/**
 * A key for each class, "" where there are none left. The first ten get digits; the others a letter of their name
 * if it is free, else any free letter. Classes are only ever added, and what counts is the name that each was added
 * with, so a class keeps its key.
 */
export function keysFor(firstNames) {
  const taken = new Set(RESERVED);
  return firstNames.map((name, index) => {
    if (index < 10) return String((index + 1) % 10);
    const free = [...name.toLowerCase(), ..."abcdefghijklmnopqrstuvwxyz"].find(
      (c) => /^[a-z]$/.test(c) && !taken.has(c),
    );
    if (free) taken.add(free);
    return free ?? "";
  });
}

/**
 * {action, index?} for a keydown, or null when the key is none of ours. view: focus, grid or review.
 * `tabbed`: the focus was moved by keyboard.
 */
export function readKey(event, classKeys, view, tabbed) {
  const origin = event.composedPath()[0];
  if (event.altKey || event.isComposing || isTyping(origin)) return null;
  const key = nameOf(event);
  if (event.ctrlKey || event.metaKey) {
    const known = view === "review" ? { z: "undo", f: "search" } : { z: "undo" };
    return !event.shiftKey && Object.hasOwn(known, key) ? { action: known[key] } : null;
  }
  if (tabbed && isPressable(origin) && (key === "Enter" || key === " ")) return null;
  if (view !== "focus" && key === " " && event.shiftKey) return { action: "open" };
  const table = view === "focus" ? FOCUS : GRID;
  if (Object.hasOwn(table, key)) return { action: table[key] };
  const index = key ? classKeys.indexOf(key) : -1;
  return index < 0 || event.shiftKey ? null : { action: "label", index };
}

function nameOf(event) {
  const { key, code } = event;
  if (key.length > 1 || "/? []".includes(key)) return key;
  if (/^[0-9]$/.test(key)) return key;
  const digit = /^(?:Digit|Numpad)([0-9])$/.exec(code); // French keyboards have digits on Shift
  if (digit && !event.shiftKey) return digit[1];
  if (/^[a-z]$/i.test(key)) return key.toLowerCase();
  const bracket = { BracketLeft: "[", BracketRight: "]" }[code]; // on many keyboards with AltGr only
  if (bracket) return bracket;
  const letter = /^Key([A-Z])$/.exec(code); // Greek, Cyrillic, …: the key in the same place
  return letter ? letter[1].toLowerCase() : key;
}

function isTyping(element) {
  return (
    element instanceof HTMLElement && (/^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName) || element.isContentEditable)
  );
}

/** Enter and Space belong to a button or link that was reached with Tab; after a click they stay ours. */
function isPressable(element) {
  return element instanceof HTMLElement && element.matches("a, button, [role=button]");
}
