"""What check says of strategies that break the contract in every way people do, each in a real file."""

import random

import numpy as np
import pytest

from labelloop.errors import BadInput, BadStrategy
from labelloop.strategies import check as page
from labelloop.strategies import get, names, pools
from labelloop.strategies.check import Report, check, load, needs_model

HEAD = "import numpy as np\nfrom labelloop import because, in_order, strategy\n\n\n"  # the decorator is in line 5


@pytest.fixture
def checked(tmp_path):
    """Check the one strategy of a file with this body (its first line is line 8); the path is `checked.file`."""
    file = tmp_path / "mine.py"

    def run(body: str, settings: str = "", decorator: str = "@strategy") -> Report:
        lines = "".join(f"    {line}\n" for line in body.splitlines())
        file.write_text(f'{HEAD}{decorator}\ndef mine(pool, n, rng{settings}):\n    """Mine."""\n{lines}', "utf-8")
        (one,) = load(file)
        return check(one)

    run.file = file
    return run


def only_fault(report: Report):
    (fault,) = report.faults
    return fault


def test_a_strategy_that_keeps_the_contract_is_one_line_with_its_cost(checked):
    report = checked("return pool.proba.max(axis=1) * power", settings=", *, power: float = 1.0")
    assert (report.faults, report.warnings) == ([], [])
    assert report.notes == [
        "settings: power: float = 1.0",
        "needs a model: until two classes have labels, another strategy runs in its place, and the log says which",
    ]
    assert report.summary.startswith("mine: keeps the contract; 10,000 images in 0.")
    assert "mine" not in names()


def test_what_a_project_knows_is_there_to_be_read(checked):
    body = "assert len(pool.paths) == len(pool)\nreturn np.nan_to_num(pool.seconds + pool.doubts) + pool.groups"
    assert checked(body).faults == []


@pytest.mark.parametrize(
    ("body", "line", "found", "todo"),
    [
        ("x = 3\nreturn rng.random((len(pool), 1))", 9, "an array of shape (60, 1), not (60,)", "in_order(pool, rows)"),
        ("return rng.random(len(pool.unlabeled))", 8, "an array of shape (51,), not (60,)", "score every row"),
        ("return np.arange(len(pool))", 8, "int64, not floats", "astype(float)"),
        ("return [1.0] * len(pool)", 8, "a list, not a numpy array", "np.asarray(scores, float)"),
        ("rng.random()", 8, "a NoneType, not a numpy array", "end with: return scores"),
        ("return np.full(len(pool), np.inf)", 8, "60 scores of +inf", "division by 0"),
        ("return np.where(pool.y >= 0, np.nan, 0)", 8, "9 NaN", "0 / 0"),
    ],
)
def test_scores_of_another_kind(checked, body, line, found, todo):
    fault = only_fault(checked(body))
    assert fault.found == f"returned {found}"
    assert fault.wanted.startswith("one float for each of 60 images")
    assert todo in fault.todo
    assert fault.place == f"{checked.file}, line {line}"


def test_a_logarithm_of_zero_is_found_where_a_class_has_no_label(checked):
    report = checked("p = pool.proba\nreturn -(p * np.log(p)).sum(axis=1)")
    fault = only_fault(report)
    assert (fault.found, fault.on) == ("returned 60 NaN", ("labels of 2 of 5 classes", *fault.on[1:]))
    assert "a model that is certain" in fault.on
    assert report.warnings[0] == f"divide by zero encountered in log ({checked.file}, line 9)"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("pool.y[0] = 1", "wrote to an array of the pool (assignment destination is read-only)"),
        ("pool.features.sort()", "wrote to an array of the pool (sort array is read-only)"),
        ("pool.y = None", "wrote to the pool (cannot assign to field 'y')"),
    ],
)
def test_writing_to_the_pool(checked, body, found):
    fault = only_fault(checked(f"{body}\nreturn rng.random(len(pool))"))
    assert (fault.found, fault.wanted) == (found, "a pool left as it was")
    assert fault.place == f"{checked.file}, line 8"
    assert len(fault.on) == len(pools.POOLS)


def test_writing_to_the_pool_by_force(checked):
    body = "y = pool.y.base\ny.flags.writeable = True\ny[0] = 2\nreturn rng.random(len(pool))"
    assert only_fault(checked(body)).found == "changed the pool"


@pytest.mark.parametrize("draw", ["np.random.rand(k)", "np.random.permutation(k) * 1.0", "shuffled(k)"])
def test_global_randomness_with_the_line_that_draws(checked, draw):
    shuffled = "import random\nshuffled = lambda k: np.array([random.random() for _ in range(k)])\n"
    state = random.getstate()
    fault = only_fault(checked(f"{shuffled}k = len(pool)\nscores = {draw}\nreturn scores"))
    assert fault.found == "draws from the global random numbers of numpy or Python"
    assert fault.place == f"{checked.file}, line 11"
    random.setstate(state)


