# SPDX-License-Identifier: Apache-2.0
"""What a class of modules declares, and what its instances carry beside their fields."""

import inspect
import sys
from typing import Any, ClassVar, NamedTuple, get_origin

from rosin.core.types import BUFFER, STATIC
from rosin.core.validation import refuse
from rosin.errors import StructureError

PROGRAM = "_rosin_program"
VISIT = "_rosin_visit"
RESERVED = frozenset({"declared", "training", "replace", "record"})


class Fields(NamedTuple):
    """The declared fields of a class, in order of declaration."""

    dynamic: tuple[str, ...]
    buffers: frozenset[str]
    static: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return self.dynamic + self.static


class Marks(NamedTuple):
    """What a module carries beside its fields; static, and empty for most modules."""

    training: bool | None = None
    frozen: frozenset[str] = frozenset()
    shared: tuple[tuple[str, str], ...] = ()


UNMARKED = Marks()


def declared_fields(cls: type) -> Fields:
    """Sort the annotated names of a class and its bases by their markers."""
    kinds: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        for name, annotation in inspect.get_annotations(base).items():
            marker = _marker(annotation, vars(sys.modules[base.__module__]))
            if marker is not ClassVar:
                kinds[name] = marker
    reserved = sorted(kinds.keys() & RESERVED)
    if reserved:
        refuse(
            StructureError,
            subject=cls.__name__,
            expected="field names that Module does not use itself",
            got=", ".join(reserved),
            fix=f"rename the field, for example to {reserved[0]}_",
        )
    return Fields(
        dynamic=tuple(name for name, kind in kinds.items() if kind is not STATIC),
        buffers=frozenset(name for name, kind in kinds.items() if kind is BUFFER),
        static=tuple(name for name, kind in kinds.items() if kind is STATIC),
    )


def _marker(annotation: object, scope: dict[str, Any]) -> object:
    """Find `BUFFER`, `STATIC` or `ClassVar` in an annotation, written out or as a string.

    Of a string only the name before the bracket is looked up, so that types imported for
    the type checker alone do no harm.
    """
    if isinstance(annotation, str):
        found: Any = scope
        for part in annotation.partition("[")[0].strip().split("."):
            found = found.get(part) if isinstance(found, dict) else getattr(found, part, None)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        annotation = found
    if annotation is ClassVar or get_origin(annotation) is ClassVar:
        return ClassVar
    marks = getattr(annotation, "__metadata__", ())
    return next((mark for mark in marks if mark in (BUFFER, STATIC)), None)


def set_marks(module: "Module", marks: Marks) -> None:
    """Write the static part of a module that nobody else holds yet."""
    statics = (module.__dict__[name] for name in type(module).declared.static)
    module.__dict__[PROGRAM] = (marks, *statics)


def marks_of(module: "Module") -> Marks:
    """Return what a module carries beside its fields."""
    return module.__dict__[PROGRAM][0]
