# SPDX-License-Identifier: Apache-2.0
"""`ReduceOnPlateau` lowers every learning rate, and nothing compiles again."""

import math

import numpy as np
import pytest

import rosin as rs
from rosin.errors import RangeError, StructureError
from tests.training.callbacks.helpers import Told, scored, train
from tests.training.compilations import compilations
from tests.training.toys import assert_same_bits, batches, loader

NAN = math.nan


def rates(scores, **options):
    """List the learning rate that each epoch was trained with."""
    seen = []
    look = Told({"hyperparameters"}, on_epoch_begin=lambda r: seen.append(r.hyperparameters))
    scored(scores, rs.ReduceOnPlateau("score", **options), look, rule=rs.Descent(0.5))
    return [one["learning_rate"] for one in seen]


@pytest.mark.parametrize(
    ("scores", "options", "expected"),
    [
        ([4, 3, 2, 1], {"patience": 1}, [1, 1, 1, 1]),
        ([1, 1, 1, 1], {"patience": 1}, [1, 1, 0.5, 0.25]),
        ([1, 1, 1, 1, 1], {"patience": 2}, [1, 1, 1, 0.5, 0.5]),
        ([NAN, NAN, NAN], {"patience": 1}, [1, 0.5, 0.25]),
        ([1, 1, 1, 1, 1, 1], {"patience": 1, "cooldown": 2}, [1, 1, 0.5, 0.5, 0.5, 0.25]),
        ([1, 1, 1, 1], {"patience": 1, "lowest": 0.2}, [1, 1, 0.5, 0.4]),
        ([1, 1, 1, 1], {"patience": 1, "lowest": 0.7}, [1, 1, 1, 1]),
        ([1, 2, 3, 3, 3], {"patience": 1, "mode": "max"}, [1, 1, 1, 1, 0.5]),
        ([1, 0.9, 0.8, 0.7], {"patience": 1, "min_delta": 0.15}, [1, 1, 0.5, 0.5]),
    ],
    ids=str,
)
def test_the_rate_is_reduced_after_so_many_epochs_without_an_improvement(scores, options, expected):
    np.testing.assert_allclose(rates(scores, factor=0.5, **options), np.multiply(expected, 0.5))


def test_each_group_is_reduced_to_its_own_rate(capsys):
    rule = {"layers[0]": rs.OptimiserChain(rs.ClipNorm(1.0), rs.Descent(0.5)), "**": rs.Adam(0.25)}
    reduce = rs.ReduceOnPlateau("score", factor=0.1, patience=1, lowest=0.04)
    result = scored([1, 1], reduce, rule=rule, progress=True)
    first, second = result.opt_state.rule.rules
    np.testing.assert_allclose(float(first.rules[1].learning_rate), 0.05, rtol=1e-6)
    np.testing.assert_allclose(float(second.learning_rate), 0.04, rtol=1e-6)
    assert float(first.rules[0].max_norm) == 1.0
    said = [line for line in capsys.readouterr().out.splitlines() if "reduced" in line]
    assert said == [
        "epoch 2: layers[0].Descent.learning rate reduced from 0.5 to 0.05",
        "epoch 2: **.learning rate reduced from 0.25 to 0.04",
    ]


def test_nothing_is_compiled_again():
    scored([1.0], rs.ReduceOnPlateau("score"))
    with compilations() as compiled:
        scored([1.0] * 4, rs.ReduceOnPlateau("score", patience=1))
    assert not compiled


def test_a_run_goes_on_with_its_counts(tmp_path):
    def run(epochs, path=None):
        reduce = rs.ReduceOnPlateau("score", patience=2, cooldown=1)
        checkpoint = path and rs.Checkpoint(path, resume=True)
        return scored([1.0] * epochs, reduce, checkpoint=checkpoint, data=loader())

    whole = run(8)
    for epochs in (2, 4):
        path = tmp_path / f"{epochs}.safetensors"
        run(epochs, path)
        assert_same_bits(run(8, path)[:2], whole[:2])


def test_a_schedule_is_refused_before_the_first_step():
    with pytest.raises(StructureError, match="a schedule") as caught:
        train(rs.ReduceOnPlateau("loss"), rule=rs.Descent(rs.Exp(0.1, decay=0.5)))
    assert caught.value.result.history.rows == []
    assert caught.value.__notes__ == ["in the callback ReduceOnPlateau, on_train_begin"]


def test_an_optimiser_without_a_learning_rate_is_refused():
    import optax

    with pytest.raises(StructureError, match="changes among stop, validation, model"):
        train(rs.ReduceOnPlateau("loss"), rule=optax.sgd(0.1))


def test_a_column_that_is_not_there_is_refused():
    with pytest.raises(StructureError, match="validation data"):
        train(rs.ReduceOnPlateau())
    with pytest.raises(StructureError, match="'validation_loss' is the nearest"):
        train(rs.ReduceOnPlateau("validation_los"), validation=batches())


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"factor": 0}, RangeError),
        ({"factor": 1}, RangeError),
        ({"patience": 0}, RangeError),
        ({"cooldown": -1}, RangeError),
        ({"lowest": -0.1}, RangeError),
        ({"lowest": NAN}, RangeError),
        ({"min_delta": -1}, RangeError),
        ({"mode": "up"}, RangeError),
        ({"monitor": None}, StructureError),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options, kind):
    with pytest.raises(kind):
        rs.ReduceOnPlateau(**options)
