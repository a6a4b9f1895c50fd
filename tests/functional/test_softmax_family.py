# SPDX-License-Identifier: Apache-2.0
"""The softmax family: values, infinities, masks, and derivatives that keep their digits."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import DtypeError, RangeError, ShapeError
from rosin.functional.softmax_family import glu, logsoftmax, logsumexp, softmax

pytestmark = pytest.mark.optimised  # digits are counted

INF, NAN = np.inf, np.nan
MAX = float(np.finfo(np.float32).max)
REFERENCE = np.load(Path(__file__).parents[1] / "reference/attention.npz", allow_pickle=False)
FAMILY = {"softmax": softmax, "logsoftmax": logsoftmax, "logsumexp": logsumexp, "glu": glu}


def exact(x):
    """Compute softmax, its logarithm and the log of the sum in float64, tails included."""
    x = np.asarray(x, np.float64)
    e = np.exp(x - x.max())
    rest = np.array([np.delete(e, i).sum() for i in range(len(e))])
    p = e / e.sum()
    with np.errstate(divide="ignore"):  # at what rounds to 0, where the other form is taken
        log = np.where(p > 0.5, -np.log1p(rest / e), x - x.max() - np.log(e.sum()))
    return p, log, x.max() + np.log(e.sum())


def jacobian(x):
    """Differentiate the softmax in float64, by sums that do not cancel."""
    p = exact(x)[0]
    others = np.array([np.delete(p, i).sum() for i in range(len(p))])
    return np.diag(p * others) - np.outer(p, p) * (1 - np.eye(len(p)))


@pytest.mark.parametrize("name", ["softmax", "logsoftmax", "logsumexp", "glu"])
@pytest.mark.parametrize("axis", [-1, 1])
def test_values_and_gradients_are_those_of_pytorch(name, axis):
    stored = {part: REFERENCE[f"{name} {axis}/{part}"] for part in ("x", "y", "dx")}
    with jax.enable_x64(True):
        x = jnp.asarray(stored["x"])
        y, back = jax.vjp(lambda x: FAMILY[name](x, axis=axis), x)
        np.testing.assert_allclose(y, stored["y"], rtol=1e-12)
        weights = np.cos(np.arange(y.size)).reshape(y.shape)
        # Of a sum of terms near 1, the last digits of float64.
        np.testing.assert_allclose(back(jnp.asarray(weights))[0], stored["dx"], atol=1e-14)


ROWS = {
    "plain": [1.0, -2.0, 0.5],
    "confident": [20.0, 0.0, 1.0, -3.0],
    "very confident": [80.0, 0.0, -5.0],
    "tied": [3.0, 3.0, -30.0],
    "large": [1e30, -1e30, 1e30],
    "largest": [MAX, MAX / 2, MAX / 4],
    "one": [-7.0],
}


def test_values_and_derivatives_keep_their_digits():
    x = np.full((len(ROWS), 4), -INF, np.float32)
    for place, row in enumerate(ROWS.values()):
        x[place, : len(row)] = row
    p, log, total = map(np.stack, zip(*map(exact, x), strict=True))
    slope = np.stack([jacobian(row) for row in x])
    # A few roundings of float32, and the reach of its least number.
    close = {"rtol": 2e-6, "atol": 1e-37}
    np.testing.assert_allclose(softmax(x), p, **close)
    np.testing.assert_allclose(logsoftmax(x), log, **close)
    np.testing.assert_allclose(logsumexp(x), total, rtol=2e-7)
    log_slope = np.eye(4) - p[:, None, :]
    others = np.stack([[np.delete(row, i).sum() for i in range(4)] for row in p])
    log_slope[:, range(4), range(4)] = others
    for differentiate in (jax.jacrev, jax.jacfwd):
        derivatives = jax.jit(
            jax.vmap(lambda x, d=differentiate: [d(f)(x) for f in (softmax, logsoftmax, logsumexp)])
        )(x)
        for derivative, expected in zip(derivatives, (slope, log_slope, p), strict=True):
            np.testing.assert_allclose(derivative, expected, **close)
        second = jax.jit(jax.vmap(differentiate(jax.grad(logsumexp))))(x)
        np.testing.assert_allclose(second, slope, **close)


def test_nothing_cancels_next_to_the_maximum():
    draw = np.random.default_rng(0)
    others = draw.normal(-np.log(31), 0.35, (20_000, 31)) - draw.uniform(0, 0.7, (20_000, 1))
    x = np.pad(np.minimum(np.round(others * 1024), -1) / 1024, [(0, 0), (1, 0)])
    true = -np.log1p(np.exp(x[:, 1:]).sum(-1))  # of the first, which is the greatest
    # exp and log1p, 1 and 2 units of 2**-23; their errors do not all meet.
    np.testing.assert_allclose(logsoftmax(jnp.asarray(x, jnp.float32))[:, 0], true, rtol=3.2e-7)


@pytest.mark.parametrize("function", [softmax, logsoftmax, logsumexp])
def test_derivatives_are_those_of_finite_differences(function):
    with jax.enable_x64(True):
        rows = jnp.array([[0.3, -1.0, 2.0], [0.0, 0.0, 0.0], [6.0, -6.0, 1.0]])
        check_grads(jax.jit(function), [rows], order=2, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("x", "p", "log", "total"),
    [
        ([INF, 1.0], [1, 0], [0, -INF], INF),
        ([INF, INF, -INF], [0.5, 0.5, 0], [-np.log(2), -np.log(2), -INF], INF),
        ([-INF, 1.0], [0, 1], [-INF, 0], 1),
        ([-INF, -INF], [0, 0], [-INF, -INF], -INF),
        ([INF, -INF], [1, 0], [0, -INF], INF),
        ([-MAX, MAX], [0, 1], [-INF, 0], MAX),
        ([NAN, 1.0], [NAN, NAN], [NAN, NAN], NAN),
        ([NAN, INF], [NAN, NAN], [NAN, NAN], NAN),
        ([NAN, -INF], [NAN, NAN], [NAN, NAN], NAN),
        ([], [], [], -INF),
    ],
)
def test_infinities_have_their_limits_and_nan_stays(x, p, log, total):
    x = jnp.array(x, jnp.float32)
    np.testing.assert_allclose(softmax(x), p)
    np.testing.assert_allclose(logsoftmax(x), log, rtol=1e-6)
    np.testing.assert_allclose(logsumexp(x), total)
    expected = np.isnan(p).any()
    for function in FAMILY.values():
        if function is not glu and x.size:
            _, back = jax.vjp(function, x)
            cotangent = np.ones_like(function(x))
            gradient = back(jnp.asarray(cotangent))[0]
            assert np.isnan(gradient).all() == expected
            assert np.isfinite(gradient).all() != expected


def test_nan_stays_wherever_it_stands_in_a_long_row():
    # XLA's maximum loses NaN here, depending on where in the row it is.
    place, row = np.arange(50), np.arange(50)[:, None]
    x = np.where(place <= row, np.where(place >= 30, NAN, 0.1), -INF).astype(np.float32)
    x = np.broadcast_to(x, (2, 4, 50, 50))
    for function in (softmax, logsoftmax):
        assert (np.isnan(function(x)).all(-1) == np.isnan(x).any(-1)).all()
        gradient = jax.grad(lambda x, f=function: (f(x) * 0.5).sum(), allow_int=True)(x)
        assert np.isnan(gradient[..., 30:, :30]).all()
    assert (np.isnan(logsumexp(x)) == np.isnan(x).any(-1)).all()


@pytest.mark.parametrize("function", [softmax, logsoftmax, logsumexp])
def test_what_is_masked_leaks_into_neither_value_nor_gradient(function):
    mask = jnp.array([[True, True, False], [False, False, False]])
    x = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    base = jnp.where(mask, x, -INF)

    def masked(x):
        y = function(x, mask=mask)
        return jnp.where(jnp.isfinite(y), y, 0).sum()

    @jax.jit
    def derivatives(x):
        return jax.grad(masked)(x), jax.jacfwd(masked)(x), jax.hessian(masked)(x)

    for junk in (NAN, INF, -INF, MAX):
        dirty = jnp.where(mask, x, junk)
        np.testing.assert_array_equal(function(dirty, mask=mask), function(base))
        *gradients, hessian = derivatives(dirty)
        for gradient in gradients:
            assert np.isfinite(gradient).all()
            np.testing.assert_array_equal(gradient[~mask], 0)
        assert np.isfinite(hessian).all()


def test_a_row_without_scores_has_a_gradient_of_zero():
    x = jnp.full((2, 3), -INF)
    for function in (softmax, logsoftmax, logsumexp):
        y, back = jax.vjp(function, x)
        np.testing.assert_array_equal(back(jnp.ones_like(y))[0], 0)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_types_are_computed_in_float32(dtype):
    x = jnp.ones(70_000, dtype)  # the sum is above the largest float16, 65 504
    np.testing.assert_allclose(softmax(x).astype(float), 1 / 70_000, rtol=2**-7)
    assert logsumexp(x).astype(float) == pytest.approx(1 + np.log(70_000), rel=2**-8)
    assert logsoftmax(x)[0].astype(float) == pytest.approx(-np.log(70_000), rel=2**-8)
    for function in (softmax, logsoftmax, logsumexp):
        y = function(x)
        assert y.dtype == dtype
        gradient = jax.grad(lambda x, f=function: f(x).sum().astype(jnp.float32))(x)
        assert gradient.dtype == dtype
        assert np.isfinite(gradient.astype(np.float32)).all()
    narrow = jnp.array([60000.0, 1.0, -60000.0, 3.0], dtype)
    assert glu(narrow).dtype == dtype
    assert np.isfinite(glu(narrow).astype(np.float32)).all()


def test_several_axes_make_one_row():
    x = jnp.asarray(REFERENCE["softmax 1/x"], jnp.float32)
    flat = x.transpose(1, 0, 2).reshape(4, 15)
    for function in (softmax, logsoftmax):
        expected = function(flat).reshape(4, 3, 5).transpose(1, 0, 2)
        np.testing.assert_allclose(function(x, axis=(0, 2)), expected, rtol=1e-5)
    np.testing.assert_allclose(logsumexp(x, axis=(0, 2)), logsumexp(flat), rtol=1e-6)
    assert logsumexp(x, axis=(0, 2), keepdims=True).shape == (1, 4, 1)
    assert softmax(x[:0]).shape == (0, 4, 5)


def test_glu_gates_its_first_half_with_its_second():
    x = np.linspace(-3, 3, 24, dtype=np.float32).reshape(2, 6, 2)
    gate = 1 / (1 + np.exp(-x[:, 3:].astype(np.float64)))
    np.testing.assert_allclose(glu(x, axis=1), x[:, :3] * gate, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "expected"),
    [
        (lambda: softmax(jnp.arange(3)), DtypeError, "x of a floating-point dtype"),
        (lambda: logsumexp(jnp.ones(3), axis=1), RangeError, "axis to be different"),
        (lambda: softmax(jnp.ones(3), mask=jnp.ones(3)), DtypeError, "mask of booleans"),
        (lambda: softmax(jnp.ones(3), mask=[True] * 2), ShapeError, "mask that broadcasts"),
        (lambda: softmax(jnp.ones(3), mask=[[True] * 3]), ShapeError, "mask that broadcasts"),
        (lambda: glu(jnp.ones((2, 3))), ShapeError, "an even size on axis 1"),
        (lambda: glu(jnp.ones((2, 4)), axis=(0, 1)), RangeError, "axis to be different"),
        (lambda: glu(jnp.ones(2, complex)), DtypeError, "x of a real floating-point dtype"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, expected):
    with pytest.raises(error) as caught:
        call()
    assert caught.value.expected.startswith(expected)
