# SPDX-License-Identifier: Apache-2.0
"""Every opcode of pickle protocols 0 to 5, and the loop that runs them on a machine."""

from collections.abc import Callable, Mapping
from typing import Final

from rosin.errors import grouped, shortened
from rosin.scan.literals import LITERALS
from rosin.scan.machine import Machine
from rosin.scan.values import Blob, Dict, List, Opaque, Set, named, plain_key

_STOP: Final = ord(".")


def run(machine: Machine) -> object:
    """Run a stream to its STOP, report every name that is not listed, return its value.

    Raises:
        Refused: The stream is malformed or exceeds a bound; its names were reported.
    """
    try:
        return _run(machine)
    finally:
        machine.report_names()


def _run(machine: Machine) -> object:
    cursor = machine.cursor
    limit = machine.region.context.limits.max_pickle_steps
    steps = 0
    while True:
        machine.op = cursor.position
        if machine.frame_end is not None:
            machine.check_frame()
        code = cursor.take(1)[0]
        steps += 1
        if steps > limit:
            machine.region.expect_within("max_pickle_steps", steps, unit="steps", byte=machine.op)
        if (read := LITERALS.get(code)) is not None:
            value = read(cursor)
            machine.push(value)
            if type(value) is Blob:
                machine.blobs.append(value)
            elif type(value) is bytes:
                begin = cursor.position - len(value)
                machine.blobs.append(Blob(machine.region, begin, len(value)))
        elif code == _STOP:
            return machine.stop()
        elif (handler := HANDLERS.get(code)) is not None:
            handler(machine)
        else:
            machine.region.refuse("pickle-opcode", machine.op, got=f"byte {code:#04x}")


# --- containers ----------------------------------------------------------------------


def _append(machine: Machine, items: list[object]) -> None:
    target = machine.top()
    if isinstance(target, List):
        target.items += items
    else:
        machine.wrong_operand("an append to", target)


def _set_items(machine: Machine, items: list[object], target: object) -> None:
    """Set entries of a dict, which must be one; keys are plain and come once."""
    if not isinstance(target, Dict):
        machine.wrong_operand("an assignment to items of", target)
        return
    if len(items) % 2:
        machine.malformed("a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not plain_key(key):
            machine.wrong_operand("a key that is", key)
        elif key in target.items:
            machine.region.report("pickle-duplicate-key", machine.op, got=shortened(repr(key)))
        else:
            target.items[key] = value


def _append_one(machine: Machine) -> None:
    value = machine.pop()
    _append(machine, [value])


def _set_item(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value], machine.top())


def _set_many(machine: Machine) -> None:
    items = machine.pop_mark()
    _set_items(machine, items, machine.top())


def _dict(machine: Machine) -> None:
    made = Dict()
    _set_items(machine, machine.pop_mark(), made)
    machine.push(made)


def _add_items(machine: Machine) -> None:
    items = machine.pop_mark()
    target = machine.top()
    if isinstance(target, Set) and target.mutable:
        target.items += machine.members(items)
    else:
        machine.wrong_operand("an addition to", target)


def _frozen_set(machine: Machine) -> None:
    machine.push(Set(machine.members(machine.pop_mark()), mutable=False))


def _tuple_of(size: int) -> Callable[[Machine], None]:
    def make(machine: Machine) -> None:
        values = [machine.pop() for _ in range(size)]
        machine.push(tuple(reversed(values)))

    return make


def _discard(machine: Machine) -> None:
    """Drop the top value, or the mark that lies there."""
    if not machine.stack and machine.marks:
        machine.pop_mark()
    else:
        machine.pop()


def _pop_mark(machine: Machine) -> None:
    machine.pop_mark()


# --- memo ----------------------------------------------------------------------------


def _index_line(machine: Machine) -> int:
    line = machine.cursor.line()
    if not line.isdigit() or len(line) > 10:
        machine.malformed("an index that is no number")
    return int(line)


def _get(machine: Machine, index: int) -> None:
    if index not in machine.memo:
        machine.malformed(f"no value {grouped(index)} in the memo")
    machine.push(machine.memo[index])


