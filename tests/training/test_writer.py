# SPDX-License-Identifier: Apache-2.0
"""Files are written beside the training, one set at a time, and no error is lost."""

import threading
from pathlib import Path

import pytest

import rosin as rs
from rosin.training import run as runs
from rosin.training.writer import Writer
from tests.training.callbacks.helpers import train
from tests.training.toys import loader

A, B = Path("a"), Path("b")


def test_writing_does_not_wait_and_the_next_one_does():
    writer, gate, order = Writer(), threading.Event(), []

    def slow():
        gate.wait(10)
        order.append("first")

    writer.write({A: slow})
    order.append("training goes on")
    timer = threading.Timer(0.05, gate.set)
    timer.start()
    writer.write({B: lambda: order.append("second")})
    writer.wait()
    timer.join()
    assert order == ["training goes on", "first", "second"]
    assert [writer.written.get(), writer.written.get()] == [A, B]


def test_an_error_comes_out_once_and_the_other_file_is_written():
    writer = Writer()

    def fail():
        raise OSError(28, "No space left on device")

    for again in (writer.wait, lambda: writer.write({})):
        writer.write({A: fail, B: lambda: None})
        with pytest.raises(OSError, match="No space") as caught:
            again()
        assert caught.value.__notes__ == ["while 'a' was written beside the training"]
        writer.wait()
        assert writer.written.get() == B
        assert writer.written.empty()


def test_the_end_of_the_process_waits_for_the_thread():
    writer, gate = Writer(), threading.Event()
    writer.write({A: lambda: gate.wait(10)})
    (thread,) = [t for t in threading.enumerate() if t.name == "rosin-writer"]
    assert not thread.daemon
    gate.set()
    writer.wait()


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    gate, write, steps = threading.Event(), runs.write, []

    def held(path, *arguments):
        assert gate.wait(20)
        write(path, *arguments)

    def look(run):
        steps.append(run.step)
        if run.step == 10:  # four steps beyond the first checkpoint, which is not written yet
            assert not (tmp_path / "run.safetensors").exists()
            gate.set()

    monkeypatch.setattr(runs, "write", held)
    path = tmp_path / "run.safetensors"
    train(rs.every(1, look), data=loader(), epochs=2, checkpoint=path)
    assert steps == [*range(1, 13)]
    assert path.exists()


def test_what_is_written_is_the_state_of_its_moment(tmp_path, monkeypatch):
    """Steps that take the memory of the model do not reach into a file on its way."""
    gate, write = threading.Event(), runs.write

    def held(path, *arguments):
        assert gate.wait(20)
        write(path, *arguments)

    monkeypatch.setattr(runs, "write", held)
    kept = []

    def look(run):
        if run.step == 6:
            kept.append(run.model)
            run.save(tmp_path / "six.safetensors")
        if run.step == 12:
            gate.set()

    train(rs.every(1, look, reads={"model", "checkpoint"}), data=loader(), epochs=2)
    loaded = rs.load_arrays(tmp_path / "six.safetensors")
    weight = kept[0].layers[0].weight
    assert loaded["model.layers[0].weight"].tobytes() == weight.__array__().tobytes()
