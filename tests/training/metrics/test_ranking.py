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
