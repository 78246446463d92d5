"""Label: nothing but the labeling component, so that nothing here makes Streamlit run again."""

from __future__ import annotations

from labelloop.ui import visit
from labelloop.ui.component import labeler


def page() -> None:
    """The page."""
    key, _ = visit.project()
    labeler(f"/ll/{key}", mode="label", by=visit.by(), key=f"label-{key}")
