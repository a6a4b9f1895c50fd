# SPDX-License-Identifier: Apache-2.0
"""What a callback gets: what it declared, as a copy, during the event; and nothing else."""

import jax
import numpy as np
import pytest

import rosin as rs
from rosin.errors import RangeError, StateError, StructureError
from tests.training.callbacks.helpers import Told, train
from tests.training.compilations import compilations
from tests.training.toys import assert_same_bits, batches, copied, net

# --- reading --------------------------------------------------------------------------


def test_epoch_step_and_end_are_open_to_all():
    seen = []

    def look(run):
        seen.append((run.epoch, run.epochs, run.step, run.stopped))

    train(
        Told(on_train_begin=look, on_epoch_begin=look, on_epoch_end=look, on_train_end=look),
        epochs=2,
    )
    assert seen == [
        (0, 2, 0, ""),
        (1, 2, 0, ""),
        (1, 2, 6, ""),
        (2, 2, 6, ""),
        (2, 2, 12, ""),
        (2, 2, 12, ""),
    ]


def test_the_history_is_a_copy_with_the_row_of_the_epoch_that_ends():
    seen = []

    def look(run):
        assert run.history.rows[-1] == run.row
        seen.append(run.row["loss"])
        run.history.rows.clear()
        run.row.clear()
        run.history.rows[0]["loss"] = 7

    result = train(Told({"history"}, on_epoch_end=look), epochs=3, validation=batches())
    assert result.history["loss"].tolist() == seen
    assert "validation_loss" in result.history.columns


def test_before_the_first_epoch_the_row_is_empty():
    train(
        Told(
            {"history"},
            on_epoch_begin=lambda run: run.row == {} or pytest.fail("no row is there yet"),
        )
    )


def test_the_model_is_a_copy_that_stays():
    kept = []

    def look(run):
        kept.append((run.model, run.opt_state))

    result = train(Told({"model", "opt_state"}, on_step_end=look))
    alone = [train(data=batches()[: n + 1]) for n in range(6)]
    for seen, expected in zip(kept, alone, strict=True):
        assert_same_bits(seen, expected[:2])
    jax.tree.map(lambda leaf: leaf.delete(), kept[-1])
    copied(result.model)


def test_hyperparameters_are_named_by_their_place():
    seen = []
    rule = {
        "layers[0]": rs.OptimiserChain(rs.ClipNorm(1.0), rs.Momentum(rs.Exp(0.5, decay=0.5))),
        "**": rs.Descent(0.25),
    }
    train(
        Told({"hyperparameters"}, on_epoch_end=lambda run: seen.append(run.hyperparameters)),
        rule=rule,
    )
    assert seen[0] == pytest.approx(
        {
            "layers[0].ClipNorm.max_norm": 1.0,
            "layers[0].Momentum.learning_rate": 0.5**7,
            "layers[0].Momentum.momentum": 0.9,
            "**.learning_rate": 0.25,
        }
    )


# --- changing -------------------------------------------------------------------------


def test_a_hyperparameter_is_adjusted_without_compiling_anything():
    rates = [0.05, 0.5, 0.005]

    def set_rate(run):
        run.adjust(learning_rate=rates[run.epoch - 1])

    callback = Told(changes={"learning_rate"}, on_epoch_begin=set_rate)
    train(callback)
    with compilations() as compiled:
        result = train(callback, epochs=3)
    assert not compiled
    model, opt_state = net(), None
    for rate in rates:
        opt_state = rs.setup(rs.Descent(0.05), model) if opt_state is None else opt_state
        model, opt_state = train(model=model, rule=rs.Descent(rate))[:2]
    assert_same_bits(result.model, model)
    assert float(result.opt_state.rule.learning_rate) == np.float32(0.005)


def test_the_first_reason_to_stop_is_kept():
    def stop(reason):
        return Told(changes={"stop"}, on_epoch_end=lambda run: run.stop(reason))

    result = train(stop("enough"), stop("more than enough"), epochs=5)
    assert result.stopped == "enough"
    assert len(result.history) == 1


def test_a_run_may_be_stopped_before_it_begins():
    result = train(Told(changes={"stop"}, on_train_begin=lambda run: run.stop("no")))
    assert_same_bits(result.model, net())
    assert (result.stopped, len(result.history)) == ("no", 0)


def test_validation_is_skipped_for_one_epoch():
    def rarely(run):
        if run.epoch % 2:
            run.skip_validation()

    callback = Told(changes={"validation"}, on_epoch_begin=rarely)
    history = train(callback, epochs=4, validation=batches()).history
    assert np.isnan(history["validation_loss"]).tolist() == [True, False, True, False]


def test_a_model_put_in_place_is_trained_on_and_stays_the_callbacks_own():
    other = net(5)
    callback = Told(changes={"model"}, on_epoch_begin=lambda run: run.replace_model(other))
    assert_same_bits(train(callback).model, train(model=other).model)
    assert_same_bits(other, net(5))


def test_a_model_put_in_place_at_the_end_is_the_result():
    other = net(5)
    callback = Told(changes={"model"}, on_train_end=lambda run: run.replace_model(other))
    assert_same_bits(train(callback).model, other)


