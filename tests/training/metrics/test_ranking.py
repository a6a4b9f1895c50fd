# SPDX-License-Identifier: Apache-2.0
"""AUROC and average precision: ties, hostile data, and the statistic by its definition."""

import math
from fractions import Fraction

import numpy as np
import pytest
from sklearn import metrics as sk

import rosin as rs
from rosin.training.metrics import AUROC, AveragePrecision

RNG = np.random.default_rng(2)


def by_pairs(scores, answers):
    yes, no = scores[answers == 1], scores[answers == 0]
    higher = (yes[:, None] > no).sum() + Fraction(1, 2) * int((yes[:, None] == no).sum())
    return float(Fraction(higher) / (len(yes) * len(no)))


CASES = {
    "many ties": RNG.integers(0, 4, 200).astype(np.float32),
    "no ties": RNG.permutation(200).astype(np.float32),
    "all equal": np.ones(200, np.float32),
    "infinite": np.where(RNG.uniform(size=200) < 0.3, np.inf, -np.inf).astype(np.float32),
    "both zeros": np.where(RNG.uniform(size=200) < 0.5, 0.0, -0.0).astype(np.float32),
    "tiny": RNG.permutation(200).astype(np.float32) * np.float32(1e-40),
}
ANSWERS = (RNG.uniform(size=200) < 0.3).astype(np.int8)


@pytest.mark.parametrize("case", CASES)
def test_auroc_is_the_share_of_pairs_in_order(case):
    assert AUROC()(CASES[case], ANSWERS) == by_pairs(CASES[case], ANSWERS)


@pytest.mark.parametrize("case", [case for case in CASES if case != "infinite"])
def test_average_precision_is_that_of_scikit_learn(case):
    expected = sk.average_precision_score(ANSWERS, CASES[case])
    assert AveragePrecision()(CASES[case], ANSWERS) == pytest.approx(expected, rel=1e-14)


def test_the_order_of_the_data_changes_no_bit():
    order = RNG.permutation(200)
    for metric in (AUROC(), AveragePrecision()):
        value = metric(CASES["many ties"], ANSWERS)
        assert metric(CASES["many ties"][order], ANSWERS[order]) == value


@pytest.mark.parametrize(("answer", "precision"), [(0, math.nan), (1, 1.0)])
def test_with_answers_of_one_kind_auroc_is_not_defined(answer, precision):
    answers = np.full(5, answer)
    assert math.isnan(AUROC()(CASES["tiny"][:5], answers))
    np.testing.assert_equal(AveragePrecision()(CASES["tiny"][:5], answers), precision)


def test_an_answer_that_is_none_is_refused_or_traced_to_nan():
    data = (np.ones(3, np.float32), np.array([0, 1, 2]))
    with pytest.raises(rs.RangeError):
        AUROC()(*data)
    measured = rs.evaluate(rs.Chain(rs.identity), [data], AUROC())
    assert math.isnan(measured["AUROC"])


def test_a_state_takes_five_bytes_for_each_score():
    state = AUROC().update(AUROC().empty(), CASES["tiny"], ANSWERS)
    assert sum(leaf.nbytes for leaf in state[0]) == 5 * 200


def test_evaluate_keeps_the_scores_on_the_host(monkeypatch):
    states = []
    monkeypatch.setattr(AUROC, "result", lambda self, state: states.append(state) or 0.0)
    batches = [(CASES["tiny"][i : i + 40], ANSWERS[i : i + 40]) for i in range(0, 200, 40)]
    rs.evaluate(rs.Chain(rs.identity), batches, AUROC())
    assert len(states[0]) == 5
    assert all(type(chunk.scores) is np.ndarray for chunk in states[0])


# --- several classes ------------------------------------------------------------------

LOGITS = RNG.normal(size=(90, 4)).astype(np.float32) * 3
LABELS = RNG.integers(0, 4, 90)
MANY = (RNG.uniform(size=(90, 4)) < 0.4).astype(np.float32)


def softmax(x):
    e = np.exp(np.float64(x) - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("average", ["macro", "weighted", None])
@pytest.mark.parametrize("metric", [AUROC, AveragePrecision])
def test_classes_against_the_rest_and_several_labels_are_as_in_scikit_learn(metric, average):
    score = {AUROC: sk.roc_auc_score, AveragePrecision: sk.average_precision_score}[metric]
    given = metric(4, average=average)
    against = score(np.eye(4)[LABELS], softmax(LOGITS), average=average)
    np.testing.assert_allclose(given(LOGITS, LABELS), against, rtol=1e-14)
    several = score(MANY, LOGITS, average=average)
    np.testing.assert_allclose(given(LOGITS, MANY), several, rtol=1e-14)


def test_classes_that_a_probability_would_tie_are_told_apart():
    sure = np.float32([[90, 0], [95, 0], [300, 0]])
    assert len(set(softmax(sure)[:, 0].tolist())) == 1
    logits, labels = np.concatenate([sure, sure - 89]), np.array([1, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(AUROC(2, average=None)(logits, labels), [6 / 8, 6 / 8])


def test_a_class_that_never_occurs_has_no_value():
    metric = AUROC(4, average=None)
    state = metric.update((), LOGITS, np.minimum(LABELS, 2))
    assert np.isnan(metric.result(state)).tolist() == [False, False, False, True]
    assert math.isnan(AUROC(4).result(state))
    weighted = AUROC(4, average="weighted").result(state)
    expected = [
        sk.roc_auc_score(np.minimum(LABELS, 2) == k, softmax(LOGITS)[:, k]) for k in (0, 1, 2)
    ]
    shares = np.bincount(np.minimum(LABELS, 2))
    assert weighted == pytest.approx(np.average(expected, weights=shares), rel=1e-12)
    assert np.isnan(metric.result(metric.empty())).all()


@pytest.mark.parametrize("label", [-1, 4])
def test_rows_that_do_not_count_and_labels_that_are_none(label):
    labels, mask = LABELS.copy(), np.arange(90) != 7
    labels[7] = label
    expected = AUROC(4)(np.delete(LOGITS, 7, 0), np.delete(LABELS, 7))
    assert AUROC(4)(LOGITS, labels, mask) == pytest.approx(expected, rel=1e-15)
    with pytest.raises(rs.RangeError):
        AUROC(4)(LOGITS, labels)
    assert math.isnan(rs.evaluate(rs.Chain(rs.identity), [(LOGITS, labels)], AUROC(4))["AUROC"])


REFUSED = {
    "an average of one": (lambda: AUROC(average=None), rs.RangeError),
    "a micro average": (lambda: AUROC(3, average="micro"), rs.RangeError),
    "one class": (lambda: AUROC(1), rs.RangeError),
    "other classes": (lambda: AUROC(3)(LOGITS, LABELS), rs.ShapeError),
    "other columns": (lambda: AUROC(3)(LOGITS, MANY), rs.ShapeError),
    "labels to rank": (lambda: AUROC(4)(LABELS, LABELS), rs.DtypeError),
    "labels of floats": (lambda: AUROC(4)(LOGITS, LABELS * 1.0), rs.DtypeError),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    make, error = REFUSED[case]
    with pytest.raises(error):
        make()
