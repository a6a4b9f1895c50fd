# SPDX-License-Identifier: Apache-2.0
"""Accuracy, top-k, confusion, precision, recall, F1: ties, hostile input, options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sk

import rosin as rs
from rosin.errors import DtypeError, RangeError, ShapeError, StructureError
from rosin.training.metrics import (
    F1,
    Accuracy,
    ConfusionMatrix,
    Precision,
    Recall,
    TopKAccuracy,
    accuracy,
    top_k_accuracy,
)

RNG = np.random.default_rng(1)
LOGITS = RNG.normal(size=(7, 3)).astype(np.float32)
LABELS = np.array([0, 1, 2, 2, 1, 0, 2])
TIES = np.array([[1, 1, 0], [0, 1, 1], [2, 2, 2], [0, 0, 1]], np.float32)


# --- one batch ------------------------------------------------------------------------


def test_the_functions_of_one_batch_are_the_metrics_of_it():
    assert accuracy(LOGITS, LABELS) == np.float32(Accuracy()(LOGITS, LABELS))
    assert rs.accuracy(LOGITS.argmax(1), LABELS) == accuracy(LOGITS, LABELS)
    assert top_k_accuracy(LOGITS, LABELS, 2) == np.float32(TopKAccuracy(2)(LOGITS, LABELS))
    assert top_k_accuracy(LOGITS, LABELS, 3) == 1
    assert accuracy(LOGITS[:, 0], LABELS > 0, threshold=0.0) == np.float32(
        ((LOGITS[:, 0] > 0) == (LABELS > 0)).mean()
    )


def test_the_functions_are_traced():
    compiled = jax.jit(lambda x, y: (accuracy(x, y), top_k_accuracy(x, y, 2)))
    np.testing.assert_array_equal(
        compiled(LOGITS, LABELS), [accuracy(LOGITS, LABELS), top_k_accuracy(LOGITS, LABELS, 2)]
    )
    wrong = LABELS.copy()
    wrong[0] = 3
    assert np.isnan(compiled(LOGITS, wrong)).all()


def test_what_does_not_count_is_not_judged():
    labels, mask = np.array([0, -100, 2, 9, 1, 0, 2]), np.arange(7) != 3
    rows = np.array([0, 2, 4, 5, 6])
    expected = (LOGITS.argmax(1) == labels)[rows].mean()
    for metric in (accuracy, lambda *a, **k: Accuracy(ignore_index=-100)(*a, mask=k["mask"])):
        options = {} if metric is not accuracy else {"ignore_index": -100}
        assert metric(LOGITS, labels, mask=mask, **options) == pytest.approx(expected)
    assert np.isnan(accuracy(LOGITS, LABELS, mask=np.zeros(7, bool)))


def test_of_equal_predictions_the_first_class_comes_first():
    labels = np.array([0, 1, 0, 2])
    assert Accuracy()(TIES, labels) == 1
    assert TopKAccuracy(1)(TIES, labels) == 1
    assert TopKAccuracy(1)(TIES, np.array([1, 2, 1, 0])) == 0
    assert TopKAccuracy(2)(TIES, np.array([1, 2, 1, 0])) == 1
    assert TopKAccuracy(2)(TIES, np.array([2, 0, 2, 1])) == 0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_is_compared_as_it_is(dtype):
    assert Accuracy()(jnp.asarray(TIES, dtype), np.array([0, 1, 0, 2])) == 1


def test_infinite_logits_are_numbers():
    logits = np.array([[-np.inf, 0.0], [np.inf, 3.0]], np.float32)
    assert Accuracy()(logits, np.array([1, 0])) == 1


def test_labels_of_a_small_dtype_are_compared_as_numbers():
    logits = np.eye(300, dtype=np.float32)[[299, 44]]
    assert Accuracy()(logits, np.array([43, 44], np.uint8)) == 0.5  # 299 is 43 in 8 bits


def test_axes_in_front_are_all_rows():
    x, y = LOGITS[:6].reshape(2, 3, 3), LABELS[:6].reshape(2, 3)
    assert Accuracy()(x, y) == Accuracy()(LOGITS[:6], LABELS[:6])
    np.testing.assert_array_equal(
        ConfusionMatrix(3)(x, y), ConfusionMatrix(3)(x[0], y[0]) + ConfusionMatrix(3)(x[1], y[1])
    )


# --- averages -------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [Precision, Recall, F1])
@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
@pytest.mark.parametrize("zero_division", [0.0, 1.0, np.nan])
def test_averages_and_divisions_by_zero_are_those_of_scikit_learn(cls, average, zero_division):
    target, predicted = np.array([0, 0, 1, 2, 2, 4]), np.array([0, 1, 1, 0, 3, 0])
    score = {Precision: sk.precision_score, Recall: sk.recall_score, F1: sk.f1_score}[cls]
    expected = score(
        target, predicted, average=average, labels=range(6), zero_division=zero_division
    )
    state = SCORED.setdefault(cls, cls(6).update(cls(6).empty(), predicted, target))
    metric = cls(6, average=average, zero_division=zero_division)
    np.testing.assert_allclose(metric.result(state), expected, rtol=1e-15)


SCORED = {}


def test_where_no_row_counts_the_weights_are_none():
    empty = F1(3).empty()
    assert np.isnan(F1(3, average="weighted", zero_division=np.nan).result(empty))
    assert F1(3, average="weighted", zero_division=1.0).result(empty) == 1


def test_several_labels_are_judged_class_by_class():
    target = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0]])
    got = Recall(3, threshold=0.5, average=None)(np.float32([[0.9, 0.6, 0.4]] * 3), target)
    np.testing.assert_array_equal(got, [1, 1, 0])


@pytest.mark.parametrize("normalise", [None, "target", "prediction", "all"])
def test_confusion_is_normalised_as_in_scikit_learn(normalise):
    target, predicted = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 0, 2])
    named = {"target": "true", "prediction": "pred"}.get(normalise, normalise)
    expected = sk.confusion_matrix(target, predicted, normalize=named)
    got = ConfusionMatrix(3, normalise=normalise)(predicted, target)
    np.testing.assert_allclose(got, expected, rtol=1e-15)
    assert got.dtype == (np.int64 if normalise is None else np.float64)


def test_confusion_of_a_yes_or_a_no():
    logits, target = np.float32([0.5, -1, 2, -0.5]), np.float32([1, 1, 0, 0])
    got = ConfusionMatrix(2, threshold=0.0)(logits, target)
    np.testing.assert_array_equal(got, sk.confusion_matrix(target, logits > 0))


@pytest.mark.parametrize("score", ["precision", "recall", "f1"])
def test_scores_of_a_yes_or_a_no(score):
    logits, target = np.float32([0.5, 0.7, 0.9, 0.2, 0.6]), np.array([1, 1, 0, 1, 1])
    metric = {"precision": Precision, "recall": Recall, "f1": F1}[score](threshold=0.55)
    assert metric(logits, target) == getattr(sk, f"{score}_score")(target, logits > 0.55)


def test_a_class_that_never_occurs_has_no_share():
    got = ConfusionMatrix(3, normalise="target")(np.array([0, 1]), np.array([0, 0]))
    np.testing.assert_array_equal(got, [[0.5, 0.5, 0], [np.nan] * 3, [np.nan] * 3])


# --- what is refused ------------------------------------------------------------------

ONE = np.ones((4, 1), np.float32)
REFUSED = {
    "labels of floats": (Accuracy(), (LOGITS, LABELS.astype("f4")), DtypeError, "integer dtype"),
    "labels that are one-hot": (Accuracy(), (LOGITS, np.eye(3)[LABELS]), DtypeError, "integer"),
    "truths as labels": (Accuracy(), (LOGITS, LABELS > 0), DtypeError, "integer dtype"),
    "logits that are complex": (Accuracy(), (LOGITS * 1j, LABELS), DtypeError, "real"),
    "truths as predictions": (Accuracy(), (LOGITS > 0, LABELS), DtypeError, "floating"),
    "a label short": (Accuracy(), (LOGITS, LABELS[:-1]), ShapeError, r"shape \(7,\)"),
    "labels with an axis": (Accuracy(), (LOGITS, LABELS[:, None]), ShapeError, r"shape \(7,\)"),
    "one class": (Accuracy(), (ONE, np.zeros(4, int)), ShapeError, "at least two classes"),
    "one number": (Accuracy(), (np.float32(1), np.int32(0)), ShapeError, "two classes"),
    "a mask of numbers": (Accuracy(), (LOGITS, LABELS, LABELS), DtypeError, "a label counts"),
    "a mask short": (Accuracy(), (LOGITS, LABELS, LABELS[1:] > 0), ShapeError, r"shape \(7,\)"),
    "shapes that would broadcast": (
        Accuracy(threshold=0.0),
        (ONE, np.ones(4)),
        ShapeError,
        "equal shape",
    ),
    "answers between": (F1(), (ONE, ONE * 0.5), RangeError, "0 for a no and 1 for a yes"),
    "answers that are labels": (F1(), (LABELS * 1.0, LABELS), RangeError, "leave threshold out"),
    "complex answers": (F1(), (ONE, ONE * 1j), DtypeError, "answers"),
    "other classes": (F1(4), (LOGITS, LABELS), ShapeError, r"shape \(..., 4\)"),
    "labels beyond": (F1(2), (LABELS, LABELS), RangeError, "below 2"),
    "predicted labels beyond": (
        ConfusionMatrix(3),
        (LABELS + 1, LABELS),
        RangeError,
        "1 to 3 in the prediction",
    ),
    "columns that are no classes": (
        Recall(4, threshold=0.0),
        (LOGITS, LOGITS > 0),
        ShapeError,
        r"shape \(..., 4\)",
    ),
    "more than there are": (TopKAccuracy(4), (LOGITS, LABELS), RangeError, "at least k=4"),
    "the top of labels": (TopKAccuracy(1), (LABELS, LABELS), RangeError, "in place of labels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    metric, inputs, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        metric(*inputs)


OPTIONS = {
    "k of 0": (lambda: TopKAccuracy(0), RangeError),
    "k of 1.5": (lambda: TopKAccuracy(1.5), RangeError),
    "one class": (lambda: F1(1), RangeError),
    "no class": (lambda: ConfusionMatrix(0), RangeError),
    "an unknown average": (lambda: F1(3, average="mean"), RangeError),
    "an average of one score": (lambda: F1(average="micro"), RangeError),
    "an index of one score": (lambda: F1(ignore_index=0), RangeError),
    "a text as threshold": (lambda: Accuracy(threshold="0"), RangeError),
    "NaN as threshold": (lambda: Accuracy(threshold=np.nan), RangeError),
    "a threshold among classes": (lambda: ConfusionMatrix(3, threshold=0.0), RangeError),
    "a threshold and an index": (lambda: Accuracy(threshold=0.0, ignore_index=1), StructureError),
    "half an index": (lambda: Accuracy(ignore_index=0.5), StructureError),
    "another norm": (lambda: ConfusionMatrix(3, normalise="true"), RangeError),
    "a score of 2": (lambda: F1(3, zero_division=2), RangeError),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_out_of_range_are_refused(case):
    make, error = OPTIONS[case]
    with pytest.raises(error):
        make()
