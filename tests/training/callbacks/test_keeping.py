# SPDX-License-Identifier: Apache-2.0
"""`Checkpoints` keeps the best and the last, and deletes nothing but its own files."""

import itertools
import json
import math
import time

import pytest

import rosin as rs
from rosin.errors import FileError, RangeError, StateError, StructureError
from rosin.training import run as runs
from tests.training.callbacks.helpers import Told, scored, train
from tests.training.toys import assert_same_bits, batches, loader, loss, net

NAN = math.nan


def epochs_of(folder):
    return sorted(int(path.stem.removeprefix("epoch-")) for path in folder.glob("epoch-*"))


def kept(folder, scores, **options):
    checkpoints = rs.Checkpoints(folder, monitor="score", **options)
    scored(scores, checkpoints, data=loader())
    assert [int(path.stem[-6:]) for path in checkpoints.paths] == epochs_of(folder)
    return epochs_of(folder), checkpoints.best


@pytest.mark.parametrize(
    ("scores", "options", "expected", "best"),
    [
        ([3, 1, 2, 4], {}, [2, 4], 2),
        ([3, 1, 2, 4], {"keep_best": 2, "keep_last": 0}, [2, 3], 2),
        ([3, 1, 2, 4], {"mode": "max"}, [4], 4),
        ([4, 1, 2, 3], {"mode": "max", "keep_last": 2}, [1, 3, 4], 1),
        ([1, 1, 1], {}, [1, 3], 1),
        ([NAN, 2, NAN], {}, [2, 3], 2),
        ([NAN, NAN], {"keep_last": 0}, [], None),
        ([5, 4, 3, 2], {"keep_best": 0, "keep_last": 3}, [2, 3, 4], None),
    ],
    ids=str,
)
def test_the_best_and_the_last_are_kept(tmp_path, scores, options, expected, best):
    files, path = kept(tmp_path, scores, **options)
    assert files == expected
    assert (path and path.name) == (best and f"epoch-{best:06d}.safetensors")


def test_each_file_is_a_checkpoint_to_go_on_from(tmp_path):
    def run(epochs, *callbacks, **options):
        model = net()
        return rs.train(
            loss,
            model,
            loader(),
            rs.setup(rs.Adam(0.05), model),
            epochs=epochs,
            callbacks=callbacks,
            progress=False,
            **options,
        )

    run(3, rs.Checkpoints(tmp_path, keep_best=0, keep_last=3))
    whole = run(4, rs.Checkpoints(tmp_path.parent, keep_best=0, keep_last=1))
    for epoch in (1, 3):
        path = tmp_path / f"epoch-{epoch:06d}.safetensors"
        checkpoint = rs.Checkpoint(path, resume=True)
        resumed = run(4, rs.Checkpoints(tmp_path, keep_best=0, keep_last=3), checkpoint=checkpoint)
        assert_same_bits(resumed[:2], whole[:2])


def test_data_without_a_position_are_kept_as_far_as_they_go(tmp_path):
    result = train(rs.Checkpoints(tmp_path, monitor="loss"), epochs=2)
    tree = {"model": net(), "opt_state": rs.setup(rs.Descent(0.1), net())}
    state = rs.Checkpoints(tmp_path).state
    loaded = rs.load(
        tmp_path / "epoch-000002.safetensors", {**tree, "callbacks": {"Checkpoints": state}}
    )
    assert_same_bits(loaded["model"], result.model)


def test_a_save_at_the_last_step_does_not_stand_for_the_runs_own(tmp_path):
    def last(run):
        run.save(tmp_path / "extra.safetensors")
        run.stop("here")

    callback = Told({"checkpoint"}, {"stop"}, on_step_end=last)
    train(callback, data=loader(), checkpoint=tmp_path / "run.safetensors")
    notes = [rs.load_metadata(path)["training"] for path in sorted(tmp_path.iterdir())]
    assert [json.loads(note)["step"] for note in notes] == [1, 1]


# --- deleting -------------------------------------------------------------------------

FOREIGN = [
    "epoch-000009.safetensors",
    "epoch-1.safetensors",
    "epoch-000001.safetensors.bak",
    "epoch-000001.txt",
    "xepoch-000001.safetensors",
    "notes.txt",
]


def test_files_of_similar_names_are_left_alone(tmp_path):
    for name in FOREIGN:
        (tmp_path / name).write_bytes(b"precious")
    scored([3.0, 2.0, 1.0, 0.0], rs.Checkpoints(tmp_path, monitor="score"), data=loader())
    assert all((tmp_path / name).read_bytes() == b"precious" for name in FOREIGN)
    assert epochs_of_names(tmp_path) == {*FOREIGN, "epoch-000004.safetensors"}


