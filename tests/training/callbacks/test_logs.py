# SPDX-License-Identifier: Apache-2.0
"""Lines of JSON that anything reads, and scalars for TensorBoard."""

import json
import sys
import types

import numpy as np
import pytest

import rosin as rs
from rosin.errors import RangeError, StateError, StructureError
from tests.training.callbacks.helpers import Told, scored, train
from tests.training.toys import batches

# --- lines of JSON --------------------------------------------------------------------


def strict(line):
    """Parse a line by the standard, which has no NaN."""

    def refuse(name):
        raise AssertionError(name)

    return json.loads(line, parse_constant=refuse)


def test_each_epoch_is_a_line(tmp_path):
    path = tmp_path / "log.jsonl"
    result = train(rs.JSONLines(path), epochs=2, validation=batches(), rule=rs.Descent(0.5))
    lines = [strict(line) for line in path.read_text().splitlines()]
    expected = [{"event": "epoch", **row, "learning_rate": 0.5} for row in result.history]
    assert lines == expected


def test_steps_are_lines_too(tmp_path):
    path = tmp_path / "log.jsonl"
    losses = {}
    train(
        rs.JSONLines(path, every_steps=2),
        Told({"loss"}, on_step_end=lambda run: losses.update({run.step: run.loss})),
    )
    lines = [strict(line) for line in path.read_text().splitlines()]
    assert lines[:-1] == [
        {"event": "step", "epoch": 1, "step": n, "loss": losses[n]} for n in (2, 4, 6)
    ]
    assert lines[-1]["event"] == "epoch"


def test_a_line_is_in_the_file_before_training_goes_on(tmp_path):
    path, seen = tmp_path / "log.jsonl", []

    def look(run):
        seen.append(path.read_text().count("\n"))

    train(rs.JSONLines(str(path)), Told(on_epoch_end=look), epochs=3)
    assert seen == [1, 2, 3]


def test_lines_are_added_to_a_file_that_exists(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"mine": 1}\n')
    train(rs.JSONLines(path))
    assert path.read_text().startswith('{"mine": 1}\n{"event": "epoch"')


def test_what_json_lacks_is_null(tmp_path):
    path = tmp_path / "log.jsonl"
    scored([float("nan"), float("inf"), 1.0], rs.JSONLines(path))
    assert [strict(line)["score"] for line in path.read_text().splitlines()] == [None, None, 1.0]


def test_a_folder_that_is_not_there_is_refused_before_the_first_step(tmp_path):
    with pytest.raises(StateError, match="create the folder"):
        train(rs.JSONLines(tmp_path / "none" / "log.jsonl"), data=[None])


@pytest.mark.parametrize("kind", [rs.JSONLines, rs.TensorBoard])
def test_arguments_out_of_range_are_refused(kind):
    with pytest.raises(StructureError):
        kind(5)
    with pytest.raises(RangeError):
        kind("a", every_steps=0)


# --- TensorBoard ----------------------------------------------------------------------


class Writer:
    """Stands in for tensorboardX, which is an extra."""

    made = None

    def __init__(self, folder):
        self.folder, self.scalars, self.closed, self.flushed = folder, [], 0, 0
        Writer.made = self

    def add_scalar(self, tag, value, step):
        self.scalars.append((tag, value, step))

    def flush(self):
        self.flushed += 1

    def close(self):
        self.closed += 1


@pytest.fixture
def module(monkeypatch):
    stand_in = types.SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "tensorboardX", stand_in)


@pytest.mark.usefixtures("module")
def test_scalars_stand_under_their_tags_at_their_steps(tmp_path):
    board = rs.TensorBoard(tmp_path / "run", every_steps=4)
    result = train(board, epochs=2, validation=batches(), rule=rs.Descent(0.5))
    writer = Writer.made
    assert writer.folder == str(tmp_path / "run")
    values = {(tag, step): value for tag, value, step in writer.scalars}
    assert len(values) == len(writer.scalars)
    assert {step for tag, step in values if tag == "step/loss"} == {4, 8, 12}
    for row in result.history:
        assert values["loss", row["step"]] == row["loss"]
        assert values["validation/loss", row["step"]] == row["validation_loss"]
        assert values["hyperparameters/learning_rate", row["step"]] == 0.5
    assert (writer.flushed, writer.closed) == (2, 1)


@pytest.mark.usefixtures("module")
def test_the_file_is_closed_after_an_exception_too():
    with pytest.raises(ValueError, match="mistake"):
        train(rs.TensorBoard("a"), Told(on_epoch_end=lambda run: int("a mistake")))
    assert Writer.made.closed == 1


def test_without_tensorboardx_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(StateError) as caught:
        rs.TensorBoard("runs")
    assert "rosin[plots]" in caught.value.fix


def test_what_is_written_can_be_read_back(tmp_path):
    pytest.importorskip("tensorboardX")
    result = train(rs.TensorBoard(tmp_path), epochs=2)
    loss = np.float32(result.history["loss"][1]).tobytes()
    (file,) = tmp_path.iterdir()
    assert loss in file.read_bytes()
