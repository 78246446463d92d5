"""The wrappers that the benchmarks put around other packages; skipped where those are missing: no dependency."""

import numpy as np
import pytest

from benchmarks.peers import PEERS, as_strategies, counterparts
from labelloop.strategies import choose, names, registry
from labelloop.types import Pool

MODULES = {"modal": "modAL", "skactiveml": "skactiveml", "small": "small_text", "distil": "distil"}


def made_up(n=300, d=16, c=4, labels=30):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)).astype(np.float32)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = np.full(n, -1)
    rows = rng.choice(n, labels, replace=False)
    y[rows] = np.arange(labels) % c
    return X, y, rng.dirichlet(np.ones(c), n).astype(np.float32)


@pytest.fixture(params=PEERS)
def name(request):
    pytest.importorskip(MODULES[request.param.split("_")[0]])
    return request.param


@pytest.mark.filterwarnings("ignore")  # theirs
def test_a_peer_chooses_different_unlabeled_rows(name):
    X, y, proba = made_up()
    rows = PEERS[name](X, y, proba if PEERS[name].reads_proba else None, 12, np.random.default_rng(0))
    assert len(set(rows.tolist())) == 12
    assert (y[rows] == -1).all()


def test_every_peer_is_the_counterpart_of_a_built_in_strategy():
    assert {peer for name in names() for peer in counterparts(name)} == set(PEERS)
    assert counterparts("k_center") == ["skactiveml_core_set", "small_text_greedy_coreset", "distil_core_set"]


def test_peers_choose_the_same_as_strategies_of_labelloop_and_never_a_held_out_row(monkeypatch):
    pytest.importorskip("skactiveml")
    monkeypatch.setattr(registry, "_registry", registry._registry.copy())
    monkeypatch.setattr(registry, "_collecting", registry.ContextVar("collecting", default=registry._registry))
    as_strategies()
    X, y, proba = made_up()
    held_out = np.arange(len(y)) % 3 == 0
    pool = Pool(np.arange(len(y)), X, y, tuple("abcd"), (y < 0) & ~held_out, proba)
    for theirs, ours in (("skactiveml_core_set", "k_center"), ("skactiveml_margin", "margin")):
        rows = choose(pool, 12, theirs, np.random.default_rng(0)).rows
        assert rows.tolist() == choose(pool, 12, ours, np.random.default_rng(0)).rows.tolist()
        assert pool.open[rows].all()
