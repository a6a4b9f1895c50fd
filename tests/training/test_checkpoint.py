# SPDX-License-Identifier: Apache-2.0
"""Runs that end anywhere go on bit for bit: parameters, state, keys, position, history."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.errors import FileError, NonFiniteError, RangeError, StateError, StructureError
from rosin.training import loop, run
from tests.training.toys import assert_same_bits, batches, loader, loss, net

pytestmark = pytest.mark.optimised  # compared bit by bit with a process of its own

EPOCHS = 3
MEASURED = ("loss", "validation_loss", "validation_mae", "step", "epoch", "skipped")


def mae(model, x, y):
    return jnp.abs(model(x) - y).mean(-1)


class Interrupted:
    """A loader that raises before it hands out one batch."""

    def __init__(self, at, error=KeyboardInterrupt):
        self.loader, self.at, self.error, self.count = loader(), at, error, 0

    def __iter__(self):
        for batch in self.loader:
            if self.count == self.at:
                self.count += 1
                raise self.error
            self.count += 1
            yield batch

    @property
    def state(self):
        return self.loader.state

    def restore(self, state):
        self.loader.restore(state)


def train(given=None, *, checkpoint=None, seed=0, metrics=None, **options):
    """Run what is tested, from new objects each time, as a new process would."""
    model = net(seed)
    return rs.train(
        loss,
        model,
        loader() if given is None else given,
        rs.setup(rs.Adam(0.05 if seed == 0 else 0.5), model),
        checkpoint=checkpoint,
        **{
            "epochs": EPOCHS,
            "validation": batches(10),
            "metrics": {"mae": mae} if metrics is None else metrics,
            "progress": False,
            **options,
        },
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


@pytest.fixture(scope="module")
def whole():
    """Hold the result of a run that nothing disturbed."""
    return train()


def assert_same_run(result, whole):
    assert_same_bits(result[:2], whole[:2])
    for column in MEASURED:
        assert result.history[column].tolist() == whole.history[column].tolist(), column


def resumed(path, **options):
    """Go on, from a model and a rate that the checkpoint, if there is one, has to replace."""
    seed = 9 if path.exists() else 0
    return train(checkpoint=rs.Checkpoint(path, resume=True), seed=seed, **options)


# --- going on -------------------------------------------------------------------------


def test_a_checkpoint_changes_nothing(path, whole):
    assert_same_run(train(checkpoint=path), whole)
    assert path.exists()


@pytest.mark.parametrize("every_steps", [None, 1, 4])
@pytest.mark.parametrize("at", [0, 1, 4, 5, 6, 9, 17])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_run_interrupted_in_its_data_goes_on_bit_for_bit(path, whole, at, every_steps, error):
    with pytest.raises(error):
        train(Interrupted(at, error), checkpoint=rs.Checkpoint(path, every_steps=every_steps))
    assert path.exists() == (at > 0)
    assert_same_run(resumed(path), whole)


def test_a_run_may_be_interrupted_again_and_again(path, whole):
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(2), checkpoint=path)
    for at in (1, 5, 3):
        with pytest.raises(KeyboardInterrupt):
            resumed(path, given=Interrupted(at))
    assert_same_run(resumed(path), whole)


def test_an_exception_in_a_metric_does_not_repeat_the_epoch(path, whole):
    def bad(model, x, y):
        raise ValueError("a mistake in a metric")

    with pytest.raises(ValueError, match="mistake"):
        train(checkpoint=path, metrics={"mae": bad})
    assert_same_run(resumed(path), whole)


def test_an_exception_in_validation_data_does_not_repeat_the_epoch(path, whole):
    class Once(list):
        """Batches that are there the first time only."""

        def __iter__(self):
            yield from super().__iter__()
            self[:] = ["text"]

    with pytest.raises(StructureError, match="the batch"):
        train(checkpoint=path, validation=Once(batches(10)))
    assert_same_run(resumed(path), whole)


def test_a_run_that_is_over_goes_on_for_more_epochs(path, whole):
    train(checkpoint=path, epochs=2)
    assert_same_run(resumed(path), whole)


def test_a_run_that_is_over_returns_what_it_had(path, whole):
    train(checkpoint=path)
    before = path.read_bytes()
    assert_same_run(resumed(path), whole)
    assert path.read_bytes() == before


def test_a_bad_batch_leaves_a_checkpoint_from_before_it(path):
    class Bad(Interrupted):
        """A loader with one spoilt batch."""

        def __iter__(self):
            for index, (x, y) in enumerate(self.loader):
                yield (x * np.nan, y) if index == self.at and self.loader.epoch == 1 else (x, y)

    with pytest.raises(NonFiniteError) as caught:
        train(Bad(2), checkpoint=path)
    kept = rs.load(path, {"model": net(3), "opt_state": rs.setup(rs.Adam(), net(3))})
    assert_same_bits((kept["model"], kept["opt_state"]), caught.value.result[:2])
    stopped = path.with_name("stopped.safetensors")
    result = train(Bad(2), checkpoint=stopped, on_nonfinite="stop")
    assert result.stopped
    assert_same_bits(result[:2], caught.value.result[:2])
    for file in (path, stopped):
        with pytest.raises(NonFiniteError) as again:
            resumed(file, given=Bad(0))
        assert "epoch 2, step 9" in again.value.__notes__[0]


def test_the_time_before_an_interrupt_counts(path):
    class Slow(Interrupted):
        """A loader that takes its time before it is interrupted."""

        def __iter__(self):
            import time

            time.sleep(0.3)
            yield from super().__iter__()

    with pytest.raises(KeyboardInterrupt):
        train(Slow(3), checkpoint=path, epochs=1)
    assert resumed(path, epochs=1).history["seconds"][0] > 0.3


def test_the_layers_of_rosin_go_on_bit_for_bit(path):
    def run(given, checkpoint=None):
        with rs.seed(0 if not path.exists() else 1):
            model = rs.Chain(
                rs.Dense(3, 4, rs.tanh), rs.BatchNorm(4), rs.Dropout(0.5), rs.Dense(4, 1)
            )
        opt_state = rs.setup(rs.AdamW(0.05), model)
        return rs.train(
            loss, model, given, opt_state, epochs=2, checkpoint=checkpoint, progress=False
        )

    expected = run(loader())
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(8), path)
    result = run(loader(), rs.Checkpoint(path, resume=True))
    assert_same_bits(result[:2], expected[:2])
    assert result.history["loss"].tolist() == expected.history["loss"].tolist()


# --- an interrupt anywhere ------------------------------------------------------------


def interrupted_at_line(number, call):
    """Raise KeyboardInterrupt at the n-th line of the loop's own code; tell whether it came."""
    files = {loop.__file__, run.__file__}
    lines = itertools.count()

    def inside(frame, event, _):
        if event == "line" and next(lines) == number:
            raise KeyboardInterrupt
        return inside

    def enter(frame, event, _):
        return inside if frame.f_code.co_filename in files else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        call()
    except KeyboardInterrupt as error:
        return error
    finally:
        sys.settrace(before)
    return None


