# SPDX-License-Identifier: Apache-2.0
"""A module is built, checked, frozen, compared, and is a tree like any other to JAX."""

import abc
import copy
import functools
import pickle
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rosin.core.module import Module, equal, training_context
from rosin.core.types import Array, Buffer, Static
from rosin.errors import StateError, StructureError
from tests.core.toys import Affine, Broken, Centre, Noise, Seq, X, array, mean_of


class Line(Module):
    """A user's own class: two arrays and a call."""

    weight: Array
    bias: Array

    def __call__(self, x):
        return x * self.weight + self.bias


class Mixed(Module):
    size: Static[int]
    weight: Array
    mean: Buffer[Array]
    name: Static[str] = "mixed"


def line():
    return Line(jnp.float32(2.0), jnp.float32(3.0))


# --- building ---------------------------------------------------------------------------


def test_two_arrays_and_a_call_are_a_layer():
    np.testing.assert_array_equal(line()(X), X * 2 + 3)


def test_fields_are_arguments_in_order_of_declaration():
    made = Mixed(3, array(2), array(1))
    assert made.size == 3
    assert made.weight.shape == (2,)
    assert made.mean.shape == (1,)
    assert made.name == "mixed"


def test_fields_are_arguments_by_name():
    assert Mixed(mean=array(1), weight=array(2), size=3, name="other").name == "other"


BAD_CALLS = {
    "too many": (lambda: Line(1, 2, 3), "at most 2 arguments: weight, bias", "3 arguments"),
    "unknown": (lambda: Line(array(1), bais=1), "fields among weight, bias", "bais"),
    "twice": (lambda: Line(array(1), weight=1), "each field once", "weight by place and by name"),
    "missing": (lambda: Line(array(1)), "the fields weight, bias to be set", "nothing for bias"),
}


