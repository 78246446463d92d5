"""The contract over every strategy there is, drop-ins included; then a known answer for each; then the registry."""

import dataclasses
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from labelloop import strategies
from labelloop.errors import BadInput, BadStrategy, NeedsModel
from labelloop.strategies import because, choose, folder, get, in_order, names, pools, ranks, registry, strategy
from labelloop.strategies.diversity import CANDIDATES
from labelloop.types import Pool

DROP_INS = Path(__file__).parent.parent / "strategies"
PROBLEMS = folder.load_folder(DROP_INS)


def make_pool(X, *, y=None, proba=None, open_rows=None, n_classes=3) -> Pool:
    X = np.asarray(X, np.float32)
    y = np.full(len(X), -1) if y is None else np.asarray(y)
    is_open = y < 0
    if open_rows is not None:
        is_open &= np.isin(np.arange(len(X)), open_rows)
    proba = None if proba is None else np.asarray(proba, np.float32)
    return Pool(np.arange(1, len(X) + 1), X, y, tuple("abcdefghijkl"[:n_classes]), is_open, proba)


def random_pool(n, d=8, *, labeled=0, model=True, seed=0, **changes) -> Pool:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    y = np.full(n, -1)
    y[:labeled] = rng.integers(0, 3, labeled)
    proba = rng.dirichlet([1, 1, 1], n) if model else None
    return make_pool(**{"X": X, "y": y, "proba": proba} | changes)


def angles(*degrees):
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)


def on_disk(tmp_path) -> Pool:
    pool = pools.make_pool(CANDIDATES + 300, labeled=40)
    np.save(tmp_path / "features.npy", pool.features.astype(np.float16))
    return dataclasses.replace(pool, features=np.load(tmp_path / "features.npy", mmap_mode="r"))


POOLS: dict[str, Callable[[Path], Pool]] = {
    **{words: lambda _, make=make: make() for words, make in pools.POOLS.items()},
    "nothing open": lambda _: pools.make_pool(5, labeled=5),
    "no images": lambda _: pools.make_pool(0),
    "duplicates in two places": lambda _: pools.make_pool(40, labeled=4, features=np.repeat(angles(0, 90), 20, axis=0)),
    "float16 on disk, many": on_disk,
}


def test_every_drop_in_that_comes_with_the_project_works():
    assert PROBLEMS == []
    assert "rare_first" in names()


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("kind", POOLS)
def test_contract(name, kind, tmp_path):
    pool = POOLS[kind](tmp_path)
    before = [np.array(a) for a in (pool.features, pool.y, pool.open, pool.unlabeled, pool.labeled)]

    chosen = choose(pool, 10, name, np.random.default_rng(3))

    may = pool.open | pool.again if get(name).again else pool.open
    if not get(name).again:  # one that asks again may have fewer doubts than it is asked for
        assert len(chosen.rows) == min(10, may.sum())
    assert len(set(chosen.rows)) == len(chosen.rows)
    assert may[chosen.rows].all()
    assert np.isfinite(chosen.scores).all()
    assert (np.diff(chosen.scores) <= 0).all()
    second = choose(pool, 10, name, np.random.default_rng(3))
    assert second.rows.tolist() == chosen.rows.tolist()
    after = [pool.features, pool.y, pool.open, pool.unlabeled, pool.labeled]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("name", names())
def test_every_strategy_says_what_it_does_in_one_line(name):
    what = get(name).what
    assert 10 < len(what) < 100
    assert what.endswith(".")


# Known answers


def test_margin_prefers_the_closest_two_best_classes():
    proba = [[0.50, 0.30, 0.20], [0.40, 0.39, 0.21], [0.90, 0.05, 0.05], [0.34, 0.33, 0.33]]
    pool = make_pool(angles(0, 1, 2, 3), proba=proba)
    chosen = choose(pool, 4, "margin", np.random.default_rng(0))
    assert chosen.rows.tolist()[2:] == [0, 2]
    assert np.allclose(chosen.scores, [0.99, 0.99, 0.8, 0.15])


def test_random_depends_on_the_seed_and_on_nothing_else():
    first = [int(choose(random_pool(50), 1, "random", np.random.default_rng(k)).rows[0]) for k in range(400)]
    assert len(set(first)) == 50


