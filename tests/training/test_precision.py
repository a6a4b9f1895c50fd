# SPDX-License-Identifier: Apache-2.0
"""Mixed precision: what is half and what is not, the loss scale, training to the same end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.errors import RangeError, StructureError
from rosin.training.precision import LARGEST_SCALE, Precision
from tests.training.compilations import compilations
from tests.training.toys import (
    Affine,
    Centre,
    Net,
    Noise,
    assert_same_bits,
    data,
    identity,
    loss,
    net,
)

X, Y = data(8)
HALF = {"bf16": jnp.dtype(jnp.bfloat16), "f16": jnp.dtype(jnp.float16)}
BOTH = pytest.mark.parametrize("dtype", HALF)


def watching(seen):
    """Make an activation that notes the dtype of what it is handed."""

    def note(x):
        seen.append(x.dtype)
        return jnp.tanh(x)

    return note


def state(model, precision, rule=None):
    return precision.prepared(rs.setup(rs.Descent(0.1) if rule is None else rule, model))


# --- what is half -----------------------------------------------------------------------


@BOTH
def test_calls_are_half_and_all_around_them_is_float32(dtype):
    seen = []
    model = Net(Affine(3, 4, watching(seen)), Affine(4, 1, watching(seen)))

    def probed(model, x, y):
        out = model(x)
        seen.append(out.dtype)
        seen.append(model.layers[0].weight.dtype)
        seen.append(model.layers[1](model.layers[0](x)).dtype)  # parts, called by themselves
        return loss(model, x, y)

    value, grads, after = rs.withgradient(Precision(dtype).applied(probed), model, X, Y)
    assert seen[:4] == [HALF[dtype], HALF[dtype], jnp.float32, jnp.float32]
    assert set(seen[4:6]) == {HALF[dtype]}
    assert seen[6] == jnp.float32
    assert value.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves((grads, after))} == {jnp.dtype(jnp.float32)}


@BOTH
def test_value_and_gradient_are_those_of_the_conversions_written_out(dtype):
    half = HALF[dtype]
    model = Net(Affine(3, 4), Affine(4, 1, identity))

    def by_hand(model, x, y):
        for layer in model.layers:
            product = x.astype(half) @ layer.weight.astype(half)
            x = layer.activation(product + layer.bias.astype(half)[None])
        return ((x.astype(jnp.float32) - y) ** 2).mean()

    expected = rs.withgradient(by_hand, model, X, Y)
    got = rs.withgradient(Precision(dtype).applied(loss), model, X, Y)
    np.testing.assert_array_equal(got[0], expected[0])
    for a, b in zip(jax.tree.leaves(got[1]), jax.tree.leaves(expected[1]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_whole_numbers_keys_and_buffers_are_handed_over_as_they_are():
    seen = {}

    class Probe(rs.Module):
        """A parameter and a buffer."""

        weight: rs.Array
        mean: rs.Buffer[rs.Array]

        def __call__(self, x, index, key, *, mask):
            seen.update(
                weight=self.weight.dtype, mean=self.mean.dtype, x=x.dtype, index=index.dtype
            )
            seen.update(mask=mask.dtype)
            noise = jax.random.normal(key, x.shape, x.dtype)
            return x * self.weight + noise, index

    model = Probe(jnp.ones(3), jnp.zeros(3))

    def total(m, x):
        y, index = m(x, jnp.arange(8), jax.random.key(0), mask=x > 0)
        seen.update(y=y.dtype, out=index.dtype)
        return y.sum()

    rs.gradient(Precision("bf16").applied(total), model, X)
    assert {name for name, dtype in seen.items() if dtype == jnp.bfloat16} == {"weight", "x"}
    assert (seen["mean"], seen["y"]) == (jnp.float32, jnp.float32)
    assert (seen["index"], seen["out"], seen["mask"]) == (jnp.int32, jnp.int32, jnp.bool_)


@BOTH
def test_state_is_recorded_in_float32(dtype):
    model = net()
    plain = rs.withgradient(loss, model, X, Y)[2]
    after = rs.withgradient(Precision(dtype).applied(loss), model, X, Y)[2]
    assert after.layers[1].mean.dtype == jnp.float32
    # The batch is rounded to half precision: 2**-8 for bf16, of a tenth of the mean.
    np.testing.assert_allclose(after.layers[1].mean, plain.layers[1].mean, atol=1e-3)
    assert not rs.equal(after.layers[1].mean, model.layers[1].mean)
    assert rs.equal(after.layers[2].key, plain.layers[2].key)


def test_outside_of_a_gradient_the_model_is_in_inference():
    model = Net(Affine(3, 4), Centre(4), Noise())
    y = jax.jit(Precision("bf16").applied(lambda m, x: m(x)))(model, X)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, model(X), atol=0.02)  # values up to 2, in bf16


def test_remat_scan_vmap_and_shared_layers_keep_to_it():
    seen = []
    note = watching(seen)
    tied = rs.share(Affine(3, 3, note))
    blocks = rs.scan_layers([Affine(3, 3, note, seed=i) for i in range(2)])
    model = Net(tied, rs.remat(Affine(3, 3, note)), tied, blocks)
    precision = Precision("bf16")
    grads = rs.gradient(precision.applied(lambda m, x: m(x).mean()), model, X)
    exact = rs.gradient(lambda m, x: m(x).mean(), model, X)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(exact), strict=True):
        np.testing.assert_allclose(a, b, atol=0.02)  # of gradients up to 0.5, in bf16
    seen.clear()
    mapped = rs.vmap(lambda m, x: m(x), in_axes=(None, 0))
    rs.gradient(precision.applied(lambda m, x: mapped(m, x).mean()), model, X)
    assert set(seen) == {HALF["bf16"]}


# --- the loss scale ---------------------------------------------------------------------


def tiny(model, x, y):
    """Return a loss whose gradients are below what float16 holds: 6e-8."""
    return 1e-8 * loss(model, x, y)


def test_a_loss_scale_changes_neither_value_nor_gradient():
    model = Net(Affine(3, 4), Affine(4, 1, identity))
    plain = rs.withgradient(Precision("f16").applied(loss), model, X, Y)
    precision = Precision("f16", initial_scale=512)
    scaled = rs.withgradient(precision.applied(loss, state(model, precision)), model, X, Y)
    assert float(scaled[0]) == float(plain[0])
    for a, b in zip(jax.tree.leaves(scaled[1]), jax.tree.leaves(plain[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=5e-3, atol=1e-6)  # f16 has 11 bits


def test_other_derivatives_are_not_scaled_either():
    model, precision = Affine(3, 1), Precision("f16")
    f = precision.applied(lambda m, x: m(x).sum(), state(model, precision))
    expected = jax.grad(lambda x: model(x).sum())(X)
    np.testing.assert_allclose(jax.grad(lambda x: f(model, x))(X), expected, atol=2e-3)
    _, product = jax.jvp(lambda x: f(model, x), (X,), (X,))
    # Tangents are divided by the scale on their way in, and lose digits to underflow.
    np.testing.assert_allclose(product, (expected * X).sum(), rtol=0.02)


def test_gradients_too_small_for_float16_survive_by_the_scale_alone():
    model = Net(Affine(3, 4), Affine(4, 1, identity))
    exact = jax.tree.leaves(rs.gradient(tiny, model, X, Y))
    lost = jax.tree.leaves(rs.gradient(Precision("f16").applied(tiny), model, X, Y))
    assert max(float(jnp.abs(g).max()) for g in exact) > 1e-9
    assert min(float(jnp.abs(g).max()) for g in lost) == 0
    precision = Precision("f16", initial_scale=2.0**20)
    kept = rs.gradient(precision.applied(tiny, state(model, precision)), model, X, Y)
    for a, b in zip(jax.tree.leaves(kept), exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=0.02, atol=1e-11)  # sums of f16 products


def overflowing(model, x, factor):
    return factor * model(x).sum()


def test_a_gradient_that_overflows_halves_the_scale_and_changes_nothing_else():
    model, precision = net(), Precision("f16")
    opt_state = state(model, precision, rs.Adam())
    result = rs.trainstep(overflowing, model, (X, 1e2), opt_state, precision=precision)
    assert (bool(result.finite), bool(result.overflowed)) == (False, True)
    assert_same_bits(result.model, model)
    assert_same_bits(result.opt_state.replace(loss_scale=None), opt_state.replace(loss_scale=None))
    assert float(result.opt_state.loss_scale.value) == 2.0**14
    assert int(result.opt_state.loss_scale.good_steps) == 0


def test_the_scale_falls_until_the_gradient_fits_without_compiling_again():
    model, opt_state = net(), rs.setup(rs.Descent(1e-3), net())
    seen = []
    with compilations() as compiled:
        for _ in range(12):
            result = rs.trainstep(overflowing, model, (X, 1e2), opt_state, precision="f16")
            model, opt_state = result.model, result.opt_state
            seen.append((bool(result.finite), float(opt_state.loss_scale.value)))
    assert compiled.count("_traced_step") == 1
    finite = [ok for ok, _ in seen]
    assert finite == sorted(finite)
    assert finite[-1]
    assert 16 < seen[-1][1] < 1024  # 65504 is the largest float16, over 100 for each example


def test_what_overflows_at_the_smallest_scale_is_not_finite():
    model, opt_state = net(), rs.setup(rs.Descent(1e-3), net())
    precision = Precision("f16", initial_scale=1)
    result = rs.trainstep(overflowing, model, (X, 1e6), opt_state, precision=precision)
    assert (bool(result.finite), bool(result.overflowed)) == (False, False)
    assert float(result.opt_state.loss_scale.value) == 1


def test_a_loss_that_is_not_finite_is_no_matter_of_the_scale():
    model, opt_state = net(), rs.setup(rs.Descent(1e-3), net())
    result = rs.trainstep(overflowing, model, (X, np.nan), opt_state, precision="f16")
    assert (bool(result.finite), bool(result.overflowed)) == (False, False)
    assert float(result.opt_state.loss_scale.value) == 2.0**15


def test_the_scale_grows_after_so_many_finite_steps_up_to_a_bound():
    model = net()
    precision = Precision("f16", initial_scale=2.0**22, growth_interval=2, growth_factor=2)
    opt_state, scales = rs.setup(rs.Descent(1e-3), model), []
    for _ in range(7):
        result = rs.trainstep(overflowing, model, (X, 1e-5), opt_state, precision=precision)
        opt_state = result.opt_state
        scales.append(np.log2(float(opt_state.loss_scale.value)))
    assert scales == [22, 23, 23, 24, 24, 24, 24]
    assert LARGEST_SCALE == 2.0**24


def test_the_scale_is_saved_with_the_state(tmp_path):
    model = net()
    opt_state = rs.setup(rs.Adam(), model)
    result = rs.trainstep(overflowing, model, (X, 1e2), opt_state, precision="f16")
    rs.save(tmp_path / "s.safetensors", result.opt_state)
    like = Precision("f16").prepared(opt_state)
    assert rs.load(tmp_path / "s.safetensors", like=like) == result.opt_state


def test_by_hand_the_scale_is_adapted_before_the_update():
    model, precision = net(), Precision("f16", growth_interval=1)
    opt_state = state(model, precision)

    @jax.jit
    def step(model, opt_state, factor):
        f = precision.applied(overflowing, opt_state)
        _, grads, recorded = rs.withgradient(f, model, X, factor)
        opt_state = precision.adapted(opt_state, grads)
        return rs.update(opt_state, recorded, grads)

    opt_state, after = step(model, opt_state, 1e2)
    assert float(opt_state.loss_scale.value) == 2.0**14
    assert rs.equal(after.layers[0], model.layers[0])
    opt_state, after = step(model, opt_state, 1e-2)
    assert float(opt_state.loss_scale.value) == 2.0**15
    assert not rs.equal(after.layers[0], model.layers[0])


def test_bf16_has_no_scale_unless_asked():
    opt_state = rs.setup(rs.Adam(), net())
    assert Precision("bf16").prepared(opt_state) is opt_state
    assert Precision("bf16").adapted(opt_state, net()) is opt_state
    assert Precision("bf16", initial_scale=8).prepared(opt_state).loss_scale.value == 8


# --- training ---------------------------------------------------------------------------


def start():
    return rs.Chain(
        rs.Dense(3, 8, rs.tanh, key=jax.random.key(1)),
        rs.LayerNorm(8),
        rs.Dense(8, 1, key=jax.random.key(2)),
    )


def trained(function, precision):
    """Train for 150 steps; Adam takes the same ones whatever the loss is multiplied by."""
    model, batch = start(), data(64)
    opt_state = rs.setup(rs.Adam(0.05, epsilon=1e-20), model)
    for _ in range(150):
        result = rs.trainstep(function, model, batch, opt_state, precision=precision)
        model, opt_state = result.model, result.opt_state
    return float(loss(model, *batch))


def test_training_arrives_where_float32_does_and_below_float16_by_the_scale_alone():
    first, exact = float(loss(start(), *data(64))), trained(loss, None)
    assert exact < first / 50
    # The way differs by rounding; where it leads does not: a step earlier or later makes 1 %.
    assert abs(trained(loss, "bf16") - exact) < 0.05 * exact
    assert abs(trained(loss, "f16") - exact) < 0.05 * exact
    assert abs(trained(tiny, Precision("f16", initial_scale=2.0**20)) - exact) < 0.05 * exact
    unscaled = Precision("f16", initial_scale=1, growth_interval=10**6)
    np.testing.assert_allclose(trained(tiny, unscaled), first, rtol=1e-6)


# --- refusals ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "f8"},
        {"dtype": jnp.float16},
        {"initial_scale": 0.5},
        {"initial_scale": 2.0**25},
        {"growth_interval": 0},
        {"growth_factor": 0.5},
        {"growth_factor": np.inf},
        {"backoff_factor": 0},
        {"backoff_factor": 1},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(RangeError, match="Precision"):
        Precision(**{"dtype": "f16", **options})


def test_what_is_no_precision_is_refused():
    with pytest.raises(RangeError, match="precision"):
        rs.trainstep(loss, net(), (X, Y), rs.setup(rs.Adam(), net()), precision="half")
    with pytest.raises(StructureError, match="precision"):
        rs.trainstep(loss, net(), (X, Y), rs.setup(rs.Adam(), net()), precision=jnp.float16)


def test_a_model_of_bare_arrays_is_refused():
    with pytest.raises(StructureError, match="modules"):
        rs.gradient(Precision("bf16").applied(lambda m, x: (x @ m["w"]).sum()), {"w": X.T}, X)
    with pytest.raises(StructureError, match="callable"):
        Precision("bf16").applied("loss")
