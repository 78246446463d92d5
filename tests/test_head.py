import numpy as np
import pytest
from scipy.special import softmax
from threadpoolctl import threadpool_limits

from labelloop.errors import BadInput, CannotTrain
from labelloop.train import head as module
from labelloop.train.calibration import calibration_error
from labelloop.train.head import SHARPEN, C, Head, fit_head


def blobs(m, d, n_classes, *, seed=0, noise=0.5):
    """Unit-length features (m, d) around one center per class, and their classes (m,), each at least once."""
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, m - n_classes)])
    X = np.random.default_rng(99).normal(size=(n_classes, d))[y] + noise * rng.normal(size=(m, d)) + 2
    return (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32), y


def exact(monkeypatch):
    """Fit until nothing changes any more."""
    monkeypatch.setattr(module, "SOLVER", {"ftol": 1e-14, "maxiter": 10_000})
    monkeypatch.setattr(module, "FLAT", 1e-6)


def test_softmax_of_a_known_head():
    head = Head(np.array([[1.0, 0], [0, 1], [0, 0]], np.float32), np.array([0, 0, np.log(2)], np.float32))
    proba = head.predict_proba(np.log([[3.0, 1], [1, 5]]))
    assert proba.dtype == np.float32
    assert np.allclose(proba, [[3 / 6, 1 / 6, 2 / 6], [1 / 8, 5 / 8, 2 / 8]])


def test_it_learns_classes_that_can_be_told_apart():
    X, y = blobs(60, 30, 4)
    T, t = blobs(200, 30, 4, seed=1)
    proba = fit_head(X, y, 4).predict_proba(T)
    assert np.allclose(proba.sum(axis=1), 1, atol=1e-5)
    assert (proba.argmax(axis=1) == t).mean() > 0.97


def test_where_classes_overlap_it_is_as_sure_as_it_is_right():
    """Two classes around a circle: even of 300 labels only five in six can be told, and no penalty is to blame."""
    rng = np.random.default_rng(0)
    y = np.arange(2300) % 2
    angle = rng.normal(y, 0.5)
    X = np.column_stack([np.cos(angle), np.sin(angle)]).astype(np.float32)
    proba = fit_head(X[:300], y[:300], 2).predict_proba(X[300:])
    assert (proba.argmax(axis=1) == y[300:]).mean() > 0.8
    assert calibration_error(proba, y[300:]) < 0.04  # 0.09 with logits 1.9 times as large


def test_it_learns_a_thousand_classes_from_two_labels_each():
    X, y = blobs(4000, 300, 1000, noise=1.0)
    rows = np.concatenate([np.flatnonzero(y == k)[:2] for k in range(1000)])
    proba = fit_head(X[rows], y[rows], 1000).predict_proba(X)
    assert (proba.argmax(axis=1) == y).mean() > 0.97
    assert proba.max(axis=1).mean() > 0.3


def test_classes_without_labels_have_probability_zero():
    X, y = blobs(40, 10, 2)
    proba = fit_head(X, np.array([1, 4])[y], 6).predict_proba(X)
    assert proba.shape == (40, 6)
    assert (proba[:, [0, 2, 3, 5]] == 0).all()
    assert (proba.argmax(axis=1) == np.array([1, 4])[y]).all()


@pytest.mark.parametrize("n_classes", [2, 5])
def test_turning_into_the_row_space_changes_nothing(n_classes, monkeypatch):
    exact(monkeypatch)
    monkeypatch.setattr(module, "DTYPE", np.float64)
    X, y = blobs(40, 120, n_classes)
    fast = fit_head(X, y, n_classes).predict_proba(X)
    monkeypatch.setattr(module, "_fit_in_row_space", module._fit)
    plain = fit_head(X, y, n_classes).predict_proba(X)
    assert np.abs(fast - plain).max() < 1e-4


@pytest.mark.parametrize(("m", "d"), [(40, 120), (150, 20)])
def test_it_is_the_penalised_fit_of_scikit_learn_with_balanced_classes(m, d, monkeypatch):
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax
    from sklearn.linear_model import LogisticRegression

    exact(monkeypatch)
    monkeypatch.setattr(module, "DTYPE", np.float64)
    X, y = blobs(m, d, 3, noise=2.0)
    share = 1 / np.bincount(y)[y] / 3
    Z = X - share @ X
    Z = (Z / np.sqrt(share @ (Z**2).sum(axis=1))).astype(float)
    answers = 1 / (share**2).sum()  # that would say as much, were all of one weight
    model = LogisticRegression(C=C * answers / m, tol=1e-8, max_iter=10_000, class_weight="balanced").fit(Z, y)
    logits = model.decision_function(Z)
    likeliest = minimize_scalar(lambda by: -share @ log_softmax(by * logits, axis=1)[np.arange(m), y], (1, 2)).x
    assert (likeliest < SHARPEN) == (m == 150)  # 40 in 120 dimensions can all be told apart
    expected = softmax(min(likeliest, SHARPEN) * logits, axis=1)
    assert np.abs(fit_head(X, y, 3).predict_proba(X) - expected).max() < 1e-4


