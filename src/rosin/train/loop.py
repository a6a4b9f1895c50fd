# SPDX-License-Identifier: Apache-2.0
"""The training loop: epochs of compiled steps, with validation, guard and history."""

import functools
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from rosin.core.types import PyTree
from rosin.core.validation import (
    expect_at_least,
    expect_callable,
    expect_kind,
    expect_one_of,
    refuse,
)
from rosin.errors import NonFiniteError, StructureError, shown
from rosin.optimisers.update import OptimiserState, expect_state
from rosin.train.checkpoint import Checkpoint, Progressed
from rosin.train.evaluate import evaluate, example_count
from rosin.train.guard import find_nonfinite
from rosin.train.history import History
from rosin.train.progress import Silent, shown_progress
from rosin.train.step import SameCode, guarded_step

M = TypeVar("M")

STEPS_IN_FLIGHT = 2


class TrainResult(NamedTuple, Generic[M]):
    """What training returns.

    Args:
        model: The trained model.
        opt_state: The optimiser's state, to go on with.
        history: One row for each epoch.
        stopped: Why training ended before its last epoch; empty if it did not.
    """

    model: M
    opt_state: OptimiserState
    history: History
    stopped: str = ""


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
    checkpoint: Checkpoint | str | None = None,
    progress: bool = True,
) -> TrainResult[M]:
    """Train a model: for each epoch, one compiled step for each batch.

    The caller's `model` and `opt_state` stay valid; the loop works on a copy of its own,
    whose memory each step reuses. A batch whose loss, gradient or update is not finite
    changes nothing, whatever `on_nonfinite` says.

    Args:
        loss: Called as `loss(model, *batch)` for a tuple, else `loss(model, batch)`;
            returns a number, or a tuple `(number, aux)`.
        model: A module, or any tree.
        data: Gives the batches of an epoch each time it is iterated over.
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
        A `TrainResult`. An exception that leaves `train` carries the result so far in its
        attribute `result`.

    Raises:
        NonFiniteError: As `on_nonfinite` says.
        StructureError: The data gives no batch, or arguments do not fit together.
        RangeError: An option is out of its range.

    Examples:
        >>> import rosin as rs
        >>> with rs.seed(0):
        ...     model = rs.Dense(2, 1)
        >>> x = jnp.ones((8, 2))
        >>> result = rs.train(
        ...     lambda m, x, y: rs.mse(m(x), y),
        ...     model,
        ...     rs.DataLoader((x, x.sum(1, keepdims=True)), batch_size=4),
        ...     rs.setup(rs.Descent(0.1), model),
        ...     epochs=30,
        ...     progress=False,
        ... )
        >>> bool(result.history["loss"][-1] < 1e-6)
        True

    Source:
        Flux.jl `train!`, FluxTraining.jl `fit!`.
    """
    expect_callable(subject="train", loss=loss)
    expect_at_least(1, subject="train", epochs=epochs)
    expect_one_of(("raise", "skip", "stop"), subject="train", on_nonfinite=on_nonfinite)
    expect_kind(bool, subject="train", progress=progress)
    expect_state(opt_state)
    if not isinstance(data, Iterable):
        _refuse_data(data)
    run = _Run(loss, data, on_nonfinite, Checkpoint.of(checkpoint))
    run.begin(model, opt_state, epochs)
    steps = len(data) if hasattr(data, "__len__") else None  # pyright: ignore[reportArgumentType]
    shows = shown_progress(wanted=progress, epochs=epochs, steps=steps, done_steps=run.done.step)
    try:
        with shows:
            while run.done.epoch < epochs and not run.stopped:
                _epoch(run, shows, validation, dict(metrics or {}))
    except BaseException as error:
        run.keep(error)
        raise
    return run.result()


def _epoch(
    run: "_Run",
    shows: Silent,
    validation: Iterable[PyTree] | None,
    metrics: dict[str, Callable[..., Any]],
) -> None:
    """Run what is left of one epoch, and add its row to the history."""
    for batch in run.data:
        run.step(batch, shows)
        if run.stopped:
            break
    run.settle(shows, 0)
    if run.stopped:
        return
    if not run.done.losses and not run.done.skipped:
        _refuse_data(run.data)
    measured: dict[str, float] = {}
    if validation is not None:
        model = run.result().model
        measured = {
            f"validation_{name}": value
            for name, value in evaluate(model, validation, {"loss": run.loss, **metrics}).items()
        }
    shows.epoch(run.end_epoch(measured))


def _refuse_data(data: object) -> None:
    refuse(
        StructureError,
        subject="train",
        expected="data that gives at least one batch each time it is iterated over",
        got=shown(data),
        fix="pass a DataLoader or a list of batches; a generator is empty after its first epoch",
    )


class _Pending(NamedTuple):
    """A step that was sent off and not looked at yet."""

    batch: PyTree
    count: int
    loss: Any
    finite: Any
    position: dict[str, int] | None


