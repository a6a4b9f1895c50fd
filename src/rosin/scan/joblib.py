# SPDX-License-Identifier: Apache-2.0
"""joblib's files: a pickle in which the bytes of each array follow its description."""

import dataclasses
from typing import Final

from rosin.scan.arrays import Dtype, NdArray, shape_of, strides_of
from rosin.scan.constructors import outline
from rosin.scan.cursor import Cursor
from rosin.scan.machine import Constructor, Profile
from rosin.scan.parsed import ITEM_BYTES, Tensor
from rosin.scan.values import Buildable, Dict, Misfit, Name, named

WRAPPER: Final = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_KEYS: Final = {"subclass", "shape", "order", "dtype", "allow_mmap"}
_ALIGNMENT: Final = "numpy_array_alignment_bytes"
_MAX_PADDING: Final = 64


@dataclasses.dataclass(slots=True)
class Arrays:
    """How many arrays stood between the opcodes."""

    count: int = 0


@dataclasses.dataclass(slots=True, eq=False)
class Wrapper(Buildable):
    """The description of an array whose bytes come next."""

    dtype: str = ""
    big_endian: bool = False
    shape: tuple[int, ...] = ()
    fortran: bool = False
    padded: bool = False

    def build(self, state: object) -> object:
        """Take the attributes that joblib writes, each of its own type."""
        parts = state.items if isinstance(state, Dict) else {}
        if not _KEYS <= parts.keys() <= _KEYS | {_ALIGNMENT}:
            raise Misfit("the description of an array", named(state))
        subclass, dtype = parts["subclass"], parts["dtype"]
        if not isinstance(subclass, Name) or subclass.dotted != "numpy.ndarray":
            raise Misfit("an array of numpy.ndarray", named(subclass))
        if not isinstance(dtype, Dtype):
            raise Misfit("a dtype of numbers", named(dtype))
        if parts["order"] not in ("C", "F") or type(parts["allow_mmap"]) is not bool:
            raise Misfit("an order C or F", named(parts["order"]))
        self.dtype, self.big_endian = dtype.name, dtype.big_endian
        self.shape = shape_of(parts["shape"])
        self.fortran = parts["order"] == "F"
        self.padded = parts.get(_ALIGNMENT) is not None
        return self

    def read(self, cursor: Cursor) -> NdArray:
        """Step over the bytes of the array, and the padding before them."""
        if self.padded:
            size = cursor.take(1)[0]
            if size > _MAX_PADDING or cursor.take(size).strip(b"\xff"):
                cursor.region.refuse("trailing-bytes", cursor.position, got="padding of data")
        size = ITEM_BYTES[self.dtype]
        for axis in self.shape:
            size *= axis
        begin = cursor.skip(size)
        strides = strides_of(self.shape, fortran=self.fortran)
        region = cursor.region.section(begin, size)
        return NdArray(Tensor(self.dtype, self.shape, strides, 0, region, self.big_endian))


def _wrapper(arguments: tuple[object, ...]) -> object:
    if arguments:
        raise Misfit("no arguments", outline(arguments))
    return Wrapper()


def profile(plain: Profile, arrays: Arrays) -> Profile:
    """Add joblib's arrays to a profile; `arrays` counts them."""

    def after_build(built: object, cursor: Cursor) -> object:
        if not isinstance(built, Wrapper):
            return built
        arrays.count += 1
        return built.read(cursor)

    names = {**plain.names, WRAPPER: Constructor(new=_wrapper)}
    return Profile(names, plain.persistent, after_build)