def test_a_later_callback_sees_what_an_earlier_one_changed():
    seen = []
    train(
        Told(changes={"learning_rate"}, on_epoch_end=lambda run: run.adjust(learning_rate=0.125)),
        Told({"hyperparameters"}, on_epoch_end=lambda run: seen.append(run.hyperparameters)),
    )
    assert seen == [{"learning_rate": 0.125}]


def test_an_event_that_fails_half_way_changes_nothing():
    def fail(run):
        raise ValueError("a mistake")

    with pytest.raises(ValueError, match="mistake") as caught:
        train(
            Told(changes={"learning_rate"}, on_epoch_end=lambda run: run.adjust(learning_rate=9.0)),
            Told(on_epoch_end=fail),
        )
    assert caught.value.__notes__ == ["in the callback Told_2, on_epoch_end"]
    assert float(caught.value.result.opt_state.rule.learning_rate) == np.float32(0.05)
    assert len(caught.value.result.history) == 0


# --- refusals -------------------------------------------------------------------------

UNDECLARED = {
    "loss": lambda run: run.loss,
    "history": lambda run: run.history,
    "row": lambda run: run.row,
    "model": lambda run: run.model,
    "opt_state": lambda run: run.opt_state,
    "hyperparameters": lambda run: run.hyperparameters,
    "save": lambda run: run.save("a"),
    "stop": lambda run: run.stop("a"),
    "skip_validation": lambda run: run.skip_validation(),
    "learning_rate": lambda run: run.adjust(learning_rate=1.0),
    "replace_model": lambda run: run.replace_model(None),
}


@pytest.mark.parametrize("attribute", UNDECLARED)
def test_what_is_not_declared_is_refused_with_callback_event_attribute_and_remedy(attribute):
    with pytest.raises(StructureError) as caught:
        train(Told(on_step_end=UNDECLARED[attribute]))
    error = caught.value
    assert error.subject == "Told in on_step_end"
    assert error.got == f"a use of {attribute}"
    assert error.fix.startswith("declare ")
    assert error.result.model is not None


def test_the_remedy_names_what_is_declared_already():
    with pytest.raises(StructureError) as caught:
        train(Told({"history"}, on_epoch_end=lambda run: run.model))
    assert 'declare reads = {"history", "model"}' in caught.value.fix


def test_what_a_view_does_not_have_is_refused_with_what_it_has():
    for use in (lambda run: run.modle, lambda run: run._run, lambda run: run.rows):
        with pytest.raises(StructureError) as caught:
            train(Told(on_epoch_end=use))
        assert "replace_model" in caught.value.expected
        assert "close" not in caught.value.expected


def test_a_view_takes_no_assignment():
    with pytest.raises(StructureError, match="an assignment to 'model'"):
        train(Told({"model"}, on_epoch_end=lambda run: setattr(run, "model", None)))


def test_a_view_serves_its_event_only():
    kept = []
    train(Told({"history"}, on_epoch_end=kept.append))
    with pytest.raises(StateError, match="after on_epoch_end had returned"):
        kept[0].history


WRONG_MOMENT = {
    "loss": ({"loss"}, (), "on_epoch_end", lambda run: run.loss),
    "checkpoint": ((), (), "on_epoch_end", lambda run: run.checkpoint),
    "save": ({"checkpoint"}, (), "on_epoch_begin", lambda run: run.save("a")),
    "stop": ((), {"stop"}, "on_train_end", lambda run: run.stop("a")),
    "skip": ((), {"validation"}, "on_epoch_end", lambda run: run.skip_validation()),
    "adjust": ((), {"learning_rate"}, "on_train_end", lambda run: run.adjust(learning_rate=1.0)),
}


@pytest.mark.parametrize("case", WRONG_MOMENT)
def test_what_comes_at_the_wrong_moment_is_refused(case):
    reads, changes, event, use = WRONG_MOMENT[case]
    with pytest.raises(StateError, match=f"a use in {event}"):
        train(Told(reads, changes, **{event: use}))


def test_a_rate_out_of_range_is_refused_as_by_adjust():
    for value, kind in (
        (-1.0, RangeError),
        ("fast", StructureError),
        (rs.Constant(1.0), StructureError),
    ):
        with pytest.raises(kind):
            train(
                Told(
                    changes={"learning_rate"},
                    on_epoch_end=lambda run, v=value: run.adjust(learning_rate=v),
                )
            )


def test_a_schedule_is_not_overruled():
    with pytest.raises(StructureError, match="a schedule, which decides on it already"):
        train(
            Told(changes={"learning_rate"}, on_epoch_end=lambda run: run.adjust(learning_rate=1.0)),
            rule=rs.Descent(rs.Exp(0.1, decay=0.5)),
        )


@pytest.mark.parametrize("model", [None, rs.f16(net()), net().layers])
def test_a_model_of_another_form_is_refused(model):
    with pytest.raises(StructureError, match="one that differs"):
        train(Told(changes={"model"}, on_epoch_end=lambda run: run.replace_model(model)))