def test_k_center_takes_the_farthest_from_labels_and_picks():
    pool = make_pool(angles(0, 10, 90, 168, 180, 185), y=[0, -1, -1, -1, -1, -1])
    assert choose(pool, 4, "k_center", np.random.default_rng(0)).rows.tolist() == [4, 2, 3, 1]


def test_k_center_without_labels_starts_in_the_middle():
    pool = make_pool(angles(0, 40, 50, 60, 100), y=[-1] * 5)
    assert choose(pool, 1, "k_center", np.random.default_rng(0)).rows.tolist() == [2]


def test_k_center_is_exact_although_it_looks_at_few_rows_again():
    pool = random_pool(4000, 6, labeled=5)
    like = (pool.features @ pool.features[:5].T).max(axis=1)
    rows = choose(pool, 1500, "k_center", np.random.default_rng(0)).rows  # more than one set of candidates holds
    for row in rows:
        assert like[row] <= like.min() + 1e-6
        like = np.maximum(like, pool.features @ pool.features[row])


def clusters():
    """5, 3 and 2 images around three axes; the first of each group is its center."""
    rng = np.random.default_rng(0)
    X = np.repeat(np.eye(3), [5, 3, 2], axis=0) + rng.normal(scale=0.05, size=(10, 3))
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def group(rows):
    return [int(np.searchsorted([5, 8, 10], row, side="right")) for row in rows]


def test_max_herding_covers_the_largest_groups_first():
    chosen = choose(make_pool(clusters()), 3, "max_herding", np.random.default_rng(0))
    assert group(chosen.rows) == [0, 1, 2]


def test_max_herding_leaves_out_what_labels_cover():
    pool = make_pool(clusters(), y=[0, -1, -1, -1, -1, -1, -1, -1, -1, -1])
    assert group(choose(pool, 2, "max_herding", np.random.default_rng(0)).rows) == [1, 2]


def test_max_herding_is_greedy_coverage():
    pool = random_pool(120, 6, labeled=30, model=False)
    X = pool.features.astype(float)
    squares = np.maximum(2 - 2 * X @ X.T, 0)
    labeled = squares[:30, :30] + 9 * np.eye(30)
    K = np.exp(-squares / labeled.min(axis=1).mean())
    covered, expected = K[:30].max(axis=0), []
    for _ in range(15):
        gain = [np.maximum(K[s] - covered, 0)[30:].sum() if s >= 30 else -1 for s in range(120)]
        expected.append(int(np.argmax(gain)))
        covered = np.maximum(covered, K[expected[-1]])
    assert choose(pool, 15, "max_herding", np.random.default_rng(0)).rows.tolist() == expected


