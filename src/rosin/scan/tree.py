# SPDX-License-Identifier: Apache-2.0
"""From the values of the pickle machine to the plain tree that a parser returns."""

import math
from collections.abc import Iterable, Iterator, Mapping

from rosin.errors import shown
from rosin.scan.arrays import Dtype, NdArray
from rosin.scan.parsed import ITEM_BYTES, Parsed, Tensor
from rosin.scan.pytorch import View
from rosin.scan.region import Region
from rosin.scan.values import Blob, Dict, List, Opaque, Set, Symbol, named

_LEAVES = (str, int, float, complex, bytes, type(None), Tensor, Blob)


class _Planting:
    """Turns values into a tree once each, so that what was shared stays shared."""

    def __init__(self, region: Region, storages: Mapping[str, Region], *, big: bool) -> None:
        self.region = region
        self.storages = storages
        self.big_endian = big
        self.made: dict[int, tuple[object, int]] = {}
        self.open: set[int] = set()
        self.tensors = 0

    def plant(self, value: object, depth: int = 0) -> tuple[object, int]:
        """Return the value as plain Python, and how many values a walk over it meets.

        The count is bounded: containers that share containers can be walked for ever.
        """
        if isinstance(value, (Symbol, Dtype)):
            return (value.text if isinstance(value, Symbol) else value.name), 1
        if isinstance(value, NdArray) and value.tensor is not None:
            value = value.tensor
        elif isinstance(value, View):
            value = self._viewed(value)
        if isinstance(value, _LEAVES):
            self._count(value)
            return value, 1
        if id(value) in self.made:
            return self.made[id(value)]
        if id(value) in self.open:
            self.region.refuse("pickle-cycle", got="a container that holds itself")
        self.region.expect_within("max_nesting", depth, unit="nested levels")
        count = len(self.made) + len(self.open)
        self.region.expect_within("max_pickle_containers", count, unit="containers")
        self.open.add(id(value))
        made = self._container(value, depth + 1)
        self.region.expect_within("max_pickle_steps", made[1], unit="values")
        self.open.remove(id(value))
        self.made[id(value)] = made
        return made

    def _viewed(self, view: View) -> Tensor:
        region = self.storages[view.storage.key]
        itemsize = ITEM_BYTES[view.dtype]
        region.expect_expansion(math.prod(view.shape) * itemsize, region.size)
        place = (view.dtype, view.shape, view.strides, view.offset)
        return Tensor(*place, region, self.big_endian)

    def _count(self, value: object) -> None:
        if isinstance(value, Tensor):
            self.tensors += 1
            self.region.expect_within("max_tensors", self.tensors, unit="tensors")

    def _container(self, value: object, depth: int) -> tuple[object, int]:
        if isinstance(value, Dict):
            planted = [self.plant(item, depth) for item in value.items.values()]
            size = 1 + sum(size for _, size in planted)
            return dict(zip(value.items, (tree for tree, _ in planted), strict=True)), size
        if isinstance(value, (tuple, List, Set)):
            items = value if isinstance(value, tuple) else value.items
            planted = [self.plant(item, depth) for item in items]
            trees = [tree for tree, _ in planted]
            size = 1 + sum(size for _, size in planted)
            return (tuple(trees) if isinstance(value, tuple) else trees), size
        if not isinstance(value, Opaque):
            self.region.report("pickle-operand", got=f"{named(value)} as a value")
        return None, 1


def parsed_tree(
    exact: str,
    value: object,
    region: Region,
    storages: Mapping[str, Region] | None = None,
    *,
    big_endian: bool = False,
) -> Parsed:
    """Return what a pickle holds as plain values, and its arrays under their names.

    Sets become lists, PyTorch's tensors views of their storages, what was reported `None`.

    Raises:
        Refused: It is nested too deeply, holds itself, has too many arrays, or two arrays
            of one name.
    """
    tree, _ = _Planting(region, storages or {}, big=big_endian).plant(value)
    return Parsed(exact, tree, named_arrays(tree, region), readable=True)


def named_arrays(tree: object, region: Region) -> dict[str, Tensor]:
    """Collect the arrays under dotted names, which are printable and differ."""
    arrays: dict[str, Tensor] = {}
    for path, leaf in leaves(tree):
        if isinstance(leaf, Tensor):
            name = ".".join(path) or "tensor"
            region.expect_within("max_name_characters", len(name), unit="characters")
            if name in arrays or not name.isprintable():
                got = f"{shown(name)} {'twice' if name in arrays else ''}".rstrip()
                region.refuse("tensor-name", got=got)
            arrays[name] = leaf
    return arrays


def leaves(tree: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Yield every leaf of a plain tree under its path, in the order of the file.

    Examples:
        >>> list(leaves({"a": {"b": 1}, "c": [2, 3]}))
        [(('a', 'b'), 1), (('c', '0'), 2), (('c', '1'), 3)]
    """
    if isinstance(tree, dict):
        items: Iterable[tuple[object, object]] = tree.items()
    elif isinstance(tree, (list, tuple)):
        items = enumerate(tree)
    else:
        yield path, tree
        return
    for key, value in items:
        yield from leaves(value, (*path, str(key)))
