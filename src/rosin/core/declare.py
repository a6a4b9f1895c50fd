# SPDX-License-Identifier: Apache-2.0
"""What a class of modules declares, and what its instances carry beside their fields."""

import inspect
import re
import sys
from typing import Any, ClassVar, NamedTuple, NoReturn, get_args, get_origin

from rosin.core.types import BUFFER, STATIC
from rosin.core.validation import refuse
from rosin.errors import StructureError, shown

PROGRAM = "_rosin_program"
VISIT = "_rosin_visit"
RESERVED = frozenset({"declared", "looks_inside", "training", "replace", "record"})


class Fields(NamedTuple):
    """The declared fields of a class, in order of declaration."""

    names: tuple[str, ...]
    dynamic: tuple[str, ...]
    buffers: frozenset[str]
    static: tuple[str, ...]
    defaults: dict[str, Any]


class Marks(NamedTuple):
    """What a module carries beside its fields; static, and empty for most modules.

    `shared` lists the further places of shared layers and, for each, the first place.
    """

    training: bool | None = None
    frozen: frozenset[str] = frozenset()
    shared: tuple[tuple[str, str], ...] = ()


UNMARKED = Marks()


def declared_fields(cls: type) -> Fields:
    """Sort the annotated names of a class and its bases by their markers."""
    kinds: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        scope = getattr(sys.modules.get(base.__module__), "__dict__", {})
        for name, annotation in inspect.get_annotations(base).items():
            kinds[name] = _marker(annotation, scope, f"{cls.__name__}.{name}")
    kinds = {name: kind for name, kind in kinds.items() if kind is not ClassVar}
    reserved = sorted(kinds.keys() & RESERVED)
    if reserved:
        refuse(
            StructureError,
            subject=cls.__name__,
            expected="field names that Module does not use itself",
            got=", ".join(reserved),
            fix=f"rename the field, for example to {reserved[0]}_",
        )
    bodies = [vars(base) for base in cls.__mro__]
    return Fields(
        names=tuple(kinds),
        dynamic=tuple(name for name, kind in kinds.items() if kind is not STATIC),
        buffers=frozenset(name for name, kind in kinds.items() if kind is BUFFER),
        static=tuple(name for name, kind in kinds.items() if kind is STATIC),
        defaults={n: getattr(cls, n) for n in kinds if any(n in body for body in bodies)},
    )


def _marker(annotation: object, scope: dict[str, Any], field: str) -> object:
    """Find `BUFFER`, `STATIC` or `ClassVar` in an annotation, written out or as a string.

    In a string names are looked up, not evaluated, so that types imported for the type
    checker alone do no harm.
    """
    if isinstance(annotation, str):
        head, *inside = [
            _looked_up(name, scope, field) for name in re.findall(r"[\w.]+", annotation)
        ] or [None]
    else:
        head, inside = annotation, _arguments(annotation)
    mark = _mark_of(head)
    if mark is None and any(map(_mark_of, inside)):
        _refuse_inner(field, shown(annotation))
    return mark


def _looked_up(dotted: str, scope: dict[str, Any], field: str) -> object:
    found: Any = scope
    for part in dotted.split("."):
        found = found.get(part) if isinstance(found, dict) else getattr(found, part, None)
    if found is None and dotted.endswith(("Buffer", "Static")):
        refuse(
            StructureError,
            subject=field,
            expected=f"{dotted} to be known when the class is made",
            got="an import that only the type checker or one function sees",
            fix=f"import {dotted.partition('.')[0]} at the top of the file",
        )
    return found


def _arguments(annotation: object) -> list[object]:
    """List what stands inside the brackets of an annotation, at any depth."""
    inside = list(get_args(annotation))
    return inside + [inner for argument in inside for inner in _arguments(argument)]


def _mark_of(annotation: object) -> object:
    if annotation is ClassVar or get_origin(annotation) is ClassVar:
        return ClassVar
    marks = getattr(annotation, "__metadata__", ())
    return next((mark for mark in marks if mark is BUFFER or mark is STATIC), None)


def _refuse_inner(field: str, annotation: str) -> NoReturn:
    refuse(
        StructureError,
        subject=field,
        expected="Buffer or Static around the whole annotation",
        got=annotation,
        fix="write Buffer[Array | None], not Buffer[Array] | None",
    )


def set_marks(module: Any, marks: Marks) -> None:
    """Write the static part of a module that nobody else holds yet.

    The class is part of it: to JAX 0.10, dataclasses with fields of the same names are one.
    """
    contents, cls = vars(module), type(module)
    contents[PROGRAM] = (marks, cls, *(contents[name] for name in cls.declared.static))


def marks_of(module: Any) -> Marks:
    """Return what a module carries beside its fields."""
    program = module.__dict__.get(PROGRAM)
    return UNMARKED if program is None else program[0]
