# SPDX-License-Identifier: Apache-2.0
"""BatchNorm and LayerNorm: both modes, running statistics, large offsets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs

X = np.random.default_rng(0).normal(3.0, 2.0, (6, 5, 4)).astype(np.float32)


def trained(layer, x):
    return rs.recording(lambda m: m(x), layer)


def test_the_numbers_that_flux_pins():
    # Flux.jl test/layers/normalisation.jl, columns as examples.
    x = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    y, norm = trained(rs.BatchNorm(2), x)
    np.testing.assert_allclose(y, np.array([[-1, -1], [0, 0], [1, 1]]) * 1.22474, atol=1e-5)
    np.testing.assert_allclose(norm.running_mean, [0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(norm.running_variance, [1.3, 1.3], rtol=1e-6)
    np.testing.assert_allclose(norm(x)[0, 0], (1 - 0.3) / np.sqrt(1.3), rtol=1e-4)


def test_training_uses_the_batch_and_moves_the_statistics_over_several_steps():
    norm = rs.BatchNorm(4, jnp.tanh, momentum=0.3, epsilon=1e-3)
    norm = norm.replace(scale=jnp.array([1.0, 2, 3, 4]), shift=jnp.array([0.5, 0, -1, 2]))
    mean, variance = np.zeros(4), np.ones(4)
    for step in range(3):
        x = X * (step + 1)
        y, norm = trained(norm, x)
        flat = x.reshape(-1, 4).astype(np.float64)
        expected = (x - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-3)
        expected = np.tanh(expected * [1, 2, 3, 4] + [0.5, 0, -1, 2])
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
        mean = 0.7 * mean + 0.3 * flat.mean(0)
        variance = 0.7 * variance + 0.3 * flat.var(0, ddof=1)
        np.testing.assert_allclose(norm.running_mean, mean, rtol=1e-5)
        np.testing.assert_allclose(norm.running_variance, variance, rtol=1e-5)
    expected = np.tanh((X - mean) / np.sqrt(variance + 1e-3) * [1, 2, 3, 4] + [0.5, 0, -1, 2])
    np.testing.assert_allclose(norm(X), expected, rtol=1e-4, atol=1e-5)


def test_inference_changes_nothing_and_can_be_pinned():
    norm = rs.testmode(rs.BatchNorm(4))
    y, after = trained(norm, X)
    np.testing.assert_array_equal(y, norm(X))
    assert after == norm


@pytest.mark.parametrize("count", [0, 1])
def test_one_value_for_each_channel_in_training_is_refused(count):
    model = rs.Chain(rs.BatchNorm(4))
    with pytest.raises(rs.ShapeError) as caught:
        rs.gradient(lambda m, x: m(x).sum(), model, jnp.ones((count, 4)))
    assert caught.value.where == ".layers[0]"
    assert "at least 2 values" in caught.value.expected
    assert "rs.testmode" in caught.value.fix
    assert rs.testmode(model)(jnp.ones((1, 4))).shape == (1, 4)


def test_one_image_of_several_pixels_is_enough():
    y, _ = trained(rs.BatchNorm(1), jnp.arange(4.0).reshape(1, 4, 1))
    assert np.isfinite(y).all()


def test_statistics_are_exact_at_a_large_offset():
    x = (X - X.mean()).astype(np.float32) + np.float32(1e6)
    flat = x.reshape(-1, 4).astype(np.float64)
    y, _ = trained(rs.BatchNorm(4), x)
    expected = (x - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_without_statistics_inference_uses_the_batch():
    norm = rs.BatchNorm(4, affine=False, track_statistics=False)
    assert not jax.tree.leaves(norm)
    np.testing.assert_array_equal(norm(X), trained(norm, X)[0])


def test_no_gradient_flows_into_the_running_statistics():
    grads = rs.gradient(lambda m: (m(X) ** 3).sum(), rs.BatchNorm(4))
    assert grads.running_mean is None
    assert grads.running_variance is None


def test_half_precision_keeps_statistics_in_float32():
    norm = rs.bf16(rs.BatchNorm(4))
    y, after = trained(norm, jnp.asarray(X, jnp.bfloat16))
    assert (y.dtype, after.running_mean.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_allclose(after.running_mean, 0.1 * X.reshape(-1, 4).mean(0), rtol=1e-2)


@pytest.mark.parametrize("sizes", [4, (5, 4)])
def test_a_layer_norm_is_the_formula_written_again(sizes):
    norm = rs.LayerNorm(sizes, epsilon=1e-3)
    shape = norm.sizes
    scale = np.linspace(0.5, 2, np.prod(shape)).reshape(shape).astype(np.float32)
    norm = norm.replace(scale=scale, shift=-scale)
    axes = tuple(range(-len(shape), 0))
    x = X.astype(np.float64)
    normal = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-3)
    np.testing.assert_allclose(norm(X), normal * scale - scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "build",
    [
        lambda: rs.BatchNorm(0),
        lambda: rs.BatchNorm(4, momentum=1.5),
        lambda: rs.BatchNorm(4, momentum=float("nan")),
        lambda: rs.BatchNorm(4, epsilon=0),
        lambda: rs.LayerNorm(()),
        lambda: rs.LayerNorm((3, 0)),
        lambda: rs.LayerNorm(3, epsilon=-1e-5),
    ],
)
def test_arguments_out_of_range_are_refused(build):
    with pytest.raises(rs.RangeError):
        build()
