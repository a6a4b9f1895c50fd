# SPDX-License-Identifier: Apache-2.0
"""`find_learning_rate`: the loss over a range of learning rates, tried in one go."""

import dataclasses
import importlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rosin.core.types import PyTree
from rosin.core.validation import expect_at_least, expect_between, expect_callable, refuse
from rosin.errors import StateError, StructureError
from rosin.optimisers.update import OptimiserState, adjust, expect_opt_state
from rosin.training.callbacks.hyperparameters import hyperparameters
from rosin.training.step import source_name, trainstep

FEWEST_STEPS = 10
NEIGHBOURS = 5
BELOW_LEAST = 10
"""The least loss is where the next rates no longer help; a run needs a margin to that."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LearningRates:
    """What `find_learning_rate` has found: a table, a suggestion, a picture.

    Args:
        rates: The learning rates that were tried, rising.
        losses: The loss at each, before the step was taken.
        smoothed: The losses, averaged over their neighbourhood.
        suggestion: A tenth of the rate at which the smoothed loss is least, and at least
            the lowest rate; None if the loss falls nowhere.

    Examples:
        >>> rates = np.array([0.1, 1.0, 10.0])
        >>> LearningRates(rates, 1 / rates, 1 / rates, 0.1)
        LearningRates(3 rates from 0.1 to 10; suggestion=0.1)
    """

    rates: np.ndarray[Any, np.dtype[np.float64]]
    losses: np.ndarray[Any, np.dtype[np.float64]]
    smoothed: np.ndarray[Any, np.dtype[np.float64]]
    suggestion: float | None

    def plot(self, axes: Any = None) -> Any:
        """Draw the loss over the rate, and mark the suggestion.

        Args:
            axes: Matplotlib axes to draw on; new ones when left out.

        Returns:
            The axes.

        Raises:
            StateError: matplotlib is not installed.
        """
        try:
            pyplot = importlib.import_module("matplotlib.pyplot")
        except ImportError:
            refuse(
                StateError,
                subject="plot",
                expected="matplotlib to be installed",
                got="no module of that name",
                fix="pip install 'rosin[plots]'",
            )
        axes = pyplot.subplots()[1] if axes is None else axes
        axes.plot(self.rates, self.losses, color="C0", alpha=0.3, label="loss")
        axes.plot(self.rates, self.smoothed, color="C0", label="smoothed")
        if self.suggestion is not None:
            label = f"suggestion {self.suggestion:.2g}"
            axes.axvline(self.suggestion, color="C1", linestyle="--", label=label)
        low, high = float(self.losses.min()), float(self.smoothed[0])
        room = max(high - low, abs(high), 1e-12) * 0.5
        axes.set(
            xscale="log",
            xlabel="learning rate",
            ylabel="loss",
            ylim=(low - 0.1 * room, high + room),
        )
        axes.legend()
        return axes

    def __repr__(self) -> str:
        """Show the range and the suggestion."""
        tried = f"{len(self.rates)} rates from {self.rates[0]:.2g} to {self.rates[-1]:.2g}"
        found = "none" if self.suggestion is None else f"{self.suggestion:.2g}"
        return f"LearningRates({tried}; suggestion={found})"


def find_learning_rate(
    loss: Callable[..., Any],
    model: Any,
    data: Iterable[PyTree],
    opt_state: OptimiserState,
    *,
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = 100,
) -> LearningRates:
    """Try learning rates from low to high, a training step with each, and look at the loss.

    The rates rise by a constant factor. It ends early where a step is not finite, or the
    loss, averaged over five steps, has risen above its least by three times that and by
    three quarters of what it was at first. Model and optimiser state are not changed, and a
    loader is put back to where it stood. A learning rate that follows a schedule is a number
    here, and all groups have the same.

    Args:
        loss: As for `train`.
        model: A module, or any tree.
        data: Gives batches; gone through again and again until there are enough.
        opt_state: From `setup`; its rule has a learning rate.
        lowest: The first rate, above 0.
        highest: The last rate, above `lowest`.
        steps: How many rates to try, at least 10.

    Returns:
        Rates and losses, with `suggestion` and `plot()`.

    Raises:
        RangeError: A bound or `steps` is out of its range.
        StructureError: The rule has no learning rate, or the data gives no batch.

    Examples:
        >>> import rosin as rs
        >>> def loss(weight, x, y):
        ...     return rs.mse(x @ weight, y)
        >>> x, weight = jnp.eye(4), jnp.zeros(4)
        >>> opt_state = rs.setup(rs.Descent(0.1), weight)
        >>> rs.find_learning_rate(loss, weight, [(x, x.sum(1))], opt_state, lowest=1e-3)
        LearningRates(100 rates from 0.001 to 10; suggestion=0.57)

    Source:
        Smith 2017, "Cyclical learning rates for training neural networks", section 3.3;
        the suggestion is that of fastai's `minimum`.
    """
    expect_callable(subject="find_learning_rate", loss=loss)
    expect_opt_state(opt_state)
    bounds = {"include_low": False, "include_high": False}
    expect_between(0, math.inf, subject="find_learning_rate", **bounds, lowest=lowest)
    expect_between(lowest, math.inf, subject="find_learning_rate", **bounds, highest=highest)
    expect_at_least(FEWEST_STEPS, subject="find_learning_rate", steps=steps)
    places = [p.where[:-1] for p in hyperparameters(opt_state) if p.where[-1] == "learning_rate"]
    if not places:
        refuse(
            StructureError,
            subject="find_learning_rate",
            expected="a rule with a learning rate",
            got=f"{opt_state.rule!r}"[:60],
            fix="use a rule of Rosin, such as rs.setup(rs.Adam(), model)",
        )
    position = getattr(data, "state", None) if hasattr(data, "restore") else None
    rates = np.geomspace(lowest, highest, steps)
    try:
        losses = _losses(loss, model, _endless(data), opt_state, places, rates)
    finally:
        if position is not None:
            data.restore(position)  # pyright: ignore[reportAttributeAccessIssue]
    return _found(rates[: len(losses)], np.array(losses, np.float64), data)


def _losses(
    loss: Callable[..., Any],
    model: Any,
    batches: Iterator[PyTree],
    opt_state: OptimiserState,
    places: list[tuple[str, ...]],
    rates: np.ndarray[Any, Any],
) -> list[float]:
    """Take a step with each rate, as long as the loss does not run away."""
    model, opt_state = jax.tree.map(jnp.copy, (model, opt_state))
    losses: list[float] = []
    for rate, batch in zip(rates.tolist(), batches, strict=False):
        for where in places:
            opt_state = adjust(opt_state, *where, learning_rate=rate)
        result = trainstep(loss, model, batch, opt_state, donate=True)
        model, opt_state = result.model, result.opt_state
        if not bool(result.finite):
            break
        losses.append(float(result.loss))
        if _runs_away(losses):
            break
    return losses


def _runs_away(losses: list[float]) -> bool:
    """Tell whether the mean of the last losses has risen far above the least of such means."""
    if len(losses) <= NEIGHBOURS:
        return False
    means = np.convolve(losses, np.full(NEIGHBOURS, 1 / NEIGHBOURS), "valid")
    least = means.min()
    return bool(means[-1] - least > max(3 * abs(least), 0.75 * abs(means[0])))


def _endless(data: Iterable[PyTree]) -> Iterator[PyTree]:
    """Go through the data again and again, if it can be."""
    while True:
        count = 0
        for batch in data:
            count += 1
            yield batch
        if not count:
            return


def _found(
    rates: np.ndarray[Any, Any], losses: np.ndarray[Any, Any], data: object
) -> LearningRates:
    """Smooth the losses, and stay well below the rate of the least."""
    if not losses.size:
        refuse(
            StructureError,
            subject="find_learning_rate",
            expected="data that gives a batch, and a finite loss on it at the lowest rate",
            got=source_name(data),
            fix="pass a DataLoader or a list of batches, and check rs.summary(model) for NaN",
        )
    smoothed = _smoothed(losses)
    least = int(smoothed.argmin())
    suggestion = max(float(rates[least]) / BELOW_LEAST, float(rates[0])) if least else None
    return LearningRates(rates, losses, smoothed, suggestion)


def _smoothed(losses: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Average over a neighbourhood of a fifth of the losses, with weights like a tent."""
    half = max(len(losses) // 10, 1)
    tent = np.concatenate([np.arange(1, half + 2), np.arange(half, 0, -1)]).astype(np.float64)
    ones = np.ones_like(losses)
    sums, weights = (np.convolve(part, tent)[half : half + len(losses)] for part in (losses, ones))
    return sums / weights
