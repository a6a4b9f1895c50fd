# SPDX-License-Identifier: Apache-2.0
"""What PyTorch's checkpoints are made of: storages, and the tensors that view them.

Every tensor is checked against its storage when it is put together: its last element lies
inside. The names are those that `torch.save` writes for state dicts; whole modules, tensor
subclasses and anything else that needs PyTorch's own classes are refused.
"""

import dataclasses
from collections.abc import Mapping
from typing import Final

from rosin.errors import shown
from rosin.scan.arrays import NUMPY, shape_of
from rosin.scan.constructors import is_whole, outline
from rosin.scan.machine import Constructor
from rosin.scan.parsed import ITEM_BYTES
from rosin.scan.values import Dict, Misfit, Symbol, Unread, named

DTYPES: Final[Mapping[str, str]] = {
    **{name: name for name in ITEM_BYTES},
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "short": "int16",
    "int": "int32",
    "long": "int64",
}
"""From the names of dtypes in `torch` to NumPy's."""

_STORAGES: Final[Mapping[str, str]] = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}


@dataclasses.dataclass(frozen=True, slots=True)
class StorageType:
    """A class of storages: of one dtype, or of bytes whose dtype the tensor says."""

    dtype: str | None


@dataclasses.dataclass(slots=True, eq=False)
class Storage:
    """A run of numbers that tensors view, found under its key outside the pickle."""

    key: str
    dtype: str | None
    numel: int

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return self.numel * (1 if self.dtype is None else ITEM_BYTES[self.dtype])


