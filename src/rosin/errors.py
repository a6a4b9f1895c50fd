# SPDX-License-Identifier: Apache-2.0
"""The tree of errors, and the one way an error reads.

    RosinError
    ├── UsageError               a caller's mistake
    │   ├── ShapeError           (ValueError)    an array has the wrong shape
    │   ├── DtypeError           (TypeError)     an array has the wrong dtype
    │   ├── RangeError           (ValueError)    a number or option is out of bounds
    │   ├── StructureError       (TypeError)     a tree or a set of names does not fit
    │   └── StateError           (RuntimeError)  right call, wrong moment
    ├── NonFiniteError           (ArithmeticError) a NaN or an infinity, and where it arose
    ├── DataError                (ValueError)    foreign data breaks its contract
    ├── FileError                (ValueError)    a file is not what it claims
    │   ├── UnsafeFileError      loading it could run code; it is never loaded
    │   └── LimitError           larger than a stated bound
    └── TrustError               (ValueError)    a signature, digest, role or expiry fails

Every message has the same four parts, which are also attributes::

    <subject> at model<where>: expected <expected>, got <got>.
      fix: <fix>.

Usage errors are raised by the `expect_*` functions of `rosin.core.validation` only;
the others by the reader or checker that found the fault.
"""

import dataclasses
import reprlib
import weakref
from collections.abc import Callable
from typing import Any

MAX_SHOWN_CHARACTERS = 80
MAX_SHOWN_BITS = 128


