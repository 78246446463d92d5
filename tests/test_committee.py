"""BALD and EPIG against plain loops over their definitions, and what a committee is made of."""

from math import log

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from labelloop.errors import NeedsModel
from labelloop.strategies import choose, committee
from labelloop.strategies.committee import bootstrap, coarse, disagreement, gain, votes
from labelloop.types import Pool


def pool_of(X, y, *, classes=("rust", "mildew", "leaf")) -> Pool:
    X, y = np.asarray(X, np.float32), np.asarray(y)
    proba = np.full((len(X), len(classes)), 1 / len(classes), np.float32)
    return Pool(np.arange(1, len(X) + 1), X, y, classes, y < 0, proba)


def groups(n=300, labeled=24, d=8, seed=0) -> Pool:
    """Three overlapping kinds of images on the unit sphere; the first rows have labels."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)
    X = np.eye(3, d)[kind] + 0.4 * rng.normal(size=(n, d))
    return pool_of(X / np.linalg.norm(X, axis=1, keepdims=True), np.where(np.arange(n) < labeled, kind, -1))


def opinions(n, m, c, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(c, 0.5), (n, m)).astype(np.float32)


def entropy(p):
    return -sum(x * log(x) for x in p if x > 0)


def bald_by_definition(P):
    result = []
    for heads in P.astype(float):
        mean = [sum(p[k] for p in heads) / len(heads) for k in range(len(heads[0]))]
        result.append(entropy(mean) - sum(entropy(p) for p in heads) / len(heads))
    return result


def epig_by_definition(P, Q):
    P, Q = P.astype(float), Q.astype(float)
    m, result = P.shape[1], []
    for x in P:
        total = 0.0
        for z in Q:
            for k in range(x.shape[1]):
                for j in range(z.shape[1]):
                    joint = sum(x[i, k] * z[i, j] for i in range(m)) / m
                    apart = x[:, k].mean() * z[:, j].mean()
                    total += joint * log(joint / apart) if joint > 0 else 0
        result.append(total / len(Q))
    return result


@pytest.mark.parametrize("c", [2, 3, 7])
def test_bald_is_what_its_definition_says(c):
    P = opinions(20, 8, c)
    assert np.allclose(disagreement(P), bald_by_definition(P), atol=1e-6)


@pytest.mark.parametrize("c", [2, 3, 7])
def test_epig_is_what_its_definition_says(c):
    P, Q = opinions(12, 8, c), opinions(9, 8, c, seed=1)
    assert np.allclose(gain(P, Q), epig_by_definition(P, Q), atol=1e-6)


def test_members_that_are_certain_do_not_divide_by_0():
    P = np.eye(3, dtype=np.float32)[[[0, 0, 1, 1], [2, 2, 2, 2]]]  # (2, 4, 3)
    assert np.allclose(disagreement(P), [log(2), 0], atol=1e-6)
    assert np.allclose(gain(P, P[:1]), [log(2), 0], atol=1e-6)


def test_agreement_tells_nothing_however_unsure_it_is():
    one = opinions(20, 1, 5)
    P, Q = np.repeat(one, 8, axis=1), opinions(9, 8, 5, seed=1)
    assert np.allclose(disagreement(P), 0, atol=1e-6)
    assert np.allclose(gain(P, Q), 0, atol=1e-6)


def test_epig_is_never_above_bald():
    P, Q = opinions(50, 8, 4), opinions(20, 8, 4, seed=1)
    assert (gain(P, Q) <= disagreement(P) + 1e-6).all()


def test_a_dispute_that_concerns_nothing_else_tells_nothing():
    disputed = np.array([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.1, 0.9]], np.float32)
    alone = disputed[[0, 0, 1, 1]]  # as disputed, but by other members
    assert np.allclose(disagreement(np.stack([disputed, alone])), disagreement(disputed[None]))
    told = gain(np.stack([disputed, alone]), disputed[None])
    assert told[0] > 0.1
    assert abs(told[1]) < 1e-6


def test_many_classes_are_told_apart_as_far_as_they_matter():
    P = opinions(30, 8, 40)
    few = coarse(P)
    assert few.shape == (30, 8, committee.TOLD_APART)
    assert np.allclose(few.sum(axis=2), 1, atol=1e-6)
    top = np.sort(P.mean(axis=1), axis=1)[:, ::-1][:, : committee.TOLD_APART - 1]
    assert np.allclose(np.sort(few[:, :, :-1].mean(axis=1), axis=1)[:, ::-1], top, atol=1e-6)
    Q = opinions(9, 8, 40, seed=1)
    assert (gain(few, coarse(Q)) <= gain(P, Q) + 1e-6).all()
    assert coarse(P[:, :, :3]).shape == (30, 8, 3)


# The committee


def test_a_bootstrap_keeps_every_class_and_varies_even_with_one_label_each():
    index, rng = np.array([0] * 30 + [1, 2]), np.random.default_rng(0)
    drawn = [bootstrap(index, rng) for _ in range(50)]
    assert all(set(index[places]) == {0, 1, 2} for places in drawn)
    assert {len(places) for places in drawn} == {3 + 32}
    lone = [np.bincount(bootstrap(np.arange(3), rng), minlength=3) for _ in range(20)]
    assert min(counts.min() for counts in lone) == 1
    assert len({tuple(counts) for counts in lone}) > 3


def test_heads_know_only_classes_with_labels():
    pool = groups()
    y = np.where(pool.y == 1, -1, pool.y)
    heads = committee.committee(pool_of(pool.features, y), np.random.default_rng(0))
    assert heads.classes.tolist() == [0, 2]
    P = heads.probabilities(pool.features)
    assert P.shape == (len(pool), committee.MEMBERS, 2)
    assert np.allclose(P.sum(axis=2), 1, atol=1e-6)


def test_each_member_says_what_its_head_says():
    from labelloop.train.head import fit_head

    pool = groups()
    P = committee.committee(pool, np.random.default_rng(3)).probabilities(pool.features)
    rng = np.random.default_rng(3)
    for member in range(committee.MEMBERS):
        rows = bootstrap(pool.y[pool.labeled], rng)
        head = fit_head(pool.features[rows], pool.y[rows], 3)
        assert np.allclose(P[:, member], head.predict_proba(pool.features), atol=1e-5)


@pytest.mark.parametrize("name", ["bald", "epig"])
def test_without_labels_of_two_classes_the_cold_start_runs(name):
    pool = groups()
    for y in (np.full(len(pool), -1), np.where(pool.y == 0, 0, -1)):
        one_class = pool_of(pool.features, y)
        assert choose(one_class, 5, name, np.random.default_rng(0)).strategy == "max_herding"
    with pytest.raises(NeedsModel, match="at least two classes, and there are labels of 1"):
        committee.committee(one_class, np.random.default_rng(0))


# The strategies


@pytest.mark.parametrize("name", ["bald", "epig"])
def test_the_whole_way_is_the_definition_over_the_pool(name, monkeypatch):
    monkeypatch.setattr(committee, "AT_ONCE", 7)
    monkeypatch.setattr(committee, "CELLS", 2**12)
    pool = groups(60)
    chosen = choose(pool, 36, name, np.random.default_rng(5))
    P = committee.committee(pool, np.random.default_rng(5)).probabilities(pool.features)
    expected = bald_by_definition(P) if name == "bald" else epig_by_definition(P, P)
    assert chosen.strategy == name
    assert np.allclose(chosen.scores, np.array(expected)[chosen.rows], atol=1e-6)


@pytest.mark.parametrize("name", ["bald", "epig"])
def test_the_number_of_threads_changes_nothing(name):
    pool, found = groups(3001, d=37), []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(choose(pool, 100, name, np.random.default_rng(0)))
    assert found[0].rows.tolist() == found[1].rows.tolist()
    assert found[0].scores.tolist() == found[1].scores.tolist()


def test_what_is_no_candidate_comes_last(monkeypatch):
    monkeypatch.setattr(committee, "CANDIDATES", 40)
    pool = groups()
    chosen = choose(pool, len(pool.unlabeled), "epig", np.random.default_rng(0))
    assert sorted(chosen.rows) == pool.unlabeled.tolist()
    assert (chosen.scores[:40] >= 0).all() and (chosen.scores[40:] < 0).all()
    assert chosen.reasons[0].startswith("tells about other images; ")
    assert not chosen.reasons[-1].startswith("tells")


def test_bald_goes_where_labels_contradict_and_not_where_they_are_clear():
    y = [0, 1, 0, 1, 0, 1] + [0] * 6 + [1] * 6 + [-1] * 3
    X = np.array([[0, 0, 1.0]] * 6 + [[1, 0, 0]] * 6 + [[0, 1, 0]] * 6 + [[1, 0, 0], [0, 0, 1], [0, 1, 0]])
    X[:18] += 0.01 * np.arange(54).reshape(18, 3) / 54  # copies of one image would count as one answer
    assert choose(pool_of(X, y), 1, "bald", np.random.default_rng(0)).rows.tolist() == [19]


def test_reasons_are_votes():
    heads = committee.Committee(
        np.array([0, 2]), np.array([[5, 0, 5, 0, 0, 5]], np.float32), np.zeros(6, np.float32)
    )  # three members of two classes, one feature
    pool = pool_of([[1], [-1], [0]], [-1, -1, -1])
    assert votes(pool, heads, 0) == "of 3 models 2 say rust, 1 leaf"
    assert votes(pool, heads, 1) == "of 3 models 2 say leaf, 1 rust"
    assert votes(pool, heads, 2) == "all 3 models say rust, 50 % sure"