@pytest.mark.parametrize("name", names())
def test_all_images_can_be_asked_for_at_once_even_when_they_are_all_alike(name):
    pool = pools.make_pool(CANDIDATES + 200, features=np.repeat(angles(30), CANDIDATES + 200, axis=0))
    chosen = choose(pool, len(pool), name, np.random.default_rng(0))
    assert sorted(chosen.rows) == list(range(len(pool)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["auto", "epig", "k_center", "k_means", "max_herding", "prob_cover", "typiclust"])
def test_features_that_are_no_numbers_are_refused_with_the_images(name, bad):
    pool = random_pool(60, labeled=9)
    pool = dataclasses.replace(pool, features=np.where(np.isin(pool.ids, (31, 21))[:, None], bad, pool.features))
    with pytest.raises(BadStrategy, match="NaN or infinity as features of images 21, 31; leave them out of the pool"):
        choose(pool, 10, name, np.random.default_rng(0))


@pytest.mark.parametrize("name", ["auto", "prob_cover"])
def test_features_of_zeros_are_refused_where_length_matters(name):
    pool = random_pool(60, labeled=9)
    pool = dataclasses.replace(pool, features=np.where(pool.ids[:, None] == 31, 0, pool.features))
    with pytest.raises(BadStrategy, match="only zeros as features of images 31; leave them out of the pool"):
        choose(pool, 10, name, np.random.default_rng(0))


READS_NO_FEATURES = ["random", "least_confidence", "margin", "entropy", "power_margin", "class_balanced_margin"]


@pytest.mark.parametrize(
    ("bad", "words"), [(np.nan, "NaN or infinity"), (np.inf, "NaN or infinity"), (0, "only zeros")]
)
@pytest.mark.parametrize("name", READS_NO_FEATURES)
def test_what_has_no_usable_features_is_never_shown_whoever_chooses_it(name, bad, words):
    pool = random_pool(60, labeled=9)
    pool = dataclasses.replace(pool, features=np.where(np.isin(pool.ids, (31, 21))[:, None], bad, pool.features))
    with pytest.raises(BadInput, match=f"^{words} as features of images 21, 31; leave them out of the pool"):
        choose(pool, 51, name, np.random.default_rng(0))


def test_features_are_read_of_chosen_rows_only():
    proba = np.where(np.arange(60)[:, None] < 50, [1, 0, 0], [0.4, 0.3, 0.3])
    pool = random_pool(60, proba=proba)
    usable = dataclasses.replace(pool, features=np.where(np.arange(60)[:, None] < 50, np.nan, pool.features))
    assert sorted(choose(usable, 10, "margin", np.random.default_rng(0)).rows) == list(range(50, 60))
    with pytest.raises(BadInput, match="as features of images"):
        choose(usable, 11, "margin", np.random.default_rng(0))


@pytest.mark.parametrize("size", [1e-15, 1e15])
def test_features_far_from_unit_length_are_usable_all_the_same(size):
    pool = dataclasses.replace(random_pool(9), features=random_pool(9).features * np.float32(size))
    assert len(choose(pool, 9, "margin", np.random.default_rng(0)).rows) == 9


def test_uncertainty_herding_without_a_model_is_max_herding():
    pool = random_pool(200, model=False)
    herding = choose(pool, 20, "max_herding", np.random.default_rng(5))
    herding_too = choose(pool, 20, "uncertainty_herding", np.random.default_rng(5))
    assert herding_too.strategy == "uncertainty_herding"
    assert herding_too.rows.tolist() == herding.rows.tolist()


def test_auto_goes_where_the_model_doubts_but_not_twice_to_the_same_place():
    certain, torn, unsure = [0.98, 0.01, 0.01], [0.45, 0.45, 0.10], [0.50, 0.40, 0.10]
    pool = make_pool(clusters(), proba=[certain] * 5 + [unsure] * 3 + [torn] * 2)
    assert group(choose(pool, 2, "margin", np.random.default_rng(0)).rows) == [2, 2]
    assert group(choose(pool, 2, "auto", np.random.default_rng(0)).rows) == [1, 2]


def test_auto_needs_few_labels_for_handwritten_digits():
    from sklearn.datasets import load_digits

    from labelloop.train.head import fit_head

    data = load_digits()
    X = (data.data / np.linalg.norm(data.data, axis=1, keepdims=True)).astype(np.float32)
    right = {}
    for name in ("random", "auto"):
        y, proba, rng = np.full(1257, -1), None, np.random.default_rng(0)
        for _ in range(5):
            pool = make_pool(X[:1257], y=y, proba=proba, n_classes=10)
            rows = choose(pool, 10, name, rng).rows
            y[rows] = data.target[rows]
            head = fit_head(X[:1257][y >= 0], y[y >= 0], 10)
            proba = head.predict_proba(X[:1257])
        right[name] = (head.predict_proba(X[1257:]).argmax(axis=1) == data.target[1257:]).mean()
    assert right["auto"] > 0.86
    assert right["auto"] > right["random"] + 0.04


def test_rare_first_prefers_the_class_with_fewer_labels():
    proba = [[1, 0, 0], [1, 0, 0], [1, 0, 0], [0.9, 0.1, 0], [0.1, 0.9, 0]]
    pool = make_pool(angles(0, 1, 2, 3, 4), y=[0, 0, 1, -1, -1], proba=proba)
    assert choose(pool, 2, "rare_first", np.random.default_rng(0)).rows.tolist() == [4, 3]


# choose, in_order, ranks


def test_before_the_first_model_the_cold_start_strategy_runs_and_is_recorded():
    pool = random_pool(50, model=False)
    chosen = choose(pool, 5, "margin", np.random.default_rng(0))
    assert chosen.strategy == "max_herding"
    assert chosen.rows.tolist() == choose(pool, 5, "max_herding", np.random.default_rng(0)).rows.tolist()
    assert choose(pool, 5, "margin", np.random.default_rng(0), cold_start="random").strategy == "random"


@pytest.mark.parametrize(("model", "ran", "said"), [(False, "max_herding", ""), (True, "mine", "doubt 0.")])
def test_reasons_that_need_a_model_wait_for_it_like_scores(drop_in, model, ran, said):
    because = "__import__('labelloop').because(np.arange(5.0), lambda row: f'doubt {1 - pool.proba[row].max():.2f}')"
    drop_in(returns(because))
    chosen = choose(random_pool(5, model=model), 2, "mine", np.random.default_rng(0))
    assert (chosen.strategy, [reason[:8] for reason in chosen.reasons]) == (ran, [said, said])


def test_no_reason_is_no_words(drop_in):
    drop_in(returns("__import__('labelloop').because(np.arange(5.0), lambda row: None)"))
    assert choose(random_pool(5), 2, "mine", np.random.default_rng(0)).reasons == ["", ""]


def test_a_cold_start_strategy_that_needs_a_model_says_so():
    with pytest.raises(NeedsModel):
        choose(random_pool(5, model=False), 1, "margin", np.random.default_rng(0), cold_start="margin")


def test_ties_are_broken_by_the_seed():
    pool = random_pool(30, proba=np.full((30, 3), 1 / 3))
    first = {int(choose(pool, 1, "margin", np.random.default_rng(k)).rows[0]) for k in range(300)}
    assert len(first) == 30


def test_an_unknown_strategy_is_told_the_closest_name():
    with pytest.raises(BadInput, match=r"'max_hering'; did you mean 'max_herding'\? There are: .*margin"):
        choose(random_pool(5), 1, "max_hering", np.random.default_rng(0))


def test_settings_are_checked():
    pool = random_pool(5)
    with pytest.raises(BadInput, match="rare_first has no setting 'bost'; its settings: boost"):
        choose(pool, 1, "rare_first", np.random.default_rng(0), settings={"bost": 1.0})
    with pytest.raises(BadInput, match="margin has no setting 'boost'; its settings: none"):
        choose(pool, 1, "margin", np.random.default_rng(0), settings={"boost": 1.0})
    with pytest.raises(BadInput, match="rare_first: boost must be float, not 'much'"):
        choose(pool, 1, "rare_first", np.random.default_rng(0), settings={"boost": "much"})


def test_in_order_encodes_rows_as_scores():
    assert in_order(make_pool(angles(0, 1, 2, 3)), [2, 0]).tolist() == [1, -np.inf, 2, -np.inf]
    with pytest.raises(ValueError, match="3 rows, of which 2 differ"):
        in_order(make_pool(angles(0, 1)), [1, 0, 1])


def test_ranks_share_ties_and_keep_never():
    assert ranks(np.array([5.0, -np.inf, 7.0, 5.0, 100.0])).tolist() == [0.375, -np.inf, 0.75, 0.375, 1.0]
    assert ranks(np.array([-np.inf])).tolist() == [-np.inf]


# Strategies of users


@pytest.fixture
def drop_in(tmp_path):
    """Write a drop-in file and load its folder; everything is unregistered afterwards."""
    home = tmp_path / "strategies"
    home.mkdir()

    def write(text, file="mine.py"):
        (home / file).write_text(
            "import numpy as np\nfrom labelloop import in_order, strategy\n" + text, encoding="utf-8"
        )
        return folder.load_folder(home)

    write.home = home
    yield write
    for file in home.iterdir():
        if file.suffix == ".py":
            file.unlink()
    folder.load_folder(home)


def returns(expression, settings=""):
    return f"@strategy\ndef mine(pool, n, rng{settings}):\n    'Mine.'\n    return {expression}\n"


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("np.zeros(3)", r"an array of shape \(3,\), not \(5,\)"),
        ("np.zeros((5, 1))", r"an array of shape \(5, 1\), not \(5,\)"),
        ("[1.0] * 5", "a list, not a numpy array"),
        ("None", "a NoneType, not a numpy array"),
        ("np.arange(5)", "int64, not floats"),
        ("np.array([0, np.nan, 0, np.nan, 0])", "2 NaN"),
        ("np.array([0, np.inf, 0, 0, 0])", r"1 scores of \+inf"),
        ("np.ma.masked_invalid(np.zeros(5))", r"a masked array \(fill it, with -inf where nothing may be chosen\)"),
    ],
)
def test_scores_that_break_the_contract_are_refused_by_name(drop_in, expression, complaint):
    assert drop_in(returns(expression)) == []
    with pytest.raises(BadStrategy, match=rf"mine \(.*mine.py\) returned {complaint}; wanted one float for each of 5"):
        choose(random_pool(5), 1, "mine", np.random.default_rng(0))


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("pool.nonsense", "AttributeError: 'Pool' object has no attribute 'nonsense'"),
        ("pool.y.sort()", "ValueError: sort array is read-only"),
        ("np.linalg.norm(pool.features, axis=7)", "AxisError: axis 7 is out of bounds"),
        ("__import__('sys').exit('bye')", "SystemExit: bye"),
        ("in_order(pool, [-1, 4])", "ValueError: in_order was given row -1; wanted whole numbers"),
        ("in_order(pool, [1.5])", "ValueError: in_order was given float64; wanted whole numbers"),
    ],
)
def test_a_strategy_that_fails_is_one_line_with_file_and_error(drop_in, expression, error):
    drop_in(returns(expression))
    with pytest.raises(BadStrategy, match=rf"^mine failed \(.*mine.py, line 6\): .*{error}") as caught:
        choose(random_pool(5), 1, "mine", np.random.default_rng(0))
    assert caught.value.__cause__ is not None


