# SPDX-License-Identifier: Apache-2.0
"""Evaluating a model on data, in inference mode."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rosin.core.types import Array, PyTree
from rosin.core.validation import expect_callable, expect_kind, name_of, refuse
from rosin.errors import ShapeError, StructureError, shown
from rosin.training.samecode import SameCode
from rosin.training.step import (
    arguments_of,
    example_count,
    expect_batch,
    is_numeric,
    source_name,
    split_loss,
)


def evaluate(
    model: Any, data: Iterable[PyTree], functions: Mapping[str, Callable[..., Any]]
) -> dict[str, float]:
    """Average functions of a model over the examples of some data.

    Args:
        model: A module, or any tree; it is in inference mode.
        data: Gives batches.
        functions: By name, called as `f(model, *batch)` for a tuple, else
            `f(model, batch)`; each returns a value for each example, or a mean over the
            batch, which counts by the number of examples. Of a tuple the first entry is
            taken, so that a loss with aux fits.

    Returns:
        The averages by name.

    Raises:
        StructureError: The data gives no batch, or what is no batch.
        ShapeError: A function returns neither a number nor a value for each example.

    Examples:
        >>> import rosin as rs
        >>> batches = [(jnp.ones((3, 2)), jnp.array([0, 1, 1]))]
        >>> def accuracy(weight, x, y):
        ...     return (x * weight).argmax(-1) == y
        >>> rs.evaluate(jnp.array([0.0, 1.0]), batches, {"accuracy": accuracy})
        {'accuracy': 0.6666666865348816}
    """
    expect_functions(functions, subject="evaluate")
    keyed = tuple(map(SameCode, functions.values()))
    total, examples = [0.0] * len(keyed), 0
    for batch in data:
        expect_batch(batch)
        count = example_count(batch)
        values = _averages(keyed, model, batch)
        total = [t + count * float(v) for t, v in zip(total, values, strict=True)]
        examples += count
    if not examples:
        refuse(
            StructureError,
            subject="evaluate",
            expected="data that gives at least one batch",
            got=source_name(data),
            fix="pass a DataLoader or a list of batches; a generator gives its batches once",
        )
    return {name: t / examples for name, t in zip(functions, total, strict=True)}


def expect_functions(functions: Mapping[str, object], *, subject: str) -> None:
    """Refuse metrics that cannot be called."""
    expect_kind(Mapping, subject=subject, metrics=functions)
    for name, function in functions.items():
        expect_callable(subject=subject, **{f"the metric {name}": function})


@functools.partial(jax.jit, static_argnums=0)
def _averages(functions: tuple[SameCode, ...], model: Any, batch: PyTree) -> list[Array]:
    arguments = arguments_of(batch)
    count = example_count(batch)
    return [_average(f.function(model, *arguments), count, f.function) for f in functions]


def _average(value: Any, count: int, function: Callable[..., Any]) -> Array:
    number, _ = split_loss(value)
    if not is_numeric(number) or jnp.shape(number) not in ((), (count,)):
        refuse(
            ShapeError,
            subject=name_of(function),
            expected=f"a number, or one for each of {count} examples",
            got=shown(number),
            fix="reduce the other axes, for example with .mean(axis=-1)",
        )
    return jnp.mean(jnp.asarray(number, float))
