# SPDX-License-Identifier: Apache-2.0
"""From the description of an array, which the scanner's parser checked, to the array."""

import ml_dtypes
import numpy as np

from rosin.files.importers.blocks import unpacked
from rosin.scan.parsed import Tensor
from rosin.scan.region import Region


class Buffers:
    """The storages that were read: each once, whatever the number of arrays that view it."""

    def __init__(self) -> None:
        self._read: dict[int, tuple[Region, bytes]] = {}

    def array(self, tensor: Tensor) -> np.ndarray:
        """Return a read-only array; arrays of one storage share its memory."""
        if tensor.packing:
            blocks = tensor.region.exactly(0, tensor.region.size)
            numbers = unpacked(tensor.packing, blocks, tensor.shape)
            numbers.flags.writeable = False
            return numbers
        _, data = self._read.setdefault(
            id(tensor.region), (tensor.region, tensor.region.exactly(0, tensor.region.size))
        )
        dtype = dtype_of(tensor.dtype)
        stored = _stored(dtype, big_endian=tensor.big_endian)
        unit = tensor.step_bytes or stored.itemsize
        strides = [step * unit for step in tensor.strides]
        # NumPy holds shape and strides to the buffer once more.
        view = np.ndarray(tensor.shape, stored, data, tensor.offset * unit, strides)
        array = _converted(view, dtype)
        array.flags.writeable = False
        return array


def _stored(dtype: np.dtype, *, big_endian: bool) -> np.dtype:
    """Return what the bytes are viewed as: any byte may be a bool, bfloat16 has no order."""
    if dtype == np.bool_:
        return np.dtype(np.uint8)
    if not big_endian or dtype.itemsize == 1:
        return dtype
    return (dtype if dtype.isbuiltin == 1 else np.dtype(f"u{dtype.itemsize}")).newbyteorder(">")


def _converted(view: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if view.dtype == dtype:
        return view
    if dtype == np.bool_:
        return np.asarray(view != 0)  # a byte that is neither 0 nor 1 is true, as in C
    if dtype.isbuiltin == 1:
        return view.astype(dtype)
    return view.astype(view.dtype.newbyteorder("=")).view(dtype)


def dtype_of(name: str) -> np.dtype:
    """Return the dtype of a name of `rosin.scan.parsed.ITEM_BYTES`.

    Examples:
        >>> dtype_of("bfloat16").itemsize
        2
    """
    return np.dtype(getattr(ml_dtypes, name, name))
