"""Review: the labeling component over images that have an answer."""

from __future__ import annotations

from labelloop.ui import visit
from labelloop.ui.component import labeler


def page() -> None:
    """The page."""
    key, _ = visit.project()
    labeler(f"/ll/{key}", mode="review", by=visit.by(), key=f"review-{key}")
