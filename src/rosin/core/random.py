# SPDX-License-Identifier: Apache-2.0
"""Randomness at construction: the ambient stream that `seed` sets.

Only building draws from it. A layer that needs random numbers when it is called keeps a
key of its own as a buffer.
"""

import secrets
import threading
from types import TracebackType

import jax
import jax.numpy as jnp
from jax.core import Tracer

from rosin.core.types import Key
from rosin.core.validation import expect_state, is_whole, refuse
from rosin.errors import DtypeError, RangeError, shown


class _Stream:
    """Keys in a row: the n-th is `fold_in(base, n)`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.count = 0

    def draw(self) -> Key:
        key = jax.random.fold_in(jax.random.key(self.number), self.count)
        expect_state(
            not isinstance(key, Tracer),
            subject="the ambient random stream",
            expected="to be drawn from outside jax.jit and other traces",
            got="a draw while a function is traced, where it would freeze into the program",
            fix="build the layer outside, or hand it a key: Dense(2, 3, key=key)",
        )
        self.count += 1
        return key


class _Ambient:
    """The stream in force, shared by all threads."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stream: _Stream | None = None

    def draw(self) -> Key:
        with self.lock:
            if self.stream is None:
                self.stream = _Stream(secrets.randbits(32))
            return self.stream.draw()


_ambient = _Ambient()


class seed:  # noqa: N801  it is called like a function, and used in a with statement
    """Start the ambient stream of random keys anew.

    Layers built without `key=` draw from it, and so does a shuffling `DataLoader` without
    `seed=`. Until it is set, the stream starts from the system's entropy. As a `with`
    block it puts the previous stream back at the end.

    Args:
        number: The seed, from 0 to 2**32 - 1.

    Raises:
        RangeError: The seed is not a whole number in that range.

    Examples:
        >>> with seed(0):
        ...     a = draw_key()
        >>> with seed(0):
        ...     b = draw_key()
        >>> bool(a == b)
        True
    """

    def __init__(self, number: int) -> None:
        expect_seed(number, subject="seed", fix="pass, for example, seed(0)")
        self._previous = _ambient.stream
        _ambient.stream = _Stream(int(number))

    def __enter__(self) -> None:
        """Keep the stream for the block."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the previous stream back."""
        _ambient.stream = self._previous


def expect_seed(number: object, *, subject: str, fix: str = "pass, for example, seed=0") -> None:
    """Refuse anything but a whole number from 0 to 2**32 - 1."""
    if not is_whole(number) or not 0 <= number < 2**32:  # pyright: ignore[reportOperatorIssue]
        refuse(
            RangeError,
            subject=subject,
            expected="a whole number from 0 to 4 294 967 295",
            got=shown(number),
            fix=fix,
        )


def draw_key() -> Key:
    """Draw the next key of the ambient stream.

    Raises:
        StateError: A function is being traced; the key would be the same at every call.
    """
    return _ambient.draw()


def draw_seed() -> int:
    """Draw a whole number below 2**32 from the ambient stream, for use outside JAX."""
    return int(jax.random.bits(draw_key(), dtype="uint32"))


def resolve_key(key: Key | None, *, subject: str) -> Key:
    """Return the key that was given, or the next of the ambient stream.

    Raises:
        DtypeError: The value is not one typed random key.
    """
    if key is None:
        return draw_key()
    if not is_key(key) or key.shape != ():
        refuse(
            DtypeError,
            subject=subject,
            expected="key to be one typed random key",
            got=shown(key),
            fix="make it with jax.random.key(0), or leave it out",
        )
    return key


def is_key(leaf: object) -> bool:
    """Tell whether a leaf is an array of typed random keys."""
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)


def split_each(keys: Key, count: int) -> Key:
    """Split every key of an array into `count`; the new axis comes first."""
    split = jax.vmap(lambda key: jax.random.split(key, count), out_axes=1)
    return split(keys.ravel()).reshape(count, *keys.shape)