FAILS = "def f(pool, n, rng, *, a: float = 1.0):\n    'F.'\n    1 / 0\n"
PARTIAL = (
    FAILS + "from functools import partial\nmine = partial(f, a=2.0)\nmine.__name__, mine.__doc__ = 'mine', 'Mine.'\n"
)
CALLABLE = """
class Mine:
    "Mine."
    __name__ = "mine"
    def __call__(self, pool, n, rng):
        1 / 0
mine = Mine()
"""


@pytest.mark.parametrize(("text", "line"), [(PARTIAL, 5), (CALLABLE, 8)])
def test_what_is_no_plain_function_is_blamed_like_one(drop_in, text, line):
    assert drop_in(text + "strategy(mine)\n") == []
    with pytest.raises(BadStrategy, match=rf"^mine failed \(.*mine.py, line {line}\): ZeroDivisionError"):
        choose(random_pool(5), 1, "mine", np.random.default_rng(0))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("@strategy\nclass Mine:\n    'M.'\n    def __init__(self, pool, n, rng): ...\n", "the class Mine"),
        (FAILS + "from functools import partial\nstrategy(partial(f, a=2.0))\n", "a partial without a name"),
    ],
)
def test_what_cannot_be_a_strategy_is_refused_when_it_is_defined(drop_in, text, found):
    (problem,) = drop_in(text)
    assert str(problem).endswith(f"@strategy was given {found}; wanted a function: def mine(pool, n, rng)")


