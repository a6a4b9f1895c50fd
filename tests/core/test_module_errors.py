# SPDX-License-Identifier: Apache-2.0
"""An error leaves a module with its place in the model, and with nothing held back."""

import copy
import functools
import gc
import pickle
import weakref

import jax
import numpy as np
import pytest

from rosin.core.module import Module
from rosin.core.types import Array
from rosin.errors import DtypeError, ShapeError
from tests.core.toys import Affine, Broken, Seq, X, array


def deep():
    return Seq(Affine(3, 3), Seq(Affine(3, 4), Affine(5, 2)))


@pytest.mark.parametrize(
    "call", [lambda m: m(X), lambda m: jax.jit(m)(X), lambda m: jax.grad(m)(X)]
)
def test_an_error_says_where_in_the_model_it_arose(call):
    with pytest.raises(ShapeError) as caught:
        call(deep())
    assert caught.value.where == ".layers[1].layers[1]"
    assert str(caught.value).startswith("Affine(weight=float32[5,2]")
    assert "at model.layers[1].layers[1]: expected shape (..., 5), got float32[2,4]" in str(
        caught.value
    )


def test_under_jit_with_the_model_as_argument_too():
    with pytest.raises(ShapeError) as caught:
        jax.jit(lambda m: m(X))(deep())
    assert caught.value.where == ".layers[1].layers[1]"


def test_the_model_itself_has_no_path():
    with pytest.raises(ShapeError) as caught:
        Affine(4, 2)(X)
    assert caught.value.where == ""


def test_a_layer_used_twice_is_reported_at_its_first_place():
    layer = Affine(3, 2)
    with pytest.raises(ShapeError) as caught:
        Seq(Affine(3, 3), layer, layer)(X)
    assert caught.value.where == ".layers[1]"


@pytest.mark.parametrize("error", [ValueError, ZeroDivisionError, KeyError])
def test_an_error_of_somebody_else_gets_a_note(error):
    with pytest.raises(error) as caught:
        Seq(Affine(3, 3), Seq(Broken(array(1), error)))(X)
    assert caught.value.__notes__ == ["raised in model.layers[1].layers[0]"]


def test_notes_of_others_stay():
    class NotedError(Exception):
        def __init__(self, *args):
            super().__init__(*args)
            self.add_note("mine")

    with pytest.raises(NotedError) as caught:
        Seq(Seq(Broken(array(1), NotedError)))(X)
    assert caught.value.__notes__ == ["mine", "raised in model.layers[0].layers[0]"]


class SealedError(Exception):
    """Rejects attributes and notes."""

    def __setattr__(self, name, value):
        raise AttributeError(name)

    def add_note(self, note):
        raise TypeError


class OddNotesError(Exception):
    __notes__ = "no list"

    def __init__(self, *args):
        super().__init__(*args)
        self.__dict__["__notes__"] = ("a tuple",)


@pytest.mark.parametrize("error", [SealedError, OddNotesError])
def test_an_error_that_rejects_notes_comes_through_as_it_is(error):
    with pytest.raises(error, match="broken"):
        Seq(Broken(array(1), error))(X)


def test_an_error_of_somebody_else_can_still_be_pickled_and_copied():
    with pytest.raises(ValueError, match="broken") as caught:
        Seq(Broken(array(1), ValueError))(X)
    assert pickle.loads(pickle.dumps(caught.value)).args == ("broken",)
    assert copy.deepcopy(caught.value).args == ("broken",)


def test_a_check_without_a_subject_is_placed_in_the_layer_that_called_it():
    class Checking(Module):
        weight: Array

        def __call__(self, x):
            raise DtypeError(subject="softmax", expected="a", got="b", fix="c")

    with pytest.raises(DtypeError) as caught:
        Seq(Seq(), Checking(array(1)))(X)
    assert str(caught.value).startswith("softmax at model.layers[1]: expected a")


def test_a_place_in_a_file_is_not_touched():
    from rosin.errors import FileError

    class Reading(Module):
        weight: Array

        def __call__(self, x):
            raise FileError(subject="'a'", expected="a", got="b", fix="c", where="byte 3")

    with pytest.raises(FileError) as caught:
        Seq(Reading(array(1)))(X)
    assert caught.value.where == "byte 3"


def test_every_public_method_says_where():
    class Coder(Module):
        inner: Module

        def encode(self, x):
            return self.inner(x)

    with pytest.raises(ShapeError) as caught:
        Coder(Seq(Affine(4, 2))).encode(X)
    assert caught.value.where == ".inner.layers[0]"


def test_a_jitted_method_says_where_as_far_as_is_known():
    class Jitted(Module):
        inner: Module

        @jax.jit
        def __call__(self, x):
            return self.inner(x)

    model = Jitted(Affine(3, 2))
    np.testing.assert_array_equal(model(X), Affine(3, 2)(X))
    with pytest.raises(ShapeError) as caught:
        Seq(Jitted(Seq(Affine(4, 2))))(X)
    assert caught.value.where == ".layers[0]….layers[0]"


def test_a_layer_inside_a_container_made_on_the_way_is_found():
    class Building(Module):
        inner: Module

        def __call__(self, x):
            return Seq(Seq(), Seq(self.inner))(x)

    with pytest.raises(ShapeError) as caught:
        Seq(Building(Affine(4, 2)))(X)
    assert caught.value.where == ".layers[0].inner"


def test_what_is_no_method_is_left_alone():
    class Odd(Module):
        weight: Array
        plain = staticmethod(jax.jit(lambda x: x + 1))
        made = classmethod(lambda cls, x: cls(x))
        Inner = Affine
        size = property(lambda self: self.weight.size)

        @functools.lru_cache  # noqa: B019  somebody may write it
        def kept(self, x):
            return x + self.weight.size

    odd = Odd.made(array(2))
    assert (odd.plain(1), odd.size, odd.Inner, odd.kept(1)) == (2, 2, Affine, 3)


def test_the_functions_of_a_class_keep_their_names():
    assert Affine.__call__.__name__ == "__call__"
    assert Seq.__call__.__wrapped__


# --- memory ----------------------------------------------------------------------------


def test_a_model_can_be_collected_after_an_error():
    model = deep()
    gone = weakref.ref(model)
    with pytest.raises(ShapeError) as caught:
        model(X)
    error = caught.value.with_traceback(None)
    del model, caught
    gc.collect()
    assert gone() is None
    assert error.where == ".layers[1].layers[1]"


def test_an_error_keeps_no_tracers():
    with jax.checking_leaks(), pytest.raises(ShapeError):
        jax.jit(lambda m: m(X))(deep())
