# SPDX-License-Identifier: Apache-2.0
"""Finding the first non-finite value of a step: which layer, which operation, which pass."""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from rosin.core.gradient import withgradient
from rosin.core.paths import as_where, path_string
from rosin.core.recording import recording
from rosin.core.tree import Split, modules
from rosin.core.types import PyTree
from rosin.errors import NonFiniteError, shown
from rosin.optimisers.update import OptimiserState, apply
from rosin.training.precision import Precision, as_precision
from rosin.training.replay import Fault, Operand, Replay, Traced, kind_of, written
from rosin.training.step import (
    PLAIN,
    Options,
    arguments_of,
    gradient_of,
    parts_of,
    split_loss,
)

UNSEEN = "a NaN or an infinity that did not come up again, operation by operation"
BEYOND = ", though loss and gradient are finite"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NonFinite:
    """The first operation of a step whose result is not finite.

    Args:
        path: The innermost layer it belongs to; empty for the loss function itself.
        operation: The name of JAX's primitive.
        backward: Whether it belongs to the backward pass.
        value: "NaN" or "infinity".
        result: Its result, as dtype[shape].
        source: A leaf of the model or of the batch that was not finite to begin with.
        operands: What the operation was handed: for each the `array` as dtype[shape], its
            `least` and `most` finite number, and how many are `nans` and `infinities`.
    """

    path: str
    operation: str
    backward: bool
    value: str
    result: str
    source: str = ""
    operands: tuple[Operand, ...] = dataclasses.field(default=(), compare=False)

    def __repr__(self) -> str:
        """Say it in a few lines."""
        where = f"{self.operation or self.source} in {self.path or 'the loss function'}"
        lines = [f"{where}, {'backward' if self.backward else 'forward'} pass: {self.value}"]
        lines += [f"operand {i}: {operand}" for i, operand in enumerate(self.operands)]
        lines += [f"result: {self.result}"] * bool(self.operation)
        lines += [f"{self.source} was not finite to begin with"] * bool(self.source)
        return "\n  ".join(lines)

    def error(self, model: Any) -> NonFiniteError:
        """Word the finding as an error."""
        came = f"; {self.source} was not finite before the step" if self.source else ""
        operation = f"the operation {self.operation} ({self.result})"
        found = NonFiniteError(
            subject=self._subject(model),
            expected=f"finite numbers in the {'backward' if self.backward else 'forward'} pass",
            got=f"{self.value} from {operation if self.operation else self.source}{came}",
            fix=self._fix(),
            where=as_where(self.path),
        )
        found.anchor = None
        found.finding = self
        return found

    def _subject(self, model: Any) -> Any:
        layers = modules(model)
        if self.path:
            return layers[self.path]
        root = f" or {type(model).__name__} itself" if "" in layers else ""
        return f"the loss function{root}"

    def _fix(self) -> str:
        if self.source.startswith("the batch"):
            return "clean the data: numpy.isfinite finds the rows"
        if self.source:
            return "start from finite parameters; rs.summary(model) flags those that are not"
        return (
            "lower the learning rate, bound what goes into this layer, or use the stable form "
            "of the operation"
        )


def find_nonfinite(
    loss: Callable[..., Any],
    model: Any,
    batch: PyTree,
    *,
    precision: Precision | Literal["bf16", "f16"] | None = None,
) -> NonFinite | None:
    """Run one step operation by operation and return where it stops being finite.

    Slow: nothing is compiled as a whole. `train(on_nonfinite="raise")` calls it for the
    batch that failed. An infinity that is masked again before it reaches the result, or
    that the program writes down itself, is no fault.

    Args:
        loss: As for `trainstep`.
        model: A module, or any tree.
        batch: As for `trainstep`.
        precision: As for `trainstep`; without a loss scale.

    Returns:
        The finding, or None if loss, recorded state and gradient are finite. It prints
        layer, operation, pass and the ranges of what the operation was handed, which are
        its attributes too.

    Examples:
        >>> import rosin as rs
        >>> class Logarithm(rs.Module):
        ...     scale: rs.Array
        ...     def __call__(self, x):
        ...         return jnp.log(x * self.scale)
        >>> model = {"inner": Logarithm(jnp.ones(()))}
        >>> found = find_nonfinite(lambda m, x: m["inner"](x).sum(), model, jnp.arange(-2.0, 2))
        >>> found
        log in inner, forward pass: NaN
          operand 0: float32[4] from -2 to 1
          result: float32[4]
        >>> found.path, found.operation, found.operands[0].least
        ('inner', 'log', -2.0)
    """
    chosen = as_precision(precision, subject="find_nonfinite")
    loss = loss if chosen is None else chosen.applied(loss)
    leaves, structure = jax.tree.flatten(jax.tree.map(jnp.asarray, (model, batch)))
    seeds = [*_seeds_of_model(model), *_seeds_of_batch(batch)]
    given = [Traced(leaf, seed) for leaf, seed in zip(leaves, seeds, strict=True)]
    replay = Replay(_layer_finder(modules(model)))

    def forward(leaves: list[Any]) -> list[Any]:
        model, batch = structure.unflatten(leaves)
        value, new = recording(loss, model, *arguments_of(batch))
        pairs = zip(jax.tree.leaves(model), jax.tree.leaves(new), strict=True)
        return [split_loss(value)[0], *(b for a, b in pairs if a is not b)]

    def gradient(leaves: list[Any]) -> list[Any]:
        model, batch = structure.unflatten(leaves)
        return jax.tree.leaves(withgradient(loss, model, *arguments_of(batch))[1])

    number, *recorded = replay.call(jax.make_jaxpr(forward)(leaves), given)
    fault = number.fault or _first(recorded, firm=True)
    if fault is not None:
        return _finding(fault, backward=False)
    fault = _first(replay.call(jax.make_jaxpr(gradient)(leaves), given), firm=False)
    return None if fault is None else _finding(fault, backward=True)


