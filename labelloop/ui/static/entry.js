// What the log is told when a person answers, flags or notes: the answer, and how its image came to be shown.

/** event: {kind, class?, note?, source?, seconds?, undoes?, undoes_seq?} */
export function entry(item, event) {
  return {
    image: item.id,
    kind: event.kind,
    class: event.class ?? null,
    note: event.note ?? null,
    source: event.source ?? "human",
    seconds: event.seconds ?? null,
    round: item.round ?? null,
    strategy: item.strategy ?? null,
    undoes: event.undoes ?? null,
    undoes_seq: event.undoes_seq ?? null,
    ...shownGuess(item),
  };
}

/** What the person saw before answering: nothing for an image of the exam. */
function shownGuess({ exam, suggestion, probability }) {
  return exam
    ? { suggestion: null, probability: null }
    : { suggestion: suggestion ?? null, probability: probability ?? null };
}
