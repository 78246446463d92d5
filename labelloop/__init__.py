"""labelloop: label images with single keys while a model learns from every answer.

    from labelloop import Project, next_batch, strategy

The loop in ten lines is in the README; docs/architecture.md says where things live. Importing this package imports
neither torch nor streamlit.
"""

from labelloop.background import embed
from labelloop.board import read_board
from labelloop.errors import LabelloopError
from labelloop.exchange import export_labels, import_labels
from labelloop.learning import learn
from labelloop.loop import next_batch
from labelloop.project import Project
from labelloop.strategies import because, in_order, ranks, strategy
from labelloop.types import Batch, Event, Pick, Pool, Settings

__all__ = [
    "Batch",
    "Event",
    "LabelloopError",
    "Pick",
    "Pool",
    "Project",
    "Settings",
    "because",
    "embed",
    "export_labels",
    "import_labels",
    "in_order",
    "learn",
    "next_batch",
    "ranks",
    "read_board",
    "strategy",
]