@pytest.mark.parametrize("every_steps", [None, 2])
def test_an_interrupt_at_any_line_of_the_loop_loses_nothing(tmp_path, whole, every_steps):
    lost = 0
    for number in range(70, 900, 31):  # a stride that does not fall on the same line again
        path = tmp_path / f"{number}.safetensors"
        checkpoint = rs.Checkpoint(path, every_steps=every_steps)
        error = interrupted_at_line(number, lambda c=checkpoint: train(checkpoint=c))
        if error is None:
            break
        lost += not hasattr(error, "result")
        assert_same_run(resumed(path), whole)
    assert number > 300  # so many lines were interrupted, over more than an epoch
    assert lost <= 3  # between a step and the note of it; the checkpoint before is taken


def test_the_tracer_interrupts(path):
    assert isinstance(interrupted_at_line(200, lambda: train(checkpoint=path)), KeyboardInterrupt)


# --- when it is written ---------------------------------------------------------------


def saved_steps(monkeypatch, **options):
    steps = []
    write = run.write

    def noted(path, tree, done, note):
        steps.append(done.step)
        write(path, tree, done, note)

    monkeypatch.setattr(run, "write", noted)
    train(**options)
    return steps


def test_it_is_written_after_each_epoch(path, monkeypatch):
    assert saved_steps(monkeypatch, checkpoint=path) == [6, 12, 18]


def test_it_is_written_after_so_many_steps_too(path, monkeypatch):
    checkpoint = rs.Checkpoint(path, every_steps=4)
    assert saved_steps(monkeypatch, checkpoint=checkpoint) == [4, 6, 8, 12, 12, 16, 18]


KILLED = """
import os, sys
from pathlib import Path
from tests.training.test_checkpoint import train
replace, count = Path.replace, 0
def killed(self, target):
    global count
    count += 1
    if count == {at}:
        os._exit(42)
    return replace(self, target)
Path.replace = killed
train(checkpoint=sys.argv[1])
"""


@pytest.mark.parametrize(("at", "code"), [(2, 42), (9, 0)])
def test_a_process_killed_before_the_rename_leaves_the_checkpoint_before(path, at, code):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(at=at), path],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    noted = json.loads(rs.load_metadata(path)["training"])
    assert noted["epoch"] == (1 if code else EPOCHS)
    assert_same_run(resumed(path), train())  # not `whole`, which other tests compile


