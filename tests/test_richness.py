import numpy as np
import pytest

from labelloop.richness import MORE, likely_classes


@pytest.mark.parametrize(
    ("counts", "likely"),
    [
        ([0, 0, 0, 0], 4),  # nothing is known
        ([1, 1, 0, 0], 4),  # every label is of a class of its own: there may be any number
        ([3, 3, 2, 2], 4),  # all were seen
        ([5, 3, 1, 1] + 46 * [0], 4 / (1 - 2 / 10) + MORE),
        ([60, 60, 0, 60] + 300 * [0], 3 + MORE),  # a long list of which the photographs show three
        ([60, 60, 0, 60, 0], 5),  # never more than the list has
        ([0.5, 0.5, 3, 0, 0, 0, 0, 0, 0], 3 / (1 - 2 / 4) + MORE),  # copies count once in all
    ],
)
def test_how_many_classes_there_likely_are(counts, likely):
    assert likely_classes(np.array(counts)) == pytest.approx(min(likely, len(counts)))
