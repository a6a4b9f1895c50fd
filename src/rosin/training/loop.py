# SPDX-License-Identifier: Apache-2.0
"""The training loop: epochs of compiled steps, with validation, guard and history."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any, Literal, TypeVar

import jax
import numpy as np

from rosin.core.types import PyTree
from rosin.core.validation import (
    expect_at_least,
    expect_callable,
    expect_kind,
    expect_one_of,
    refuse,
)
from rosin.errors import StructureError, shown
from rosin.optimisers.update import OptimiserState, expect_opt_state
from rosin.training.checkpoint import Checkpoint, as_checkpoint
from rosin.training.evaluate import evaluate, expect_functions
from rosin.training.progress import Silent, shown_progress
from rosin.training.run import Run, TrainResult
from rosin.training.step import source_name

M = TypeVar("M")

Metrics = Mapping[str, Callable[..., Any]]


def train(  # noqa: PLR0913  each is an option of its own, all but four keyword-only
    loss: Callable[..., Any],
    model: M,
    data: Iterable[PyTree],
    opt_state: OptimiserState,
    *,
    epochs: int = 1,
    validation: Iterable[PyTree] | None = None,
    metrics: Mapping[str, Callable[..., Any]] | None = None,
    on_nonfinite: Literal["raise", "skip", "stop"] = "raise",
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> TrainResult[M]:
    """Train a model: for each epoch, one compiled step for each batch.

    The caller's `model` and `opt_state` stay valid; the loop works on a copy of its own,
    whose memory each step reuses. A batch whose loss, gradient or update is not finite
    changes nothing, whatever `on_nonfinite` says.

    Args:
        loss: Called as `loss(model, *batch)` for a tuple, else `loss(model, batch)`;
            returns a number, or a tuple `(number, aux)`, whose aux is dropped here: what
            is to be seen of it is a metric, or `trainstep` in a loop of your own.
        model: A module, or any tree.
        data: Gives the batches of an epoch each time it is iterated over, as for
            `trainstep`.
        opt_state: From `setup`.
        epochs: Passes over the data, at least 1; those of a resumed run count.
        validation: Batches to evaluate after each epoch, in inference mode.
        metrics: By name, functions called like `loss` on the validation batches; they
            return a value for each example, or a mean over the batch.
        on_nonfinite: "raise" an error that names layer, operation and pass; "skip" the
            batch and count it; "stop" and return.
        checkpoint: Where to save after each epoch and when interrupted; a path, or a
            `Checkpoint` for its options.
        progress: Whether to show a bar on a terminal, lines elsewhere.

    Returns:
        A `TrainResult`. An exception that ends the training, Ctrl-C included, carries the
        result so far in its attribute `result`.

    Raises:
        NonFiniteError: As `on_nonfinite` says.
        StructureError: The data gives no batch, or arguments do not fit together.
        StateError: The checkpoint's file exists and `resume` is False, or its folder does
            not exist.
        RangeError: An option is out of its range.

    Examples:
        >>> import jax.numpy as jnp, rosin as rs
        >>> def loss(weight, x, y):
        ...     return rs.mse(x @ weight, y)
        >>> x, weight = jnp.eye(4), jnp.zeros(4)
        >>> loader = rs.DataLoader((x, x.sum(1)), batch_size=2)
        >>> opt_state = rs.setup(rs.Descent(0.5), weight)
        >>> result = rs.train(loss, weight, loader, opt_state, epochs=20, progress=False)
        >>> result.model, len(result.history)
        (Array([1., 1., 1., 1.], dtype=float32), 20)

    Source:
        Flux.jl `train!`, FluxTraining.jl `fit!`.
    """
    expect_callable(subject="train", loss=loss)
    if isinstance(model, FunctionType) and not isinstance(loss, FunctionType):
        refuse(
            StructureError,
            subject="train",
            expected="the loss function first, then the model",
            got=f"{shown(loss)}, then {shown(model)}",
            fix="call train(loss, model, data, opt_state)",
        )
    expect_at_least(1, subject="train", epochs=epochs)
    expect_one_of(("raise", "skip", "stop"), subject="train", on_nonfinite=on_nonfinite)
    expect_kind(bool, subject="train", progress=progress)
    expect_opt_state(opt_state)
    _expect_batches(data, "data", epochs)
    if validation is not None:
        _expect_batches(validation, "validation", epochs)
    measures = _measures(loss, metrics, validation)
    run = Run(loss, data, on_nonfinite, as_checkpoint(checkpoint))
    run.begin(model, opt_state)
    steps: Any = len(data) if hasattr(data, "__len__") else None  # pyright: ignore[reportArgumentType]
    shows = shown_progress(wanted=progress, epochs=epochs, steps=steps, done_steps=run.done.step)
    try:
        with shows:
            while run.done.epoch < epochs and not run.stopped:
                _epoch(run, shows, validation, measures)
    except BaseException as error:
        run.keep(error)
        raise
    return run.result()


def _epoch(run: Run, shows: Silent, validation: Iterable[PyTree] | None, measures: Metrics) -> None:
    """Run what is left of one epoch, and add its row to the history."""
    for batch in run.data:
        run.step(batch, shows)
        if run.stopped:
            break
    run.settle(shows)
    if run.stopped:
        run.save()
        return
    if not run.done.examples and not run.done.skipped:
        _refuse_batches(run.data, "data")
    trained_s = run.elapsed_s
    measured: dict[str, float] = {}
    if validation is not None:
        values = evaluate(run.model, validation, measures)
        measured = {f"validation_{name}": value for name, value in values.items()}
    shows.epoch(run.end_epoch(measured, trained_s))


def _measures(
    loss: Callable[..., Any], metrics: Metrics | None, validation: object
) -> dict[str, Callable[..., Any]]:
    """Join loss and metrics under the names they are reported by."""
    given: Metrics = {} if metrics is None else metrics
    expect_functions(given, subject="train")
    if given and (validation is None or "loss" in given):
        refuse(
            StructureError,
            subject="train",
            expected="metrics of names other than loss, with validation data to measure on",
            got="no validation data" if validation is None else "a metric named loss",
            fix="pass validation=..., and leave the loss out of metrics: it is measured anyway",
        )
    return {"loss": loss, **given}


def _expect_batches(data: object, name: str, epochs: int) -> None:
    """Refuse what cannot give batches, or not in every epoch."""
    once = isinstance(data, Iterator) and epochs > 1
    wrong = isinstance(data, (jax.Array, np.ndarray, str, bytes, Mapping))
    if isinstance(data, tuple) and any(isinstance(part, (jax.Array, np.ndarray)) for part in data):
        refuse(
            StructureError,
            subject="train",
            expected=f"{name} in batches",
            got=f"a tuple of {len(data)} arrays",
            fix="put them into a DataLoader((x, y), batch_size=64), or one batch into a list",
        )
    if once or wrong or not isinstance(data, Iterable):
        _refuse_batches(data, name)


def _refuse_batches(data: object, name: str) -> None:
    refuse(
        StructureError,
        subject="train",
        expected=f"{name} that gives at least one batch each time it is iterated over",
        got=source_name(data),
        fix="pass a DataLoader or a list of batches; a generator is empty after its first epoch",
    )