@pytest.mark.parametrize(("call", "expected", "got"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_arguments_that_do_not_fit_the_fields_are_refused(call, expected, got):
    with pytest.raises(StructureError) as caught:
        call()
    assert caught.value.expected.startswith(expected)
    assert caught.value.got == got
    assert caught.value.subject == "Line"


def test_a_misspelt_field_is_answered_with_the_nearest():
    with pytest.raises(StructureError, match="'bias' is the nearest"):
        Line(array(1), bais=1)


class Forgetful(Module):
    weight: Array
    size: Static[int]

    def __init__(self, *names):
        for name in names:
            setattr(self, name, 3 if name == "size" else jnp.ones(2))


def test_a_field_that_init_leaves_out_is_refused():
    with pytest.raises(StructureError) as caught:
        Forgetful("weight")
    assert caught.value.got == "nothing for size"
    assert "self.size" in caught.value.fix


def test_an_undeclared_field_is_refused():
    with pytest.raises(StructureError) as caught:
        Forgetful("weight", "wieght")
    assert caught.value.got == "an assignment to wieght"
    assert "declare wieght in the class body" in caught.value.fix


@pytest.mark.parametrize("value", [[1], {"a": 1}, np.ones(2), jnp.ones(2), ([],), slice(1)])
def test_a_static_field_that_cannot_be_hashed_is_refused(value):
    with pytest.raises(StructureError, match="the static field size to be hashable"):
        Mixed(value, array(1), array(1))


def test_a_module_in_a_static_field_is_refused():
    with pytest.raises(StructureError) as caught:
        Mixed(Mixed(3, array(2), array(1)), array(1), array(1))
    assert caught.value.got.startswith("Mixed(")
    assert "without Static" in caught.value.fix


def test_replace_checks_as_construction_does():
    made = Mixed(3, array(2), array(1))
    with pytest.raises(StructureError, match="to be hashable"):
        made.replace(size=[])
    with pytest.raises(StructureError, match="to hold arrays and modules"):
        made.replace(weight=1.5)
    with pytest.raises(StructureError, match="'weight' is the nearest"):
        made.replace(wieght=array(1))


def test_replace_changes_a_copy():
    made = Mixed(3, array(2), array(1))
    other = made.replace(size=4, weight=np.ones(5, np.float32))
    assert (other.size, other.weight.shape) == (4, (5,))
    assert (made.size, made.weight.shape) == (3, (2,))
    assert other.mean is made.mean


def test_replace_does_not_take_cached_values_along():
    class Cached(Module):
        weight: Array

        @functools.cached_property
        def double(self):
            return 2 * self.weight

    made = Cached(jnp.ones(1))
    assert made.double.tolist() == [2]
    assert made.replace(weight=jnp.full(1, 5.0)).double.tolist() == [10]


def test_methods_may_be_called_before_init_is_over():
    class Eager(Module):
        weight: Array

        def __init__(self):
            self.weight = jnp.ones(2)
            self.weight = self(jnp.ones(2))

        def __call__(self, x):
            return x + self.weight if not self.training else x

    assert Eager().weight.tolist() == [2, 2]


def test_an_abstract_class_of_modules_cannot_be_built():
    class Block(Module, abc.ABC):
        @abc.abstractmethod
        def __call__(self, x): ...

    class Concrete(Block):
        weight: Array

        def __call__(self, x):
            return x * self.weight

    with pytest.raises(TypeError, match="abstract"):
        Block()
    assert Concrete(jnp.float32(2))(3) == 6


# --- frozen -----------------------------------------------------------------------------


def test_a_finished_module_cannot_be_assigned_to():
    made = Mixed(3, array(2), array(1))
    with pytest.raises(StateError) as caught:
        made.weight = 1
    assert "replace(weight=...)" in caught.value.fix
    assert "rs.at" in caught.value.fix
    assert "record" not in caught.value.fix
    with pytest.raises(StateError, match=r"self\.record\(mean=\.\.\.\)"):
        made.mean = 1
    with pytest.raises(StructureError, match="declare wieght"):
        made.wieght = 1


def test_a_field_cannot_be_deleted():
    made = line()
    with pytest.raises(StateError, match="a deletion of weight"):
        del made.weight
    assert made.weight == 2


def test_a_module_that_jax_rebuilt_is_frozen_too():
    with pytest.raises(StateError):
        jax.tree.map(jnp.copy, line()).weight = 1


# --- equality and hash ------------------------------------------------------------------


def test_equal_modules_are_equal_and_hash_alike():
    a, b = Mixed(3, array(2), array(1)), Mixed(3, array(2), array(1))
    assert a is not b
    assert a == b
    assert hash(a) == hash(b)


DIFFERENT = {
    "a number": lambda m: m.replace(weight=m.weight.at[0].add(1e-6)),
    "a shape": lambda m: m.replace(weight=jnp.ones(3)),
    "a dtype": lambda m: m.replace(weight=m.weight.astype(jnp.float16)),
    "a buffer": lambda m: m.replace(mean=m.mean + 1),
    "a static field": lambda m: m.replace(size=4),
    "nothing there": lambda m: m.replace(weight=None),
    "the sign of zero": lambda m: m.replace(weight=jnp.array([-0.0, 1.0])),
}


@pytest.mark.parametrize("change", DIFFERENT.values(), ids=DIFFERENT)
def test_modules_differ_by(change):
    a = Mixed(3, jnp.array([0.0, 1.0]), array(1))
    assert a != change(a)


def test_a_module_is_unequal_to_other_things():
    assert line() != 3
    assert line() != (2.0, 3.0)
    assert Line(array(1), array(1)) != Affine(1, 1)


def test_nan_is_bit_equal_to_itself():
    assert equal(jnp.array([jnp.nan]), jnp.array([jnp.nan]))


def test_keys_are_compared_by_their_bits():
    assert Noise(1) == Noise(1)
    assert Noise(1) != Noise(2)
    assert hash(Noise(1)) == hash(Noise(2))
    rbg = jax.random.key(1, impl="rbg")
    assert not equal(jax.random.key(1), rbg)


def test_described_modules_can_be_compared():
    a, b = (jax.eval_shape(lambda: Line(jnp.ones(2), jnp.ones(3))) for _ in range(2))
    assert a == b
    assert hash(a) == hash(b)
    assert a != Line(jnp.ones(2), jnp.ones(3))
    assert a != a.replace(bias=jax.ShapeDtypeStruct((4,), jnp.float32))


def test_modules_with_other_leaves_can_be_compared():
    a, b = jax.tree.map(lambda _: "x", line()), jax.tree.map(lambda _: "y", line())
    assert a != b
    assert a == jax.tree.map(lambda _: "x", line())
    assert hash(a) == hash(b)


def test_inside_jit_a_module_equals_itself_and_no_other():
    seen = []

    @jax.jit
    def f(a, b):
        seen.extend([a == a, a == b, hash(a) == hash(b), a == jax.tree.map(lambda x: x, a)])  # noqa: PLR0124  `a == a` too
        return a.weight

    f(line(), line())
    assert seen == [True, False, True, True]


def test_numbers_of_python_are_compared_too():
    assert equal((1, 2.0), (1, 2.0))
    assert not equal((1, 2.0), (1, 3.0))
    assert not equal((1,), (1.0,))


# --- a tree like any other --------------------------------------------------------------


def test_jit_grad_vmap_and_checkpoint_take_a_module():
    model = line()
    np.testing.assert_array_equal(jax.jit(model)(X), model(X))
    np.testing.assert_array_equal(jax.jit(lambda m, x: m(x))(model, X), model(X))
    grads = jax.grad(lambda m: m(X).sum())(model)
    assert type(grads) is Line
    assert grads.bias == X.size
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), model, model)
    assert jax.vmap(lambda m, x: m(x), in_axes=(0, None))(stacked, X[0]).shape == (2, 3)
    np.testing.assert_array_equal(jax.checkpoint(lambda m, x: m(x))(model, X), model(X))