def test_an_error_that_has_no_words_is_said_by_its_kind(drop_in):
    mute = "class Mute(Exception):\n    def __str__(self):\n        raise RuntimeError\ndef fail():\n    raise Mute\n"
    drop_in(mute + returns("fail()"))
    with pytest.raises(BadStrategy, match=r"^mine failed \(.*mine.py, line 7\): Mute$"):
        choose(random_pool(5), 1, "mine", np.random.default_rng(0))


def test_what_one_tells_numpy_about_its_numbers_is_not_for_the_others(drop_in):
    before = np.geterr()
    assert drop_in("np.seterr(all='raise')\n" + returns("np.zeros(5) + len(np.seterr(all='raise'))")) == []
    choose(random_pool(5), 1, "mine", np.random.default_rng(0))
    assert np.geterr() == before


def test_minus_infinity_means_never(drop_in):
    drop_in(returns("np.where(np.arange(5) == 3, 1.0, -np.inf)"))
    assert choose(random_pool(5), 4, "mine", np.random.default_rng(0)).rows.tolist() == [3]


def test_rows_that_are_not_open_are_masked_however_high_they_score(drop_in):
    drop_in(returns("np.array([9.0, 1.0, 2.0, 8.0, 7.0])"))
    pool = random_pool(5, labeled=1, open_rows=[1, 2])
    assert choose(pool, 5, "mine", np.random.default_rng(0)).rows.tolist() == [2, 1]


