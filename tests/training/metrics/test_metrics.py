# SPDX-License-Identifier: Apache-2.0
"""What holds for every metric: its value is that of scikit-learn, however the data is cut."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sk

import rosin as rs
from rosin.training.metrics import (
    AUROC,
    F1,
    MAE,
    MSE,
    R2,
    Accuracy,
    AveragePrecision,
    ConfusionMatrix,
    Mean,
    Metric,
    Perplexity,
    Precision,
    Recall,
    TopKAccuracy,
)

pytestmark = pytest.mark.optimised  # digits are counted

RNG = np.random.default_rng(0)
N, K = 60, 5
LOGITS = RNG.normal(size=(N, K)).astype(np.float32)
LABELS = RNG.integers(0, K - 1, N)  # the last class never occurs, but is predicted
SCORES = RNG.normal(size=N).astype(np.float32).round(1)  # with ties
ANSWERS = (SCORES + RNG.normal(size=N) > 0.3).astype(np.float32)
MANY = (RNG.normal(size=(N, K)) > 0.5).astype(np.float32)
NUMBERS = (1e3 + RNG.normal(size=(N, 2))).astype(np.float32)
GUESSES = NUMBERS + RNG.normal(size=(N, 2)).astype(np.float32) * np.float32(0.5)
MASK = RNG.uniform(size=N) < 0.7

CLASSES, BINARY = (LOGITS, LABELS), (SCORES, ANSWERS)
SEVERAL, REAL = (LOGITS, MANY), (GUESSES, NUMBERS)


def by_class(score, average):
    return lambda x, y: score(y, x.argmax(-1), average=average, labels=range(K), zero_division=0.0)


def several(score, average):
    return lambda x, y: score(y, x > 0, average=average, zero_division=0.0)


def softmax(x):
    e = np.exp(np.float64(x) - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def perplexity(x, y):
    return np.exp(-np.log(softmax(x)[np.arange(len(y)), y]).mean())


@dataclasses.dataclass
class Row:
    """A metric, its data, and the same value by other means."""

    metric: Metric
    data: tuple[Any, Any]
    truth: Any
    exact: bool = True


ROWS = {
    "accuracy": Row(Accuracy(), CLASSES, lambda x, y: sk.accuracy_score(y, x.argmax(-1))),
    "binary accuracy": Row(
        Accuracy(threshold=0.5), BINARY, lambda x, y: sk.accuracy_score(y, x > 0.5)
    ),
    "top 2": Row(
        TopKAccuracy(2), CLASSES, lambda x, y: sk.top_k_accuracy_score(y, x, k=2, labels=range(K))
    ),
    "confusion": Row(
        ConfusionMatrix(K),
        CLASSES,
        lambda x, y: sk.confusion_matrix(y, x.argmax(-1), labels=range(K)),
    ),
    "precision": Row(Precision(), BINARY, lambda x, y: sk.precision_score(y, x > 0)),
    "f1": Row(F1(), BINARY, lambda x, y: sk.f1_score(y, x > 0)),
    "auroc": Row(AUROC(), BINARY, lambda x, y: sk.roc_auc_score(y, x)),
    "average precision": Row(
        AveragePrecision(), BINARY, lambda x, y: sk.average_precision_score(y, x)
    ),
    "mse": Row(MSE(), REAL, lambda x, y: ((x - y) ** 2).mean(), exact=False),
    "mae": Row(MAE(), REAL, lambda x, y: abs(x - y).mean(), exact=False),
    "r2": Row(R2(), REAL, lambda x, y: sk.r2_score(y.ravel(), x.ravel()), exact=False),
    "r2 for each": Row(
        R2(outputs=2),
        REAL,
        lambda x, y: sk.r2_score(y, x, multioutput="raw_values"),
        exact=False,
    ),
    "perplexity": Row(Perplexity(), CLASSES, perplexity, exact=False),
    "mean": Row(Mean(), (SCORES, MASK), lambda x, m: x[m].mean(), exact=False),
    "weighted mean": Row(
        Mean(),
        (SCORES, ANSWERS + np.float32(0.3)),
        lambda x, w: np.average(x, weights=w),
        exact=False,
    ),
}
for average, cls, score in (
    ("macro", Precision, sk.precision_score),
    ("weighted", Recall, sk.recall_score),
    (None, F1, sk.f1_score),
):
    name = f"{cls.__name__} {average}"
    ROWS[name] = Row(cls(K, average=average), CLASSES, by_class(score, average))
ROWS["F1 of several"] = Row(F1(K, threshold=0.0), SEVERAL, several(sk.f1_score, "macro"))

# Counts are exact, so that only the last division rounds. Entries of float32 errors are
# rounded once each, and r2 subtracts two numbers from around 1.
EXACT, SUMS = {"rtol": 1e-15}, {"rtol": 3e-7, "atol": 1e-7}


def streamed(metric, data, size):
    state = metric.empty()
    for start in range(0, len(data[0]), size):
        state = metric.update(state, *(part[start : start + size] for part in data))
    return state


def double(part):
    return np.float64(part) if part.dtype == np.float32 else part


KINDS = ("accuracy", "confusion", "F1 None", "auroc", "mse", "r2 for each", "weighted mean")
"""One metric for each kind of state."""


@pytest.mark.parametrize("name", ROWS)
def test_the_value_is_that_of_the_reference(name):
    row = ROWS[name]
    truth = row.truth(*map(double, row.data))
    value = row.metric.result(streamed(row.metric, row.data, 20))
    np.testing.assert_allclose(value, truth, **(EXACT if row.exact else SUMS))
    assert type(value) is (float if np.ndim(truth) == 0 else np.ndarray)


@pytest.mark.parametrize("name", KINDS)
def test_the_value_is_the_same_however_the_data_is_cut(name):
    row = ROWS[name]
    whole = row.metric(*row.data)
    cut = row.metric.result(streamed(row.metric, row.data, 25))
    assert N % 25
    if row.exact:
        np.testing.assert_array_equal(cut, whole)
    else:  # sums agree to a few units in the last place of the float32 they are made of
        np.testing.assert_allclose(cut, whole, rtol=2e-7)


@pytest.mark.parametrize("name", KINDS)
def test_no_data_leaves_a_state_as_it_is_and_parts_may_be_merged_in_any_order(name):
    row = ROWS[name]
    a, b = (streamed(row.metric, [p[i : i + 20] for p in row.data], 20) for i in (0, 20))
    empty = row.metric.empty()
    merge = jax.jit(row.metric.merge)
    values = [row.metric.result(merge(*pair)) for pair in ((a, b), (b, a))]
    np.testing.assert_allclose(*values, rtol=2e-7)
    kept = [row.metric.result(s) for s in (merge(empty, a), merge(a, empty), a)]
    np.testing.assert_array_equal(kept[0], kept[2])
    np.testing.assert_array_equal(kept[1], kept[2])


@pytest.mark.parametrize("name", [name for name in ROWS if "mean" not in name])
def test_what_the_mask_leaves_out_does_not_count(name):
    row = ROWS[name]
    prediction, target = row.data
    mask = np.broadcast_to(MASK.reshape(-1, *[1] * (target.ndim - 1)), target.shape)
    spoilt = [np.array(part) for part in row.data]
    spoilt[0][~MASK] = np.nan if prediction.dtype == np.float32 else -7
    spoilt[1][~MASK] = np.nan if target.dtype == np.float32 else 99
    expected = row.truth(double(prediction[MASK]), double(target[MASK]))
    value = row.metric(*spoilt, mask=mask)
    np.testing.assert_allclose(value, expected, **(EXACT if row.exact else SUMS))


@pytest.mark.parametrize("name", ROWS)
def test_a_nan_comes_out_as_nan(name):
    row = ROWS[name]
    spoilt = [np.array(part) for part in row.data]
    spoilt[0][np.flatnonzero(MASK)[1]] = np.nan
    value = row.metric.result(streamed(row.metric, spoilt, 20))
    assert np.isnan(value).all()
    assert np.shape(value) == np.shape(row.truth(*row.data))


@pytest.mark.parametrize("name", [n for n in ROWS if not ROWS[n].metric.grows])
def test_a_batch_does_not_change_what_a_state_is_made_of(name):
    row = ROWS[name]

    def kinds(state):
        leaves = map(jax.typeof, jax.tree.leaves(state))
        return [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in leaves]

    assert kinds(row.metric.empty()) == kinds(streamed(row.metric, row.data, 20))


@pytest.mark.parametrize("name", ROWS)
def test_no_data_has_no_value(name):
    metric = ROWS[name].metric
    value = metric.result(metric.empty())
    if name == "confusion":
        assert not value.any()
    elif isinstance(metric, (Precision, Recall, F1)):
        assert not np.any(value)  # nothing to divide by: zero_division
    else:
        assert np.isnan(value).all()


def test_a_metric_shows_the_call_that_makes_it_and_is_compared_by_its_options():
    assert repr(Accuracy()) == "Accuracy()"
    assert repr(F1(3, average=None)) == "F1(classes=3, average=None)"
    assert repr(MSE(of=softmax)) == "MSE(of=softmax)"
    assert F1(3) == F1(3) != F1(4)
    assert Precision(3) != Recall(3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Accuracy().threshold = 0.5


def test_update_is_compiled_and_takes_traced_labels():
    metric = Accuracy()
    update = jax.jit(metric.update)
    state = update(metric.empty(), LOGITS, jnp.array(LABELS))
    assert metric.result(state) == metric(LOGITS, LABELS)


@pytest.mark.parametrize("metric", [Accuracy(), TopKAccuracy(2), ConfusionMatrix(K), F1(K)])
@pytest.mark.parametrize("label", [-1, K])
def test_a_label_that_is_no_class_is_refused_or_traced_to_nan(metric, label):
    labels = LABELS.copy()
    labels[3] = label
    with pytest.raises(rs.RangeError, match="labels of at least 0 and below 5"):
        metric(LOGITS, labels)
    measured = rs.evaluate(rs.Chain(rs.identity), [(LOGITS, labels)], [metric])
    assert np.isnan(next(iter(measured.values()))).all()
