# SPDX-License-Identifier: Apache-2.0
"""Counts and sums: nothing is lost, compared with Python's whole numbers and fractions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rosin.training.metrics import tally
from rosin.training.metrics.tally import Count, Sum

pytestmark = pytest.mark.optimised  # digits are counted

ADD_COUNTS = jax.jit(tally.add_counts)
ADD_SUMS = jax.jit(tally.add_sums)
SUMMED = jax.jit(tally.summed, static_argnums=1)


def count(number):
    return Count(jnp.uint32(number % 2**32), jnp.uint32(number >> 32))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (2**24, 1),
        (2**32 - 1, 1),
        (2**32 - 1, 2**32 - 1),
        (2**53, 1),
        (2**53 - 1, 2**33 + 7),
        (2**62, 2**62 - 1),
    ],
)
def test_counts_carry(a, b):
    total = ADD_COUNTS(count(a), count(b))
    assert tally.whole(total) == a + b
    assert tally.as_float(total) == np.float32(a + b)


def test_many_ones_are_as_many():
    def body(_, total):
        return tally.add_counts(total, tally.counted(jnp.ones(3, bool)))

    start = count(2**32 - 10)
    assert tally.whole(jax.lax.fori_loop(0, 1000, body, start)) == 2**32 - 10 + 3000


def test_counts_of_arrays_are_arrays():
    total = ADD_COUNTS(tally.no_count((2,)), tally.counted(jnp.array([3, 2**31], jnp.uint32)))
    total = ADD_COUNTS(total, total)
    assert tally.whole(total).tolist() == [6, 2**32]
    assert tally.whole(total).dtype == np.int64


RNG = np.random.default_rng(3)


@pytest.mark.parametrize("size", [1, 1000, 2 * tally.LONG + 17, 5 * tally.LONG])
def test_a_sum_is_right_to_more_digits_than_a_float_has(size):
    values = (RNG.lognormal(sigma=3, size=size)).astype(np.float32)
    exact = math.fsum(values.tolist())
    # Two floats hold 48 bits; each addition rounds there once.
    assert tally.number(SUMMED(values)) == pytest.approx(exact, rel=2.0**-42)


def test_sums_that_cancel_leave_what_is_small():
    values = np.float32([2e7, 1e-3, -2e7, 3e-3])
    assert tally.number(SUMMED(values)) == pytest.approx(np.float64(values).sum(), rel=1e-6)
    total = tally.no_sum()
    for value in values:
        total = ADD_SUMS(total, Sum(jnp.float32(value), jnp.float32(0)))
    assert tally.number(total) == pytest.approx(np.float64(values).sum(), rel=1e-6)


def test_a_long_stream_of_equal_batches_does_not_drift():
    batch = tally.summed(jnp.full(3, 0.3))
    total = jax.lax.fori_loop(0, 100_000, lambda _, t: tally.add_sums(t, batch), tally.no_sum())
    plain = jax.lax.fori_loop(0, 100_000, lambda _, t: t + batch.high, jnp.float32(0))
    exact = 300_000 * float(np.float32(0.3))
    assert tally.number(total) == pytest.approx(exact, rel=1e-12)
    assert plain != pytest.approx(exact, rel=1e-4)  # what float32 makes of it


@pytest.mark.parametrize("size", [5, 3 * tally.LONG])
@pytest.mark.parametrize(
    ("special", "total"),
    [([np.inf], np.inf), ([-np.inf], -np.inf), ([np.nan], np.nan), ([np.inf, -np.inf], np.nan)],
)
def test_infinities_and_nan_are_kept(size, special, total):
    values = np.ones(size, np.float32)
    values[1 : 1 + len(special)] = special
    got = ADD_SUMS(SUMMED(values), SUMMED(np.ones(3, np.float32)))
    np.testing.assert_array_equal(tally.number(got), total)


def test_a_sum_beyond_the_largest_float_is_infinite():
    assert tally.number(SUMMED(np.full(4, 3e38, np.float32))) == np.inf


@pytest.mark.parametrize(
    "values",
    [
        np.array([2**31 - 1, 2**31 - 2, -(2**31), -1], np.int32),
        np.array([255, 254, 1], np.uint8),
        np.array([-128, 127, 3], np.int8),
        np.array([2**32 - 1, 5], np.uint32),
        np.array([True, False, True]),
    ],
)
def test_whole_numbers_are_added_exactly(values):
    assert tally.number(SUMMED(values)) == int(values.astype(object).sum())


@pytest.mark.parametrize("length", [40, 2 * tally.LONG + 5])
def test_a_sum_over_the_first_axes_leaves_the_last(length):
    values = RNG.normal(size=(length, 2, 3)).astype(np.float32)
    exact = np.float64(values).sum((0, 1))
    total = tally.number(SUMMED(values, (0, 1)))
    np.testing.assert_allclose(total, exact, rtol=1e-11)


def test_half_precision_is_added_in_single():
    values = jnp.full(5000, 1, jnp.bfloat16)
    assert tally.number(SUMMED(values)) == 5000


def test_with_64_bits_sums_are_in_double():
    with jax.enable_x64(True):
        total = tally.summed(jnp.asarray([1e300, 1.0, -1e300]))
        assert total.high.dtype == np.float64
        assert tally.number(tally.add_sums(total, tally.no_sum())) == 1
