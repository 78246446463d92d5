"""What other packages choose, on the arrays a labelloop strategy sees: modAL, scikit-activeml, small-text, DISTIL.

    PEERS["skactiveml_badge"](features, y, proba, n, rng) -> rows

features (n_images, d), y (n_images,) with -1 for no label, proba (n_images, c); rows (n,) in the order chosen. Where a
package asks for a classifier or a network, it gets a stand-in that hands out these arrays at once, so only its choosing
is done, which is to its advantage. Every one runs with the settings its package comes with. `as_strategies()` makes
them strategies of labelloop, for learning curves with the same head:

    python -m venv build/peers
    build/peers/bin/pip install -r benchmarks/peers.txt -e .
    PYTHONPATH=benchmarks build/peers/bin/python   >>> import peers; peers.as_strategies()
                                                   >>> simulate(features, y, "skactiveml_badge", …)

Nothing is imported before it is called: this file loads without any of the packages, and without labelloop. Left out:
strategies that read pictures or text, or retrain once for each image.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """What is to be chosen from."""

    features: NDArray[np.float32]
    y: NDArray[np.int64]
    proba: NDArray[np.float32] | None
    n: int
    seed: int

    @cached_property
    def labeled(self) -> Rows:
        """Rows with a label."""
        return np.flatnonzero(self.y >= 0)

    @cached_property
    def unlabeled(self) -> Rows:
        """Rows without."""
        return np.flatnonzero(self.y < 0)

    @property
    def sure_proba(self) -> NDArray[np.float32]:
        """Probabilities of all rows; raises ValueError where there are none."""
        if self.proba is None:
            raise ValueError("this peer needs class probabilities, and none were given")
        return self.proba


@dataclass(frozen=True)
class Peer:
    """A strategy of another package, and the built-in ones it is the counterpart of."""

    run: Callable[[Task], Any]
    like: tuple[str, ...]  # without underscores: k_center is kcenter
    reads_proba: bool

    def __call__(self, features: Any, y: Any, proba: Any, n: int, rng: np.random.Generator) -> Rows:
        """n unlabeled rows, in the order chosen."""
        task = Task(features, np.asarray(y), proba, n, int(rng.integers(2**31)))
        np.random.seed(task.seed)  # noqa: NPY002  small-text and DISTIL draw from the global generator
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.asarray(self.run(task), np.int64)


def counterparts(strategy: str) -> list[str]:
    """Names of the peers that do what this built-in strategy does, or that come closest."""
    return [name for name, peer in PEERS.items() if strategy.replace("_", "") in peer.like]


def as_strategies() -> list[str]:
    """Register every peer with labelloop under its name here, to be simulated like any other; returns the names."""
    from labelloop import strategies

    def register(name: str, peer: Peer) -> None:
        def choose(pool: Any, n: int, rng: np.random.Generator) -> Any:
            rows = np.union1d(pool.labeled, pool.unlabeled)
            proba = pool.proba[rows] if peer.reads_proba else None
            return strategies.in_order(pool, rows[peer(pool.features[rows], pool.y[rows], proba, n, rng)])

        choose.__name__, choose.__doc__ = name, f"{name}, by the package itself."
        strategies.strategy(choose)

    for name, peer in PEERS.items():
        register(name, peer)
    return list(PEERS)


# --- modAL ------------------------------------------------------------------------------------------------------------


def _modal_model(task: Task) -> Any:
    return SimpleNamespace(
        predict_proba=lambda X: task.sure_proba[task.unlabeled],
        X_training=task.features[task.labeled],
        on_transformed=False,
    )


def _modal_uncertainty(function: str, task: Task) -> Rows:
    choose = getattr(import_module("modAL.uncertainty"), function)
    return task.unlabeled[choose(_modal_model(task), task.unlabeled, n_instances=task.n)[0]]


def _modal_ranked_batch(task: Task) -> Rows:
    from modAL.batch import uncertainty_batch_sampling

    X = task.features[task.unlabeled]
    return task.unlabeled[uncertainty_batch_sampling(_modal_model(task), X, n_instances=task.n)[0]]


def _modal_density(task: Task) -> Rows:
    """Density times uncertainty, as modAL's page on information density does it."""
    from modAL.density import information_density
    from modAL.uncertainty import classifier_uncertainty

    X = task.features[task.unlabeled]
    score = information_density(X) * classifier_uncertainty(_modal_model(task), X)
    return task.unlabeled[np.argsort(-score)[: task.n]]