def _put(machine: Machine, index: int) -> None:
    # CPython's memo is an array as long as the highest index.
    machine.region.expect_within("max_pickle_steps", index, unit="memo entries", byte=machine.op)
    machine.memo[index] = machine.top()


# --- names and calls -----------------------------------------------------------------


def _name_lines(machine: Machine) -> tuple[str, str]:
    try:
        return machine.cursor.line().decode(), machine.cursor.line().decode()
    except UnicodeDecodeError:
        machine.malformed("a name that is not UTF-8")


def _global(machine: Machine) -> None:
    machine.push_name(*_name_lines(machine))


def _stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.push_name(module, name)


def _reduce(machine: Machine) -> None:
    arguments, callee = machine.pop(), machine.pop()
    machine.call(callee, arguments)


def _new(machine: Machine) -> None:
    arguments, callee = machine.pop(), machine.pop()
    machine.call(callee, arguments, new=True)


def _new_with_keywords(machine: Machine) -> None:
    keywords = machine.pop()
    if not isinstance(keywords, Dict) or keywords.items:
        machine.region.report("pickle-operand", machine.op, got=f"keywords {named(keywords)}")
    _new(machine)


def _inst(machine: Machine) -> None:
    module, name = _name_lines(machine)
    arguments = machine.pop_mark()
    machine.push_name(module, name)
    machine.instance(machine.pop(), arguments)


def _obj(machine: Machine) -> None:
    arguments = machine.pop_mark()
    if not arguments:
        machine.malformed("no class to make an object of")
    machine.instance(arguments[0], arguments[1:])


def _extension(width: int) -> Callable[[Machine], None]:
    def report(machine: Machine) -> None:
        code = machine.cursor.unsigned(width)
        machine.region.report("pickle-extension", machine.op, got=f"extension {grouped(code)}")
        machine.push(Opaque())

    return report


def _persistent_line(machine: Machine) -> None:
    try:
        machine.persistent(machine.cursor.line().decode("ascii"))
    except UnicodeDecodeError:
        machine.malformed("a persistent id that is not ASCII")


def _buffer(machine: Machine) -> None:
    machine.region.report("pickle-persistent", machine.op, got="a buffer outside the stream")
    machine.push(Opaque())


HANDLERS: Final[Mapping[int, Callable[[Machine], None]]] = {
    ord(code): handler
    for code, handler in {
        "\x80": Machine.protocol,
        "\x95": Machine.frame,
        "(": Machine.mark,
        "0": _discard,
        "1": _pop_mark,
        "2": lambda machine: machine.push(machine.top()),
        # containers
        "a": _append_one,
        "e": lambda machine: _append(machine, machine.pop_mark()),
        "l": lambda machine: machine.push(List(machine.pop_mark())),
        "s": _set_item,
        "u": _set_many,
        "d": _dict,
        "t": lambda machine: machine.push(tuple(machine.pop_mark())),
        "\x85": _tuple_of(1),
        "\x86": _tuple_of(2),
        "\x87": _tuple_of(3),
        "\x90": _add_items,
        "\x91": _frozen_set,
        # memo
        "p": lambda machine: _put(machine, _index_line(machine)),
        "q": lambda machine: _put(machine, machine.cursor.unsigned(1)),
        "r": lambda machine: _put(machine, machine.cursor.unsigned(4)),
        "\x94": lambda machine: _put(machine, len(machine.memo)),
        "g": lambda machine: _get(machine, _index_line(machine)),
        "h": lambda machine: _get(machine, machine.cursor.unsigned(1)),
        "j": lambda machine: _get(machine, machine.cursor.unsigned(4)),
        # names and calls
        "c": _global,
        "\x93": _stack_global,
        "R": _reduce,
        "\x81": _new,
        "\x92": _new_with_keywords,
        "b": Machine.build,
        "i": _inst,
        "o": _obj,
        "\x82": _extension(1),
        "\x83": _extension(2),
        "\x84": _extension(4),
        # what stands outside the stream
        "P": _persistent_line,
        "Q": lambda machine: machine.persistent(machine.pop()),
        "\x97": _buffer,
        "\x98": lambda _: None,
    }.items()
}
"""From an opcode to what it does. READONLY_BUFFER does nothing to a symbol."""
