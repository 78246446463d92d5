"""A metric learned from labels, and what it sees."""

from __future__ import annotations

import numpy as np
from sklearn.covariance import shrunk_covariance

from labelloop.train import metric

RNG = np.random.default_rng(0)
INDEX = RNG.integers(0, 3, 400)
PLACES = (RNG.normal(size=(3, 6))[INDEX] + RNG.normal(size=(400, 6)) * np.arange(1, 7)).astype(np.float32)


def test_it_undoes_the_shrunk_covariance_within_classes():
    apart = PLACES - np.stack([PLACES[k == INDEX].mean(axis=0) for k in range(3)])[INDEX]
    covariance = apart.T @ apart / 400
    expected = shrunk_covariance(covariance / (np.trace(covariance) / 6), shrinkage=metric.SHRUNK)
    learned = metric.learn(PLACES, INDEX, np.ones(400), 3)
    assert np.allclose(learned.T @ expected @ learned, np.eye(6), atol=1e-3)


def test_weights_count_rows():
    twice = metric.learn(PLACES, INDEX, np.where(np.arange(400) < 100, 2.0, 1.0), 3)
    repeated = np.concatenate([np.arange(400), np.arange(100)])
    assert np.allclose(twice, metric.learn(PLACES[repeated], INDEX[repeated], np.ones(500), 3), atol=1e-4)


def test_images_that_are_all_alike_teach_no_metric():
    learned = metric.learn(np.zeros((5, 3), np.float32), np.array([0, 0, 1, 1, 1]), np.ones(5), 2)
    assert np.allclose(learned, np.eye(3) * metric.SHRUNK**-0.5)


def test_a_class_of_one_image_changes_no_covariance():
    one_more = metric.learn(np.concatenate([PLACES, PLACES[:1] + 9]), np.append(INDEX, 3), np.ones(401), 4)
    assert np.allclose(one_more, metric.learn(PLACES, INDEX, np.ones(400), 3), atol=1e-4)