def epochs_of_names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("content", ["foreign bytes", "checkpoint of another run", "model"])
def test_a_file_in_the_place_of_one_to_be_written_is_refused(tmp_path, content):
    path = tmp_path / "epoch-000002.safetensors"
    if content == "foreign bytes":
        path.write_bytes(b"precious")
    elif content == "model":
        rs.save(path, net())
    else:
        scored([1.0, 0.0], rs.Checkpoints(tmp_path, monitor="score"), data=loader())
        assert epochs_of(tmp_path) == [2]
    before = path.read_bytes()
    with pytest.raises(StateError) as caught:
        scored([3.0, 2.0, 1.0], rs.Checkpoints(tmp_path, monitor="score"), data=loader())
    assert "epoch-000002" in caught.value.expected
    assert path.read_bytes() == before


def test_a_file_put_in_the_place_of_one_that_was_written_is_not_deleted(tmp_path):
    path = tmp_path / "epoch-000001.safetensors"

    def swap(run):
        if run.checkpoint == path:
            path.unlink()
            rs.save(path, net(), {"note": "precious"})

    checkpoints = rs.Checkpoints(tmp_path, monitor="score", keep_best=0, keep_last=1)
    scored([1.0, 1.0, 1.0], Told(on_checkpoint=swap), checkpoints, data=loader())
    assert rs.load_metadata(path)["note"] == "precious"
    assert epochs_of(tmp_path) == [1, 3]


@pytest.mark.parametrize("slow_s", [0, 0.1])
def test_the_old_file_is_there_until_the_new_one_is_complete(tmp_path, monkeypatch, slow_s):
    seen, write = [], runs.write

    def slowly(*arguments):
        time.sleep(slow_s)  # longer than an epoch, or not
        write(*arguments)

    monkeypatch.setattr(runs, "write", slowly)

    def look(run):
        seen.append((run.checkpoint.name[-13:-12], epochs_of(tmp_path)))

    options = {"keep_best": 0, "keep_last": 1, "monitor": "score"}
    scored([1.0] * 3, Told(on_checkpoint=look), rs.Checkpoints(tmp_path, **options), data=loader())
    assert seen == [("1", [1]), ("2", [1, 2]), ("3", [2, 3])]


# --- going on -------------------------------------------------------------------------


def test_a_run_that_goes_on_knows_its_files_and_their_scores(tmp_path):
    folder, path = tmp_path / "kept", tmp_path / "run.safetensors"
    folder.mkdir()
    scores = [3.0, 1.0, 2.0, 4.0, 0.5]
    for until, expected in ((3, [2, 3]), (4, [2, 4]), (5, [5])):
        checkpoints = rs.Checkpoints(folder, monitor="score")
        checkpoint = rs.Checkpoint(path, resume=True)
        scored(scores[:until], checkpoints, data=loader(), checkpoint=checkpoint)
        assert epochs_of(folder) == expected


def test_files_from_beyond_the_checkpoint_are_written_again(tmp_path):
    folder, path = tmp_path / "kept", tmp_path / "run.safetensors"
    folder.mkdir()

    def run(scores):
        checkpoint = rs.Checkpoint(path, resume=True)
        scored(
            scores, rs.Checkpoints(folder, monitor="score"), data=loader(), checkpoint=checkpoint
        )

    run([3.0])
    before = path.read_bytes()
    run([3.0, 2.0])
    path.write_bytes(before)  # as if the process had died before it wrote the second
    run([3.0, 2.0, 1.0])
    assert epochs_of(folder) == [3]


@pytest.mark.parametrize("kept", ["{", "1", "[1]", '[["1", 2]]x', '[[1, "a"]]', "[" * 9999])
def test_a_list_that_no_run_has_written_is_refused(kept):
    with pytest.raises(FileError):
        rs.Checkpoints("a").restore({"kept": kept, "mark": ""})


def test_names_come_from_numbers_only():
    checkpoints = rs.Checkpoints("a")
    checkpoints.restore({"kept": json.dumps([["../../etc", 1.0], [1, 1.0]]), "mark": ""})
    assert [path.name for path in checkpoints.paths] == ["epoch-000001.safetensors"]


# --- refusals -------------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_refused_before_the_first_step(tmp_path):
    with pytest.raises(StateError, match="create the folder"):
        train(rs.Checkpoints(tmp_path / "none", monitor="loss"), data=[None])


def test_a_column_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(StructureError, match="validation data"):
        train(rs.Checkpoints(tmp_path))
    with pytest.raises(StructureError, match="monitor to be one of"):
        train(rs.Checkpoints(tmp_path, monitor="acuracy"), validation=batches())
    assert list(itertools.islice(tmp_path.iterdir(), 1)) == []


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"keep_best": -1}, RangeError),
        ({"keep_best": 0, "keep_last": 0}, RangeError),
        ({"keep_last": 1.5}, RangeError),
        ({"mode": "best"}, RangeError),
        ({"monitor": 1}, StructureError),
        ({"folder": 1}, StructureError),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options, kind):
    with pytest.raises(kind):
        rs.Checkpoints(**{"folder": "a", **options})
