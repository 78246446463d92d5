"""Strategies: which images to show next. Each is one function; each page of the second list is a family.

contract.py      what a strategy takes and returns       check.py         says what is wrong with one
registry.py      those there are, by name                pools.py         small strange pools to check it on
choosing.py      the one place that runs one             distances.py     what several families measure with
folder.py        finds drop-ins and installed ones       ../cores.py      how several share work between cores
deadline.py      waits so long for other people's code   ../richness.py   how many classes there likely are

uncertainty.py   what the model is unsure of             diversity.py     what is unlike, or typical of, the rest
committee.py     what several models dispute             coverage.py      what most images are near to
gradients.py     what would change the model             clustering.py    one image out of each group
variance.py      what would tell most about all images   hybrid.py        doubt and likeness at once; `auto`
                                                         spot_checks.py   classes for which few answers speak
"""

# importing a page registers its functions
from labelloop.strategies import clustering, committee, coverage, diversity, gradients, hybrid, uncertainty
from labelloop.strategies.choosing import Chosen, choose
from labelloop.strategies.contract import Scores, Setting, Strategy, Value, because, in_order, ranks
from labelloop.strategies.registry import get, names, strategy

__all__ = [
    "Chosen",
    "Scores",
    "Setting",
    "Strategy",
    "Value",
    "because",
    "choose",
    "clustering",
    "committee",
    "coverage",
    "diversity",
    "get",
    "gradients",
    "hybrid",
    "in_order",
    "names",
    "ranks",
    "strategy",
    "uncertainty",
]
