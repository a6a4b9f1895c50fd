# SPDX-License-Identifier: Apache-2.0
"""The order: a permutation, the same for ever, computed from any step on, without pattern."""

import hashlib

import numpy as np
import pytest

from rosin.data import order as module
from rosin.data.order import SPLIT_STREAM, Order, resolve_seed, round_keys, shuffled
from rosin.errors import RangeError

LIMIT = 2**20  # up to it sorted, above it a Feistel network
WORD = 2**64 - 1


def permutation(length, seed=0, stream=0):
    return shuffled(0, length, length=length, seed=seed, stream=stream)


def digest(rows):
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()[:16]


# --- the same algorithm, written again one index at a time ----------------------------


def mix(x):
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & WORD
    return x ^ (x >> 31)


def keys_again(seed, stream):
    gamma = 0x9E3779B97F4A7C15
    state = mix(mix((seed + gamma) & WORD) ^ stream)
    return [mix((state + i * gamma) & WORD) for i in range(1, 9)]


def sorted_again(length, seed, stream):
    keys = keys_again(seed, stream)
    return sorted(range(length), key=lambda i: (mix(mix(i ^ keys[0]) ^ keys[1]) >> 20, i))


def walked_again(place, length, seed, stream):
    keys = keys_again(seed, stream)
    bits = max(2, (length - 1).bit_length())
    low, high = bits // 2, bits - bits // 2
    while True:
        left, right = place >> low, place & (2**low - 1)
        for i in range(0, 8, 2):
            left ^= mix(right ^ keys[i]) & (2**high - 1)
            right ^= mix(left ^ keys[i + 1]) & (2**low - 1)
        place = left << low | right
        if place < length:
            return place


@pytest.mark.parametrize(("seed", "stream"), [(0, 0), (1, 7), (2**63 - 1, SPLIT_STREAM)])
def test_the_sorted_order_is_the_one_written_again_in_integers(seed, stream):
    assert permutation(257, seed, stream).tolist() == sorted_again(257, seed, stream)


@pytest.mark.parametrize("length", [1, 2, 3, 6, 100, LIMIT + 1, 10**9, 2**40])
def test_the_network_is_the_one_written_again_in_integers(length):
    places = np.linspace(0, length - 1, min(length, 50)).astype(np.uint64)
    keys = round_keys(5, 3)
    expected = [walked_again(int(place), length, 5, 3) for place in places]
    assert module._walked(places, length, keys).tolist() == expected


def test_ties_of_the_hash_are_broken_by_the_index(monkeypatch):
    monkeypatch.setattr(module, "_mixed", np.zeros_like)
    assert permutation(100).tolist() == list(range(100))


GOLDEN_SHORT = {
    (0, 0): [3, 6, 9, 1, 5, 7, 2, 0, 8, 4],
    (1, 0): [0, 8, 6, 3, 9, 2, 5, 4, 1, 7],
    (0, 1): [4, 6, 2, 1, 3, 7, 8, 0, 5, 9],
    (2**63 - 1, SPLIT_STREAM): [4, 6, 5, 9, 2, 3, 1, 7, 8, 0],
}
GOLDEN_LONG = {
    1000: "fd83bd3a1aeaa5e4",
    65537: "85c64801c8f5b4f6",
    LIMIT: "035f63d92f707d16",
    LIMIT + 1: "f55d51797372af13",
}


@pytest.mark.parametrize(("seed", "stream"), GOLDEN_SHORT)
def test_short_orders_never_change(seed, stream):
    assert permutation(10, seed, stream).tolist() == GOLDEN_SHORT[seed, stream]


@pytest.mark.parametrize("length", GOLDEN_LONG)
def test_long_orders_never_change(length):
    assert digest(permutation(length, seed=42, stream=3)) == GOLDEN_LONG[length]


# --- a permutation, from any place on -------------------------------------------------


@pytest.mark.parametrize(
    "length", [1, 2, 3, 7, 64, 65, 1000, 65536, 65537, 262145, LIMIT, LIMIT + 1]
)
def test_every_index_comes_exactly_once(length):
    rows = permutation(length, seed=3)
    assert rows.dtype == np.int64
    np.testing.assert_array_equal(np.sort(rows), np.arange(length))


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 64, 65, 1000, 65536, 65537, 262145])
def test_the_network_alone_is_a_permutation_of_any_length(length):
    rows = module._walked(np.arange(length, dtype=np.uint64), length, round_keys(3, 0))
    np.testing.assert_array_equal(np.sort(rows), np.arange(length))


