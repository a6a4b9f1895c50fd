# SPDX-License-Identifier: Apache-2.0
"""Dropout: its two modes, its statistics, its random stream."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs

KEY = jax.random.key(0)


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