# --- scikit-activeml --------------------------------------------------------------------------------------------------


def _skactiveml_features(name: str, task: Task, **settings: Any) -> Rows:
    strategy = getattr(import_module("skactiveml.pool"), name)
    return strategy(missing_label=-1, random_state=task.seed, **settings).query(
        task.features, task.y, batch_size=task.n
    )


def _skactiveml_prob_cover(task: Task) -> Rows:
    return _skactiveml_features("ProbCover", task, n_classes=max(len(np.unique(task.y[task.labeled])), 2))


def _skactiveml_model(name: str, task: Task, **settings: Any) -> Rows:
    """A strategy that asks a classifier for probabilities of the unlabeled rows."""
    from skactiveml.base import SkactivemlClassifier

    class Given(SkactivemlClassifier):  # type: ignore[misc]
        def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
            return self

        def predict_proba(self, X: Any) -> Any:
            return task.sure_proba[task.unlabeled]

    strategy = getattr(import_module("skactiveml.pool"), name)(missing_label=-1, random_state=task.seed, **settings)
    model = Given(classes=list(range(task.sure_proba.shape[1])), missing_label=-1)
    return strategy.query(task.features, task.y, model, fit_clf=False, batch_size=task.n)


def _skactiveml_heads(task: Task, count: int) -> list[Any]:
    """Logistic regressions fitted to the labels: one to all of them, more to bootstraps."""
    from sklearn.linear_model import LogisticRegression

    wrapped = import_module("skactiveml.classifier").SklearnClassifier
    rng, classes, heads = np.random.default_rng(task.seed), list(range(task.sure_proba.shape[1])), []
    for _ in range(count):
        rows = task.labeled if count == 1 else rng.choice(task.labeled, len(task.labeled))
        head = wrapped(LogisticRegression(C=10), classes=classes, missing_label=-1, random_state=task.seed)
        heads.append(head.fit(task.features[rows], task.y[rows]))
    return heads


def _skactiveml_drop_query(task: Task) -> Rows:
    """With a head of its own, fitting included: it must answer for features with dropout, which nobody can give."""
    from skactiveml.pool import DropQuery

    strategy, (head,) = DropQuery(missing_label=-1, random_state=task.seed), _skactiveml_heads(task, 1)
    return strategy.query(task.features, task.y, head, fit_clf=False, batch_size=task.n)


def _skactiveml_bald(task: Task, members: int = 10) -> Rows:
    """With a committee of its own, fitting included, as the built-in one has."""
    from skactiveml.pool import GreedyBALD

    strategy, heads = GreedyBALD(missing_label=-1, random_state=task.seed), _skactiveml_heads(task, members)
    return strategy.query(task.features, task.y, heads, fit_ensemble=False, batch_size=task.n)


# --- small-text -------------------------------------------------------------------------------------------------------


def _small_text(name: str, task: Task, module: str = "small_text.query_strategies", **settings: Any) -> Rows:
    """The "dataset" is the row numbers.

    Embeddings go through the classifier: handed over in the order of the data set, greedy coreset would take a place
    among the unlabeled for a row and measure distances to the wrong images.
    """
    strategy = getattr(import_module(module), name)(**settings)
    model = SimpleNamespace(
        predict_proba=lambda rows: task.sure_proba[rows],
        embed=lambda rows, return_proba, pbar: (task.features[rows], None if task.proba is None else task.proba[rows]),
    )
    y = task.y[task.labeled]
    return strategy.query(model, np.arange(len(task.y)), task.unlabeled, task.labeled, y, n=task.n)


def _small_text_badge(task: Task) -> Rows:
    module = "small_text.integrations.pytorch.query_strategies"
    return _small_text("BADGE", task, module, num_classes=task.sure_proba.shape[1])


# --- DISTIL -----------------------------------------------------------------------------------------------------------


