# SPDX-License-Identifier: Apache-2.0
"""The state of one call of `train`: what is done, what is on its way, what to keep.

Everything that changes stands in one value, `Now`, which each change replaces as a whole:
an interrupt, wherever it comes, finds the state before the change or the one after.
"""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from rosin.core.types import Array, PyTree
from rosin.core.validation import expect_state
from rosin.errors import shortened
from rosin.optimisers.update import OptimiserState, strong
from rosin.training.checkpoint import Checkpoint, Done
from rosin.training.guard import step_error
from rosin.training.history import History
from rosin.training.progress import Silent
from rosin.training.samecode import SameCode
from rosin.training.step import example_count, expect_batch, guarded_step

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


class Sent(NamedTuple):
    """A step that was sent off and not looked at yet."""

    batch: PyTree
    loss: Array
    finite: Array
    position: dict[str, Any] | None


class Now(NamedTuple):
    """Where a run stands.

    Args:
        leaves: Of model and optimiser state, after all steps that were sent off. The next
            step takes their memory.
        alive: Whether all of these steps were finite, as an array: nothing waits for it.
        sent: The steps that `done` does not count yet.
        done: How far the run has come without them.
    """

    leaves: list[Any]
    alive: Array
    sent: tuple[Sent, ...]
    done: Done


class Run:
    """One call of `train`."""

    now: Now

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
        self.stopped = ""
        self.started = time.perf_counter()

    def begin(self, model: Any, opt_state: OptimiserState) -> None:
        """Copy the arrays, or take them from the checkpoint that is resumed."""
        model, opt_state = jax.tree.map(jnp.copy, (model, opt_state))
        model, done = strong(model), Done()
        resumed = self.checkpoint and self.checkpoint.begin(model, opt_state, self.data)
        if resumed:
            model, opt_state, done = resumed
        leaves, self.structure = jax.tree.flatten((model, opt_state))
        self.now = Now(leaves, jnp.asarray(True), (), done)

    @property
    def done(self) -> Done:
        """How far the run has come."""
        return self.now.done

    @property
    def elapsed_s(self) -> float:
        """Seconds of the present epoch."""
        return self.done.seconds + time.perf_counter() - self.started

    @property
    def model(self) -> Any:
        """The present model; the next step takes its memory."""
        return self.structure.unflatten(self.now.leaves)[0]

    def step(self, batch: PyTree, shows: Silent) -> None:
        """Send one step off, and look at those that were sent before."""
        expect_batch(batch)
        position = self._position()
        now = self.now
        leaves, loss, finite = _flat_step(
            SameCode(self.loss), self.structure, now.leaves, now.alive, batch
        )
        sent = (*now.sent, Sent(batch, loss, finite, position))
        alive = now.alive if self.on_nonfinite == "skip" else finite
        self.now = Now(leaves, alive, sent, now.done)
        due = self.checkpoint and self.checkpoint.is_due(now.done.step + len(sent))
        self.settle(shows, 0 if due else STEPS_IN_FLIGHT - 1)
        if due and not self.stopped:
            self.save()

    def settle(self, shows: Silent, in_flight: int = 0) -> None:
        """Look at the steps sent off, but for the last few."""
        while len(self.now.sent) > in_flight:
            first = self.now.sent[0]
            if not self._count_first():
                self._end(first)
                return
            rate = self.done.examples / max(self.elapsed_s, 1e-9)
            shows.step(self.done.epoch + 1, float(first.loss), rate)

    def _count_first(self) -> bool:
        """Count the oldest step sent off; False if it ends the training.

        Steps sent off after one that ends the training changed nothing, and go uncounted.
        """
        first, *rest = self.now.sent
        done = dataclasses.replace(self.done, step=self.done.step + 1, position=first.position)
        if bool(first.finite):
            examples = example_count(first.batch)
            done = dataclasses.replace(
                done,
                examples=done.examples + examples,
                total_loss=done.total_loss + examples * float(first.loss),
            )
        elif self.on_nonfinite == "skip":
            done = dataclasses.replace(done, skipped=done.skipped + 1)
        else:
            self.now = self.now._replace(sent=())
            return False
        self.now = self.now._replace(sent=tuple(rest), done=done)
        return True

    def _end(self, bad: Sent) -> None:
        """End the training at a step that was not finite."""
        number = self.done.step + 1
        if self.on_nonfinite == "stop":
            self.stopped = f"a non-finite step, number {number}"
            return
        model, opt_state = self.structure.unflatten(self.now.leaves)
        error = step_error(self.loss, model, opt_state, bad.batch)
        error.add_note(
            f"at epoch {self.done.epoch + 1}, step {number}; "
            "model and optimiser are as before this batch"
        )
        raise error

    def end_epoch(self, measured: dict[str, float], trained_s: float) -> dict[str, float]:
        """Write the epoch's row and start the next one."""
        done = self.done
        row: dict[str, float] = {
            "epoch": done.epoch + 1,
            "step": done.step,
            "loss": done.mean_loss,
            **measured,
            "skipped": done.skipped,
            "seconds": self.elapsed_s,
            "examples_per_second": done.examples / max(trained_s, 1e-9),
        }
        rows = (*done.rows, row)
        following = Done(epoch=done.epoch + 1, step=done.step, rows=rows, position=self._position())
        self.now = self.now._replace(done=following)
        self.started = time.perf_counter()
        self.save()
        return row

    def _position(self) -> dict[str, Any] | None:
        state: Any = getattr(self.data, "state", None) if self.checkpoint else None
        return None if state is None else dict(state)

    def save(self) -> None:
        """Write the checkpoint, if one is wanted."""
        if self.checkpoint is not None:
            model, opt_state = self.structure.unflatten(self.now.leaves)
            done = dataclasses.replace(self.done, seconds=self.elapsed_s)
            self.checkpoint.save(model, opt_state, done)

    def keep(self, error: BaseException) -> None:
        """Hand over and save what there is when an exception ends the training."""
        try:
            while self.now.sent:
                self._count_first()
            with contextlib.suppress(AttributeError):  # some exceptions take no attribute
                error.result = self.result()  # pyright: ignore[reportAttributeAccessIssue]
            if self.done.step:
                self.save()
        except Exception as second:  # noqa: BLE001  the first error is the one to report
            text = shortened(f"{type(second).__name__}: {second}", 200)
            error.add_note(f"what was done so far could not be kept: {text}")

    def result(self) -> TrainResult[Any]:
        """Hand over model, optimiser state and history; no step may follow."""
        expect_state(
            not any(leaf.is_deleted() for leaf in self.now.leaves),
            subject="train",
            expected="model and optimiser state in memory",
            got="an interrupt inside a step, which had taken their memory",
            fix="go on from the last checkpoint",
        )
        model, opt_state = self.structure.unflatten(self.now.leaves)
        return TrainResult(model, opt_state, History(list(self.done.rows)), self.stopped)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def _flat_step(
    loss: SameCode, structure: Any, leaves: list[Any], alive: Array, batch: PyTree
) -> tuple[list[Any], Array, Array]:
    """Take a step on flat leaves, or none if a step before was not finite."""
    model, opt_state = structure.unflatten(leaves)
    result = guarded_step(loss.function, model, opt_state, batch, alive=alive)
    return jax.tree.leaves((result.model, result.opt_state)), result.loss, result.finite
