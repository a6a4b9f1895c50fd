# SPDX-License-Identifier: Apache-2.0
"""What a model is made of, without running it: `summary` and `outputsize`."""

import dataclasses
import math
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import Jaxpr, jaxprs_in_params

from rosin.core.declare import marks_of
from rosin.core.locate import is_module, walk_modules
from rosin.core.module import Module
from rosin.core.paths import path_string
from rosin.core.recording import handing_out
from rosin.core.slots import Slot, is_float, is_trainable, slots
from rosin.core.transforms import ScanLayers, one_of
from rosin.core.validation import expect_callable, is_whole, refuse
from rosin.errors import DtypeError, StructureError, shortened, shown


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
        flags: In the row of the whole model: which arrays are "all zero", hold "some NaN"
            or "some Inf", which are "frozen", and which modules are "pinned to training" or
            "pinned to inference".
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
    named = {path_string(keys): module for keys, module in walk_modules(model) if keys}
    seen: dict[str, str] = {}
    costs: dict[str, int] = {}
    if inputs:
        called, arguments = abstract_call(model, inputs, dtype, seen, subject="summary")
        program = jax.make_jaxpr(called)(*arguments)
        seen[""] = _output_text(jax.tree.leaves(program.out_avals))
        costs = _costs(program.jaxpr, list(named))
    whole = _row("", type(model).__name__, model, seen, costs)
    texts = _texts(named)
    return Summary((*(_row(p, texts[p], m, seen, costs) for p, m in named.items()), whole))


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
    called, arguments = abstract_call(model, inputs, dtype, {}, subject="outputsize")
    return jax.tree.map(lambda out: out.shape, jax.eval_shape(called, *arguments))


