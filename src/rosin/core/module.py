# SPDX-License-Identifier: Apache-2.0
"""`Module`: a class whose annotated fields are its contents, and which is a JAX pytree.

Here: how a module is built, checked and frozen; how it flattens; what a call adds to an
error. What a field may hold stands in `rosin.core.admit`, what is done to whole trees of
modules in `rosin.core.tree`, the recording of state in `rosin.core.recording`.
"""

import abc
import contextlib
import copy
import functools
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from rosin.core.admit import admitted
from rosin.core.arguments import expect_arguments
from rosin.core.auto import holds_auto, holds_unfinished
from rosin.core.declare import (
    PROGRAM,
    VISIT,
    Fields,
    declared_fields,
    marks_of,
    set_marks,
)
from rosin.core.display import call_text
from rosin.core.locate import is_module, locate
from rosin.core.validation import expect_hashable, expect_known, refuse
from rosin.errors import StateError, StructureError, shown

training_context = jax.make_user_context(False)
"""Whether a gradient (or `recording`) is being traced; part of the key of JAX's caches."""


@dataclass_transform()
class ModuleMeta(abc.ABCMeta):
    """Reads the declarations of a class, registers it with JAX, seals its instances."""

    declared: Fields
    looks_inside: bool

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> "ModuleMeta":
        """Wrap the public methods and register the class as a pytree."""
        made = super().__new__(mcs, name, bases, namespace, **options)
        made.declared = declared_fields(made)
        for method, member in namespace.items() if bases else ():
            if _is_public_method(method, member) and method not in made.declared.names:
                setattr(made, method, _entering(member))
        jax.tree_util.register_dataclass(
            made, data_fields=list(made.declared.dynamic), meta_fields=[PROGRAM]
        )
        return made

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Build an instance and seal it; or rebuild one, unchecked, for JAX."""
        program = kwargs.pop(PROGRAM, None)
        made: Any = object.__new__(cls)
        if program is not None:  # JAX unflattens: leaves may be anything
            contents = vars(made)
            contents.update(kwargs)
            contents.update(zip(cls.declared.static, program[2:], strict=True))
            contents[PROGRAM] = program
            return made
        given = (*args, *kwargs.values())
        if any(map(holds_auto, given)) or (cls.looks_inside and any(map(holds_unfinished, given))):
            from rosin.core.autosize import deferred

            return deferred(cls, args, kwargs)
        try:
            made.__init__(*args, **kwargs)
        except TypeError:
            expect_arguments(cls.__init__, args, kwargs, subject=cls.__name__)
            raise
        seal(made)
        return made


def _is_public_method(name: str, member: object) -> bool:
    """Tell whether a member is a function, or one that `jax.jit` or the like has wrapped."""
    public = name == "__call__" or not name.startswith("_")
    if not public or isinstance(member, (staticmethod, classmethod, type)):
        return False
    wrapped = hasattr(member, "__wrapped__") and hasattr(member, "__get__")
    return isinstance(member, types.FunctionType) or (wrapped and callable(member))


def _entering(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a method so that its errors say where the module stands in the model."""

    @functools.wraps(method)
    def enter(self: "Module", *args: Any, **kwargs: Any) -> Any:
        contents = self.__dict__
        try:
            if VISIT in contents or (PROGRAM in contents and contents[PROGRAM][0].shared):
                return _guided(method, self, args, kwargs)
            return method(self, *args, **kwargs)
        except Exception as error:
            locate(error, self)
            raise

    return enter


def _guided(method: Callable[..., Any], module: "Module", args: Any, kwargs: Any) -> Any:
    """Call a method under its place in the model as a name, with shared layers linked."""
    from rosin.core.sharing import linking

    visit = module.__dict__.get(VISIT)
    if visit and visit.recorder.around:
        with visit.recorder.apart() as around:
            return around(functools.partial(_guided, method), module, args, kwargs)
    named = jax.named_scope(visit.path) if visit and visit.path else contextlib.nullcontext()
    with linking(module), named:
        result = method(module, *args, **kwargs)
    if visit and method.__name__ == "__call__":
        visit.recorder.observe(visit.path, module, result)
    return result


