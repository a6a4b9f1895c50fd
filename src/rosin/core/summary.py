# SPDX-License-Identifier: Apache-2.0
"""What a model is made of, without running it: `summary` and `outputsize`."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, jaxprs_in_params

from rosin.core.display import LINE_CHARACTERS
from rosin.core.locate import is_module, walk_modules
from rosin.core.module import Module
from rosin.core.paths import as_where, path_string
from rosin.core.recording import Recorder, hand_out
from rosin.core.tree import is_trainable, slots
from rosin.core.types import PyTree, Shape
from rosin.core.validation import refuse
from rosin.errors import StructureError, shown, shortened


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One layer of a summary.

    Args:
        path: Where it stands.
        layer: The call that builds it.
        output: Its output, as dtype[shape]; empty when no input was given.
        parameters: Trainable numbers of its own and inside.
        state: Other numbers of its own and inside.
        size_bytes: Memory of all its arrays.
        multiply_adds: Of matrix products and convolutions, for the given input.
        flags: What is odd about its arrays: "all zero", "some NaN", "some Inf".
    """

    path: str
    layer: str
    output: str
    parameters: int
    state: int
    size_bytes: int
    multiply_adds: int
    flags: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """A table of a model's layers; prints as text, the last row is the whole model."""

    rows: tuple[Row, ...]

    @property
    def total(self) -> Row:
        """The row of the whole model."""
        return self.rows[-1]

    def __str__(self) -> str:
        """Lay the table out."""
        return _table(self.rows)

    __repr__ = __str__


def summary(model: Any, *inputs: Any, dtype: Any = jnp.float32) -> Summary:
    """Tabulate a model: path, layer, output shape, parameters, bytes, multiply-adds, flags.

    Nothing is computed; output shapes come from `jax.eval_shape`.

    Args:
        model: A module, or any tree of modules.
        inputs: For each argument of the model a shape or an array. Without them the table
            has no outputs and no multiply-adds.
        dtype: Of the inputs that are given as shapes.

    Raises:
        ShapeError: The model does not accept inputs of these shapes.

    Examples:
        >>> import rosin as rs
        >>> print(rs.summary(rs.Chain(rs.Dense(2, 3), rs.relu), (1, 2)))
        path       layer        output        parameters  bytes  multiply-adds
        layers[0]  Dense(2, 3)  float32[1,3]           9     36              6
        layers[1]  relu         float32[1,3]           0      0              0
        ---------  -----------  ------------  ----------  -----  -------------
        total      Chain        float32[1,3]           9     36              6
        all zero: layers[0].bias
    """
    seen: dict[str, Any] = {}
    costs: dict[str, int] = {}
    if inputs:
        recorder = _Watching(seen)
        copy = hand_out(model, recorder)
        arguments = [_as_struct(x, dtype) for x in inputs]
        traced = jax.make_jaxpr(copy)(*arguments)
        _add_costs(traced.jaxpr, costs, 1)
    rows = [
        _row(path_string(keys), module, seen, costs)
        for keys, module in walk_modules(model)
        if keys and not (_is_inner(module) and inputs)
    ]
    rows.append(_row("", model, seen, costs))
    return Summary(tuple(rows))


def outputsize(model: Any, *inputs: Any, dtype: Any = jnp.float32) -> Any:
    """Return the shape of what a model returns, without computing it.

    Args:
        model: Anything callable.
        inputs: For each argument a shape or an array.
        dtype: Of the inputs that are given as shapes.

    Returns:
        A shape, or a tree of shapes if the model returns a tree.

    Raises:
        ShapeError: The model does not accept inputs of these shapes.

    Examples:
        >>> import rosin as rs
        >>> rs.outputsize(rs.Chain(rs.Dense(2, 3), rs.Dense(3, 7)), (5, 2))
        (5, 7)
    """
    arguments = [_as_struct(x, dtype) for x in inputs]
    return jax.tree.map(lambda out: out.shape, jax.eval_shape(lambda *a: model(*a), *arguments))


class _Watching(Recorder):
    """Notes what each layer returns."""

    def __init__(self, seen: dict[str, Any]) -> None:
        super().__init__()
        self.seen = seen

    def observe(self, path: str, module: Module, result: Any) -> None:
        del module
        self.seen.setdefault(path, jax.tree.map(shown, result))


def _is_inner(module: Module) -> bool:
    return False