@pytest.mark.parametrize(
    "body", ["return np.random.default_rng().random(len(pool))", "CALLS.append(1)\nreturn noise()"]
)
def test_the_same_seed_must_give_the_same_picks(checked, body, tmp_path):
    body = f"noise = lambda: np.random.default_rng(len(CALLS)).random(len(pool))\n{body}"
    fault = only_fault(checked(body, decorator="CALLS = []\n\n\n@strategy"))
    assert fault.found == "two runs with the same seed chose different images"
    assert "draw from rng and from nothing else" in fault.todo


def test_an_error_is_said_with_the_line_and_the_pools_that_show_it(checked):
    fault = only_fault(checked("nearest = np.sort(pool.features @ pool.features.T)[:, -2]\nreturn -nearest"))
    assert fault.found == "failed with IndexError: index -2 is out of bounds for axis 1 with size 1"
    assert (fault.place, fault.on) == (f"{checked.file}, line 8", ("a pool of one image",))


@pytest.mark.parametrize("body", ["return pool.probabilities[:, 0]", "return rng.random(len(pool)) * ~pool.skipped"])
def test_what_may_be_none_is_named(checked, body):
    fault = only_fault(checked(body))
    assert "NoneType" in fault.found
    assert fault.todo.startswith("pool.skipped may be None")


def test_what_the_strategy_refuses_is_said_as_it_is(checked):
    report = checked("from labelloop.errors import BadInput\nraise BadInput('there is no class rust')")
    assert only_fault(report).found == "failed with there is no class rust"


def test_a_strategy_that_ends_python_is_refused_like_an_error(checked):
    assert only_fault(checked("raise SystemExit")).found == "failed with SystemExit"


def test_an_error_without_words_is_a_fault_like_others(checked):
    body = "class Mute(Exception):\n    def __str__(self):\n        raise RuntimeError\nraise Mute"
    assert only_fault(checked(body)).found == "failed with Mute"


def test_a_callable_object_is_checked_like_a_function(tmp_path):
    file = tmp_path / "mine.py"
    body = "    'M.'\n    __name__ = 'mine'\n    def __call__(self, pool, n, rng):\n        return [1.0]\n"
    file.write_text(f"{HEAD}class Mine:\n{body}strategy(Mine())\n", "utf-8")
    (one,) = load(file)
    assert (only_fault(check(one)).found, only_fault(check(one)).place) == (
        "returned a list, not a numpy array",
        str(file),
    )


def test_a_masked_array_is_told_to_be_filled(checked):
    fault = only_fault(checked("return np.ma.masked_equal(rng.random(len(pool)), 0)"))
    assert fault.found == "returned a masked array (fill it, with -inf where nothing may be chosen)"
    assert fault.todo == "end with: return scores.filled(-np.inf)"


def test_reasons_may_wait_for_a_model(checked):
    report = checked("return because(rng.random(len(pool)), lambda row: f'{pool.proba[row].max():.2f}')")
    assert (report.faults, report.notes) == ([], [page.WAITS])
    assert [needs_model(one) for one in load(checked.file)] == [True]


def test_asking_for_a_model_that_is_there(checked):
    body = "from labelloop.errors import NeedsModel\nraise NeedsModel('never')"
    fault = only_fault(checked(body))
    assert fault.found == "asks for a model: never"
    assert "an ordinary pool" in fault.on
    assert "no label yet" not in fault.on


def test_reasons_that_fail(checked):
    fault = only_fault(checked("return because(rng.random(len(pool)), lambda row: pool.classes[row + 99])"))
    assert fault.found == "its reason failed: IndexError: tuple index out of range"
    assert fault.place == f"{checked.file}, line 8"


def test_a_name_that_is_taken(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        f'{HEAD}@strategy\ndef margin(pool, n, rng):\n    """M."""\n    return rng.random(len(pool))\n', "utf-8"
    )
    before = get("margin")
    fault = only_fault(check(load(file)[0]))
    assert fault.found == "the name 'margin' is taken by labelloop.strategies.uncertainty"
    assert fault.todo == "give the function another name"
    assert get("margin") is before


def test_choosing_what_is_not_open_is_a_warning(checked):
    report = checked("return in_order(pool, np.arange(n))")
    assert report.faults == []
    assert report.warnings == [
        "offers fewer images than asked for and than there are: choose among pool.unlabeled, or give a score"
    ]


