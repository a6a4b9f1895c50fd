# SPDX-License-Identifier: Apache-2.0
"""Conv and the pools as layers; the arithmetic is tested with `rosin.functional`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs

KEY = jax.random.key(0)


def test_a_delta_shows_the_kernel_unflipped_at_the_mirrored_taps():
    layer = rs.Conv((3, 1), 1, 1, pad="same", key=KEY)
    x = jnp.zeros((1, 5, 1, 1)).at[0, 2, 0, 0].set(1)
    y = layer(x)[0, :, 0, 0]
    np.testing.assert_allclose(y[1:4], layer.weight[::-1, 0, 0, 0], rtol=1e-6)


def test_bias_and_activation_come_after_the_kernel():
    layer = rs.Conv((1,), 2, 3, jnp.tanh, key=KEY).replace(bias=jnp.array([0.5, -1.0, 2.0]))
    x = np.random.default_rng(0).normal(size=(2, 4, 2)).astype(np.float32)
    expected = np.tanh(x @ np.asarray(layer.weight[0]) + [0.5, -1, 2])
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5)


def test_flux_s_corner_counts_of_an_uneven_pad():
    # Flux.jl test/layers/conv.jl: pad (0, 1, 1, 2) on ones, 28 by 28, kernel of ones 3 by 3.
    layer = rs.Conv((3, 3), 1, 1, pad=((0, 1), (1, 2)), bias=False, key=KEY)
    layer = layer.replace(weight=jnp.ones((3, 3, 1, 1)))
    y = layer(jnp.ones((1, 28, 28, 1)))[0, :, :, 0]
    assert y.shape == (27, 29)
    corners = [y[0, 0], y[0, 1], y[0, -2], y[0, -1], y[-1, 0], y[-1, -1]]
    assert [int(v) for v in corners] == [6, 9, 6, 3, 4, 2]


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_groups_make_the_kernel_narrower(groups):
    layer = rs.Conv((3, 3), 6, 12, groups=groups, key=KEY)
    assert layer.weight.shape == (3, 3, 6 // groups, 12)
    assert layer(jnp.ones((1, 5, 5, 6))).shape == (1, 3, 3, 12)


@pytest.mark.parametrize(
    "options",
    [
        {"kernel": ()},
        {"kernel": (3, 0)},
        {"kernel": 3},
        {"in_channels": 0},
        {"groups": 4},
        {"groups": 0},
        {"stride": 0},
        {"stride": (1, 2, 3)},
        {"dilation": -1},
        {"pad": -1},
        {"pad": "full"},
        {"pad": ((1, 2), (3,))},
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused_when_the_layer_is_built(options):
    given = {"kernel": (3, 3), "in_channels": 2, "out_channels": 6, "key": KEY} | options
    with pytest.raises((rs.RangeError, rs.StructureError)) as caught:
        rs.Conv(**given)
    assert caught.value.subject == "Conv"


def test_an_image_without_a_batch_axis_is_refused_and_told_how():
    with pytest.raises(rs.ShapeError) as caught:
        rs.Chain(rs.Conv((3, 3), 1, 2, key=KEY))(jnp.ones((8, 8, 1)))
    assert caught.value.where == ".layers[0]"
    assert "x[None]" in caught.value.fix


@pytest.mark.parametrize("layer", [rs.MaxPool((9, 9)), rs.MeanPool((9, 9))], ids=repr)
def test_a_window_larger_than_the_image_is_refused(layer):
    with pytest.raises(rs.ShapeError):
        layer(jnp.ones((1, 8, 8, 1)))


@pytest.mark.parametrize("layer", [rs.MaxPool, rs.MeanPool])
def test_pools_print_and_check_their_window(layer):
    assert repr(layer((2, 2), stride=1, pad=1)) == (
        f"{layer.__name__}((2, 2), stride=(1, 1), pad=((1, 1), (1, 1)))"
    )
    for window in [(), (0, 2), 2]:
        with pytest.raises(rs.RangeError):
            layer(window)
