"""The graph along which labels spread: which images, who is near whom, in which metric."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.neighbors import kneighbors_graph
from threadpoolctl import threadpool_limits

from labelloop.train import neighbours
from labelloop.train.neighbours import graph
from labelloop.train.spreading import fit_spread


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


X = unit(np.random.default_rng(0).normal(size=(300, 12)) + np.arange(12) / 6)


def links(seen: np.ndarray) -> np.ndarray:
    """The same by scikit-learn's neighbours, as one matrix."""
    near = kneighbors_graph(seen, neighbours.NEIGHBOURS, include_self=False).toarray() > 0
    weights = np.where(near | near.T, np.clip(seen @ seen.T, 0, 1) ** neighbours.SHARPNESS, 0)
    degree = 1 / np.sqrt(weights.sum(axis=1))
    return weights * degree[:, None] * degree


def test_links_are_those_of_scikit_learns_neighbours_seen_from_the_mean():
    assert np.allclose(graph(X, np.arange(300), 2).links.weights.toarray(), links(unit(X - X.mean(axis=0))), atol=1e-5)


def test_links_in_a_metric_are_those_of_what_it_sees():
    made = graph(X, np.arange(300), 2)
    metric = np.diag(np.linspace(0.8, 1.2, 12)).astype(np.float32)
    expected = links(unit(made.places @ metric))
    found = made.links_in(metric).weights.toarray()
    assert ((found > 0) == (expected > 0)).mean() > 0.99  # the nearest 15 are looked for among 40
    assert np.abs(found - expected).mean() < 1e-4


def test_main_directions_are_those_of_scikit_learn(monkeypatch):
    monkeypatch.setattr(neighbours, "DIRECTIONS", 4)
    made, theirs = graph(X, np.arange(300), 2), PCA(4).fit(X)
    assert np.allclose(np.abs(made.directions.T @ theirs.components_[::-1].T), np.eye(4), atol=1e-3)
    assert np.allclose(made.place(X[:5]), made.places[:5], atol=1e-6)


def test_so_are_those_of_few_images_with_many_features(monkeypatch):
    wide = unit(np.random.default_rng(1).normal(size=(20, 50)))
    made = graph(wide, np.arange(20), 3)
    theirs = PCA(19).fit(wide).components_
    assert made.directions.shape == (50, 19)
    assert np.allclose(made.directions.T @ made.directions, np.eye(19), atol=1e-5)
    assert np.allclose(made.directions @ made.directions.T, theirs.T @ theirs, atol=1e-4)
    monkeypatch.setattr(neighbours, "DIRECTIONS", 3)
    few = graph(wide, np.arange(20), 3).directions
    assert np.allclose(few @ few.T, theirs[:3].T @ theirs[:3], atol=1e-3)


def test_images_in_the_graph_and_outside_are_located():
    made = graph(X, np.arange(1, 300), 2)
    found = made.locate(np.array([7, 0, 299]), X[[7, 0, 299]])
    assert found.node.tolist() == [6, -1, 298]
    assert np.allclose(found.places[[0, 2]], made.places[[6, 298]], atol=1e-6)
    like = unit(made.places) @ unit(found.places[1:2])[0]
    assert set(found.candidates[0]) == set(np.argsort(-like)[: neighbours.CANDIDATES])
    near, how = made.links.neighbours(found.places[1:2], found.candidates)
    assert sorted(near[0]) == sorted(np.argsort(-like)[: neighbours.NEIGHBOURS])
    assert np.allclose(how[0], like[near[0]], atol=1e-6)


@pytest.mark.parametrize(("n_classes", "nodes"), [(2, 40), (25, 50), (1000, 80)])
def test_of_a_large_pool_a_part_is_looked_at_and_always_the_same(monkeypatch, n_classes, nodes):
    for name, value in {"NODES": 40, "NODES_A_CLASS": 2, "MOST_NODES": 80}.items():
        monkeypatch.setattr(neighbours, name, value)
    one, again = (graph(X, np.arange(300), n_classes) for _ in range(2))
    assert len(one.rows) == nodes
    assert one.n == 300
    assert np.array_equal(one.rows, again.rows)
    assert (np.diff(one.rows) > 0).all()


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_few_images(n):
    few = graph(X, np.arange(n), 2)
    assert few.links.weights.shape == (n, n)
    known = np.where(np.arange(300) < 3, np.arange(300) % 2, -1)
    assert np.isfinite(fit_spread(few, X, known, 2).predict_proba(X)).all()


def test_images_that_are_all_alike_teach_nothing():
    same = np.ones((60, 4), np.float32) / 2
    head = fit_spread(graph(same, np.arange(60), 3), same, np.where(np.arange(60) < 6, np.arange(60) % 3, -1), 3)
    assert np.allclose(head.predict_proba(same[:1]), 1 / 3, atol=0.02)


def test_one_and_two_threads_find_the_same():
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(graph(X, np.arange(300), 2))
    assert np.array_equal(found[0].places, found[1].places)
    assert (found[0].links.weights != found[1].links.weights).nnz == 0