@pytest.mark.parametrize("length", [100, LIMIT + 77])
def test_a_part_is_a_slice_of_the_whole(length):
    whole = permutation(length)
    part = shuffled(13, 57, length=length, seed=0, stream=0)
    np.testing.assert_array_equal(part, whole[13:57])


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("length", "size"), [(1, 1), (10, 4), (12, 4), (3, 8), (LIMIT + 3, 997)])
def test_batches_put_together_are_the_epoch(length, size, shuffle):
    order = Order(length, size, shuffle, partial=True, seed=9)
    batches = list(order.batches(epoch=2))
    assert {len(rows) for rows in batches[:-1]} <= {size}
    assert len(batches) == order.steps == -(-length // size)
    whole = permutation(length, 9, 2) if shuffle else np.arange(length)
    np.testing.assert_array_equal(np.concatenate(batches), whole)


@pytest.mark.parametrize(("length", "size"), [(10, 4), (12, 4), (LIMIT + 3, 997)])
def test_without_partial_all_batches_are_full_and_the_rest_is_left_out(length, size):
    order = Order(length, size, shuffle=True, partial=False, seed=9)
    batches = list(order.batches(epoch=0))
    assert {len(rows) for rows in batches} == {size}
    assert len(batches) == order.steps == length // size


@pytest.mark.parametrize("length", [1000, LIMIT + 3])
@pytest.mark.parametrize("step", [0, 1, 63, 64, 65, 142])
def test_starting_at_a_step_gives_the_batches_from_there_on(length, step):
    order = Order(length, 7, shuffle=True, partial=True, seed=9)
    late = order.batches(epoch=1, step=step)
    whole = permutation(length, 9, 1)
    np.testing.assert_array_equal(next(late), whole[step * 7 : step * 7 + 7])
    if step < 142:
        np.testing.assert_array_equal(next(late), whole[step * 7 + 7 : step * 7 + 14])
    assert list(order.batches(epoch=1, step=order.steps)) == []


def test_a_late_step_of_a_billion_observations_computes_one_block_only(monkeypatch):
    sizes = []
    walked = module._walked
    monkeypatch.setattr(module, "_walked", lambda p, *a: sizes.append(len(p)) or walked(p, *a))
    order = Order(10**9, 100, shuffle=True, partial=True, seed=0)
    batches = order.batches(epoch=0, step=9_000_000)
    rows = [next(batches) for _ in range(65)]
    assert sizes == [6400, 6400]
    assert rows[0][0] == walked_again(900_000_000, 10**9, 0, 0)


@pytest.mark.parametrize("shuffle", [False, True])
def test_indices_cannot_be_written_to_by_a_source(shuffle):
    rows = next(Order(10, 4, shuffle, partial=True, seed=0).batches(epoch=0))
    with pytest.raises(ValueError, match="read-only"):
        rows[0] = 1


# --- without pattern ------------------------------------------------------------------


def network(length, seed, stream):
    keys = round_keys(seed, stream)
    return module._walked(np.arange(length, dtype=np.uint64), length, keys).astype(np.int64)


METHODS = pytest.mark.parametrize("method", [permutation, network])


@METHODS
@pytest.mark.parametrize("vary", ["epoch", "seed"])
def test_places_and_indices_are_independent(method, vary):
    length, bins, repeats = 4096, 64, 40
    table = np.zeros((bins, bins))
    place = np.arange(length) * bins // length
    for i in range(repeats):
        rows = method(length, 1, i) if vary == "epoch" else method(length, i, 1)
        np.add.at(table, (place, rows * bins // length), 1)
    expected = repeats * length / bins**2
    freedom = (bins - 1) ** 2  # rows and columns of the table have fixed sums
    statistic = ((table - expected) ** 2 / expected).sum() / freedom
    # Mean 1, standard deviation sqrt(2 / freedom) = 0.022: five of them either way.
    assert abs(statistic - 1) < 5 * np.sqrt(2 / freedom)


@METHODS
def test_all_orders_of_four_are_equally_frequent(method):
    counts = {}
    for epoch in range(4800):
        key = tuple(method(4, 2, epoch).tolist())
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 24
    statistic = sum((n - 200) ** 2 / 200 for n in counts.values())
    assert statistic < 23 + 5 * np.sqrt(2 * 23)  # chi-square, 23 degrees of freedom


@METHODS
@pytest.mark.parametrize(("seed", "stream"), [(0, 1), (1, 0), (0, SPLIT_STREAM)])
def test_neighbouring_orders_have_nothing_in_common(method, seed, stream):
    length = 65536  # a power of two, where the network never walks
    a, b = method(length, 0, 0), method(length, seed, stream)
    bound = 5 / np.sqrt(length)  # five standard deviations of a correlation of nothing
    assert abs(np.corrcoef(a, b)[0, 1]) < bound
    assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < bound
    assert (a == b).sum() < 12  # Poisson with mean 1
    assert len(np.unique(a ^ b)) > length / 2  # of two orders equal but for an XOR: 1


# --- seeds ----------------------------------------------------------------------------


def test_a_seed_is_taken_as_it_is():
    assert resolve_seed(2**63 - 1, shuffle=True, subject="f") == 2**63 - 1
    assert resolve_seed(np.uint8(7), shuffle=False, subject="f") == 7
    assert type(resolve_seed(np.uint8(7), shuffle=False, subject="f")) is int


def test_without_a_shuffle_no_seed_is_drawn(monkeypatch):
    monkeypatch.delattr(module, "draw_seed")
    assert resolve_seed(None, shuffle=False, subject="f") == 0


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("seed", [-1, 2**63, 0.0, True, "1", np.zeros(2, np.int64)])
def test_a_seed_out_of_range_is_refused(seed, shuffle):
    with pytest.raises(RangeError) as caught:
        resolve_seed(seed, shuffle=shuffle, subject="DataLoader")
    assert caught.value.subject == "DataLoader"
    assert caught.value.expected == "seed to be a whole number from 0 to 2**63 - 1"
    assert caught.value.fix == "pass, for example, seed=0"
