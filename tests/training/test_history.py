# SPDX-License-Identifier: Apache-2.0
"""The table of training: columns, files, print, picture."""

import csv
import io
import sys

import numpy as np
import pytest
from rich.console import Console

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


STRANGE = [{"epoch": 1, "loss": np.inf, "f1[0]": -np.inf}, {"epoch": 2, "loss": np.nan, "a, b": 3}]


@pytest.mark.parametrize("form", ["csv", "json_lines"])
def test_what_is_written_is_read_again(tmp_path, form):
    history = rs.History([*ROWS, *STRANGE, {"epoch": np.int64(5), "loss": np.float32(0.1)}])
    getattr(history, f"save_{form}")(tmp_path / "h")
    read = getattr(rs.History, f"from_{form}")(tmp_path / "h")
    assert str(read.rows) == str(
        [{k: v.item() if hasattr(v, "item") else v for k, v in row.items()} for row in history]
    )
    assert type(read.rows[0]["epoch"]) is int


def test_json_lines_are_json_of_every_reader(tmp_path):
    rs.History(STRANGE).save_json_lines(tmp_path / "h")
    lines = (tmp_path / "h").read_text().splitlines()
    assert lines == [
        '{"epoch": 1, "loss": "Infinity", "f1[0]": "-Infinity"}',
        '{"epoch": 2, "loss": null, "a, b": 3}',
    ]


def test_the_table_goes_to_numpy():
    table = rs.History([*ROWS, {"epoch": 3, "extra": 7}]).to_numpy()
    assert table.dtype.names[-1] == "extra"
    assert table["loss"][:2].tolist() == [2, 1]
    assert np.isnan(table["loss"][2])
    assert rs.History().to_numpy().shape == (0,)


def test_the_table_goes_to_pandas(monkeypatch):
    class Pandas:
        """As much of it as is used."""

        DataFrame = staticmethod(lambda columns: columns)

    monkeypatch.setitem(sys.modules, "pandas", Pandas)
    frame = rs.History(ROWS).to_pandas()
    assert list(frame) == list(ROWS[0])
    assert frame["loss"].tolist() == [2, 1]


def test_without_pandas_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(StateError) as caught:
        rs.History(ROWS).to_pandas()
    assert "pip install pandas" in caught.value.fix


# --- print ----------------------------------------------------------------------------


def test_its_repr_is_its_last_row():
    assert repr(rs.History()) == str(rs.History()) == "History(0 epochs)"
    assert repr(rs.History(ROWS)).startswith(
        "History(2 epochs; epoch=2, loss=1, validation_loss=1.5"
    )


def test_it_prints_as_a_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = [*ROWS, {"epoch": 3, "loss": np.nan, "validation_loss": 12345.6, "skipped": 1e12}]
    assert str(rs.History(rows)).splitlines() == [
        "             validation  validation",
        "epoch  loss        loss       top 5    skipped",
        "    1     2       2.500      0.2500          0",
        "    2     1       1.500      0.5000          1",
        "    3   nan       12346              1.000e+12",
    ]


def test_a_long_table_and_a_wide_one_say_what_they_leave_out(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    rows = [{"epoch": i, **{f"recall[{k}]": k for k in range(9)}, "skipped": 0} for i in range(99)]
    lines = str(rs.History(rows)).splitlines()
    assert lines[0].split() == ["epoch", "recall[0]", "recall[1]", "skipped"]
    assert lines[-1] == "7 more columns"
    firsts = [line.split()[0] for line in lines[1:-1]]
    assert firsts == [*map(str, range(5)), "…", *map(str, range(84, 99))]
    assert max(map(len, lines)) <= 40


def test_rich_prints_the_table():
    console = Console(width=60, file=io.StringIO())
    console.print(rs.History(ROWS))
    assert "validation" in console.file.getvalue()


# --- the picture ----------------------------------------------------------------------


@pytest.fixture
def figure():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    yield pyplot.figure()
    pyplot.close("all")


def lines(axes):
    return {line.get_label(): line.get_ydata().tolist() for line in axes.get_lines()}


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_losses_and_metrics_are_drawn_over_the_epochs(figure):
    rows = [row | {"skipped": 0} for row in ROWS]
    assert rs.History(rows).plot(figure) is figure
    above, below = figure.axes
    assert lines(above) == {"loss": [2, 1], "validation loss": [2.5, 1.5]}
    assert legend(above) == ["loss", "validation loss"]
    assert above.get_lines()[0].get_xdata().tolist() == [1, 2]
    assert len({line.get_color() for line in above.get_lines()}) == 2
    assert lines(below) == {"top 5": [0.25, 0.5]}
    assert (above.get_ylabel(), below.get_ylabel()) == ("loss", "top 5")
    assert (above.get_xlabel(), below.get_xlabel()) == ("", "epoch")


def test_metrics_share_axes_if_they_are_shares_or_of_one_quantity(figure):
    metrics = {
        "validation_accuracy": 0.5,
        "validation_auroc": np.nan,
        "accuracy": 0.75,
        "validation_rmse": 3.0,
        "validation_f1": 0.25,
        **{f"validation_recall[{k}]": k / 9 for k in range(3)},
        **{f"validation_precision[{k}]": k / 9 for k in range(9)},
        **{f"validation_matrix[{k},0]": k for k in range(3)},
    }
    rs.History([{"epoch": 1, "loss": 1.0, **metrics}]).plot(figure)
    panels = [panel.get_ylabel() for panel in figure.axes]
    assert panels == ["loss", "metrics", "auroc", "rmse", "recall", "precision"]
    assert legend(figure.axes[1]) == ["validation accuracy", "accuracy", "f1"]
    assert legend(figure.axes[4]) == ["recall[0]", "recall[1]", "recall[2]"]
    assert figure.axes[5].get_title() == "precision[0] to precision[8]"
    assert len({tuple(line.get_color()) for line in figure.axes[5].get_lines()}) == 9


def test_batches_that_were_skipped_are_marked(figure):
    rs.History(ROWS).plot(figure)
    marked = figure.axes[0].get_lines()[-1]
    assert marked.get_label() == "batches skipped"
    assert marked.get_xdata().tolist() == [2]


@pytest.mark.parametrize(
    ("losses", "scale"),
    [
        ([2.0, 0.2], "log"),
        ([2.0, np.nan, 0.2], "log"),
        ([2.0, 0.25], "linear"),
        ([2.0, 0.0], "linear"),
        ([2.0, -0.1], "linear"),
        ([np.nan, np.inf], "linear"),
    ],
)
def test_losses_over_decades_are_drawn_on_a_logarithmic_scale(figure, losses, scale):
    rs.History([{"epoch": i, "loss": loss} for i, loss in enumerate(losses, 1)]).plot(figure)
    assert [axes.get_yscale() for axes in figure.axes] == [scale]


def test_a_figure_is_made_where_none_is_given_and_a_part_of_one_will_do(figure):
    assert rs.History(ROWS).plot() is not figure
    left, right = figure.subfigures(1, 2)
    assert rs.History(ROWS).plot(right) is right
    assert not left.axes


def test_an_empty_history_has_no_picture():
    with pytest.raises(StateError, match="at least one epoch"):
        rs.History().plot()


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(StateError) as caught:
        rs.History(ROWS).plot()
    assert "rosin[plots]" in caught.value.fix
