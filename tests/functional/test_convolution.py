# SPDX-License-Identifier: Apache-2.0
"""Convolution against loops, its gradients, the geometry of windows, refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import DtypeError, RangeError, ShapeError
from rosin.functional.convolution import conv, depthwise_conv
from rosin.functional.windows import expand_pad, expand_sizes, fitted_pad

DRAW = np.random.default_rng(0)


def same(n, reach, stride):
    """Give the padding that makes `ceil(n / stride)` windows, the larger part last."""
    total = max((-(-n // stride) - 1) * stride + reach - n, 0)
    return total // 2, total - total // 2


def loops(x, w, stride, pad, dilation, groups):
    """Convolve in float64, one output at a time."""
    rank = w.ndim - 2
    reach = [(k - 1) * d + 1 for k, d in zip(w.shape, dilation, strict=False)]
    if pad == "same":
        pad = [same(*a) for a in zip(x.shape[1:-1], reach, stride, strict=True)]
    x = np.pad(np.asarray(x, np.float64), [(0, 0), *pad, (0, 0)])
    space = [(n - r) // s + 1 for n, r, s in zip(x.shape[1:-1], reach, stride, strict=True)]
    y = np.zeros((x.shape[0], *space, w.shape[-1]))
    inside, outside = w.shape[-2], w.shape[-1] // groups
    for p in itertools.product(*map(range, space)):
        for k in itertools.product(*map(range, w.shape[:rank])):
            at = tuple(p[a] * stride[a] + k[a] * dilation[a] for a in range(rank))
            for g in range(groups):
                seen = x[(slice(None), *at)][:, g * inside : (g + 1) * inside]
                made = slice(g * outside, (g + 1) * outside)
                y[(slice(None), *p)][:, made] += seen @ np.asarray(w, np.float64)[k][:, made]
    return y


# Input size and kernel by rank; the sizes are odd, even and unequal.
SPACES = {1: ((9,), (3,)), 2: ((7, 6), (3, 2)), 3: ((5, 5, 6), (2, 3, 1))}
PADS = {
    1: [0, 2, (1,), ((1, 0),), "same"],
    2: [0, 2, (1, 0), ((0, 1), (2, 1)), "same"],
    3: [0, 1, (1, 0, 2), ((0, 1), (1, 1), (2, 0)), "same"],
}


def pairs(pad, rank):
    if pad == "same":
        return pad
    sides = pad if isinstance(pad, tuple) else (pad,) * rank
    return [side if isinstance(side, tuple) else (side, side) for side in sides]


@pytest.mark.parametrize(
    ("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 2), (3, 2, 1), (1, 2, 2)]
)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_it_is_the_sum_written_as_loops(rank, stride, dilation, groups):
    space, kernel = SPACES[rank]
    x = DRAW.normal(size=(2, *space, 2 * groups)).astype(np.float32)
    w = DRAW.normal(size=(*kernel, 2, 3 * groups)).astype(np.float32)
    for pad in PADS[rank][rank - 1 :]:
        got = conv(x, w, stride=stride, pad=pad, dilation=dilation, groups=groups)
        steps = ((stride,) * rank, pairs(pad, rank), (dilation,) * rank, groups)
        np.testing.assert_allclose(got, loops(x, w, *steps), atol=1e-5)


def test_steps_may_differ_by_axis():
    x = DRAW.normal(size=(1, 9, 8, 2)).astype(np.float32)
    w = DRAW.normal(size=(2, 3, 2, 3)).astype(np.float32)
    got = conv(x, w, stride=(1, 2), pad=((0, 1), (2, 0)), dilation=(3, 1))
    expected = loops(x, w, (1, 2), ((0, 1), (2, 0)), (3, 1), 1)
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 3])
def test_a_kernel_of_one_tap_is_a_product(rank):
    x = DRAW.normal(size=(2, *range(2, 2 + rank), 3)).astype(np.float32)
    w = DRAW.normal(size=(*[1] * rank, 3, 5)).astype(np.float32)
    got = conv(x, w)
    np.testing.assert_allclose(got, x.astype(np.float64) @ w.reshape(3, 5), atol=1e-5)
    padded = conv(x, w, pad=1)
    assert padded.shape == (2, *range(4, 4 + rank), 5)
    np.testing.assert_allclose(
        conv(x, w, stride=2)[:, 0],
        got[:, 0][(slice(None), *[slice(None, None, 2)] * (rank - 1))],
        atol=1e-6,
    )
    np.testing.assert_allclose(conv(padded, jnp.eye(5).reshape(*[1] * rank, 5, 5)), padded)


@pytest.mark.parametrize(("rank", "multiplier"), [(1, 1), (2, 3), (3, 1)])
def test_each_channel_alone_is_as_many_groups(rank, multiplier):
    space, kernel = SPACES[rank]
    x = DRAW.normal(size=(2, *space, 4)).astype(np.float32)
    w = DRAW.normal(size=(*kernel, 1, 4 * multiplier)).astype(np.float32)
    for stride, pad, dilation in [(1, 0, 1), (2, "same", 2)]:
        steps = ((stride,) * rank, pairs(pad, rank), (dilation,) * rank, 4)
        options = {"stride": stride, "pad": pad, "dilation": dilation}
        expected = loops(x, w, *steps)
        np.testing.assert_allclose(depthwise_conv(x, w, **options), expected, atol=1e-5)


@pytest.mark.parametrize("inside", [1, 2])
def test_kernels_of_many_taps_agree_with_the_loops(inside):
    x = DRAW.normal(size=(1, 90, 2 * inside)).astype(np.float32)
    w = DRAW.normal(size=(70, inside, 4)).astype(np.float32)
    expected = loops(x, w, (3,), [(0, 5)], (1,), 2)
    np.testing.assert_allclose(conv(x, w, stride=3, pad=((0, 5),), groups=2), expected, atol=1e-4)


def test_the_kernel_is_not_flipped():
    delta = jnp.zeros((1, 5, 1)).at[0, 2, 0].set(1)
    w = jnp.array([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    np.testing.assert_array_equal(conv(delta, w).ravel(), [3, 2, 1])


def test_complex_numbers_and_four_axes_work():
    x = (DRAW.normal(size=(1, 3, 2, 3, 2, 2)) * (1 + 2j)).astype(np.complex64)
    w = DRAW.normal(size=(2, 1, 2, 2, 2, 2)).astype(np.complex64)
    expected = sum(
        x[:, a : a + 2, :, b : b + 2, c : c + 1] @ w[a, 0, b, c]
        for a, b, c in itertools.product(range(2), repeat=3)
    )
    np.testing.assert_allclose(conv(x, w), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "dtype"), [((3, 3), jnp.float16), ((3, 3), jnp.bfloat16), ((1, 1), jnp.bfloat16)]
)
def test_half_types_stay_half_and_are_summed_wide(kernel, dtype):
    x = jnp.asarray(DRAW.normal(size=(1, 4, 4, 64)), dtype)
    w = jnp.asarray(DRAW.normal(size=(*kernel, 64, 2)), dtype)
    y, pull = jax.vjp(conv, x, w)
    assert y.dtype == dtype
    assert [g.dtype for g in pull(y)] == [dtype, dtype]
    expected = loops(
        np.asarray(x, np.float64), np.asarray(w, np.float64), (1, 1), pairs(0, 2), (1, 1), 1
    )
    # One rounding of the sum; a sum kept in half would be off by many.
    tolerance = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("space", "kernel", "options"),
    [
        ((4, 5), (2, 3), {"dilation": (2, 1), "groups": 2}),
        ((3, 3, 3), (2, 2, 2), {"pad": "same", "stride": 2}),
        ((3, 3), (1, 1), {"stride": 2}),
        ((4, 3), (2, 2), {"dilation": (2, 1), "groups": 2, "depthwise": True}),
    ],
)
def test_gradients_match_finite_differences(space, kernel, options):
    options = dict(options)
    inside = 1 if options.pop("depthwise", False) else 2
    groups = options.get("groups", 1)
    with jax.enable_x64(True):
        x = DRAW.normal(size=(2, *space, inside * groups))
        w = DRAW.normal(size=(*kernel, inside, 2 * groups))

        @jax.jit
        def squared(x, w):  # the square makes the second derivative differ from 0
            return conv(x, w, **options) ** 2

        check_grads(squared, [x, w], order=2, modes=["rev"], rtol=1e-4)
        if groups > 1:  # the rules that are written out
            check_grads(squared, [x, w], order=1, modes=["fwd"], rtol=1e-4)


def test_an_empty_batch_passes():
    assert conv(jnp.ones((0, 5, 5, 2)), jnp.ones((3, 3, 2, 4))).shape == (0, 3, 3, 4)
    assert conv(jnp.ones((0, 5, 5, 2)), jnp.ones((1, 1, 2, 4))).shape == (0, 5, 5, 4)


X, W = np.ones((2, 6, 6, 4), "f4"), np.ones((3, 3, 4, 8), "f4")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"stride": 0}, "stride to be a whole number of at least 1, or 2 of them"),
        ({"stride": (1, -1)}, "stride to be a whole number of at least 1, or 2 of them"),
        ({"stride": (1, 1, 1)}, "stride to be a whole number of at least 1, or 2 of them"),
        ({"stride": True}, "stride to be a whole number of at least 1, or 2 of them"),
        ({"dilation": 0}, "dilation to be a whole number of at least 1, or 2 of them"),
        ({"dilation": 1.5}, "dilation to be a whole number of at least 1, or 2 of them"),
        ({"groups": 0}, "groups to be a whole number of at least 1"),
        ({"pad": -1}, "pad to be 'same', a whole"),
        ({"pad": (1, -1)}, "pad to be 'same', a whole"),
        ({"pad": (1, 1, 1)}, "pad to be 'same', a whole"),
        ({"pad": ((1, 1), (1, 1, 1))}, "pad to be 'same', a whole"),
        ({"pad": "valid"}, "pad to be 'same', a whole"),
        ({"pad": None}, "pad to be 'same', a whole"),
        ({"pad": [1, 1]}, "pad to be 'same', a whole"),
    ],
)
def test_numbers_out_of_range_are_refused(options, expected):
    with pytest.raises(RangeError) as caught:
        conv(X, W, subject="Conv", **options)
    assert caught.value.expected.startswith(expected)
    assert caught.value.subject == "Conv"


@pytest.mark.parametrize(
    ("x", "w", "options", "expected"),
    [
        (X[0], W, {}, "shape (batch, height, width, channels)"),
        (X[None], W, {}, "shape (batch, height, width, channels)"),
        (X, W[0], {}, "shape (batch, length, channels)"),
        (X, W[0, 0], {}, "weight of shape (*kernel, in / groups, out)"),
        (X[..., :3], W, {}, "4 channels going in, and a multiple of 1 coming out"),
        (X, W, {"groups": 2}, "8 channels going in, and a multiple of 2 coming out"),
        (X, W[..., :2, :3], {"groups": 2}, "4 channels going in, and a multiple of 2 coming out"),
        (X[:, :2], W, {}, "a padded input of at least (3, 3) along the spatial axes"),
        (X, W, {"dilation": 3}, "a padded input of at least (7, 7) along the spatial axes"),
        (X[:, :0], W, {"pad": "same"}, "a padded input of at least (3, 3) along the spatial axes"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, w, options, expected):
    with pytest.raises(ShapeError) as caught:
        conv(x, w, **options)
    assert caught.value.expected == expected


def test_dtypes_that_do_not_fit_are_refused():
    with pytest.raises(DtypeError) as caught:
        conv(X, W.astype(jnp.float16))
    assert caught.value.got == "x float32[2,6,6,4] and weight float16[3,3,4,8]"
    with pytest.raises(DtypeError):
        conv(X.astype(int), W)
    with pytest.raises(DtypeError):
        conv(X, W.astype(int))


def test_sizes_and_pads_are_spelt_out():
    assert expand_sizes((2, np.int64(3)), 2, subject="", name="window") == (2, 3)
    assert expand_sizes(0, 2, subject="", name="outpad", bound=0) == (0, 0)
    assert expand_pad(1, 2, subject="") == ((1, 1), (1, 1))
    assert expand_pad((1, (2, 3)), 2, subject="") == ((1, 1), (2, 3))
    assert expand_pad("same", 2, subject="") == "same"
    assert expand_pad(expand_pad((0, 1), 2, subject=""), 2, subject="") == ((0, 0), (1, 1))


@pytest.mark.parametrize("n", range(1, 9))
@pytest.mark.parametrize("reach", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_makes_one_window_for_each_step_begun(n, reach, stride):
    x = jnp.ones((1, n, 1))
    assert fitted_pad(x, "same", (reach,), (stride,), subject="") == (same(n, reach, stride),)
    kernel = jax.ShapeDtypeStruct((reach, 1, 1), jnp.float32)
    y = jax.eval_shape(lambda w: conv(x, w, stride=stride, pad="same"), kernel)
    assert y.shape[1] == -(-n // stride)
