# SPDX-License-Identifier: Apache-2.0
"""The transposed convolution against loops and as an adjoint; sizes, gradients, refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import DtypeError, RangeError, ShapeError
from rosin.functional.convolution import conv, conv_transpose

DRAW = np.random.default_rng(0)


def loops(x, w, stride, pad, extra, dilation, groups):
    """Spread each value in float64, one place at a time, and cut."""
    rank = w.ndim - 2
    space = [
        (n - 1) * s + (k - 1) * d + 1
        for n, s, k, d in zip(x.shape[1:-1], stride, w.shape[:rank], dilation, strict=True)
    ]
    inside, outside = x.shape[-1] // groups, w.shape[-2]
    y = np.zeros((x.shape[0], *(n + max(stride) for n in space), outside * groups))
    w = np.asarray(w, np.float64)
    for q in itertools.product(*map(range, x.shape[1:-1])):
        for k in itertools.product(*map(range, w.shape[:rank])):
            at = tuple(q[a] * stride[a] + k[a] * dilation[a] for a in range(rank))
            for g in range(groups):
                mine, made = (slice(g * n, (g + 1) * n) for n in (inside, outside))
                y[(slice(None), *at)][:, made] += x[(slice(None), *q)][:, mine] @ w[k][:, mine].T
    cut = [slice(low, n - high + e) for n, (low, high), e in zip(space, pad, extra, strict=True)]
    return y[(slice(None), *cut)]


CASES = [
    ((4,), (3,), (1,), ((0, 0),), (0,), (1,)),
    ((4,), (3,), (3,), ((1, 0),), (2,), (2,)),
    ((3, 4), (2, 3), (2, 1), ((0, 1), (2, 0)), (1, 0), (1, 2)),
    ((3, 2), (2, 2), (2, 2), ((0, 0), (0, 0)), (0, 0), (1, 1)),
    ((3, 2), (1, 2), (3, 3), ((0, 0), (0, 0)), (2, 1), (1, 1)),
    ((2, 3, 2), (2, 1, 3), (1, 2, 2), ((1, 0), (0, 0), (1, 1)), (0, 1, 1), (2, 1, 1)),
]


@pytest.mark.parametrize(("space", "kernel", "stride", "pad", "extra", "dilation"), CASES)
def test_it_spreads_each_value_as_the_loops_do(space, kernel, stride, pad, extra, dilation):
    groups = {1: 1, 2: 2, 3: 4}[len(space)]
    x = DRAW.normal(size=(2, *space, 4)).astype(np.float32)
    w = DRAW.normal(size=(*kernel, 3, 4)).astype(np.float32)
    options = {"stride": stride, "pad": pad, "dilation": dilation, "groups": groups}
    got = conv_transpose(x, w, output_padding=extra, **options)
    np.testing.assert_allclose(got, loops(x, w, stride, pad, extra, dilation, groups), atol=1e-5)


@pytest.mark.parametrize("pad", [0, ((1, 0), (0, 2)), "same"])
@pytest.mark.parametrize(
    ("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 2), (3, 1, 1), (1, 2, 2), (2, 3, 1)]
)
def test_it_is_the_adjoint_of_conv(stride, dilation, groups, pad):
    # At these sizes `conv` with "same" takes no less than the whole input.
    z = DRAW.normal(size=(2, 12, 18, 2 * groups))
    w = DRAW.normal(size=(3, 2, 2, 3 * groups))
    options = {"stride": stride, "dilation": dilation, "pad": pad, "groups": groups}
    with jax.enable_x64(True):
        y = conv(z, w, **options)
        x = DRAW.normal(size=y.shape)
        least = conv_transpose(x, w, **options).shape
        extra = tuple(a - b for a, b in zip(z.shape[1:-1], least[1:-1], strict=True))
        back = conv_transpose(x, w, output_padding=extra, **options)
        np.testing.assert_allclose((y * x).sum(), (z * back).sum(), rtol=1e-12)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_gives_stride_times_the_size(kernel, stride):
    x, w = jnp.ones((1, 4, 1)), jnp.ones((kernel, 1, 1))
    y = jax.eval_shape(lambda x: conv_transpose(x, w, stride=stride, pad="same"), x)
    assert y.shape[1] == 4 * stride


@pytest.mark.parametrize(("groups", "modes"), [(1, "rev"), (2, "rev"), (2, "fwd")])
def test_gradients_match_finite_differences(groups, modes):
    with jax.enable_x64(True):
        x = DRAW.normal(size=(2, 2, 3, 2 * groups))
        w = DRAW.normal(size=(3, 2, 2, 2 * groups))
        options = {"stride": 2, "pad": 1, "output_padding": 1, "dilation": (2, 1)}

        @jax.jit
        def squared(x, w):  # the square makes the second derivative differ from 0
            return conv_transpose(x, w, groups=groups, **options) ** 2

        check_grads(squared, [x, w], order=2, modes=[modes], rtol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_types_stay_half_and_are_summed_wide(dtype):
    x = jnp.asarray(DRAW.normal(size=(1, 3, 3, 64)), dtype)
    w = jnp.asarray(DRAW.normal(size=(3, 3, 2, 64)), dtype)
    y, pull = jax.vjp(lambda x, w: conv_transpose(x, w, stride=2), x, w)
    assert y.dtype == dtype
    assert [g.dtype for g in pull(y)] == [dtype, dtype]
    wide = [np.asarray(a, np.float64) for a in (x, w)]
    expected = loops(*wide, (2, 2), ((0, 0), (0, 0)), (0, 0), (1, 1), 1)
    # One rounding of the sum; a sum kept in half would be off by many.
    tolerance = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(y, np.float64), expected, rtol=tolerance, atol=tolerance)


def test_complex_numbers_and_an_empty_batch_pass():
    x = (DRAW.normal(size=(1, 3, 2)) * (1 + 2j)).astype(np.complex64)
    w = DRAW.normal(size=(2, 3, 2)).astype(np.complex64)
    expected = np.concatenate([x @ w[0].T, x @ w[1].T], 2).reshape(1, 6, 3)
    np.testing.assert_allclose(conv_transpose(x, w, stride=2), expected, atol=1e-5)
    assert conv_transpose(jnp.ones((0, 3, 2)), jnp.ones((3, 4, 2))).shape == (0, 5, 4)


X, W = np.ones((1, 3, 3, 4), "f4"), np.ones((3, 3, 2, 4), "f4")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"stride": 0}, "stride to be a whole number of at least 1, or 2 of them"),
        ({"dilation": (1, 0)}, "dilation to be a whole number of at least 1, or 2 of them"),
        ({"groups": 0}, "groups to be a whole number of at least 1"),
        ({"pad": -1}, "pad to be 'same', a whole"),
        ({"output_padding": 1}, "output_padding below the stride (1, 1)"),
        ({"stride": 2, "output_padding": (1, 2)}, "output_padding below the stride (2, 2)"),
        ({"stride": 2, "output_padding": -1}, "output_padding to be a whole number of at least 0"),
        (
            {"stride": 2, "output_padding": 1, "pad": "same"},
            "no output_padding with pad='same', which sets the size of the result",
        ),
    ],
)
def test_numbers_out_of_range_are_refused(options, expected):
    with pytest.raises(RangeError) as caught:
        conv_transpose(X, W, subject="ConvTranspose", **options)
    assert caught.value.expected.startswith(expected)
    assert caught.value.subject == "ConvTranspose"


@pytest.mark.parametrize(
    ("x", "w", "options", "expected"),
    [
        (X[0], W, {}, "shape (batch, height, width, channels)"),
        (X, W[0], {}, "shape (batch, length, channels)"),
        (X, W[0, 0], {}, "weight of shape (*kernel, out / groups, in)"),
        (X[..., :3], W, {}, "4 channels going in, a multiple of 1"),
        (X, W, {"groups": 3}, "4 channels going in, a multiple of 3"),
        (X, W, {"pad": 3}, "a result of at least 1 along the spatial axes"),
        (X[:, :0], W, {}, "a result of at least 1 along the spatial axes"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, w, options, expected):
    with pytest.raises(ShapeError) as caught:
        conv_transpose(x, w, **options)
    assert caught.value.expected == expected


def test_dtypes_that_do_not_fit_are_refused():
    for x, w in [(X, W.astype(jnp.float16)), (X.astype(int), W), (X, W.astype(int))]:
        with pytest.raises(DtypeError):
            conv_transpose(x, w)
