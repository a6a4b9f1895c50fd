# SPDX-License-Identifier: Apache-2.0
"""Resampling against the sum written out; exactness, infinities, gradients, refusals.

PyTorch's numbers are in `test_against_pytorch.py`.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import DtypeError, RangeError, ShapeError, StructureError
from rosin.functional.resampling import upsample

OPTIONS = ("scale", "size", "mode", "align_corners", "antialias")
resample = jax.jit(upsample, static_argnames=OPTIONS)
DRAW = np.random.default_rng(0)


def hat(t):
    return max(0.0, 1 - abs(t))


def keys(t):
    t, a = abs(t), -0.75
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0


def formula(x, m, scale, kernel, align):
    """Resample the axis 1 of x as the equation says, one number at a time."""
    n = x.shape[1]
    y = np.zeros((x.shape[0], m, *x.shape[2:]))
    for i in range(m):
        u = i * (n - 1) / max(m - 1, 1) if align else (i + 0.5) / scale - 0.5
        for j in range(math.floor(u) - 1, math.floor(u) + 3):
            y[:, i] += kernel(u - j) * x[:, min(max(j, 0), n - 1)]
    return y


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize(("mode", "kernel"), [("linear", hat), ("cubic", keys)])
@pytest.mark.parametrize("target", [{"scale": 2}, {"scale": 1.4}, {"size": 3}, {"size": 1}])
def test_an_axis_is_the_sum_written_out(target, mode, kernel, align):
    x = DRAW.normal(size=(2, 5, 3)).astype(np.float32)
    m = target.get("size") or int(5 * target["scale"])
    scale = target.get("scale", m / 5)
    expected = formula(x.astype(np.float64), m, scale, kernel, align)
    got = resample(x, mode=mode, align_corners=align, **target)
    np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 0.5, 1.5, 0.75, (2, 0.4), 9, 1 / 9, 1.37])
def test_slices_and_products_agree(scale):
    x = DRAW.normal(size=(1, 9, 10, 2)).astype(np.float32)
    scales = scale if isinstance(scale, tuple) else (scale, 1)
    got = resample(x, scale=scales, mode="linear")
    wide = x.astype(np.float64)
    rows = formula(wide, math.floor(9 * scales[0]), scales[0], hat, align=False)
    both = np.moveaxis(rows, 2, 1)
    both = formula(both, math.floor(10 * scales[1]), scales[1], hat, align=False)
    np.testing.assert_allclose(got, np.moveaxis(both, 1, 2), atol=1e-6)


def test_an_average_of_many_is_one_product():
    x = DRAW.normal(size=(1, 200, 3)).astype(np.float32)
    got = resample(x, size=4, mode="linear", antialias=True)
    distances = (np.arange(200) - (np.arange(4)[:, None] * 50 + 24.5)) / 50
    weights = np.maximum(1 - np.abs(distances), 0)
    weights /= weights.sum(1, keepdims=True)
    np.testing.assert_allclose(got[0], weights @ x[0], atol=1e-6)


def test_gradients_of_examples_are_those_of_one_at_a_time():
    x = jnp.asarray(DRAW.normal(size=(3, 1, 4, 2)), jnp.float32)
    gradient = jax.grad(lambda x: (upsample(x, scale=1.5, mode="cubic") ** 2).sum())
    got = jax.jit(jax.vmap(gradient))(x)
    np.testing.assert_allclose(got[1], jax.jit(gradient)(x[1]), atol=1e-5)


def test_the_nearest_value_is_chosen_in_whole_numbers():
    x = jnp.arange(7.0).reshape(1, 7, 1)
    np.testing.assert_array_equal(resample(x, scale=2).ravel(), np.repeat(np.arange(7), 2))
    for m in (1, 2, 3, 5, 9, 11, 21):
        expected = [(2 * i + 1) * 7 // (2 * m) for i in range(m)]
        np.testing.assert_array_equal(resample(x, size=m).ravel(), expected)
    assert resample(x, scale=1.5).shape == (1, 10, 1)


def test_a_straight_line_stays_one_and_a_constant_stays_constant():
    line = jnp.arange(6.0).reshape(1, 6, 1)
    got = resample(line, size=11, mode="linear", align_corners=True).ravel()
    np.testing.assert_allclose(got, np.arange(11) / 2, atol=1e-6)
    constant = jnp.full((1, 5, 4, 1), 3.7)
    for mode, options in itertools.product(
        ("linear", "cubic"), ({}, {"align_corners": True}, {"antialias": True})
    ):
        got = resample(constant, scale=(0.6, 1.7), mode=mode, **options)
        np.testing.assert_allclose(got, np.full(got.shape, 3.7), rtol=3e-7)


def test_antialias_leaves_no_value_out():
    x = jnp.zeros((1, 8, 1)).at[0, 3, 0].set(1)
    assert resample(x, scale=0.25, mode="linear").sum() == 0
    assert resample(x, scale=0.25, mode="linear", antialias=True).sum() > 0.2


def test_names_with_a_rank_are_the_same_functions():
    x = DRAW.normal(size=(1, 3, 4, 1)).astype(np.float32)
    for name, plain in [("bilinear", "linear"), ("bicubic", "cubic")]:
        got = resample(x, scale=2, mode=name)
        np.testing.assert_array_equal(got, resample(x, scale=2, mode=plain))
        with pytest.raises(ShapeError):
            resample(x[0], scale=2, mode=name)
    with pytest.raises(ShapeError):
        resample(x, scale=2, mode="trilinear")


def test_an_infinity_stays_with_its_neighbours():
    x = jnp.zeros((1, 8, 1)).at[0, 3, 0].set(jnp.inf)
    got = resample(x, scale=2, mode="linear").ravel()
    np.testing.assert_array_equal(np.isfinite(got), [True] * 5 + [False] * 4 + [True] * 7)
    np.testing.assert_array_equal(resample(x, scale=1, mode="cubic"), x)
    # A result with fewer neighbours than the others is filled up with the first value.
    got = resample(jnp.roll(x, -3, 1), scale=2, mode="linear").ravel()
    np.testing.assert_array_equal(np.isfinite(got), [False] * 3 + [True] * 13)


@pytest.mark.parametrize(
    "options",
    [
        {"scale": 2},
        {"size": 5},
        {"scale": (0.5, 1.5), "mode": "cubic"},
        {"size": (90, 1), "mode": "linear", "align_corners": True},  # back through one product
    ],
)
def test_gradients_match_finite_differences(options):
    with jax.enable_x64(True):
        x = DRAW.normal(size=(1, 4, 3, 1))
        square = jax.jit(lambda x: resample(x, **options) ** 2)
        check_grads(square, [x], order=2, modes=["rev"], rtol=1e-4)
        check_grads(square, [x], order=1, modes=["fwd"], rtol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_types_are_rounded_once(dtype):
    x = jnp.asarray(DRAW.uniform(1, 2, (1, 9, 1)), dtype)
    got = resample(x, scale=2, mode="cubic")
    assert got.dtype == dtype
    wide = resample(x.astype(jnp.float32), scale=2, mode="cubic")
    np.testing.assert_array_equal(got, wide.astype(dtype))


def test_complex_numbers_and_empty_batches_pass():
    x = (DRAW.normal(size=(1, 3, 2)) * (1 + 2j)).astype(np.complex64)
    for options in ({"scale": 2}, {"size": 4}):
        parts = [resample(part, mode="linear", **options) for part in (x.real, x.imag)]
        got = resample(x, mode="linear", **options)
        np.testing.assert_allclose(got, parts[0] + 1j * parts[1], atol=1e-6)
    for mode in ("nearest", "linear", "cubic"):
        assert resample(jnp.ones((0, 3, 4, 2)), size=(5, 2), mode=mode).shape == (0, 5, 2, 2)


X = jnp.ones((1, 4, 4, 2))
linear = functools.partial(upsample, mode="linear")


@pytest.mark.parametrize(
    ("call", "kind", "expected"),
    [
        (lambda: upsample(X), StructureError, "one of scale and size"),
        (lambda: upsample(X, scale=2, size=8), StructureError, "one of scale and size"),
        (
            lambda: upsample(X, scale=0),
            RangeError,
            "scale to be a finite number above 0",
        ),
        (
            lambda: upsample(X, scale=np.nan),
            RangeError,
            "scale to be a finite number above 0",
        ),
        (
            lambda: upsample(X, scale=np.inf),
            RangeError,
            "scale to be a finite number above 0",
        ),
        (
            lambda: upsample(X, scale=True),
            RangeError,
            "scale to be a finite number above 0",
        ),
        (
            lambda: upsample(X, scale=()),
            RangeError,
            "scale to be a finite number above 0",
        ),
        (
            lambda: upsample(X, scale=[2, 2]),
            RangeError,
            "scale to be a finite number above 0",
        ),
        (
            lambda: upsample(X, size=0),
            RangeError,
            "size to be a whole number of at least 1",
        ),
        (
            lambda: upsample(X, size=(3, 2.5)),
            RangeError,
            "size to be a whole number of at least",
        ),
        (lambda: upsample(X, scale=(2,)), ShapeError, "shape (batch, length, channels)"),
        (
            lambda: upsample(X, size=(2, 2, 2)),
            ShapeError,
            "shape (batch, depth, height, width, ch",
        ),
        (lambda: linear(X, scale=0.2), ShapeError, "at least 1 value along each spatial axis"),
        (
            lambda: upsample(X[:, :0], size=2),
            ShapeError,
            "at least 1 value along each spatial",
        ),
        (
            lambda: upsample(X[0, 0], scale=2),
            ShapeError,
            "shape (batch, *space, channels)",
        ),
        (
            lambda: upsample(X, scale=(2, 2, 2), mode="bilinear"),
            RangeError,
            "scale to be one number, or 2 of them",
        ),
        (
            lambda: upsample(X, size=(2, 2, 2), mode="bilinear"),
            RangeError,
            "size to be a whole number of at least 1, or 2 of them",
        ),
        (
            lambda: upsample(X, scale=2, mode="area"),
            RangeError,
            "mode to be one of 'nearest', ",
        ),
        (
            lambda: upsample(X, scale=2, align_corners=True),
            RangeError,
            "a linear or cubic mode with align_corners=True",
        ),
        (
            lambda: upsample(X, scale=2, antialias=True),
            RangeError,
            "a linear or cubic mode with antialias=True",
        ),
        (
            lambda: linear(X, scale=2, antialias=True, align_corners=True),
            RangeError,
            "one of align_corners and antialias",
        ),
        (lambda: linear(X, scale=2, align_corners=1), StructureError, "align_corners to be of cla"),
        (
            lambda: upsample(X.astype(int), scale=2),
            DtypeError,
            "x of a floating-point dtype",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(call, kind, expected):
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.expected.startswith(expected)
    assert caught.value.fix
