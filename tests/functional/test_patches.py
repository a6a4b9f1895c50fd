# SPDX-License-Identifier: Apache-2.0
"""Patches and pixel shuffling: orders, adjoints, inverses, gradients, refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import DtypeError, RangeError, ShapeError
from rosin.functional.convolution import conv
from rosin.functional.patches import fold, pixel_shuffle, pixel_unshuffle, unfold

DRAW = np.random.default_rng(0)

CASES = [
    ((9,), (3,), {"stride": 2, "pad": ((1, 0),)}),
    ((7, 6), (3, 2), {"pad": "same", "dilation": (2, 1)}),
    ((6, 6), (2, 3), {"stride": (2, 3)}),
    ((5, 4, 3), (2, 2, 1), {"stride": (1, 2, 1)}),
    ((80,), (40,), {"stride": 3}),
]


@pytest.mark.parametrize(("space", "window", "options"), CASES)
def test_a_product_with_patches_is_a_convolution(space, window, options):
    x = DRAW.normal(size=(2, *space, 2)).astype(np.float32)
    w = DRAW.normal(size=(*window, 2, 3)).astype(np.float32)
    patches = unfold(x, window, **options)
    np.testing.assert_allclose(patches @ w.reshape(-1, 3), conv(x, w, **options), atol=2e-5)


@pytest.mark.parametrize(("space", "window", "options"), CASES)
def test_fold_is_the_adjoint_of_unfold(space, window, options):
    with jax.enable_x64(True):
        x = DRAW.normal(size=(2, *space, 2))
        patches = unfold(x, window, **options)
        y = DRAW.normal(size=patches.shape)
        back = fold(y, space, window, **options)
        assert back.shape == x.shape
        np.testing.assert_allclose((patches * y).sum(), (x * back).sum(), rtol=1e-12)


def test_fold_undoes_unfold_where_patches_do_not_overlap():
    x = DRAW.normal(size=(2, 6, 8, 3)).astype(np.float32)
    patches = unfold(x, (3, 2), stride=(3, 2))
    assert patches.shape == (2, 2, 4, 18)
    np.testing.assert_array_equal(patches[0, 1, 2], x[0, 3:6, 4:6].ravel())
    np.testing.assert_array_equal(fold(patches, (6, 8), (3, 2), stride=(3, 2)), x)
    # What the last window does not reach is left out.
    np.testing.assert_array_equal(unfold(x, 5, stride=5)[:, 0, 0], x[:, :5, :5].reshape(2, -1))


def test_gradients_match_finite_differences():
    with jax.enable_x64(True):
        x, options = DRAW.normal(size=(1, 4, 3, 1)), {"pad": 1, "stride": (1, 2)}
        square = jax.jit(lambda x: unfold(x, 2, **options) ** 2)
        check_grads(square, [x], order=2, modes=["rev"], rtol=1e-4)
        y = unfold(x, 2, **options)
        square = jax.jit(lambda y: fold(y, (4, 3), 2, **options) ** 2)
        check_grads(square, [y], order=2, modes=["rev"], rtol=1e-4)


def test_overlaps_of_half_types_are_added_in_float32():
    y = jnp.full((1, 100, 100), 1.0009765625, jnp.float16)
    assert fold(y, 199, 100).dtype == jnp.float16
    np.testing.assert_array_equal(fold(y, 199, 100)[0, 99], jnp.float16(100.09765625))


def test_vmap_and_empty_batches_pass():
    x = jnp.asarray(DRAW.normal(size=(3, 2, 4, 1)), jnp.float32)
    patches = jax.vmap(lambda x: unfold(x, 2))(x)
    np.testing.assert_array_equal(patches[1], unfold(x[1], 2))
    folded = jax.vmap(lambda y: fold(y, 4, 2))(patches)
    np.testing.assert_array_equal(folded[1], fold(patches[1], 4, 2))
    assert unfold(x[0, :0], 2).shape == (0, 3, 2)
    assert fold(patches[0, :0], 4, 2).shape == (0, 4, 1)


@pytest.mark.parametrize("factors", [(3,), (2, 2), (2, 3), (2, 1, 3)])
def test_pixels_come_from_groups_of_channels(factors):
    space = (2, 3, 2)[: len(factors)]
    x = DRAW.integers(0, 99, size=(2, *space, 2 * np.prod(factors)))
    y = np.asarray(pixel_shuffle(x, factors))
    assert y.shape == (2, *(n * r for n, r in zip(space, factors, strict=True)), 2)
    for place in itertools.product(*map(range, y.shape[1:-1])):
        parts = [divmod(p, r) for p, r in zip(place, factors, strict=True)]
        coarse, fine = zip(*parts, strict=True)
        group = np.ravel_multi_index(fine, factors)
        channels = group + np.prod(factors) * np.arange(2)
        np.testing.assert_array_equal(
            y[(slice(None), *place)], x[(slice(None), *coarse)][:, channels]
        )
    np.testing.assert_array_equal(pixel_unshuffle(y, factors), x)
    if len(set(factors)) == 1:
        np.testing.assert_array_equal(pixel_shuffle(x, factors[0]), y)


def test_sizes_of_no_elements_pass():
    assert pixel_shuffle(jnp.ones((0, 2, 2, 4)), 2).shape == (0, 4, 4, 1)
    assert pixel_unshuffle(jnp.ones((2, 0, 2, 4)), 2).shape == (2, 0, 1, 16)


X = jnp.ones((1, 4, 4, 2))


@pytest.mark.parametrize(
    ("call", "kind", "expected"),
    [
        (lambda: unfold(X, 0), RangeError, "window to be a whole number of at least 1"),
        (lambda: unfold(X, 2, stride=0), RangeError, "stride to be a whole number"),
        (lambda: unfold(X, 2, dilation=(1, 0)), RangeError, "dilation to be a whole number"),
        (lambda: unfold(X, 2, pad=-1), RangeError, "pad to be 'same', a whole number"),
        (lambda: unfold(X, 5), ShapeError, "a padded input of at least (5, 5)"),
        (lambda: unfold(X, (2,)), ShapeError, "shape (batch, length, channels)"),
        (lambda: unfold(X[0, 0], 2), ShapeError, "shape (batch, *space, channels)"),
        (lambda: unfold(X.astype(int), 2), DtypeError, "x of a floating-point dtype"),
        (lambda: fold(X, 5, 2), ShapeError, "patches of shape (batch, 4, 4, 4 * channels)"),
        (lambda: fold(X[..., :1], 5, 1), ShapeError, "patches of shape (batch, 5, 5, 1 * chan"),
        (lambda: fold(X, 1, 2), ShapeError, "a padded input of at least (2, 2)"),
        (lambda: fold(X, (5, 5, 5), 2), ShapeError, "shape (batch, depth, height, width, chan"),
        (lambda: fold(X, 0, 2), RangeError, "size to be a whole number of at least 1"),
        (lambda: fold(X.astype(int), 5, 2), DtypeError, "patches of a floating-point dtype"),
        (lambda: pixel_shuffle(X, 2), ShapeError, "a multiple of 4 channels"),
        (lambda: pixel_shuffle(X, 0), RangeError, "factor to be a whole number of at least 1"),
        (lambda: pixel_shuffle(X[0, 0], 1), ShapeError, "shape (batch, *space, channels)"),
        (lambda: pixel_unshuffle(X, 3), ShapeError, "spatial axes that the factors (3, 3) divide"),
        (lambda: pixel_unshuffle(X, (2,)), ShapeError, "shape (batch, length, channels)"),
    ],
)
def test_what_does_not_fit_is_refused(call, kind, expected):
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.expected.startswith(expected)
