"""One project open in the app: a thread keeps model and queue as new as the newest answer, nobody waits for it.

Requests only append to the log and read what is ready. The thread follows the log (and with it the command line and
other people), the worker's progress and the set of features in charge; after each change it fits the head again and
chooses the next images.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from labelloop import worker
from labelloop.board import NONE, Board, read_board, read_features
from labelloop.chooser import Chooser, Wanted
from labelloop.cores import share
from labelloop.dealing import Dealer, deal
from labelloop.errors import CannotTrain, LabelloopError
from labelloop.learning import Learned, learn
from labelloop.loop import exam_picks, mix_exam, record
from labelloop.project import Project
from labelloop.standing import standing
from labelloop.types import ANSWERS, Bools, Event, Ints, Pick

log = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 1.0  # how often to look for changes that others made
RESERVE_REASON = "drawn at random, because the server could not be reached"


def _step_back() -> None:
    """Give the calling thread a lower priority than those that answer requests, where threads have one (Linux)."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


class Live:
    """The live state of one project. Make it with `Live(project)`, then `start()`; `close()` ends its thread."""

    def __init__(self, project: Project):
        self.project = project
        self.board: Board = read_board(project)
        self.learned: Learned | None = None
        self.dealer = Dealer()
        self.chooser = Chooser(project)
        self.chosen_by: Learned | None = None  # the model that the present queue is based on
        self.asked: Wanted | None = None  # what the present queue was asked of
        self.ran = ""  # the strategy that chose it, which may be the cold start or the one that worked before
        self.notice: str | None = None
        self.unreadable = len(project.catalog.problems())
        self._passed_over: set[int] = set()  # images that the strategy will not have
        self._resumed_at = len(self.board.label)  # images there were when embedding last went on by itself
        self._is_behind = True  # there is something that the model does not know yet; labels of earlier days, at first
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"live {project.folder.name}", daemon=True)

    def start(self) -> None:
        """Start following; embedding that was interrupted goes on by itself."""
        worker.resume(self.project)
        self._wake.set()
        self._thread.start()

    def close(self) -> None:
        """Stop following."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    # -- called by requests -----------------------------------------------------------------------------------------

    def answer(self, events: Sequence[Event]) -> None:
        """Append answers; on disk when this returns. Raises NotSaved or BadInput with nothing written."""
        self.dealer.answered(events, self.project.log.append(events))
        self._wake.set()

    def wake(self) -> None:
        """Something changed (a class, a setting, a job): look now."""
        self._wake.set()

    def take(self, client: str, have: Collection[int], n: int, *, asked: float = math.inf) -> list[Pick]:
        """The next n images for one page: not what it has, not what other pages have.

        Nothing is kept for it with n=0, nor if it was closed since it asked (by time.monotonic(); now unless told).
        """
        if n <= 0:
            return []
        picks, is_short = self.dealer.take(client, have, n, len(self.board.label), asked)
        if is_short:
            self._wake.set()
        return picks

    def forget(self, client: str) -> None:
        """A page is closed: others may have what it had."""
        self.dealer.forget(client)
        self._wake.set()

    def reserve(self, client: str, n: int) -> list[Pick]:
        """Up to n images for a page that loses the connection: open, not held out, in no page's queue.

        Drawn at random, and without a suggestion: what the model would say is out of date by then. The same page gets
        the same ones again as long as they are open.
        """
        seed = self.project.settings.seed
        with self.dealer.lock:
            board = self.board  # not before: what pages have is of this one, or of one before it
            taken = self.dealer.taken()
        is_open = (board.state == NONE) & ~board.held_out & ~board.gone & board.embedded
        rows = np.flatnonzero(is_open)
        rows = rows[~np.isin(rows + 1, list(taken))]
        order = np.random.default_rng([seed, *client.encode()]).random(len(is_open))
        drawn = rows[np.argsort(order[rows])[:n]] + 1
        return [Pick(image_id=image_id, strategy="random", reason=RESERVE_REASON) for image_id in drawn.tolist()]

    def wait_for(self, event_id: int, seconds: float) -> bool:
        """Wait until the queue is based on an event of the log; False when it is not after so many seconds."""
        return self.dealer.wait_for(event_id, seconds)

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        from threadpoolctl import threadpool_limits

        _step_back()
        sys.setswitchinterval(0.001)  # seconds that a request may have to wait for this thread; 0.005 unless told
        half = max(1, (os.cpu_count() or 1) // 2)  # the other cores are for requests
        with share(half), threadpool_limits(half, user_api="openmp"):
            while not self._closing:
                self._wake.wait(LOOK_AGAIN_SECONDS)
                self._wake.clear()
                self._follow_or_say_why_not()
        self.project.close()

    def _follow_or_say_why_not(self) -> None:
        try:
            self._follow()
        except LabelloopError as error:
            self.notice = str(error)
        except Exception as error:
            # A bug here must not end the thread, or the queue would silently stand still: show it, keep the
            # traceback in the server's log, look again at the next change.
            log.exception("the live thread of %s failed", self.project.folder)
            self.notice = f"Something went wrong inside labelloop ({error!r}); answers are still saved."

    def _follow(self) -> None:
        answers = list(self.project.log.since(self.board.last_event))  # first: the images they are about are there then
        self._is_behind |= self._follow_features()
        board = replace(self.board)  # requests may be half way through reading the other
        board.apply(self.project, [e for e in answers if (e.id or 0) > board.last_event])
        classes = self.project.classes
        self._is_behind |= classes != board.classes or any(e.kind in (*ANSWERS, "undo") for e in answers)
        board.classes = classes
        self.board = board
        if self._is_behind:
            self._learn()
        rewritten = self.chooser.follow()
        if self._is_behind or answers or rewritten or self._is_low():
            self._choose()
        has_learned, self._is_behind = self._is_behind, False  # not where something above failed: it is tried again
        self._log_picks()
        self._resume()
        if has_learned:
            worker.fine_tune_when_due(self.project, self.board)

    def _resume(self) -> None:
        """Embed images that somebody else found: a fine-tuning that came to no end, or the command line.

        Not where embedding itself failed or a person stopped it, and once for the same images: some may never work.
        """
        board = self.board
        if not (~board.embedded & ~board.gone).any():
            return
        job = self.project.jobs.latest()
        was_embedded = job is None or (job.kind == "embed" and job.state == "done")
        has_new = was_embedded and len(board.label) > self._resumed_at
        if has_new or (job is not None and job.kind == "fine-tune" and not job.is_open):
            self._resumed_at = len(board.label)
            worker.resume(self.project)

    def _follow_features(self) -> bool:
        """Take in new images, merged classes, new or other features; True when there is something to learn anew."""
        board, project = self.board, self.project
        name, n = project.features_in_charge["name"], len(project.catalog)
        now = name, n, project.catalog.count_gone(), project.merged
        if now != (board.features_name, len(board.label), int(board.gone.sum()), board.merged):
            self.board = read_board(project)
            self.unreadable = len(project.catalog.problems())
            return True
        features, embedded = read_features(project.features_folder(name), n)
        had, has = int(board.embedded.sum()), int(embedded.sum())
        job = project.jobs.latest("embed")
        # While embedding runs, look at a tenth more images at a time; every new one would be a new model.
        if has == had or (has < 1.1 * had + 16 and job is not None and job.is_open):
            return False
        self.board = replace(board, features=features, embedded=embedded)
        return True

    def _learn(self) -> None:
        try:
            self.learned = learn(self.board)
        except CannotTrain:
            self.learned = None  # before the first model, or after undoing it: the cold start takes over
            return
        models = self.project.rounds.models()
        last = models[-1].labels if models else 0
        labels = self.learned.labels
        if abs(labels - last) >= (5 if labels < 100 else 20):
            record(self.project, self.board, self.learned)

    def _is_low(self) -> bool:
        """Whether a page has few images left while there are others to give it."""
        with self.dealer.lock:
            is_low, taken = self.dealer.is_low(), self.dealer.taken()
        return is_low and not np.isin(self._to_ask(), [*taken, *self._passed_over]).all()

    def _to_ask(self) -> Ints:
        """Ids of the images that wait for an answer, or for a second one where the strategy asks again."""
        board = self.board
        waits: Bools = (board.state == NONE) & ~board.gone & (board.embedded | board.held_out)
        return np.flatnonzero(waits | board.again if self.chooser.asks_again else waits) + 1

    def _choose(self) -> None:
        """Choose once for everybody and deal the images out, so that no two pages ever have the same one."""
        project, dealer, asked, seen = self.project, self.dealer, self.chooser.wanted, self.board.last_event
        with dealer.lock:
            clients, unseen = dealer.present(), dealer.unseen_round()
            pinned = set().union(*(client.pinned for client in clients))
        seed, share = project.settings.seed, project.settings.held_out
        rng = np.random.default_rng([seed, project.rounds.last() + 1])
        n = sum(client.wants for client in clients)
        choice, self.notice = self.chooser.choose(self.board, self.learned, n, rng, pinned)
        # What it leaves out although there was room for it, it would leave out the next time as well.
        had = pinned.union((self.board.exam_open + 1).tolist(), (pick.image_id for pick in choice.picks))
        self._passed_over = set(self._to_ask().tolist()) - had if len(choice.picks) < n else set()
        exam = exam_picks(rng.permutation([i for i in (self.board.exam_open + 1).tolist() if i not in pinned]))
        labels = 0 if self.learned is None else self.learned.labels
        number = project.rounds.start(choice.strategy, dict(choice.settings), seed, labels, instead_of=unseen)
        with dealer.lock:
            hands = zip(clients, deal(choice.picks, clients), deal(exam, clients), strict=True)
            rest = not self.board.is_embedding
            queues = [mix_exam(own, own_exam, page.wants, share, rng, rest=rest) for page, own, own_exam in hands]
            self.chosen_by, self.asked, self.ran = self.learned, asked, choice.strategy
            dealer.hand_out(clients, queues, number, seen)

    def _log_picks(self) -> None:
        to_log = self.dealer.shown()
        try:
            for number in sorted({pick.round for pick in to_log if pick.round is not None}):
                self.project.rounds.add_picks(number, [pick for pick in to_log if pick.round == number])
                to_log = [pick for pick in to_log if pick.round != number]
        finally:
            self.dealer.not_logged(to_log)

    # -- what the page shows -----------------------------------------------------------------------------------------

    def state(self, client: str = "") -> dict[str, Any]:
        """Where the project stands, as the page shows it; the page that asks, if one does, keeps what it has."""
        with self.dealer.lock:
            board = self.board  # as in `reserve`
            waiting = self.dealer.waiting(client, (board.state == NONE) & ~board.gone)
        return {
            **standing(self.project, board, self.learned),
            **waiting,
            "unreadable": self.unreadable,
            "notice": self.notice,
            "version": self.dealer.version,
            "seen_event": self.dealer.seen_event,
        }
