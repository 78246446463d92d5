"""labelloop: label images with single keys while a model learns from every answer."""

from labelloop.errors import LabelloopError
from labelloop.strategies import in_order, ranks, strategy

__all__ = ["LabelloopError", "in_order", "ranks", "strategy"]
