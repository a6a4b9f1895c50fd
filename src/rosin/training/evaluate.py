# SPDX-License-Identifier: Apache-2.0
"""Evaluating a model on data, in inference mode."""

import dataclasses
import functools
import inspect
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np

from rosin.core.types import PyTree
from rosin.core.validation import expect_callable, expect_kind, name_of, refuse
from rosin.errors import ShapeError, StructureError, shown
from rosin.training.metrics.base import Metric, Value
from rosin.training.metrics.means import Total, add_totals, mean_of, no_total
from rosin.training.metrics.tally import counted, no_sum, summed
from rosin.training.samecode import SameCode
from rosin.training.step import (
    arguments_of,
    example_count,
    expect_batch,
    is_numeric,
    source_name,
    split_loss,
)

Measure: TypeAlias = Metric | Callable[..., Any]
Metrics: TypeAlias = Mapping[str, Measure] | Sequence[Measure] | Measure

BATCHES_IN_FLIGHT = 2
"""How many batches may be on their way: more would fill the memory of the device."""


def evaluate(model: Any, data: Iterable[PyTree], metrics: Metrics) -> dict[str, Any]:
    """Measure a model on all examples of some data.

    Everything is added up on the device, in one compiled program for each shape of a
    batch, in which metrics share the model's outputs. Values are read once, at the end.

    Args:
        model: A module, or any tree; it is in inference mode. For metrics without `of` it
            is called with the first entry of the batch.
        data: Gives batches.
        metrics: By name, or a list, or one alone, which go by the name of their class or
            function. Each is a metric, such as `rs.Accuracy()`, or a function, called as
            `f(model, *batch)` for a tuple, else `f(model, batch)`, which returns a value
            for each example, or a mean over the batch, which counts by the number of
            examples. Of a tuple the first entry is taken, so that a loss with aux fits.

    Returns:
        The results by name: floats, or NumPy arrays.

    Raises:
        StructureError: The data gives no batch, or what is no batch, or one that is no
            pair to a metric without `of`; or a metric is none, or two have one name.
        ShapeError: A function returns neither a number nor a value for each example.

    Examples:
        >>> import rosin as rs
        >>> batches = [(jnp.eye(3), jnp.array([0, 1, 1]))]
        >>> def error(model, x, y):
        ...     return abs(model(x).argmax(-1) - y)
        >>> rs.evaluate(rs.Chain(rs.relu), batches, {"accuracy": rs.Accuracy(), "error": error})
        {'accuracy': 0.6666666666666666, 'error': 0.3333333333333333}

    Source:
        Keras `Model.evaluate`.
    """
    named = named_metrics(metrics, subject="evaluate")
    plan = tuple(map(_entry, named.values()))
    states = _start(plan)
    kept: list[list[Any]] = [[] for _ in plan]
    sent: deque[Any] = deque()
    for batch in data:
        expect_batch(batch)
        states, grown = _step(plan, model, batch, states)
        sent.append((states, grown))
        if len(sent) > BATCHES_IN_FLIGHT:
            _keep(kept, sent.popleft())
    if not sent:
        refuse(
            StructureError,
            subject="evaluate",
            expected="data that gives at least one batch",
            got=source_name(data),
            fix="pass a DataLoader or a list of batches; a generator gives its batches once",
        )
    for waiting in sent:
        _keep(kept, waiting)
    finals = jax.device_get(states)
    return {
        name: entry.metric.result(tuple(parts) if entry.metric.grows else final)
        for name, entry, final, parts in zip(named, plan, finals, kept, strict=True)
    }


# --- what is measured ---------------------------------------------------------------


def named_metrics(metrics: Any, *, subject: str) -> dict[str, Measure]:
    """Give each metric its name, and refuse what is none."""
    if isinstance(metrics, Mapping):
        named = dict(cast("Mapping[str, Measure]", metrics))
    else:
        listed: Any = metrics if isinstance(metrics, (list, tuple)) else [metrics]
        names = [getattr(m, "__name__", type(m).__name__) for m in listed]
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            refuse(
                StructureError,
                subject=subject,
                expected="metrics of different names",
                got=f"{shown(twice[0])} {names.count(twice[0])} times",
                fix=f"name them: metrics={{{twice[0]!r}: ..., 'another': ...}}",
            )
        named = dict(zip(names, listed, strict=True))
    for name, metric in named.items():
        expect_kind(str, subject=subject, **{"the name of a metric": name})
        if isinstance(metric, type) and issubclass(metric, Metric):
            refuse(
                StructureError,
                subject=subject,
                expected=f"the metric {name} to be an object",
                got=shown(metric),
                fix=f"call the class, for example {metric.__name__}()",
            )
        expect_callable(subject=subject, **{f"the metric {name}": metric})
    return named


