# SPDX-License-Identifier: Apache-2.0
"""The learning-rate finder: its table, its suggestion, its picture; nothing else changes."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

import rosin as rs
from rosin.errors import RangeError, StateError, StructureError
from rosin.training.rates import _smoothed
from tests.training.compilations import compilations
from tests.training.toys import assert_same_bits, batches, copied, data, loader, loss, net, poisoned


def find(given=None, *, rule=None, function=loss, **options):
    model = net()
    opt_state = rs.setup(rs.Descent(0.1) if rule is None else rule, model)
    before = copied((model, opt_state))
    found = rs.find_learning_rate(
        function, model, batches() if given is None else given, opt_state, **options
    )
    assert_same_bits((model, opt_state), before)
    return found


def test_each_rate_is_a_step_of_a_run_with_that_rate():
    """A quadratic, whose losses can be said in advance."""
    found = rs.find_learning_rate(
        lambda w, x: (x * w**2).sum() / 2,
        jnp.array([2.0]),
        [np.ones(1, np.float32)],
        rs.setup(rs.Descent(0.1), jnp.array([2.0])),
        lowest=1e-3,
        highest=1.0,
        steps=31,
    )
    rates = 10 ** np.linspace(-3, 0, 31)
    np.testing.assert_allclose(found.rates, rates)
    weights = 2.0 * np.cumprod(np.concatenate([[1.0], 1 - rates[:-1]]))
    np.testing.assert_allclose(found.losses, weights**2 / 2, rtol=1e-4)  # float32, 30 steps
    half = 3  # a tenth of 31
    padded = np.pad(found.losses, half, mode="constant")
    weight = np.pad(np.ones(31), half, mode="constant")
    tent = np.array([1, 2, 3, 4, 3, 2, 1])
    expected = np.convolve(padded, tent, "valid") / np.convolve(weight, tent, "valid")
    np.testing.assert_allclose(found.smoothed, expected)
    assert found.suggestion == pytest.approx(rates[expected.argmin()] / 10)


def test_the_suggestion_lies_between_too_low_and_too_high():
    found = find([data()], lowest=1e-4, highest=1e3, steps=100)
    assert 1e-3 < found.suggestion < 2
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 100


def test_it_ends_where_the_loss_runs_away_or_is_not_finite():
    found = find(lowest=1.0, highest=1e30, steps=40)
    assert len(found.losses) < 40
    assert np.isfinite(found.losses).all()
    found = find([*batches()[:3], poisoned(batches()[3])], steps=20, highest=1e-3)
    assert len(found.losses) == 3


def test_a_loss_that_falls_nowhere_has_no_suggestion():
    assert find(function=lambda m, x, y: 0 * loss(m, x, y), steps=10).suggestion is None


def test_the_loader_is_put_back():
    given = loader()
    for _ in range(2):
        next(iter(given))
    before = given.state
    find(given, steps=10)
    assert given.state == before


def test_all_groups_and_schedules_get_the_rate():
    rule = {"layers[0]": rs.Adam(rs.Exp(0.1, decay=0.5)), "**": rs.OptimiserChain(rs.Descent(3.0))}
    plain = {"layers[0]": rs.Adam(0.1), "**": rs.Descent(0.1)}
    np.testing.assert_allclose(
        find(rule=rule, steps=10).losses, find(rule=plain, steps=10).losses, rtol=1e-5
    )


def test_a_rate_compiles_nothing():
    find([batches()[0]], steps=10)
    with compilations() as compiled:
        find([batches()[0]], steps=20)
    assert not compiled


def test_smoothing_keeps_a_constant_and_a_line():
    np.testing.assert_allclose(_smoothed(np.full(50, 3.0)), 3.0)
    line = np.arange(50.0)
    np.testing.assert_allclose(_smoothed(line)[10:-10], line[10:-10])


def test_it_is_drawn():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    found = find(loader(), lowest=1e-4, highest=1e3, steps=100)
    axes = found.plot()
    assert axes.get_xscale() == "log"
    line = axes.get_lines()[1]
    np.testing.assert_array_equal(line.get_ydata(), found.smoothed)
    assert found.plot(axes) is axes
    plt.close("all")


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(StateError) as caught:
        find(steps=10).plot()
    assert "rosin[plots]" in caught.value.fix


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"lowest": 0}, RangeError),
        ({"lowest": 1.0, "highest": 1.0}, RangeError),
        ({"highest": float("inf")}, RangeError),
        ({"steps": 9}, RangeError),
        ({"function": "loss"}, StructureError),
        ({"given": []}, StructureError),
        ({"given": [poisoned(batches()[0])]}, StructureError),
    ],
    ids=lambda case: str(case)[:30],
)
def test_arguments_out_of_range_are_refused(options, kind):
    with pytest.raises(kind) as caught:
        find(**options)
    assert caught.value.subject == "find_learning_rate"


def test_an_optimiser_without_a_learning_rate_is_refused():
    import optax

    with pytest.raises(StructureError, match="a rule with a learning rate"):
        find(rule=optax.sgd(0.1))