def seal(module: "Module") -> None:
    """Check the fields of a freshly built module and freeze it."""
    cls = type(module)
    contents = {**cls.declared.defaults, **vars(module)}
    missing = [name for name in cls.declared.names if name not in contents]
    if missing:
        refuse(
            StructureError,
            subject=cls.__name__,
            expected=f"the fields {', '.join(cls.declared.names)} to be set by __init__",
            got=f"nothing for {', '.join(missing)}",
            fix=f"assign self.{missing[0]} in __init__, or give it a value in the class body",
        )
    _fill(module, {name: contents[name] for name in cls.declared.names}, None)


def _fill(module: "Module", values: dict[str, Any], former: "Module | None") -> None:
    """Check and write fields of a module that nobody else holds yet."""
    from rosin.core.sharing import settle

    cls = type(module)
    for name, value in values.items():
        if name in cls.declared.static:
            expect_hashable(value, subject=cls.__name__, name=name)
            _expect_no_module(value, cls, name)
            vars(module)[name] = value
        else:
            vars(module)[name] = admitted(value, cls.__name__, name)
    set_marks(module, marks_of(module))
    settle(module, former)


def _expect_no_module(value: Any, cls: type, name: str) -> None:
    """Refuse a module where its arrays would be neither trained nor saved."""
    if is_module(value):
        refuse(
            StructureError,
            subject=cls.__name__,
            expected=f"the static field {name} to hold a function or a plain value",
            got=shown(value),
            fix="put the layer behind this one in a Chain, or declare the field without Static",
        )


