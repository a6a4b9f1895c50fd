# SPDX-License-Identifier: Apache-2.0
"""Mixed precision: a model that is kept in float32 computes in half precision."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp

from rosin.core.locate import is_module, walk_modules
from rosin.core.module import Module, training_context
from rosin.core.precision import converted
from rosin.core.recording import Passage, recording, visit_of
from rosin.core.types import Array, Buffer
from rosin.core.validation import (
    expect_at_least,
    expect_between,
    expect_callable,
    expect_kind,
    expect_one_of,
    refuse,
)
from rosin.errors import StructureError, shown
from rosin.optimisers.soundness import all_sound
from rosin.optimisers.update import OptimiserState

T = TypeVar("T")

DTYPES = {"bf16": jnp.bfloat16, "f16": jnp.float16}
HALF_BYTES = 2
INFINITY = float("inf")
FIRST_SCALE = 2.0**15
LEAST_SCALE = 1.0
LARGEST_SCALE = 2.0**24
"""Beyond, a gradient that is still 0 in float16 is below 2**-48: growing goes unnoticed."""


class LossScale(Module):
    """What gradients are multiplied by while they are in float16; kept in the `opt_state`.

    Shapes:
        - value: `()`, the factor, a buffer.
        - good_steps: `()`, the finite steps since it last changed, a buffer.
    """

    value: Buffer[Array]
    good_steps: Buffer[Array]


@dataclasses.dataclass(frozen=True, slots=True)
class Precision:
    """How a model that is kept in float32 computes in half precision.

    What the loss function calls, the model or a part of it, is converted for the call:
    parameters and floating-point arguments to half precision, the result back to float32.
    Buffers stay as they are, and so does all that the loss function computes itself. The
    gradient arrives in float32, where the optimiser works.

    In float16 gradients below 6e-8 are 0, so they are multiplied by a loss scale on their
    way through the model, and divided by it in float32. It is adapted: a gradient that
    overflows halves it, and the step is left out; many finite steps in a row double it.

    Args:
        dtype: "bf16" or "f16".
        initial_scale: The loss scale to begin with, from 1 to 2**24. Left out, 2**15 for
            "f16" and none for "bf16", which has the range of float32.
        growth_interval: After so many finite steps in a row the scale grows; at least 1.
        growth_factor: By this factor; at least 1.
        backoff_factor: What a gradient that overflows multiplies the scale with; above 0
            and below 1. The scale does not fall below 1.

    Raises:
        RangeError: An option is out of its range.

    Examples:
        >>> import rosin as rs
        >>> model, x = rs.Dense(2, 1), jnp.ones((4, 2))
        >>> def loss(model, x):
        ...     y = model(x)
        ...     return (y**2).mean(), y
        >>> (_, y), grads, _ = rs.withgradient(Precision("bf16").applied(loss), model, x)
        >>> y.dtype, grads.weight.dtype
        (dtype('float32'), dtype('float32'))

    Source:
        Micikevicius et al. 2018; defaults of `torch.amp.GradScaler`, whose scale begins at
        2**16. PyTorch's autocast converts operation by operation, Rosin call by call.
    """

    dtype: Literal["bf16", "f16"]
    _: dataclasses.KW_ONLY
    initial_scale: float | None = None
    growth_interval: int = 2000
    growth_factor: float = 2.0
    backoff_factor: float = 0.5

    def __post_init__(self) -> None:
        """Check the options."""
        expect_one_of(tuple(DTYPES), subject="Precision", dtype=self.dtype)
        if self.initial_scale is not None:
            expect_between(
                LEAST_SCALE, LARGEST_SCALE, subject="Precision", initial_scale=self.initial_scale
            )
        expect_at_least(1, subject="Precision", growth_interval=self.growth_interval)
        expect_between(
            1, INFINITY, subject="Precision", include_high=False, growth_factor=self.growth_factor
        )
        expect_between(
            0,
            1,
            subject="Precision",
            include_low=False,
            include_high=False,
            backoff_factor=self.backoff_factor,
        )

    def applied(
        self, f: Callable[..., Any], opt_state: OptimiserState | None = None
    ) -> Callable[..., Any]:
        """Return the function with the calls of its model in half precision.

        It has the value and the derivatives of `f`, in float32, but for rounding; the
        modules that it is handed may record.

        Args:
            f: Called with a model, or a tree of models, and other arguments.
            opt_state: What keeps the loss scale, from `prepared`. Left out, gradients are
                not scaled.

        Raises:
            StructureError: `f` cannot be called; or, when called, is handed no module.
        """
        expect_callable(subject="Precision", f=f)
        scale = None if opt_state is None else opt_state.loss_scale

        @functools.wraps(f)
        def in_half(model: Any, *args: Any) -> Any:
            handed_out = [visit_of(module) for _, module in walk_modules(model)]
            _expect_modules(model, handed_out)
            if not any(handed_out):
                return recording(in_half, model, *args, training=training_context.value)[0]
            inner, arguments = model, args
            if scale is not None:
                inner, arguments = _backward((model, args), 1 / scale.value)
            passage = Passage(model)
            result, state = passage.call(
                inner, lambda copy: f(copy, *arguments), around=self._in_half
            )
            passage.absorb(state)
            return result if scale is None else _backward(result, scale.value)

        return in_half

    def _in_half(self, call: Callable[..., Any], module: Module, args: Any, kwargs: Any) -> Any:
        """Make one call in half precision."""
        dtype, visit = DTYPES[self.dtype], visit_of(module)
        named = jax.named_scope(visit.path) if visit and visit.path else contextlib.nullcontext()
        passage = Passage(module)
        with named:
            args, kwargs = _cast((args, kwargs), dtype, narrow=True)
            half = converted(module, dtype)
        result, state = passage.call(half, lambda copy: call(copy, args, kwargs))
        passage.absorb(state)
        return _cast(result, jnp.float32, narrow=False)

    # --- the loss scale ---------------------------------------------------------------

    @property
    def scales(self) -> bool:
        """Whether gradients are scaled."""
        return self.dtype == "f16" or self.initial_scale is not None

    def prepared(self, opt_state: OptimiserState) -> OptimiserState:
        """Return the optimiser's state with a loss scale, if one is wanted and not there yet.

        `train` and `trainstep` do this by themselves.
        """
        if not self.scales or opt_state.loss_scale is not None:
            return opt_state
        value = FIRST_SCALE if self.initial_scale is None else self.initial_scale
        scale = LossScale(jnp.asarray(value, jnp.float32), jnp.zeros((), jnp.int32))
        return opt_state.replace(loss_scale=scale)

    def adapted(self, opt_state: OptimiserState, grads: Any) -> OptimiserState:
        """Return the optimiser's state with the loss scale adapted to a gradient.

        For a loop of your own, in front of `update`; `train` and `trainstep` do it.
        """
        if opt_state.loss_scale is None:
            return opt_state
        finite = all_sound(grads, (), ())
        return self.rescaled(opt_state, finite, jnp.where(finite, False, True))

    def rescaled(
        self, opt_state: OptimiserState, finite: Array, overflowed: Array
    ) -> OptimiserState:
        """Return the state with the loss scale after a step; traced."""
        scale = opt_state.loss_scale
        good_steps = scale.good_steps + 1
        due = good_steps >= self.growth_interval
        grown = jnp.minimum(scale.value * self.growth_factor, LARGEST_SCALE)
        after = jnp.where(due, grown, scale.value), jnp.where(due, 0, good_steps)
        reduced = jnp.maximum(scale.value * self.backoff_factor, LEAST_SCALE)
        value = jnp.where(overflowed, reduced, jnp.where(finite, after[0], scale.value))
        good = jnp.where(overflowed, 0, jnp.where(finite, after[1], scale.good_steps))
        return opt_state.replace(loss_scale=LossScale(value, good))


def as_precision(given: object, *, subject: str) -> Precision | None:
    """Take the name of a dtype as a precision with default options."""
    if given is None or isinstance(given, Precision):
        return given
    expect_kind((str, Precision), subject=subject, precision=given)
    expect_one_of(tuple(DTYPES), subject=subject, precision=given)
    return Precision(given)  # pyright: ignore[reportArgumentType]


@jax.custom_jvp
def _times(x: Array, factor: Array) -> Array:  # noqa: ARG001  the derivative has it
    """Return what came, with `factor` as derivative."""
    return x


@_times.defjvp
def _times_tangent(primals: Any, tangents: Any) -> Any:
    x, factor = primals
    return _times(x, factor), (tangents[0] * factor).astype(x.dtype)


def _backward(tree: T, factor: Array) -> T:
    """Multiply what comes back to the arrays of a tree in the backward pass."""
    return jax.tree.map(lambda leaf: _times(leaf, factor) if _is_floating(leaf) else leaf, tree)


def _cast(tree: T, dtype: Any, *, narrow: bool) -> T:
    """Convert the wide arrays of a tree, or else those in half precision; modules stay."""

    def cast(leaf: Any) -> Any:
        wide = _is_floating(leaf) and leaf.dtype.itemsize > HALF_BYTES
        return leaf.astype(dtype) if _is_floating(leaf) and wide == narrow else leaf

    return jax.tree.map(cast, tree, is_leaf=is_module)


def _is_floating(leaf: Any) -> bool:
    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.floating)


def _expect_modules(model: Any, found: list[Any]) -> None:
    """Refuse a tree of bare arrays: there is nothing whose calls could be converted."""
    if not found:
        refuse(
            StructureError,
            subject="Precision",
            expected="a model made of modules, whose calls are converted",
            got=shown(model),
            fix="write the model as a subclass of rs.Module, or convert arrays inside the "
            "loss function: rs.bf16(parameters)",
        )