def test_a_weight_of_two_is_as_good_as_the_label_twice_and_a_copy_of_an_image_is_no_second_label(monkeypatch):
    exact(monkeypatch)
    monkeypatch.setattr(module, "DTYPE", np.float64)
    X, y = blobs(30, 10, 3, noise=2.0)
    X = X.astype(np.float64)
    alone = fit_head(X, y, 3).predict_proba(X)
    copied = fit_head(np.concatenate([X, X[:4], X[:4]]), np.concatenate([y, y[:4], y[:4]]), 3).predict_proba(X)
    assert np.abs(copied - alone).max() < 1e-4
    near = X[:4].astype(np.float64) * (1 + 1e-12)  # another image to a comparison of bytes only
    twice = fit_head(np.concatenate([X, near]), np.concatenate([y, y[:4]]), 3).predict_proba(X)
    weighted = fit_head(X, y, 3, weights=np.where(np.arange(30) < 4, 2, 1)).predict_proba(X)
    assert np.abs(weighted - alone).max() > 1e-3
    assert np.abs(weighted - twice).max() < 1e-4


def test_mirror_images_get_mirrored_answers():
    X = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8]], np.float32)
    proba = fit_head(X, [0, 0, 1, 1], 2).predict_proba(X)
    assert np.allclose(proba[:, 0], proba[::-1, 1][[1, 0, 3, 2]], atol=1e-3)
    assert (proba.argmax(axis=1) == [0, 0, 1, 1]).all()


def test_one_label_of_each_of_many_classes_is_no_reason_to_warn():
    X, y = blobs(30, 200, 30)
    assert (fit_head(X, y, 30).predict_proba(X).argmax(axis=1) == y).all()


def test_it_stops_close_enough_to_the_optimum(monkeypatch):
    X, y = blobs(150, 40, 4, noise=2.0)
    quick = fit_head(X, y, 4).predict_proba(X)
    exact(monkeypatch)
    assert np.abs(quick - fit_head(X, y, 4).predict_proba(X)).max() < 0.1


def test_features_on_disk_and_in_half_precision_give_the_same_answer(tmp_path):
    X, y = blobs(60, 16, 3)
    head = fit_head(X, y, 3)
    many = np.tile(X, (80, 1))  # more than one block
    np.save(tmp_path / "x.npy", many.astype(np.float16))
    stored = head.predict_proba(np.load(tmp_path / "x.npy", mmap_mode="r"))
    assert np.allclose(stored, softmax(many @ head.weight.T + head.bias, axis=1), atol=0.02)
    assert head.predict_proba(X[:0]).shape == (0, 3)


def test_probabilities_are_the_same_digits_on_any_number_of_threads():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(9000, 384)).astype(np.float32)
    head = Head(rng.normal(size=(10, 384)).astype(np.float32), np.zeros(10, np.float32))
    found = []
    for threads in (1, 2, 3):
        with threadpool_limits(threads):
            found.append(head.predict_proba(X))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


def test_the_same_labels_give_the_same_head():
    X, y = blobs(30, 50, 3)
    assert np.array_equal(fit_head(X, y, 3).weight, fit_head(X, y, 3).weight)


def test_images_that_are_all_alike_leave_nothing_to_tell_them_apart_by():
    proba = fit_head(np.ones((4, 8), np.float32), [0, 1, 1, 1], 2).predict_proba(np.ones((1, 8)))
    assert np.allclose(proba, [[0.5, 0.5]], atol=0.01)


@pytest.mark.parametrize(("y", "found"), [([], "0 labels of 0 classes"), ([2, 2, 2], "3 labels of 1 classes")])
def test_fewer_than_two_classes_cannot_be_learned(y, found):
    with pytest.raises(CannotTrain, match=found):
        fit_head(np.zeros((len(y), 4), np.float32), y, 3)


def test_a_saved_head_is_the_same_head(tmp_path):
    X, y = blobs(20, 8, 2)
    head = fit_head(X, y, 3)  # class 2 has no labels: its bias is -inf
    head.save(tmp_path / "head.safetensors")
    again = Head.load(tmp_path / "head.safetensors")
    assert np.array_equal(again.weight, head.weight)
    assert np.array_equal(again.bias, head.bias)
    assert [file.name for file in tmp_path.iterdir()] == ["head.safetensors"]


def test_a_head_that_is_missing_or_something_else_is_refused(tmp_path):
    with pytest.raises(BadInput, match="there is no model at"):
        Head.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(BadInput, match="is not a saved head"):
        Head.load(tmp_path / "text.safetensors")