def test_settings_reach_the_function(drop_in):
    drop_in(returns("np.roll(np.arange(5.0), by)", ", *, by: int = 0"))
    pool, rng = random_pool(5), np.random.default_rng(0)
    assert get("mine").settings == {"by": strategies.Setting(int, 0)}
    assert choose(pool, 1, "mine", rng).rows.tolist() == [4]
    assert choose(pool, 1, "mine", rng, settings={"by": 2}).rows.tolist() == [1]


@pytest.mark.parametrize(
    ("signature", "complaint"),
    [
        ("(pool, n)", r"mine\(pool, n\) must start with \(pool, n, rng\)"),
        ("(pool, rng, n)", "must start with"),
        ("(pool, n, rng, power=1.0)", "settings after a"),
        ("(pool, n, rng, **more)", "settings after a"),
        ("(pool, n, rng, /)", "must start with"),
        ("(pool, n, rng, *, power)", "setting 'power' needs a type"),
        ("(pool, n, rng, *, power: float)", "setting 'power: float' needs a type .* and a default"),
        ("(pool, n, rng, *, power: float = 'a')", "and a default of it"),
        ("(pool, n, rng, *, flag: int = True)", "and a default of it"),
        ("(pool, n, rng, *, rows: list = [])", "needs a type"),
    ],
)
def test_a_wrong_signature_is_refused_when_it_is_defined(drop_in, signature, complaint):
    (problem,) = drop_in(f"@strategy\ndef mine{signature}:\n    'Mine.'\n")
    assert "mine.py, line 3" in str(problem)
    with pytest.raises(BadStrategy, match=complaint):
        raise problem
    assert "mine" not in names()


def test_a_strategy_without_docstring_is_refused():
    with pytest.raises(BadStrategy, match="bare has no docstring"):

        @strategy
        def bare(pool, n, rng):
            return np.zeros(len(pool))


def test_a_changed_file_is_read_again_at_once(drop_in):
    drop_in(returns("np.arange(5.0)"))
    assert choose(random_pool(5), 1, "mine", np.random.default_rng(0)).rows.tolist() == [4]
    drop_in(returns("-np.arange(5.)"))  # as long as before, within the same second
    assert choose(random_pool(5), 1, "mine", np.random.default_rng(0)).rows.tolist() == [0]


def test_a_file_that_did_not_change_is_not_executed_again(drop_in):
    drop_in(returns("np.arange(5.0)"))
    function = get("mine").function
    folder.load_folder(drop_in.home)
    assert get("mine").function is function


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("1 / 0", "mine.py, line 3: ZeroDivisionError: division by zero"),
        ("def (:", "mine.py, line 3: SyntaxError: "),
        ("import sys\nsys.exit(3)", "mine.py, line 4: SystemExit: 3"),
        (returns("1") + "1 / 0", "mine.py, line 7: ZeroDivisionError"),
        ("", "mine.py has no function under @strategy"),
    ],
)
def test_a_broken_file_is_reported_and_what_worked_before_stays(drop_in, text, complaint):
    drop_in(returns("np.arange(5.0)"))
    (problem,) = drop_in(text)
    assert complaint in str(problem)
    assert folder.load_folder(drop_in.home) == [problem]
    assert choose(random_pool(5), 1, "mine", np.random.default_rng(0)).rows.tolist() == [4]
    assert drop_in(returns("-np.arange(5.0)")) == []
    assert choose(random_pool(5), 1, "mine", np.random.default_rng(0)).rows.tolist() == [0]


