# SPDX-License-Identifier: Apache-2.0
"""Dropout: its two modes, its statistics, its random stream."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs

KEY = jax.random.key(0)


@jax.jit
def trained(layer, x):
    return rs.recording(lambda m: m(x), layer)


def test_inference_passes_the_input():
    x = jnp.ones((3, 4))
    assert rs.Dropout(0.5, key=KEY)(x) is x


def test_training_drops_with_the_probability_and_scales_the_rest():
    y, _ = trained(rs.Dropout(0.3, key=KEY), jnp.ones(100_000))
    dropped = float((y == 0).mean())
    assert abs(dropped - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 100_000)  # five standard errors
    np.testing.assert_allclose(y[y != 0], 1 / 0.7, rtol=1e-6)


@pytest.mark.parametrize(("probability", "expected"), [(0, 1), (1, 0)])
def test_the_ends_of_the_range(probability, expected):
    y, _ = trained(rs.Dropout(probability, key=KEY), jnp.ones(50))
    assert (y == expected).all()
    layer = rs.Chain(rs.Dropout(probability, key=KEY), rs.Dense(50, 1, key=KEY))
    grads = rs.gradient(lambda m: m(jnp.ones(50)).sum(), layer)
    assert np.isfinite(grads.layers[1].weight).all()


def test_each_call_moves_the_stream_on():
    layer = rs.Dropout(0.5, key=KEY)
    x = jnp.ones(64)
    (first, second), after = rs.recording(lambda m: (m(x), m(x)), layer)
    third, _ = trained(after, x)
    assert not (first == second).all()
    assert not (second == third).all()
    assert (trained(layer, x)[0] == first).all()


def test_the_mask_varies_along_the_axes_given_only():
    y, _ = trained(rs.Dropout(0.5, axes=0, key=KEY), jnp.ones((64, 3)))
    assert (y == y[:, :1]).all()
    assert not (y == y[:1]).all()


@pytest.mark.parametrize("probability", [1.7, -0.1, float("nan"), "0.5", True])
def test_a_probability_out_of_range_is_refused(probability):
    with pytest.raises(rs.RangeError) as caught:
        rs.Dropout(probability, key=KEY)
    assert caught.value.expected == "probability to be a number of at least 0 and at most 1"


def test_pinned_modes_win_over_the_gradient():
    x = jnp.ones(64)
    y, _ = trained(rs.testmode(rs.Dropout(0.5, key=KEY)), x)
    assert (y == x).all()
    with pytest.raises(rs.StateError) as caught:
        rs.trainmode(rs.Dropout(0.5, key=KEY))(x)
    assert "rs.recording" in caught.value.fix


# --- AlphaDropout, DropBlock ------------------------------------------------------------

OTHERS = {
    "AlphaDropout": lambda p=0.5: rs.AlphaDropout(p, key=KEY),
    "DropBlock": lambda p=0.5: rs.DropBlock(p, 2, key=KEY),
    "DropPath": lambda p=0.5: rs.DropPath(p, key=KEY),
}
others = pytest.mark.parametrize("build", OTHERS.values(), ids=OTHERS)


@others
def test_the_others_act_in_training_only_and_move_their_stream_on(build):
    x = jnp.ones((16, 6, 5))
    layer = build()
    assert layer(x) is x
    (first, second), after = rs.recording(lambda m: (m(x), m(x)), layer)
    assert not (first == second).all()
    assert not (first == x).all()
    assert (trained(layer, x)[0] == first).all()
    assert not rs.equal(after.key, layer.key)
    y, same = trained(build(0), x)
    assert (y == x).all()
    assert rs.equal(same.key, layer.key)


@others
@pytest.mark.parametrize("probability", [1.7, -0.1, float("nan"), "0.5", True])
def test_the_others_refuse_what_is_no_probability(build, probability):
    with pytest.raises(rs.RangeError):
        build(probability)


def test_alpha_dropout_keeps_mean_and_variance():
    x = jax.random.normal(jax.random.key(1), (100_000,))
    y, _ = trained(rs.AlphaDropout(0.3, key=KEY), x)
    np.testing.assert_allclose([y.mean(), y.var()], [0, 1], atol=0.03)  # five standard errors
    assert (trained(rs.AlphaDropout(1, key=KEY), x)[0] == 0).all()


def test_drop_block_drops_blocks_of_an_image():
    y, _ = trained(rs.DropBlock(0.2, 3, key=KEY), jnp.ones((2, 12, 12, 3)))
    assert 0.05 < float((y == 0).mean()) < 0.5
    np.testing.assert_allclose(np.asarray(y, np.float64).sum((1, 2, 3)), 12 * 12 * 3, rtol=1e-6)


def test_drop_block_needs_space_and_a_block():
    with pytest.raises(rs.ShapeError):
        rs.DropBlock(0.2, 3, key=KEY)(jnp.ones((2, 3)))
    with pytest.raises(rs.RangeError):
        rs.DropBlock(0.2, 0, key=KEY)


# --- DropPath, LayerScale ---------------------------------------------------------------


def test_drop_path_leaves_dropped_examples_to_the_shortcut():
    branch = rs.Chain(lambda x: 3 * x, rs.DropPath(0.25, key=KEY))
    x = jnp.arange(1.0, 201)[:, None]
    y, _ = trained(rs.SkipConnection(branch, jnp.add), x)
    np.testing.assert_allclose(np.unique((y / x).round(4)), [1, 5])
    assert 0.6 < float((y / x > 3).mean()) < 0.9
    with pytest.raises(rs.ShapeError):
        rs.DropPath(0.5, key=KEY)(jnp.ones(()))


def test_layer_scale_multiplies_each_feature():
    layer = rs.LayerScale(3, start=0.5)
    x = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(layer(x), x / 2)
    assert repr(layer) == "LayerScale(3, start=0.5)"
    assert repr(rs.LayerScale(3)) == "LayerScale(3)"
    assert rs.gradient(lambda m: m(x).sum(), layer).scale.tolist() == [3, 5, 7]
    with pytest.raises(rs.ShapeError):
        layer(jnp.ones((2, 4)))
    with pytest.raises(rs.RangeError):
        rs.LayerScale(3, start=float("inf"))


# --- RReLU ------------------------------------------------------------------------------


def test_rrelu_draws_slopes_in_training_and_takes_their_mean_in_inference():
    layer = rs.RReLU(lower=0.25, upper=0.75, key=KEY)
    x = jnp.concatenate([jnp.full(10_000, -2.0), jnp.full(10, 3.0)])
    y, after = trained(layer, x)
    slopes = np.asarray(y[:10_000]) / -2
    assert ((slopes >= 0.25) & (slopes <= 0.75)).all()
    assert abs(slopes.mean() - 0.5) < 5 * 0.5 / np.sqrt(12 * 10_000)  # five standard errors
    assert (y[10_000:] == 3).all()
    assert not rs.equal(after.key, layer.key)
    np.testing.assert_allclose(layer(x[:1]), [-1.0])


def test_bounds_of_rrelu_are_in_order():
    for bounds in ({"lower": -0.1}, {"upper": 1.5}, {"lower": 0.5, "upper": 0.25}):
        with pytest.raises(rs.RangeError):
            rs.RReLU(**bounds, key=KEY)
    assert repr(rs.RReLU(lower=0.2, key=KEY)) == "RReLU(lower=0.2)"
    assert repr(rs.RReLU(key=KEY)) == "RReLU()"