def abstract_call(
    model: Any, inputs: tuple[Any, ...], dtype: Any, seen: dict[str, str], *, subject: str
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Make a function, and arguments without contents, that note what each layer returns."""
    expect_callable(subject=subject, model=model)
    leaves, structure = jax.tree.flatten(model)
    arrays = [leaf if _is_array(leaf) else None for leaf in leaves]
    structs = tuple(_as_struct(x, dtype, subject=subject) for x in inputs)

    def watch(path: str, _: Module, result: Any) -> None:
        seen.setdefault(path, _output_text(jax.tree.leaves(result)))

    def called(arrays: list[Any], *arguments: Any) -> Any:
        pairs = zip(arrays, leaves, strict=True)
        model = structure.unflatten([leaf if array is None else array for array, leaf in pairs])
        with handing_out(model, training=False, watch=watch) as copy:
            try:
                return copy(*arguments)
            except DtypeError as error:
                if any(_is_shape(x) for x in inputs) and error.got in map(shown, structs):
                    error.fix = f"tell {subject} the dtype of the input, such as dtype=jnp.int32"
                raise

    return called, (arrays, *structs)


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and hasattr(leaf, "shape")


def _as_struct(x: Any, dtype: Any, *, subject: str) -> Any:
    def described(leaf: Any) -> jax.ShapeDtypeStruct:
        if _is_shape(leaf):
            return jax.ShapeDtypeStruct(leaf, dtype)
        if is_module(leaf) or not _is_array(leaf):
            refuse(
                StructureError,
                subject=subject,
                expected="each input as a shape such as (1, 28, 28, 1), or as an array",
                got=shown(leaf),
                fix="pass a tuple of whole numbers",
            )
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)

    return jax.tree.map(described, x, is_leaf=lambda node: _is_shape(node) or is_module(node))


def _is_shape(node: Any) -> bool:
    return type(node) is tuple and all(is_whole(n) and n >= 0 for n in node)


def _output_text(leaves: list[Any]) -> str:
    return ", ".join(map(shown, leaves))


def _texts(named: dict[str, Any]) -> dict[str, str]:
    """Write out each layer; one inside `scan_layers` stands for all of its blocks."""
    stacked = [path for path, module in named.items() if isinstance(module, ScanLayers)]

    def text(path: str, module: Any) -> str:
        for _ in (around for around in stacked if _within(path, around)):
            module = one_of(module)
        return shortened(repr(module), 48)

    return {path: text(path, module) for path, module in named.items()}


def _row(path: str, layer: str, module: Any, seen: dict[str, str], costs: dict[str, int]) -> Row:
    leaves, structure = jax.tree.flatten(module)
    pairs = zip(slots(structure), leaves, strict=True)
    arrays = [(slot, leaf) for slot, leaf in pairs if _is_array(leaf)]
    counts = {True: 0, False: 0}
    for slot, leaf in arrays:
        counts[is_trainable(slot, leaf)] += math.prod(leaf.shape)
    inside = [n for p, n in costs.items() if p == path or not path or _within(p, path)]
    return Row(
        path=path,
        layer=layer,
        output=seen.get(path, ""),
        parameters=counts[True],
        state=counts[False],
        size_bytes=sum(math.prod(x.shape) * x.dtype.itemsize for _, x in arrays),
        multiply_adds=sum(inside),
        flags=() if path else (*_flags(arrays), *_modes(module)),
    )


def _within(inner: str, outer: str) -> bool:
    return inner.startswith((outer + ".", outer + "["))


def _flags(arrays: list[tuple[Slot, Any]]) -> Iterator[str]:
    for slot, leaf in arrays:
        concrete = isinstance(leaf, (jax.Array, np.ndarray)) and not isinstance(leaf, Tracer)
        if not concrete or not leaf.size or not jnp.issubdtype(leaf.dtype, jnp.inexact):
            continue
        values = np.asarray(leaf)
        values = values if values.dtype.kind in "fc" else values.astype(np.float32)  # bfloat16
        if np.isnan(values).any():
            yield f"some NaN: {slot.path}"
        elif np.isinf(values).any():
            yield f"some Inf: {slot.path}"
        elif not values.any():
            yield f"all zero: {slot.path}"
    for slot, leaf in arrays:
        if slot.frozen and is_float(leaf):
            yield f"frozen: {slot.path}"


def _modes(model: Any) -> Iterator[str]:
    """Name the outermost modules whose mode is pinned."""
    pinned: dict[str, bool | None] = {}
    for keys, module in walk_modules(model):
        path, training = path_string(keys), marks_of(module).training
        around = max((p for p in pinned if not p or _within(path, p)), key=len, default=None)
        pinned[path] = training
        if training is not None and (around is None or pinned[around] != training):
            mode = "training" if training else "inference"
            yield f"pinned to {mode}: {path or 'the whole model'}"


# --- multiply-adds ----------------------------------------------------------------------


def _costs(program: Jaxpr, paths: list[str]) -> dict[str, int]:
    """Add up the multiply-adds of a program by the layer in its name stack."""
    longest_first = sorted(paths, key=len, reverse=True)
    known = re.compile(rf"(?:^|[/(])({'|'.join(map(re.escape, longest_first))})(?=[/)]|$)")
    costs: dict[str, int] = {}

    def add(jaxpr: Jaxpr, around: str, times: int) -> None:
        for equation in jaxpr.eqns:
            named = known.findall(str(equation.source_info.name_stack)) if paths else []
            path = named[-1] if named else around
            for inner in jaxprs_in_params(equation.params):
                add(inner, path, times * equation.params.get("length", 1))
            cost = _multiply_adds(equation)
            costs[path] = costs.get(path, 0) + cost * times

    add(program, "", 1)
    return costs


def _multiply_adds(equation: Any) -> int:
    name = equation.primitive.name
    output: tuple[int, ...] = equation.outvars[0].aval.shape if equation.outvars else ()
    if name == "dot_general":
        ((contracted, _), _) = equation.params["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return math.prod(output) * math.prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        numbers = equation.params["dimension_numbers"]
        kernel = equation.invars[1].aval.shape
        return math.prod(output) * math.prod(kernel) // kernel[numbers.rhs_spec[0]]
    if equation.params.get("name") == "convolve_each_channel":  # a sum over the taps
        return math.prod(output) * math.prod(equation.invars[1].aval.shape[:-1])
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
    return "\n".join(
        [line(header), *map(line, cells[:-1]), rule, line(cells[-1]), *_grouped(whole.flags)]
    )


def _grouped(flags: tuple[str, ...]) -> list[str]:
    """Name the arrays of each kind of flag in one paragraph."""
    kinds = dict.fromkeys(flag.partition(": ")[0] for flag in flags)
    paths = {kind: [f.partition(": ")[2] for f in flags if f.startswith(kind)] for kind in kinds}
    wrap = textwrap.TextWrapper(100, break_long_words=False, break_on_hyphens=False)
    return [wrap.fill(f"{kind}: {', '.join(paths[kind])}") for kind in kinds]
