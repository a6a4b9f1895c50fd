# SPDX-License-Identifier: Apache-2.0
"""What may stand in a field, and that nobody outside can change it afterwards."""

import collections
import copy
import pickle
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from rosin.core.admit import FrozenDict, admitted
from rosin.core.module import Module
from rosin.core.types import Array
from rosin.errors import RangeError, StateError, StructureError


class Holder(Module):
    parts: Array


class State(NamedTuple):
    count: object
    moments: object


class Duck:
    """An array of another library."""

    shape = (2,)
    dtype = "float32"


def test_arrays_modules_and_none_are_taken_as_they_are():
    array, module = jnp.ones(2), Holder(jnp.ones(1))
    made = admitted([array, module, None], "Holder", "parts")
    assert made[0] is array
    assert made[1] is module
    assert made[2] is None


def test_descriptions_of_arrays_are_taken_too():
    described = jax.ShapeDtypeStruct((2,), jnp.float32)
    assert Holder(described).parts is described


def test_lists_become_tuples_at_every_depth():
    made = Holder([[jnp.ones(1)], {"a": [jnp.ones(2)]}]).parts
    assert type(made) is tuple
    assert type(made[0]) is tuple
    assert type(made[1]["a"]) is tuple


def aligned(size):
    """Make an array that JAX would take over as it is, for its address is one XLA likes."""
    memory = np.zeros(4 * size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + 4 * size].view(np.float32)


def test_a_numpy_array_is_copied():
    source = aligned(1024)
    held = Holder(source).parts
    source[:] = 5
    assert isinstance(held, jax.Array)
    assert not held.any()


@pytest.mark.parametrize("value", [np.float32(2), np.bool_(True), np.array(3, ml_dtypes.bfloat16)])
def test_a_numpy_scalar_becomes_an_array_of_its_dtype(value):
    held = Holder(value).parts
    assert (held.shape, held.dtype) == ((), value.dtype)


def test_sixty_four_bits_become_thirty_two_where_the_numbers_fit():
    assert Holder(np.array([0.1, -np.inf, np.nan])).parts.dtype == jnp.float32
    assert Holder(np.array([-(2**31), 2**31 - 1])).parts.tolist() == [-(2**31), 2**31 - 1]


@pytest.mark.parametrize(
    "source", [np.array([1.0, 1e300]), np.array([2**31]), np.array([-(2**40)])]
)
def test_numbers_that_do_not_fit_are_refused(source):
    with pytest.raises(RangeError, match="numbers in the field parts that fit"):
        Holder(source)


def test_what_another_library_made_keeps_its_class():
    state = State(np.ones(1, np.float32), {"weight": jnp.ones(1)})
    made = Holder((state,)).parts[0]
    assert type(made) is State
    assert type(made.moments) is dict
    assert isinstance(made.count, jax.Array)


REFUSED = {
    "a number": (3, "parts", "Static[int], or pass an array"),
    "a flag": (True, "parts", "Static[bool], or pass an array"),
    "a fraction": ([0.5], "parts[0]", "Static[float], or pass an array"),
    "a text": ("relu", "parts", "Static[str]"),
    "a function": (jnp.tanh, "parts", "Static[Callable[..., Any]]"),
    "an object": (object(), "parts", "Static[object]"),
    "a set": ({1}, "parts", "Static[set]"),
    "deep inside": ({"a": [None, "x"]}, "parts.a[1]", "Static[str]"),
    "in a named tuple": (State(1, None), "parts.count", "Static[int], or pass an array"),
    "an array of another library": (Duck(), "parts", "jnp.asarray"),
    "texts in an array": (np.array(["a"]), "parts", "encode it"),
    "objects in an array": (np.array([None]), "parts", "encode it"),
    "dates in an array": (np.array(["2020-02-02"], "M8[D]"), "parts", "encode it"),
}


@pytest.mark.parametrize(("value", "field", "fix"), REFUSED.values(), ids=REFUSED)
def test_what_is_neither_array_nor_module_is_refused(value, field, fix):
    with pytest.raises(StructureError) as caught:
        Holder(value)
    assert caught.value.subject == "Holder"
    assert caught.value.expected == f"the field {field} to hold arrays and modules"
    assert fix in caught.value.fix
    assert ("pass an array" in caught.value.fix) == ("pass an array" in fix)


# --- dicts ------------------------------------------------------------------------------


def holder():
    return Holder({"b": jnp.ones(1), "a": {"c": jnp.zeros(2)}})


def test_a_dict_is_copied():
    source = {"a": jnp.ones(1)}
    held = Holder(source)
    source["b"] = jnp.ones(2)
    assert list(held.parts) == ["a"]


CHANGES = {
    "set": lambda d: d.__setitem__("a", 1),
    "set anew": lambda d: d.__setitem__("z", 1),
    "delete": lambda d: d.__delitem__("a"),
    "clear": lambda d: d.clear(),
    "pop": lambda d: d.pop("a"),
    "popitem": lambda d: d.popitem(),
    "setdefault": lambda d: d.setdefault("z", 1),
    "update": lambda d: d.update(a=1),
    "join in place": lambda d: d.__ior__({"a": 1}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_dict_inside_a_model_cannot_be_changed(change, rebuilt):
    model = jax.tree.map(jnp.copy, holder()) if rebuilt else holder()
    before = jax.tree.leaves(model)
    for part in (model.parts, model.parts["a"]):
        with pytest.raises(StateError, match="a dict inside a model"):
            change(part)
    assert jax.tree.leaves(model) == before


def test_a_dict_reads_as_any_other():
    parts = holder().parts
    assert isinstance(parts, dict)
    assert "b" in parts
    assert {**parts}.keys() == {"a", "b"}
    assert type(dict(parts)) is dict
    assert type(parts.copy()) is dict


def test_the_order_of_a_dict_does_not_depend_on_what_jax_did():
    assert list(holder().parts) == ["a", "b"]
    assert list(jax.tree.map(jnp.copy, holder()).parts) == ["a", "b"]
    assert list(Holder({2: jnp.ones(1), 10: jnp.ones(1)}).parts) == [2, 10]


def test_leaves_in_a_dict_have_the_paths_of_a_dict():
    paths = [
        jax.tree_util.keystr(keys) for keys, _ in jax.tree_util.tree_leaves_with_path(holder())
    ]
    assert paths == [".parts['a']['c']", ".parts['b']"]


def test_ordered_and_default_dicts_are_taken_as_dicts():
    ordered = collections.OrderedDict(b=jnp.ones(1), a=jnp.ones(2))
    assert type(Holder(ordered).parts) is FrozenDict
    assert type(Holder(collections.defaultdict(list, ordered)).parts) is FrozenDict


@pytest.mark.parametrize("keys", [("a", 1), (1.5,), ((1, 2),), (True, False)])
def test_keys_are_names_or_whole_numbers(keys):
    with pytest.raises(StructureError, match=r"the keys of parts\.inner to be names"):
        Holder({"inner": {key: jnp.ones(1) for key in keys}})


def test_joining_gives_a_new_dict():
    parts = holder().parts
    joined = parts | {"z": 1}
    assert type(joined) is FrozenDict
    assert list(joined) == ["a", "b", "z"]
    assert list(parts) == ["a", "b"]


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_dict_survives_copying_and_pickling(again):
    model = again(holder())
    assert type(model.parts) is FrozenDict
    assert model == holder()
