# SPDX-License-Identifier: Apache-2.0
"""Reading between pixels: identities, edges, NaN, rotation, gradients, refusals.

PyTorch's numbers are in `test_against_pytorch.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from rosin.errors import DtypeError, RangeError, ShapeError, StructureError
from rosin.functional.sampling import affine_grid, grid_sample, imrotate

# Each call is compiled once, which takes less time than its parts one by one.
affine = jax.jit(affine_grid, static_argnums=1, static_argnames="align_corners")
sample = jax.jit(grid_sample, static_argnames=("mode", "padding_mode", "align_corners"))
rotate = jax.jit(imrotate, static_argnums=1, static_argnames=("method", "midpoint"))
DRAW = np.random.default_rng(0)


@pytest.mark.parametrize(("space", "align"), [((5,), True), ((4, 3), False), ((2, 1, 3), True)])
def test_the_identity_gives_the_image_back(space, align):
    x = jnp.asarray(DRAW.normal(size=(2, *space, 3)), jnp.float32)
    identity = jnp.broadcast_to(
        jnp.eye(len(space), len(space) + 1), (2, len(space), len(space) + 1)
    )
    grid = affine(identity, space, align_corners=align)
    for mode in ("bilinear", "nearest"):
        got = sample(x, grid, mode=mode, align_corners=align)
        np.testing.assert_allclose(got, x, atol=1e-5)


def test_points_may_have_any_number_of_axes_and_the_last_image_axis_comes_first():
    x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    row = jnp.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])[None]
    got = sample(x, row, align_corners=True)
    assert got.shape == (1, 3, 1)
    np.testing.assert_allclose(got.ravel(), [0, 2, 3])
    assert sample(x, row[:, 0], align_corners=True).shape == (1, 1)
    assert sample(x, row[:, None, None]).shape == (1, 1, 1, 3, 1)


@pytest.mark.parametrize(("padding_mode", "align"), [("zeros", True), ("reflection", False)])
def test_gradients_match_finite_differences(padding_mode, align):
    with jax.enable_x64(True):
        x, grid = DRAW.normal(size=(1, 3, 4, 2)), DRAW.uniform(-1.3, 1.3, (1, 4, 2))

        @jax.jit
        def square(x, grid):
            options = {"padding_mode": padding_mode, "align_corners": align}
            return sample(x, grid, **options) ** 2

        order = 2 if align else 1
        check_grads(square, [x, grid], order=order, modes=["rev"], rtol=1e-4, eps=1e-6)


def test_the_gradient_at_a_pixel_is_the_slope_to_the_next():
    x = jnp.array([0.0, 1.0, 5.0]).reshape(1, 3, 1)
    slope = jax.grad(lambda g: sample(x, g, align_corners=True).sum())(jnp.zeros((1, 1, 1)))
    assert slope.item() == 4.0


def test_points_far_outside_and_nan():
    x = jnp.ones((1, 3, 1))
    grid = jnp.array([1e30, -jnp.inf, jnp.inf, jnp.nan]).reshape(1, 4, 1)
    for mode in ("bilinear", "nearest"):
        for padding_mode, outside in [("zeros", 0), ("border", 1)]:
            got = sample(x, grid, mode=mode, padding_mode=padding_mode).ravel()
            np.testing.assert_array_equal(got, [outside, outside, outside, np.nan])
    slopes = jax.grad(lambda g: sample(jnp.ones((1, 3, 3, 1)), g).sum())(
        jnp.array([[0.1, jnp.inf], [-jnp.inf, 1e30]])[None]
    )
    np.testing.assert_array_equal(slopes, jnp.zeros((1, 2, 2)))
    # What lies outside counts for nothing, even next to an infinite pixel.
    got = sample(x.at[0, 0].set(jnp.inf), jnp.full((1, 1, 1), -3.0))
    np.testing.assert_array_equal(got.ravel(), [0])


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_images_are_read_at_places_in_float32(dtype):
    x = jnp.asarray(np.arange(512.0).reshape(1, 512, 1) % 8, dtype)
    places = np.linspace(-0.9, 0.9, 50, dtype=np.float32).reshape(1, 50, 1)
    got = sample(x, places)
    assert got.dtype == dtype
    wide = sample(x.astype(jnp.float32), places)
    np.testing.assert_array_equal(got, wide.astype(dtype))


def test_complex_images_and_empty_batches_pass():
    x = (DRAW.normal(size=(1, 3, 2)) * (1 + 2j)).astype(np.complex64)
    grid = DRAW.uniform(-1, 1, (1, 5, 1)).astype(np.float32)
    expected = sample(x.real, grid) + 1j * sample(x.imag, grid)
    np.testing.assert_allclose(sample(x, grid), expected, atol=1e-6)
    assert sample(jnp.ones((0, 3, 2)), jnp.ones((0, 5, 1))).shape == (0, 5, 2)
    assert sample(jnp.ones((2, 3, 2)), jnp.ones((2, 0, 1))).shape == (2, 0, 2)


@pytest.mark.parametrize(("space", "method"), [((4, 4), "bilinear"), ((5, 5), "nearest")])
def test_quarter_turns_are_exact(space, method):
    x = DRAW.normal(size=(2, *space, 3)).astype(np.float32)
    for quarters in (-1, 1, 2):
        got = rotate(x, quarters * np.pi / 2, method=method)
        np.testing.assert_allclose(got, np.rot90(x, quarters, (1, 2)), atol=1e-6)
    np.testing.assert_array_equal(rotate(x, 0.0, method=method), x)


def test_an_angle_for_each_image():
    x = jnp.asarray(DRAW.normal(size=(2, 5, 4, 1)), jnp.float32)
    angles = jnp.array([0.3, -1.1])
    got = jax.jit(imrotate)(x, angles)
    for i in range(2):
        np.testing.assert_allclose(got[i], rotate(x[i : i + 1], float(angles[i]))[0], atol=1e-5)


def test_flux_s_examples():
    # NNlib.jl src/rotation.jl: its first axis is the width.
    x = jnp.zeros((1, 3, 3, 1)).at[0, 1, 0, 0].set(1)
    got = rotate(x, np.pi / 4)[0, :, :, 0].T
    np.testing.assert_allclose(got[0, 1], 0.207107, atol=1e-6)
    np.testing.assert_allclose(got[1, 2], 0.207107, atol=1e-6)
    nearest = rotate(x, np.pi / 4, method="nearest")[0, :, :, 0].T
    np.testing.assert_array_equal(np.argwhere(nearest), [[0, 2]])
    x = jnp.zeros((1, 4, 4, 1)).at[0, 1, 1, 0].set(1)
    turned = rotate(x, np.pi / 2, midpoint=(2, 2))[0, :, :, 0].T
    np.testing.assert_array_equal(np.argwhere(turned > 0.5), [[1, 3]])
    kept = rotate(x, np.pi / 2, midpoint=(1, 1))
    np.testing.assert_array_equal(kept, x)


def test_gradients_of_a_rotation_reach_image_and_angle():
    with jax.enable_x64(True):
        x = DRAW.normal(size=(1, 4, 3, 1))
        square = jax.jit(lambda x, angle: imrotate(x, angle) ** 2)
        check_grads(square, [x, 0.4], order=1, modes=["rev"], rtol=1e-4, eps=1e-6)


X, G, A = (np.ones(shape, "f4") for shape in [(1, 3, 4, 2), (1, 5, 2), (1, 2, 3)])


@pytest.mark.parametrize(
    ("call", "kind", "expected"),
    [
        (
            lambda: grid_sample(X, G[..., :1]),
            ShapeError,
            "grid of shape (batch, *points, 2)",
        ),
        (lambda: grid_sample(X, G[0, 0]), ShapeError, "grid of shape (batch, *points, 2)"),
        (
            lambda: grid_sample(X, jnp.ones((2, 5, 2))),
            ShapeError,
            "grid of shape (batch, *points, 2)",
        ),
        (lambda: grid_sample(X[0, 0], G), ShapeError, "shape (batch, *space, channels)"),
        (lambda: grid_sample(X[:, :0], G), ShapeError, "at least 1 pixel along each"),
        (lambda: grid_sample(X.astype(int), G), DtypeError, "x of a floating-point dtype"),
        (
            lambda: grid_sample(X, G.astype(int)),
            DtypeError,
            "grid of a floating-point dtype",
        ),
        (
            lambda: grid_sample(X, G * 1j),
            DtypeError,
            "grid of a real floating-point dtype",
        ),
        (
            lambda: grid_sample(X, G, mode="cubic"),
            RangeError,
            "mode to be one of 'bilinear'",
        ),
        (
            lambda: grid_sample(X, G, padding_mode=0),
            RangeError,
            "padding_mode to be one of",
        ),
        (
            lambda: grid_sample(X, G, align_corners=0),
            StructureError,
            "align_corners to be of",
        ),
        (
            lambda: affine_grid(A, (4,)),
            ShapeError,
            "matrix of shape (batch, 1, 2) for size (4,)",
        ),
        (lambda: affine_grid(A[0], (4, 4)), ShapeError, "matrix of shape (batch, 2, 3)"),
        (lambda: affine_grid(A, 4), RangeError, "size to be a tuple of whole numbers"),
        (
            lambda: affine_grid(A.astype(int), (4, 4)),
            DtypeError,
            "matrix of a floating-point",
        ),
        (
            lambda: imrotate(X[0], 0.1),
            ShapeError,
            "shape (batch, height, width, channels)",
        ),
        (lambda: imrotate(X[:, :0], 0.1), ShapeError, "at least 1 pixel along each"),
        (lambda: imrotate(X, jnp.ones(2)), ShapeError, "angle of shape () or (batch,)"),
        (lambda: imrotate(X, 0.1, method="cubic"), RangeError, "method to be one of"),
        (
            lambda: imrotate(X, 0.1, midpoint=2),
            RangeError,
            "midpoint to be a tuple of two",
        ),
        (
            lambda: imrotate(X, 0.1, midpoint=(1, "2")),
            RangeError,
            "midpoint to be a tuple",
        ),
        (lambda: imrotate(X, 0.1, midpoint=(1, 2, 3)), RangeError, "midpoint to be"),
        (lambda: imrotate(X.astype(int), 0.1), DtypeError, "x of a floating-point dtype"),
        (lambda: imrotate(X, jnp.array(1)), DtypeError, "angle of a floating-point dtype"),
    ],
)
def test_what_does_not_fit_is_refused(call, kind, expected):
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.expected.startswith(expected)
