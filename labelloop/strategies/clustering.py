"""Strategies that cluster the features: groups of images alike, and one image out of each.

k-means in plain products: centres are fitted to a random part of the pool, then each row goes to its nearest centre.
All of it runs in blocks on all cores (cores.py). Left out: clusters by linkage, which take O(n²), and groups that are
known from elsewhere (`pool.groups`).

In the costs below: n rows, d features, c classes, b picks, K clusters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelloop.cores import each, workers
from labelloop.errors import NeedsModel
from labelloop.strategies.contract import Scores, because, in_order
from labelloop.strategies.distances import read
from labelloop.strategies.registry import strategy
from labelloop.strategies.uncertainty import doubt, torn
from labelloop.train.head import Head, fit_head
from labelloop.types import Floats, Ints, Pool

FITTED = 20_480  # rows that k-means fits its centres to
SEEDED = 4096  # of these, the rows out of which the first centres are drawn
PASSES = 20  # of k-means over the fitted rows, at most
ARRIVED = 1e-3  # relative gain of a pass below which k-means has arrived
SAME = 1e-6  # squared distance of rows that float32 cannot tell apart
CENTERS = 1000  # clusters at most, whatever the batch; each then gives several rows

MOST = 500  # TypiClust: clusters at most
SMALL = 5  # TypiClust: clusters of no more rows than this come last
NEIGHBOURS = 20  # TypiClust: as many neighbours make a row typical
WINDOW = 2048  # TypiClust: rows of one cluster that are compared with each other

PER_PICK = 10  # Cluster-Margin: torn rows for each pick

TRIALS = 3  # DropQuery: random masks
DROPPED = 192 / 256  # DropQuery: share of the features that a mask leaves out
WAVERING = 25  # DropQuery: rows for each pick that must waver
LEARNED = 20_000  # DropQuery: labels that its head is fitted to, at most


@strategy
def k_means(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """One image from the middle of each of n groups of images alike, the largest group first.

    The baseline to start with: it knows nothing of labels or models. O(n d K) with K = min(b, 1000).
    """
    picks, size = _middles(pool, pool.unlabeled, n, rng)
    return because(in_order(pool, picks), lambda row: f"in the middle of {_images(size[row])} alike")


@strategy
def typiclust(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """The most typical image of each large group of images that has no label yet.

    Hacohen, Dekel, Weinshall: Active learning on a budget: opposite strategies suit high and low budgets, ICML 2022.
    min(labels + b, 500) clusters of labeled and open rows, then `most_typical`. O(n d K + b d 2048²) at most.
    """
    rows = np.union1d(pool.covered, pool.unlabeled)
    centers = _fit(pool, rows, min(len(pool.covered) + n, MOST), rng)
    cluster, _ = _assign(pool, rows, centers)
    size = np.bincount(cluster)
    labels = np.bincount(cluster[~pool.open[rows]], minlength=len(size))

    def why(row: int) -> str:
        group = cluster[np.searchsorted(rows, row)]
        return f"typical of {_images(size[group])}, {labels[group] or 'none'} of them labeled"

    return because(in_order(pool, most_typical(pool, rows, cluster, n, rng)), why)


def most_typical(pool: Pool, rows: Ints, cluster: Ints, n: int, rng: np.random.Generator) -> Ints:
    """n open ones of the rows, given the cluster 0, 1, 2, … of each of them (len(rows),): TypiClust after clustering.

    In turns from each cluster, those with the fewest labels first, of these the largest: the row whose mean distance to
    its 20 nearest neighbours is the smallest. Neighbours are the open rows of its cluster that are not picked yet, no
    more than half of them. Clusters of 5 or fewer rows come last. All this is the authors' code, except that it squares
    the distances, which their paper does not. A cluster of more than 2048 open rows is judged by as many of them.
    """
    is_open = pool.open[rows]
    size = np.bincount(cluster)
    left = np.bincount(cluster[is_open], minlength=len(size))
    order = np.lexsort((-size, size - left))
    large = size[order] > SMALL
    turns = np.concatenate([_turns(order[some], left, n)[0] for some in (large, ~large)])[:n]
    grouped = rows[is_open][np.argsort(cluster[is_open], kind="stable")]
    members = np.split(grouped, np.cumsum(left)[:-1])
    asked, counts = np.unique(turns, return_counts=True)
    seeds = rng.integers(2**63, size=len(asked))  # one each, so that threads may take the clusters in any order

    def picks(k: int) -> Iterator[int]:
        return iter(_typical(pool, members[asked[k]], int(counts[k]), np.random.default_rng(seeds[k])).tolist())

    with workers() as executor:
        found = dict(zip(asked.tolist(), executor.map(picks, range(len(asked))), strict=True))
    return np.array([next(found[k]) for k in turns.tolist()], np.int64)


@strategy
def cluster_margin(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """The model is torn between two classes, and each image comes out of another group if possible.

    Citovsky et al.: Batch active learning at scale, NeurIPS 2021. The 10 b open rows of smallest margin fall into
    clusters; each in turn gives a row, the cluster with the fewest of them first. The paper clusters the pool once, by
    linkage, and draws out of a cluster at random; here it is k-means on those rows, and the smallest margin of each.
    O(n c + b d K) with K = min(b, 1000).
    """
    rows = pool.unlabeled[np.argsort(-doubt(pool.proba)[pool.unlabeled], kind="stable")[: PER_PICK * n]]
    cluster, _ = _assign(pool, rows, _fit(pool, rows, min(n, CENTERS), rng))
    size = np.bincount(cluster)
    picks = _in_turns(cluster, np.arange(len(rows)), np.argsort(size, kind="stable"), n)
    groups = f"one {f'of {len(size)} groups' if len(size) > 1 else 'group'} of such images"
    return because(in_order(pool, rows[picks]), lambda row: f"{torn(pool, row)}; {groups}")


@strategy
def drop_query(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """Its class changes when most features are left out; one image for each group of such images.

    Gupte et al.: Revisiting active learning in the era of vision foundation models, TMLR 2024. A head fitted to the
    labels decides under three random masks, which leave out 75 % of the features, others for each row. Rows that change
    class under at least two are clustered, and the nearest to each of b centres is picked; where there are fewer than
    25 b of them, rows that change under one join, then all. O(n d (c + K)), K = min(b, 1000). Raises NeedsModel where
    there is nothing to fit a head to.
    """
    rows = pool.unlabeled
    changes = _changes(pool, rows, _head(pool, rng), rng)
    enough = min(WAVERING * n, len(rows))
    least = next(k for k in (2, 1, 0) if np.count_nonzero(changes >= k) >= enough)
    picks, size = _middles(pool, rows[changes >= least], n, rng)

    def why(row: int) -> str:
        times = changes[np.searchsorted(rows, row)]
        return f"another class in {times} of {TRIALS} trials that hide features; in the middle of {_images(size[row])}"

    return because(in_order(pool, picks), why)


def _head(pool: Pool, rng: np.random.Generator) -> Head:
    classes, labeled = pool.proba.shape[1], pool.labeled
    if len(np.unique(pool.y[labeled])) < 2:
        raise NeedsModel("drop_query fits a model of its own, and there are no labels of two classes to fit it to")
    if len(labeled) > LEARNED:
        labeled = np.sort(rng.choice(labeled, LEARNED, replace=False))
    with workers():
        return fit_head(read(pool, labeled), pool.y[labeled], classes)


def _changes(pool: Pool, rows: Ints, head: Head, rng: np.random.Generator) -> Ints:
    """In how many trials (len(rows),) the head decides for another class than with all features."""
    seed, kept = int(rng.integers(2**63)), 1 - DROPPED

    def count(place: slice) -> Ints:
        X, dice = read(pool, rows[place]), np.random.default_rng([seed, place.start])
        decision, changes = (X @ head.weight.T + head.bias).argmax(axis=1), np.zeros(len(X), np.int64)
        for _ in range(TRIALS):
            # a byte for each feature takes a tenth of the time of a float
            mask = np.frombuffer(dice.bytes(X.size), np.uint8).reshape(X.shape) < round(256 * kept)
            changes += ((X * mask) @ head.weight.T / kept + head.bias).argmax(axis=1) != decision
        return changes

    with workers() as executor:
        return np.concatenate(each(executor, len(rows), count))


def _middles(pool: Pool, rows: Ints, n: int, rng: np.random.Generator) -> tuple[Ints, dict[int, int]]:
    """n of the rows, the nearest to each of n centres of them; and for each the size of its cluster."""
    cluster, distance = _assign(pool, rows, _fit(pool, rows, min(n, CENTERS), rng))
    size = np.bincount(cluster)
    picks = _in_turns(cluster, distance, np.argsort(-size, kind="stable"), n)
    return rows[picks], dict(zip(rows[picks].tolist(), size[cluster[picks]].tolist(), strict=True))


def _in_turns(cluster: Ints, cost: NDArray[Any], order: Ints, n: int) -> Ints:
    """n places among the rows: one cluster after the other in that order, in each the lowest cost first."""
    size = np.bincount(cluster)
    turns, before = _turns(order, size, n)
    places: Ints = np.lexsort((cost, cluster))[(np.cumsum(size) - size)[turns] + before]
    return places


def _turns(order: Ints, size: Ints, n: int) -> tuple[Ints, Ints]:
    """Whose turn it is, n times or until all rows are gone: the cluster, and how many turns it had before."""
    times = np.minimum(size[order], n)
    place = np.repeat(np.arange(len(order)), times)
    before = np.arange(len(place)) - np.repeat(np.cumsum(times) - times, times)
    first = np.lexsort((place, before))[:n]
    return order[place[first]], before[first]


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


# Typicality


def _typical(pool: Pool, members: Ints, n: int, rng: np.random.Generator) -> Ints:
    """The n most typical of the members, each among those that are left, best first."""
    picks = np.empty(0, np.int64)
    while len(picks) < n:
        window = members if len(members) <= WINDOW else np.sort(rng.choice(members, WINDOW, replace=False))
        new = window[_most_typical_of(_distances(read(pool, window)), min(n - len(picks), len(window)))]
        picks, members = np.concatenate([picks, new]), np.setdiff1d(members, new, assume_unique=True)
    return picks


def _most_typical_of(D: Floats, n: int) -> list[int]:
    """n places, given the distances D (m, m) with inf on the diagonal; overwrites D."""
    picks, k = list[int](), -1
    for _ in range(n):
        few = min(NEIGHBOURS, (len(D) - len(picks)) // 2)
        if few != k:
            k, (reach, mean) = few, _near(D, few)
            mean[picks] = np.inf
        best = int(np.argmin(mean))
        lost = D[:, best] <= reach  # those that have it among their nearest
        picks.append(best)
        mean[best] = D[:, best] = np.inf
        lost &= mean < np.inf
        if lost.any():
            reach[lost], mean[lost] = _near(D[lost], min(k, len(D) - len(picks) - 1))
    return picks


def _near(D: Floats, k: int) -> tuple[Floats, Floats]:
    """The distance (m,) to the k-th nearest, and the mean distance to the k nearest; 0 for no neighbours."""
    if k < 1:
        return np.zeros(len(D), np.float32), np.zeros(len(D), np.float32)
    nearest = np.partition(D, k - 1, axis=1)[:, :k]
    return nearest[:, -1], nearest.mean(axis=1)


def _distances(X: Floats) -> Floats:
    """Between all rows of X, with inf on the diagonal: nobody is a neighbour of himself."""
    squares = np.einsum("ij,ij->i", X, X)
    D = X @ X.T
    D *= -2
    D += squares + squares[:, None]  # in one, so that both halves are rounded alike and ties stay ties
    np.sqrt(np.maximum(D, 0, out=D), out=D)
    np.fill_diagonal(D, np.inf)
    return D


# k-means


def _fit(pool: Pool, rows: Ints, k: int, rng: np.random.Generator) -> Floats:
    """At most k centres of the rows by k-means, fewer where fewer rows differ."""
    X = read(pool, rows if len(rows) <= FITTED else np.sort(rng.choice(rows, FITTED, replace=False)))
    with workers() as executor:
        centers = _seeds(X if len(X) <= SEEDED else X[rng.choice(len(X), SEEDED, replace=False)], k, rng)
        before = np.inf
        for _ in range(PASSES):
            found = each(executor, len(X), lambda place: _sums(X[place], centers))
            sums, counts, error = (sum(parts) for parts in zip(*found, strict=True))
            used = counts > 0
            centers[used] = sums[used] / counts[used, None]
            if before - error <= ARRIVED * error:
                break
            before = error
    return centers


def _seeds(X: Floats, k: int, rng: np.random.Generator) -> Floats:
    """At most k different rows of X by greedy k-means++, as in scikit-learn: without it, small groups are missed.

    Of a few rows, drawn with their squared distance to the seeds so far, the one that leaves the least of it.
    """
    squares = np.einsum("ij,ij->i", X, X)

    def to(rows: Ints) -> Floats:  # squared distances (len(rows), len(X))
        D = squares + squares[rows, None] - 2 * (X[rows] @ X.T)
        return np.where(D > SAME, D, 0)

    seeds = [int(rng.integers(len(X)))]
    distance = to(np.array(seeds))[0]
    while len(seeds) < k and distance.any():
        reach = np.cumsum(distance, dtype=np.float64)
        drawn = np.searchsorted(reach, rng.random(2 + int(np.log(k))) * reach[-1], side="right")
        D = np.minimum(to(drawn), distance)
        best = int(D.sum(axis=1).argmin())
        seeds.append(int(drawn[best]))
        distance = D[best]
    return X[seeds]


def _sums(X: Floats, centers: Floats) -> tuple[Floats, Ints, float]:
    """The sum (K, d) and the number (K,) of the rows nearest to each centre, and their squared distances in all."""
    from scipy.sparse import csr_array

    cluster, distance = _nearest(X, centers)
    ones = np.ones(len(X), np.float32)
    membership = csr_array((ones, cluster, np.arange(len(X) + 1)), shape=(len(X), len(centers)))
    counts = np.bincount(cluster, minlength=len(centers))
    return membership.T @ X, counts, float(distance.sum(dtype=np.float64))


def _assign(pool: Pool, rows: Ints, centers: Floats) -> tuple[Ints, Floats]:
    """The nearest centre of each row (len(rows),) and the squared distance to it, numbered without the empty ones."""
    with workers() as executor:
        found = each(executor, len(rows), lambda place: _nearest(read(pool, rows[place]), centers))
    cluster, distance = (np.concatenate(parts) for parts in zip(*found, strict=True))
    numbered: Ints = np.unique(cluster, return_inverse=True)[1]
    return numbered, distance


def _nearest(X: Floats, centers: Floats) -> tuple[Ints, Floats]:
    like = X @ centers.T
    like -= np.einsum("ij,ij->i", centers, centers) / 2
    cluster = like.argmax(axis=1)
    return cluster, np.maximum(np.einsum("ij,ij->i", X, X) - 2 * like[np.arange(len(X)), cluster], 0)
