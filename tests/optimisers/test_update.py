# SPDX-License-Identifier: Apache-2.0
"""Setup, update, adjust: what moves, what stays, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rosin as rs
from rosin.core.sharing import share
from rosin.errors import DtypeError, RangeError, StructureError
from tests.training.compilations import compilations


class Affine(rs.Module):
    """A layer with a parameter of each rank, a buffer, and a number that is no float."""

    weight: rs.Array
    bias: rs.Array | None
    count: rs.Buffer[rs.Array]

    def __call__(self, x):
        y = x @ self.weight
        return y if self.bias is None else y + self.bias[None]


class Net(rs.Module):
    """Layers in a row."""

    layers: tuple

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def affine(fill, n=2, *, bias=True):
    return Affine(jnp.full((n, n), fill), jnp.full(n, fill / 2) if bias else None, jnp.zeros(()))


def net():
    return Net((affine(0.5), affine(-0.25)))


def loss(model, x):
    return (model(x) ** 2).sum()


X = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)


def steps(opt_state, model, count=3):
    for _ in range(count):
        grads = rs.gradient(loss, model, X)
        opt_state, model = rs.update(opt_state, model, grads)
    return opt_state, model


def path_state(opt_state, name):
    """Take what the optimiser remembers of one parameter, wherever it is kept."""
    first, root = opt_state.state.memory
    return first[name], root[name]


# --- what moves -----------------------------------------------------------------------


def test_each_parameter_moves_by_its_own_gradient_and_buffers_stay():
    model = net()
    grads = rs.gradient(loss, model, X)
    _, moved = rs.update(rs.setup(rs.Descent(0.1), model), model, grads)
    for old, new, g in zip(model.layers, moved.layers, grads.layers, strict=True):
        np.testing.assert_allclose(new.weight, old.weight - 0.1 * g.weight, rtol=1e-6)
        np.testing.assert_allclose(new.bias, old.bias - 0.1 * g.bias, rtol=1e-6)
        assert rs.equal(new.count, old.count)


def test_a_field_without_an_array_stays_without():
    model = Net((affine(0.5, bias=False),))
    _, moved = steps(rs.setup(rs.Adam(), model), model)
    assert moved.layers[0].bias is None


def test_arguments_are_equal_before_and_after():
    model, rule = net(), rs.Adam(0.1)
    opt_state = rs.setup(rule, model)
    grads = rs.gradient(loss, model, X)
    kept = [jax.tree.map(np.array, tree) for tree in (rule, model, opt_state, grads)]
    rs.update(opt_state, model, grads)
    rs.adjust(opt_state, learning_rate=0.5)
    now = [jax.tree.map(np.array, tree) for tree in (rule, model, opt_state, grads)]
    assert rs.equal(kept, now)


def test_the_state_has_memory_of_its_own_even_if_it_begins_with_the_parameters():
    class Slow(optax.GradientTransformation):
        """Remembers the parameters, as look-ahead does."""

    slow = Slow(lambda parameters: parameters, lambda g, s, p=None: (g, s))
    model = jnp.ones(3)
    opt_state = rs.setup(slow, model)
    model.delete()
    assert float(opt_state.state.memory[""].sum()) == 3


@pytest.mark.parametrize(
    "nesting", [lambda w: w, lambda w: {"a": [w, (w,)]}], ids=["array", "tree"]
)
def test_any_tree_of_arrays_is_a_model(nesting):
    model = nesting(jnp.ones(2))
    opt_state = rs.setup(rs.Descent(0.5), model)
    _, moved = rs.update(opt_state, model, jax.tree.map(jnp.ones_like, model))
    assert rs.equal(moved, nesting(jnp.full(2, 0.5, jnp.float32)))


def test_a_shared_layer_gets_the_sum_of_its_gradients_once():
    shared = share(affine(0.5, bias=False))
    model = Net((shared, affine(2.0, bias=False), shared))
    opt_state = rs.setup(rs.Descent(0.1), model)
    assert len(opt_state.paths) == 2

    def plain(weights):
        first, second = weights
        return ((X @ first @ second @ first) ** 2).sum()

    first, second = jnp.full((2, 2), 0.5), jnp.full((2, 2), 2.0)
    total = jax.grad(plain)((first, second))[0]
    _, moved = rs.update(opt_state, model, rs.gradient(loss, model, X))
    np.testing.assert_allclose(moved.layers[0].weight, first - 0.1 * total, rtol=1e-5)
    np.testing.assert_allclose(
        moved(X),
        X @ moved.layers[0].weight @ moved.layers[1].weight @ moved.layers[0].weight,
        rtol=1e-5,
    )


def test_state_in_a_file_has_the_names_of_the_model(tmp_path):
    model = net()
    rule = {"layers[0]": rs.OptimiserChain(rs.ClipNorm(), rs.Adam()), "**": rs.Momentum()}
    rs.save(tmp_path / "run.safetensors", rs.setup(rule, model))
    names = rs.load_arrays(tmp_path / "run.safetensors")
    assert {name for name in names if '["' in name} == {
        'state.memory[0].memory[1].memory.first["layers[0].weight"]',
        'state.memory[0].memory[1].memory.first["layers[0].bias"]',
        'state.memory[0].memory[1].memory.second["layers[0].weight"]',
        'state.memory[0].memory[1].memory.second["layers[0].bias"]',
        'state.memory[1].memory.momentum["layers[1].weight"]',
        'state.memory[1].memory.momentum["layers[1].bias"]',
    }


# --- precision ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("rule", [rs.Descent(), rs.Momentum(), rs.Adam(), rs.AdamW()])
def test_half_precision_keeps_its_dtype_and_a_zero_gradient_moves_nothing(dtype, rule):
    model = jnp.asarray([0.5, -1.0, 2.0], dtype)
    opt_state = rs.setup(rule.adjusted(learning_rate=1e-3), model)
    for _ in range(3):
        opt_state, model = rs.update(opt_state, model, jnp.zeros(3, dtype))
    assert model.dtype == dtype
    assert np.isfinite(np.asarray(model, np.float32)).all()
    np.testing.assert_allclose(np.asarray(model, np.float32), [0.5, -1, 2], rtol=1e-3)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_parameters_have_their_state_in_float32(dtype):
    model = jnp.ones(3, dtype)
    opt_state = rs.setup(rs.Adam(), model)
    gradient = jnp.full(3, 1e-4, dtype)  # its square is 1e-8, below the least float16
    opt_state, _ = rs.update(opt_state, model, gradient)
    mu, root = path_state(opt_state, "")
    assert mu.dtype == root.dtype == jnp.float32
    # 1 - 0.999 is 1e-3 to 1.3e-5 in float32.
    np.testing.assert_allclose(root, np.full(3, 1e-3**0.5 * float(gradient[0])), rtol=1e-4)


def test_float64_parameters_stay_so():
    with jax.enable_x64(True):
        model = jnp.ones(2)
        opt_state = rs.setup(rs.Adam(1 / 3), model)
        opt_state, model = rs.update(opt_state, model, jnp.ones(2))
        assert model.dtype == path_state(opt_state, "")[0].dtype == jnp.float64
        # One step of Adam is the rate: 1/3 to 16 digits, so the rate was not rounded.
        np.testing.assert_allclose(model, 1 - 1 / 3 / (1 + 1e-8), rtol=1e-14)


def test_a_weakly_typed_parameter_is_treated_like_any_other():
    model = jnp.full(2, 0.5)
    assert model.weak_type
    opt_state, moved = rs.update(rs.setup(rs.Adam(), model), model, jnp.ones(2))
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((opt_state.state, moved)))


# --- what stays -----------------------------------------------------------------------


def test_no_gradient_keeps_the_parameter_and_what_is_remembered_of_it():
    model = net()
    opt_state, model = steps(rs.setup(rs.Adam(0.1), model), model)
    grads = rs.at(rs.gradient(loss, model, X), "layers[0].weight").set(None)
    new_state, moved = rs.update(opt_state, model, grads)
    assert rs.equal(moved.layers[0].weight, model.layers[0].weight)
    held, other = "layers[0].weight", "layers[0].bias"
    assert rs.equal(path_state(new_state, held), path_state(opt_state, held))
    assert not rs.equal(path_state(new_state, other), path_state(opt_state, other))
    assert not rs.equal(moved.layers[0].bias, model.layers[0].bias)


def test_without_any_gradient_all_stays():
    model = net()
    opt_state = rs.setup(rs.Adam(), model)
    nothing = jax.tree.map(lambda _: None, model)
    assert rs.equal(rs.update(opt_state, model, nothing), (opt_state, model))


def test_frozen_after_setup_and_thawed_again_it_goes_on_where_it_was():
    model = net()
    opt_state, model = steps(rs.setup(rs.Adam(0.1), model), model)
    name = "layers[1].weight"
    frozen = rs.freeze(model, name)
    later_state, later = steps(opt_state, frozen)
    assert rs.equal(later.layers[1].weight, model.layers[1].weight)
    assert rs.equal(path_state(later_state, name), path_state(opt_state, name))
    assert not rs.equal(later.layers[0].weight, model.layers[0].weight)
    again_state, again = steps(later_state, rs.thaw(later), 1)
    assert not rs.equal(again.layers[1].weight, later.layers[1].weight)
    mu = path_state(opt_state, name)[0]
    g = rs.gradient(loss, rs.thaw(later), X).layers[1].weight
    np.testing.assert_allclose(path_state(again_state, name)[0], 0.9 * mu + 0.1 * g, rtol=1e-5)


def test_what_is_frozen_in_setup_takes_no_memory_and_stays():
    model = rs.freeze(net(), "layers[0]")
    opt_state = rs.setup(rs.Adam(), model)
    assert opt_state.paths == ("layers[1].weight", "layers[1].bias")
    _, moved = steps(opt_state, model)
    assert rs.equal(moved.layers[0], model.layers[0])
    assert not rs.equal(moved.layers[1], model.layers[1])


def test_thawed_without_a_new_setup_is_refused_and_named():
    model = rs.freeze(net(), "layers[0].bias")
    opt_state = rs.setup(rs.Adam(), model)
    with pytest.raises(StructureError) as caught:
        steps(opt_state, rs.thaw(model))
    assert caught.value.details == ("layers[0].bias: not trainable in setup",)
    assert "rs.setup again" in caught.value.fix


def test_a_frozen_part_may_change_its_dtype_meanwhile():
    model = net()
    opt_state = rs.setup(rs.Adam(), model)
    half = rs.at(rs.freeze(model, "layers[0].weight"), "layers[0].weight")
    frozen = half.apply(lambda w: w.astype(jnp.bfloat16))
    _, moved = steps(opt_state, frozen)
    assert moved.layers[0].weight.dtype == jnp.bfloat16


def test_state_that_is_not_kept_by_path_is_handed_on_when_something_is_frozen():
    model = net()
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_schedule(lambda n: -0.1 * n))
    opt_state, _ = steps(rs.setup(rule, model), rs.freeze(model, "layers[0]"))
    assert int(opt_state.state.memory[1].count) == 3


# --- refusals -------------------------------------------------------------------------


def test_a_rule_in_place_of_its_state_is_refused():
    model = net()
    for given in (rs.Adam(), optax.sgd(0.1), None):
        with pytest.raises(StructureError) as caught:
            rs.update(given, model, model)
        assert "rs.setup(rule, model)" in caught.value.fix
    with pytest.raises(StructureError):
        rs.adjust(rs.Adam(), learning_rate=1)


@pytest.mark.parametrize("rule", [rs.Adam, 0.1, "adam", None])
def test_setup_wants_a_rule(rule):
    with pytest.raises(StructureError):
        rs.setup(rule, net())


@pytest.mark.parametrize("model", [jnp.ones(2, int), {}, rs.freeze(affine(1.0))])
def test_setup_wants_something_to_train(model):
    with pytest.raises(DtypeError):
        rs.setup(rs.Adam(), model)


def test_setup_refuses_a_shared_layer_without_a_module_around_it():
    shared = share(affine(1.0))
    with pytest.raises(StructureError):
        rs.setup(rs.Adam(), [shared, shared])


def test_the_whole_result_of_withgradient_is_refused():
    model = net()
    with pytest.raises(StructureError) as caught:
        rs.update(rs.setup(rs.Adam(), model), model, rs.withgradient(loss, model, X))
    assert caught.value.got == "a tuple of 3"
    assert "unpack" in caught.value.fix


BAD_GRADIENTS = {
    "a longer one": (
        lambda good: changed(good, "layers[0].weight", np.ones((2, 3), "f4")),
        "layers[0].weight: float32[2,3] for float32[2,2]",
    ),
    "a transposed vector": (
        lambda good: changed(good, "layers[1].bias", np.ones((2, 1), "f4")),
        "layers[1].bias",
    ),
    "whole numbers": (
        lambda good: changed(good, "layers[0].weight", np.ones((2, 2), "i4")),
        "layers[0].weight: int32[2,2]",
    ),
    "complex numbers": (
        lambda good: changed(good, "layers[0].weight", np.ones((2, 2), "c8")),
        "layers[0].weight: complex64",
    ),
    "for a buffer": (
        lambda good: changed(good, "layers[0].count", np.zeros((), "f4")),
        "layers[0].count: float32[] for a leaf that is not trained",
    ),
    "of a smaller model": (lambda good: Net(good.layers[:1]), "layers[1].weight: none"),
    "of another model": (lambda good: good.layers[0], "layers[0].weight: none"),
    "a number": (lambda _: 1.0, "the model: 1.0"),
}


def changed(tree, path, value):
    return rs.at(tree, path).set(jnp.asarray(value))


@pytest.mark.parametrize(("spoil", "detail"), BAD_GRADIENTS.values(), ids=BAD_GRADIENTS)
def test_a_gradient_that_does_not_fit_is_refused_and_named(spoil, detail):
    model = net()
    grads = spoil(rs.gradient(loss, model, X))
    with pytest.raises(StructureError) as caught:
        rs.update(rs.setup(rs.Adam(), model), model, grads)
    assert any(detail in line for line in caught.value.details)
    assert "rs.gradient" in caught.value.fix


def test_leaves_of_the_same_names_in_another_order_are_refused():
    class Turned(rs.Module):
        """The fields of `Affine`, bias first."""

        bias: rs.Array
        weight: rs.Array
        count: rs.Buffer[rs.Array]

    model = affine(1.0)
    turned = Turned(jnp.ones(2), jnp.ones((2, 2)), jnp.zeros(()))
    grads = jax.tree.map(lambda leaf: leaf if leaf.ndim else None, turned)
    with pytest.raises(StructureError, match="other places"):
        rs.update(rs.setup(rs.Adam(), model), model, grads)


def test_a_model_whose_mode_was_pinned_meanwhile_still_fits_its_gradient():
    model = net()
    grads = rs.gradient(loss, rs.testmode(model), X)
    opt_state = rs.setup(rs.Descent(0.1), model)
    _, moved = rs.update(opt_state, model, grads)
    assert not rs.equal(moved, model)


@pytest.mark.parametrize("other", [Net((affine(0.5, 3), affine(0.5, 3))), Net((affine(0.5),))])
@pytest.mark.parametrize("rule", [rs.Descent(), rs.Adam()])
def test_the_state_of_another_model_is_refused_and_the_leaves_are_named(other, rule):
    opt_state, model = rs.setup(rule, other), net()
    with pytest.raises(StructureError) as caught:
        rs.update(opt_state, model, jax.tree.map(jnp.ones_like, rs.gradient(loss, model, X)))
    assert any("layers[" in line for line in caught.value.details)
    if len(other.layers) == 2:
        assert (
            caught.value.details[0]
            == "layers[0].weight: float32[2,2], and of shape (3, 3) in setup"
        )


def test_a_model_that_lost_a_parameter_is_refused():
    model = net()
    opt_state = rs.setup(rs.Adam(), model)
    smaller = Net(model.layers[:1])
    with pytest.raises(StructureError) as caught:
        rs.update(opt_state, smaller, rs.gradient(loss, smaller, X))
    assert caught.value.details[0].startswith("layers[1].weight: None")


def test_only_the_first_few_differences_are_listed():
    model = Net(tuple(affine(1.0) for _ in range(9)))
    grads = jax.tree.map(lambda leaf: jnp.ones((5, 5)), model)
    with pytest.raises(StructureError) as caught:
        rs.update(rs.setup(rs.Adam(), model), model, grads)
    assert len(caught.value.details) == 8


# --- adjust ---------------------------------------------------------------------------


def test_adjust_changes_the_rule_and_nothing_else():
    model = net()
    opt_state, model = steps(rs.setup(rs.Adam(0.1), model), model)
    changed = rs.adjust(opt_state, learning_rate=0.2, beta1=0.5)
    assert changed.rule == rs.Adam(0.2, beta1=0.5)
    assert rs.equal(changed.state, opt_state.state)
    grads = rs.gradient(loss, model, X)
    a = rs.update(rs.adjust(opt_state, learning_rate=0), model, grads)[1]
    assert rs.equal(a, model)


def test_adjust_refuses_an_unknown_name_and_suggests():
    opt_state = rs.setup(rs.Adam(), net())
    with pytest.raises(StructureError) as caught:
        rs.adjust(opt_state, learning_rat=0.1)
    assert "learning_rate, beta1, beta2, epsilon" in caught.value.expected
    assert "'learning_rate' is the nearest" in caught.value.fix


def test_adjust_refuses_a_value_out_of_range_and_an_empty_call():
    opt_state = rs.setup(rs.Adam(), net())
    with pytest.raises(RangeError):
        rs.adjust(opt_state, beta1=1)
    with pytest.raises(StructureError):
        rs.adjust(opt_state)


# --- compilation ----------------------------------------------------------------------


def test_a_second_update_and_another_learning_rate_compile_nothing():
    model = net()
    opt_state = rs.setup(rs.Adam(0.1), model)
    grads = rs.gradient(loss, model, X)
    opt_state, model = rs.update(opt_state, model, grads)
    with compilations() as compiled:
        opt_state, model = rs.update(opt_state, model, grads)
        rs.update(rs.adjust(opt_state, learning_rate=0.25, beta1=0.25), model, grads)
    assert not compiled


def test_the_probe_sees_an_update_of_another_shape():
    model = jnp.ones(7)
    opt_state = rs.setup(rs.Adam(0.1), model)
    with compilations() as compiled:
        rs.update(opt_state, model, jnp.ones(7))
    assert compiled == ["_guarded"]


def test_under_jit_hyperparameters_are_data():
    model = net()
    grads = rs.gradient(loss, model, X)
    traces = []

    @jax.jit
    def step(opt_state, model):
        traces.append(1)
        return rs.update(opt_state, model, grads)

    opt_state = rs.setup(rs.Descent(0.1), model)
    _, a = step(opt_state, model)
    _, b = step(rs.adjust(opt_state, learning_rate=0.2), model)
    assert traces == [1]
    moved_a = a.layers[0].weight - model.layers[0].weight
    moved_b = b.layers[0].weight - model.layers[0].weight
    np.testing.assert_allclose(moved_b, 2 * moved_a, rtol=1e-6)
