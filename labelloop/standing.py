"""Where a project stands, as the labeling page shows it: counts, the exam, the model, the job.

Left out: whose turn it is with which image, which only the open project knows (live.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from labelloop import worker
from labelloop.board import UNSURE, Board
from labelloop.learning import Learned
from labelloop.metrics import ENOUGH
from labelloop.project import Project


def classes_now(project: Project) -> dict[str, Any]:
    """The classes by index, for JSON. One that was merged goes by the name of the class it is part of."""
    names, merged = project.classes, project.merged
    shown = [names[merged.get(index, index)] for index in range(len(names))]
    return {"classes": shown, "first_names": list(project.first_names), "merged": merged}


def standing(project: Project, board: Board, learned: Learned | None) -> dict[str, Any]:
    """For JSON. An accuracy is in it only when enough held-out images were answered."""
    labels = board.label[board.label >= 0]
    exam = learned.exam if learned is not None else None
    known = exam if exam is not None and exam.enough else None
    return {
        **classes_now(project),
        "images": int((~board.gone).sum()),
        "embedded": int((board.embedded & ~board.gone).sum()),
        "labeled": len(labels),
        "counts": np.bincount(labels, minlength=len(board.classes)).tolist(),
        "unsure": int((board.state == UNSURE).sum()),
        "flagged": len(project.log.flagged()),
        "exam": {
            "n": exam.n if exam else len(board.exam),
            "wanted": ENOUGH,
            "held_out": int((board.held_out & ~board.gone).sum()),
            "accuracy": known.value if known else None,
            "low": known.low if known else None,
            "high": known.high if known else None,
        },
        "model": {"labels": learned.labels, "seconds": learned.seconds} if learned else None,
        "job": worker.describe(project.jobs.latest()),
        "strategy": project.settings.strategy,
    }