def test_a_disk_that_fails_does_not_hide_what_ended_the_training(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(KeyboardInterrupt) as caught:
        train(Interrupted(3), checkpoint=path)
    assert caught.value.result.model is not None
    assert "No space left" in caught.value.__notes__[0]
    assert list(path.parent.iterdir()) == []


def test_a_disk_that_fails_beside_the_training_ends_it_at_the_next_save(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left") as caught:
        train(checkpoint=path)
    assert len(caught.value.result.history) == 2
    assert "while 'run.safetensors' was written" in caught.value.__notes__[0]


def test_a_disk_that_fails_at_the_last_save_is_seen_at_the_end(path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left") as caught:
        train(checkpoint=path, epochs=1)
    assert len(caught.value.result.history) == 1


# --- what is refused ------------------------------------------------------------------


def test_a_file_that_exists_is_not_overwritten(path):
    path.write_bytes(b"precious")
    for given in (path, str(path), rs.Checkpoint(path)):
        with pytest.raises(StateError) as caught:
            train(checkpoint=given)
        assert "resume=True" in caught.value.fix
    assert path.read_bytes() == b"precious"


def test_a_folder_that_is_not_there_is_refused_before_the_first_step(tmp_path):
    with pytest.raises(StateError) as caught:
        train(Interrupted(0, ValueError), checkpoint=tmp_path / "none" / "run.safetensors")
    assert "create the folder" in caught.value.fix


@pytest.mark.parametrize("given", [batches(), iter(batches())])
def test_data_that_does_not_tell_its_position_is_refused(path, given):
    with pytest.raises(StructureError) as caught:
        train(given, checkpoint=path, epochs=1)
    assert "state and restore" in caught.value.expected
    assert not path.exists()


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"every_steps": 0}, RangeError),
        ({"every_steps": 1.5}, RangeError),
        ({"every_steps": True}, RangeError),
        ({"resume": "yes"}, StructureError),
        ({"path": 5}, StructureError),
    ],
)
def test_options_out_of_range_are_refused(options, kind):
    with pytest.raises(kind):
        rs.Checkpoint(**{"path": "a", **options})


def test_a_checkpoint_of_another_model_is_refused_and_left(path):
    train(checkpoint=path)
    before = path.read_bytes()
    model = rs.f16(net())
    with pytest.raises(StructureError, match="in the file"):
        rs.train(
            loss,
            model,
            loader(),
            rs.setup(rs.Adam(), model),
            checkpoint=rs.Checkpoint(path, resume=True),
            progress=False,
        )
    assert path.read_bytes() == before


def test_a_checkpoint_for_other_data_is_refused(path):
    with pytest.raises(KeyboardInterrupt):
        train(Interrupted(2), checkpoint=path)
    with pytest.raises(RangeError, match="batch_size"):
        resumed(path, given=loader(batch_size=5))


GOOD = {
    "epoch": 1,
    "step": 6,
    "rows": [{"epoch": 1.0, "loss": 0.5}],
    "examples": 0,
    "total_loss": 0.0,
    "skipped": 0,
    "seconds": 0.0,
    "position": None,
    "begun": False,
    "validates": True,
}


def write(path, note):
    model = net()
    tree = {"model": model, "opt_state": rs.setup(rs.Adam(0.05), model)}
    rs.save(path, tree, None if note is None else {"training": note})


def test_the_notes_that_the_table_of_bad_ones_starts_from_are_good(path):
    write(path, json.dumps(GOOD))
    result = resumed(path, epochs=2)
    assert result.history["loss"][0] == 0.5
    assert len(result.history) == 2


@pytest.mark.parametrize(
    "note",
    [
        None,
        "",
        "{",
        "[]",
        "1",
        "null",
        "[" * 100_000,
        "9" * 5000,
        "{}",
        *(
            json.dumps({**GOOD, **change})
            for change in (
                {"epoch": -1},
                {"epoch": 1.5},
                {"epoch": True},
                {"step": "6"},
                {"step": None},
                {"rows": {}},
                {"rows": [1]},
                {"rows": [{"loss": "low"}]},
                {"rows": [{"loss": []}]},
                {"examples": -1},
                {"total_loss": "0"},
                {"total_loss": [0]},
                {"skipped": None},
                {"seconds": {}},
                {"position": 5},
                {"begun": 0},
                {"validates": None},
                {"more": 1},
                {"__class__": 1},
            )
        ),
        json.dumps({k: v for k, v in GOOD.items() if k != "rows"}),
    ],
    ids=lambda note: "none" if note is None else note[:60],
)
def test_notes_that_are_not_those_of_a_run_are_refused_as_a_file(path, note):
    write(path, note)
    with pytest.raises(FileError) as caught:
        resumed(path)
    assert caught.value.where == "metadata 'training'"
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("position", [{}, {"epoch": "x"}, {"step": [1]}, {"a": 1}])
def test_a_position_that_is_none_is_refused_by_the_data(path, position):
    write(path, json.dumps({**GOOD, "position": position}))
    with pytest.raises((StructureError, RangeError)):
        resumed(path)