def _distil(module: str, name: str, task: Task) -> Rows:
    import torch

    strategy = getattr(import_module(f"distil.active_learning_strategies.{module}"), name)

    class Given(strategy):  # type: ignore[misc,valid-type]
        """Reads rows of the arrays instead of running a network over a data set, one image after the other."""

        def get_embedding(self, rows: Rows) -> Any:
            return torch.from_numpy(task.features[rows])

        def predict_prob(self, rows: Rows) -> Any:
            return torch.from_numpy(task.sure_proba[rows])

        def get_grad_embedding(self, rows: Rows, Y: Any = None, bias_grad: bool = True) -> Any:
            change = self.predict_prob(rows)
            change[torch.arange(len(rows)), change.argmax(1)] -= 1
            return (change[:, :, None] * self.get_embedding(rows)[:, None, :]).flatten(1)

    classes = 0 if task.proba is None else task.proba.shape[1]
    chosen = Given(task.labeled, task.y[task.labeled], task.unlabeled, None, None, classes, {"device": "cpu"})
    return task.unlabeled[np.asarray(chosen.select(task.n))]


def _of_proba(run: Callable[..., Any], *given: Any, like: str, **settings: Any) -> Peer:
    return Peer(partial(run, *given, **settings), tuple(like.split()), True)


def _of_features(run: Callable[..., Any], *given: Any, like: str, **settings: Any) -> Peer:
    return Peer(partial(run, *given, **settings), tuple(like.split()), False)


PEERS: dict[str, Peer] = {
    "modal_margin": _of_proba(_modal_uncertainty, "margin_sampling", like="margin"),
    "modal_least_confidence": _of_proba(_modal_uncertainty, "uncertainty_sampling", like="leastconfidence"),
    "modal_entropy": _of_proba(_modal_uncertainty, "entropy_sampling", like="entropy"),
    "modal_ranked_batch": _of_proba(_modal_ranked_batch, like="auto uherding"),
    "modal_density": _of_proba(_modal_density, like="auto uherding"),
    "skactiveml_margin": _of_proba(_skactiveml_model, "UncertaintySampling", method="margin_sampling", like="margin"),
    "skactiveml_least_confidence": _of_proba(
        _skactiveml_model, "UncertaintySampling", method="least_confident", like="leastconfidence"
    ),
    "skactiveml_entropy": _of_proba(_skactiveml_model, "UncertaintySampling", method="entropy", like="entropy"),
    "skactiveml_core_set": _of_features(_skactiveml_features, "CoreSet", like="kcenter"),
    "skactiveml_typiclust": _of_features(_skactiveml_features, "TypiClust", like="typiclust"),
    "skactiveml_prob_cover": _of_features(_skactiveml_prob_cover, like="probcover"),
    "skactiveml_max_herding": _of_features(_skactiveml_features, "MaxHerding", like="maxherding"),
    "skactiveml_badge": _of_proba(_skactiveml_model, "Badge", like="badge"),
    "skactiveml_drop_query": _of_proba(_skactiveml_drop_query, like="dropquery"),
    "skactiveml_bald": _of_proba(_skactiveml_bald, like="bald"),
    "small_text_margin": _of_proba(_small_text, "BreakingTies", like="margin"),
    "small_text_least_confidence": _of_proba(_small_text, "LeastConfidence", like="leastconfidence"),
    "small_text_entropy": _of_proba(_small_text, "PredictionEntropy", like="entropy"),
    "small_text_greedy_coreset": _of_features(_small_text, "GreedyCoreset", like="kcenter"),
    "small_text_k_means": _of_features(_small_text, "EmbeddingKMeans", like="kmeans"),
    "small_text_badge": _of_proba(_small_text_badge, like="badge"),
    "distil_margin": _of_proba(_distil, "margin_sampling", "MarginSampling", like="margin"),
    "distil_least_confidence": _of_proba(_distil, "least_confidence", "LeastConfidence", like="leastconfidence"),
    "distil_entropy": _of_proba(_distil, "entropy_sampling", "EntropySampling", like="entropy"),
    "distil_core_set": _of_features(_distil, "core_set", "CoreSet", like="kcenter"),
    "distil_k_means": _of_features(_distil, "kmeans_sampling", "KMeansSampling", like="kmeans"),
    "distil_badge": _of_proba(_distil, "badge", "BADGE", like="badge"),
}
