# SPDX-License-Identifier: Apache-2.0
"""A function as a callback, and a callback told less often."""

import pytest

import rosin as rs
from rosin.errors import RangeError, StructureError
from rosin.training.callbacks import functions
from tests.training.callbacks.helpers import Told, scored, train


def test_a_function_is_called_after_so_many_steps_or_epochs():
    steps, epochs = [], []
    train(
        rs.every(4, lambda run: steps.append((run.epoch, run.step))),
        rs.every(2, lambda run: epochs.append(run.epoch), unit="epochs"),
        epochs=4,
    )
    assert steps == [(1, 4), (2, 8), (2, 12), (3, 16), (4, 20), (4, 24)]
    assert epochs == [2, 4]


def test_a_function_has_what_is_declared_for_it_and_its_own_name():
    def halve(run):
        run.adjust(learning_rate=run.hyperparameters["learning_rate"] / 2)

    declared = {"reads": {"hyperparameters"}, "changes": {"learning_rate"}}
    result = train(rs.every(3, halve, **declared), rule=rs.Descent(0.5))
    assert float(result.opt_state.rule.learning_rate) == 0.125
    with pytest.raises(StructureError) as caught:
        train(rs.every(3, halve))
    assert caught.value.subject == "halve in on_step_end"


def test_only_the_steps_that_are_due_are_waited_for(monkeypatch):
    from rosin.training import run

    waited = []
    settle = run.Run.settle

    def noted(self, in_flight=0):
        waited.append(in_flight)
        settle(self, in_flight)

    monkeypatch.setattr(run.Run, "settle", noted)
    train(rs.every(3, lambda run: None, reads={"model"}))
    assert waited == [1, 1, 0, 1, 1, 1, 0, 1, 0]


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def monotonic(self):
        return self.now


@pytest.mark.parametrize("reads", [(), {"loss"}, {"model"}])
def test_a_throttled_callback_hears_of_steps_so_many_seconds_apart(monkeypatch, reads):
    clock, heard = Clock(), []
    monkeypatch.setattr(functions, "time", clock)

    def tick(run):
        clock.now += 1

    inner = Told(reads, on_step_end=lambda run: heard.append(run.step))
    train(Told(reads, on_step_end=tick), rs.Throttle(inner, 2.5))
    assert heard == [1, 4]


def test_a_throttled_callback_hears_of_all_else_and_keeps_its_state():
    stop = rs.EarlyStopping("score", patience=2)
    throttled = rs.Throttle(stop, 1000)
    assert len(scored([1, 1, 1, 1], throttled).history) == 3
    assert throttled.state == stop.state != {}
    throttled.restore({**stop.state, "best": -1.0})
    assert stop.best == -1.0


def test_a_throttled_function_is_asked_only_when_it_is_due(monkeypatch):
    clock, heard = Clock(), []
    monkeypatch.setattr(functions, "time", clock)
    train(rs.Throttle(rs.every(4, lambda run: heard.append(run.step)), 1))
    assert heard == [4]


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: rs.every(0, print), RangeError),
        (lambda: rs.every(print, 5), RangeError),
        (lambda: rs.every(5, "print"), StructureError),
        (lambda: rs.every(5, print, unit="batches"), RangeError),
        (lambda: rs.Throttle(print, 5), StructureError),
        (lambda: rs.Throttle(rs.Callback(), 0), RangeError),
        (lambda: rs.Throttle(rs.Callback(), float("inf")), RangeError),
    ],
)
def test_arguments_out_of_range_are_refused(make, kind):
    with pytest.raises(kind):
        make()
