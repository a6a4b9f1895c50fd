# SPDX-License-Identifier: Apache-2.0
"""Finding the first non-finite value of a step: which layer, which operation, which pass."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from rosin.core.gradient import withgradient
from rosin.core.paths import as_where, path_string
from rosin.core.recording import recording
from rosin.core.tree import modules
from rosin.core.types import PyTree
from rosin.errors import NonFiniteError, shown, shortened

TRANSFORMS = frozenset({"", "jvp", "transpose", "vmap", "checkpoint", "rematted_computation"})


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
    """

    path: str
    operation: str
    backward: bool
    value: str
    result: str
    source: str = ""

    def error(self, model: Any) -> NonFiniteError:
        """Word the finding as an error."""
        layer = modules(model).get(self.path)
        came = f"; {self.source} was not finite before the step" if self.source else ""
        found = NonFiniteError(
            subject="the loss function" if layer is None else layer,
            expected=f"finite numbers in the {'backward' if self.backward else 'forward'} pass",
            got=f"{self.value} from the operation {self.operation} ({self.result}){came}",
            fix=self._fix(),
            where=as_where(self.path if layer is not None else ""),
        )
        found.anchor = None
        return found

    def _fix(self) -> str:
        if self.source.startswith("the batch"):
            return "clean the data: numpy.isfinite finds the rows"
        if self.source:
            return "start from finite parameters; rs.summary(model) flags those that are not"
        return (
            "lower the learning rate, bound what goes into this layer, or use the stable form "
            "of the operation"
        )


def find_nonfinite(loss: Callable[..., Any], model: Any, batch: PyTree) -> NonFinite | None:
    """Run one step operation by operation and return where it stops being finite.

    Slow: nothing is compiled as a whole. `train(on_nonfinite="raise")` calls it for the
    batch that failed.

    Args:
        loss: As for `trainstep`.
        model: A module, or any tree.
        batch: As for `trainstep`.

    Returns:
        The finding, or None if loss and gradient are finite.

    Examples:
        >>> import rosin as rs
        >>> model = rs.Chain(rs.Dense(2, 3, jnp.log), rs.Dense(3, 1))
        >>> found = find_nonfinite(lambda m, x: m(x).sum(), model, -jnp.ones((1, 2)))
        >>> found.path, found.operation, found.backward
        ('layers[0]', 'log', False)
    """
    leaves, structure = jax.tree.flatten((model, jax.tree.map(jnp.asarray, batch)))

    def value_and_gradient(leaves: list[Any]) -> Any:
        model, batch = structure.unflatten(leaves)
        arguments = batch if isinstance(batch, tuple) else (batch,)
        value, grads, _ = withgradient(loss, model, *arguments)
        return value[0] if isinstance(value, tuple) else value, grads

    def forward(leaves: list[Any]) -> Any:
        model, batch = structure.unflatten(leaves)
        arguments = batch if isinstance(batch, tuple) else (batch,)
        value, _ = recording(loss, model, *arguments)
        return value[0] if isinstance(value, tuple) else value

    source = _bad_from_the_start(model, batch)
    return _search(forward, leaves, source, backward=False) or _search(
        value_and_gradient, leaves, source, backward=True
    )


def _search(
    function: Callable[..., Any], leaves: list[Any], source: str, *, backward: bool
) -> NonFinite | None:
    program = jax.make_jaxpr(function)(leaves)
    search = _Search(source, backward=backward)
    try:
        search.run(program.jaxpr, program.consts, leaves, "")
    except _FoundError as found:
        return found.finding
    return search.first


def _bad_from_the_start(model: Any, batch: PyTree) -> str:
    """Name the first leaf of model or batch that is not finite."""
    for name, tree in (("the model's", model), ("the batch's", batch)):
        for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
            if _fault(leaf):
                return f"{name} {path_string(keys) or 'array'}"
    return ""


def _fault(value: Any) -> str:
    if not hasattr(value, "dtype") or not jnp.issubdtype(value.dtype, jnp.inexact):
        return ""
    numbers = np.asarray(value, np.complex128 if jnp.iscomplexobj(value) else np.float64)
    if np.isnan(numbers).any():
        return "NaN"
    return "infinity" if np.isinf(numbers).any() else ""


class _FoundError(Exception):
    """Carries a finding out of nested programs."""

    def __init__(self, finding: NonFinite) -> None:
        super().__init__()
        self.finding = finding


class _Search:
    """Evaluates a program, and stops at the first layer's result that is not finite.

    Infinities that a program writes down itself (masks, identities of a maximum) are no
    fault: only NaN is, and infinity made from finite numbers.
    """

    def __init__(self, source: str, *, backward: bool) -> None:
        self.source = source
        self.backward = backward
        self.first: NonFinite | None = None

    def run(self, program: Jaxpr, constants: Any, arguments: Any, around: str) -> list[Any]:
        """Evaluate a program, going into the programs inside it."""
        values: dict[Any, Any] = dict(zip(program.constvars, constants, strict=True))
        values.update(zip(program.invars, arguments, strict=True))

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, Literal) else values[atom]

        for equation in program.eqns:
            inputs = [read(atom) for atom in equation.invars]
            stack = "/".join(filter(None, (around, str(equation.source_info.name_stack))))
            inner = _inner_program(equation, len(inputs))
            if inner is not None:
                results = self.run(*inner, inputs, stack)
            else:
                results = _evaluated(program, equation, inputs)
                self.check(equation.primitive.name, inputs, results, stack)
            values.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in program.outvars]

    def check(self, operation: str, inputs: list[Any], results: list[Any], stack: str) -> None:
        """Stop at a fault that arose here, or that reached its first layer."""
        arose = inputs and not any(map(_fault, inputs))
        for result in results:
            fault = _fault(result)
            if not fault or (fault == "infinity" and not arose):
                continue
            finding = NonFinite(
                path=_layer(stack),
                operation=operation,
                backward=self.backward,
                value=fault,
                result=shown(result),
                source=self.source,
            )
            self.first = self.first or finding
            if arose or finding.path:
                raise _FoundError(finding if finding.path or not self.first else self.first)


def _inner_program(equation: Any, count: int) -> tuple[Jaxpr, Any] | None:
    """Return the program inside a call such as `jit`, if it takes the call's arguments."""
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = equation.params.get(name)
        program = inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
        looped = "length" in equation.params or "cond_jaxpr" in equation.params
        if isinstance(program, Jaxpr) and len(program.invars) == count and not looped:
            return program, inner.consts if isinstance(inner, ClosedJaxpr) else ()
    return None


def _evaluated(program: Jaxpr, equation: Any, inputs: list[Any]) -> list[Any]:
    """Evaluate one operation."""
    variables = [atom for atom in equation.invars if not isinstance(atom, Literal)]
    values = {
        atom: value
        for atom, value in zip(equation.invars, inputs, strict=True)
        if not isinstance(atom, Literal)
    }
    unique = list(dict.fromkeys(variables))
    single = program.replace(
        constvars=(), invars=unique, outvars=list(equation.outvars), eqns=[equation], debug_info=None
    )
    return jax.core.eval_jaxpr(single, (), *(values[v] for v in unique))


def _layer(stack: str) -> str:
    """Read the innermost path out of a name stack such as `jvp(layers[0]/layers[0].inner)`."""
    scopes = [scope.strip("()") for scope in stack.replace("(", "/").split("/")]
    paths = [scope for scope in scopes if scope not in TRANSFORMS]
    return shortened(paths[-1]) if paths else ""
