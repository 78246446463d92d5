"""Who gets which image: the open pages, what is meant for each, and how a choice is dealt out among them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from labelloop.types import ANSWERS, Bools, Event, Pick

QUEUE = 32  # images chosen ahead for each open page
FORGET_CLIENT_SECONDS = 120.0  # a page not heard of for so long gives its images back


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


class Dealer:
    """The open pages of one project and their queues. Requests and the live thread share it: all of it under `lock`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.round = 0  # of the present queues
        self.version = 0  # grows with every new queue
        self.seen_event = -1  # the newest event the queues are based on
        self.clients: dict[str, Client] = {}
        self.newcomer = Client()  # its queue waits for the next page that opens
        self._left: dict[str, float] = {}  # pages that said goodbye, and when
        self._given_out = False  # whether somebody was given an image of this round
        self._answered: dict[int, int] = {}  # image → event, of answers that the queues do not know of yet
        self._to_log: list[Pick] = []
        self._newer = threading.Condition(self.lock)

    # -- what pages ask and say -------------------------------------------------------------------------------------

    def take(
        self, client: str, have: Collection[int], n: int, n_images: int, asked: float = math.inf
    ) -> tuple[list[Pick], bool]:
        """The next n images for one page, and whether more should be chosen: it is new here, or there are fewer.

        Not what it has, not what other pages have. Nothing, if it was closed since it asked (by time.monotonic()).
        """
        with self.lock:
            if self._left.get(client, -math.inf) > asked:
                return [], False
            is_new = client not in self.clients
            if is_new:
                self.clients[client], self.newcomer = self.newcomer, Client()
            me = self.clients[client]
            # A page may have images of a project that was in this folder before, or nonsense.
            me.pinned = {image_id for image_id in have if 1 <= image_id <= n_images}
            me.seen, me.wants = time.monotonic(), max(n, QUEUE)
            self._to_log += me.showed(have)
            picks = me.next(self._answered)[:n]
            me.given = {pick.image_id: pick for pick in picks}
            self._given_out = self._given_out or bool(picks)
        return picks, is_new or len(picks) < n

    def answered(self, events: Sequence[Event], event_ids: Sequence[int]) -> None:
        """Nobody is given what was just answered, although the queues do not know of it yet."""
        with self.lock:
            for event_id, event in zip(event_ids, events, strict=True):
                if event.kind in ANSWERS and event_id > self.seen_event:
                    self._answered[event.image_id] = event_id
                if event.client in self.clients:
                    self._to_log += self.clients[event.client].showed([event.image_id])

    def forget(self, client: str) -> None:
        """A page is closed: others may have what it had."""
        with self.lock:
            self.clients.pop(client, None)
            self._left[client] = time.monotonic()

    def waiting(self, client: str, is_open: Bools) -> dict[str, int]:
        """Of the open images (n,), how many are unanswered and how many of them are with other pages than this one."""
        with self.lock:
            if client in self.clients:
                self.clients[client].seen = time.monotonic()
            others = [page for name, page in self.clients.items() if name != client]
            return unanswered(is_open, self._answered, others)

    def taken(self) -> set[int]:
        """Images that are answered, or meant for a page or for the one that may come."""
        with self.lock:
            return set(self._answered).union(*(client.meant for client in (*self.clients.values(), self.newcomer)))

    def wait_for(self, event_id: int, seconds: float) -> bool:
        """Wait until the queues are based on an event of the log; False when they are not after so many seconds."""
        with self._newer:
            return self._newer.wait_for(lambda: self.seen_event >= event_id, seconds)

    # -- the live thread --------------------------------------------------------------------------------------------

    def present(self) -> list[Client]:
        """The pages, and the one that may come; those not heard of for long are gone."""
        forgotten = time.monotonic() - FORGET_CLIENT_SECONDS
        with self.lock:
            self.clients = {name: client for name, client in self.clients.items() if client.seen > forgotten}
            self._left = {name: at for name, at in self._left.items() if at > forgotten}
            return [*self.clients.values(), self.newcomer]

    def is_low(self) -> bool:
        """Whether a page has few images left."""
        with self.lock:
            return any(len(client.next(self._answered)) < client.wants // 2 for client in self.present())

    def unseen_round(self) -> int | None:
        """The present round if nobody was given an image of it: the next one may have its number."""
        with self.lock:
            return self.round if self.round and not self._given_out else None

    def hand_out(self, clients: Sequence[Client], queues: Sequence[list[Pick]], number: int, seen_event: int) -> None:
        """Give pages new queues, of round `number`, which are based on all events up to `seen_event`."""
        with self.lock:
            for client, queue in zip(clients, queues, strict=True):
                client.queue = [replace(pick, round=number) for pick in queue]
            self._given_out = self._given_out and self.round == number
            self.round, self.seen_event = number, seen_event
            self._answered = {image_id: event for image_id, event in self._answered.items() if event > seen_event}
            self.version += 1
            self._newer.notify_all()

    def shown(self) -> list[Pick]:
        """What came on a screen for the first time since this was asked."""
        with self.lock:
            shown, self._to_log = self._to_log, []
        return shown

    def not_logged(self, picks: Sequence[Pick]) -> None:
        """These could not be saved as shown, and are told again the next time."""
        with self.lock:
            self._to_log[:0] = picks


def unanswered(is_open: Bools, answered: Iterable[int], others: Iterable[Client]) -> dict[str, int]:
    """How many images (n,) are open, without the just answered ones, and how many of them are with other pages."""
    n = len(is_open)
    still = is_open.copy()
    still[[image_id - 1 for image_id in answered if image_id <= n]] = False
    theirs = set().union(*(page.meant for page in others))
    return {"open": int(still.sum()), "elsewhere": int(still[[image_id - 1 for image_id in theirs]].sum())}
