# SPDX-License-Identifier: Apache-2.0
"""BatchNorm and InstanceNorm: both modes, running statistics, large offsets, refusals."""

import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from tests.stored import stored

X = np.random.default_rng(0).normal(3.0, 2.0, (6, 5, 4)).astype(np.float32)


@jax.jit
def trained(layer, x):
    return rs.recording(lambda m: m(x), layer)


# --- the numbers that others have -------------------------------------------------------


def test_the_numbers_that_flux_pins_for_batch_norm():
    # Flux.jl test/layers/normalisation.jl, columns as examples.
    x = jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    y, norm = trained(rs.BatchNorm(2), x)
    np.testing.assert_allclose(y, np.array([[-1, -1], [0, 0], [1, 1]]) * 1.22474, atol=1e-5)
    np.testing.assert_allclose(norm.running_mean, [0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(norm.running_variance, [1.3, 1.3], rtol=1e-6)
    np.testing.assert_allclose(norm(x)[0, 0], (1 - 0.3) / np.sqrt(1.3), rtol=1e-4)


def test_the_numbers_that_flux_pins_for_instance_norm():
    # The same file: 1 to 12 in column-major order as (width, channel, batch).
    x = jnp.arange(1.0, 13).reshape(2, 2, 3).transpose(0, 2, 1)
    y, norm = trained(rs.InstanceNorm(2, affine=True, track_statistics=True), x)
    expected = np.array([-1.22474, 0, 1.22474])[None, :, None] * np.ones((2, 3, 2))
    np.testing.assert_allclose(y, expected, atol=2e-5)
    np.testing.assert_allclose(norm.running_mean, [0.5, 0.8], rtol=1e-6)
    np.testing.assert_allclose(norm.running_variance, [1.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(norm(x)[0, 0, 0], 1 - 0.5, rtol=1e-4)


@pytest.mark.parametrize(
    ("group", "norm"),
    [
        ("batch_norm", rs.BatchNorm(6)),
        ("instance_norm", rs.InstanceNorm(6, affine=True, track_statistics=True)),
    ],
)
def test_steps_and_gradients_are_those_of_pytorch(group, norm):
    # Sums of 35 numbers of float32, over a root.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    want = stored("normalisation", group)
    norm = norm.replace(scale=want["scale"], shift=want["shift"])

    @jax.jit
    def step(norm, x, g):
        def loss(both):
            y = both[0](both[1])
            return (y * g).sum(), y

        (_, y), grads, (norm, _) = rs.withgradient(loss, (norm, x))
        return y, grads, norm

    for i in range(len(want["x"])):
        y, (grads, dx), norm = step(norm, want["x"][i], want["g"][i])
        close(y, want["y"][i])
        close(dx, want["dx"][i])
        close(grads.scale, want["dscale"][i])
        close(grads.shift, want["dshift"][i])
        close(norm.running_mean, want["running_mean"][i])
        close(norm.running_variance, want["running_variance"][i])
    y, pull = jax.vjp(norm, want["x"][-1])
    close(y, want["inferred"])
    close(pull(jnp.asarray(want["g"][-1]))[0], want["inferred_dx"])


# --- modes and statistics ---------------------------------------------------------------


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


@pytest.mark.parametrize("build", [rs.BatchNorm, rs.InstanceNorm])
def test_inference_changes_nothing_and_can_be_pinned(build):
    norm = rs.testmode(build(4, track_statistics=True))
    y, after = trained(norm, X)
    np.testing.assert_allclose(y, norm(X), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(y, X / np.sqrt(1 + 1e-5), rtol=1e-5)
    assert after == norm


@pytest.mark.parametrize("build", [rs.BatchNorm, rs.InstanceNorm])
def test_without_statistics_inference_uses_the_input(build):
    norm = build(4, affine=False, track_statistics=False)
    assert not jax.tree.leaves(norm)
    np.testing.assert_allclose(norm(X), trained(norm, X)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("affine", "count"), [(True, 2), (False, 0)])
@pytest.mark.parametrize("build", [rs.BatchNorm, rs.InstanceNorm])
def test_affine_layers_have_two_trained_arrays_and_others_none(build, affine, count):
    norm = build(4, affine=affine, track_statistics=True)
    assert len(rs.trainables(norm)) == count
    assert len(jax.tree.leaves(norm)) == count + 2


def test_no_gradient_flows_into_the_running_statistics():
    grads = rs.gradient(lambda m: (m(X) ** 3).sum(), rs.BatchNorm(4))
    assert grads.running_mean is None
    assert grads.running_variance is None

    def moved(x):
        after = trained(rs.BatchNorm(4), x)[1]
        return after.running_mean.sum() + after.running_variance.sum()

    assert not jax.grad(moved)(jnp.asarray(X)).any()


def test_half_precision_keeps_statistics_in_float32():
    norm = rs.bf16(rs.BatchNorm(4))
    y, after = trained(norm, jnp.asarray(X, jnp.bfloat16))
    assert (y.dtype, after.running_mean.dtype) == (jnp.bfloat16, jnp.float32)
    np.testing.assert_allclose(after.running_mean, 0.1 * X.reshape(-1, 4).mean(0), rtol=1e-2)


def test_statistics_are_exact_at_a_large_offset():
    x = (X - X.mean()).astype(np.float32) + np.float32(1e6)
    flat = x.reshape(-1, 4).astype(np.float64)
    y, after = trained(rs.BatchNorm(4), x)
    expected = (x - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    moved = 0.9 + 0.1 * flat.var(0, ddof=1)
    np.testing.assert_allclose(after.running_variance, moved, rtol=1e-6)


# --- what the norms are to each other ---------------------------------------------------


def test_more_spatial_axes_are_one_long_one():
    x = X.reshape(2, 3, 1, 5, 4)
    y, after = trained(rs.BatchNorm(4), x)
    flat, flat_after = trained(rs.BatchNorm(4), X.reshape(-1, 4))
    np.testing.assert_allclose(y.reshape(-1, 4), flat, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after.running_variance, flat_after.running_variance, rtol=1e-6)


def test_instance_norm_is_batch_norm_with_the_batch_among_the_channels():
    y = rs.InstanceNorm(4)(X)
    folded = X.transpose(1, 0, 2).reshape(5, 24)
    batch = rs.BatchNorm(24, affine=False, track_statistics=False)(folded)
    np.testing.assert_allclose(y, batch.reshape(5, 6, 4).transpose(1, 0, 2), atol=1e-6)


def test_derivatives_of_all_orders_and_modes_pass_through_training():
    norm = rs.BatchNorm(4, affine=False)

    def total(x):
        return trained(norm, x.reshape(3, 4))[0].sum()

    # The sum of what has mean 0 is constant: up to rounding in float32.
    bend = jax.hessian(total)(jnp.asarray(X[0, :3].ravel()))
    np.testing.assert_allclose(bend, 0, atol=1e-5)
    _, dy = jax.jvp(lambda x: trained(norm, x)[0], (X[0],), (np.ones((5, 4), np.float32),))
    np.testing.assert_allclose(dy, 0, atol=1e-6)
    (_, after), _ = jax.jvp(lambda x: trained(norm, x), (X[0],), (X[0],))
    np.testing.assert_allclose(after.running_mean, 0.1 * X[0].mean(0), rtol=1e-5)


# --- refusals ---------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1])
def test_one_value_for_each_channel_in_training_is_refused(count):
    model = rs.Chain(rs.BatchNorm(4))
    for call in (
        lambda: rs.gradient(lambda m, x: m(x).sum(), model, jnp.ones((count, 4))),
        lambda: trained(model, jnp.ones((count, 4))),
    ):
        with pytest.raises(rs.ShapeError) as caught:
            call()
        assert caught.value.where == ".layers[0]"
        assert "at least 2 values" in caught.value.expected
        assert "rs.testmode" in caught.value.fix
    assert rs.testmode(model)(jnp.ones((count, 4))).shape == (count, 4)


def test_one_value_without_statistics_is_refused_with_the_way_out():
    with pytest.raises(rs.ShapeError) as caught:
        rs.BatchNorm(4, track_statistics=False)(jnp.ones((1, 4)))
    assert "track_statistics=True" in caught.value.fix


def test_one_image_of_several_pixels_is_enough():
    y, _ = trained(rs.BatchNorm(1), jnp.arange(4.0).reshape(1, 4, 1))
    assert np.isfinite(y).all()


@pytest.mark.parametrize("shape", [(6, 4), (6, 1, 4), (6, 0, 4)])
def test_instance_norm_needs_two_values_in_space(shape):
    with pytest.raises(rs.ShapeError):
        rs.InstanceNorm(4)(jnp.ones(shape))


def test_an_empty_batch_has_no_statistics_to_record():
    norm = rs.InstanceNorm(4, track_statistics=True)
    with pytest.raises(rs.ShapeError):
        trained(norm, X[:0])
    assert norm(X[:0]).shape == rs.InstanceNorm(4)(X[:0]).shape == (0, 5, 4)


@pytest.mark.parametrize("build", [rs.BatchNorm, rs.InstanceNorm])
@pytest.mark.parametrize(
    "options",
    [
        {"channels": 0},
        {"momentum": 1.5},
        {"momentum": float("nan")},
        {"epsilon": 0},
    ],
)
def test_arguments_out_of_range_are_refused(build, options):
    with pytest.raises(rs.RangeError) as caught:
        build(**{"channels": 4, **options})
    assert caught.value.subject == build.__name__


def test_printing_shows_the_call_that_builds_the_layer():
    assert repr(rs.InstanceNorm(4)) == "InstanceNorm(4)"
    norm = rs.InstanceNorm(4, rs.tanh, affine=True, momentum=0.5)
    assert repr(norm) == "InstanceNorm(4, tanh, affine=True, momentum=0.5)"


# --- over several devices ---------------------------------------------------------------

SHARDED = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
import rosin as rs

mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
x = np.random.default_rng(0).normal(size=(16, 3, 4)).astype(np.float32)
x += np.arange(16, dtype=np.float32)[:, None, None]  # no two devices have the same mean
norm = rs.BatchNorm(4)

def step(norm, x):
    loss = lambda both: (both[0](both[1]) ** 3).sum()
    return rs.withgradient(loss, (norm, x))

whole = jax.jit(step)(norm, x)
parts = jax.jit(step)(norm, jax.device_put(x, NamedSharding(mesh, PartitionSpec("batch"))))
assert len(parts[1][1].sharding.device_set) == 8
for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
alone = rs.recording(lambda m: m(x[:2]), norm)[1].running_mean
assert not np.allclose(alone, parts[2][0].running_mean, atol=1e-2)
sys.exit(42)
"""


def test_a_batch_over_eight_devices_has_one_mean():
    flags = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    flags["JAX_PLATFORMS"] = "cpu"
    done = subprocess.run(
        [sys.executable, "-c", SHARDED],
        env=flags,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 42, done.stderr
