"""What labelloop says when something cannot be done.

    LabelloopError            shown to the person as it is, no traceback
    ├── BadInput              a file, folder, name or argument is not what was wanted
    ├── ProjectError          the project folder or its database cannot be used
    ├── NotSaved              an answer could not be written; it is still with whoever sent it
    ├── NeedsModel            a strategy asked for probabilities before the first model
    ├── BadStrategy           a strategy broke its contract
    ├── BadWeights            weights are missing, unreachable or of another architecture
    └── CannotTrain           there is nothing to learn from yet

Every message says what was found, what was wanted and what to do. Anything else that is raised is a bug and
keeps its traceback.
"""


class LabelloopError(Exception):
    """Shown to the person as it is."""


class BadInput(LabelloopError):
    """A file, folder, name or argument is not what was wanted."""


class ProjectError(LabelloopError):
    """The project folder or its database cannot be used."""


class NotSaved(LabelloopError):
    """An answer could not be written; whoever sent it must keep it and try again."""


class NeedsModel(LabelloopError):
    """A strategy asked for probabilities before there is a model."""


class BadStrategy(LabelloopError):
    """A strategy broke its contract."""


class BadWeights(LabelloopError):
    """Weights are missing, unreachable or of another architecture."""


class CannotTrain(LabelloopError):
    """There is nothing to learn from yet."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether a GPU has no memory left: torch has a type for it on CUDA only; on Apple's GPUs it is in the words."""
    kind = type(error).__name__
    return kind == "OutOfMemoryError" or (kind == "RuntimeError" and "out of memory" in str(error))
