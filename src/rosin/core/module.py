# SPDX-License-Identifier: Apache-2.0
"""`Module`: a class whose annotated fields are its contents, and which is a JAX pytree.

Here: how fields are declared, checked and frozen; how a module flattens; how it records
new state; what a call adds to an error. What is done to whole trees of modules stands in
`rosin.core.tree`, the recording itself in `rosin.core.recording`.
"""

import functools
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any, Self, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from rosin.core.declare import (
    PROGRAM,
    UNMARKED,
    VISIT,
    Fields,
    declared_fields,
    marks_of,
    set_marks,
)
from rosin.core.display import call_text
from rosin.core.locate import is_module, locate
from rosin.core.paths import KeyPath, path_string
from rosin.core.validation import expect_hashable, expect_known, expect_state, refuse
from rosin.errors import StateError, StructureError, shown

training_context = jax.make_user_context(False)
"""Whether a gradient (or `recording`) is being traced; part of the key of JAX's caches."""


@dataclass_transform()
class ModuleMeta(type):
    """Reads the declarations of a class, registers it with JAX, seals its instances."""

    declared: Fields

    def __new__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> Self:
        """Wrap the public methods and register the class as a pytree."""
        made = super().__new__(cls, name, bases, namespace, **options)
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
        made = object.__new__(cls)
        contents = made.__dict__
        if program is not None:  # JAX unflattens: leaves may be anything
            contents.update(kwargs)
            contents.update(zip(cls.declared.static, program[1:], strict=True))
            contents[PROGRAM] = program
            return made
        made.__init__(*args, **kwargs)
        seal(made)  # pyright: ignore[reportArgumentType]
        return made


def _is_public_method(name: str, member: object) -> bool:
    public = name == "__call__" or not name.startswith("_")
    return public and isinstance(member, types.FunctionType)


