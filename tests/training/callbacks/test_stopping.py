# SPDX-License-Identifier: Apache-2.0
"""`EarlyStopping` fires on flat and on NaN scores; `TimeBudget` looks at the clock."""

import math
import time

import pytest

import rosin as rs
from rosin.errors import RangeError, StructureError
from rosin.training.callbacks import stopping
from tests.training.callbacks.helpers import Told, scored, train
from tests.training.toys import assert_same_bits, batches, loader

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("scores", "options", "epochs", "fires"),
    [
        ([3, 2, 1, 0, -1, -2], {"patience": 2}, 6, False),
        ([3, 3, 3, 3, 3, 3], {"patience": 2}, 3, True),
        ([NAN] * 6, {"patience": 2}, 2, True),
        ([3, NAN, NAN, 2], {"patience": 2}, 3, True),
        ([3, NAN, 2, NAN, 1, NAN], {"patience": 2}, 6, False),
        ([-INF, -INF, -INF], {"patience": 2}, 2, True),
        ([INF, INF, 1, 1], {"patience": 3}, 4, False),
        ([3, 2.96, 2.92, 2.88], {"patience": 2, "min_delta": 0.1}, 3, True),
        ([3, 2.96, 2.88, 2.84, 2.8], {"patience": 2, "min_delta": 0.1}, 5, True),
        ([1, 2, 3, 4], {"patience": 1}, 2, True),
        ([1, 2, 3, 3, 2], {"patience": 2, "mode": "max"}, 5, True),
        ([1, 2, 1, 3, 2], {"patience": 2, "mode": "max"}, 5, False),
        ([0.0, 0.0], {"patience": 1}, 2, True),
    ],
    ids=str,
)
def test_it_fires_after_so_many_epochs_without_an_improvement(scores, options, epochs, fires):
    result = scored(scores, rs.EarlyStopping("score", **options))
    assert len(result.history) == epochs
    assert bool(result.stopped) == fires


def test_the_reason_names_the_best():
    result = scored([1, 0.5, 0.5, 0.5], rs.EarlyStopping("score", patience=2))
    assert result.stopped == "no better score than 0.5 of epoch 2 in 2 epochs"
    result = scored([NAN, NAN, NAN], rs.EarlyStopping("score", patience=2))
    assert result.stopped == "no better score in 2 epochs"


def test_epochs_without_validation_do_not_count():
    def even(run):
        if run.epoch % 2:
            run.skip_validation()

    stop = rs.EarlyStopping(patience=2, min_delta=1e9)
    skip = Told(changes={"validation"}, on_epoch_begin=even)
    result = train(skip, stop, validation=batches(), epochs=20)
    assert len(result.history) == 6  # scores in epochs 2, 4 and 6


def test_the_model_of_the_best_epoch_is_restored():
    for scores, best in (([3, 1, 2, 2, 2], 2), ([3, 2, 1], 3), ([1, 2], 1)):
        stop = rs.EarlyStopping("score", patience=3, restore_best=True)
        result = scored(scores, stop)
        assert (stop.best_epoch, stop.best) == (best, min(scores))
        assert_same_bits(result.model, scored(scores[:best]).model)


def test_without_a_finite_score_the_model_is_the_last():
    result = scored([NAN, NAN], rs.EarlyStopping("score", restore_best=True))
    assert_same_bits(result.model, scored([NAN, NAN]).model)


def test_a_second_run_starts_anew():
    stop = rs.EarlyStopping("score", patience=2)
    assert len(scored([1, 1, 1, 1], stop).history) == 3
    assert len(scored([2, 2, 2, 2], stop).history) == 3


@pytest.mark.parametrize("restore_best", [True, False])
def test_a_run_goes_on_with_its_best_and_its_count(tmp_path, restore_best):
    scores = [3.0, 1.0, 2.0, 1.5, 1.25, 0.5]

    def run(until, path=None):
        stop = rs.EarlyStopping("score", patience=3, restore_best=restore_best)
        checkpoint = path and rs.Checkpoint(path, resume=True)
        result = scored(scores[:until], stop, checkpoint=checkpoint, data=loader())
        return result, stop.best_epoch, stop.best

    whole = run(6)
    assert len(whole[0].history) == 5
    for until in (1, 3, 4):
        path = tmp_path / f"{until}.safetensors"
        run(until, path)
        for _ in range(2):  # the second time it ended already
            resumed = run(6, path)
            assert_same_bits(resumed[0][:2], whole[0][:2])
            assert resumed[1:] == whole[1:]
            assert resumed[0].stopped == whole[0].stopped
            assert len(resumed[0].history) == 5


def test_a_run_without_the_callbacks_of_its_checkpoint_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    scored([1.0], rs.EarlyStopping("score"), checkpoint=path, data=loader())
    with pytest.raises(StructureError, match=r"unexpected: callbacks\[?.*EarlyStopping"):
        scored([1.0], checkpoint=rs.Checkpoint(path, resume=True), data=loader())


def test_a_column_that_is_not_there_is_refused():
    with pytest.raises(StructureError) as caught:
        train(rs.EarlyStopping())
    assert caught.value.subject == "EarlyStopping"
    assert 'monitor="loss"' in caught.value.fix
    assert len(caught.value.result.history) == 0
    with pytest.raises(StructureError) as caught:
        train(rs.EarlyStopping("validation_los"), validation=batches())
    assert "'validation_loss' is the nearest" in caught.value.fix


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"patience": 0}, RangeError),
        ({"patience": 1.5}, RangeError),
        ({"min_delta": -1}, RangeError),
        ({"min_delta": NAN}, RangeError),
        ({"min_delta": INF}, RangeError),
        ({"mode": "lowest"}, RangeError),
        ({"monitor": 1}, StructureError),
        ({"restore_best": 1}, StructureError),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options, kind):
    with pytest.raises(kind):
        rs.EarlyStopping(**options)


# --- the clock ------------------------------------------------------------------------


class Clock:
    """A clock that is one second further each time it is looked at."""

    now = 100.0

    def monotonic(self):
        self.now += 1
        return self.now


def test_the_budget_ends_at_the_first_step_after_it(monkeypatch):
    monkeypatch.setattr(stopping, "time", Clock())
    budget = rs.TimeBudget(4)
    result = train(budget, epochs=5)
    assert result.stopped == "the time budget of 4 s"
    assert_same_bits(result.model, train(data=batches()[:4]).model)
    assert_same_bits(train(budget, epochs=5).model, result.model)


def test_time_left_changes_nothing():
    began = time.monotonic()
    assert train(rs.TimeBudget(1e6)).stopped == ""
    assert time.monotonic() - began < 100


@pytest.mark.parametrize("seconds", [0, -1, NAN, INF, "1", True])
def test_a_budget_that_is_no_time_is_refused(seconds):
    with pytest.raises(RangeError):
        rs.TimeBudget(seconds)
