# SPDX-License-Identifier: Apache-2.0
"""The pickle machine: stack, marks, memo and calls, executed on symbols.

The stack, the marks and the memo are CPython's; the values are those of `values`, so that
nothing is imported, called or built. What a call may be is decided by a profile: a closed
list of names, each with the pattern of its arguments. A name beyond the list is reported
when it is pushed, for importing it can already run code, and the machine goes on to the end
of the stream in order to report everything.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

from rosin.errors import grouped, shortened
from rosin.scan.cursor import Cursor
from rosin.scan.names import known_to_run_code
from rosin.scan.values import Blob, Buildable, Dict, Misfit, Name, Opaque, Unread, named, plain_key

HIGHEST_PROTOCOL: Final = 5

MAX_NAMES: Final = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class Constructor:
    """What a name on the list of a profile may be used for.

    Args:
        call: Takes the arguments of a REDUCE and returns the value; raises `Misfit`.
        new: The same for NEWOBJ.
        value: What the name itself stands for, such as a dtype.
        unread: The kind of data it makes, if it is harmless but nothing reads it.
    """

    call: Callable[[tuple[object, ...]], object] | None = None
    new: Callable[[tuple[object, ...]], object] | None = None
    value: object = None
    unread: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Profile:
    """What a stream of one kind may ask for.

    Args:
        names: The constructors by module and name.
        persistent: Takes a persistent id and returns the value; raises `Misfit`.
        after_build: Takes a value that a BUILD completed and the cursor after it, and
            returns what stands in its place: for writers that put raw bytes there.
    """

    names: Mapping[tuple[str, str], Constructor]
    persistent: Callable[[object], object] | None = None
    after_build: Callable[[object, Cursor], object] | None = None


@dataclasses.dataclass(slots=True)
class Mention:
    """A name that a stream asks for: where first, and whether it is called."""

    byte: int
    called: bool = False


class Machine:
    """The state of one stream, and what its opcodes do to it.

    Args:
        cursor: Where the stream begins; left behind its STOP.
        profile: What it may ask for.
    """

    def __init__(self, cursor: Cursor, profile: Profile) -> None:
        self.cursor = cursor
        self.region = cursor.region
        self.profile = profile
        self.stack: list[object] = []
        self.marks: list[list[object]] = []
        self.memo: dict[int, object] = {}
        self.blobs: list[Blob] = []
        self.recoded: list[tuple[int, bytes]] = []
        self.mentions: dict[tuple[str, str], Mention] = {}
        self.op = cursor.position
        self._begin = cursor.position
        self.frame_end: int | None = None
        self.ended = False

    # --- frames and the end ----------------------------------------------------------

    def check_frame(self) -> None:
        """Hold opcodes to their frame: CPython's two readers differ on what crosses it."""
        if self.op == self.frame_end:
            self.frame_end = None
        elif self.frame_end is not None and self.op > self.frame_end:
            self.region.report("pickle-frame", self.op, got="an opcode across its end")
            self.frame_end = None

    def frame(self) -> None:
        """Begin a frame."""
        size = self.cursor.unsigned(8)
        if self.frame_end is not None:
            self.region.report("pickle-frame", self.op, got="a frame inside a frame")
        if size > self.cursor.left:
            self.region.report("pickle-frame", self.op, got="a frame beyond the end")
            return
        self.frame_end = self.cursor.position + size

    def protocol(self) -> None:
        """Take the number of the protocol, which comes first or not at all."""
        number = self.cursor.take(1)[0]
        if self.op != self._begin:
            self.region.report("pickle-opcode", self.op, got="PROTO, which may only come first")
        if number > HIGHEST_PROTOCOL:
            self.region.refuse("pickle-opcode", self.op, got=f"protocol {number}")

    def stop(self) -> object:
        """End the stream and return its value, the only one left."""
        value = self.pop()
        self.ended = True
        if self.stack or self.marks:
            self.region.report("pickle-malformed", self.op, got="values left over at the end")
        if self.frame_end is not None and self.cursor.position != self.frame_end:
            self.region.report("pickle-frame", self.op, got="a STOP before its end")
        return value

    # --- stack and memo --------------------------------------------------------------

    def push(self, value: object) -> None:
        """Put a value on top of the stack, which a mark may just have replaced."""
        self.stack.append(value)

    def pop(self) -> object:
        """Take the top of the stack."""
        if not self.stack:
            self.malformed("an empty stack, or a mark on top of it")
        return self.stack.pop()

    def pop_mark(self) -> list[object]:
        """Take everything above the last mark."""
        if not self.marks:
            self.malformed("no mark")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def top(self) -> object:
        """Look at the top of the stack."""
        if not self.stack:
            self.malformed("an empty stack, or a mark on top of it")
        return self.stack[-1]

    def mark(self) -> None:
        """Begin a group."""
        self.marks.append(self.stack)
        self.stack = []

    def malformed(self, got: str) -> NoReturn:
        """Stop: the stream cannot be what a writer of pickles wrote."""
        self.region.refuse("pickle-malformed", self.op, got=got)

    def wrong_operand(self, deed: str, target: object) -> None:
        """Report an operation on a value of the wrong type, unless it was reported before."""
        if not isinstance(target, Opaque) and self._listed(target):
            self.region.report("pickle-operand", self.op, got=f"{deed} {named(target)}")

    def _listed(self, value: object) -> bool:
        return not isinstance(value, Name) or (value.module, value.name) in self.profile.names

    def members(self, items: list[object]) -> list[object]:
        """Return the members of a set: plain, as keys are, each once."""
        for item in items:
            if not plain_key(item):
                self.wrong_operand("a set that holds", item)
        return list(dict.fromkeys(item for item in items if plain_key(item)))

    # --- names and calls -------------------------------------------------------------

    def push_name(self, module: object, name: object) -> None:
        """Push a name, or the value that it stands for."""
        if not isinstance(module, str) or not isinstance(name, str):
            self.region.report(
                "pickle-operand", self.op, got=f"a name made of {named(module)} and {named(name)}"
            )
            self.stack.append(Opaque())
            return
        self.mentions.setdefault((module, name), Mention(self.op))
        if len(self.mentions) > MAX_NAMES:
            self.malformed(f"more than {grouped(MAX_NAMES)} names")
        rule = self.profile.names.get((module, name))
        value = None if rule is None else rule.value
        self.stack.append(Name(module, name, self.op) if value is None else value)

    def call(self, callee: object, arguments: object, *, new: bool = False) -> None:
        """Push what a call gives: by the pattern of a listed name, or an opaque object."""
        result = self._result(callee, arguments, new=new)
        if isinstance(result, bytes):
            self.recoded.append((self.op, result))
        self.push(result)

    def _result(self, callee: object, arguments: object, *, new: bool) -> object:
        if not isinstance(callee, Name):
            if not isinstance(callee, Opaque):
                self.region.report("pickle-operand", self.op, got=f"a call of {named(callee)}")
            return Opaque()
        self.mentions[callee.module, callee.name].called = True
        rule = self.profile.names.get((callee.module, callee.name))
        if rule is None or rule.unread:
            return Opaque()
        pattern = (rule.new if new else rule.call) or _never
        parts = arguments if isinstance(arguments, tuple) else ()
        try:
            return (pattern if isinstance(arguments, tuple) else _never)(parts)
        except Misfit as misfit:
            if not any(isinstance(part, Opaque) for part in parts):  # reported already
                self._report_misfit(f"{callee.dotted} with ", misfit)
            return Opaque()

    def _report_misfit(self, subject: str, misfit: Misfit) -> None:
        rule = "pickle-unread" if isinstance(misfit, Unread) else "pickle-call"
        self.region.report(rule, self.op, expected=misfit.expected, got=f"{subject}{misfit.got}")

    def build(self) -> None:
        """Complete the object on top with its state, by its own pattern."""
        state, target = self.pop(), self.pop()
        if isinstance(target, Dict) and target.kind != "dict" and isinstance(state, Dict):
            self.stack.append(target)  # attributes of an OrderedDict, such as `_metadata`
            return
        if not isinstance(target, Buildable):
            self.wrong_operand("a state for", target)
            self.stack.append(Opaque())
            return
        try:
            built = target.build(state)
            if self.profile.after_build is not None:
                begin = self.cursor.position
                built = self.profile.after_build(built, self.cursor)
                if self.cursor.position != begin:
                    self._end_frame(begin)
        except Misfit as misfit:
            self._report_misfit(f"{named(target)} with ", misfit)
            built = Opaque()
        self.stack.append(built)

    def _end_frame(self, at: int) -> None:
        """Hold a frame to end where raw bytes begin."""
        if self.frame_end not in {None, at}:
            self.region.report("pickle-frame", self.op, got="raw bytes inside a frame")
        self.frame_end = None

    def instance(self, callee: object, arguments: list[object]) -> None:
        """Report an INST or OBJ: Python 3 has not written them for any data."""
        if isinstance(callee, Name) and self._listed(callee):
            self.region.report("pickle-call", self.op, got=f"an old-style instance {callee.dotted}")
        self.call(callee, tuple(arguments))

    def persistent(self, key: object) -> None:
        """Push what stands outside the stream under a key."""
        if self.profile.persistent is None:
            self.region.report("pickle-persistent", self.op, got="a reference to outside")
            self.stack.append(Opaque())
            return
        try:
            self.stack.append(self.profile.persistent(key))
        except Misfit as misfit:
            self.region.report(
                "pickle-persistent", self.op, expected=misfit.expected, got=misfit.got
            )
            self.stack.append(Opaque())

    def report_names(self) -> None:
        """Report each name that is not listed once, where it is first asked for."""
        for (module, name), mention in self.mentions.items():
            rule = self.profile.names.get((module, name))
            dotted = shortened(f"{module}.{name}")
            if rule is None:
                known = known_to_run_code(module, name)
                got = f"a call of {dotted}" if mention.called else f"the name {dotted}"
                self.region.report("pickle-code" if known else "pickle-name", mention.byte, got=got)
            elif rule.unread:
                self.region.report("pickle-unread", mention.byte, got=f"{rule.unread}, {dotted}")


def _never(arguments: tuple[object, ...]) -> object:
    """Stand for the pattern of a name that data never calls in this way."""
    raise Misfit("the kind of call that data makes", f"another kind, {len(arguments)} arguments")
