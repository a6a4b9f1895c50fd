# SPDX-License-Identifier: Apache-2.0
"""What may stand in a field: arrays and modules, and tuples and dicts of them, unchangeable.

Lists become tuples, dicts become a `FrozenDict`, NumPy arrays are copied into arrays of
JAX: nobody who holds a part of a model can change it. What other libraries made (a named
tuple of optax) stays as it is.
"""

from collections.abc import Iterable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import DictKey, GetAttrKey, SequenceKey

from rosin.core.locate import is_module
from rosin.core.paths import KeyPath, path_string
from rosin.core.validation import is_whole, refuse
from rosin.errors import RangeError, StateError, StructureError, shown


def _refused(*_: Any, **__: Any) -> NoReturn:
    refuse(
        StateError,
        subject="a dict inside a model",
        expected="to stay as it is",
        got="a change",
        fix="make a changed copy of the model with rs.at(model, path).set(...), or of the "
        "dict with dict(...)",
    )


class FrozenDict(dict[Any, Any]):
    """A dict inside a model: sorted by its keys, as JAX sorts them, and not to be changed.

    Examples:
        >>> FrozenDict(b=2, a=1)
        {'a': 1, 'b': 2}
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        items = dict(*args, **kwargs)
        super().__init__((key, items[key]) for key in sorted(items))

    __setitem__ = __delitem__ = __ior__ = _refused
    clear = pop = popitem = setdefault = update = _refused

    def __or__(self, other: Any) -> "FrozenDict":
        """Join with another dict into a new one."""
        return FrozenDict({**self, **other})

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by contents."""
        return FrozenDict, (dict(self),)


def _flatten_with_keys(node: FrozenDict) -> tuple[Iterable[Any], Any]:
    return tuple((DictKey(key), child) for key, child in node.items()), tuple(node)


def _flatten(node: FrozenDict) -> tuple[Iterable[Any], Any]:
    return tuple(node.values()), tuple(node)


def _unflatten(names: tuple[Any, ...], values: Iterable[Any]) -> FrozenDict:
    return FrozenDict(zip(names, values, strict=True))


jax.tree_util.register_pytree_with_keys(FrozenDict, _flatten_with_keys, _unflatten, _flatten)


def admitted(value: Any, owner: str, name: str) -> Any:
    """Copy the value of a field into a model, or refuse what has no place there."""

    def admit(keys: KeyPath, node: Any) -> Any:
        if node is None or isinstance(node, (jax.Array, jax.ShapeDtypeStruct)) or is_module(node):
            return node
        if type(node) in (list, tuple):
            return tuple(admit((*keys, SequenceKey(i)), item) for i, item in enumerate(node))
        if isinstance(node, dict) and not _is_leaf(node):
            _expect_names(node, owner, path_string(keys))
            return FrozenDict({k: admit((*keys, DictKey(k)), item) for k, item in node.items()})
        if _is_leaf(node):
            made = _copied(node, owner, path_string(keys))
            return _refuse(node, owner, name, path_string(keys)) if made is None else made
        return jax.tree_util.tree_map_with_path(
            lambda inner, leaf: admit((*keys, *inner), leaf), node, is_leaf=is_module
        )

    return admit((GetAttrKey(name),), value)


def _copied(leaf: Any, owner: str, field: str) -> jax.Array | None:
    """Copy an array of NumPy; 64 bits may become 32, but no number another one."""
    if not isinstance(leaf, (np.ndarray, np.generic)):
        return None
    try:
        with np.errstate(over="ignore"):  # looked at below
            made = jnp.array(leaf)
    except TypeError:  # texts, dates, objects
        return None
    if made.dtype == leaf.dtype:
        return made
    back = np.asarray(made)
    if leaf.dtype.kind in "iu":
        kept = np.array_equal(back, leaf)
    else:
        kept = np.array_equal(np.isfinite(back), np.isfinite(leaf))
    if not kept:
        refuse(
            RangeError,
            subject=owner,
            expected=f"numbers in the field {field} that fit {made.dtype}",
            got=f"{shown(leaf)} with larger ones",
            fix='scale them, or call jax.config.update("jax_enable_x64", True) first',
        )
    return made


def _is_leaf(node: Any) -> bool:
    return jax.tree_util.all_leaves([node])


def _expect_names(node: dict[Any, Any], owner: str, field: str) -> None:
    if not all(isinstance(key, str) for key in node) and not all(map(is_whole, node)):
        refuse(
            StructureError,
            subject=owner,
            expected=f"the keys of {field} to be names, or all whole numbers",
            got=", ".join(map(shown, node))[:80],
            fix="rename the keys, or use a tuple",
        )


def _refuse(leaf: Any, owner: str, name: str, field: str) -> NoReturn:
    got, fix = shown(leaf), f"declare it as {name}: Static[{type(leaf).__name__}]"
    if isinstance(leaf, (np.ndarray, np.generic)):
        fix = "encode it as numbers, or keep it outside of the model"
    elif hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
        got, fix = f"{type(leaf).__name__} {got}", "convert it to an array of JAX, jnp.asarray(...)"
    elif callable(leaf):
        fix = f"declare it as {name}: Static[Callable[..., Any]]"
    elif isinstance(leaf, (int, float, complex)):
        fix += ", or pass an array, as jnp.asarray makes it"
    refuse(
        StructureError,
        subject=owner,
        expected=f"the field {field} to hold arrays and modules",
        got=got,
        fix=fix,
    )