@dataclasses.dataclass(slots=True, eq=False)
class View:
    """A tensor: which elements of a storage, in which arrangement."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Storages:
    """The storages that a checkpoint refers to, each under its key.

    Args:
        view_metadata: Whether a reference has a sixth part, as in the legacy format.
    """

    def __init__(self, *, view_metadata: bool) -> None:
        self.by_key: dict[str, Storage] = {}
        self._parts = 6 if view_metadata else 5

    def persistent(self, key: object) -> Storage:
        """Take `('storage', type, key, location, numel)` and return the storage."""
        if not isinstance(key, tuple) or len(key) != self._parts or key[0] != "storage":
            raise Misfit("a reference to a storage", named(key))
        _, kind, name, location, numel = key[:5]
        fits = isinstance(kind, StorageType) and isinstance(name, str)
        if not fits or not isinstance(location, str) or not is_whole(numel) or any(key[5:]):
            raise Misfit("a type, a key, a device and a number of elements", outline(key))
        storage = self.by_key.setdefault(name, Storage(name, kind.dtype, numel))
        if (storage.dtype, storage.numel) != (kind.dtype, numel):
            raise Misfit("one type and size for a storage", f"two for storage {shown(name)}")
        return storage


def _view(
    storage: object, offset: object, shape: object, strides: object, dtype: str | None = None
) -> View:
    """Check a tensor against its storage."""
    if not isinstance(storage, Storage) or not is_whole(offset):
        raise Misfit("a storage and an offset", f"{named(storage)} and {named(offset)}")
    kind = storage.dtype if dtype is None else dtype
    if kind is None or (dtype is not None and storage.dtype not in {None, dtype}):
        raise Misfit("a dtype that is the storage's", "none, or another")
    sizes, steps = shape_of(shape), _strides(strides)
    if len(sizes) != len(steps):
        raise Misfit("a stride for each axis", f"{len(steps)} strides for {len(sizes)} axes")
    # An empty tensor touches nothing; any other must end inside.
    last = sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    end = offset if 0 in sizes else offset + last + 1
    held = storage.size // ITEM_BYTES[kind]
    if end > held:
        raise Misfit(f"a tensor within the {held} elements of its storage", f"one up to {end}")
    return View(storage, kind, offset, sizes, steps)


def _strides(strides: object) -> tuple[int, ...]:
    if not isinstance(strides, tuple) or not all(is_whole(step) for step in strides):
        raise Misfit("strides of whole numbers", named(strides))
    return strides


def _tensor_v2(arguments: tuple[object, ...]) -> object:
    if len(arguments) not in {6, 7}:
        raise Misfit("the six parts of a tensor", outline(arguments))
    _expect_no_hooks(arguments[4], arguments[5], arguments[6:])
    storage, offset, shape, strides = arguments[:4]
    return _view(storage, offset, shape, strides)


def _tensor_v3(arguments: tuple[object, ...]) -> object:
    if len(arguments) not in {7, 8}:
        raise Misfit("the seven parts of a tensor", outline(arguments))
    _expect_no_hooks(arguments[4], arguments[5], arguments[7:])
    storage, offset, shape, strides = arguments[:4]
    return _view(storage, offset, shape, strides, _dtype_of(arguments[6]))


def _tensor_v1(arguments: tuple[object, ...]) -> object:
    if len(arguments) != 4:
        raise Misfit("the four parts of a tensor", outline(arguments))
    storage, offset, shape, strides = arguments
    return _view(storage, offset, shape, strides)


def _dtype_of(value: object) -> str:
    name = value.text.removeprefix("torch.") if isinstance(value, Symbol) else ""
    if name not in DTYPES:
        raise Misfit("a dtype", named(value))
    return DTYPES[name]


def _expect_no_hooks(requires_grad: object, hooks: object, more: tuple[object, ...]) -> None:
    """Refuse hooks, which are code, and flags that change what the numbers mean."""
    if type(requires_grad) is not bool:
        raise Misfit("requires_grad as a bool", named(requires_grad))
    if hooks is not None and not (isinstance(hooks, Dict) and not hooks.items):
        raise Misfit("no hooks", named(hooks))
    if any(part is not None and not (isinstance(part, Dict) and not part.items) for part in more):
        raise Unread("a tensor whose numbers mean what they say", "flags, such as conjugation")


def _parameter(arguments: tuple[object, ...]) -> object:
    if len(arguments) != 3 or not isinstance(arguments[0], View):
        raise Misfit("a tensor, a bool and no hooks", outline(arguments))
    _expect_no_hooks(arguments[1], arguments[2], ())
    return arguments[0]


def _size(arguments: tuple[object, ...]) -> object:
    if len(arguments) != 1:
        raise Misfit("one tuple", outline(arguments))
    return shape_of(arguments[0])


def _device(arguments: tuple[object, ...]) -> object:
    fits = len(arguments) in {1, 2} and isinstance(arguments[0], str)
    if not fits or not all(is_whole(part) for part in arguments[1:]):
        raise Misfit("the name of a device and its number", outline(arguments))
    return Symbol(":".join(map(str, arguments)))


_UNREAD: Final[Mapping[tuple[str, str], str]] = {
    ("torch._utils", "_rebuild_sparse_tensor"): "a sparse tensor",
    ("torch._utils", "_rebuild_sparse_csr_tensor"): "a sparse tensor",
    ("torch.serialization", "_get_layout"): "the layout of a sparse tensor",
    ("torch._utils", "_rebuild_qtensor"): "a quantised tensor",
    ("torch", "per_tensor_affine"): "the scheme of a quantised tensor",
    ("torch", "per_channel_affine"): "the scheme of a quantised tensor",
    ("torch", "QInt8Storage"): "quantised numbers",
    ("torch", "QUInt8Storage"): "quantised numbers",
    ("torch", "QInt32Storage"): "quantised numbers",
    ("torch._utils", "_rebuild_nested_tensor"): "a nested tensor",
    ("torch._utils", "_rebuild_meta_tensor_no_storage"): "a tensor without numbers",
    ("torch._utils", "_rebuild_parameter_with_state"): "a parameter with attributes",
}

PYTORCH: Final[Mapping[tuple[str, str], Constructor]] = {
    **NUMPY,
    ("torch._utils", "_rebuild_tensor"): Constructor(_tensor_v1),
    ("torch._utils", "_rebuild_tensor_v2"): Constructor(_tensor_v2),
    ("torch._utils", "_rebuild_tensor_v3"): Constructor(_tensor_v3),
    ("torch._utils", "_rebuild_parameter"): Constructor(_parameter),
    ("torch", "Size"): Constructor(_size),
    ("torch", "device"): Constructor(_device),
    ("torch.storage", "UntypedStorage"): Constructor(value=StorageType(None)),
    **{("torch", name): Constructor(value=StorageType(kind)) for name, kind in _STORAGES.items()},
    **{("torch", name): Constructor(value=Symbol(f"torch.{name}")) for name in DTYPES},
    **{key: Constructor(unread=what) for key, what in _UNREAD.items()},
}
