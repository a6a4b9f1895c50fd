# SPDX-License-Identifier: Apache-2.0
"""Functions and metrics over data, against the same in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.errors import ShapeError, StructureError
from rosin.training import evaluate as evaluation
from tests.training.compilations import compilations
from tests.training.toys import Affine, Noise, data, loss

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
    "value",
    [lambda x: x, lambda x: x[:2, 0], lambda x: x[None, 0], lambda x: "a", lambda x: 1j * x[:, 0]],
)
def test_a_metric_of_another_shape_is_refused(value):
    with pytest.raises(ShapeError) as caught:
        rs.evaluate(WEIGHT, batches(), {"f": lambda w, x, y: value(x)})
    assert caught.value.expected == "a real number, or one for each of 4 examples"


@pytest.mark.parametrize("given", [[], iter([])])
def test_data_without_a_batch_is_refused(given):
    with pytest.raises(StructureError, match="at least one batch"):
        rs.evaluate(WEIGHT, given, {"loss": linear})


def test_an_empty_batch_is_refused():
    with pytest.raises(ShapeError, match="at least one example"):
        rs.evaluate(WEIGHT, [(X[:0], Y[:0])], {"loss": loss})


@pytest.mark.parametrize(
    "functions", [{"subject": 3}, {"f": None}, [3], None, {"a": rs.Accuracy}, {1: linear}]
)
def test_metrics_that_cannot_be_called_are_refused(functions):
    with pytest.raises(StructureError):
        rs.evaluate(WEIGHT, batches(), functions)


def test_a_metric_may_have_any_name():
    assert set(rs.evaluate(WEIGHT, batches(), {"subject": linear, "a b": linear})) == {
        "subject",
        "a b",
    }


# --- metrics --------------------------------------------------------------------------


class Scores(rs.Module):
    """A model whose prediction is a product, and which counts how often it is traced."""

    weight: rs.Array

    def __call__(self, x):
        CALLS.append(1)
        return x @ self.weight


CALLS = []
SCORES = Scores(jnp.array([[0.5, 1.0], [-1.0, 0.0], [2.0, -1.0]]))
LABELS = (Y[:, 0] > 0).astype(np.int32)
PREDICTED = (X @ np.asarray(SCORES.weight)).argmax(1)


def labelled(size=4):
    return [(X[i : i + size], LABELS[i : i + size]) for i in range(0, len(X), size)]


def crossentropy(model, x, y):
    return rs.logitcrossentropy(model(x), y)


def yes(model, x, y):
    return model(x)[:, 1] - model(x)[:, 0], y


@pytest.mark.parametrize("size", [4, 11])
def test_metrics_and_functions_are_measured_together(size):
    measured = rs.evaluate(
        SCORES,
        labelled(size),
        {
            "loss": crossentropy,
            "accuracy": rs.Accuracy(),
            "matrix": rs.metrics.ConfusionMatrix(2),
            "auroc": rs.metrics.AUROC(of=yes),
        },
    )
    matrix = np.zeros((2, 2), int)
    np.add.at(matrix, (LABELS, PREDICTED), 1)
    margin = X @ np.asarray(SCORES.weight) @ [-1, 1]
    pairs = margin[LABELS == 1][:, None] - margin[LABELS == 0]
    assert measured["accuracy"] == (PREDICTED == LABELS).mean()
    np.testing.assert_array_equal(measured["matrix"], matrix)
    assert measured["auroc"] == ((pairs > 0) + (pairs == 0) / 2).mean()
    losses = np.log1p(np.exp(np.where(LABELS, -margin, margin)))
    np.testing.assert_allclose(measured["loss"], losses.mean(), rtol=1e-6)


def test_the_model_runs_once_for_all_metrics_and_the_loss():
    given = {"loss": crossentropy, "accuracy": rs.Accuracy(), "top": rs.metrics.TopKAccuracy(1)}

    def products(metrics):
        plan = tuple(evaluation._entry(metric) for metric in metrics)
        states = evaluation._start(plan)
        compiled = evaluation._step.lower(plan, SCORES, labelled()[0], states).compile()
        return compiled.as_text().count(" dot(")

    CALLS.clear()
    assert products(given.values()) == products([crossentropy]) == 1
    assert len(CALLS) == 3  # two of the three are one in the program, and the metrics share one


def test_a_second_evaluation_of_equal_metrics_compiles_nothing():
    def metrics():
        of = lambda model, x, y: (model(x)[:, 0], y)
        return [rs.Accuracy(), rs.metrics.F1(2), rs.metrics.AUROC(of=of)]

    other = SCORES.replace(weight=-SCORES.weight)
    rs.evaluate(SCORES, labelled(), metrics())
    with compilations() as compiled:
        rs.evaluate(other, labelled(), metrics())
    assert not compiled


def test_each_shape_of_a_batch_compiles_one_program():
    with compilations() as compiled:
        rs.evaluate(SCORES, labelled(5), [rs.metrics.Recall(2), rs.metrics.MAE(of=yes_or_no)])
    assert [len(x) for x, _ in labelled(5)] == [5, 5, 1]
    assert compiled.count("_step") == 2


def yes_or_no(model, x, y):
    return model(x)[:, 0], y.astype(float), y > -1


def test_metrics_in_a_list_or_alone_go_by_their_names():
    assert list(rs.evaluate(Affine(3, 1), batches(), [loss, rs.metrics.MSE()])) == ["loss", "MSE"]
    assert list(rs.evaluate(WEIGHT, batches(), linear)) == ["linear"]
    assert list(rs.evaluate(Affine(3, 1), batches(), rs.metrics.MSE())) == ["MSE"]
    with pytest.raises(StructureError, match="'MSE' 2 times"):
        rs.evaluate(WEIGHT, batches(), [rs.metrics.MSE(), rs.metrics.MSE()])


@pytest.mark.parametrize("batch", [{"x": X, "y": Y}, X, (X, Y, X > 0)])
def test_a_batch_that_is_no_pair_needs_of(batch):
    with pytest.raises(StructureError) as caught:
        rs.evaluate(Affine(3, 1), [batch], rs.metrics.MSE())
    assert "MSE(of=lambda model, *batch: (prediction, target))" in caught.value.fix


def test_without_of_the_model_is_called():
    with pytest.raises(StructureError) as caught:
        rs.evaluate(WEIGHT, batches(), rs.metrics.MSE())
    assert caught.value.got == "the model float32[3,1]"


@pytest.mark.parametrize("count", [1, 4])
def test_of_returns_what_the_metric_takes(count):
    with pytest.raises(StructureError) as caught:
        rs.evaluate(WEIGHT, batches(), rs.metrics.MSE(of=lambda w, x, y: (y,) * count))
    assert caught.value.expected == "of to return (prediction, target, mask)"


def test_a_whole_number_above_2_to_24_is_summed_exactly():
    values = np.array([2**24 + 1, 2**30 + 3, -5], np.int32)
    measured = rs.evaluate(WEIGHT, [values, values[:2]], {"f": lambda w, v: v})
    assert measured["f"] == (2 * values.sum() + 5) / 5


def test_only_a_few_batches_are_on_their_way(monkeypatch):
    waited = []
    ready = jax.block_until_ready
    monkeypatch.setattr(jax, "block_until_ready", lambda tree: waited.append(1) or ready(tree))
    ahead = []

    def given():
        for number, batch in enumerate(labelled(2)):
            ahead.append(number - len(waited))
            yield batch

    rs.evaluate(SCORES, given(), [rs.Accuracy()])
    assert ahead == [0, 1, 2, 2, 2, 2]


def test_train_writes_each_entry_of_an_array_into_the_history(tmp_path, capsys):
    given = {
        "accuracy": rs.Accuracy(),
        "recall": rs.metrics.Recall(2, average=None),
        "matrix": rs.metrics.ConfusionMatrix(2),
    }
    model = rs.Chain(SCORES, lambda x: x * 2)
    result = rs.train(
        crossentropy,
        model,
        rs.DataLoader((X, LABELS), batch_size=4, seed=0),
        rs.setup(rs.Adam(), model),
        validation=labelled(),
        metrics=given,
        checkpoint=tmp_path / "run.safetensors",
    )
    own = rs.evaluate(result.model, labelled(), given)
    columns = [c for c in result.history.columns if c.startswith("validation_")]
    entries = ["recall[0]", "recall[1]", *(f"matrix[{i},{j}]" for i in (0, 1) for j in (0, 1))]
    assert columns == [f"validation_{name}" for name in ("loss", "accuracy", *entries)]
    assert result.history["validation_recall[1]"][0] == own["recall"][1]
    assert result.history["validation_matrix[1,0]"][0] == own["matrix"][1, 0]
    printed = capsys.readouterr().out
    assert "validation accuracy" in printed
    assert "[" not in printed