def test_a_file_that_never_ends_is_reported_and_not_read_again_until_it_changes(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("while True:\n    pass\n", encoding="utf-8")
    drop_ins = folder.DropIns(tmp_path, seconds=0.05)
    found, (problem,) = drop_ins.load({})
    assert found == {}
    words = rf"{file} was still running after 0.05 s, in line [12]; it is read again once it changes"
    assert re.fullmatch(words, str(problem))
    assert drop_ins.load({})[1] == [problem]
    file.write_text("1 / 0", encoding="utf-8")
    assert "ZeroDivisionError" in str(drop_ins.load({})[1])


def test_strategies_of_a_removed_file_leave_the_registry(drop_in):
    drop_in(returns("np.arange(5.0)"))
    (drop_in.home / "mine.py").unlink()
    assert folder.load_folder(drop_in.home) == []
    assert "mine" not in names()


def test_a_name_that_is_taken_is_refused(drop_in):
    (problem,) = drop_in("@strategy\ndef margin(pool, n, rng):\n    'Another.'\n")
    assert "the name is taken by labelloop.strategies.uncertainty" in str(problem)
    assert get("margin").origin == "labelloop.strategies.uncertainty"


def test_files_that_start_with_an_underscore_are_left_alone(drop_in):
    assert drop_in("1 / 0", "_draft.py") == []


def test_what_is_no_file_of_python_is_left_alone(drop_in):
    (drop_in.home / "._mine.py").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    (drop_in.home / ".#mine.py").symlink_to("me@host.123:456")
    (drop_in.home / "backup.py").mkdir()
    if hasattr(os, "mkfifo"):  # not on Windows
        os.mkfifo(drop_in.home / "pipe.py")
    assert drop_in(returns("np.arange(5.0)")) == []
    (drop_in.home / "backup.py").rmdir()


def test_a_link_to_itself_is_reported_and_the_others_work(drop_in):
    (drop_in.home / "loop.py").symlink_to(drop_in.home / "loop.py")
    (problem,) = drop_in(returns("np.arange(5.0)"))
    assert "loop.py: OSError: [Errno" in str(problem)
    assert choose(random_pool(5), 1, "mine", np.random.default_rng(0)).rows.tolist() == [4]


def test_a_name_that_cannot_be_said_is_reported_in_one_that_can(tmp_path):
    name = os.fsencode(tmp_path) + b"/caf\xe9.py"
    try:
        with open(name, "w", encoding="utf-8") as file:  # noqa: PTH123  a Path takes no bytes
            file.write("x = (\n")
    except OSError:
        pytest.skip("this system has no such names")
    _, (problem,) = folder.DropIns(tmp_path).load({})
    assert str(problem) == rf"{tmp_path}/caf\udce9.py: the name is not in UTF-8; rename the file"


def test_what_a_drop_in_defines_can_be_pickled(drop_in):
    drop_in("def work(k):\n    return k\n" + returns("np.arange(5.0)"))
    work = get("mine").function.__globals__["work"]
    assert pickle.loads(pickle.dumps(work)) is work


def test_a_folder_that_is_not_there_has_no_strategies(tmp_path):
    assert folder.load_folder(tmp_path / "nothing") == []


def test_a_drop_in_may_define_a_dataclass(drop_in):
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\n"
    (drop_in.home / "mine.py").write_text(text + "from labelloop import strategy\n" + returns("1"), encoding="utf-8")
    assert folder.load_folder(drop_in.home) == []


def test_the_template_works_once_it_is_renamed(drop_in):
    (drop_in.home / "mine.py").write_text((DROP_INS / "_template.py").read_text(encoding="utf-8"), encoding="utf-8")
    assert folder.load_folder(drop_in.home) == []
    assert len(choose(random_pool(20), 5, "template", np.random.default_rng(0)).rows) == 5
    assert choose(random_pool(20, model=False), 5, "template", np.random.default_rng(0)).strategy == "max_herding"


def test_the_readme_shows_a_strategy_that_works(drop_in):
    text = (DROP_INS / "README.md").read_text(encoding="utf-8")
    (drop_in.home / "mine.py").write_text(text.split("```python\n")[1].split("```")[0], encoding="utf-8")
    assert folder.load_folder(drop_in.home) == []
    assert len(choose(random_pool(20), 5, "least_sure", np.random.default_rng(0)).rows) == 5


def test_installed_packages_offer_strategies_by_entry_point(tmp_path, monkeypatch):
    site, code = tmp_path / "site", "from labelloop import strategy\n" + returns("rng.random(len(pool))")
    (site / "kind_strategies-1.0.dist-info").mkdir(parents=True)
    (site / "kind_strategies.py").write_text(code.replace("mine", "kind_one"), encoding="utf-8")
    (site / "kind_strategies-1.0.dist-info" / "METADATA").write_text("Name: kind-strategies\nVersion: 1.0\n")
    (site / "kind_strategies-1.0.dist-info" / "entry_points.txt").write_text(
        "[labelloop.strategies]\nkind = kind_strategies\nlost = kind_strategies_that_are_not_there\n"
        "quits = kind_strategies_that_quit\nnone = kind_strategies_without_any\nagain = kind_strategies:kind_one\n"
    )
    (site / "kind_strategies_without_any.py").write_text("def kind_two(pool, n, rng): ...\n")
    (site / "kind_strategies_that_quit.py").write_text("import sys\nsys.exit('bye')\n")
    monkeypatch.syspath_prepend(site)
    problem, quits, none = folder.load_installed()
    assert folder.load_installed() == [problem, quits, none]
    assert str(none).endswith(
        "(kind-strategies: kind_strategies_without_any): no function under @strategy; add one there"
    )
    assert str(quits).endswith("(kind-strategies: kind_strategies_that_quit): SystemExit: bye")
    assert "installed strategy lost (kind-strategies: kind_strategies_that_are_not_there)" in str(problem)
    assert get("kind_one").origin == "kind-strategies: kind_strategies"
    registry.replace("kind-strategies: kind_strategies", {})


def test_reasons_are_asked_of_the_chosen_rows_only_and_arithmetic_has_none():
    asked = []

    def why(row):
        asked.append(row)
        return f"row {row}"

    with registry.collect() as found:

        @strategy
        def reasoned(pool, n, rng):
            """Larger rows first, and says which."""
            return because(np.arange(len(pool), dtype=float), why)

    registry.replace("reasoned", {name: dataclasses.replace(one, origin="reasoned") for name, one in found.items()})
    try:
        chosen = choose(random_pool(9), 2, "reasoned", np.random.default_rng(0))
        assert (chosen.rows.tolist(), chosen.reasons, asked) == ([8, 7], ["row 8", "row 7"], [8, 7])
        assert choose(random_pool(9), 2, "random", np.random.default_rng(0)).reasons == ["", ""]
        assert (because(np.zeros(3), why) + 1).why is None
    finally:
        registry.replace("reasoned", {})


def test_only_a_strategy_that_asks_again_may_choose_what_is_answered():
    with registry.collect() as found:

        @strategy(again=True)
        def once_more(pool, n, rng):
            """Asks about the first image again."""
            return in_order(pool, pool.unlabeled)

    registry.replace("again", {name: dataclasses.replace(one, origin="again") for name, one in found.items()})
    try:
        pool = dataclasses.replace(random_pool(5, labeled=3), again=np.arange(5) == 1)
        assert choose(pool, 9, "once_more", np.random.default_rng(0)).rows.tolist() == [1, 3, 4]
        assert sorted(choose(pool, 9, "margin", np.random.default_rng(0)).rows.tolist()) == [3, 4]
    finally:
        registry.replace("again", {})


def test_what_is_read_late_is_read_once_and_is_read_only():
    reads = []

    def doubts():
        reads.append(1)
        return np.zeros(4, np.float32)

    pool = dataclasses.replace(random_pool(4), late={"doubts": doubts, "paths": lambda: ["a.jpg"]})
    assert reads == []
    assert pool.doubts.tolist() == pool.doubts.tolist() == [0, 0, 0, 0]
    assert reads == [1]
    with pytest.raises(ValueError, match="read-only"):
        pool.doubts[0] = 1
    with pytest.raises(ValueError, match=r"Pool\.paths has 1 rows, expected 4"):
        _ = pool.paths
    with pytest.raises(BadInput, match="knows nothing of seconds"):
        _ = pool.seconds


def test_a_function_in_place_of_a_name_is_told_its_name():
    """@strategy gives the function back, so it is what is at hand."""
    pool = random_pool(5)
    with pytest.raises(BadInput, match="not the function margin; say its name, 'margin'"):
        choose(pool, 2, get("margin").function, np.random.default_rng(0))

    def mine(pool, n, rng):
        """Mine."""
        return np.zeros(len(pool))

    with pytest.raises(BadInput, match="function mine; write @strategy above it, then say its name, 'mine'"):
        choose(pool, 2, mine, np.random.default_rng(0))
