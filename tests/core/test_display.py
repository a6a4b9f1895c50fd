# SPDX-License-Identifier: Apache-2.0
"""A module prints as the call that builds it, however odd its parts are."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rosin.core.display import LINE_CHARACTERS, value_text
from rosin.core.module import Module
from rosin.core.types import Array, Static
from tests.core.toys import Affine, Noise, Seq, array


class Sized(Module):
    """Prints its sizes, and an option only where it is not the default."""

    weight: Array | None
    rate: Static[Any]

    def __init__(self, *shape, rate=0.5):
        self.weight = array(*shape)
        self.rate = rate

    def __rich_repr__(self):
        yield from self.weight.shape
        yield "rate", self.rate, 0.5


class Holder(Module):
    part: Any = None
    rate: Static[Any] = 1


def test_a_module_prints_as_its_constructor_call():
    assert repr(Sized(2, 3)) == "Sized(2, 3)"
    assert repr(Sized(2, 3, rate=0.25)) == "Sized(2, 3, rate=0.25)"


def test_without_words_of_its_own_it_prints_its_fields_but_not_the_defaults():
    assert repr(Affine(3, 2)) == "Affine(weight=float32[3,2], bias=float32[2], activation=tanh)"
    assert repr(Holder()) == "Holder()"
    assert repr(Holder(rate=2)) == "Holder(rate=2)"


def test_a_long_call_is_broken_over_lines():
    assert repr(Seq(Sized(2, 3), Seq(Sized(3, 4), *[Sized(1, 1)] * 8), jnp.zeros(2))) == (
        "Seq(\n"
        "    layers=(\n"
        "        Sized(2, 3),\n"
        "        Seq(\n"
        "            layers=(\n"
        "                Sized(3, 4),\n" + "                Sized(1, 1),\n" * 8 + "            ),\n"
        "        ),\n"
        "        float32[2],\n"
        "    ),\n"
        ")"
    )


@pytest.mark.parametrize("extra", [0, 1])
def test_a_line_is_full_at_its_last_character(extra):
    name = "x" * (LINE_CHARACTERS - len("Holder(rate='')") + extra)
    assert ("\n" in repr(Holder(rate=name))) == bool(extra)


def rate_of(step, *, base):
    return base


VALUES = {
    "a function": (jnp.tanh, "tanh"),
    "a function of ours": (rate_of, "rate_of"),
    "a lambda": (lambda x: x, "<lambda>"),
    "a class": (dict, "dict"),
    "a jitted function": (jax.jit(rate_of), "rate_of"),
    "an activation of JAX": (jax.nn.relu, "relu"),
    "a partial function": (
        functools.partial(rate_of, 1, base=2.5),
        "partial(rate_of, 1, base=2.5)",
    ),
    "a partial partial": (
        functools.partial(functools.partial(rate_of, base=jnp.tanh), 1),
        "partial(rate_of, 1, base=tanh)",
    ),
    "a text": ("a", "'a'"),
    "a number": (0.1, "0.1"),
    "none": (None, "None"),
    "no tuple": ((), "()"),
    "a tuple of one": ((1,), "(1,)"),
    "a tuple": ((1, "a"), "(1, 'a')"),
    "a list": ([1, jnp.tanh], "[1, tanh]"),
    "a dict": ({"a": Sized(2, 3)}, "{'a': Sized(2, 3)}"),
    "an array": (jnp.ones((2, 3)), "float32[2,3]"),
    "an array of NumPy": (np.ones(2), "float64[2]"),
    "a description": (jax.ShapeDtypeStruct((2,), jnp.int32), "int32[2]"),
    "a key": (jax.random.key(0), "key<fry>[]"),
    "arrays in a tuple": ((jnp.ones(2),), "(float32[2],)"),
}


@pytest.mark.parametrize(("value", "text"), VALUES.values(), ids=VALUES)
def test_a_value_is_spelled(value, text):
    assert value_text(value) == text


def test_no_contents_of_arrays_are_printed():
    text = repr(Seq(Holder(array(2)), Holder((array(3), {"a": array(4)})), Noise()))
    assert "." not in text


def test_the_mark_of_a_default_is_not_asked_of_arrays():
    class Odd(Module):
        weight: Array

        def __rich_repr__(self):
            yield "weight", np.ones(3), np.ones(3)
            yield "other", jnp.ones(3), None
            yield None, 3
            yield "same", (1, 2), (1, 2)
            yield "true", True, 1

    assert repr(Odd(array(1))) == "Odd(weight=float64[3], other=float32[3], (None, 3), true=True)"


def test_a_tree_of_other_leaves_prints_its_fields():
    bare = jax.tree.map(lambda _: None, Sized(2, 3))
    assert repr(bare) == "Sized(weight=None, rate=0.5)"
    assert repr(Seq(bare)) == "Seq(layers=(Sized(weight=None, rate=0.5),))"


def test_a_tree_of_tracers_and_descriptions_prints():
    seen = []
    jax.jit(lambda m: seen.append(repr(m)))(Affine(3, 2))
    seen.append(repr(jax.eval_shape(lambda: Affine(3, 2))))
    assert seen == [repr(Affine(3, 2))] * 2


def test_a_shallow_nest_is_printed_whole_and_a_very_deep_one_is_cut():
    model = Sized(2, 3)
    for _ in range(15):
        model = Seq(model)
    assert "Sized(" in repr(model)
    for _ in range(15):
        model = Seq(model)
    assert "Sized(" not in repr(model)
    assert "…" in repr(model)
