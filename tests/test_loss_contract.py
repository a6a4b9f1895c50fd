# SPDX-License-Identifier: Apache-2.0
"""What every loss promises, for every row of `tests/loss_table.py`."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.functional import losses
from tests.loss_table import LOSSES, MASK, ROWS_MASK, SHAPE

every_loss = pytest.mark.parametrize("row", LOSSES.values(), ids=LOSSES)


def floats(arguments):
    return [i for i, x in enumerate(arguments) if x.dtype.kind != "i"]


def with_floats(arguments, given):
    """Put arrays in the places of those that have derivatives."""
    filled = list(arguments)
    for place, x in zip(floats(arguments), given, strict=True):
        filled[place] = x
    return filled


def test_every_loss_is_a_row():
    assert {row.loss.__name__ for row in LOSSES.values()} == set(losses.__all__) - {
        "label_smoothing"
    }


@every_loss
def test_values_and_reductions_are_the_formula_in_float64(row):
    with jax.enable_x64(True):
        arguments = row.arguments()

        @jax.jit
        def loss(*arguments):
            reductions = (None, jnp.mean, jnp.sum, jnp.max)
            return [row.call(*arguments, reduction=f) for f in reductions]

        each, mean, total, largest = map(np.asarray, loss(*arguments))
    assert mean.dtype == np.float64
    expected, share = np.asarray(row.formula(*arguments)), row.share(*arguments)
    # Sums of a few terms, of functions that XLA computes to a few units.
    np.testing.assert_allclose(each, expected, rtol=1e-13, atol=1e-15)
    share = np.broadcast_to(share, expected.shape)
    np.testing.assert_allclose(mean, expected.sum() / share.sum(), rtol=1e-13)
    np.testing.assert_allclose(total, expected.sum(), rtol=1e-13)
    np.testing.assert_allclose(largest, expected.max(), rtol=1e-13)
    assert np.min(each) >= row.least


@every_loss
def test_derivatives_are_those_of_finite_differences_in_float64(row):
    with jax.enable_x64(True):
        arguments = row.arguments()
        x = [arguments[i] for i in floats(arguments)]
        draw = np.random.default_rng(5)
        v = [draw.normal(size=a.shape) for a in x]

        def loss(*given):
            return row.call(*with_floats(arguments, given))

        @jax.jit
        def derivatives(x):
            both = jax.value_and_grad(loss, argnums=tuple(range(len(x))))
            return jax.jvp(both, tuple(x), tuple(v))

        def at(step):
            moved = [a + step * b for a, b in zip(x, v, strict=True)]
            return jax.tree.map(np.asarray, derivatives(moved))

        step = 1e-5
        ((_, slope), (rise, bend)), ((high, high_slope), _), ((low, low_slope), _) = (
            at(0),
            at(step),
            at(-step),
        )
    along = sum((a * b).sum() for a, b in zip(slope, v, strict=True))
    # The step's square times a third derivative, and rounding over the step: about 1e-8.
    np.testing.assert_allclose(along, (high - low) / (2 * step), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(along, rise, rtol=1e-12)  # forward and reverse mode
    if row.smooth:
        for a, b, c in zip(bend, high_slope, low_slope, strict=True):
            np.testing.assert_allclose(a, (b - c) / (2 * step), rtol=1e-6, atol=1e-7)


@every_loss
def test_half_types_are_computed_in_float32(row):
    for dtype in (jnp.float16, jnp.bfloat16):
        value, slope = jax.eval_shape(jax.value_and_grad(row.call), *row.arguments(dtype))
        assert (value.dtype, slope.dtype) == (jnp.float32, dtype)
    both = jax.value_and_grad(row.call)

    @jax.jit
    def half_and_single(*arguments):
        wide = [x if x.dtype.kind == "i" else x.astype(jnp.float32) for x in arguments]
        return both(*arguments), both(*wide)

    (value, slope), (expected, wide_slope) = half_and_single(*row.arguments(jnp.float16))
    np.testing.assert_allclose(value, expected, rtol=1e-6)  # the order of a sum may differ
    # One rounding of a gradient that may itself differ in the last place of float32.
    np.testing.assert_allclose(slope.astype(np.float32), wide_slope, rtol=2**-10, atol=2**-24)


@every_loss
def test_compiled_mapped_and_plain_calls_agree(row):
    arguments = row.arguments(np.float32)
    before = [x.copy() for x in arguments]
    plain = row.call(*arguments, reduction=None)
    assert plain.dtype == jnp.float32
    assert all((a == b).all() for a, b in zip(before, arguments, strict=True))
    turned = [x[::-1].copy() for x in arguments]

    def each(*arguments):
        return row.call(*arguments, reduction=None)

    compiled = jax.jit(each)
    np.testing.assert_allclose(compiled(*arguments), plain, rtol=2e-6, atol=1e-6)
    stacked = [np.stack(both) for both in zip(arguments, turned, strict=True)]
    mapped = jax.jit(jax.vmap(each))(*stacked)
    np.testing.assert_allclose(mapped, [plain, compiled(*turned)], rtol=2e-6, atol=1e-6)
    if row.alone:
        np.testing.assert_allclose(mapped[1], plain[::-1], rtol=2e-6, atol=1e-6)
    for place in floats(arguments):
        broken = [x.copy() for x in arguments]
        broken[place].ravel()[1] = np.nan
        assert np.isnan(compiled(*broken)).any(), f"NaN in argument {place} was lost"


@every_loss
def test_what_a_mask_leaves_out_takes_no_part(row):
    takes = "mask" in inspect.signature(row.loss).parameters
    assert takes == (row.masked is not None)
    if not takes:
        return
    mask = MASK if row.masked == SHAPE else ROWS_MASK
    arguments = row.arguments(np.float32)
    x = [arguments[i] for i in floats(arguments)]
    out = [~(mask if a.ndim == mask.ndim else mask[:, None]) & np.ones(a.shape, bool) for a in x]
    holed = [np.where(b, np.nan, a) for a, b in zip(x, out, strict=True)]

    @jax.jit
    def both(given, mask):
        def loss(*given):
            return row.call(*with_floats(arguments, given), mask=mask)

        return jax.value_and_grad(loss, argnums=tuple(range(len(given))))(*given)

    value, slope = both(holed, mask)
    assert np.isfinite(value)
    for a, b in zip(slope, out, strict=True):
        assert np.isfinite(a).all()
        assert not a[b].any()
        assert a[~b].any()
    if row.alone and "axes" not in row.options:
        wide = row.arguments()
        expected, share = row.formula(*wide), np.broadcast_to(row.share(*wide), mask.shape)
        mean = expected[mask].sum() / share[mask].sum()
        np.testing.assert_allclose(value, mean, rtol=1e-5)
    nothing, slope = both(holed, np.zeros_like(mask))
    assert nothing == 0
    assert not any(a.any() for a in slope)


@every_loss
def test_a_mask_that_does_not_fit_is_refused(row):
    if row.masked is None:
        return
    arguments = row.arguments(np.float32)
    for mask, kind in [
        (np.ones((2, 7), bool), rs.ShapeError),
        (np.ones(row.masked), rs.DtypeError),
    ]:
        with pytest.raises(kind) as caught:
            row.call(*arguments, mask=mask)
        assert caught.value.subject == row.loss.__name__
        assert "mask" in caught.value.expected


@every_loss
def test_unequal_shapes_are_refused(row):
    arguments = row.arguments(np.float32)
    for place in range(1, len(arguments)):
        x = arguments[place]
        for wrong in (x[:-1], x[..., None], x.ravel()[0], np.concatenate([x, x])):
            given = [*arguments[:place], wrong, *arguments[place + 1 :]]
            with pytest.raises(rs.ShapeError) as caught:
                row.call(*given)
            assert caught.value.subject == row.loss.__name__


@every_loss
def test_an_empty_batch_has_no_mean(row):
    empty = [x[:0] for x in row.arguments(np.float32)]
    with pytest.raises(rs.ShapeError) as caught:
        row.call(*empty)
    assert caught.value.subject == row.loss.__name__
    if row.alone:
        assert row.call(*empty, reduction=None).size == 0


@every_loss
def test_a_reduction_that_is_no_function_and_whole_numbers_are_refused(row):
    arguments = row.arguments(np.float32)
    with pytest.raises(rs.StructureError) as caught:
        row.call(*arguments, reduction="mean")
    assert caught.value.subject == row.loss.__name__
    for place in floats(arguments)[:1]:
        given = [*arguments]
        given[place] = given[place].astype(int)
        with pytest.raises(rs.DtypeError) as caught:
            row.call(*given)
        assert caught.value.subject == row.loss.__name__


@every_loss
def test_the_documentation_says_what_is_returned_and_raised(row):
    text = inspect.getdoc(row.loss)
    for heading in ("Args:", "Raises:", "Examples:", "Source:", "$$"):
        assert heading in text
    for name in inspect.signature(row.loss).parameters:
        assert f"    {name}: " in text
