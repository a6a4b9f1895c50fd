# SPDX-License-Identifier: Apache-2.0
"""The ambient stream of keys: seeded, restored, never drawn from under a trace."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rosin.core import random
from rosin.core.random import draw_key, draw_seed, is_key, resolve_key, seed, split_each
from rosin.errors import DtypeError, RangeError, StateError


@pytest.fixture(autouse=True)
def own_stream():
    with seed(1234):
        yield


def draws(count=3):
    return [int(jax.random.bits(draw_key())) for _ in range(count)]


def test_a_seed_makes_the_stream_reproducible():
    seed(7)
    first = draws()
    seed(7)
    assert draws() == first
    seed(8)
    assert not set(draws()) & set(first)


def test_every_draw_is_another():
    assert len(set(draws(20))) == 20


def test_the_stream_is_the_one_that_is_documented():
    seed(7)
    draw_key()
    assert draw_key() == jax.random.fold_in(jax.random.key(7), 1)


def test_a_block_puts_the_stream_before_it_back():
    seed(7)
    whole = draws(4)
    seed(7)
    parts = draws(2)
    with seed(1):
        inside = draws(2)
        with seed(2):
            draws(5)
        inside += draws(1)
    parts += draws(2)
    assert parts == whole
    seed(1)
    assert draws(3) == inside


def test_a_block_that_fails_puts_the_stream_back_too():
    seed(7)
    whole = draws(2)
    seed(7)
    with pytest.raises(KeyError), seed(1):
        raise KeyError
    assert draws(2) == whole


def test_without_a_seed_two_programs_differ(monkeypatch):
    monkeypatch.setattr(random, "_ambient", random._Ambient())
    first = draws()
    monkeypatch.setattr(random, "_ambient", random._Ambient())
    assert draws() != first


@pytest.mark.parametrize("number", [0, 2**32 - 1, np.int64(5), np.uint8(3)])
def test_whole_numbers_of_thirty_two_bits_are_seeds(number):
    seed(number)
    first = draws(1)
    seed(int(number))
    assert draws(1) == first


@pytest.mark.parametrize("number", [-1, 2**32, 1.0, "1", None, True, jnp.int32(1), np.nan])
def test_anything_else_is_no_seed_and_changes_nothing(number):
    seed(7)
    whole = draws(2)
    seed(7)
    with pytest.raises(RangeError, match="from 0 to 4 294 967 295"):
        seed(number)
    assert draws(2) == whole


TRACED = {
    "jit": lambda: jax.jit(lambda: draw_key())(),
    "eval_shape": lambda: jax.eval_shape(lambda: draw_key()),
    "scan": lambda: jax.lax.scan(lambda c, _: (c, draw_key()), 0, None, 3),
    "a seed as number": lambda: jax.jit(lambda: draw_seed())(),
}


@pytest.mark.parametrize("call", TRACED.values(), ids=TRACED)
def test_a_draw_under_a_trace_is_refused_and_takes_nothing_from_the_stream(call):
    seed(7)
    whole = draws(2)
    seed(7)
    with pytest.raises(StateError, match=r"outside jax\.jit") as caught:
        call()
    assert "hand it a key" in caught.value.fix
    assert draws(2) == whole


def test_threads_share_the_stream_without_drawing_a_key_twice():
    found = []
    threads = [threading.Thread(target=lambda: found.extend(draws(10))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 40


def test_draw_seed_is_a_number_of_thirty_two_bits():
    seed(7)
    numbers = [draw_seed() for _ in range(20)]
    assert all(type(n) is int and 0 <= n < 2**32 for n in numbers)
    assert len(set(numbers)) == 20
    assert max(numbers) > 2**31


def test_a_key_that_is_given_is_taken_and_none_is_drawn():
    seed(7)
    key = jax.random.key(3)
    assert resolve_key(key, subject="Dense") is key
    assert resolve_key(None, subject="Dense") == jax.random.fold_in(jax.random.key(7), 0)


def test_a_traced_key_is_taken():
    assert jax.jit(lambda key: resolve_key(key, subject="Dense"))(jax.random.key(0)).shape == ()


BAD_KEYS = {
    "an old key": jax.random.PRNGKey(0),
    "several keys": jax.random.split(jax.random.key(0)),
    "a seed": 0,
    "an array": jnp.ones(()),
    "a text": "key",
}


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
def test_what_is_not_one_typed_key_is_refused(key):
    with pytest.raises(DtypeError) as caught:
        resolve_key(key, subject="Dense")
    assert caught.value.subject == "Dense"
    assert caught.value.expected == "key to be one typed random key"


def test_is_key_tells_keys_from_arrays():
    assert is_key(jax.random.key(0))
    assert is_key(jax.eval_shape(lambda: jax.random.key(0)))
    assert not is_key(jax.random.PRNGKey(0))
    assert not is_key(3)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_every_key_of_an_array_is_split(shape):
    keys = jax.random.split(jax.random.key(0), shape) if shape else jax.random.key(0)
    split = split_each(keys, 4)
    assert split.shape == (4, *shape)
    flat = np.unique(np.asarray(jax.random.key_data(split)).reshape(-1, 2), axis=0)
    assert len(flat) == split.size
    for place in np.ndindex(*shape):
        assert (split[(slice(None), *place)] == jax.random.split(keys[place], 4)).all()
