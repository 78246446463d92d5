"""Who gets which image: the open pages, what is meant for each, and how a choice is dealt out among them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from labelloop.types import Bools, Pick

QUEUE = 32  # images chosen ahead for each open page


@dataclass
class Client:
    """One open page: the images that are meant for it and for no other page."""

    queue: list[Pick] = field(default_factory=list)
    pinned: set[int] = field(default_factory=set)  # on screen or about to be
    given: dict[int, Pick] = field(default_factory=dict)  # what it may show, by image id
    seen: float = 0.0
    wants: int = QUEUE

    @property
    def meant(self) -> set[int]:
        """Images that no other page is given."""
        return self.pinned.union(pick.image_id for pick in self.queue)

    def showed(self, image_ids: Iterable[int]) -> list[Pick]:
        """Those of the images that it was given and shows for the first time."""
        return [self.given.pop(image_id) for image_id in image_ids if image_id in self.given]

    def next(self, answered: Collection[int]) -> list[Pick]:
        """What it may be given."""
        return [pick for pick in self.queue if pick.image_id not in self.pinned and pick.image_id not in answered]


def deal(picks: Sequence[Pick], clients: Sequence[Client]) -> list[list[Pick]]:
    """Deal images out, best first, so that no two pages have the same one.

    What a page was given last may be on its screen by now without the server knowing, and what it said that it shows
    may have come there while these were chosen: only that page gets it again.
    """
    owner = {image_id: k for k, client in enumerate(clients) for image_id in (*client.pinned, *client.given)}
    hands: list[list[Pick]] = [[] for _ in clients]
    for pick in picks:
        shortest = min(range(len(hands)), key=lambda k: len(hands[k]))
        hands[owner.get(pick.image_id, shortest)].append(pick)
    return hands


def unanswered(is_open: Bools, answered: Iterable[int], others: Iterable[Client]) -> dict[str, int]:
    """How many images (n,) are open, without the just answered ones, and how many of them are with other pages."""
    n = len(is_open)
    still = is_open.copy()
    still[[image_id - 1 for image_id in answered if image_id <= n]] = False
    theirs = set().union(*(page.meant for page in others))
    return {"open": int(still.sum()), "elsewhere": int(still[[image_id - 1 for image_id in theirs]].sum())}
