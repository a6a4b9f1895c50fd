# SPDX-License-Identifier: Apache-2.0
"""Which functions count as the same program."""

import functools
import types

import jax.numpy as jnp
import numpy as np

from rosin.training.samecode import SameCode

SCALE = 2.0


def same(a, b):
    """Tell whether two functions are one program, and check what a dict relies on."""
    a, b = SameCode(a), SameCode(b)
    assert (a == b) == (b == a)
    assert a != b or hash(a) == hash(b)
    return a == b


def made(captured, default=1, *, option=2):
    return lambda x, d=default, *, o=option: (captured, x, d, o)


def test_the_same_code_with_the_same_values_is_the_same():
    value = jnp.ones(2)
    assert same(made(value), made(value))
    assert same(made(value, "a", option="b"), made(value, "a", option="b"))


def test_another_captured_value_default_or_option_is_another_program():
    assert not same(made(jnp.ones(2)), made(jnp.ones(2)))
    assert not same(made(1), made(2))
    assert not same(made(1, 5), made(1, 6))
    assert not same(made(1, option=5), made(1, option=6))


def test_equal_values_in_other_objects_are_another_program():
    """What a function captures is compared by identity, so that nothing is taken for another."""
    assert not same(made([1.0]), made([1.0]))
    assert not same(made(np.float32(1.5)), made(np.float32(1.5)))
    assert not same(made(True), made(1))
    assert not same(made(0.0), made(-0.0))


def test_functions_captured_by_functions_count():
    inner = made(1)
    assert same(made(inner), made(inner))
    assert not same(made(made(1)), made(made(2)))


def test_what_was_captured_stays_alive_with_the_program():
    """An object that is gone may have left its place in memory to another one."""
    kept = [SameCode(made(np.float32(i))) for i in range(100)]
    assert len(set(kept)) == 100


def test_equal_code_in_two_places_is_two_programs():
    assert not same(lambda x: x, lambda x: x)


def test_a_captured_name_that_is_bound_anew_is_another_program():
    scale = 1

    def loss(x):
        return scale * x

    before = SameCode(loss)
    assert before == SameCode(loss)
    scale = 2
    assert before != SameCode(loss)


def test_a_captured_name_without_a_value_yet_is_no_fault():
    def loss(x):
        return later(x)

    before = SameCode(loss)

    def later(x):
        return x

    assert before != SameCode(loss)


def test_a_global_that_is_bound_anew_is_another_program(monkeypatch):
    def loss(x):
        return SCALE * x

    def nested(x):
        return lambda: SCALE * x

    def other(x):
        return x.SCALE

    before = [SameCode(f) for f in (loss, nested, other)]
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert before[0] != SameCode(loss)
    assert before[1] != SameCode(nested)
    assert before[2] == SameCode(other)


def test_the_globals_a_function_is_bound_to_count():
    def loss(x):
        return x

    assert not same(loss, types.FunctionType(loss.__code__, {}))


class Losses:
    """Methods, and a callable object."""

    def method(self, x):
        return x

    def __call__(self, x):
        return x


def test_a_method_is_the_same_on_the_same_object_only():
    a, b = Losses(), Losses()
    assert same(a.method, a.method)
    assert not same(a.method, b.method)
    assert not same(a.method, Losses.method)


def test_other_callables_are_compared_by_identity():
    losses, partial = Losses(), functools.partial(made, 1)
    assert same(losses, losses)
    assert not same(losses, Losses())
    assert same(partial, partial)
    assert not same(partial, functools.partial(made, 1))
    assert same(jnp.sum, jnp.sum)


def test_it_is_equal_to_nothing_else():
    assert SameCode(made) != made
    assert SameCode(made) != "made"
