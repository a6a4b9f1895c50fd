# SPDX-License-Identifier: Apache-2.0
"""Padding against NumPy's, its gradients, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import RangeError, ShapeError
from rosin.functional.padding import (
    pad_circular,
    pad_constant,
    pad_reflect,
    pad_repeat,
    pad_symmetric,
    pad_zeros,
)

DRAW = np.random.default_rng(0)
MODES = {
    pad_zeros: "constant",
    pad_reflect: "reflect",
    pad_symmetric: "symmetric",
    pad_circular: "wrap",
    pad_repeat: "edge",
}
every_mode = pytest.mark.parametrize("pad", MODES)


@every_mode
@pytest.mark.parametrize("dtype", [np.float32, np.int8, bool, np.complex64])
def test_it_is_what_numpy_does(pad, dtype):
    x = DRAW.integers(-9, 9, (2, 4, 3, 2)).astype(dtype)
    for widths, pairs in [
        (2, ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        (((0, 2), (1, 0)), ((0, 2), (1, 0))),
    ]:
        expected = np.pad(x, ((0, 0), *pairs, (0, 0)), mode=MODES[pad])
        got = pad(x, widths)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, expected)


@every_mode
def test_axes_can_be_chosen(pad):
    x = DRAW.normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_array_equal(pad(x, 1, axes=-1), np.pad(x, ((0, 0), (1, 1)), MODES[pad]))
    got = pad(x, ((2, 0), (0, 1)), axes=(1, 0))  # counted in ascending order
    np.testing.assert_array_equal(got, np.pad(x, ((2, 0), (0, 1)), MODES[pad]))


def test_the_value_can_be_any_that_the_dtype_holds():
    x = np.ones((1, 2, 1), np.float32)
    np.testing.assert_array_equal(pad_constant(x, 1, -np.inf).ravel(), [-np.inf, 1, 1, -np.inf])
    np.testing.assert_array_equal(
        pad_constant(x.astype(np.uint8), 1, 255).ravel(), [255, 1, 1, 255]
    )
    for value in (-1, 256, 0.5, np.inf):
        with pytest.raises(RangeError) as caught:
            pad_constant(x.astype(np.uint8), 1, value)
        assert caught.value.expected == "value to be a number of dtype uint8"
    for value in (np.nan, "0", None, True):
        with pytest.raises(RangeError):
            pad_constant(x, 1, value)


@every_mode
def test_gradients_match_finite_differences(pad):
    with jax.enable_x64(True):
        x = DRAW.normal(size=(1, 3, 4, 1))
        square = jax.jit(lambda x: pad(x, ((1, 2), (0, 2))) ** 2)
        check_grads(square, [x], order=2, modes=["rev"], rtol=1e-4)


def test_edges_that_are_repeated_may_be_wider_than_the_array():
    np.testing.assert_array_equal(
        pad_repeat(np.arange(2).reshape(1, 2, 1), 5).ravel(), [0] * 6 + [1] * 6
    )


@every_mode
def test_an_empty_batch_passes_and_no_pad_changes_nothing(pad):
    assert pad(jnp.ones((0, 3, 2)), 1).shape == (0, 5, 2)
    x = jnp.ones((1, 3, 2))
    np.testing.assert_array_equal(pad(x, 0), x)


@pytest.mark.parametrize(
    ("pad", "widths", "least"),
    [(pad_reflect, ((0, 3),), 4), (pad_symmetric, ((4, 0),), 4), (pad_circular, 4, 4)],
)
def test_a_pad_wider_than_what_it_mirrors_is_refused(pad, widths, least):
    with pytest.raises(ShapeError) as caught:
        pad(jnp.ones((1, 3, 1)), widths, subject="Pad")
    assert caught.value.expected == f"at least {least} values on axis 1"
    assert caught.value.got.startswith("3, from x float32[1,3,1], and pad ")
    assert caught.value.subject == "Pad"


@every_mode
@pytest.mark.parametrize("widths", [-1, (), ((1, 2, 3),), "same", 1.5, None, True])
def test_widths_out_of_range_are_refused(pad, widths):
    with pytest.raises(RangeError) as caught:
        pad(jnp.ones((1, 3, 1)), widths)
    assert caught.value.expected.startswith("pad to be a whole number of at least 0, or a tuple")


@every_mode
def test_shapes_and_axes_that_do_not_exist_are_refused(pad):
    for shape, widths in [((3, 4), 1), ((1, 3, 1), (1, 1)), ((1, 3, 3, 1), (1,))]:
        with pytest.raises(ShapeError):
            pad(jnp.ones(shape), widths)
    with pytest.raises(RangeError):
        pad(jnp.ones((3, 4)), 1, axes=2)
    if pad not in {pad_zeros, pad_constant}:
        with pytest.raises(ShapeError):
            pad(jnp.ones((1, 0, 1)), 1)