class _Run:
    """The state of one call of `train`."""

    def __init__(
        self,
        loss: Callable[..., Any],
        data: Iterable[PyTree],
        on_nonfinite: str,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.loss = loss
        self.data = data
        self.on_nonfinite = on_nonfinite
        self.checkpoint = checkpoint
        self.history = History()
        self.done = Progressed()
        self.pending: deque[_Pending] = deque()
        self.stopped = ""
        self.started = time.perf_counter()

    def begin(self, model: Any, opt_state: OptimiserState, epochs: int) -> None:
        """Copy the arrays, or take them from the checkpoint that is resumed."""
        if self.checkpoint is not None:
            found = self.checkpoint.begin(model, opt_state, self.data, epochs)
            if found is not None:
                model, opt_state, self.done, rows = found
                self.history = History(rows)
        leaves, self.structure = jax.tree.flatten((model, opt_state))
        self.leaves = [jnp.copy(leaf) for leaf in leaves]
        self.alive = jnp.asarray(True)  # noqa: FBT003  an array
        self.program = functools.partial(_flat_step, SameCode(self.loss), self.structure)

    def step(self, batch: PyTree, shows: Silent) -> None:
        """Send one step off, and look at one that was sent before."""
        alive = jnp.asarray(True) if self.on_nonfinite == "skip" else self.alive  # noqa: FBT003
        self.leaves, number, finite = self.program(self.leaves, alive, batch)
        self.alive = finite
        position = getattr(self.data, "state", None)
        count = example_count(batch)
        self.pending.append(_Pending(batch, count, number, finite, position))
        self.settle(shows, STEPS_IN_FLIGHT - 1)

    def settle(self, shows: Silent, in_flight: int) -> None:
        """Look at the steps sent off, but for the last few."""
        while len(self.pending) > in_flight and not self.stopped:
            sent = self.pending.popleft()
            if bool(sent.finite):
                self.done.losses.append((float(sent.loss), sent.count))
            elif self.on_nonfinite == "skip":
                self.done.skipped += 1
            else:
                self._fail(sent)
                return
            self.done.step += 1
            self.done.position = sent.position
            seconds = time.perf_counter() - self.started
            shows.step(self.done.epoch + 1, float(sent.loss), self.done.examples / seconds)
            if self.checkpoint is not None and self.checkpoint.is_due(self.done.step):
                self.settle(shows, 0)
                self.save()

    def _fail(self, sent: _Pending) -> None:
        """Stop at a batch that was not finite; the steps sent after it changed nothing."""
        self.pending.clear()
        if self.on_nonfinite == "stop":
            self.stopped = f"a non-finite step, number {self.done.step + 1}"
            return
        model = self.result().model
        finding = find_nonfinite(self.loss, model, sent.batch)
        error = finding.error(model) if finding else _update_error()
        error.add_note(
            f"at epoch {self.done.epoch + 1}, step {self.done.step + 1}; "
            "model and optimiser are as before this batch"
        )
        raise error

    def end_epoch(self, measured: dict[str, float]) -> dict[str, float]:
        """Write the epoch's row and start the next one."""
        seconds = time.perf_counter() - self.started
        row = {
            "epoch": self.done.epoch + 1,
            "step": self.done.step,
            "loss": self.done.mean_loss,
            **measured,
            "skipped": self.done.skipped,
            "seconds": seconds,
            "examples_per_second": self.done.examples / seconds,
        }
        self.history.append(row)
        self.done = Progressed(
            epoch=self.done.epoch + 1, step=self.done.step, position=self.done.position
        )
        self.started = time.perf_counter()
        if self.checkpoint is not None:
            self.save()
        return row

    def save(self) -> None:
        """Write the checkpoint."""
        model, opt_state = self.structure.unflatten(self.leaves)
        if self.checkpoint is not None:
            self.checkpoint.save(model, opt_state, self.done, self.history.rows)

    def keep(self, error: BaseException) -> None:
        """Save and hand over what there is when an exception ends the training."""
        if not isinstance(error, NonFiniteError):
            self.settle(Silent(), 0)
        if self.checkpoint is not None and self.done.step:
            self.save()
        error.result = self.result()  # pyright: ignore[reportAttributeAccessIssue]

    def result(self) -> TrainResult[Any]:
        """Put model and optimiser state together, with memory of their own."""
        copies = [jnp.copy(leaf) for leaf in self.leaves]
        model, opt_state = self.structure.unflatten(copies)
        return TrainResult(model, opt_state, self.history, self.stopped)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def _flat_step(
    loss: SameCode, structure: Any, leaves: list[Any], alive: Any, batch: PyTree
) -> tuple[list[Any], Any, Any]:
    """Take a step on flat leaves, or none if a step before was not finite."""
    model, opt_state = structure.unflatten(leaves)
    result = guarded_step(loss.function, model, opt_state, batch, alive=alive)
    return jax.tree.leaves((result.model, result.opt_state)), result.loss, result.finite


def _update_error() -> NonFiniteError:
    return NonFiniteError(
        subject="the update",
        expected="finite parameters, optimiser state and buffers after the step",
        got="a NaN or an infinity, though loss and gradient are finite",
        fix="lower the learning rate",
    )
