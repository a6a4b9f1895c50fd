# SPDX-License-Identifier: Apache-2.0
"""What a callback may be called, and what is checked when its class is defined."""

import pytest

import rosin as rs
from rosin.errors import StructureError
from rosin.training.callbacks.base import EVENTS, events_of


def test_only_events_that_a_class_defines_are_heard():
    class Some(rs.Callback):
        def on_step_end(self, run):
            pass

        def on_train_end(self, run):
            pass

    assert events_of(Some()) == {"on_step_end", "on_train_end"}
    assert events_of(rs.Callback()) == frozenset()


def test_an_event_may_be_set_on_the_object():
    one = rs.Callback()
    one.on_epoch_end = print
    assert events_of(one) == {"on_epoch_end"}


def test_an_event_of_another_name_is_refused_with_the_known_ones():
    with pytest.raises(StructureError) as caught:
        type("Mistaken", (rs.Callback,), {"on_epoch_ends": lambda self, run: None})
    error = caught.value
    assert error.subject == "Mistaken"
    assert all(event in error.expected for event in EVENTS)
    assert "'on_epoch_end' is the nearest" in error.fix


def test_a_value_may_begin_with_on():
    assert type("Fine", (rs.Callback,), {"on_gpu": True}).on_gpu


@pytest.mark.parametrize("event", [lambda self: None, lambda self, run, loss: None])
def test_an_event_that_takes_other_arguments_is_refused(event):
    with pytest.raises(StructureError) as caught:
        type("Mistaken", (rs.Callback,), {"on_epoch_end": event})
    assert caught.value.subject == "Mistaken.on_epoch_end"
    assert "def on_epoch_end(self, run)" in caught.value.fix


@pytest.mark.parametrize(
    "declared",
    [
        {"reads": {"hystory"}},
        {"reads": "history"},
        {"reads": {1}},
        {"changes": "stop"},
        {"changes": [None]},
        {"reads": {"stop"}},
    ],
    ids=str,
)
def test_declarations_are_checked_when_the_class_is_defined(declared):
    with pytest.raises(StructureError) as caught:
        type("Mistaken", (rs.Callback,), declared)
    assert caught.value.subject == "Mistaken"


def test_a_name_that_cannot_be_read_gets_the_nearest():
    with pytest.raises(StructureError, match="'history' is the nearest"):
        type("Mistaken", (rs.Callback,), {"reads": {"hystory"}})
