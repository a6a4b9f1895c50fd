# SPDX-License-Identifier: Apache-2.0
"""One call of `train`: steps sent off and looked at, epochs, callbacks told, the end."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from rosin.core.types import Array, PyTree
from rosin.core.validation import expect_state
from rosin.errors import shortened
from rosin.optimisers.averaged import averaged
from rosin.optimisers.update import OptimiserState, strong
from rosin.training.callbacks.group import STEP, Callbacks, Member
from rosin.training.callbacks.view import Moment
from rosin.training.checkpoint import Done, on_host, write
from rosin.training.guard import step_error
from rosin.training.history import History
from rosin.training.progress import Silent
from rosin.training.samecode import SameCode
from rosin.training.seeding import reseeded, rewind
from rosin.training.signals import Signals
from rosin.training.state import Now, Plan, Sent, TrainResult
from rosin.training.step import Options, example_count, expect_batch, guarded_step
from rosin.training.writer import Writer

STEPS_IN_FLIGHT = 2


class Run:
    """One call of `train`."""

    now: Now

    def __init__(self, plan: Plan, callbacks: Callbacks, shows: Silent) -> None:
        self.plan = plan
        self.callbacks = callbacks
        self.shows = shows
        self.signals = Signals()
        self.writer = Writer()
        self.stopped = ""
        self.loss = float("nan")
        self.started = time.perf_counter()
        self.saved: Now | None = None
        self.requested: list[tuple[Path, str]] = []
        self.ended = False
        keeps = plan.checkpoint is not None or callbacks.reads_checkpoint
        self.has_position = keeps and hasattr(plan.data, "state")

    # --- beginning and end ------------------------------------------------------------

    def begin(self, model: Any, opt_state: OptimiserState) -> None:
        """Copy the arrays."""
        if self.plan.options.precision is not None:
            opt_state = self.plan.options.precision.prepared(opt_state)
        model, opt_state = jax.tree.map(jnp.copy, (model, opt_state))
        tree = strong(model), opt_state
        if self.plan.seed is not None:
            tree = reseeded(tree, self.plan.seed)
        leaves, self.structure = jax.tree.flatten(tree)
        self.now = Now(leaves, jnp.asarray(True), (), Done(), {})

    def open(self) -> None:
        """Let the callbacks begin, and take over the checkpoint that is resumed."""
        checkpoint, data = self.plan.checkpoint, self.plan.data
        resumes = checkpoint is not None and checkpoint.expect_ready(data)
        self.now = self._told(self.now, "on_train_begin")
        if checkpoint is not None and resumes:
            tree, done = checkpoint.load(self._tree(), data)
            leaves = jax.tree.leaves((tree["model"], tree["opt_state"]))
            states = tree.get("callbacks", {})
            self.callbacks.restore(states)
            self.now = self.now._replace(leaves=leaves, done=done, states=states)
        elif self.plan.seed is not None:
            rewind(data, self.plan.seed)

    def close(self) -> None:
        """Wait for the last checkpoint, and let the callbacks end."""
        self.writer.wait()
        self._tell_written()
        self.ended = True
        self.now = self._told(self.now, "on_train_end")

    def keep(self, error: BaseException) -> None:
        """Hand over and save what there is when an exception ends the training."""
        with _noted(error, "what was done so far could not be kept"):
            self._hand_over(error)
        with _noted(error, "the checkpoint could not be written"):
            self.writer.wait()
        if not self.ended:
            self.stopped = type(error).__name__
            with _noted(error, "a callback could not end"):
                self._told(self.now, "on_train_end")

    def _hand_over(self, error: BaseException) -> None:
        while self.now.sent:
            self._count_first()
        with contextlib.suppress(AttributeError):  # some exceptions take no attribute
            error.result = self.result()  # pyright: ignore[reportAttributeAccessIssue]
        if self.done.step:
            self.save()

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

    # --- where it stands --------------------------------------------------------------

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

    @property
    def validated_model(self) -> Any:
        """The model as it is to be validated: itself, or with averaged parameters."""
        model, opt_state = self.structure.unflatten(self.now.leaves)
        return averaged(opt_state, model) if self.plan.evaluate_average else model

    def _tree(self) -> dict[str, Any]:
        """Put together what a checkpoint holds."""
        model, opt_state = self.structure.unflatten(self.now.leaves)
        tree = {"model": model, "opt_state": opt_state}
        return tree | ({"callbacks": self.now.states} if self.now.states else {})

    def _position(self) -> dict[str, Any] | None:
        return dict(self.plan.data.state) if self.has_position else None

    # --- steps ------------------------------------------------------------------------

    def step(self, batch: PyTree) -> None:
        """Send one step off, and look at those that were sent before."""
        expect_batch(batch)
        position = self._position()
        now, plan = self.now, self.plan
        leaves, loss, finite, harmless = _flat_step(
            SameCode(plan.loss), plan.options, self.structure, now.leaves, now.alive, batch
        )
        sent = (*now.sent, Sent(batch, loss, finite, harmless, position))
        alive = now.alive if plan.on_nonfinite == "skip" else harmless
        self.now = now._replace(leaves=leaves, alive=alive, sent=sent)
        number = now.done.step + len(sent)
        if self.callbacks.members:
            self._tell_step(number)
        due = plan.checkpoint is not None and plan.checkpoint.is_due(number)
        self.settle(0 if due else STEPS_IN_FLIGHT - 1)
        self.heed_signal()
        if due and not self.stopped:
            self.save()

    def heed_signal(self) -> None:
        """Stop if a signal has come."""
        if self.signals.caught is not None and not self.stopped:
            self.stopped = f"interrupted by {self.signals.caught.name}"
            self.shows.say(f"{self.stopped}; a second one acts at once")

    def _tell_step(self, number: int) -> None:
        """Tell the callbacks of the step just sent off, as early as each can hear it."""
        callbacks = self.callbacks
        if free := callbacks.due(callbacks.free, number):
            self.now = self._told(self.now, STEP, free, step=number)
        waiting = callbacks.due(callbacks.waiting, number)
        if waiting or ("on_checkpoint" in callbacks.hears and not self.writer.written.empty()):
            self.settle()
            if self.now.done.step < number:  # a step that was not finite ends the training
                return
            if waiting:
                self.now = self._told(self.now, STEP, waiting, loss=self.loss)
            self._tell_written()
            if self.requested:
                self.save(main=False)

    def settle(self, in_flight: int = 0) -> None:
        """Look at the steps sent off, but for the last few."""
        while len(self.now.sent) > in_flight:
            first = self.now.sent[0]
            if not self._count_first():
                self._end(first)
                return
            self.loss = float(first.loss)
            late = self.callbacks.due(self.callbacks.late, self.done.step)
            if late:
                self.now = self._told(self.now, STEP, late, loss=self.loss)
            rate = self.done.examples / max(self.elapsed_s, 1e-9)
            self.shows.step(self.done.epoch + 1, self.loss, rate)

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
        elif self.plan.on_nonfinite == "skip" or bool(first.harmless):
            done = dataclasses.replace(done, skipped=done.skipped + 1)
        else:
            self.now = self.now._replace(sent=())
            return False
        self.now = self.now._replace(sent=tuple(rest), done=done)
        return True

    def _end(self, bad: Sent) -> None:
        """End the training at a step that was not finite."""
        number = self.done.step + 1
        if self.plan.on_nonfinite == "stop":
            self.stopped = f"a non-finite step, number {number}"
            return
        model, opt_state = self.structure.unflatten(self.now.leaves)
        error = step_error(self.plan.loss, model, opt_state, bad.batch, self.plan.options)
        error.add_note(
            f"at epoch {self.done.epoch + 1}, step {number}; "
            "model and optimiser are as before this batch"
        )
        raise error

    # --- epochs -----------------------------------------------------------------------

    def begin_epoch(self) -> None:
        """Begin an epoch, unless it is one that goes on."""
        self.heed_signal()
        if not self.done.begun and not self.stopped:
            begun = self.now._replace(done=dataclasses.replace(self.done, begun=True))
            self.now = self._told(begun, "on_epoch_begin")

    def end_epoch(self, measured: dict[str, float], trained_s: float) -> None:
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
        self.shows.epoch(row)
        following = Done(
            epoch=done.epoch + 1,
            step=done.step,
            rows=(*done.rows, row),
            position=self._position(),
        )
        self.now = self._told(self.now._replace(done=following), "on_epoch_end")
        self.started = time.perf_counter()
        self.save()

    # --- callbacks and checkpoints ------------------------------------------------------

    def _told(
        self,
        now: Now,
        event: str,
        members: Sequence[Member] | None = None,
        *,
        step: int | None = None,
        loss: float | None = None,
        checkpoint: Path | None = None,
    ) -> Now:
        """Let the callbacks hear an event; return what they make of the state as a whole."""
        if event not in self.callbacks.hears:
            return now
        done = now.done
        moment = Moment(
            event=event,
            epoch=done.epoch + done.begun,
            epochs=self.plan.epochs,
            step=done.step if step is None else step,
            rows=done.rows,
            has_validation=self.plan.has_validation,
            tree=lambda: self.structure.unflatten(now.leaves),
            say=self.shows.say,
            loss=loss,
            checkpoint=checkpoint,
            stopped=self.stopped,
        )
        self.callbacks.tell(moment, members)
        self.stopped = moment.stopped
        self.requested += moment.saves
        leaves = now.leaves if moment.changed is None else jax.tree.leaves(moment.changed)
        if moment.skips_validation:
            done = dataclasses.replace(done, validates=False)
        return now._replace(leaves=leaves, done=done, states=self.callbacks.states())

    def _tell_written(self) -> None:
        """Tell of the files that are complete since the last time."""
        while not self.writer.written.empty():
            path = self.writer.written.get()
            self.now = self._told(self.now, "on_checkpoint", checkpoint=path)

    def save(self, *, main: bool = True) -> None:
        """Write the checkpoint, and what callbacks asked for, unless all of it is there."""
        targets, self.requested = self.requested, []
        if main and self.plan.checkpoint is not None and self.saved is not self.now:
            targets = [*targets, (Path(self.plan.checkpoint.path), "")]
        if not targets:
            return
        self.writer.wait()
        self._tell_written()
        now, done = self.now, dataclasses.replace(self.done, seconds=self.elapsed_s)
        tree = on_host(self._tree())
        self.writer.write({p: functools.partial(write, p, tree, done, n) for p, n in targets})
        self.saved = now if main else self.saved


@contextlib.contextmanager
def _noted(error: BaseException, fault: str) -> Generator[None]:
    """Note on an error what goes wrong after it; the first one is the one to report."""
    try:
        yield
    except Exception as second:  # noqa: BLE001  foreign callbacks may raise anything
        text = shortened(f"{type(second).__name__}: {second}", 200)
        error.add_note(f"{fault}: {text}")


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def _flat_step(
    loss: SameCode,
    options: Options,
    structure: Any,
    leaves: list[Any],
    alive: Array,
    batch: PyTree,
) -> tuple[list[Any], Array, Array, Array]:
    """Take a step on flat leaves, or none if a step before ends the training."""
    model, opt_state = structure.unflatten(leaves)
    result = guarded_step(loss.function, model, opt_state, batch, alive=alive, options=options)
    leaves = jax.tree.leaves((result.model, result.opt_state))
    return leaves, result.loss, result.finite, result.finite | result.overflowed