class Module(metaclass=ModuleMeta):
    """A layer or a model: declared fields, frozen after `__init__`, a JAX pytree.

    Annotate a field with `Array` (or with a module, or a tuple or dict of them) for what
    is trained, `Buffer[...]` for state that is saved but not trained, `Static[...]` for
    what is part of the program: numbers, names, functions. Without an `__init__` the
    class takes its fields as arguments, in order of declaration. A list given to a field
    becomes a tuple, a NumPy array is copied into a JAX array.

    Raises:
        StructureError: A field is missing, undeclared, or holds what it was not declared for.
        StateError: A field of a finished module is assigned.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> class Affine(Module):
        ...     weight: jax.Array
        ...     bias: jax.Array
        ...     def __call__(self, x):
        ...         return x * self.weight + self.bias
        >>> affine = Affine(jnp.full(2, 3.0), jnp.ones(2))
        >>> affine(jnp.ones(2))
        Array([4., 4.], dtype=float32)
        >>> affine
        Affine(weight=float32[2], bias=float32[2])
    """

    looks_inside: ClassVar[bool] = False
    """Whether it needs the arrays of a layer it is given, and so waits for `autosize` with it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        cls = type(self)
        names = cls.declared.names
        if len(args) > len(names):
            refuse(
                StructureError,
                subject=cls.__name__,
                expected=f"at most {len(names)} arguments: {', '.join(names)}",
                got=f"{len(args)} arguments",
                fix="pass the declared fields, in order or by name",
            )
        given = dict(zip(names, args, strict=False))
        expect_known(list(kwargs), names, subject=cls.__name__, what="fields")
        twice = sorted(given.keys() & kwargs.keys())
        if twice:
            refuse(
                StructureError,
                subject=cls.__name__,
                expected="each field once",
                got=f"{', '.join(twice)} by place and by name",
                fix=f"leave out {twice[0]}=",
            )
        vars(self).update(given, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a declared field while `__init__` runs."""
        fields = type(self).declared
        if name == "__orig_class__":  # typing's note on Layer[float](...), of no use here
            return
        if name not in fields.names:
            refuse(
                StructureError,
                subject=type(self).__name__,
                expected=f"a declared field ({', '.join(fields.names) or 'none is declared'})",
                got=f"an assignment to {name}",
                fix=f"declare {name} in the class body, as Array, Buffer[...] or Static[...]",
            )
        if PROGRAM in self.__dict__:
            record = f", or self.record({name}=...) inside a call" * (name in fields.buffers)
            refuse(
                StateError,
                subject=self,
                expected="a finished module to stay as it is",
                got=f"an assignment to {name}",
                fix=f"make a changed copy with .replace({name}=...) or rs.at(model, path).set(...)"
                + record,
            )
        vars(self)[name] = value

    def __delattr__(self, name: str) -> None:
        """Refuse: a module keeps its fields."""
        refuse(
            StateError,
            subject=self,
            expected="a finished module to stay as it is",
            got=f"a deletion of {name}",
            fix=f"make a changed copy with .replace({name}=...)",
        )

    @property
    def training(self) -> bool:
        """Whether this call is part of training: pinned, or else inside a gradient."""
        pinned = marks_of(self).training
        return training_context.value if pinned is None else pinned

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, checked as at construction.

        Raises:
            StructureError: A name is no declared field, or a value does not fit it.
        """
        cls = type(self)
        expect_known(list(changes), cls.declared.names, subject=self, what="fields")
        made = object.__new__(cls)
        kept = (*cls.declared.names, PROGRAM)
        vars(made).update({name: self.__dict__[name] for name in kept if name in self.__dict__})
        _fill(made, changes, self)
        return made

    def record(self, **values: Any) -> None:
        """Note new values of buffers; they come back with the gradient.

        Allowed while `gradient`, `withgradient`, `train` or `recording` runs, on the very
        modules these hand to the function.

        Raises:
            StateError: Nothing collects the record.
            StructureError: A name is no buffer, or a value has another shape or dtype.
        """
        from rosin.core.recording import record

        record(self, values)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this module, as `rich` and `repr` print them."""
        for name in type(self).declared.names:
            value = self.__dict__.get(name)
            if value is not type(self).declared.defaults.get(name, inspect.Parameter.empty):
                yield name, value

    def __repr__(self) -> str:
        """Show the call that builds this module."""
        return call_text(self)

    def __copy__(self) -> Self:
        """Copy the tree, not its arrays."""
        return jax.tree.map(lambda leaf: leaf, self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copy the tree and its arrays; the program stays the very same."""
        return jax.tree.map(lambda leaf: copy.deepcopy(leaf, memo), self)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what ties the module to a trace."""
        return {name: value for name, value in self.__dict__.items() if name != VISIT}

    def __eq__(self, other: object) -> bool:
        """Tell whether both have the same program and bit-equal arrays."""
        return equal(self, other) if isinstance(other, Module) else NotImplemented

    def __hash__(self) -> int:
        """Hash program, shapes and dtypes; equal modules have equal hashes."""
        leaves, structure = jax.tree.flatten(self)
        return hash((structure, tuple(map(signature, leaves))))


def signature(leaf: Any) -> tuple[Any, ...]:
    """Return the shape and dtype of a leaf, or its class if it is no array."""
    if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
        return tuple(leaf.shape), str(leaf.dtype)
    return (type(leaf),)


def equal(a: Any, b: Any) -> bool:
    """Tell whether two trees have the same structure and bit-equal leaves.

    Arrays that are traced are equal to themselves only.

    Examples:
        >>> equal({"a": jnp.ones(2)}, {"a": jnp.ones(2)})
        True
    """
    leaves_a, structure_a = jax.tree.flatten(a)
    leaves_b, structure_b = jax.tree.flatten(b)
    return structure_a == structure_b and all(map(_same_leaf, leaves_a, leaves_b))


def _same_leaf(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, Tracer) or isinstance(b, Tracer) or signature(a) != signature(b):
        return False
    if _is_array(a) != _is_array(b):
        return False
    if not _is_array(a):
        return bool(a == b)
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic))
