# SPDX-License-Identifier: Apache-2.0
"""LayerNorm, RMSNorm, GroupNorm, LocalResponseNorm: formulas, peers, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from tests.stored import stored

X = np.random.default_rng(0).normal(3.0, 2.0, (6, 5, 4)).astype(np.float32)
# Sums of up to 42 numbers of float32, over a root.
close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sizes", [4, (5, 4)])
def test_a_layer_norm_is_the_formula_written_again(sizes):
    norm = rs.LayerNorm(sizes, epsilon=1e-3)
    shape = norm.sizes
    scale = np.linspace(0.5, 2, np.prod(shape)).reshape(shape).astype(np.float32)
    norm = norm.replace(scale=scale, shift=-scale)
    axes = tuple(range(-len(shape), 0))
    x = X.astype(np.float64)
    normal = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-3)
    close(norm(X), normal * scale - scale)


@pytest.mark.parametrize("sizes", [4, (5, 4)])
def test_an_rms_norm_is_the_formula_written_again(sizes):
    norm = rs.RMSNorm(sizes, jnp.tanh, epsilon=1e-3)
    scale = np.linspace(0.5, 2, np.prod(norm.sizes)).reshape(norm.sizes).astype(np.float32)
    axes = tuple(range(-len(norm.sizes), 0))
    size = np.sqrt((X.astype(np.float64) ** 2).mean(axes, keepdims=True) + 1e-3)
    close(norm.replace(scale=scale)(X), np.tanh(X / size * scale))
    close(rs.RMSNorm(norm.sizes, affine=False, epsilon=1e-3)(X), X / size)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_group_norm_is_the_formula_written_again(groups):
    norm = rs.GroupNorm(4, groups, rs.tanh, epsilon=1e-3)
    scale, shift = np.array([0.5, 2, -1, 3], "f4"), np.array([1, -1, 0.5, 2], "f4")
    parts = X.astype(np.float64).reshape(6, 5, groups, -1)
    mean, variance = (f((1, 3), keepdims=True) for f in (parts.mean, parts.var))
    expected = ((parts - mean) / np.sqrt(variance + 1e-3)).reshape(X.shape) * scale + shift
    close(norm.replace(scale=scale, shift=shift)(X), np.tanh(expected))


def test_a_local_response_norm_is_the_formula_written_again():
    norm = rs.LocalResponseNorm(3, alpha=0.3, beta=0.6, k=1.5)
    padded = np.pad(X.astype(np.float64) ** 2, [(0, 0), (0, 0), (1, 1)])
    total = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
    close(norm(X), X / (1.5 + 0.1 * total) ** 0.6)


@pytest.mark.parametrize(
    ("group", "norm"),
    [
        ("layer_norm", rs.LayerNorm((7, 6))),
        ("rms_norm", rs.RMSNorm(6)),
        ("group_norm", rs.GroupNorm(6, 3)),
        ("local_response_norm", rs.LocalResponseNorm(4, alpha=0.5)),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_values_and_gradients_are_those_of_pytorch(group, norm, training):
    want = stored("normalisation", group)
    norm = norm.replace(**{n: want[n] for n in ("scale", "shift") if n in want})

    def loss(both):
        y = both[0](both[1])
        return (y * want["g"]).sum(), y

    mode = rs.trainmode if training else rs.testmode
    gradient = jax.jit(lambda norm, x: rs.withgradient(loss, (mode(norm), x)))
    (_, y), (grads, dx), _ = gradient(norm, want["x"])
    close(y, want["y"])
    close(dx, want["dx"])
    for name in {"scale", "shift"} & want.keys():
        close(getattr(grads, name), want["d" + name])


def test_group_norm_lies_between_instance_and_layer_norm():
    close(rs.GroupNorm(4, 4)(X), rs.InstanceNorm(4)(X))
    close(rs.GroupNorm(4, 1)(X), rs.LayerNorm((5, 4))(X))


def test_group_norm_of_one_example_is_batch_norm_where_groups_are_channels():
    y, _ = rs.recording(lambda m: m(X[:1]), rs.BatchNorm(4))
    close(rs.GroupNorm(4, 4)(X[:1]), y)


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_rms_norm_is_right_at_extreme_sizes(scale):
    x = np.array([[1.0, -2.0, 4.0, 0.5]], np.float32) * np.float32(scale)
    wide = x.astype(np.float64)
    expected = wide / np.sqrt((wide**2).mean() + 1e-5)
    y, pull = jax.vjp(rs.RMSNorm(4), jnp.asarray(x))
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    slope = (1 - expected * expected.mean()) / np.sqrt((wide**2).mean() + 1e-5)
    np.testing.assert_allclose(pull(jnp.ones((1, 4)))[0], slope, rtol=1e-6)


@pytest.mark.parametrize(
    ("layer", "count"),
    [
        (rs.LayerNorm(4), 2),
        (rs.LayerNorm(4, affine=False), 0),
        (rs.RMSNorm(4), 1),
        (rs.RMSNorm(4, affine=False), 0),
        (rs.GroupNorm(4, 2), 2),
        (rs.GroupNorm(4, 2, affine=False), 0),
        (rs.LocalResponseNorm(3), 0),
    ],
)
def test_affine_says_how_many_arrays_there_are(layer, count):
    assert len(rs.trainables(layer)) == len(jax.tree.leaves(layer)) == count


@pytest.mark.parametrize(
    "build",
    [
        lambda: rs.LayerNorm(()),
        lambda: rs.LayerNorm((3, 0)),
        lambda: rs.LayerNorm(3, epsilon=-1e-5),
        lambda: rs.RMSNorm(0),
        lambda: rs.RMSNorm(3, epsilon=0),
        lambda: rs.GroupNorm(4, 3),
        lambda: rs.GroupNorm(4, 0),
        lambda: rs.GroupNorm(0, 1),
        lambda: rs.GroupNorm(4, 2, epsilon=0),
        lambda: rs.LocalResponseNorm(0),
        lambda: rs.LocalResponseNorm(3, k=0),
        lambda: rs.LocalResponseNorm(3, alpha=-1),
    ],
)
def test_arguments_out_of_range_are_refused(build):
    with pytest.raises(rs.RangeError):
        build()


def test_groups_that_do_not_divide_are_told_the_nearest_that_do():
    with pytest.raises(rs.RangeError) as caught:
        rs.GroupNorm(12, 5)
    assert caught.value.expected == "groups to divide channels=12"
    assert caught.value.fix == "pass groups=4, or channels as a multiple of 5"


def test_a_group_of_one_value_is_refused():
    with pytest.raises(rs.ShapeError) as caught:
        rs.Chain(rs.GroupNorm(4, 4))(X[:, 0])
    assert caught.value.where == ".layers[0]"
    assert caught.value.got == "float32[6,4], which has 1"
    assert rs.GroupNorm(4, 2)(X[:, 0]).shape == (6, 4)


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (rs.RMSNorm((5, 4), rs.tanh, epsilon=0.1), "RMSNorm((5, 4), tanh, epsilon=0.1)"),
        (rs.GroupNorm(4, 2, affine=False), "GroupNorm(4, 2, affine=False)"),
        (rs.LocalResponseNorm(5, k=2), "LocalResponseNorm(5, k=2.0)"),
    ],
)
def test_printing_shows_the_call_that_builds_the_layer(layer, text):
    assert repr(layer) == text
