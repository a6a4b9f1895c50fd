# SPDX-License-Identifier: Apache-2.0
"""The table of training: columns, CSV, picture."""

import csv
import sys

import numpy as np
import pytest

import rosin as rs
from rosin.errors import StateError, StructureError

ROWS = [
    {"epoch": 1, "loss": 2.0, "validation_loss": 2.5, "validation_top_5": 0.25, "skipped": 0},
    {"epoch": 2, "loss": 1.0, "validation_loss": 1.5, "validation_top_5": 0.5, "skipped": 1},
]


def test_columns_are_arrays_and_rows_are_dicts():
    history = rs.History(ROWS)
    assert len(history) == 2
    assert list(history) == ROWS
    assert history.columns == list(ROWS[0])
    np.testing.assert_array_equal(history["loss"], [2, 1])
    assert history["skipped"].dtype == float


def test_the_rows_it_was_made_from_are_copied():
    rows = [dict(row) for row in ROWS]
    history = rs.History(rows)
    rows[0]["loss"] = 9
    history.append({"epoch": 3})
    assert history["loss"][0] == 2
    assert len(rows) == 2


def test_a_value_that_a_row_lacks_is_nan():
    history = rs.History(ROWS)
    history.append({"epoch": 3, "extra": 7})
    assert history.columns[-1] == "extra"
    np.testing.assert_array_equal(history["extra"], [np.nan, np.nan, 7])
    np.testing.assert_array_equal(history["loss"], [2, 1, np.nan])


@pytest.mark.parametrize("rows", [ROWS, None])
def test_a_missing_column_is_refused_and_the_others_listed(rows):
    with pytest.raises(StructureError) as caught:
        rs.History(rows)["accuracy"]
    assert ("loss, validation_loss" if rows else "(none yet)") in caught.value.expected
    assert caught.value.got == "'accuracy'"


def test_the_table_is_written_as_csv(tmp_path):
    history = rs.History(ROWS)
    history.append({"epoch": 3, "extra": 7})
    history.save_csv(tmp_path / "h.csv")
    with (tmp_path / "h.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["loss"] for row in read] == ["2.0", "1.0", ""]
    assert list(read[0]) == history.columns
    assert (tmp_path / "h.csv").read_bytes().count(b"\n") == 4


def test_it_prints_its_last_row():
    assert repr(rs.History()) == "History(0 epochs)"
    assert repr(rs.History(ROWS)).startswith(
        "History(2 epochs; epoch=2, loss=1, validation_loss=1.5"
    )


# --- the picture ----------------------------------------------------------------------


@pytest.fixture
def axes():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield pyplot.subplots()[1]
    pyplot.close("all")


def lines(axes):
    return {line.get_label(): line.get_ydata().tolist() for line in axes.get_lines()}


def test_losses_and_metrics_are_drawn_over_the_epochs(axes):
    assert rs.History(ROWS).plot(axes) is axes
    right = next(other for other in axes.figure.axes if other is not axes)
    assert lines(axes) == {"loss": [2, 1], "validation loss": [2.5, 1.5]}
    assert lines(right) == {"validation top 5": [0.25, 0.5]}
    assert axes.get_lines()[0].get_xdata().tolist() == [1, 2]
    colours = [line.get_color() for line in (*axes.get_lines(), *right.get_lines())]
    assert len(set(colours)) == 3
    assert axes.get_yscale() == "log"
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["loss", "validation loss", "validation top 5"]
    assert right.get_ylabel() == "top 5"


def test_without_metrics_there_is_one_axis(axes):
    rs.History([{"epoch": 1, "loss": 2.0}]).plot(axes)
    assert axes.figure.axes == [axes]


@pytest.mark.parametrize("loss", [0.0, -1.0, np.nan])
def test_a_loss_that_is_not_positive_is_drawn_on_a_plain_scale(axes, loss):
    rs.History([*ROWS, {"epoch": 3, "loss": loss}]).plot(axes)
    assert axes.get_yscale() == "linear"


def test_axes_are_made_where_none_are_given(axes):
    assert rs.History(ROWS).plot() is not axes


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(StateError) as caught:
        rs.History(ROWS).plot()
    assert "rosin[plots]" in caught.value.fix