def _entering(method: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a method so that its errors say where the module stands in the model."""

    @functools.wraps(method)
    def enter(self: "Module", *args: Any, **kwargs: Any) -> Any:
        contents = self.__dict__
        visit = contents.get(VISIT)
        program = contents.get(PROGRAM)
        try:
            if visit is None and (program is None or not program[0].shared):
                return method(self, *args, **kwargs)
            return _guided(method, self, visit, args, kwargs)
        except Exception as error:
            locate(error, self)
            raise

    return enter


def _guided(
    method: Callable[..., Any], module: "Module", visit: Any, args: Any, kwargs: Any
) -> Any:
    """Call a method while its shared layers can be found and its place has a name."""
    from rosin.core.sharing import providing

    with providing(module):
        if visit is None:
            return method(module, *args, **kwargs)
        if not visit.path:
            result = method(module, *args, **kwargs)
        else:
            with jax.named_scope(visit.path):
                result = method(module, *args, **kwargs)
    if method.__name__ == "__call__":
        visit.recorder.observe(visit.path, module, result)
    return result


def seal(module: "Module") -> None:
    """Check the fields of a freshly built module and freeze it."""
    from rosin.core.sharing import settle

    cls = type(module)
    contents = module.__dict__
    missing = [n for n in cls.declared.names if n not in contents and not hasattr(cls, n)]
    if missing:
        refuse(
            StructureError,
            subject=cls.__name__,
            expected=f"the fields {', '.join(cls.declared.names)} to be set by __init__",
            got=f"nothing for {', '.join(missing)}",
            fix=f"assign self.{missing[0]} in __init__, or give it a value in the class body",
        )
    for name in cls.declared.dynamic:
        value = contents[name] if name in contents else getattr(cls, name)
        contents[name] = _admitted(value, cls.__name__, name)
    for name in cls.declared.static:
        contents.setdefault(name, getattr(cls, name, None))
        expect_hashable(contents[name], subject=cls.__name__, name=name)
    marks = contents[PROGRAM][0] if PROGRAM in contents else UNMARKED
    set_marks(module, marks)
    settle(module)


def _admitted(value: Any, owner: str, name: str) -> Any:
    """Copy a field's value into the model: arrays of JAX, modules, and nestings of them."""
    if isinstance(value, (jax.Array, Module)) or value is None:
        return value

    def admit(keys: KeyPath, leaf: Any) -> Any:
        if isinstance(leaf, Module) or (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            return jnp.array(leaf) if isinstance(leaf, (np.ndarray, np.generic)) else leaf
        kind = type(leaf).__name__ if not callable(leaf) else "Callable[..., Any]"
        number = isinstance(leaf, (int, float, complex))
        refuse(
            StructureError,
            subject=owner,
            expected=f"the field {name}{path_string(keys)} to hold arrays and modules",
            got=shown(leaf),
            fix=f"declare it as {name}: Static[{kind}]"
            + (", or pass an array, as jnp.asarray makes it" if number else ""),
        )

    admitted = jax.tree_util.tree_map_with_path(admit, value, is_leaf=is_module)
    return tuple(admitted) if type(admitted) is list else admitted


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
        self.__dict__.update(given, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a declared field while `__init__` runs."""
        fields = type(self).declared
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
        self.__dict__[name] = value

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
        return self._copy(changes)

    def _copy(self, changes: dict[str, Any]) -> Self:
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__, **changes)
        made.__dict__.pop(VISIT, None)
        seal(made)
        return made

    def record(self, **values: Any) -> None:
        """Note new values of buffers; they come back with the gradient.

        Allowed while `gradient`, `withgradient`, `train` or `recording` runs, on the very
        modules these hand to the function.

        Raises:
            StateError: Nothing collects the record.
            StructureError: A name is no buffer, or a value has another shape or dtype.
        """
        _record(self, values)

    def __rich_repr__(self) -> Iterator[Any]:
        """Yield the arguments that build this module, as `rich` and `repr` print them."""
        for name in type(self).declared.names:
            value = self.__dict__.get(name)
            default = getattr(type(self), name, inspect.Parameter.empty)
            if value is not default:
                yield name, value

    def __repr__(self) -> str:
        """Show the call that builds this module."""
        return call_text(self)

    def __eq__(self, other: object) -> bool:
        """Tell whether both have the same program and bit-equal arrays."""
        return equal(self, other) if isinstance(other, Module) else NotImplemented

    def __hash__(self) -> int:
        """Hash program, shapes and dtypes; equal modules have equal hashes."""
        leaves, structure = jax.tree.flatten(self)
        return hash((structure, tuple((jnp.shape(x), str(jnp.result_type(x))) for x in leaves)))


def _record(module: "Module", values: dict[str, Any]) -> None:
    """Write new buffers into a handed-out module."""
    contents = module.__dict__
    buffers = sorted(type(module).declared.buffers)
    expect_known(list(values), buffers, subject=module, what="buffers")
    visit = contents.get(VISIT)
    expect_state(
        visit is not None and visit.recorder.live,
        subject=module,
        expected="record to be called on a module that a gradient or rs.recording handed out, "
        "in the same trace",
        got="a module that nobody collects, so the record would be lost",
        fix="call the model inside rs.gradient, rs.withgradient, rs.train or rs.recording; "
        "replace a bare jax.vmap, jax.lax.scan or jax.checkpoint inside by rs.vmap, "
        "rs.scan_layers or rs.remat, take a jax.jit inside away; pin a captured model "
        "with rs.testmode",
    )
    for name, value in values.items():
        old = contents[name]
        if jax.tree.map(_signature, old) != jax.tree.map(_signature, value):
            refuse(
                StructureError,
                subject=module,
                expected=f"{name} to keep its shape and dtype, {shown(old)}",
                got=shown(value),
                fix=f"convert the new value to those of {name} before recording it",
            )
        contents[name] = value


def _signature(leaf: Any) -> tuple[Any, ...]:
    return jnp.shape(leaf), leaf.dtype if hasattr(leaf, "dtype") else type(leaf)


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
    if isinstance(a, jax.core.Tracer) or isinstance(b, jax.core.Tracer):
        return False
    if _signature(a) != _signature(b):
        return False
    if hasattr(a, "dtype") and jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()
