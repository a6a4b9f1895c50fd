# SPDX-License-Identifier: Apache-2.0
"""A batch taken in parts within one step: same gradient, state carried on, refusals."""

import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.errors import RangeError, ShapeError
from rosin.training import step as module
from rosin.training.samecode import SameCode
from tests.training.compilations import compilations
from tests.training.toys import Affine, Centre, Net, assert_same_bits, copied, data, loss, net

X, Y = data(12)
BATCH = X, Y


def step(model, batch=BATCH, function=loss, *, rule=None, **options):
    opt_state = rs.setup(rs.Descent(0.5) if rule is None else rule, model)
    return rs.trainstep(function, model, batch, opt_state, **options)


@pytest.mark.parametrize("parts", [2, 3, 12])
def test_the_gradient_is_that_of_the_whole_batch(parts):
    model = Net(Affine(3, 4), Affine(4, 1))
    whole, cut = step(model), step(model, accumulate=parts)
    np.testing.assert_allclose(cut.loss, whole.loss, rtol=1e-6)  # sums in another order
    for a, b in zip(copied(cut.model), copied(whole.model), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_what_layers_record_goes_on_from_part_to_part():
    model = net()
    by_hand = model
    for part in np.split(X, 3):
        _, by_hand = rs.recording(lambda m, x: m(x), by_hand, part)
    result = step(model, accumulate=3)
    np.testing.assert_allclose(result.model.layers[1].mean, by_hand.layers[1].mean, rtol=1e-5)
    assert rs.equal(result.model.layers[2].key, by_hand.layers[2].key)


def test_what_comes_beside_the_loss_gets_an_axis_for_the_parts():
    def function(model, x, y):
        out = model(x)
        return ((out - y) ** 2).mean(), {"out": out, "count": len(x), "sum": out.sum()}

    model = Net(Affine(3, 1))
    result = step(model, function=function, accumulate=3)
    assert result.aux["out"].shape == (3, 4, 1)
    np.testing.assert_allclose(result.aux["out"].reshape(12, 1), model(X), rtol=1e-6)
    assert result.aux["count"].tolist() == [4, 4, 4]
    np.testing.assert_allclose(result.aux["sum"].sum(), model(X).sum(), rtol=1e-5)


def test_numbers_in_a_batch_go_to_every_part():
    model = Net(Affine(3, 1))
    whole = step(model, (X, Y, 3.0), lambda m, x, y, f: f * loss(m, x, y))
    cut = step(model, (X, Y, 3.0), lambda m, x, y, f: f * loss(m, x, y), accumulate=2)
    np.testing.assert_allclose(cut.loss, whole.loss, rtol=1e-6)


def test_gradients_of_a_half_model_are_summed_in_float32():
    # 256 + 1 is 256 in bfloat16, so a sum of 64 ones behind a 256 in it would not move.
    model = {"w": jnp.zeros((), jnp.bfloat16)}
    slopes = np.ones(65, np.float32)
    slopes[0] = 256
    rule = rs.MixedPrecision(rs.Descent(1.0))
    opt_state = rs.setup(rule, model)
    result = rs.trainstep(
        lambda m, s: (m["w"].astype(jnp.float32) * s).sum() * 65,
        model,
        slopes,
        opt_state,
        accumulate=65,
    )
    np.testing.assert_allclose(result.opt_state.state.memory.master["w"], -320, rtol=1e-6)


def test_a_part_that_is_not_finite_holds_the_whole_step_back():
    model = net()
    x = X.copy()
    x[5, 1] = np.inf
    result = step(model, (x, Y), accumulate=3, rule=rs.Adam())
    assert not bool(result.finite)
    assert_same_bits(result.model, model)


def test_it_compiles_once_and_works_with_the_loss_scale():
    model = Net(Affine(3, 4), Centre(4), Affine(4, 1))
    opt_state = rs.setup(rs.Adam(0.01), model)
    losses = []
    with compilations() as compiled:
        for _ in range(4):
            result = rs.trainstep(loss, model, BATCH, opt_state, accumulate=2, precision="f16")
            model, opt_state = result.model, result.opt_state
            losses.append(float(result.loss))
    assert compiled.count("_traced_step") == 1
    assert losses[-1] < losses[0]
    assert int(opt_state.loss_scale.good_steps) == 4


@pytest.mark.parametrize(
    ("batch", "got"),
    [(BATCH, "12 examples"), ((X, Y[:10]), "10 and 12 examples"), (3.0, "no examples")],
    ids=["not a multiple", "unequal", "a number"],
)
def test_a_batch_that_is_not_cut_into_equal_parts_is_refused(batch, got):
    with pytest.raises(ShapeError) as caught:
        step(net(), batch, lambda m, *b: m(X).sum(), accumulate=5)
    assert caught.value.got == got
    assert "partial=False" in caught.value.fix


@pytest.mark.parametrize("parts", [0, -1, 2.0, True])
def test_a_number_of_parts_below_one_is_refused(parts):
    with pytest.raises(RangeError, match="accumulate"):
        step(net(), accumulate=parts)


# --- memory -----------------------------------------------------------------------------


def deep(wrap):
    """Build eight blocks, compiled once, with inner values eight times as wide as their ends."""
    blocks = [Net(Affine(3, 24, seed=i), Affine(24, 24), Affine(24, 3)) for i in range(8)]
    return Net(rs.scan_layers([wrap(block) for block in blocks]), Affine(3, 1))


def planned_bytes(model, parts=1):
    """Ask XLA how much memory a step takes beside its arguments and results."""
    opt_state, options = rs.setup(rs.Descent(0.1), model), module.Options(accumulate=parts)
    lowered = module._step.lower(SameCode(loss), options, model, opt_state, data(1024))
    return lowered.compile().memory_analysis().temp_size_in_bytes


def test_parts_and_remat_make_the_planned_memory_smaller():
    plain = planned_bytes(deep(lambda block: block))
    assert plain > 1024 * 8 * 2 * 24 * 4  # examples, blocks, inner layers, width, bytes
    assert planned_bytes(deep(lambda block: block), parts=8) < plain / 4
    # Outside of a scan XLA moves what is computed again on a CPU forward, and saves nothing.
    assert planned_bytes(deep(rs.remat)) < plain / 4
