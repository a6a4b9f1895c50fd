# SPDX-License-Identifier: Apache-2.0
"""The checks of arguments, and the only place that words a usage error.

Every function is called `expect_...`, returns nothing when all is well, and takes a
`subject`: the module (or the name of the function) that complains. Containers find
where in the model a subject stands and add the path to the message on its way out.
"""

import difflib
import math
import numbers
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any, NoReturn

import jax.numpy as jnp

from rosin.errors import (
    DtypeError,
    RangeError,
    ShapeError,
    StateError,
    StructureError,
    UsageError,
    shown,
)


def refuse(
    kind: type[UsageError],
    *,
    subject: object,
    expected: str,
    got: str,
    fix: str,
    details: tuple[str, ...] = (),
) -> NoReturn:
    """Raise a usage error whose words fit one place only."""
    raise kind(subject=subject, expected=expected, got=got, fix=fix, details=details)


# --- numbers and options, checked at construction ---------------------------------


def is_whole(value: object) -> bool:
    """Tell whether a value is a whole number; booleans are not numbers here."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def expect_at_least(bound: int, *, subject: object, **named: object) -> None:
    """Refuse anything but a whole number of at least `bound`."""
    for name, value in named.items():
        if not is_whole(value) or value < bound:  # pyright: ignore[reportOperatorIssue]
            refuse(
                RangeError,
                subject=subject,
                expected=f"{name} to be a whole number of at least {bound}",
                got=shown(value),
                fix=f"pass {name}={_whole(value, bound) or f'{max(bound, 1)} or more'}",
            )


def _whole(value: object, bound: int) -> int | None:
    """Return the whole number that a float such as 3.0 stands for, if it is large enough."""
    stands = isinstance(value, float) and value.is_integer() and value >= bound
    return int(value) if stands else None  # pyright: ignore[reportArgumentType]


def expect_sizes(
    sizes: Any, *, subject: object, name: str, bound: int = 1, axes: str = "axes"
) -> None:
    """Refuse anything but a non-empty tuple of whole numbers of at least `bound`."""
    fits = isinstance(sizes, tuple) and len(sizes) > 0
    if not fits or not all(is_whole(n) and n >= bound for n in sizes):
        one: Any = sizes if is_whole(sizes) and max(bound, sizes) == sizes else max(bound, 1)
        listed = isinstance(sizes, list) and all(is_whole(n) and n >= bound for n in sizes)
        refuse(
            RangeError,
            subject=subject,
            expected=f"{name} to be a tuple of whole numbers of at least {bound}",
            got=shown(sizes),
            fix=f"pass {name}={tuple(sizes)}, in round brackets"
            if listed and sizes
            else f"pass {name}=({one}, {one}) for two {axes}",
        )


def expect_divides(divisor: object, *, subject: object, name: str, **named: int) -> None:
    """Refuse a number of parts that does not divide a whole number into equal ones."""
    expect_at_least(1, subject=subject, **{name: divisor})
    for whole, count in named.items():
        if count % divisor:  # pyright: ignore[reportOperatorIssue]
            near = [n for n in range(1, count + 1) if count % n == 0]
            refuse(
                RangeError,
                subject=subject,
                expected=f"{name} to divide {whole}={count}",
                got=f"{name}={shown(divisor)}",
                fix=f"pass {name}={min(near, key=lambda n: abs(n - divisor))}, or {whole} as a "  # pyright: ignore[reportOperatorIssue]
                f"multiple of {divisor}",
            )


def expect_between(
    low: float,
    high: float,
    *,
    subject: object,
    include_low: bool = True,
    include_high: bool = True,
    **named: object,
) -> None:
    """Refuse anything but a real number in the interval; NaN is in no interval."""
    for name, value in named.items():
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        number: Any = value if real else math.nan
        above = number >= low if include_low else number > low
        below = number <= high if include_high else number < high
        if not (above and below):
            interval = _interval(low, high, include_low=include_low, include_high=include_high)
            refuse(
                RangeError,
                subject=subject,
                expected=f"{name} to be a number {interval}",
                got=shown(value),
                fix=f"pass {name} {interval}",
            )


def _interval(low: float, high: float, *, include_low: bool, include_high: bool) -> str:
    above = f"of at least {low:g}" if include_low else f"above {low:g}"
    below = f"at most {high:g}" if include_high else f"below {high:g}"
    if low == -math.inf:
        return f"of {below}" if include_high else below
    return above if high == math.inf else f"{above} and {below}"


def expect_one_of(options: Collection[object], *, subject: object, **named: object) -> None:
    """Refuse a value that is not among the options, and name them."""
    for name, value in named.items():
        if not any(value is option or _same(value, option) for option in options):
            listed = ", ".join(map(repr, options))
            refuse(
                RangeError,
                subject=subject,
                expected=f"{name} to be one of {listed}",
                got=shown(value),
                fix=f"pass {name}={next(iter(options))!r}{suggestion(value, options)}",
            )


def _same(value: object, option: object) -> bool:
    """Compare plain values; True is no 1, and arrays are not asked."""
    return isinstance(value, (str, int, float)) and type(value) is type(option) and value == option


def expect_callable(*, subject: object, **named: object) -> None:
    """Refuse a value that cannot be called."""
    for name, value in named.items():
        if not callable(value):
            refuse(
                StructureError,
                subject=subject,
                expected=f"{name} to be callable",
                got=shown(value),
                fix=f"pass a function or a layer as {name}"
                + (", the object itself and not its name" if isinstance(value, str) else ""),
            )


def expect_kind(kind: type | tuple[type, ...], *, subject: object, **named: object) -> None:
    """Refuse a value of another class."""
    kinds = kind if isinstance(kind, tuple) else (kind,)
    words = " or ".join(k.__name__.rpartition(".")[2] for k in kinds)  # JAX dots its Array's
    for name, value in named.items():
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            refuse(
                StructureError,
                subject=subject,
                expected=f"{name} to be of class {words}",
                got=shown(value),
                fix=f"pass {name} as {words}",
            )


def expect_known(
    names: Collection[str], known: Sequence[str], *, subject: object, what: str
) -> None:
    """Refuse names that are not known, list those that are, suggest the nearest."""
    unknown = [name for name in names if name not in known]
    if unknown:
        refuse(
            StructureError,
            subject=subject,
            expected=f"{what} among {', '.join(known) or '(none)'}",
            got=", ".join(unknown),
            fix=f"use one of the names listed{suggestion(unknown[0], known)}",
        )


def suggestion(value: object, options: Collection[object]) -> str:
    """Name the option that looks most like the value, as the end of a sentence."""
    near = difflib.get_close_matches(str(value), [str(o) for o in options], n=1)
    return f"; {near[0]!r} is the nearest" if near else ""


def expect_hashable(value: object, *, subject: object, name: str) -> None:
    """Refuse a static field that JAX could not compare between two programs."""
    if isinstance(value, Hashable):
        try:
            hash(value)
        except TypeError:
            pass
        else:
            return
    refuse(
        StructureError,
        subject=subject,
        expected=f"the static field {name} to be hashable",
        got=shown(value),
        fix="pass a tuple in place of a list, or declare arrays as Buffer[Array]",
    )


# --- arrays, checked when a call is traced ------------------------------------------


def expect_last_axis(x: Any, size: int, *, subject: object, argument: str = "in_size") -> None:
    """Refuse an array whose last axis is not `size` long."""
    shape = jnp.shape(x)
    if not shape or shape[-1] != size:
        rebuild = f", or build the layer with {argument}={shape[-1]}" if shape else ""
        refuse(
            ShapeError,
            subject=subject,
            expected=f"shape (..., {size})",
            got=shown(x),
            fix=f"feed it {size} features on the last axis{rebuild}",
        )


def expect_last_axes(
    x: Any, sizes: tuple[int, ...], *, subject: object, argument: str = "sizes"
) -> None:
    """Refuse an array whose last axes are not of these lengths."""
    shape = jnp.shape(x)
    if len(shape) < len(sizes) or shape[len(shape) - len(sizes) :] != sizes:
        refuse(
            ShapeError,
            subject=subject,
            expected=f"shape (..., {', '.join(map(str, sizes))})",
            got=shown(x),
            fix="feed it these sizes on the last axes, or build the layer with "
            f"{argument}={shape[-len(sizes) :]}",
        )


def expect_index(length: int, *, subject: object, **named: object) -> None:
    """Refuse anything but a place in something of this length, counted from 0."""
    for name, value in named.items():
        if not is_whole(value) or not 0 <= value < length:  # pyright: ignore[reportOperatorIssue]
            refuse(
                RangeError,
                subject=subject,
                expected=f"{name} to be a whole number from 0 to {length - 1}",
                got=shown(value),
                fix=f"count from 0: pass {name}=0 for the first",
            )


def expect_rank(x: Any, axes: tuple[str, ...], *, subject: object) -> None:
    """Refuse an array that does not have one axis for each name in `axes`."""
    rank = len(jnp.shape(x))
    if rank != len(axes):
        missing = "add a batch axis with x[None]" if rank == len(axes) - 1 else "reshape it"
        refuse(
            ShapeError,
            subject=subject,
            expected=f"shape ({', '.join(axes)})",
            got=shown(x),
            fix=f"give the array {len(axes)} axes; {missing}",
        )


def expect_same_shape(a: Any, b: Any, *, subject: object, names: tuple[str, str]) -> None:
    """Refuse two arrays of unequal shape: nothing is broadcast in silence."""
    if jnp.shape(a) != jnp.shape(b):
        refuse(
            ShapeError,
            subject=subject,
            expected=f"{names[0]} and {names[1]} of equal shape",
            got=f"{names[0]} {shown(a)} and {names[1]} {shown(b)}",
            fix=f"reshape one of them, for example {names[1]}.reshape({names[0]}.shape)",
        )


def expect_floating(x: Any, *, subject: object, name: str = "x") -> None:
    """Refuse an array that is neither of floating point nor complex, and what is no array."""
    if not has_dtype(x) or not jnp.issubdtype(jnp.result_type(x), jnp.inexact):
        refuse(
            DtypeError,
            subject=subject,
            expected=f"{name} of a floating-point dtype",
            got=shown(x),
            fix=f"convert it with {_conversion(x, name, 'jnp.float32')}",
        )


def expect_integer(x: Any, *, subject: object, name: str = "x") -> None:
    """Refuse an array that does not hold whole numbers, and what is no array."""
    if not has_dtype(x) or not jnp.issubdtype(jnp.result_type(x), jnp.integer):
        refuse(
            DtypeError,
            subject=subject,
            expected=f"{name} of an integer dtype",
            got=shown(x),
            fix=f"pass whole numbers, for example {_conversion(x, name, 'jnp.int32')}",
        )


def has_dtype(x: object) -> bool:
    """Tell whether something is an array or a number; a list is neither."""
    return hasattr(x, "dtype") or isinstance(x, numbers.Number)


def _conversion(x: object, name: str, dtype: str) -> str:
    return f"{name}.astype({dtype})" if has_dtype(x) else f"jnp.asarray({name}, {dtype})"


def expect_not_empty(x: Any, *, subject: object, name: str) -> None:
    """Refuse an array without any element."""
    if 0 in jnp.shape(x):
        refuse(
            ShapeError,
            subject=subject,
            expected=f"{name} with at least one element",
            got=shown(x),
            fix="leave empty batches out; a mean over nothing is NaN",
        )


def expect_scalar_loss(loss: Any, *, subject: str) -> None:
    """Refuse a loss that is not one real floating-point number."""
    if not hasattr(loss, "dtype") and not isinstance(loss, (int, float, complex)):
        refuse(
            StructureError,
            subject=subject,
            expected="the loss function to return a number, or a tuple (number, aux)",
            got=shown(loss),
            fix="return the loss first, and anything else as the second entry of a tuple",
        )
    if jnp.shape(loss) != ():
        refuse(
            ShapeError,
            subject=subject,
            expected="a loss of shape ()",
            got=shown(loss),
            fix="reduce it to one number, for example with jnp.mean",
        )
    if not jnp.issubdtype(jnp.result_type(loss), jnp.floating):
        refuse(
            DtypeError,
            subject=subject,
            expected="a loss of a real floating-point dtype",
            got=shown(loss),
            fix="compute it in float32, for example from jnp.mean; of a complex loss take .real",
        )


def expect_state(ok: object, *, subject: object, expected: str, got: str, fix: str) -> None:
    """Refuse a call that comes at the wrong moment."""
    if not ok:
        refuse(StateError, subject=subject, expected=expected, got=got, fix=fix)


def name_of(function: Callable[..., object]) -> str:
    """Name a function for a message."""
    return f"the function {getattr(function, '__name__', type(function).__name__)}"