class _Entry(NamedTuple):
    """A metric and what it measures, so that equal ones are one program."""

    metric: Metric
    of: SameCode | None


def _entry(given: Measure) -> _Entry:
    if not isinstance(given, Metric):
        return _Entry(_Average(name_of(given)), SameCode(given))
    if given.of is None:
        return _Entry(given, None)
    expect_callable(subject=repr(given), of=given.of)
    bare: Any = given
    if "of" in getattr(bare, "__dataclass_fields__", ()):
        bare = dataclasses.replace(bare, of=None)
    return _Entry(bare, SameCode(given.of))


@dataclasses.dataclass(frozen=True)
class _Average(Metric):
    """The mean over examples of what a function returns."""

    name: str

    def empty(self) -> Total:
        """Add nothing."""
        return no_total()

    def measure(self, value: Any, batch: PyTree) -> Total:
        """Take a value for each example, or a mean as that of all of them."""
        examples = example_count(batch)
        value, _ = split_loss(value)
        fits = is_numeric(value) and jnp.shape(value) in ((), (examples,))
        if not fits or jnp.iscomplexobj(value):
            refuse(
                ShapeError,
                subject=self.name,
                expected=f"a real number, or one for each of {examples} examples",
                got=shown(value),
                fix="reduce the other axes, for example with .mean(axis=-1)",
            )
        value = jnp.asarray(value)
        if value.ndim == 0:
            value = value.astype(float) * examples
        return Total(summed(value), counted(jnp.ones(examples, bool)), no_sum())

    def merge(self, a: Total, b: Total) -> Total:
        """Add."""
        return add_totals(a, b)

    def result(self, state: Total) -> float:
        """Divide."""
        return mean_of(state)


# --- the compiled program -----------------------------------------------------------


def _start(plan: Sequence[_Entry]) -> list[Any]:
    return [() if entry.metric.grows else entry.metric.empty() for entry in plan]


@functools.partial(jax.jit, static_argnums=0)
def _step(
    plan: tuple[_Entry, ...], model: Any, batch: PyTree, states: list[Any]
) -> tuple[list[Any], list[Any]]:
    """Merge a batch into the states; hand out what is to be kept of it beside them."""
    outputs: dict[SameCode | None, Any] = {}
    following: list[Any] = []
    grown: list[Any] = []
    for entry, state in zip(plan, states, strict=True):
        if entry.of not in outputs:
            outputs[entry.of] = _output(entry, model, batch)
        inputs = _inputs(entry, outputs[entry.of], batch)
        entry.metric.expect(*inputs)
        part = entry.metric.measure(*inputs)
        grows = entry.metric.grows
        grown.append(part if grows else ())
        following.append(state if grows else entry.metric.merge(state, part))
    return following, grown


def _output(entry: _Entry, model: Any, batch: PyTree) -> Any:
    """Call `of`, or the model on the first entry of the batch."""
    if entry.of is not None:
        return entry.of.function(model, *arguments_of(batch))
    pair = isinstance(batch, tuple) and len(batch) == 2
    if not pair or not callable(model):
        name = type(entry.metric).__name__
        refuse(
            StructureError,
            subject=repr(entry.metric),
            expected="a batch (x, y), to compare model(x) with y",
            got=f"the batch {shown(batch)}" if not pair else f"the model {shown(model)}",
            fix=f"say what to measure: {name}(of=lambda model, *batch: (prediction, target))",
        )
    x, y = batch
    return model(x), y


def _inputs(entry: _Entry, output: Any, batch: PyTree) -> tuple[Any, ...]:
    """List what a metric measures, and refuse what it does not take."""
    if isinstance(entry.metric, _Average):
        return output, batch
    inputs = output if isinstance(output, tuple) else (output,)
    signature = inspect.signature(entry.metric.measure)
    try:
        signature.bind(*inputs)
    except TypeError:
        refuse(
            StructureError,
            subject=repr(entry.metric),
            expected=f"of to return ({', '.join(signature.parameters)})",
            got=shown(output),
            fix="return these as a tuple; what has a default may be left out",
        )
    return inputs


def _keep(kept: list[list[Any]], sent: tuple[Any, Any]) -> None:
    """Wait for a batch, and take what is kept of it from the device."""
    states, grown = sent
    jax.block_until_ready(states)
    for parts, part in zip(kept, jax.device_get(grown), strict=True):
        parts.extend(part)


def flat(values: Mapping[str, Value]) -> dict[str, float]:
    """Write each entry of an array under a name of its own: `f1[0]`, `confusion[0,1]`."""
    return {
        f"{name}[{','.join(map(str, index))}]" if index else name: float(number)
        for name, value in values.items()
        for index, number in np.ndenumerate(value)
    }
