# SPDX-License-Identifier: Apache-2.0
"""NumPy's arrays and numbers inside a pickle: how they are put together, from data only."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Final

from rosin.limits import Limits
from rosin.scan.constructors import PLAIN, is_whole, outline
from rosin.scan.machine import Constructor
from rosin.scan.parsed import ITEM_BYTES, Tensor, contiguous
from rosin.scan.region import Context, MemoryRegion, Region
from rosin.scan.values import Blob, Buildable, Misfit, Name, named

MAX_AXES: Final = 64  # NumPy has no more
_MAX_BYTES: Final = 2**63 - 1
_CODES: Final = {
    "b1": "bool",
    "?": "bool",
    "f2": "float16",
    "f4": "float32",
    "f8": "float64",
    "c8": "complex64",
    "c16": "complex128",
    **{
        f"{kind[0]}{bits // 8}": f"{kind}{bits}"
        for kind in ("int", "uint")
        for bits in (8, 16, 32, 64)
    },
}
_ORDERS: Final = ("<", ">", "|", "=")


@dataclasses.dataclass(slots=True, eq=False)
class Dtype(Buildable):
    """A dtype of numbers; its byte order comes with its state."""

    name: str
    big_endian: bool = False

    def build(self, state: object) -> object:
        """Take the state of a plain dtype: nothing but a byte order."""
        if not isinstance(state, tuple) or len(state) != 8 or state[1] not in _ORDERS:
            raise Misfit("the state of a dtype of numbers", named(state))
        if (state[0], *state[2:]) != (3, None, None, None, -1, -1, 0):
            raise Misfit("the state of a dtype of numbers", outline(state))
        self.big_endian = state[1] == ">"
        return self


@dataclasses.dataclass(slots=True, eq=False)
class NdArray(Buildable):
    """An array, empty until its state comes."""

    tensor: Tensor | None = None

    def build(self, state: object) -> object:
        """Take version, shape, dtype, order and bytes."""
        if not isinstance(state, tuple) or len(state) != 5 or state[0] != 1:
            raise Misfit("the state of an array", named(state))
        _, shape, dtype, fortran, data = state
        if type(fortran) is not bool or self.tensor is not None:
            raise Misfit("the state of an array, once", outline(state))
        self.tensor = array(shape, dtype, data, fortran=fortran)
        return self


def array(shape: object, dtype: object, data: object, *, fortran: bool) -> Tensor:
    """Describe an array whose bytes are exactly its numbers.

    Raises:
        Misfit: A part is of the wrong type, or the bytes are too few or too many.
    """
    sizes = shape_of(shape)
    if not isinstance(dtype, Dtype):
        raise Misfit("a dtype of numbers", named(dtype))
    region = _region_of(data)
    count = math.prod(sizes)
    if region.size != count * ITEM_BYTES[dtype.name]:
        raise Misfit(
            f"{count * ITEM_BYTES[dtype.name]} bytes for its shape", f"{region.size} bytes"
        )
    return Tensor(
        dtype.name, sizes, strides_of(sizes, fortran=fortran), 0, region, dtype.big_endian
    )


def strides_of(shape: tuple[int, ...], *, fortran: bool) -> tuple[int, ...]:
    """Return the strides of an array without holes, first axis fastest if `fortran`."""
    return contiguous(shape[::-1])[::-1] if fortran else contiguous(shape)


def shape_of(shape: object) -> tuple[int, ...]:
    """Return a shape that an array can have.

    Raises:
        Misfit: It is no tuple of whole numbers, or too large for any memory.
    """
    if not isinstance(shape, tuple) or not all(is_whole(size) for size in shape):
        raise Misfit("a shape of whole numbers", named(shape))
    sizes: tuple[int, ...] = shape
    # NumPy refuses these even when another axis of length 0 leaves nothing to store.
    if len(sizes) > MAX_AXES or 16 * math.prod(max(size, 1) for size in sizes) > _MAX_BYTES:
        raise Misfit(f"at most {MAX_AXES} axes and 2**63 - 1 bytes", "more")
    return sizes


def _region_of(data: object) -> Region:
    if isinstance(data, Blob):
        return data.region.section(data.begin, data.size)
    if isinstance(data, bytes):
        return MemoryRegion("memory", data, Context(Limits()))
    raise Misfit("its bytes", named(data))


def _dtype(arguments: tuple[object, ...]) -> object:
    fits = len(arguments) in {1, 3} and all(part in {False, True} for part in arguments[1:])
    code = arguments[0] if fits else None
    if not isinstance(code, str):
        raise Misfit("the code of a dtype", outline(arguments))
    return number_dtype(code)


def number_dtype(code: str) -> Dtype:
    """Return the dtype of numbers that NumPy spells like this, such as `"<f4"`.

    Raises:
        Misfit: It is no dtype of numbers.
    """
    order, letter = (code[:1], code[1:]) if code[:1] in _ORDERS else ("=", code)
    if letter not in _CODES:
        raise Misfit("a dtype of numbers", f"'{letter[:8]}'")
    return Dtype(_CODES[letter], order == ">")


def _reconstruct(arguments: tuple[object, ...]) -> object:
    fits = len(arguments) == 3 and arguments[1] == (0,) and arguments[2] in (b"b", "b")
    kind = arguments[0] if fits else None
    if not isinstance(kind, Name) or (kind.module, kind.name) != ("numpy", "ndarray"):
        raise Misfit("(numpy.ndarray, (0,), b'b')", outline(arguments))
    return NdArray()


def _scalar(arguments: tuple[object, ...]) -> object:
    if len(arguments) != 2:
        raise Misfit("a dtype and its bytes", outline(arguments))
    return NdArray(array((), arguments[0], arguments[1], fortran=False))


def _from_buffer(arguments: tuple[object, ...]) -> object:
    if len(arguments) != 4 or arguments[3] not in ("C", "F"):
        raise Misfit("bytes, a dtype, a shape and an order", outline(arguments))
    data, dtype, shape, order = arguments
    return NdArray(array(shape, dtype, data, fortran=order == "F"))


_MODULES: Final[Mapping[str, Mapping[str, Callable[[tuple[object, ...]], object]]]] = {
    "multiarray": {"_reconstruct": _reconstruct, "scalar": _scalar},
    "numeric": {"_frombuffer": _from_buffer},
}

NUMPY: Final[Mapping[tuple[str, str], Constructor]] = {
    **PLAIN,
    ("numpy", "dtype"): Constructor(_dtype),
    ("numpy", "ndarray"): Constructor(),
    **{
        (f"numpy.{core}.{module}", name): Constructor(call)
        for core in ("core", "_core")  # before and since NumPy 2
        for module, names in _MODULES.items()
        for name, call in names.items()
    },
}
