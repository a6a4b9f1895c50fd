# SPDX-License-Identifier: Apache-2.0
"""How `train` takes its steps: in half precision, in parts; and whose parameters it validates."""

import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.errors import NonFiniteError, RangeError, StateError, StructureError
from tests.training.compilations import compilations
from tests.training.toys import assert_same_bits, batches, copied, loader, loss, net

AVERAGING = rs.OptimiserChain(rs.Descent(0.1), rs.ExponentialMovingAverage(0.5))


def train(given, function=loss, *, rule=None, model=None, **options):
    model = net() if model is None else model
    opt_state = rs.setup(rs.Descent(0.05) if rule is None else rule, model)
    return rs.train(function, model, given, opt_state, **{"progress": False, **options})


def stepped(given, **options):
    model, opt_state = net(), rs.setup(rs.Descent(0.05), net())
    for batch in given:
        result = rs.trainstep(loss, model, batch, opt_state, **options)
        model, opt_state = result.model, result.opt_state
    return model, opt_state


@pytest.mark.parametrize("options", [{"precision": "f16"}, {"accumulate": 2}], ids=str)
def test_steps_are_those_of_trainstep(options):
    given = batches(12)
    for a, b in zip(
        copied(stepped(given, **options)), copied(train(given, **options)[:2]), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_options_are_checked_before_the_first_step():
    with pytest.raises(RangeError, match="precision"):
        train(batches(), precision="f32")
    with pytest.raises(RangeError, match="accumulate"):
        train(batches(), accumulate=0)
    with pytest.raises(StructureError, match="evaluate_average"):
        train(batches(), validation=batches(), evaluate_average=1)


def test_fifty_steps_with_all_that_changes_compile_twice():
    """Learning rate, data and captured arrays change, and each epoch's last batch is smaller."""
    model, opt_state = net(), rs.setup(rs.OptimiserChain(rs.ClipNorm(1.0), rs.Adam(0.01)), net())
    counted = []
    for epoch in range(10):
        with compilations() as compiled:
            for index, (x, y) in enumerate(batches(18)):
                opt_state = rs.adjust(opt_state, learning_rate=0.01 / (1 + index + epoch))
                batch = x + np.float32(0.1 * epoch), y
                result = rs.trainstep(lambda m, *b: 2 * loss(m, *b), model, batch, opt_state)
                model, opt_state = result.model, result.opt_state
        counted.append(compiled)
    assert counted[0].count("_traced_step") == 2
    assert counted[1:] == [[]] * 9


def test_a_run_of_fifty_steps_compiles_its_step_twice():
    rule = rs.Adam(rs.Exp(0.01, 0.9))
    with compilations() as compiled:
        train(loader(18), epochs=10, rule=rule, precision="bf16")
    assert compiled.count("_flat_step") == 2


# --- float16 ----------------------------------------------------------------------------


def steep(model, x, y):
    """Overflow in float16 unless the loss scale is below 2**8."""
    return 1e2 * model(x).sum() + 0 * y.sum()


def test_an_overflow_of_float16_is_skipped_whatever_is_to_happen_otherwise():
    given = batches(48)
    with compilations() as compiled:
        result = train(given, steep, rule=rs.Descent(1e-5), precision="f16")
    assert compiled.count("_flat_step") == 1
    scale = float(result.opt_state.loss_scale.value)
    halvings = round(15 - np.log2(scale))
    assert result.history["skipped"].tolist() == [halvings]
    assert 3 < halvings < 12
    assert np.isfinite(result.history["loss"][0])


def test_what_is_no_matter_of_the_scale_ends_the_training_with_its_place():
    precision = rs.Precision("f16", initial_scale=4)
    with pytest.raises(NonFiniteError) as caught:
        train(batches(48), lambda m, x, y: jnp.sqrt(0 * m(x)).sum(), precision=precision)
    assert caught.value.expected == "finite numbers in the backward pass"
    assert caught.value.finding.backward
    assert float(caught.value.result.opt_state.loss_scale.value) == 1
    assert_same_bits(caught.value.result.model, net())


def test_a_run_goes_on_bit_for_bit_with_its_scale(tmp_path):
    options = {"precision": rs.Precision("f16", growth_interval=2, initial_scale=2.0**20)}
    whole = train(loader(), epochs=2, **options)
    path = tmp_path / "run.safetensors"
    train(loader(), epochs=1, checkpoint=path, **options)
    resumed = train(loader(), epochs=2, checkpoint=rs.Checkpoint(path, resume=True), **options)
    assert_same_bits(whole[:2], resumed[:2])
    assert float(whole.opt_state.loss_scale.value) != 2.0**20


# --- averages ---------------------------------------------------------------------------


def test_the_validation_is_of_averaged_parameters_and_present_buffers():
    measured = {}
    for average in (False, True):
        result = train(batches(), rule=AVERAGING, validation=batches(10), evaluate_average=average)
        measured[average] = result.history["validation_loss"][-1]
    averaged = rs.averaged(result.opt_state, result.model)
    assert result.averaged_model == averaged
    assert not rs.equal(averaged.layers[0], result.model.layers[0])
    assert rs.equal(averaged.layers[1], result.model.layers[1])  # a running mean
    for average, model in ((False, result.model), (True, averaged)):
        expected = rs.evaluate(model, batches(10), {"loss": loss})["loss"]
        np.testing.assert_allclose(measured[average], expected, rtol=1e-6)
    assert measured[True] != measured[False]


def test_an_average_that_nobody_keeps_or_on_nothing_is_refused():
    with pytest.raises(StateError, match="ExponentialMovingAverage"):
        train(batches(), validation=batches(), evaluate_average=True)
    with pytest.raises(StructureError, match="averaged_model"):
        train(batches(), rule=AVERAGING, evaluate_average=True)
    with pytest.raises(StateError):
        _ = train(batches()).averaged_model
