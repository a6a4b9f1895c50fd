# SPDX-License-Identifier: Apache-2.0
"""Splitting: sizes, order, classes in proportion, folds, refusals."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rosin.core.random import seed as ambient_seed
from rosin.data.order import SPLIT_STREAM, shuffled
from rosin.data.sources import Subset
from rosin.data.split import kfolds, splitobs
from rosin.errors import DtypeError, RangeError, ShapeError, StructureError

X = np.arange(10)
RNG = np.random.default_rng(0)
CLASSES = {
    "two alike": np.repeat([0, 1], 50),
    "one in ten": np.arange(100) % 10 == 0,
    "text": np.repeat(["cat", "dog", "owl"], [7, 50, 43]),
    "a long tail": np.repeat(np.arange(42), [60, *[1] * 40, 13]),
    "random": RNG.choice(5, 200, p=[0.5, 0.2, 0.2, 0.07, 0.03]),
}


class Pair(NamedTuple):
    x: Any
    label: Any


class Squares:
    def __len__(self):
        return 10

    def __getitem__(self, indices):
        return indices**2


# --- sizes and order ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "sizes"),
    [
        (0.7, [7, 3]),
        (0.66, [7, 3]),
        (np.float32(0.7), [7, 3]),
        (1, [1, 9]),
        (np.int8(9), [9, 1]),
        ((0.7, 0.2), [7, 2, 1]),
        ((0.1,) * 9, [1] * 10),
        ((2, 5), [2, 5, 3]),
    ],
)
def test_parts_have_the_sizes_asked_for_and_keep_the_order(at, sizes):
    parts = splitobs(X, at=at)
    assert [len(part) for part in parts] == sizes
    np.testing.assert_array_equal(np.concatenate(parts), X)


def test_by_default_four_fifths_come_first():
    assert [part.tolist() for part in splitobs(X)] == [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9]]


def test_parts_have_the_structure_of_the_data():
    data = Pair(X[:, None] * 1.0, {"b": jnp.arange(10), "a": (X,)})
    first, last = splitobs(data, at=7, shuffle=True, seed=0)
    assert jax.tree.structure(first) == jax.tree.structure(data)
    assert list(first.label) == ["b", "a"]
    assert isinstance(first.label["b"], jax.Array)
    assert first.x.dtype == np.float64
    for part, size in ((first, 7), (last, 3)):
        assert part.x.shape == (size, 1)
        np.testing.assert_array_equal(part.x[:, 0], part.label["b"])
        np.testing.assert_array_equal(part.x[:, 0], part.label["a"][0])


def test_parts_in_order_are_views_and_the_data_is_left_alone():
    data = np.arange(10)
    parts = splitobs(data)
    assert all(np.shares_memory(part, data) for part in parts)
    parts = splitobs(data, shuffle=True, seed=0, stratified=X % 2)
    assert not any(np.shares_memory(part, data) for part in parts)
    np.testing.assert_array_equal(data, X)


def test_a_shuffled_split_deals_out_a_permutation_of_the_seed():
    data = np.arange(1000)
    parts = splitobs(data, at=(0.5, 0.3), shuffle=True, seed=4)
    expected = shuffled(0, 1000, length=1000, seed=4, stream=SPLIT_STREAM)
    np.testing.assert_array_equal(np.concatenate(parts), expected)
    assert not np.array_equal(splitobs(data, shuffle=True, seed=5)[0][:500], parts[0])


def test_without_a_seed_it_is_drawn_from_the_ambient_stream():
    def first():
        return splitobs(np.arange(100), shuffle=True)[0].tolist()

    with ambient_seed(7):
        a, b = first(), first()
    with ambient_seed(7):
        assert first() == a != b


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_part_of_a_source_is_a_source(shuffle):
    first, last = splitobs(Squares(), at=6, shuffle=shuffle, seed=0)
    assert isinstance(first, Subset)
    assert (len(first), len(last)) == (6, 4)
    rows = shuffled(0, 10, length=10, seed=0, stream=SPLIT_STREAM) if shuffle else X
    assert last[np.array([3, 0])].tolist() == (rows[[9, 6]] ** 2).tolist()


# --- classes in proportion ------------------------------------------------------------


@pytest.mark.parametrize("labels", CLASSES.values(), ids=CLASSES)
@pytest.mark.parametrize("at", [0.5, 0.83, (0.2, 0.6), 17])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_part_holds_each_class_in_proportion(labels, at, shuffle):
    whole = splitobs(np.arange(len(labels)), at=at)
    parts = splitobs(np.arange(len(labels)), at=at, shuffle=shuffle, stratified=labels, seed=1)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(labels)))
    assert [len(part) for part in parts] == [len(part) for part in whole]
    for part in parts:
        for label in np.unique(labels):
            share = (labels == label).mean() * len(part)
            assert abs((labels[part] == label).sum() - share) < 2


def test_a_stratified_split_in_order_keeps_the_order_within_each_part():
    labels = np.repeat([0, 1, 2], [5, 3, 4])
    first, last = splitobs(np.arange(12), at=0.5, stratified=labels)
    assert (np.diff(first) > 0).all()
    assert (np.diff(last) > 0).all()


def test_a_stratified_split_in_random_order_varies_with_the_seed_and_is_mixed():
    labels = np.repeat([0, 1], 500)
    a, b = (splitobs(np.arange(1000), shuffle=True, stratified=labels, seed=s)[0] for s in (0, 1))
    assert not np.array_equal(np.sort(a), np.sort(b))
    changes = (np.diff(labels[a]) != 0).sum()
    # 799 neighbours, each pair of unequal class with probability 1/2: five deviations.
    assert abs(changes - 799 / 2) < 5 * np.sqrt(799 / 4)


def test_a_class_of_one_is_held_out_as_often_as_any_observation():
    labels = np.array([0] * 99 + [1])
    parts = [splitobs(np.arange(100), shuffle=True, stratified=labels, seed=s) for s in range(400)]
    held_out = sum(99 in last for _, last in parts)
    assert abs(held_out - 80) < 5 * np.sqrt(400 * 0.2 * 0.8)  # binomial: five deviations


def test_classes_may_be_a_list_or_a_jax_array():
    parts = [
        splitobs(X, at=0.5, stratified=labels)[0].tolist()
        for labels in (["a"] * 5 + ["b"] * 5, jnp.arange(10) // 5, np.arange(10) // 5)
    ]
    assert parts[0] == parts[1] == parts[2]


# --- folds ----------------------------------------------------------------------------


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("labels", [None, X % 3])
@pytest.mark.parametrize("k", [2, 3, 10])
def test_folds_validate_each_observation_once_and_train_on_the_others(k, labels, shuffle):
    folds = list(kfolds(X, k, shuffle=shuffle, stratified=labels, seed=2))
    assert len(folds) == k
    for train, validation in folds:
        np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), X)
        assert len(validation) in {10 // k, -(-10 // k)}
    validated = np.concatenate([validation for _, validation in folds])
    np.testing.assert_array_equal(np.sort(validated), X)


def test_there_are_five_folds_by_default_in_order():
    folds = list(kfolds((X, X * 2)))
    assert [v[1].tolist() for _, v in folds] == [[0, 2], [4, 6], [8, 10], [12, 14], [16, 18]]
    assert folds[1][0][0].tolist() == [0, 1, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("labels", CLASSES.values(), ids=CLASSES)
def test_every_fold_holds_each_class_in_proportion(labels):
    for _, validation in kfolds(np.arange(len(labels)), 4, stratified=labels):
        for label in np.unique(labels):
            share = (labels == label).mean() * len(validation)
            assert abs((labels[validation] == label).sum() - share) < 2


def test_shuffled_folds_follow_the_seed():
    a, b, c = (
        [v.tolist() for _, v in kfolds(np.arange(50), shuffle=True, seed=s)] for s in (0, 0, 1)
    )
    assert a == b != c


@pytest.mark.parametrize("k", [1, 0, 11, 2.0, True, None])
def test_a_number_of_folds_out_of_range_is_refused_at_once(k):
    with pytest.raises(RangeError) as caught:
        kfolds(X, k)
    assert caught.value.subject == "kfolds"
    assert caught.value.expected.startswith("k to be a whole number from 2 to 10,")


def test_folds_of_bad_data_are_refused_at_once():
    with pytest.raises(ShapeError) as caught:
        kfolds((X, X[:5]))
    assert caught.value.subject == "kfolds"


# --- refusals -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "at", [0.01, 0.99, 0, 10, 11, -1, (), (0.7, 0.3), (5, 5), (0.5, 0.01), (3, 0), (9, -1)]
)
def test_a_part_without_an_observation_is_refused(at):
    with pytest.raises(RangeError) as caught:
        splitobs(X, at=at)
    assert caught.value.subject == "splitobs"
    assert "at least one observation for every part" in caught.value.expected
    assert caught.value.got == f"at={at!r} for 10 observations"


@pytest.mark.parametrize("at", [0.0, 1.0, -0.5, float("nan"), "0.8", None, (0.5, 3), True])
def test_what_is_neither_fractions_nor_whole_numbers_is_refused(at):
    with pytest.raises(RangeError, match="at to be a number above 0 and below 1"):
        splitobs(X, at=at)


@pytest.mark.parametrize("labels", [X[:9], X[:, None], np.array(3), "abc"])
def test_one_class_for_each_observation_is_needed(labels):
    with pytest.raises(ShapeError) as caught:
        splitobs(X, stratified=labels)
    assert caught.value.expected == "stratified with one class for each of 10 observations"


@pytest.mark.parametrize("labels", [X * 0.5, np.array([None] * 10), X * 1j])
def test_classes_are_whole_numbers_booleans_or_text(labels):
    with pytest.raises(DtypeError) as caught:
        kfolds(X, stratified=labels)
    assert caught.value.subject == "kfolds"
    assert "np.digitize" in caught.value.fix


def test_shuffle_is_a_boolean_and_a_seed_has_a_range():
    with pytest.raises(StructureError, match="shuffle to be of class bool"):
        splitobs(X, shuffle=1)
    with pytest.raises(RangeError, match="seed to be a whole number"):
        splitobs(X, seed=-1)


def test_bad_data_is_refused_in_the_name_of_the_function():
    with pytest.raises(StructureError) as caught:
        splitobs([X, X])
    assert caught.value.subject == "splitobs"
