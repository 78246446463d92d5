"""Strategies: which images to show next. Each is one function; each page below is a family of them.

contract.py      what a strategy takes and returns       uncertainty.py   what the model is unsure of
registry.py      those there are, by name                diversity.py     what is unlike, or typical of, the rest
choosing.py      the one place that runs one             hybrid.py        both at once; `auto`, the default
folder.py        finds drop-ins and installed ones       distances.py     what several families measure with
clustering.py    one image out of each group of images alike
committee.py     what several models dispute
coverage.py      what most images are near to            gradients.py     what would change the model, each in its way
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
