# SPDX-License-Identifier: Apache-2.0
"""A file is replaced whole or not at all, and nobody can be tricked by its temporary name."""

import errno
import os
import stat

import pytest

from rosin.files.atomic import replace_file


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    return path


def write(path, contents=b"new"):
    with replace_file(path) as file:
        file.write(contents)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_new_contents_take_the_old_place(target):
    write(target)
    assert target.read_bytes() == b"new"
    assert names(target.parent) == ["kept"]


def test_nothing_shows_before_the_block_ends(target):
    with replace_file(target) as file:
        file.write(b"new")
        file.flush()
        assert target.read_bytes() == b"old"


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_error_in_the_block_leaves_the_old_file_alone(target, kind):
    def stop():
        with replace_file(target) as file:
            file.write(b"half")
            raise kind

    with pytest.raises(kind):
        stop()
    assert target.read_bytes() == b"old"
    assert names(target.parent) == ["kept"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failing_system_call_leaves_the_old_file_alone(target, monkeypatch, call):
    def fail(*_):
        raise OSError(errno.EIO, "disk on fire")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="disk on fire"):
        write(target)
    assert target.read_bytes() == b"old"
    assert names(target.parent) == ["kept"]


def test_contents_are_on_disk_before_the_rename_and_the_rename_after_it(target, monkeypatch):
    events = []
    rename = os.replace

    def sync(descriptor):
        status = os.fstat(descriptor)
        kind = "folder" if stat.S_ISDIR(status.st_mode) else status.st_size
        events.append((kind, target.read_bytes()))

    def replace(source, destination):
        events.append("rename")
        rename(source, destination)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    write(target, b"12345")
    assert events == [(5, b"old"), "rename", ("folder", b"12345")]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_sync_folders_is_no_error(target, monkeypatch, code):
    write_with_failing_folder_sync(target, monkeypatch, code)
    assert target.read_bytes() == b"new"


def test_a_folder_that_fails_to_sync_is_an_error(target, monkeypatch, next_descriptor):
    before = next_descriptor()
    with pytest.raises(OSError, match="folder"):
        write_with_failing_folder_sync(target, monkeypatch, errno.EIO)
    assert next_descriptor() == before


def write_with_failing_folder_sync(path, monkeypatch, code):
    def sync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, "folder")

    monkeypatch.setattr(os, "fsync", sync)
    write(path)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_the_umask_decides_who_may_read(target, umask, mode):
    before = os.umask(umask)
    try:
        write(target)
    finally:
        os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == mode


@pytest.mark.parametrize("plant", ["link", "file"])
def test_a_planted_temporary_name_is_never_written_to(target, monkeypatch, plant):
    victim = target.with_name("victim")
    victim.write_bytes(b"precious")
    monkeypatch.setattr("secrets.token_hex", lambda _: "guessed")
    planted = target.with_name(".rosin-guessed.tmp")
    planted.symlink_to(victim) if plant == "link" else planted.hardlink_to(victim)
    with pytest.raises(FileExistsError):
        write(target)
    assert victim.read_bytes() == b"precious"
    assert planted.exists()
    assert target.read_bytes() == b"old"


def test_the_temporary_name_cannot_be_guessed(target):
    seen = set()
    for _ in range(3):
        with replace_file(target):
            seen |= {name for name in names(target.parent) if name != "kept"}
    assert len(seen) == 3
    assert min(map(len, seen)) >= len(".rosin-") + 16


def test_a_link_is_replaced_and_what_it_points_to_is_not_written_to(tmp_path, target):
    link = tmp_path / "link"
    link.symlink_to(target)
    write(link)
    assert not link.is_symlink()
    assert link.read_bytes() == b"new"
    assert target.read_bytes() == b"old"


def test_a_missing_folder_is_the_systems_own_error_and_named(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write(tmp_path / "nowhere" / "a")
    assert caught.value.filename == str(tmp_path / "nowhere")
    assert str(caught.value).endswith("nowhere'")
    (tmp_path / "kept").touch()
    with pytest.raises(NotADirectoryError, match=r"kept'$"):
        write(tmp_path / "kept" / "a")


def test_a_name_as_long_as_the_system_takes_can_be_written(tmp_path):
    write(tmp_path / ("n" * 255))
    assert names(tmp_path) == ["n" * 255]