def test_map_eval_shape_and_make_jaxpr_take_a_module():
    model = Affine(3, 2)
    assert jax.tree.map(jnp.shape, model).weight == (3, 2)
    assert jax.eval_shape(lambda m: m, model).weight.shape == (3, 2)
    assert jax.eval_shape(model, X).shape == (2, 2)
    assert len(jax.make_jaxpr(model)(X).eqns) > 0


def test_leaves_have_the_names_of_the_fields():
    paths = [jax.tree_util.keystr(k) for k, _ in jax.tree_util.tree_leaves_with_path(Seq(line()))]
    assert paths == [".layers[0].weight", ".layers[0].bias"]


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_are_equal_and_of_the_same_structure(again):
    model = Seq(Affine(3, 2, mean_of), Noise(), Mixed(3, array(2), array(1)))
    other = again(model)
    assert other is not model
    assert other.layers[0] is not model.layers[0]
    assert other == model
    assert jax.tree.structure(other) == jax.tree.structure(model)
    with pytest.raises(StateError):
        other.layers = ()


def test_a_shallow_copy_keeps_the_arrays_and_a_deep_one_does_not():
    model = line()
    assert copy.copy(model).weight is model.weight
    assert copy.deepcopy(model).weight is not model.weight


def test_a_deep_copy_keeps_functions_that_cannot_be_copied_as_equals():
    model = Affine(3, 2, jax.nn.relu)
    assert jax.tree.structure(copy.deepcopy(model)) == jax.tree.structure(model)


def test_a_model_of_tracers_can_be_copied():
    doubled = jax.jit(lambda m: copy.deepcopy(m).weight + copy.copy(m).weight)(line())
    assert doubled == 4


def test_the_second_call_does_not_compile_again():
    traces = []

    @jax.jit
    def f(model, x):
        traces.append(1)
        return model(x)

    f(Seq(Affine(3, 2), line()), X)
    f(Seq(Affine(3, 2, seed=5), line()), X)
    f(jax.tree.map(jnp.copy, Seq(Affine(3, 2), line())), X)
    assert len(traces) == 1
    f(Seq(Affine(3, 2, jnp.sin), line()), X)
    assert len(traces) == 2


def test_a_module_can_hold_any_leaf_that_jax_puts_there():
    assert jax.tree.map(lambda _: None, line()).weight is None
    assert jax.tree.map(lambda _: "text", line()).weight == "text"


def test_numpy_arrays_may_stand_in_for_arrays():
    assert jax.tree.map(np.asarray, line())(2.0) == 7


# --- training ---------------------------------------------------------------------------


def test_the_mode_is_inference_unless_something_says_otherwise():
    assert not line().training
    with training_context(True):
        assert line().training
    assert not line().training


def test_a_gradient_in_one_thread_does_not_switch_another():
    inside, seen = threading.Event(), []

    def other():
        assert inside.wait(10)
        seen.append(line().training)

    thread = threading.Thread(target=other)
    thread.start()
    with training_context(True):
        inside.set()
        thread.join(10)
        assert line().training
    assert seen == [False]


# --- time ------------------------------------------------------------------------------


def test_a_wide_model_is_built_and_called_in_no_time():
    layer = Centre(3)
    start = time.perf_counter()
    model = Seq(*[layer.replace(mean=layer.mean) for _ in range(1000)])
    assert time.perf_counter() - start < 5  # about 0.2 s; quadratic time takes minutes
    assert len(jax.tree.leaves(model)) == 3000


def test_a_deep_model_is_built_printed_and_searched():
    model = Broken(array(1), ValueError)
    for _ in range(200):
        model = Seq(model)
    assert 10 < repr(model).count("Seq") < 200
    assert "…" in repr(model)
    assert copy.copy(model) == model
    with pytest.raises(ValueError, match="broken") as caught:
        model(X)
    assert caught.value.__notes__ == ["raised in model" + 200 * ".layers[0]"]
