# SPDX-License-Identifier: Apache-2.0
"""WeightNorm and SpectralNorm: formulas, what the layer inside keeps, taking them off."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from tests.stored import stored

KEY = jax.random.key(0)
X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def dense(*arguments):
    return rs.Dense(*arguments, key=KEY)


def squares(both):
    y = both[0](both[1])
    return (y * both[2]).sum(), y


@jax.jit
def trained(layer, x):
    return rs.recording(lambda m: m(x), layer)


@jax.jit
def gradient(layer, x, g):
    """Return output and gradients as in training, and the layer with its new state."""
    (_, y), (grads, _, _), (layer, _, _) = rs.withgradient(squares, (layer, x, jnp.asarray(g)))
    return y, grads, layer


# --- WeightNorm -------------------------------------------------------------------------


def test_at_first_nothing_changes():
    layer = dense(3, 4, rs.tanh)
    close(rs.WeightNorm(layer)(X), layer(X))
    conv = rs.Conv((3, 3), 2, 4, key=KEY)
    x = jnp.ones((1, 5, 5, 2))
    close(rs.WeightNorm(conv)(x), conv(x), rtol=1e-5)


@pytest.mark.parametrize(("axis", "others"), [(-1, 0), (1, 0), (0, 1), ((), (0, 1))])
def test_the_array_is_direction_times_magnitude(axis, others):
    norm = rs.WeightNorm(dense(3, 4), axis=axis)
    magnitude = np.arange(1, norm.magnitude.size + 1, dtype=np.float32)
    norm = norm.replace(magnitude=magnitude.reshape(norm.magnitude.shape))
    weight = np.asarray(norm.layer.weight, np.float64)
    size = np.sqrt((weight**2).sum(others, keepdims=True))
    expected = weight / size * magnitude.reshape(size.shape)
    close(norm.array(), expected)
    close(norm(X), X @ expected + norm.layer.bias)


def test_weight_norm_is_that_of_pytorch():
    want = stored("normalisation", "weight_norm")
    norm = rs.WeightNorm(rs.Dense(4, 3, bias=False, key=KEY))
    norm = norm.replace(layer=norm.layer.replace(weight=want["v"]), magnitude=want["magnitude"])
    y, grads, _ = gradient(norm, want["x"], want["g"])
    close(y, want["y"])
    close(grads.layer.weight, want["dv"])
    close(grads.magnitude, want["dmagnitude"])


def test_a_step_along_the_gradient_keeps_the_direction_orthogonal():
    grads = rs.gradient(lambda m: (m(X) ** 2).sum(), rs.WeightNorm(dense(3, 4)))
    weight = dense(3, 4).weight
    # Salimans & Kingma 2016, eq. 3: the gradient by v is orthogonal to v.
    close((grads.layer.weight * weight).sum(0), 0, atol=1e-5)


# --- SpectralNorm -----------------------------------------------------------------------


def test_the_largest_singular_value_becomes_one():
    norm = rs.SpectralNorm(dense(3, 4), iterations=50, key=KEY)
    _, norm = trained(norm, X)
    assert abs(np.linalg.norm(np.asarray(norm.array(), np.float64), 2) - 1) < 1e-5


def test_spectral_norm_is_that_of_pytorch():
    want = stored("normalisation", "spectral_norm")
    conv = rs.Conv((2,), 4, 3, bias=False, key=KEY).replace(weight=want["weight"])
    norm = rs.SpectralNorm(conv, key=KEY).replace(u=want["u"], v=want["v"])
    y, grads, norm = gradient(norm, want["x"], want["g"])
    close(y, want["trained_y"], atol=1e-5)
    close(grads.layer.weight, want["trained_dweight"], atol=1e-5)
    close(norm.u, want["trained_u"])
    close(norm.v, want["trained_v"])
    y, grads, again = gradient(rs.testmode(norm), want["x"], want["g"])
    close(y, want["inferred_y"], atol=1e-5)
    close(grads.layer.weight, want["inferred_dweight"], atol=1e-5)
    assert again == rs.testmode(norm)


def test_inference_is_a_function_of_the_input_alone():
    norm = rs.SpectralNorm(dense(3, 4), key=KEY)
    np.testing.assert_array_equal(norm(X), norm(X))
    _, moved = trained(norm, X)
    assert not rs.equal(moved.u, norm.u)
    grads = rs.gradient(lambda m: m(X).sum(), norm)
    assert grads.u is None
    assert grads.v is None


def test_each_iteration_in_training_comes_nearer():
    weight = rs.SpectralNorm(dense(30, 30), key=KEY).layer.weight
    largest = np.linalg.norm(np.asarray(weight, np.float64), 2)
    errors = []
    for iterations in (1, 9):
        norm = rs.SpectralNorm(dense(30, 30), iterations=iterations, key=KEY)
        _, norm = trained(norm, jnp.ones((1, 30)))
        errors.append(abs(float((weight / norm.array())[0, 0]) / largest - 1))
    assert errors[0] > errors[1]


def test_an_array_that_training_made_zero_stays_zero_and_finite():
    norm = rs.SpectralNorm(rs.Dense(3, 4, bias=False, key=KEY), key=KEY)
    zero = norm.replace(layer=norm.layer.replace(weight=jnp.zeros((3, 4))))
    y, grads, after = gradient(zero, X, np.ones((5, 4), np.float32))
    assert not y.any()
    assert np.isfinite(grads.layer.weight).all()
    close(np.linalg.norm(after.u), 1)  # so that it can recover


# --- what the layer inside keeps --------------------------------------------------------

WRAPPERS = {
    "weight": rs.WeightNorm,
    "spectral": lambda layer, which: rs.SpectralNorm(layer, which, key=KEY),
}
wrapped = pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)


def deep():
    return rs.Chain(dense(3, 4), rs.BatchNorm(4), rs.Dropout(0.5, key=KEY))


@wrapped
def test_layers_inside_record_and_come_back_with_their_own_array(wrap):
    norm = wrap(deep(), "layers[0].weight")
    _, after = trained(norm, X)
    assert rs.equal(after.layer.layers[0].weight, norm.layer.layers[0].weight)
    assert after.layer.layers[1].running_mean.any()
    assert not rs.equal(after.layer.layers[2].key, norm.layer.layers[2].key)
    _, eager = rs.recording(lambda m: m(X), norm)
    close(eager.layer.layers[1].running_mean, after.layer.layers[1].running_mean)


@wrapped
def test_errors_inside_have_their_place(wrap):
    model = rs.Chain(wrap(rs.Chain(dense(3, 4), dense(5, 1)), "layers[0].weight"))
    for call in (lambda: model(X), lambda: rs.gradient(lambda m: m(X).sum(), model)):
        with pytest.raises(rs.ShapeError) as caught:
            call()
        assert caught.value.where == ".layers[0].layer.layers[1]"
        assert caught.value.subject == "Dense(5, 1)"


@wrapped
def test_they_work_inside_scan_vmap_remat_and_share(wrap):
    layers = [wrap(dense(3, 3, rs.tanh), "weight") for _ in range(2)]
    chain = rs.Chain(*layers)
    y, _ = trained(chain, X)
    for other in (rs.scan_layers(layers), rs.remat(chain)):
        z, _ = trained(other, X)
        close(z, y)
    tied = rs.share(layers[0])
    z, _ = rs.recording(lambda m: m(X), rs.Chain(tied, tied))
    assert z.shape == y.shape
    members = jax.tree.map(lambda *a: jnp.stack(a), *layers)
    z, _ = rs.recording(lambda m: rs.vmap(lambda m, x: m(x), in_axes=(0, None))(m, X), members)
    close(z[1], trained(layers[1], X)[0])


@wrapped
@pytest.mark.parametrize("convert", [rs.f16, rs.bf16])
def test_half_types_are_put_together_in_float32(wrap, convert):
    norm = convert(wrap(dense(3, 4), "weight"))
    assert norm.array().dtype == norm.layer.weight.dtype
    exact = rs.f32(norm).array()
    eps = float(jnp.finfo(norm.array().dtype).eps)
    close(norm.array().astype(jnp.float32), exact, rtol=eps, atol=0)


@wrapped
def test_frozen_parts_and_modes_reach_inside(wrap):
    model = rs.freeze(rs.Chain(wrap(deep(), "layers[0].weight")), "layers[0].layer")
    assert all("magnitude" in path for path in rs.trainables(model, paths=True))
    pinned = rs.testmode(wrap(deep(), "layers[0].weight"))
    assert trained(pinned, X)[1] == pinned


@wrapped
def test_taking_them_off_leaves_plain_layers_that_compute_the_same(wrap):
    model = rs.Chain(wrap(deep(), "layers[0].weight"), wrap(dense(4, 2), "weight"), rs.tanh)
    _, model = trained(model, X)
    plain = rs.remove_weight_norms(model)
    assert repr(plain) == repr(rs.Chain(deep(), dense(4, 2), rs.tanh))
    close(plain(X), model(X))
    assert repr(rs.remove_weight_norms(wrap(dense(3, 4), "weight"))) == "Dense(3, 4)"
    tied = rs.share(wrap(dense(3, 3), "weight"))
    twice = rs.Chain(tied, rs.tanh, tied)
    close(rs.remove_weight_norms(twice)(X), twice(X))
    both = rs.WeightNorm(rs.Chain(wrap(dense(3, 4), "weight"), dense(4, 2)), "layers[1].weight")
    close(rs.remove_weight_norms(both)(X), both(X))


# --- refusals ---------------------------------------------------------------------------


def zero(key, shape):
    return jnp.zeros(shape)


@pytest.mark.parametrize(
    ("kind", "build"),
    [
        (rs.StructureError, lambda wrap: wrap(rs.tanh, "weight")),
        (rs.StructureError, lambda wrap: wrap(dense(2, 3), "wieght")),
        (rs.StructureError, lambda wrap: wrap(rs.Chain(dense(2, 3)), "layers[0]")),
        (rs.StructureError, lambda wrap: wrap(rs.Chain(dense(2, 3)), "layers[*].weight")),
        (rs.StructureError, lambda wrap: wrap(dense(2, 3), 0)),
        (rs.RangeError, lambda wrap: wrap(rs.Dense(2, 3, init=zero, key=KEY), "weight")),
        (rs.DtypeError, lambda wrap: wrap(rs.Chain(jnp_layer()), "layers[0].table")),
    ],
)
@wrapped
def test_what_has_no_such_array_is_refused(wrap, kind, build):
    with pytest.raises(kind):
        build(wrap)


class Table(rs.Module):
    """Whole numbers, which have no direction."""

    table: rs.Buffer[rs.Array]

    def __call__(self, x):
        return x


def jnp_layer():
    return Table(jnp.ones((2, 3), int))


def test_arguments_out_of_range_are_refused():
    for axis in (2, (0, 1), "last"):
        with pytest.raises(rs.RangeError):
            rs.WeightNorm(dense(2, 3), axis=axis)
    with pytest.raises(rs.RangeError):
        rs.SpectralNorm(dense(2, 3), iterations=0)
    with pytest.raises(rs.ShapeError) as caught:
        rs.SpectralNorm(dense(2, 3), "bias")
    assert caught.value.expected == "bias to have at least 2 axes"


def test_a_column_of_zeros_has_no_direction():
    layer = dense(2, 3)
    layer = layer.replace(weight=layer.weight.at[:, 1].set(0))
    with pytest.raises(rs.RangeError) as caught:
        rs.WeightNorm(layer)
    assert caught.value.got == "1 such parts of 3"
    rs.SpectralNorm(layer, key=KEY)


def test_they_are_built_under_a_trace_too():
    @jax.jit
    def build(key):
        return rs.WeightNorm(rs.Dense(2, 3, key=key))(jnp.ones((1, 2)))

    assert build(KEY).shape == (1, 3)


def test_printing_shows_the_call_that_builds_the_layer():
    assert repr(rs.WeightNorm(dense(2, 3), axis=0)) == "WeightNorm(Dense(2, 3), axis=-2)"
    assert repr(rs.WeightNorm(dense(2, 3), axis=())) == "WeightNorm(Dense(2, 3), axis=())"
    norm = rs.SpectralNorm(rs.Chain(dense(2, 3)), "layers[0].weight", iterations=2, key=KEY)
    assert repr(norm) == "SpectralNorm(Chain(Dense(2, 3)), 'layers[0].weight', iterations=2)"