def step_error(
    loss: Callable[..., Any],
    model: Any,
    opt_state: OptimiserState,
    batch: PyTree,
    options: Options = PLAIN,
) -> NonFiniteError:
    """Say in an error what was not finite in a step that started from here."""
    try:
        return _located(loss, model, opt_state, batch, options)
    except Exception as fault:  # noqa: BLE001  whatever breaks the search, the step was not finite
        error = _update_error("a NaN or an infinity", "")
        error.add_note(f"the search for its place failed: {type(fault).__name__}: {fault}")
        return error


def _located(
    loss: Callable[..., Any], model: Any, opt_state: OptimiserState, batch: PyTree, options: Options
) -> NonFiniteError:
    if options.precision is not None:
        loss = options.precision.applied(loss)
    now = model
    for part in parts_of(batch, options.accumulate):
        finding = find_nonfinite(loss, now, part)
        if finding is not None:
            return finding.error(model)
        now = recording(loss, now, *arguments_of(part))[1]
    value, _, grads, recorded = gradient_of(loss, model, batch, options.accumulate)
    # Not `update`, which would hold it back.
    new_state, new_model = apply(opt_state, recorded, grads, value=value)
    path, kind = _first_spoilt(model, new_model)
    if kind:
        return _update_error(kind + BEYOND, as_where(path))
    path, kind = _first_spoilt(opt_state, new_state)
    held = f"{kind} in opt_state{as_where(path)}{BEYOND}"
    return _update_error(held if kind else UNSEEN, "")


def _update_error(got: str, where: str) -> NonFiniteError:
    return NonFiniteError(
        subject="the update",
        expected="finite parameters and optimiser state after the step",
        got=got,
        fix="lower the learning rate",
        where=where,
    )


def _first_spoilt(old: PyTree, new: PyTree) -> tuple[str, str]:
    """Return the path of the first leaf that is finite in the old tree only, and its kind."""
    pairs = zip(jax.tree.leaves(old), jax.tree_util.tree_leaves_with_path(new), strict=True)
    for before, (keys, after) in pairs:
        if kind_of(after) and not kind_of(before):
            return path_string(keys), kind_of(after)
    return "", ""


def _finding(fault: Fault, *, backward: bool) -> NonFinite:
    return NonFinite(
        path=fault.path,
        operation=fault.operation,
        backward=backward,
        value=fault.value,
        result=fault.result,
        source=fault.source,
        operands=fault.operands,
    )


def _first(values: Iterable[Traced], *, firm: bool) -> Fault | None:
    faults = (one.fault for one in values if one.fault)
    return next((fault for fault in faults if fault.firm or not firm), None)


def _seeds_of_model(model: Any) -> list[Fault | None]:
    """Note which leaves of a model are not finite; a buffer may hold infinities, as masks do."""
    split = Split(model)
    leaves = jax.tree.leaves(model)
    return [
        written(leaf).fault
        if kind_of(leaf) == "infinity" and not trained
        else _seed(leaf, f"the model's {slot.path or 'array'}")
        for leaf, slot, trained in zip(leaves, split.slots, split.mask, strict=True)
    ]


def _seeds_of_batch(batch: PyTree) -> list[Fault | None]:
    named = jax.tree_util.tree_leaves_with_path(batch)
    return [_seed(leaf, f"the batch's {path_string(keys) or 'array'}") for keys, leaf in named]


def _seed(leaf: Any, source: str) -> Fault | None:
    kind = kind_of(leaf)
    return Fault("", "", kind, shown(leaf), source, firm=False) if kind else None


def _layer_finder(paths: Iterable[str]) -> Callable[[str], str]:
    """Make a function that finds the innermost layer of a name stack.

    Such a stack is `transpose(jvp(layers[0]))/layers[0].inner/mean`.
    """
    longest_first = map(re.escape, sorted(filter(None, paths), key=len, reverse=True))
    pattern = re.compile(rf"(?<![^/(])(?:{'|'.join(longest_first)})(?![^/)])")

    @functools.cache
    def layer_of(stack: str) -> str:
        found = pattern.findall(stack)
        return found[-1] if found else ""

    return layer_of
