# SPDX-License-Identifier: Apache-2.0
"""One-hot rows and back: values, names, NaN, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rosin.data.onehot import onecold, onehot
from rosin.errors import DtypeError, RangeError, ShapeError, StateError, StructureError

NAMES = ["dog", "cat", "owl"]
SCORES = np.array([[0.1, 0.7, 0.2], [3.0, 1.0, -2.0]], np.float32)

# --- onehot ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,)])
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_rows_are_those_of_the_identity_matrix(shape, dtype):
    labels = np.resize(np.array([2, 0, 1, 2]), shape).astype(dtype)
    rows = onehot(labels, 3)
    assert rows.dtype == jnp.float32
    np.testing.assert_array_equal(rows, np.eye(3)[labels.astype(int)])


def test_labels_may_be_a_number_a_list_or_a_jax_array():
    for labels in (1, [1, 0], jnp.array([1, 0])):
        np.testing.assert_array_equal(onehot(labels, 2), np.eye(2)[np.asarray(labels)])


def test_more_classes_than_a_small_dtype_counts():
    labels = np.array([255, 7], np.uint8)
    np.testing.assert_array_equal(onehot(labels, 300), np.eye(300)[[255, 7]])
    traced = jax.jit(lambda x: onehot(x, 300))(labels)
    np.testing.assert_array_equal(traced, np.eye(300)[[255, 7]])


@pytest.mark.parametrize("names", [NAMES, tuple(NAMES), np.array(NAMES)])
def test_text_labels_find_their_class(names):
    labels = [["cat", "owl"], ["dog", "cat"]]
    np.testing.assert_array_equal(onehot(labels, names), np.eye(3)[[[1, 2], [0, 1]]])
    np.testing.assert_array_equal(onehot("cat", names), np.eye(3)[1])


@pytest.mark.parametrize("names", [[7, -1, 3], np.array([7, -1, 3])])
def test_whole_numbers_may_be_names(names):
    np.testing.assert_array_equal(onehot(np.array([3, 7, 3]), names), np.eye(3)[[2, 0, 2]])


@pytest.mark.parametrize(("labels", "got"), [([0, 3], "from 0 to 3"), ([-1, 2], "from -1 to 2")])
def test_a_label_out_of_range_is_refused(labels, got):
    with pytest.raises(RangeError) as caught:
        onehot(np.array(labels), 3)
    assert caught.value.expected == "labels from 0 to 2"
    assert caught.value.got == f"labels {got}"
    assert "count the labels from 0" in caught.value.fix


def test_a_label_beyond_32_bits_is_refused_rather_than_wrapped():
    with pytest.raises(RangeError):
        onehot(np.array([2**32 + 1]), 3)


def test_a_traced_label_out_of_range_gives_a_row_of_nan():
    labels = np.array([1, 3, -1])
    rows = jax.jit(lambda x: onehot(x, 3))(labels)
    np.testing.assert_array_equal(rows, [[0, 1, 0], [np.nan] * 3, [np.nan] * 3])
    np.testing.assert_array_equal(jax.vmap(lambda x: onehot(x, 3))(labels), rows)


@pytest.mark.parametrize("labels", [np.array([0.0, 1.0]), np.array([True, False]), 1.0])
def test_labels_that_are_not_whole_are_refused(labels):
    with pytest.raises(DtypeError, match="labels of an integer dtype"):
        onehot(labels, 3)
    with pytest.raises(DtypeError, match="labels of an integer dtype"):
        jax.jit(lambda x: onehot(x, 3))(labels)


def test_an_unknown_name_is_refused_and_the_nearest_is_named():
    with pytest.raises(RangeError) as caught:
        onehot(["dog", "catt"], NAMES)
    assert caught.value.expected == "labels among the 3 classes"
    assert caught.value.got == "'catt'"
    assert "'cat' is the nearest" in caught.value.fix


def test_what_an_unknown_name_holds_is_escaped():
    with pytest.raises(RangeError) as caught:
        onehot(["\x1b[31m" + "a" * 200], NAMES)
    assert "\x1b" not in str(caught.value)
    assert len(caught.value.got) <= 80


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        ([1, 2], NAMES, "labels of text"),
        (np.array(["cat", None], object), NAMES, "labels of text"),
        (["1"], [1, 2], "labels of whole numbers"),
        ([1.0], [1, 2], "labels of whole numbers"),
        ([True], [1, 2], "labels of whole numbers"),
    ],
)
def test_labels_of_another_kind_than_the_classes_are_refused(labels, classes, words):
    with pytest.raises(DtypeError, match=words):
        onehot(labels, classes)


@pytest.mark.parametrize("classes", [0, -2, True])
def test_there_is_at_least_one_class(classes):
    with pytest.raises(RangeError, match="classes to be a whole number of at least 1"):
        onehot(np.array([0]), classes)


@pytest.mark.parametrize(
    "classes",
    [[], ["a", "a"], ["a", 1], [1.5, 2], [True, False], "cat", 3.0, [["a"], ["b"]], {1, 2}],
)
@pytest.mark.parametrize(("call", "argument"), [(onehot, np.array([0])), (onecold, SCORES)])
def test_classes_are_distinct_names_of_one_kind(call, argument, classes):
    with pytest.raises(StructureError) as caught:
        call(argument, classes)
    assert caught.value.subject == call.__name__
    assert caught.value.expected.startswith("classes to be a sequence of distinct names")


def test_names_are_not_looked_up_while_a_function_is_traced():
    with pytest.raises(StateError) as caught:
        jax.jit(lambda x: onehot(x, [3, 4]))(np.array([3]))
    assert caught.value.subject == "onehot"
    assert "whole-number labels inside" in caught.value.fix
    with pytest.raises(StateError):
        jax.jit(lambda x: onecold(x, NAMES))(SCORES)


# --- onecold --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16", "int32"])
@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3), (0, 3)])
def test_the_highest_score_wins(shape, dtype):
    scores = np.random.default_rng(1).normal(scale=50, size=shape).astype(dtype)
    winner = onecold(scores)
    assert winner.dtype == jnp.int32
    np.testing.assert_array_equal(winner, scores.argmax(-1))
    np.testing.assert_array_equal(jax.jit(onecold)(scores), scores.argmax(-1))


def test_of_equals_the_first_wins_and_infinity_is_a_score():
    assert onecold(np.array([[1, 2, 2], [0, 0, 0]])).tolist() == [1, 0]
    assert onecold(np.array([[-np.inf, 0.0, np.inf], [-np.inf, -np.inf, 0]])).tolist() == [2, 2]


def test_booleans_and_one_hot_rows_go_back_to_labels():
    labels = np.array([2, 0, 1])
    assert onecold(onehot(labels, 3)).tolist() == labels.tolist()
    assert onecold(np.eye(3, dtype=bool)[labels]).tolist() == labels.tolist()


@pytest.mark.parametrize("names", [NAMES, np.array(NAMES), [7, -1, 3]])
def test_names_come_back(names):
    result = onecold(jnp.asarray(SCORES), names)
    assert type(result) is np.ndarray
    assert result.tolist() == [names[1], names[0]]
    assert onecold(SCORES[0], names) == names[1]


def test_a_nan_is_refused_in_a_batch_too():
    scores = np.array([[0, 1, np.nan], [0, 1, 2], [np.nan] * 3], np.float32)
    for x in (scores, jnp.asarray(scores)):
        with pytest.raises(RangeError) as caught:
            onecold(x)
        assert caught.value.expected == "scores without NaN"
        assert caught.value.got == "float32[3,3] with NaN in 2 of 3 rows"


def test_a_traced_nan_gives_no_class():
    scores = np.array([[0, 1, np.nan], [0, 1, 2]], np.float32)
    assert jax.jit(onecold)(scores).tolist() == [-1, 2]
    assert jax.jit(onecold)(scores).dtype == jnp.int32


@pytest.mark.parametrize("scores", [np.float32(1), np.zeros((3, 0)), 2.0])
def test_scores_have_an_axis_of_classes(scores):
    with pytest.raises(ShapeError) as caught:
        onecold(scores)
    assert caught.value.expected == "shape (..., class)"


def test_names_are_as_many_as_scores():
    with pytest.raises(ShapeError) as caught:
        onecold(SCORES, ["cat", "dog"])
    assert caught.value.expected == "shape (..., 2)"
    assert caught.value.got == "float32[2,3]"
