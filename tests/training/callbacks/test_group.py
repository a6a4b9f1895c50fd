# SPDX-License-Identifier: Apache-2.0
"""Who hears what and when, who may change what, and what is kept of callbacks."""

import pytest

import rosin as rs
from rosin.errors import StructureError
from tests.training.callbacks.helpers import Told, train
from tests.training.toys import batches, poisoned

EVENTS = ("on_train_begin", "on_epoch_begin", "on_step_end", "on_epoch_end", "on_train_end")


def noting(notes, name, *events, **declared):
    """Make a callback that notes the events it hears."""

    def hear(event):
        return lambda run: notes.append((name, event, run.step))

    return Told(**declared, **{event: hear(event) for event in events or EVENTS})


def test_events_come_in_order_and_callbacks_in_that_of_the_list():
    notes = []
    train(noting(notes, "a"), noting(notes, "b"), data=batches()[:2], epochs=2)
    assert [event for name, event, _ in notes if name == "a"] == [
        "on_train_begin",
        *["on_epoch_begin", "on_step_end", "on_step_end", "on_epoch_end"] * 2,
        "on_train_end",
    ]
    assert [name for name, _, _ in notes] == ["a", "b"] * (len(notes) // 2)


@pytest.mark.parametrize(
    ("declared", "sent"),
    [
        ({}, [1, 2, 3]),
        ({"reads": {"history"}, "changes": ("stop", "validation")}, [1, 2, 3]),
        ({"reads": {"loss"}}, [2, 3, 3]),
        ({"reads": {"loss"}, "changes": {"stop"}}, [1, 2, 3]),
        ({"reads": {"model"}}, [1, 2, 3]),
        ({"changes": {"learning_rate"}}, [1, 2, 3]),
    ],
    ids=str,
)
def test_only_a_reader_of_the_loss_hears_of_a_step_when_the_next_is_on_its_way(declared, sent):
    taken, heard = [], []

    def data():
        for number, batch in enumerate(batches()[:3]):
            taken.append(number)
            yield batch

    def hear(run):
        heard.append((run.step, len(taken)))

    train(Told(**declared, on_step_end=hear), data=data())
    assert heard == list(zip([1, 2, 3], sent, strict=True))


def test_a_callback_that_reads_no_loss_waits_for_no_step(monkeypatch):
    from rosin.training import run

    waited = []
    settle = run.Run.settle

    def noted(self, in_flight=0):
        waited.append(in_flight)
        settle(self, in_flight)

    monkeypatch.setattr(run.Run, "settle", noted)
    train(Told({"history"}, on_step_end=lambda run: None))
    assert waited == [1] * 6 + [0]
    waited.clear()
    train(Told({"model"}, on_step_end=lambda run: None))
    assert waited == [0, 1] * 6 + [0]


def test_the_loss_is_that_of_the_step_before_its_update():
    seen = []
    result = train(Told({"loss"}, on_step_end=lambda run: seen.append(run.loss)))
    sizes = [len(x) for x, _ in batches()]
    mean = sum(a * b for a, b in zip(seen, sizes, strict=True)) / sum(sizes)
    assert mean == pytest.approx(result.history["loss"][0], rel=1e-6)


def test_a_stop_in_the_middle_of_an_epoch_takes_no_further_step():
    def third(run):
        if run.step == 3:
            run.stop("three are enough")

    for reads in ((), {"loss"}, {"model"}):
        result = train(Told(reads, {"stop"}, on_step_end=third))
        assert result.stopped == "three are enough"
        assert len(result.history) == 0
        assert rs.equal(result.model, train(data=batches()[:3]).model)


def test_steps_that_are_skipped_are_told_of_too():
    for reads in ((), {"loss"}, {"model"}):
        steps = []
        callback = Told(reads, on_step_end=lambda run, s=steps: s.append(run.step))
        train(callback, data=[batches()[0], poisoned(batches()[1])], on_nonfinite="skip")
        assert steps == [1, 2]


def test_a_step_that_ends_training_is_not_told_of_where_it_was_waited_for():
    steps = []
    callback = Told({"model"}, on_step_end=lambda run: steps.append(run.step))
    train(callback, data=[batches()[0], poisoned(batches()[1])], on_nonfinite="stop")
    assert steps == [1]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_the_end_is_heard_after_an_exception_too(error):
    ends = []

    def fail(run):
        raise error

    with pytest.raises(error):
        train(Told(on_epoch_end=fail), Told(on_train_end=lambda run: ends.append(run.stopped)))
    assert ends == [error.__name__]


def test_an_end_that_fails_does_not_hide_what_ended_the_training():
    def fail(run):
        raise ValueError("the first" if run.stopped == "" else "the second")

    with pytest.raises(ValueError, match="the first") as caught:
        train(Told(on_epoch_end=fail, on_train_end=fail))
    assert caught.value.__notes__ == [
        "in the callback Told, on_epoch_end",
        "a callback could not end: ValueError: the second",
    ]


def test_an_end_that_fails_is_told_once():
    ends = []

    def fail(run):
        ends.append(run.stopped)
        raise ValueError("at the end")

    with pytest.raises(ValueError, match="at the end") as caught:
        train(Told(on_train_end=fail))
    assert ends == [""]
    assert len(caught.value.result.history) == 1


# --- refusals -------------------------------------------------------------------------


def test_two_that_change_one_thing_are_refused():
    for thing in ("learning_rate", "model"):
        with pytest.raises(StructureError) as caught:
            train(Told(changes={thing}), rs.Callback(), Told(changes={thing, "stop"}))
        assert caught.value.expected == f"one callback that changes {thing}"
        assert caught.value.got == "two: Told and Told_2"


def test_a_change_of_what_the_optimiser_does_not_have_is_refused_with_the_nearest():
    with pytest.raises(StructureError) as caught:
        train(Told(changes={"learning_rte"}))
    assert "'learning_rate' is the nearest" in caught.value.fix
    assert "validation" in caught.value.expected


@pytest.mark.parametrize("given", [3, "print", print, [print], [None], Told])
def test_what_is_no_callback_is_refused(given):
    with pytest.raises(StructureError, match=r"derived from rs\.Callback"):
        rs.train(
            lambda w, x: (w * x).sum(),
            1.0 * batches()[0][0][0],
            batches(),
            rs.setup(rs.Descent(0.1), batches()[0][0][0]),
            callbacks=given,
        )


def test_a_class_in_place_of_an_object_is_told_apart():
    with pytest.raises(StructureError, match=r"call it: Told\(\)"):
        train(Told)


def test_declarations_on_an_object_are_checked_when_the_run_begins():
    with pytest.raises(StructureError, match="reads among"):
        train(Told({"modle"}))
