# SPDX-License-Identifier: Apache-2.0
"""The loop: what it returns, what it measures, what it does with a bad batch."""

import re
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rosin as rs
from rosin.errors import NonFiniteError, RangeError, ShapeError, StructureError
from tests.training.compilations import compilations
from tests.training.toys import (
    Affine,
    Net,
    Scripted,
    assert_same_bits,
    batches,
    copied,
    data,
    loader,
    loss,
    net,
    poisoned,
)


def train(given, *, model=None, rule=None, function=loss, **options):
    model = net() if model is None else model
    opt_state = rs.setup(rs.Adam(0.05) if rule is None else rule, model)
    return rs.train(function, model, given, opt_state, **{"progress": False, **options})


# --- what it returns ------------------------------------------------------------------


def test_training_is_one_step_for_each_batch_of_each_epoch():
    model = net()
    opt_state = rs.setup(rs.Adam(0.05), model)
    losses = []
    for _ in range(3):
        for batch in batches():
            step = rs.trainstep(loss, model, batch, opt_state)
            model, opt_state = step.model, step.opt_state
            losses.append(float(step.loss))
    result = train(batches(), epochs=3)
    for a, b in zip(copied((model, opt_state)), copied(result[:2]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)  # Adam divides by small roots
    sizes = [len(x) for x, _ in batches()]
    assert sizes == [4, 4, 4, 4, 4, 2]
    means = np.average(np.reshape(losses, (3, 6)), axis=1, weights=sizes)
    np.testing.assert_allclose(result.history["loss"], means, rtol=1e-5)
    assert result.stopped == ""


def test_the_history_has_a_row_for_each_epoch():
    history = train(batches(), epochs=3).history
    assert history.columns == ["epoch", "step", "loss", "skipped", "seconds", "examples_per_second"]
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["step"].tolist() == [6, 12, 18]
    assert history["skipped"].tolist() == [0, 0, 0]
    assert (history["seconds"] > 0).all()
    rates = 22 / history["seconds"]
    assert (history["examples_per_second"] >= rates).all()


def test_the_rate_counts_training_and_leaves_validation_out():
    class Slow(list):
        """Batches that take their time."""

        def __iter__(self):
            time.sleep(0.3)
            return super().__iter__()

    history = train(batches(), epochs=2, validation=Slow(batches())).history
    assert history["seconds"][1] > 0.3
    assert history["examples_per_second"][1] > 2 * 22 / 0.3
    assert train(Slow(batches())).history["examples_per_second"][0] < 22 / 0.3


def test_the_callers_model_and_state_stay_valid():
    model = net()
    opt_state = rs.setup(rs.Adam(0.05), model)
    before = copied((model, opt_state))
    result = rs.train(loss, model, batches(), opt_state, epochs=2, progress=False)
    assert_same_bits((model, opt_state), before)
    again = rs.train(loss, model, batches(), opt_state, epochs=2, progress=False)
    assert_same_bits(result[:2], again[:2])
    assert not rs.equal(result.model, model)


def test_what_is_returned_has_memory_of_its_own():
    model = rs.freeze(net(), "layers[0]")
    opt_state = rs.setup(rs.Adam(0.05), model)
    result = rs.train(loss, model, batches(), opt_state, progress=False)
    kept = copied(result[:2])
    for leaf in jax.tree.leaves((model, opt_state)):
        leaf.delete()
    assert_same_bits(kept, result[:2])
    rs.train(loss, result.model, batches(), result.opt_state, progress=False)
    assert_same_bits(kept, result[:2])


def test_what_comes_beside_the_loss_is_dropped():
    plain = train(batches(), validation=batches())
    beside = train(
        batches(), validation=batches(), function=lambda m, x, y: (loss(m, x, y), {"seen": x})
    )
    np.testing.assert_allclose(plain.history["loss"], beside.history["loss"], rtol=1e-6)
    np.testing.assert_allclose(
        plain.history["validation_loss"], beside.history["validation_loss"], rtol=1e-5
    )


def test_validation_is_the_mean_over_its_examples_in_inference():
    result = train(
        batches(),
        validation=batches(10, 4),
        metrics={
            "mae": lambda m, x, y: jnp.abs(m(x) - y).mean(),
            "close": lambda m, x, y: jnp.abs(m(x) - y).max(-1) < 0.5,
        },
    )
    first, centre, _, last = result.model.layers
    x, y = (np.float64(part) for part in data(10))
    x = np.concatenate([a for a, _ in batches(10, 4)])
    y = np.concatenate([b for _, b in batches(10, 4)])
    hidden = np.tanh(x @ np.asarray(first.weight) + np.asarray(first.bias)) - np.asarray(
        centre.mean
    )
    error = hidden @ np.asarray(last.weight) + np.asarray(last.bias) - y
    row = result.history.rows[0]
    np.testing.assert_allclose(row["validation_loss"], (error**2).mean(), rtol=1e-5)
    np.testing.assert_allclose(row["validation_mae"], np.abs(error).mean(), rtol=1e-5)
    np.testing.assert_allclose(row["validation_close"], (np.abs(error) < 0.5).mean(), rtol=1e-6)
    names = [name for name in row if name.startswith("validation")]
    assert names == ["validation_loss", "validation_mae", "validation_close"]


def test_a_model_that_is_a_tree_of_arrays_and_numbers_is_trained():
    model = {"w": jnp.full((), 2.0), "n": 3}
    result = train(
        [np.ones(1, np.float32)],
        model=model,
        rule=rs.Descent(0.5),
        function=lambda m, x: (m["w"] * x).sum(),
    )
    assert float(result.model["w"]) == 1.5
    assert int(result.model["n"]) == 3


def test_a_second_training_compiles_nothing():
    model = net()
    opt_state = rs.setup(rs.Adam(0.05), model)
    result = rs.train(loss, model, batches(), opt_state, epochs=2, progress=False)
    adjusted = rs.adjust(result.opt_state, learning_rate=0.5)
    with compilations() as compiled:
        rs.train(loss, result.model, batches(), adjusted, epochs=2, progress=False)
    assert not compiled


def test_one_epoch_compiles_one_step_for_each_shape():
    with compilations() as compiled:
        train(batches(), epochs=3, function=lambda m, x, y: loss(m, x, y))
    assert compiled.count("_flat_step") == 2


# --- a bad batch ----------------------------------------------------------------------


def test_a_bad_batch_in_the_third_epoch_ends_training_as_it_was_before_it():
    good = batches()
    with pytest.raises(NonFiniteError) as caught:
        train(Scripted(good, good, [*good[:2], poisoned(good[2]), *good[3:]]), epochs=3)
    error = caught.value
    assert error.where == ".layers[0]"
    assert error.expected == "finite numbers in the forward pass"
    assert error.__notes__ == ["at epoch 3, step 15; model and optimiser are as before this batch"]
    until = train(Scripted(good, good, good[:2]), epochs=3)
    assert_same_bits(error.result[:2], until[:2])
    assert error.result.history["loss"].tolist() == until.history["loss"].tolist()[:2]


@pytest.mark.parametrize("before", range(4))
def test_wherever_the_bad_batch_stands_nothing_after_it_counts(before):
    good = batches(examples=20)
    with pytest.raises(NonFiniteError) as caught:
        train([*good[:before], poisoned(good[0]), *good])
    model = net()
    untouched = model, rs.setup(rs.Adam(0.05), model)
    expected = train(good[:before])[:2] if before else untouched
    assert_same_bits(caught.value.result[:2], expected)


def test_skipping_leaves_the_bad_batch_out_and_counts_it():
    good = batches()
    epoch = [good[0], poisoned(good[1]), good[2], poisoned(good[3], np.inf), good[4]]
    result = train(epoch, epochs=2, on_nonfinite="skip")
    clean = train([good[0], good[2], good[4]], epochs=2)
    assert_same_bits(result[:2], clean[:2])
    assert result.history["loss"].tolist() == clean.history["loss"].tolist()
    assert result.history["skipped"].tolist() == [2, 2]
    assert result.history["step"].tolist() == [5, 10]


def test_an_epoch_of_bad_batches_alone_is_skipped_too():
    result = train([poisoned(batches()[0])], on_nonfinite="skip")
    assert np.isnan(result.history["loss"][0])
    assert result.history["skipped"].tolist() == [1]
    assert result.history["examples_per_second"].tolist() == [0]


def test_stopping_returns_what_was_there_before():
    good = batches()
    result = train(
        Scripted(good, [good[0], poisoned(good[1]), good[2]]), epochs=5, on_nonfinite="stop"
    )
    until = train(Scripted(good, good[:1]), epochs=2)
    assert_same_bits(result[:2], until[:2])
    assert result.stopped == "a non-finite step, number 8"
    assert len(result.history) == 1


def test_the_last_batch_of_an_epoch_is_looked_at_before_validation():
    good = batches()
    with pytest.raises(NonFiniteError):
        train([*good, poisoned(good[0])], validation=Scripted([ValueError("too early")]))


def test_a_fault_in_the_backward_pass_alone_is_named():
    model = Net(Affine(3, 2), Affine(2, 1, lambda x: jnp.sqrt(x * 0)))
    with pytest.raises(NonFiniteError) as caught:
        train(batches(), model=model)
    assert caught.value.where == ".layers[1]"
    assert "backward" in caught.value.expected
    assert_same_bits(caught.value.result.model, model)


def test_an_update_that_overflows_is_named():
    model = Net(Affine(3, 1), Affine(1, 1))
    with pytest.raises(NonFiniteError) as caught:
        train(
            batches(),
            model=model,
            rule=optax.sgd(3e38),
            function=lambda m, x, y: 1e4 * loss(m, x, y),
        )
    assert caught.value.subject == "the update"
    assert caught.value.where.startswith(".layers[")
    assert_same_bits(caught.value.result.model, model)


class Overflow(rs.Module):
    """A buffer that overflows after some calls."""

    scale: rs.Array
    total: rs.Buffer[rs.Array]

    def __call__(self, x):
        if self.training:
            self.record(total=self.total * 1e15)
        return x * self.scale


def test_a_buffer_that_overflows_is_named():
    model = Net(Affine(3, 1), Overflow(jnp.ones(()), jnp.ones(())))
    with pytest.raises(NonFiniteError) as caught:
        train(batches(), model=model)
    assert caught.value.where == ".layers[1]"
    assert "infinity from the operation mul" in caught.value.got
    np.testing.assert_allclose(caught.value.result.model.layers[1].total, 1e30, rtol=1e-6)


# --- other ends -----------------------------------------------------------------------


def test_any_exception_carries_the_result_so_far():
    good = batches()
    for end in (ValueError("lost"), KeyboardInterrupt()):
        with pytest.raises(type(end)) as caught:
            train(Scripted(good, [*good[:3], end]), epochs=2)
        until = train(Scripted(good, good[:3]), epochs=2)
        assert_same_bits(caught.value.result[:2], until[:2])
        assert len(caught.value.result.history) == 1


def test_a_bad_batch_on_its_way_does_not_hide_the_exception_that_ended_training():
    good = batches()
    with pytest.raises(KeyboardInterrupt) as caught:
        train(Scripted([*good[:2], poisoned(good[2]), KeyboardInterrupt()]))
    assert_same_bits(caught.value.result[:2], train(good[:2])[:2])


def test_a_wrong_batch_leaves_the_result_of_those_before():
    good = batches()
    with pytest.raises(ShapeError) as caught:
        train([*good[:2], (np.zeros((0, 3)), np.zeros((0, 1)))])
    assert_same_bits(caught.value.result[:2], train(good[:2])[:2])
    with pytest.raises(TypeError) as caught:
        train([*good[:2], (good[0][0][:, :2], good[0][1])])
    assert_same_bits(caught.value.result[:2], train(good[:2])[:2])


def test_an_exception_without_room_for_a_result_passes_all_the_same():
    class Bare(Exception):  # noqa: N818  an exception of somebody else's
        """Takes no attribute."""

        def __setattr__(self, name, value):
            raise AttributeError(name)

    with pytest.raises(Bare):
        train(Scripted([batches()[0], Bare()]))


def test_a_result_that_is_lost_is_a_note_on_the_exception(monkeypatch):
    from rosin.training import run

    step = run._flat_step

    def interrupted(*arguments):
        step(*arguments)  # takes the memory of the leaves
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_flat_step", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(batches())
    assert not hasattr(caught.value, "result")
    assert "an interrupt inside a step" in caught.value.__notes__[0]


# --- refusals -------------------------------------------------------------------------

X, Y = data()


@pytest.mark.parametrize(
    ("given", "epochs"),
    [
        ([], 1),
        (Scripted([]), 1),
        (iter(batches()), 2),
        ((b for b in batches()), 2),
        (5, 1),
        (None, 1),
        (X, 1),
        (jnp.asarray(X), 1),
        ({"x": X}, 1),
        ("text", 1),
    ],
    ids=[
        "empty",
        "empty epoch",
        "iterator",
        "generator",
        "number",
        "None",
        "array",
        "jax",
        "dict",
        "text",
    ],
)
def test_data_that_gives_no_batches_in_every_epoch_is_refused(given, epochs):
    with pytest.raises(StructureError) as caught:
        train(given, epochs=epochs)
    assert "DataLoader" in caught.value.fix
    assert caught.value.expected.startswith("data that gives at least one batch")
    assert " at 0x" not in caught.value.got


def test_a_generator_is_enough_for_one_epoch():
    assert_same_bits(train(b for b in batches())[:2], train(batches())[:2])


def test_data_that_runs_dry_later_is_refused_then():
    with pytest.raises(StructureError, match="at least one batch") as caught:
        train(Scripted(batches(), []), epochs=2)
    assert len(caught.value.result.history) == 1


@pytest.mark.parametrize("given", [iter(batches()), X, {"x": X}, 3])
def test_validation_data_is_checked_before_the_first_epoch(given):
    with pytest.raises(StructureError) as caught:
        train(Scripted(), validation=given, epochs=2)
    assert caught.value.expected.startswith("validation that gives")


@pytest.mark.parametrize(
    ("metrics", "validation"),
    [({"f": loss}, None), ({"loss": loss}, batches()), ({"f": 3}, batches()), ([loss], batches())],
    ids=["no validation", "a metric named loss", "no function", "no names"],
)
def test_metrics_are_checked_before_the_first_epoch(metrics, validation):
    with pytest.raises(StructureError, match="metric"):
        train(Scripted(), metrics=metrics, validation=validation)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"epochs": 0}, RangeError),
        ({"epochs": 1.5}, RangeError),
        ({"on_nonfinite": "ignore"}, RangeError),
        ({"progress": 1}, StructureError),
        ({"checkpoint": 5}, StructureError),
        ({"function": "loss"}, StructureError),
    ],
    ids=lambda value: re.sub(r"\W+", " ", str(value)),
)
def test_options_out_of_range_are_refused(options, kind):
    with pytest.raises(kind):
        train(Scripted(), **options)


def test_a_rule_in_place_of_the_state_is_refused():
    with pytest.raises(StructureError, match=r"rs\.setup"):
        rs.train(loss, net(), batches(), rs.Adam(), progress=False)


def test_a_loader_is_data():
    assert len(train(loader(), epochs=2).history) == 2
