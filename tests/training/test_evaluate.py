# SPDX-License-Identifier: Apache-2.0
"""Averages of functions over data, against the same averages in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.errors import ShapeError, StructureError
from tests.training.compilations import compilations
from tests.training.toys import Noise, data, loss

X, Y = data(11)
WEIGHT = jnp.array([[0.5], [-1.0], [2.0]])


def batches(size=4):
    """Cut the data; the last batch is smaller."""
    return [(X[i : i + size], Y[i : i + size]) for i in range(0, len(X), size)]


def linear(weight, x, y):
    return ((x @ weight - y) ** 2).mean()


def test_means_of_batches_count_by_their_examples():
    expected = ((X @ np.asarray(WEIGHT) - Y) ** 2).mean()
    assert len({len(x) for x, _ in batches()}) == 2
    measured = rs.evaluate(WEIGHT, batches(), {"loss": linear})
    np.testing.assert_allclose(measured["loss"], expected, rtol=1e-6)


def test_a_value_for_each_example_is_averaged_over_all_of_them():
    measured = rs.evaluate(
        WEIGHT,
        batches(),
        {
            "hits": lambda w, x, y: (x @ w > y).squeeze(1),
            "count": lambda w, x, y: jnp.arange(len(x)),
            "beside": lambda w, x, y: (y.squeeze(1), "dropped"),
        },
    )
    hits = (X @ np.asarray(WEIGHT) > Y).mean()
    counts = np.concatenate([np.arange(len(x)) for x, _ in batches()]).mean()
    np.testing.assert_allclose(list(measured.values()), [hits, counts, Y.mean()], rtol=1e-6)
    assert list(measured) == ["hits", "count", "beside"]
    assert all(type(value) is float for value in measured.values())


def test_one_example_with_a_value_of_its_own_is_no_mean():
    assert rs.evaluate(WEIGHT, [X[:1], X[1:2]], {"f": lambda w, x: x[:, 0]})["f"] == pytest.approx(
        X[:2, 0].mean()
    )


def test_a_batch_that_is_no_tuple_is_handed_over_whole():
    given = [{"x": X}, {"x": X[:2]}]
    total = rs.evaluate(WEIGHT, given, {"f": lambda w, b: (b["x"] @ w).mean()})["f"]
    rows = np.concatenate([X, X[:2]]) @ np.asarray(WEIGHT)
    np.testing.assert_allclose(total, rows.mean(), rtol=1e-5)


def test_the_model_is_in_inference():
    measured = rs.evaluate(Noise(), batches(), {"f": lambda m, x, y: jnp.abs(m(x) - x).max()})
    assert measured == {"f": 0}


def test_without_functions_nothing_is_measured():
    assert rs.evaluate(WEIGHT, batches(), {}) == {}


def test_a_second_evaluation_compiles_nothing():
    doubled = WEIGHT * 2
    rs.evaluate(WEIGHT, batches(), {"f": linear})
    with compilations() as compiled:
        rs.evaluate(doubled, batches(), {"f": linear})
    assert not compiled


@pytest.mark.parametrize(
    "value", [lambda x: x, lambda x: x[:2, 0], lambda x: x[None, 0], lambda x: "a"]
)
def test_a_metric_of_another_shape_is_refused(value):
    with pytest.raises(ShapeError) as caught:
        rs.evaluate(WEIGHT, batches(), {"f": lambda w, x, y: value(x)})
    assert caught.value.expected == "a number, or one for each of 4 examples"


@pytest.mark.parametrize("given", [[], iter([])])
def test_data_without_a_batch_is_refused(given):
    with pytest.raises(StructureError, match="at least one batch"):
        rs.evaluate(WEIGHT, given, {"loss": linear})


def test_an_empty_batch_is_refused():
    with pytest.raises(ShapeError, match="at least one example"):
        rs.evaluate(WEIGHT, [(X[:0], Y[:0])], {"loss": loss})


@pytest.mark.parametrize("functions", [{"subject": 3}, {"f": None}, [linear], linear])
def test_metrics_that_cannot_be_called_are_refused(functions):
    with pytest.raises(StructureError):
        rs.evaluate(WEIGHT, batches(), functions)


def test_a_metric_may_have_any_name():
    assert set(rs.evaluate(WEIGHT, batches(), {"subject": linear, "a b": linear})) == {
        "subject",
        "a b",
    }
