# SPDX-License-Identifier: Apache-2.0
"""What an annotation makes of a field, written out, as a string, inherited, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar

import jax
import jax.numpy as jnp
import pytest

import rosin as rs
from rosin.core import declare
from rosin.core.module import Module
from rosin.core.types import BUFFER, Array, Buffer, Static
from rosin.errors import StructureError

if TYPE_CHECKING:
    from decimal import Decimal as Imaginary

T = TypeVar("T")
Statistic = Buffer[Array]


class Everything(Module):
    weight: Array
    count: Static[int]
    mean: Buffer[Array]
    qualified: rs.Buffer[rs.Array]
    maybe: Buffer[Array | None]
    spaced: Static[Callable[..., Any]]
    shared: ClassVar[int] = 3
    unparametrised: ClassVar = 4
    alias: Statistic
    noted: Annotated[Array, "a note"]
    unseen: Imaginary | None


def test_string_annotations_are_sorted_by_their_markers():
    fields = Everything.declared
    assert fields.dynamic == (
        *("weight", "mean", "qualified", "maybe", "alias", "noted", "unseen"),
    )
    assert fields.buffers == {"mean", "qualified", "maybe", "alias"}
    assert fields.static == ("count", "spaced")


def test_names_keep_the_order_of_declaration():
    assert Everything.declared.names[:3] == ("weight", "count", "mean")


def test_annotations_that_are_no_strings_are_sorted_alike():
    annotations = {
        "noted": Annotated[Buffer[Array], "a note"],
        "weight": Array,
        "mean": Buffer[Array],
        "size": Static[int],
        "all": ClassVar[int],
    }
    made = type(Module)("Made", (Module,), {"__annotations__": annotations})
    assert made.declared.dynamic == ("noted", "weight", "mean")
    assert made.declared.buffers == {"noted", "mean"}
    assert made.declared.static == ("size",)


class Base(Module):
    weight: Array
    size: Static[int]
    limit: Array


class Derived(Base):
    bias: Array
    size: Buffer[Array]
    limit: ClassVar[int] = 3


def test_a_subclass_adds_fields_and_may_declare_one_anew():
    assert Derived.declared.names == ("weight", "size", "bias")
    assert Derived.declared.buffers == {"size"}
    assert Base.declared.static == ("size",)


class Parametrised(Module, Generic[T]):
    inner: T
    size: Static[int]


def test_a_generic_class_can_be_built_through_its_parameters():
    made = Parametrised[Array](jnp.ones(2), 3)
    assert type(made) is Parametrised
    assert made.size == 3


def relu(x):
    return x


class Defaults(Module):
    weight: Array
    activation: Static[Callable[..., Any]] = relu
    bias: Array | None = None
    sizes: Static[tuple[int, ...]] = (1, 2)


def test_values_in_the_class_body_are_defaults():
    made = Defaults(jnp.ones(2))
    assert made.activation is relu
    assert made.bias is None
    assert made.sizes == (1, 2)
    assert Defaults(jnp.ones(2), sizes=(3,)).sizes == (3,)


def test_a_function_in_the_class_body_is_a_value_not_a_method():
    assert Defaults(jnp.ones(2)).activation(5) == 5
    assert Defaults(jnp.ones(2)).replace(activation=abs).activation(-5) == 5


def test_a_subclass_inherits_defaults():
    class Narrow(Defaults):
        more: Array

    made = Narrow(weight=jnp.ones(1), more=jnp.ones(1))
    assert made.sizes == (1, 2)
    assert made.activation is relu


def test_a_name_of_type_itself_is_no_default():
    class Odd(Module):
        mro: Array

    with pytest.raises(StructureError, match="nothing for mro"):
        Odd()


@pytest.mark.parametrize("name", sorted(declare.RESERVED))
def test_names_that_module_uses_are_reserved(name):
    with pytest.raises(StructureError) as caught:
        type(Module)("Bad", (Module,), {"__annotations__": {name: Array}})
    assert caught.value.got == name
    assert f"{name}_" in caught.value.fix


INNER = {
    "union": Buffer[Array] | None,
    "union as text": "Array | Static[int]",
    "tuple": tuple[Buffer[Array], ...],
    "tuple as text": "tuple[Static[int], Array]",
    "class variable inside": "tuple[ClassVar[int], Array]",
}


@pytest.mark.parametrize("annotation", INNER.values(), ids=INNER)
def test_a_marker_inside_an_annotation_is_refused(annotation):
    namespace = {"__annotations__": {"mean": annotation}, "__module__": __name__}
    with pytest.raises(StructureError, match="around the whole annotation") as caught:
        type(Module)("Bad", (Module,), namespace)
    assert caught.value.subject == "Bad.mean"


@pytest.mark.parametrize("text", ["words.Buffer[Array]", "tuple[words.Static[int]]"])
def test_a_marker_that_only_the_type_checker_sees_is_refused(text):
    namespace = {"__annotations__": {"mean": text}, "__module__": __name__}
    with pytest.raises(StructureError, match="known when the class is made") as caught:
        type(Module)("Bad", (Module,), namespace)
    assert "import words at the top" in caught.value.fix


def test_a_marker_that_was_imported_inside_a_function_is_refused():
    namespace = {"__annotations__": {"mean": "Buffer[int]"}, "__module__": "json"}
    with pytest.raises(StructureError, match="known when the class is made"):
        type(Module)("Bad", (Module,), namespace)


def test_a_class_of_an_unknown_module_can_be_made():
    namespace = {"__annotations__": {"weight": "Array"}, "__module__": "nowhere.at.all"}
    assert type(Module)("Made", (Module,), namespace).declared.dynamic == ("weight",)


def test_marks_are_empty_before_and_after_building():
    assert declare.marks_of(object.__new__(Base)) == declare.UNMARKED
    assert declare.marks_of(Base(jnp.ones(1), 2, jnp.ones(1))) == declare.UNMARKED


def test_a_marker_is_compared_by_identity():
    class Odd:
        def __eq__(self, other):
            raise AssertionError

        __hash__ = None

    assert declare._mark_of(Annotated[Array, Odd(), BUFFER]) is BUFFER


class One(Module):
    weight: Array

    def __call__(self, x):
        return x + self.weight


class Other(Module):
    weight: Array

    def __call__(self, x):
        return x * self.weight


def test_classes_with_fields_of_the_same_names_are_different_programs():
    # JAX 0.10 finds dataclasses of different classes equal if their fields are: a program
    # compiled for one would be run for the other.
    one, other = One(jnp.full(2, 3.0)), Other(jnp.full(2, 3.0))
    assert jax.tree.structure(one) != jax.tree.structure(other)
    assert one != other
    assert hash(one) != hash(other)
    called = jax.jit(lambda module, x: module(x))
    x = jnp.full(2, 2.0)
    assert (called(one, x) == 5).all()
    assert (called(other, x) == 6).all()
