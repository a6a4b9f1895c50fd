# SPDX-License-Identifier: Apache-2.0
"""The training loop: epochs of compiled steps, with validation, guard and history."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import FunctionType
from typing import Any, Literal, TypeVar

import jax
import numpy as np

from rosin.core.random import expect_seed
from rosin.core.types import PyTree
from rosin.core.validation import (
    expect_at_least,
    expect_callable,
    expect_kind,
    expect_one_of,
    refuse,
)
from rosin.errors import StructureError, shown
from rosin.optimisers.averaged import averaged
from rosin.optimisers.update import OptimiserState, expect_opt_state
from rosin.training.callbacks.base import Callback
from rosin.training.callbacks.group import Callbacks
from rosin.training.checkpoint import Checkpoint, as_checkpoint
from rosin.training.evaluate import Measure, Metrics, evaluate, flat, named_metrics
from rosin.training.precision import Precision
from rosin.training.progress import shown_progress
from rosin.training.run import Run
from rosin.training.state import Plan, TrainResult
from rosin.training.step import as_options, source_name

M = TypeVar("M")


def train(  # noqa: PLR0913  each is an option of its own, all but four keyword-only
    loss: Callable[..., Any],
    model: M,
    data: Iterable[PyTree],
    opt_state: OptimiserState,
    *,
    epochs: int = 1,
    validation: Iterable[PyTree] | None = None,
    metrics: Metrics | None = None,
    evaluate_average: bool = False,
    precision: Precision | Literal["bf16", "f16"] | None = None,
    accumulate: int = 1,
    callbacks: Sequence[Callback] = (),
    on_nonfinite: Literal["raise", "skip", "stop"] = "raise",
    checkpoint: Checkpoint | str | os.PathLike[str] | None = None,
    seed: int | None = None,
    progress: bool = True,
) -> TrainResult[M]:
    """Train a model: for each epoch, one compiled step for each batch.

    The caller's `model` and `opt_state` stay valid; the loop works on a copy of its own,
    whose memory each step reuses. A batch whose loss, gradient or update is not finite
    changes nothing, whatever `on_nonfinite` says.

    SIGINT (Ctrl-C) and SIGTERM let the present step finish and the checkpoint be written.
    Then the first raises `KeyboardInterrupt`, and the second returns, with
    `stopped="interrupted by SIGTERM"`. A second signal acts at once, as it does elsewhere.
    Handlers of your own stay in force, and so do Python's outside the main thread.

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
        metrics: To measure on the validation batches, as for `evaluate`: by name or in a
            list, metrics such as `rs.Accuracy()`, or functions called like `loss` that
            return a value for each example or a mean over the batch. One that comes to an
            array has a column in the history for each of its entries.
        evaluate_average: Whether to evaluate the averaged parameters, which the optimiser
            has to keep (`ExponentialMovingAverage`, `ScheduleFree`), in place of the present
            ones. Buffers, such as running statistics, are the present ones.
            `averaged_model` of the result is that model.
        precision: As for `trainstep`. A step that is left out because its gradient overflows
            in float16 counts as skipped, whatever `on_nonfinite` says.
        accumulate: As for `trainstep`.
        callbacks: Told of the events of the run, in this order; see `Callback`.
        on_nonfinite: "raise" an error that names layer, operation and pass; "skip" the
            batch and count it; "stop" and return.
        checkpoint: Where to save after each epoch and when interrupted; a path, or a
            `Checkpoint` for its options.
        seed: From 0 to 2**32 - 1; makes the run repeatable from the same model. Every random
            key in `model` and `opt_state` is replaced: the n-th of their leaves that are
            keys becomes `jax.random.fold_in(jax.random.key(seed), n)`, of its own kind. A
            `DataLoader` is brought to where one built with this seed starts. Parameters are
            not drawn anew. A run that is resumed goes on with the keys and the order of its
            checkpoint. Left out, keys and loader stand where they stand.
        progress: Whether to show a bar on a terminal, lines elsewhere.

    Returns:
        A `TrainResult`. An exception that ends the training, Ctrl-C included, carries the
        result so far in its attribute `result`.

    Raises:
        NonFiniteError: As `on_nonfinite` says.
        StructureError: The data gives no batch, or arguments do not fit together. A callback
            uses what it does not declare, or declares what is not there, or what another
            changes.
        StateError: The checkpoint's file exists and `resume` is False, or its folder does
            not exist. The optimiser keeps no average to evaluate.
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
    options = as_options(precision, accumulate, subject="train")
    _expect_average(evaluate_average, model, opt_state, validation)
    if seed is not None:
        expect_seed(seed, subject="train")
    told = Callbacks(callbacks)
    told.expect_one_owner(opt_state)
    steps: Any = len(data) if hasattr(data, "__len__") else None  # pyright: ignore[reportArgumentType]
    shows = shown_progress(wanted=progress, epochs=epochs, steps=steps)
    plan = Plan(
        loss=loss,
        data=data,
        epochs=epochs,
        has_validation=validation is not None,
        on_nonfinite=on_nonfinite,
        checkpoint=as_checkpoint(checkpoint),
        seed=seed,
        options=options,
        evaluate_average=evaluate_average,
    )
    run = Run(plan, told, shows)
    run.begin(model, opt_state)
    try:
        with run.signals, shows:
            run.open()
            shows.at(run.done.step)
            while run.done.epoch < epochs and not run.stopped:
                _epoch(run, validation, measures)
            run.heed_signal()
            if run.signals.caught == signal.SIGINT:
                raise KeyboardInterrupt  # noqa: TRY301  what keeps the result stands below
            run.close()
    except BaseException as error:
        run.keep(error)
        raise
    return run.result()


def _epoch(run: Run, validation: Iterable[PyTree] | None, measures: Metrics) -> None:
    """Run what is left of one epoch, and add its row to the history."""
    run.begin_epoch()
    if run.stopped:
        return
    for batch in run.plan.data:
        run.step(batch)
        if run.stopped:
            break
    run.settle()
    if run.stopped:
        run.save()
        return
    if not run.done.examples and not run.done.skipped:
        _refuse_batches(run.plan.data, "data")
    trained_s = run.elapsed_s
    measured: dict[str, float] = {}
    if validation is not None and run.done.validates:
        values = flat(evaluate(run.validated_model, validation, measures))
        measured = {f"validation_{name}": value for name, value in values.items()}
    run.end_epoch(measured, trained_s)


def _measures(
    loss: Callable[..., Any], metrics: Metrics | None, validation: object
) -> dict[str, Measure]:
    """Join loss and metrics under the names they are reported by."""
    given = named_metrics({} if metrics is None else metrics, subject="train")
    if given and (validation is None or "loss" in given):
        refuse(
            StructureError,
            subject="train",
            expected="metrics of names other than loss, with validation data to measure on",
            got="no validation data" if validation is None else "a metric named loss",
            fix="pass validation=..., and leave the loss out of metrics: it is measured anyway",
        )
    return {"loss": loss, **given}


def _expect_average(
    wanted: object, model: Any, opt_state: OptimiserState, validation: object
) -> None:
    """Refuse to evaluate averages that nobody keeps, or on nothing."""
    expect_kind(bool, subject="train", evaluate_average=wanted)
    if wanted and validation is None:
        refuse(
            StructureError,
            subject="train",
            expected="validation data to measure the averaged parameters on",
            got="none",
            fix="pass validation=..., or leave evaluate_average out: the result has "
            "averaged_model in any case",
        )
    if wanted:
        averaged(opt_state, model)


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
