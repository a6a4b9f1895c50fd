# SPDX-License-Identifier: Apache-2.0
"""One layer in several places: one set of leaves, so one gradient, one file entry.

The module that is built around all places of a shared layer keeps it at the first of
them and puts a `SharedAgain` without leaves at the others. While that module is called,
the others find the layer through it.
"""

import contextlib
import functools
from collections.abc import Generator, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NoReturn, Self

import jax

from rosin.core.auto import Unfinished, refuse_unfinished
from rosin.core.declare import PROGRAM, marks_of, set_marks
from rosin.core.locate import is_module, walk_modules
from rosin.core.module import Module
from rosin.core.paths import KeyPath, joined, parse_path, path_string
from rosin.core.surgery import changed, children, reach
from rosin.core.types import PyTree, Static
from rosin.core.validation import expect_callable, refuse
from rosin.errors import StateError, StructureError

_first_places: ContextVar[Mapping[int, Any]] = ContextVar("rosin_first_places")
"""The first place for each further place (by identity) of the models being called.

A further place that JAX rebuilt is not listed: were it found by name, a compiled function
would keep the weights that the layer had when it was traced.
"""


class _Token:
    """Tells one call of `share` from another, until a model settles it."""


class _Name(str):
    """What a settled layer is called; where it came from is known, but not compared."""

    __slots__ = ("token",)

    def __new__(cls, text: str, token: object = None) -> Self:
        made = super().__new__(cls, text)
        made.token = token
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        return str(self), self.token


class Shared(Module):
    """The first place of a shared layer, and the owner of its leaves."""

    layer: Any
    name: Static[Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer."""
        return self.layer(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Look up what the layer has, such as `weight`."""
        if name.startswith("_") or "layer" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.layer, name)

    def __rich_repr__(self) -> Iterator[Any]:
        """Show the layer."""
        yield self.layer


class SharedAgain(Module):
    """A further place of a shared layer, without leaves of its own."""

    name: Static[str]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer that the first place owns."""
        first = first_place(self)
        if first is None:
            refuse(
                StateError,
                subject=self,
                expected="to be called as a part of the model that holds all its places",
                got="a call from outside of it, or of a part that JAX rebuilt",
                fix="call or jit the whole model; inside it use rs.vmap, rs.scan_layers and "
                "rs.remat",
            )
        return first(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Look up what the layer has, such as `weight`, while the model is called."""
        first = None if name.startswith("_") else first_place(self)
        if first is None:
            raise AttributeError(f"{name}: the layer is at its first place, {self!r}")
        return getattr(first, name)

    def __rich_repr__(self) -> Iterator[Any]:
        """Show what the layer is called."""
        yield str(self.__dict__.get("name"))


def share(layer: Any) -> Shared:
    """Mark one layer that is used in several places of a model.

    Put the result into the model as often as needed. The model holds one set of leaves,
    at the first place; the gradient is the sum over all places; saving, loading and
    updating see one layer. What is called has to hold all places: the model, not a part
    of it.

    Raises:
        StructureError: The layer cannot be called.

    Examples:
        >>> import rosin as rs
        >>> tied = rs.share(rs.Dense(3, 3))
        >>> model = rs.Chain(tied, rs.tanh, tied)
        >>> len(rs.trainables(model))
        2
    """
    expect_callable(subject="share", layer=layer)
    return Shared(layer, _Token())


# --- while a model is called ------------------------------------------------------------


def first_place(again: SharedAgain) -> Any:
    """Return where a shared layer stands first, or None outside of its model's call."""
    return _first_places.get({}).get(id(again))


@contextlib.contextmanager
def linking(module: Module) -> Generator[None]:
    """Let the further places that a module settled find the first ones."""
    shared = marks_of(module).shared
    places = [(reach(module, _keys(a)), reach(module, _keys(first))) for a, first in shared]
    with linked({id(again): first for again, first in places if _are_places(again, first)}):
        yield


@contextlib.contextmanager
def linked(firsts: Mapping[int, Any]) -> Generator[None]:
    """Let further places, given by identity, find these first ones."""
    token = _first_places.set({**_first_places.get({}), **firsts})
    try:
        yield
    finally:
        _first_places.reset(token)


_keys = functools.lru_cache(maxsize=256)(parse_path)


# --- when a module is built -------------------------------------------------------------


def settle(module: Module, former: Module | None = None) -> None:
    """Keep each shared layer once inside a freshly built module, and link its places.

    A copy changed by `replace` may have lost first places of its `former` self; then the
    layer moves on to the next place.
    """
    nodes = [node for _, node in walk_modules(module) if type(node) in (Shared, SharedAgain)]
    if not nodes and not marks_of(module).shared:
        return
    for token in dict.fromkeys(map(_token_of, nodes)):
        _join(module, token)
    own, inner = _links(module)
    for again, first in own.items():
        lost = None if first else _lost(former, reach(module, _keys(again)).name)
        if lost is not None:
            _put(module, _keys(again), lost)
            settle(module, former)
            return
    links = {again: first for again, first in own.items() if first}
    if links:  # a layer that is found through these may hold further places of its own
        links |= inner
    set_marks(module, marks_of(module)._replace(shared=tuple(links.items())))