class _Shown(reprlib.Repr):
    """Spells nested values within bounds: few items, few levels, no contents of arrays."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = MAX_SHOWN_CHARACTERS
        self.fillvalue = "…"

    def repr1(self, x: Any, level: int) -> str:
        """Spell one value, `level` levels above the deepest that is looked into."""
        dtype, shape = getattr(x, "dtype", None), getattr(x, "shape", None)
        if dtype is not None and isinstance(shape, tuple):
            return f"{dtype}[{','.join(map(str, shape))}]"
        if isinstance(x, type):
            return f"class {x.__name__}"
        if callable(x) and hasattr(x, "__qualname__"):
            return f"function {x.__qualname__}"
        for base in (tuple, list, dict):  # their subclasses too, named tuples among them
            if isinstance(x, base):
                return getattr(self, f"repr_{base.__name__}")(x, level)
        if dataclasses.is_dataclass(x):
            fields = ((f.name, getattr(x, f.name)) for f in dataclasses.fields(x) if level > 0)
            inside = ", ".join(f"{name}={self.repr1(v, level - 1)}" for name, v in fields)
            return f"{type(x).__name__}({inside})"
        return super().repr1(x, level)

    def repr_int(self, x: int, level: int) -> str:
        """Spell a whole number; Python refuses to convert very large ones to digits."""
        large = x.bit_length() > MAX_SHOWN_BITS
        return f"a whole number of {x.bit_length()} bits" if large else super().repr_int(x, level)

    def repr_instance(self, x: object, level: int) -> str:
        """Spell what is of no built-in class; a `repr` that fails must hide no error."""
        del level
        try:
            return repr(x)
        except Exception:  # noqa: BLE001  foreign code may raise anything
            return f"<{type(x).__name__}>"


def shown(value: object) -> str:
    r"""Show a value in a message: arrays as dtype[shape], the rest short and escaped.

    Contents of arrays never reach a message, and neither do control characters.

    Examples:
        >>> import numpy as np
        >>> shown(np.zeros((4, 3), np.float32)), shown([np.ones(2)]), shown("a\x1b[31m")
        ('float32[4,3]', '[float64[2]]', "'a\\x1b[31m'")
    """
    return shortened(_Shown().repr(value))


def shortened(text: str, length: int = MAX_SHOWN_CHARACTERS) -> str:
    """Cut foreign text to one escaped line of at most `length` characters."""
    line = " ".join(text.split()).replace("( ", "(").replace(", )", ")")
    line = escaped(line)
    return line if len(line) <= length else line[: length - 1] + "…"


def escaped(text: str) -> str:
    r"""Spell what does not print, such as control characters, as Python's escapes do.

    Examples:
        >>> print(escaped("a\x1b[31m.pkl"))
        a\x1b[31m.pkl
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def grouped(number: int) -> str:
    """Write a whole number in groups of three digits.

    Examples:
        >>> grouped(100_000_000)
        '100 000 000'
    """
    return f"{number:,}".replace(",", " ")


class RosinError(Exception):
    """The root of every error that Rosin raises.

    Args:
        subject: What complains: a layer, a function, a file. An object is shown by its
            `repr`, and containers use its identity to find `where` it stands.
        expected: A noun phrase: what was wanted, with bounds and units.
        got: What came instead, as `shown` prints it.
        fix: One imperative sentence, naming the argument and a value.
        where: The path inside the model or the place inside the file.
        details: Further lines, one for each mismatch, when several are reported at once.
    """

    _place = " at model{}"

    def __init__(
        self,
        *,
        subject: object,
        expected: str,
        got: str,
        fix: str,
        where: str = "",
        details: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.subject = subject if isinstance(subject, str) else shown(subject)
        self.expected = expected
        self.got = got
        self.fix = fix
        self.where = where
        self.details = details
        self.anchor = None if isinstance(subject, str) else subject

    @property
    def anchor(self) -> object:
        """The object that `where` starts from, while it is alive: an error keeps no model."""
        return self._anchor()

    @anchor.setter
    def anchor(self, subject: object) -> None:
        try:
            self._anchor: Callable[[], object] = weakref.ref(subject)
        except TypeError:  # None, numbers and tuples, which stand nowhere in a model
            self._anchor = _nothing

    def __str__(self) -> str:
        """Assemble the message from its parts."""
        place = self._place.format(self.where) if self.where else ""
        lines = [f"{self.subject}{place}: expected {self.expected}, got {self.got}."]
        lines += [f"  - {detail}" for detail in self.details]
        return "\n".join([*lines, f"  fix: {self.fix}."])

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by parts, so that an error survives the way back from a worker process."""
        parts = (self.subject, self.expected, self.got, self.fix, self.where, self.details)
        return _rebuilt, (type(self), *parts)


def _nothing() -> None:
    """Stand for an object that is gone."""


def _rebuilt(
    kind: type[RosinError],
    subject: str,
    expected: str,
    got: str,
    fix: str,
    where: str,
    details: tuple[str, ...],
) -> RosinError:
    return kind(subject=subject, expected=expected, got=got, fix=fix, where=where, details=details)


class UsageError(RosinError):
    """A caller's mistake, found when a layer is built or a call is traced."""


class ShapeError(UsageError, ValueError):
    """An array has the wrong shape or rank."""


class DtypeError(UsageError, TypeError):
    """An array has the wrong dtype."""


class RangeError(UsageError, ValueError):
    """A number or an option lies outside its stated range."""


class StructureError(UsageError, TypeError):
    """A tree, a field or a set of names is not the one that was wanted."""


class StateError(UsageError, RuntimeError):
    """The call is right, the moment is not: a frozen model, a record nobody collects."""


class NonFiniteError(RosinError, ArithmeticError):
    """A NaN or an infinity arose; `where` names the layer, `got` the operation.

    Attributes:
        finding: What `find_nonfinite` found, with the ranges of the operation's operands;
            None if the update was to blame.
    """

    finding: Any = None


class DataError(RosinError, ValueError):
    """Foreign data breaks its contract; the message names file, row and field."""

    _place = ", {}"


class FileError(RosinError, ValueError):
    """A file is not what it claims to be; the message names the rule and the byte."""

    _place = ", {}"


class UnsafeFileError(FileError):
    """Loading the file could run code, so it is never loaded."""


class LimitError(FileError):
    """The file is larger than a stated bound; nothing was allocated."""


class TrustError(RosinError, ValueError):
    """A signature, a digest, a role or an expiry does not hold."""

    _place = ", {}"