def test_one_that_asks_again_gets_the_answered_images(checked):
    body = "assert (pool.again & pool.open).sum() == pool.again.sum()\nreturn in_order(pool, pool.unlabeled[:1])"
    report = checked(body, decorator="@strategy(again=True)")
    assert (report.faults, report.warnings) == ([], [])
    assert report.notes == ["may ask again about images that have an answer"]


def test_a_slow_one_is_told_what_more_images_would_cost(checked, monkeypatch):
    monkeypatch.setattr(page, "SLOW_SECONDS", 0.0)
    (warning,) = checked("return rng.random(len(pool))").warnings
    assert warning.startswith(
        "slow: 0.0 s for 10,000 images, wanted at most 0 s; each batch of 100,000 images would take "
    )


def test_images_by_images_is_told_what_memory_it_would_take(checked, monkeypatch):
    monkeypatch.setattr(page, "FEW", 250)
    monkeypatch.setattr(page, "MANY", 1000)
    monkeypatch.setattr(page, "MUCH_BYTES", 1e9)
    report = checked("return (pool.features @ pool.features.T).max(axis=1)")
    (large,) = [text for text in report.warnings if text.startswith("large")]
    assert "large: 4 MB beside the features for 1,000 images; 100,000 would need about " in large
    assert "nothing may be images × images" in large
    assert report.faults == []


def test_costs_are_carried_on_as_they_grew():
    assert page._grown(1, 4) == 40  # in proportion
    assert page._grown(1, 16) == pytest.approx(1600)  # squared
    assert page._grown(3, 3) == 30  # never less than in proportion


def test_a_fault_that_shows_with_many_images_only(checked):
    fault = only_fault(checked("assert len(pool) < 9000\nreturn rng.random(len(pool))"))
    assert (fault.found, fault.on) == ("failed with AssertionError", ("10,000 images",))


def test_files_that_are_none(tmp_path):
    with pytest.raises(BadInput, match=r"nothing\.py is not there; wanted a file that defines strategies"):
        load(tmp_path / "nothing.py")
    with pytest.raises(BadInput, match="is a folder, not a file with Python code"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def mine(:\n", r"broken\.py, line 1: SyntaxError: invalid syntax$"),
        ("import nothing_of_the_kind\n", r"broken\.py, line 1: ModuleNotFoundError"),
        (
            f"{HEAD}@strategy\ndef mine(pool, n):\n    'Mine.'\n",
            r"broken\.py, line 5: .*must start with \(pool, n, rng\)",
        ),
        (f"{HEAD}@strategy\ndef mine(pool, n, rng):\n    return 1\n", r"broken\.py, line 5: .*mine has no docstring"),
        (HEAD, r"broken\.py has no function under @strategy"),
    ],
)
def test_files_that_break(tmp_path, text, found):
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(BadStrategy, match=found):
        load(tmp_path / "broken.py")


def test_a_setting_without_a_type_is_refused_with_the_line(checked):
    with pytest.raises(BadStrategy, match=r"mine\.py, line 5: mine: setting 'power' needs a type"):
        checked("return pool.y", settings=", *, power")


def test_a_template_says_that_the_app_does_not_read_it(tmp_path):
    file = tmp_path / "_mine.py"
    file.write_text(
        f'{HEAD}@strategy\ndef mine(pool, n, rng):\n    """M."""\n    return rng.random(len(pool))\n', "utf-8"
    )
    assert check(load(file)[0]).notes == ["the app does not read files whose names start with _ or a dot"]


def test_every_step_is_announced():
    steps = []
    check(get("random"), step=steps.append)
    assert steps == [*pools.POOLS, "2,500 images", "10,000 images"]


def test_needs_model():
    assert [needs_model(get(name)) for name in ("margin", "random", "auto")] == [True, False, False]


def test_pools_are_what_their_names_say():
    made = {words: make() for words, make in pools.POOLS.items()}
    assert {len(pool.features.shape) for pool in made.values()} == {2}
    assert all(np.allclose(np.linalg.norm(pool.features.astype(float), axis=1), 1, atol=1e-2) for pool in made.values())
    assert len(made["no label yet"].labeled) == 0
    assert set(made["labels of one class only"].y) == {-1, 0}
    assert len(made["3 images left, fewer than asked"].unlabeled) == 3
    assert len(made["a pool of one image"]) == 1
    assert made["1,000 classes"].proba.shape == (300, 1000)
    assert made["features in float16"].features.dtype == np.float16
    assert not made["labels of 2 of 5 classes"].proba[:, 2:].any()
    assert np.ptp(made["images that are all alike"].features, axis=0).max() == 0
    with_model = [pool for pool in made.values() if pool.probabilities is not None]
    assert all(np.allclose(pool.proba.sum(axis=1), 1, atol=1e-5) for pool in with_model)