def _join(module: Module, token: object) -> None:
    """Keep the first of all places with this token, and name it.

    Places with one name were settled together before; when such a model stands in
    another one twice, its copies stay apart, as all their layers do.
    """
    walked = list(walk_modules(module))
    group = [(keys, node) for keys, node in walked if token and _token_of(node) is token]
    unsettled = any(node.name is token for _, node in group)
    if len(group) < 2 or (len({id(node.name) for _, node in group}) == 1 and not unsettled):
        return
    first, *others = [node for _, node in group if type(node) is Shared] or [None]
    if first is None:  # parts taken out of their models
        return
    if any(_arrays(node) != _arrays(first) for node in others):
        if unsettled:
            _refuse_changed(module)
        return  # two models that were trained apart
    text = path_string(group[0][0])
    taken = {str(n.name) for _, n in walked if _is_named(n) and _token_of(n) is not token}
    while text in taken:
        text += "'"
    name = _Name(text, token)
    for index, (keys, _) in enumerate(group):
        _put(module, keys, SharedAgain(name) if index else Shared(first.layer, name))


def _links(module: Module) -> tuple[dict[str, str | None], dict[str, str]]:
    """Find the first place for each further place.

    Returns those that no module inside has settled, then those that one has.
    """
    inner: dict[str, str] = {}
    firsts: list[tuple[str, _Name]] = []
    further: list[tuple[str, _Name]] = []
    for keys, node in walk_modules(module):
        path = path_string(keys)
        if node is not module:
            for again, first in marks_of(node).shared:  # as long as its own layers stand there
                if _are_places(reach(node, _keys(again)), reach(node, _keys(first))):
                    inner[joined(path, again)] = joined(path, first)
        if _is_named(node) and keys:
            (firsts if type(node) is Shared else further).append((path, node.name))
    own: dict[str, str | None] = {}
    for again, name in further:
        same = [(first, other) for first, other in firsts if other == name]
        same.sort(key=lambda item: (item[1].token is not name.token, item[0] in inner.values()))
        if again not in inner:
            own[again] = same[0][0] if same else None
    return own, inner


def _lost(former: Module | None, name: str) -> Any:
    """Return the layer of this name that stood at its first place before a change."""
    for _, first in marks_of(former).shared if former is not None else ():
        node = reach(former, _keys(first))
        if type(node) is Shared and node.name == name:
            return node
    return None


def _are_places(again: Any, first: Any) -> bool:
    return type(again) is SharedAgain and type(first) in (Shared, SharedAgain)


def _token_of(node: Any) -> object:
    name = node.name if type(node) in (Shared, SharedAgain) else None
    return getattr(name, "token", name)


def _is_named(node: Any) -> bool:
    return type(node) in (Shared, SharedAgain) and isinstance(node.name, _Name)


def _put(module: Module, keys: KeyPath, new: Module) -> None:
    """Put something else at a place inside a module that nobody else holds yet."""
    field = keys[0].name
    vars(module)[field] = _with(module.__dict__[field], keys[1:], new)


def _with(node: Any, keys: KeyPath, new: Module) -> Any:
    if not keys:
        return new
    found = children(node, keys[0])
    if not found:
        refuse(
            StructureError,
            subject="share",
            expected="places in modules, tuples, lists and dicts",
            got=f"one inside of a {type(node).__name__}",
            fix="keep the layer in a field of the module itself",
        )
    changes = {place: _with(child, keys[1:], new) for place, child in found.items()}
    if not is_module(node):
        return changed(node, changes)
    copy = object.__new__(type(node))
    kept = (*type(node).declared.names, PROGRAM)
    vars(copy).update({name: node.__dict__[name] for name in kept}, **changes)
    return copy


def _refuse_changed(module: Module) -> NoReturn:
    refuse(
        StructureError,
        subject=type(module).__name__,
        expected="the same arrays at all places of a shared layer",
        got="places whose arrays were changed one by one",
        fix="mark it anew, rs.share(shared.layer), and use that at each of its places",
    )


def _arrays(place: Any) -> list[int]:
    """Tell the arrays of a shared layer by identity, shared layers inside by their tokens."""

    def is_inner(node: Any) -> bool:
        return node is not place and type(node) in (Shared, SharedAgain)

    leaves = jax.tree.leaves(place, is_leaf=is_inner)
    return [id(_token_of(leaf) or leaf) for leaf in leaves]


def expect_settled(tree: PyTree, *, subject: str) -> None:
    """Refuse a tree that cannot be used whole.

    That is one with a layer whose sizes are not known, or one that holds a shared layer
    twice without a module around both places.
    """
    seen: dict[object, list[Any]] = {}
    for keys, node in walk_modules(tree):
        if isinstance(node, Unfinished):
            refuse_unfinished(node, path_string(keys))
        if type(node) is not Shared:
            continue
        before = seen.setdefault(_token_of(node), [])
        apart = [one for one in before if one.name is not node.name or type(one.name) is _Token]
        if any(_arrays(one) == _arrays(node) for one in apart):
            refuse(
                StructureError,
                subject=subject,
                expected="both places of a shared layer inside one module",
                got=f"a second place at {path_string(keys)} of a plain tuple, list or dict",
                fix="put both parts into one Module or Chain, and call that",
            )
        before.append(node)
