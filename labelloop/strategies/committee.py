"""Strategies that ask several models: what one model doubts may be hopeless, what many models dispute can be learned.

An image can be unclear in itself (all models say 50 : 50) or unclear to a model that has seen too few labels (each is
sure of something else). Only the second is worth a label. The committee is the head of train/head.py, fitted to
different draws of the labels; its probabilities exist a block of rows at a time, never (n, m, c) at once. m members,
c classes that have a label. Left out: dropout through a network, and batches that avoid look-alikes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from labelloop.cores import each, workers
from labelloop.errors import NeedsModel
from labelloop.strategies.contract import Scores, because
from labelloop.strategies.distances import read
from labelloop.strategies.registry import strategy
from labelloop.strategies.uncertainty import shannon
from labelloop.types import Floats, Ints, Pool

MEMBERS = 10
DRAWS = 2048  # labels a member is fitted to, at most: beyond, the fits would take longer than all the rest
AT_ONCE = 256  # rows whose (rows, m, c) probabilities exist at the same time
CANDIDATES = 4096  # images that epig weighs in full
TARGETS = 256  # images it wants to know more about
TOLD_APART = 16  # classes of one image that it tells apart, one of them "any other"
CELLS = 2**20  # numbers in one block of candidates × targets × classes²: 4 MB stay in the cache
NEVER = 1e-30  # stands for a probability of 0, which has no logarithm


@dataclass(frozen=True, eq=False)
class Committee:
    """m linear heads over the c classes that have a label."""

    classes: Ints  # (c,) index of each of these classes
    weight: Floats  # (d, m * c), member by member
    bias: Floats  # (m * c,)

    def probabilities(self, X: Floats) -> Floats:
        """What each member says of features (n, d): (n, m, c)."""
        logits = (X @ self.weight + self.bias).reshape(len(X), -1, len(self.classes))
        logits -= logits.max(axis=2, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=2, keepdims=True)
        return logits


def committee(pool: Pool, rng: np.random.Generator) -> Committee:
    """Heads fitted to bootstraps of the labels. Raises NeedsModel before the first model, or with labels of one class.

    A bootstrap is one label of each class and as many again as there are labels, drawn with replacement from all: no
    member is without a class, and the members differ even where each class has a single label.
    """
    from labelloop.train.head import fit_head

    pool.proba  # noqa: B018  raises NeedsModel
    rows = pool.labeled
    classes, index = np.unique(pool.y[rows], return_inverse=True)
    if len(classes) < 2:
        raise NeedsModel(f"a committee needs labels of at least two classes, and there are labels of {len(classes)}")
    heads = []
    for _ in range(MEMBERS):
        drawn = bootstrap(index, rng)
        heads.append(fit_head(read(pool, rows[drawn]), index[drawn], len(classes)))
    return Committee(
        classes, np.concatenate([h.weight for h in heads]).T.copy(), np.concatenate([h.bias for h in heads])
    )


def bootstrap(index: Ints, rng: np.random.Generator) -> Ints:
    """Places among the labels with classes index (0, 1, …, none missing): one of each class, then draws from all."""
    mixed = rng.permutation(len(index))
    one_each = mixed[np.unique(index[mixed], return_index=True)[1]]
    return np.concatenate([one_each, rng.integers(0, len(index), min(len(index), DRAWS))])


def disagreement(P: Floats) -> Floats:
    """BALD (n,), in nats, for what members say P (n, m, c): what the true model would tell about the class.

    Entropy of the mean minus mean of the entropies: 0 where all members say the same, however unsure.
    """
    told: Floats = shannon(P.mean(axis=1)) - shannon(P).mean(axis=1)
    return np.maximum(told, 0)


def gain(P: Floats, Q: Floats) -> Floats:
    """EPIG (n,), in nats, for P (n, m, c) of the candidates and Q (t, m, k) of the targets; memory O(n c t k).

    The mean over the targets of what the class of the candidate tells about that of the target: the divergence of their
    joint probability, mean_m P_m Q_m, from the product of the marginals p and q. With R = joint / (p q), which is one
    matrix product, that is the sum of p q R log R.
    """
    (n, m, c), t = P.shape, len(Q)
    p, q = P.mean(axis=1), Q.mean(axis=1)
    left = (P / np.maximum(p, NEVER)[:, None]).transpose(0, 2, 1).reshape(n * c, m)
    right = (Q / np.maximum(q, NEVER)[:, None]).transpose(1, 0, 2).reshape(m, -1)
    R = np.maximum(left @ (right / m), NEVER)  # (n c, t k)
    R *= np.log(R)
    told: Floats = np.einsum("nc,nc->n", p, (R @ (q / t).ravel()).reshape(n, c))
    return np.maximum(told, 0)


def coarse(P: Floats) -> Floats:
    """P (n, m, c) with the least likely classes of each image counted as one: (n, m, at most TOLD_APART)."""
    if P.shape[2] <= TOLD_APART:
        return P
    likely = np.argpartition(-P.mean(axis=1), TOLD_APART - 1, axis=1)[:, None, : TOLD_APART - 1]
    kept = np.take_along_axis(P, likely, axis=2)
    rest: Floats = np.maximum(1 - kept.sum(axis=2, keepdims=True), 0)
    return np.concatenate([kept, rest], axis=2)


@strategy
def bald(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """Ten models, each fitted to other labels, disagree about the class.

    Houlsby et al.: Bayesian active learning for classification and preference learning, 2011. Images that are unclear
    in themselves leave it cold, images of no class at all do not: epig is the answer to those.
    O(n m c d); fits m heads.
    """
    heads = committee(pool, rng)
    return because(_disagreement(pool, heads), lambda row: votes(pool, heads, row))


@strategy
def epig(pool: Pool, n: int, rng: np.random.Generator) -> Scores:
    """The answer would tell the most about other images: ten models dispute them in the same way.

    Bickford Smith et al.: Prediction-oriented Bayesian active learning, AISTATS 2023. The others are a random part of
    the pool, so an odd image that nothing depends on is not chosen, however much it is disputed.

    O(n m c d) for BALD, then O(m c²) for each pair of candidate and target, which is bounded in three ways. Candidates
    are the open images of highest BALD, which is never below EPIG, and as many drawn from the rest, lest all of the
    first be odd ones; the others come after them, by BALD. There are 256 targets. Of each image the 15 likeliest
    classes are told apart, which can only lower the gain.
    """
    heads = committee(pool, rng)
    scores = _disagreement(pool, heads)
    candidates = _candidates(pool, scores, rng)
    everything = np.concatenate([pool.unlabeled, pool.labeled])
    targets = rng.choice(everything, min(len(everything), TARGETS), replace=False)
    P, Q = (_in_parts(lambda X: coarse(heads.probabilities(X)), pool, rows) for rows in (candidates, targets))
    step = max(1, CELLS // (P.shape[2] * Q[:, 0].size))
    scores -= 1 + scores.max()  # below every gain
    scores[candidates] = _on_all_cores(lambda part: gain(P[part], Q), len(P), step)

    def why(row: int) -> str:
        return ("tells about other images; " if scores[row] >= 0 else "") + votes(pool, heads, row)

    return because(scores, why)


def votes(pool: Pool, heads: Committee, row: int) -> str:
    """How the members vote on one image: "of 10 models 6 say rust, 4 mildew"."""
    (P,) = heads.probabilities(read(pool, np.array([row])))
    (first, times), *others = Counter(P.argmax(axis=1).tolist()).most_common(3)
    name = {k: pool.classes[heads.classes[k]] for k, _ in [(first, times), *others]}
    if others:
        return ", ".join([f"of {len(P)} models {times} say {name[first]}", *(f"{t} {name[k]}" for k, t in others)])
    low, high = (f"{100 * p:.0f}" for p in (P[:, first].min(), P[:, first].max()))
    return f"all {len(P)} models say {name[first]}, " + (f"{low} to {high} % sure" if low != high else f"{low} % sure")


def _disagreement(pool: Pool, heads: Committee) -> Scores:
    """BALD of the open rows, -inf elsewhere (len(pool),)."""
    scores = np.full(len(pool), -np.inf, np.float32)
    scores[pool.unlabeled] = _in_parts(lambda X: disagreement(heads.probabilities(X)), pool, pool.unlabeled)
    return scores


def _candidates(pool: Pool, scores: Scores, rng: np.random.Generator) -> Ints:
    rows = pool.unlabeled
    if len(rows) <= CANDIDATES:
        return rows
    best = np.argpartition(-scores[rows], CANDIDATES // 2)[: CANDIDATES // 2]
    drawn = rng.choice(np.delete(rows, best), CANDIDATES - len(best), replace=False)
    return np.concatenate([rows[best], drawn])


def _in_parts(measure: Callable[[Floats], Floats], pool: Pool, rows: Ints) -> Floats:
    """What measure says of the features of rows, which are read AT_ONCE at a time."""
    return _on_all_cores(lambda part: measure(read(pool, rows[part])), len(rows), AT_ONCE)


def _on_all_cores(measure: Callable[[slice], Floats], n: int, step: int) -> Floats:
    """measure(part) for all parts of n things, put together."""
    with workers() as executor:
        return np.concatenate(each(executor, n, measure, step))
