"""Whether a fine-tuned model takes over: it has to answer more images right than the one in charge.

Left out: training it (train/finetune.py) and the process that does so (worker.py).
"""

from __future__ import annotations

import numpy as np

from labelloop.board import Board, read_board
from labelloop.loop import fit, learn
from labelloop.project import Measured, Project
from labelloop.types import Ints


def split_to_judge(board: Board, exam_is_enough: bool, seed: int) -> tuple[Ints, Ints]:
    """Rows to train on and rows to judge by; never the same, and never a held-out one to train on."""
    rows = board.to_learn_from
    if exam_is_enough:
        return rows, board.exam
    judge = np.random.default_rng(seed).permutation(rows)[: max(1, len(rows) // 5)]
    return np.setdiff1d(rows, judge), np.sort(judge)


def decide(project: Project, name: str, train: Ints, judge: Ints, seconds: float) -> str:
    """Put a set of features in charge if a head on it answers more of the judging images right than one on the set in
    charge, both fitted on the same labels. Records the comparison and returns it in words.

    Labels that were taken back while it trained count on neither side.
    """
    old, new = read_board(project), read_board(project, features=name)
    old.label = new.label  # of one moment
    train, judge = (rows[new.label[rows] >= 0] for rows in (train, judge))
    right = {}
    for board in (old, new):
        head = fit(board, train)
        right[board.features_name] = int(
            (head.predict_proba(board.features[judge]).argmax(1) == board.label[judge]).sum()
        )
    is_better = right[name] > right[old.features_name]
    exam = learn(new).exam
    kind = "held-out answers" if set(judge) <= set(new.exam) else "labels set aside"
    verdict = f"{right[name]} of {len(judge)} {kind} right after fine-tuning, {right[old.features_name]} before: " + (
        "the new model is in charge" if is_better else "the old model stays in charge"
    )
    if is_better:
        project.put_features_in_charge(name, project.settings.backbone, f"models/{name}/model.safetensors")
    project.rounds.add_model(
        Measured(
            kind="fine-tune",
            features=name,
            labels=len(new.to_learn_from),
            exam_n=exam.n,
            exam_correct=exam.correct,
            seconds=seconds,
            in_charge=is_better,
            note=verdict,
        )
    )
    return verdict
