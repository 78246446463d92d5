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


NO_MEMORY = ("out of memory", "_STATUS_ALLOC_FAILED")  # the second of cuBLAS and cuDNN


def is_out_of_memory(error: Exception) -> bool:
    """Whether a GPU has no memory left: torch has a type for it in some places on CUDA; else it is in the words.

    Others of its errors (torch.AcceleratorError) are a RuntimeError of their own type.
    """
    is_said = isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
    return type(error).__name__ == "OutOfMemoryError" or is_said
