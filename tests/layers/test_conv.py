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


def test_a_layer_shows_its_multiply_adds_however_it_computes():
    x = (2, 7, 6, 4)
    for layer, taps in [
        (rs.Conv((3, 2), 4, 8, key=KEY), 6 * 4),
        (rs.Conv((1, 1), 4, 8, key=KEY), 4),
        (rs.Conv((3, 2), 4, 8, groups=2, key=KEY), 6 * 2),
        (rs.DepthwiseConv((3, 2), 4, multiplier=2, key=KEY), 6),
    ]:
        outputs = np.prod(rs.outputsize(layer, x))
        assert rs.summary(layer, x).total.multiply_adds == outputs * taps


@pytest.mark.parametrize(
    ("kernel", "pad", "expected"), [((3, 3), 1, (2, 11, 9, 4)), ((4, 4), "same", (2, 12, 10, 4))]
)
def test_transposing_turns_the_sizes_of_a_strided_conv_back(kernel, pad, expected):
    layer = rs.ConvTranspose(kernel, 2, 4, stride=2, pad=pad, key=KEY)
    assert rs.outputsize(layer, (2, 6, 5, 2)) == expected


def test_flux_s_sizes_of_same_pads():
    # Flux.jl test/layers/conv.jl: at stride 3 the size is divided and rounded up, and
    # multiplied by a transposed convolution.
    for kernel in [(1, 1), (2, 2), (3, 3), (4, 5)]:
        strided = rs.Conv(kernel, 1, 2, stride=3, pad="same", key=KEY)
        assert rs.outputsize(strided, (1, 28, 28, 1)) == (1, 10, 10, 2)
        back = rs.ConvTranspose(kernel, 1, 2, stride=3, pad="same", key=KEY)
        assert rs.outputsize(back, (1, 10, 10, 1)) == (1, 30, 30, 2)
        pool = rs.MaxPool(kernel, pad="same")
        rounded = tuple(-(-28 // k) for k in kernel)
        assert rs.outputsize(pool, (1, 28, 28, 1)) == (1, *rounded, 1)


def test_flux_s_output_padding_adds_exactly():
    plain = rs.ConvTranspose((3, 3), 1, 1, stride=3, key=KEY)
    longer = rs.ConvTranspose((3, 3), 1, 1, stride=3, output_padding=(1, 2), key=KEY)
    assert rs.outputsize(plain, (1, 5, 5, 1)) == (1, 15, 15, 1)
    assert rs.outputsize(longer, (1, 5, 5, 1)) == (1, 16, 17, 1)
    longer = longer.replace(weight=plain.weight)
    x = np.random.default_rng(0).normal(size=(1, 5, 5, 1)).astype(np.float32)
    np.testing.assert_array_equal(longer(x)[:, :15, :15], plain(x))


def test_an_output_padding_that_is_out_of_range_is_refused_when_the_layer_is_built():
    for options in ({"output_padding": 1}, {"stride": 2, "output_padding": 1, "pad": "same"}):
        with pytest.raises(rs.RangeError) as caught:
            rs.ConvTranspose((3,), 1, 1, key=KEY, **options)
        assert caught.value.subject == "ConvTranspose"


def test_a_depthwise_kernel_sees_its_own_channel_only():
    layer = rs.DepthwiseConv((3,), 3, multiplier=2, key=KEY)
    x = np.zeros((1, 5, 3), np.float32)
    x[0, 2, 1] = 1
    y = layer(x)
    assert layer.weight.shape == (3, 1, 6)
    np.testing.assert_array_equal(np.flatnonzero(np.abs(y).max((0, 1))), [2, 3])
    with pytest.raises(rs.RangeError):
        rs.DepthwiseConv((3,), 3, multiplier=0, key=KEY)
    with pytest.raises(rs.ShapeError) as caught:
        layer(x[..., :2])
    assert "channels=2" in caught.value.fix


def test_flux_s_adaptive_pools_are_plain_pools_where_sizes_divide():
    x = np.random.default_rng(0).normal(size=(2, 10, 6, 3)).astype(np.float32)
    for adaptive, plain in [
        (rs.AdaptiveMaxPool, rs.MaxPool),
        (rs.AdaptiveMeanPool, rs.MeanPool),
    ]:
        got = adaptive((5, 2))(x)
        np.testing.assert_allclose(got, plain((2, 3))(x), atol=1e-6)
        assert repr(adaptive((5, 2))) == f"{adaptive.__name__}((5, 2))"
        with pytest.raises(rs.RangeError) as caught:
            adaptive(7)
        assert caught.value.fix == "pass size=(7, 7) for two spatial axes"


def test_lp_pools_print_and_check_their_exponent():
    assert repr(rs.LpPool(2, (2, 2), stride=1)) == "LpPool(2.0, (2, 2), stride=(1, 1))"
    with pytest.raises(rs.RangeError):
        rs.LpPool(0.5, (2, 2))


def test_flux_s_network_of_images_gives_one_row_for_each():
    model = rs.Chain(
        rs.Conv((2, 2), 1, 16, rs.relu, key=KEY),
        rs.MaxPool((2, 2)),
        rs.Conv((2, 2), 16, 8, rs.relu, key=KEY),
        rs.MaxPool((2, 2)),
        rs.flatten,
        rs.Dense(288, 10, key=KEY),
    )
    assert rs.outputsize(model, (5, 28, 28, 1)) == (5, 10)


@pytest.mark.parametrize("layer", [rs.Conv, rs.ConvTranspose])
def test_without_a_bias_there_is_none_to_train(layer):
    made = layer((2, 2), 1, 3, bias=False, key=KEY)
    x = jnp.zeros((1, 3, 3, 1))
    loss, grads, _ = rs.withgradient(lambda m: ((m(x) - 2) ** 2).mean(), made)
    assert made.bias is grads.bias is None
    assert loss == 4  # Flux.jl test/layers/conv.jl: it can fit no constant
    np.testing.assert_array_equal(grads.weight, jnp.zeros_like(made.weight))


@pytest.mark.parametrize("layer", [rs.Conv, rs.ConvTranspose, rs.DepthwiseConv])
def test_an_initialiser_decides_dtypes_and_keeps_to_the_shape(layer):
    sizes = (4,) if layer is rs.DepthwiseConv else (4, 6)
    made = layer((3,), *sizes, init=lambda key, shape: jnp.ones(shape, jnp.bfloat16), key=KEY)
    assert made.weight.dtype == made.bias.dtype == jnp.bfloat16
    with pytest.raises(rs.ShapeError):
        layer((3,), *sizes, init=lambda key, shape: jnp.ones(shape[1:]), key=KEY)
    with pytest.raises(rs.StructureError):
        layer((3,), *sizes, bias=0, key=KEY)


@pytest.mark.parametrize("layer", [rs.Conv, rs.ConvTranspose, rs.DepthwiseConv])
def test_float64_data_is_cast_with_a_warning(layer):
    made = layer((3,), *((4,) if layer is rs.DepthwiseConv else (4, 6)), key=KEY)
    with pytest.warns(UserWarning, match="float64 NumPy array is cast to float32"):
        assert made(np.ones((1, 5, 4))).dtype == jnp.float32


@pytest.mark.parametrize("layer", [rs.Conv, rs.ConvTranspose, rs.DepthwiseConv])
def test_a_kernel_without_its_axes_is_refused_and_told_how(layer):
    with pytest.raises(rs.RangeError) as caught:
        layer(3, 1, *(() if layer is rs.DepthwiseConv else (8,)), key=KEY)
    assert caught.value.fix == "pass kernel=(3, 3) for two spatial axes"
