# SPDX-License-Identifier: Apache-2.0
"""Running a program operation by operation, to see where a value stops being finite.

Models and layers are not known here: what an operation belongs to is read from JAX's name
stack by a function that `guard` hands in.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxpr_as_fun

from rosin.errors import shown

# Calls of an inner program with the very arguments of the call.
CALLS = frozenset(
    {"checkpoint", "closed_call", "custom_jvp_call", "custom_vjp_call", "jit", "pjit", "remat2"}
)


class Operand(NamedTuple):
    """What an operation was handed.

    Args:
        array: As dtype[shape].
        least: The least finite number in it, or absolute value of complex ones; NaN if
            there is none.
        most: The largest, likewise.
        nans: How many are NaN.
        infinities: How many are infinite.

    Examples:
        >>> print(described(jnp.array([1.5, -2.0, jnp.inf])))
        float32[3] from -2 to 1.5, 1 infinite
    """

    array: str
    least: float
    most: float
    nans: int
    infinities: int

    def __str__(self) -> str:
        """Spell it in one line."""
        some = "" if np.isnan(self.least) else f" from {self.least:.4g} to {self.most:.4g}"
        spoilt = f", {self.nans} NaN" * (self.nans > 0)
        return f"{self.array}{some}{spoilt}" + f", {self.infinities} infinite" * (
            self.infinities > 0
        )


class Fault(NamedTuple):
    """Where a value that is not finite comes from.

    Args:
        path: The layer the operation belongs to; empty outside of all layers.
        operation: The name of JAX's primitive; empty for a value that was handed in.
        value: "NaN" or "infinity".
        result: The operation's result, as dtype[shape].
        source: The handed-in array it goes back to, if one does.
        firm: Whether this is the place to name. An infinity that a program writes down
            (a mask, the identity of a maximum) is no fault until NaN comes of it, and
            what was handed in is located at the first layer it reaches.
        operands: What the operation was handed.
    """

    path: str
    operation: str
    value: str
    result: str
    source: str = ""
    firm: bool = True
    operands: tuple[Operand, ...] = ()


class Traced(NamedTuple):
    """A value of a program, and where it comes from if it is not finite."""

    value: Any
    fault: Fault | None = None


def kind_of(value: Any) -> str:
    """Name what is not finite in an array: "NaN", "infinity" or nothing.

    Examples:
        >>> kind_of(jnp.array([1.0, jnp.inf])), kind_of(jnp.ones(2))
        ('infinity', '')
    """
    if not jnp.issubdtype(jnp.result_type(value), jnp.inexact) or bool(jnp.isfinite(value).all()):
        return ""
    return "NaN" if bool(jnp.isnan(value).any()) else "infinity"


def described(value: Any) -> Operand:
    """Take the range of an array, and count what is not finite in it."""
    dtype = jnp.result_type(value)
    if jnp.issubdtype(dtype, jax.dtypes.prng_key):
        return Operand(shown(value), np.nan, np.nan, 0, 0)
    numbers = np.abs(value) if jnp.issubdtype(dtype, jnp.complexfloating) else np.asarray(value)
    numbers = numbers.astype(np.float64)
    finite = numbers[np.isfinite(numbers)]
    bounds = (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)
    return Operand(
        shown(value), *bounds, int(np.isnan(numbers).sum()), int(np.isinf(numbers).sum())
    )


def written(value: Any) -> Traced:
    """Take in a value that the program itself, or a buffer of the model, sets down."""
    kind = kind_of(value)
    fault = Fault("", "constant", kind, shown(value), firm=False) if kind else None
    return Traced(value, fault)


class Replay:
    """Evaluates programs and keeps the origin of every value that is not finite.

    Args:
        layer_of: Tells the path of the layer that a name stack ends in.
    """

    def __init__(self, layer_of: Callable[[str], str]) -> None:
        self.layer_of = layer_of

    def call(
        self, program: ClosedJaxpr | Jaxpr, arguments: Sequence[Traced], around: str = ""
    ) -> list[Traced]:
        """Evaluate a program, going into the programs inside it."""
        closed = isinstance(program, ClosedJaxpr)
        inner = program.jaxpr if closed else program
        constants = map(written, program.consts if closed else ())
        values: dict[Any, Traced] = dict(zip(inner.constvars, constants, strict=True))
        values.update(zip(inner.invars, arguments, strict=True))

        def read(atom: Any) -> Traced:
            return written(atom.val) if isinstance(atom, Literal) else values[atom]

        for equation, finished in zip(inner.eqns, _last_uses(inner), strict=True):
            inputs = [read(atom) for atom in equation.invars]
            own = str(equation.source_info.name_stack)
            stack = "/".join(filter(None, (around, own)))
            results = self._run(inner, equation, inputs, stack)
            values.update(zip(equation.outvars, results, strict=True))
            for atom in finished:
                values.pop(atom, None)
        return [read(atom) for atom in inner.outvars]

    def _run(
        self, program: Jaxpr, equation: JaxprEqn, inputs: list[Traced], stack: str
    ) -> Sequence[Traced]:
        name, params = equation.primitive.name, equation.params
        if name in CALLS:
            return self.call(params.get("jaxpr") or params["call_jaxpr"], inputs, stack)
        if name == "cond":
            branches = params["branches"]
            index = min(max(int(inputs[0].value), 0), len(branches) - 1)
            return self.call(branches[index], inputs[1:], stack)
        if name == "scan" and params["length"]:
            return self._scan(params, inputs, stack)
        if name == "while":
            return self._while(params, inputs, stack)
        path = self.layer_of(stack)
        values = [one.value for one in inputs]
        faults = [one.fault for one in inputs if one.fault]
        return [
            Traced(result, _origin(faults, path, name, result, values))
            for result in _evaluated(program, equation, values)
        ]

    def _scan(self, params: Any, inputs: list[Traced], stack: str) -> list[Traced]:
        fixed, end = params["num_consts"], params["num_consts"] + params["num_carry"]
        carry, rows = inputs[fixed:end], []
        order = range(params["length"])
        for index in reversed(order) if params["reverse"] else order:
            items = [_item(column, index) for column in inputs[end:]]
            out = self.call(params["jaxpr"], [*inputs[:fixed], *carry, *items], stack)
            carry = out[: params["num_carry"]]
            rows.append(out[params["num_carry"] :])
        columns = zip(*rows, strict=True)
        return [*carry, *(_stacked(column, flip=params["reverse"]) for column in columns)]

    def _while(self, params: Any, inputs: list[Traced], stack: str) -> list[Traced]:
        first = params["cond_nconsts"]
        fixed, carry = inputs[first:][: params["body_nconsts"]], inputs[first:]
        carry = carry[params["body_nconsts"] :]
        while bool(self.call(params["cond_jaxpr"], [*inputs[:first], *carry], stack)[0].value):
            carry = self.call(params["body_jaxpr"], [*fixed, *carry], stack)
        return carry


def _origin(
    faults: list[Fault], path: str, operation: str, result: Any, operands: list[Any]
) -> Fault | None:
    """Say where a result's fault comes from: an operand's origin, or this operation."""
    kind = kind_of(result)
    if not kind:
        return None
    faults = sorted(faults, key=lambda fault: fault.value != kind)  # the likelier one first
    firm = next((fault for fault in faults if fault.firm), None)
    if firm is not None:
        return firm
    ranges = tuple(map(described, operands))
    here = Fault(path, operation, kind, shown(result), operands=ranges)
    given = next((fault for fault in faults if fault.source), None)
    if given is not None:
        reached = here._replace(source=given.source, firm=bool(path))
        return reached if path or not given.operation else given
    return faults[0] if faults and kind == "infinity" else here


def _last_uses(program: Jaxpr) -> list[list[Any]]:
    """List for each equation the values that nothing reads after it."""
    kept = {atom for atom in program.outvars if not isinstance(atom, Literal)}
    finished: list[list[Any]] = []
    for equation in reversed(program.eqns):
        atoms = [*equation.invars, *equation.outvars]
        new = {a for a in atoms if not isinstance(a, Literal)} - kept
        finished.append(list(new))
        kept |= new
    return finished[::-1]


def _evaluated(program: Jaxpr, equation: JaxprEqn, inputs: list[Any]) -> list[Any]:
    """Evaluate one operation."""
    pairs = zip(equation.invars, inputs, strict=True)
    values = {atom: value for atom, value in pairs if not isinstance(atom, Literal)}
    single = program.replace(
        constvars=[], invars=list(values), outvars=list(equation.outvars), eqns=[equation]
    )
    return jaxpr_as_fun(ClosedJaxpr(single, ()))(*values.values())


def _item(column: Traced, index: int) -> Traced:
    value = column.value[index]
    return Traced(value, column.fault if column.fault and kind_of(value) else None)


def _stacked(column: Iterable[Traced], *, flip: bool) -> Traced:
    rows = list(column)
    fault = next((row.fault for row in rows if row.fault), None)
    values = [row.value for row in rows]
    return Traced(jnp.stack(values[::-1] if flip else values), fault)
