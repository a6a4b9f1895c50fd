# SPDX-License-Identifier: Apache-2.0
"""What training shows: lines, a bar on a terminal, or nothing."""

import io
import os
import pty
import re
import subprocess
import sys

import pytest
from rich.console import Console

import rosin as rs
from rosin.training.progress import Bar, Lines, Silent, described, shown_progress
from tests.training.toys import loader, loss, net

ROW = {
    "epoch": 2,
    "step": 12,
    "loss": 0.25,
    "validation_loss": 0.5,
    "validation_top_5": 0.75,
    "skipped": 3,
    "seconds": 9.0,
    "examples_per_second": 12345.6,
}


def test_a_row_is_spelled_by_what_a_reader_follows():
    assert described(ROW) == (
        "loss 0.2500  validation loss 0.5000  validation top 5 0.7500  skipped 3  12_346 examples/s"
    )
    assert "skipped" not in described({**ROW, "skipped": 0})


def test_lines_name_the_epoch(capsys):
    with Lines(5) as shows:
        shows.step(2, 0.1, 10)
        shows.epoch(ROW)
    assert capsys.readouterr().out == f"epoch 2/5  {described(ROW)}\n"


def train(**options):
    model = net()
    return rs.train(loss, model, loader(), rs.setup(rs.Adam(), model), epochs=2, **options)


def test_training_prints_a_line_for_each_epoch_where_there_is_no_terminal(capsys):
    result = train(validation=loader())
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"epoch {i + 1}/2  {described(row)}" for i, row in enumerate(result.history)
    ]
    assert "validation loss" in out
    assert err == ""


def test_silent_training_prints_nothing(capsys):
    train(progress=False)
    assert capsys.readouterr() == ("", "")


def test_what_is_shown_fits_where_the_output_goes(monkeypatch):
    def chosen(wanted):
        return type(shown_progress(wanted=wanted, epochs=1, steps=3))

    assert (chosen(True), chosen(False)) == (Lines, Silent)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert (chosen(True), chosen(False)) == (Bar, Silent)


def test_the_bar_counts_steps_from_those_already_done():
    bar = Bar(3, 10)
    with bar:
        bar.at(12)
        bar.step(2, 0.5, 100)
        bar.epoch(ROW)
        bar.drawn = 0  # long ago
        bar.step(3, 0.25, 100)
    task = bar.progress.tasks[0]
    assert (task.completed, task.total, task.description) == (14, 30, "epoch 3/3")
    assert task.fields["facts"] == (
        "loss 0.2500  validation loss 0.5000  validation top 5 0.7500  100 examples/s"
    )
    assert task.finished is False
    assert bar.progress.finished is False


def drawn(bar, width=60):
    """Draw a bar as it stands, without colours."""
    console = Console(file=io.StringIO(), width=width)
    console.print(bar.progress.get_renderable())
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_facts_stand_below_the_bar_however_narrow_the_screen():
    bar = Bar(3, 10, Console(file=io.StringIO()))
    bar.at(12)
    bar.epoch(ROW)
    assert drawn(bar)[0].startswith("epoch 2/3 ━")
    assert "12/30" in drawn(bar)[0]
    assert " ".join(drawn(bar)[1:]).split() == described(ROW).split()
    assert drawn(bar, 200)[1] == described(ROW)


def test_the_length_of_the_data_may_be_unknown_until_the_first_epoch_is_over():
    bar = Bar(3, None, Console(file=io.StringIO()))
    for _ in range(5):
        bar.step(1, 0.5, 100)
    assert bar.progress.tasks[0].total is None
    assert "1/?" in drawn(bar)[0]
    assert "left" not in drawn(bar)[0]
    bar.epoch({**ROW, "epoch": 1})
    assert bar.progress.tasks[0].total == 15
    assert Bar(2, 4).progress.tasks[0].total == 8


def test_steps_are_drawn_no_more_often_than_an_eye_can_follow():
    bar = Bar(1, 1000, Console(file=io.StringIO()))
    for _ in range(1000):
        bar.step(1, 0.5, 100)
    assert bar.progress.tasks[0].completed < 1000
    bar.epoch({**ROW, "epoch": 1})
    assert bar.progress.tasks[0].completed == 1000


@pytest.mark.parametrize("kind", [Bar, Lines])
def test_a_line_of_a_callback_is_shown(kind, capsys):
    with Bar(3, 10) if kind is Bar else Lines(3) as shows:
        shows.say("a rate was reduced [bold]now")
    assert "a rate was reduced [bold]now\n" in capsys.readouterr().out


PROGRAM = """
import rosin as rs
from tests.training.toys import loader, loss, net
model = net()
say = rs.every(8, lambda run: run.say("a callback says [bold]so"))
opt_state = rs.setup(rs.Adam(), model)
rs.train(loss, model, loader(), opt_state, epochs=2, validation=loader(), callbacks=[say])
"""


def test_on_a_terminal_a_bar_is_drawn_and_the_cursor_left_in_order():
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200", "LINES": "24"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=follower, stderr=follower, env=environment
    ) as process:
        os.close(follower)
        written = b""
        while True:
            try:
                piece = os.read(leader, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            written += piece
    os.close(leader)
    assert process.returncode == 0
    text = written.decode()
    assert "12/12" in text
    assert "100%" in text
    assert re.search(r"epoch 2/2 .*\n.*validation loss \d\.\d{4}.*examples/s", text)
    assert "a callback says [bold]so" in text
    assert "Traceback" not in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # hidden while drawing, shown after
