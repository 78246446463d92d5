// What is said of an image, wherever it is shown.

const WORDS = { skip: "skipped", unsure: "unsure" };

/** The name of the class, "skipped" or "unsure"; "" where there is no answer. */
export function wordFor(answer, classes) {
  if (!answer) return "";
  return answer.kind === "label" ? (classes[answer.class] ?? "") : (WORDS[answer.kind] ?? "");
}

/** The class that the model suggests, null where there is none, and for an image of the exam. */
export function suggestionOf(item) {
  return item && !item.exam ? (item.suggestion ?? null) : null;
}