def _as_struct(x: Any, dtype: Any) -> Any:
    if isinstance(x, tuple) and all(isinstance(n, (int, np.integer)) for n in x):  # pyright: ignore[reportUnknownVariableType]
        return jax.ShapeDtypeStruct(x, dtype)
    if is_module(x) or not jax.tree.leaves(x):
        refuse(
            StructureError,
            subject="summary",
            expected="each input as a shape such as (1, 28, 28, 1), or as an array",
            got=shown(x),
            fix="pass a tuple of whole numbers",
        )
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), x)


def _row(path: str, module: Any, seen: dict[str, Any], costs: dict[str, int]) -> Row:
    leaves, structure = jax.tree.flatten(module)
    places = slots(structure)
    counts = {True: 0, False: 0}
    for slot, leaf in zip(places, leaves, strict=True):
        counts[is_trainable(slot, leaf)] += math.prod(leaf.shape)
    inside = [n for p, n in costs.items() if p == path or not path or _within(p, path)]
    return Row(
        path=path,
        layer=shortened(repr(module), 48) if path else type(module).__name__,
        output=_output_text(seen.get(path, "")),
        parameters=counts[True],
        state=counts[False],
        size_bytes=sum(math.prod(x.shape) * x.dtype.itemsize for x in leaves),
        multiply_adds=sum(inside),
        flags=() if path else tuple(_flags(places, leaves)),
    )


def _within(inner: str, outer: str) -> bool:
    return inner.startswith((outer + ".", outer + "["))


def _output_text(shown_tree: Any) -> str:
    return ", ".join(map(str, jax.tree.leaves(shown_tree)))


def _flags(places: Any, leaves: list[Any]) -> Iterator[str]:
    for slot, leaf in zip(places, leaves, strict=True):
        if not jnp.issubdtype(leaf.dtype, jnp.inexact) or isinstance(leaf, jax.core.Tracer):
            continue
        if isinstance(leaf, jax.ShapeDtypeStruct) or not leaf.size:
            continue
        values = np.asarray(leaf, np.float32)
        if np.isnan(values).any():
            yield f"some NaN: {slot.path}"
        elif np.isinf(values).any():
            yield f"some Inf: {slot.path}"
        elif not values.any():
            yield f"all zero: {slot.path}"


# --- multiply-adds ----------------------------------------------------------------------


def _add_costs(jaxpr: Jaxpr, costs: dict[str, int], times: int) -> None:
    """Add up the multiply-adds of a program by the path in its name stack."""
    for equation in jaxpr.eqns:
        stack = str(equation.source_info.name_stack)
        inner = times * equation.params.get("length", 1) if "length" in equation.params else times
        for nested in jaxprs_in_params(equation.params):
            _add_costs(nested, costs, inner)
        cost = _multiply_adds(equation)
        if cost:
            path = stack.rsplit("/", 1)[-1]
            costs[path] = costs.get(path, 0) + cost * times


def _multiply_adds(equation: Any) -> int:
    name = equation.primitive.name
    output: Shape = equation.outvars[0].aval.shape if equation.outvars else ()
    if name == "dot_general":
        ((contracted, _), _) = equation.params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return math.prod(output) * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        numbers = equation.params["dimension_numbers"]
        kernel = equation.invars[1].aval.shape
        return math.prod(output) * math.prod(kernel) // kernel[numbers.rhs_spec[0]]
    return 0


# --- text -------------------------------------------------------------------------------


def _table(rows: tuple[Row, ...]) -> str:
    whole = rows[-1]
    state = any(row.state for row in rows)
    header = ["path", "layer", "output", "parameters", "state", "bytes", "multiply-adds"]
    cells = [
        [
            row.path or "total",
            row.layer,
            row.output,
            f"{row.parameters:_}",
            f"{row.state:_}",
            f"{row.size_bytes:_}",
            f"{row.multiply_adds:_}",
        ]
        for row in rows
    ]
    kept = [
        i
        for i, name in enumerate(header)
        if (name != "state" or state)
        and (name not in ("output", "multiply-adds") or any(row.output for row in rows))
    ]
    widths = [max(len(line[i]) for line in [header, *cells]) for i in range(len(header))]
    right = {"parameters", "state", "bytes", "multiply-adds"}

    def line(texts: list[str]) -> str:
        return "  ".join(
            texts[i].rjust(widths[i]) if header[i] in right else texts[i].ljust(widths[i])
            for i in kept
        ).rstrip()

    rule = line(["-" * width for width in widths])
    return "\n".join([line(header), *map(line, cells[:-1]), rule, line(cells[-1]), *whole.flags])


__all__ = ["LINE_CHARACTERS", "PyTree", "Row", "Summary", "as_where", "outputsize", "summary"]
