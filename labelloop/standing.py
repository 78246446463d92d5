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


def standing(project: Project, board: Board, learned: Learned | None) -> dict[str, Any]:
    """For JSON. An accuracy is in it only when enough held-out images were answered."""
    classes, labels = project.classes, board.label[board.label >= 0]
    exam = learned.exam if learned is not None else None
    known = exam if exam is not None and exam.enough else None
    return {
        "classes": list(classes),
        "first_names": list(project.first_names),
        "images": int((~board.gone).sum()),
        "embedded": int((board.embedded & ~board.gone).sum()),
        "labeled": len(labels),
        "counts": np.bincount(labels, minlength=len(classes)).tolist(),
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
