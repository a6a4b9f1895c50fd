# SPDX-License-Identifier: Apache-2.0
"""PyTorch's checkpoints: tensors that do not fit their storage, parts that do not belong."""

import struct

from rosin.scan import Level
from tests.attacks.assemble import (
    LEGACY_MAGIC,
    NONE,
    ORDERED,
    archive,
    call_of,
    checkpoint,
    group,
    legacy,
    name,
    number,
    storage,
    stream,
    tensor,
    text,
)
from tests.attacks.case import Case

SAFE, SUSPICIOUS, UNKNOWN, DANGEROUS = Level.SAFE, Level.SUSPICIOUS, Level.UNKNOWN, Level.DANGEROUS
SYSTEM = call_of("os.system", text("ls"))


def made(*parts, rule=None, verdict=SAFE, storages=None, members=()):
    """Make a zip checkpoint around a pickle."""
    data = checkpoint(stream(*parts), storages, members)
    return Case(data, rule, verdict, file="model.pt")


def misfit(*parts, rule="pickle-call", verdict=SUSPICIOUS, **more):
    """Make one whose tensor does not fit."""
    return made(*parts, rule=rule, verdict=verdict, **more)


def old(pickle, rule=None, verdict=SAFE, **more):
    """Make a legacy checkpoint."""
    return Case(legacy(pickle, **more), rule, verdict, file="model.pt")


def old_storage(numel=4):
    """Refer to a storage as the legacy format does."""
    return storage(numel=numel, more=(NONE,))


LAYOUT = {"rule": "pytorch-layout", "verdict": UNKNOWN}

CASES = {
    "a tensor": made(tensor()),
    "a tensor with strides": made(tensor(shape=(2, 2), strides=(1, 2))),
    "an empty tensor": made(tensor(shape=(0,))),
    "a legacy tensor": old(stream(tensor(old_storage()))),
    # CVE-2026-24747 and its kind
    "a tensor larger than its storage": misfit(tensor(shape=(5,))),
    "an offset beyond the storage": misfit(tensor(offset=1)),
    "an offset of an empty tensor beyond the storage": misfit(tensor(offset=5, shape=(0,))),
    "strides beyond the storage": misfit(tensor(shape=(2, 2), strides=(3, 1))),
    "a negative stride": misfit(tensor(strides=(-1,))),
    "a negative offset": misfit(tensor(offset=-1)),
    "a negative size": misfit(tensor(shape=(-1,))),
    "more strides than axes": misfit(tensor(strides=(1, 1))),
    "sizes whose product overflows": misfit(tensor(shape=(2**31 - 1,) * 4, strides=(0,) * 4)),
    "a tensor of 65 axes": misfit(tensor(shape=(1,) * 65, strides=(1,) * 65)),
    "items set in a tensor": misfit(tensor(), number(0), NONE, b"s", rule="pickle-operand"),
    "a state for a tensor": misfit(tensor(), b"}b", rule="pickle-operand"),
    "a number as a storage": misfit(tensor(number(1)), storages={}),
    "hooks": misfit(tensor(hooks=call_of("collections.OrderedDict") + number(1) + NONE + b"s")),
    "metadata of a tensor": misfit(
        tensor(more=(b"}" + text("conj") + b"\x88s",)), rule="pickle-unread", verdict=UNKNOWN
    ),
    "a tensor blown up by a stride of nought": misfit(
        tensor(shape=(2**20, 2**10), strides=(0, 0)), rule="limit", verdict=UNKNOWN
    ),
    # storages
    "a storage smaller than it says": misfit(tensor(), storages={"0": bytes(15)}, **LAYOUT),
    "a storage larger than it says": misfit(tensor(), storages={"0": bytes(17)}, **LAYOUT),
    "a storage that is missing": misfit(tensor(), storages={}, **LAYOUT),
    "a storage that nobody uses": misfit(
        tensor(), storages={"0": bytes(16), "1": bytes(4)}, **LAYOUT
    ),
    "a storage of two sizes": misfit(
        group(tensor(), tensor(storage(numel=3), shape=(3,))),
        rule="pickle-persistent",
        verdict=UNKNOWN,
    ),
    "a storage of another class": misfit(
        tensor(storage(kind="EvilStorage")), rule="pickle-name", verdict=UNKNOWN
    ),
    "a reference that is no storage": misfit(
        group(text("module"), NONE, NONE) + b"Q", rule="pickle-persistent", verdict=UNKNOWN
    ),
    "a storage of a negative size": misfit(
        storage(numel=-1), rule="pickle-persistent", verdict=UNKNOWN
    ),
    "a key that is a number": misfit(
        group(text("storage"), name("torch", "FloatStorage"), number(0), text("cpu"), number(4))
        + b"Q",
        rule="pickle-persistent",
        verdict=UNKNOWN,
    ),
    # names
    "a call": made(SYSTEM, rule="pickle-code", verdict=DANGEROUS),
    "a call after the tensors": made(
        b"}", text("a"), tensor(), b"s", SYSTEM, b"0", rule="pickle-code", verdict=DANGEROUS
    ),
    "a subclass of tensors": misfit(
        call_of("torch._tensor._rebuild_from_type_v2", NONE), rule="pickle-name", storages={}
    ),
    "a sparse tensor": misfit(
        call_of("torch._utils._rebuild_sparse_tensor", NONE), rule="pickle-unread", verdict=UNKNOWN
    ),
    "two tensors of one name": misfit(
        b"}(",
        text("a.b"),
        tensor(),
        text("a"),
        b"}",
        text("b"),
        tensor(),
        b"su",
        rule="tensor-name",
        verdict=UNKNOWN,
    ),
    "a name with an escape": misfit(
        b"}", text("a\x1b[2J"), tensor(), b"s", rule="tensor-name", verdict=UNKNOWN
    ),
    "a name of a megabyte": misfit(
        b"}", text("a" * 2**20), tensor(), b"s", rule="limit", verdict=UNKNOWN
    ),
    # parts of the archive
    "a stream after the first": Case(
        checkpoint(stream(tensor()) + stream(SYSTEM)), "trailing-bytes", UNKNOWN, file="model.pt"
    ),
    "TorchScript": misfit(
        tensor(), rule="torchscript", members={"code/__torch__.py": b"def f(): pass"}
    ),
    "constants of TorchScript": misfit(
        tensor(), rule="torchscript", members={"constants.pkl": stream(NONE)}
    ),
    "a member beside the parts": misfit(tensor(), **LAYOUT, members={"evil.py": b"import os"}),
    "another pickle beside the parts": misfit(
        tensor(), **LAYOUT, members={"data2.pkl": stream(SYSTEM)}
    ),
    "a byte order of its own": misfit(tensor(), **LAYOUT, members={"byteorder": b"middle"}),
    "a version that is a text": misfit(tensor(), **LAYOUT, members={"version": b"three"}),
    "members in two folders": Case(
        archive({"a/data.pkl": stream(NONE), "b/data.pkl": stream(SYSTEM)}),
        "pytorch-layout",
        UNKNOWN,
        file="model.pt",
    ),
    "compressed members": Case(
        archive({"a/data.pkl": stream(NONE), "a/version": b"3"}, method=8),
        "pytorch-layout",
        UNKNOWN,
        file="model.pt",
    ),
    "a checkpoint called text": Case(
        checkpoint(stream(tensor())), "format-mismatch", SUSPICIOUS, file="model.txt"
    ),
    # the legacy format
    "legacy: a call": old(stream(SYSTEM), "pickle-code", DANGEROUS),
    "legacy: a call in the list of systems": old(
        stream(NONE), "pickle-code", DANGEROUS, system=stream(SYSTEM)
    ),
    "legacy: another version": old(
        stream(NONE), "pytorch-layout", UNKNOWN, version=stream(number(1002))
    ),
    "legacy: big-endian": old(
        stream(NONE),
        "pytorch-layout",
        UNKNOWN,
        system=stream(b"}", text("little_endian"), b"\x89s"),
    ),
    "legacy: a magic number that is computed": Case(
        stream(call_of("builtins.eval", text("0x1950a86a20f9469cfc6c"))) + legacy(NONE)[15:],
        "pickle-code",
        DANGEROUS,
        file="model.pt",
    ),
    "legacy: a magic number of another spelling": Case(
        b"\x80\x02L119547037146038801333356L\n." + legacy(stream(tensor(old_storage())))[15:],
        "pickle-persistent",
        UNKNOWN,
        file="model.pt",
    ),
    "legacy: the magic number alone": Case(LEGACY_MAGIC, "cut-short", UNKNOWN, file="model.pt"),
    "legacy: keys of other storages": old(
        stream(tensor(old_storage())), "pytorch-layout", UNKNOWN, keys=("1",)
    ),
    "legacy: a key twice": old(
        stream(tensor(old_storage())), "pytorch-layout", UNKNOWN, keys=("0", "0")
    ),
    "legacy: a storage of another size": old(
        stream(tensor(old_storage())), "pytorch-layout", UNKNOWN, tail=struct.pack("<Q", 5)
    ),
    "legacy: a storage that is cut short": old(
        stream(tensor(old_storage())), "cut-short", UNKNOWN, tail=struct.pack("<Q", 4) + bytes(15)
    ),
    "legacy: bytes after the storages": old(
        stream(tensor(old_storage())),
        "trailing-bytes",
        UNKNOWN,
        tail=struct.pack("<Q", 4) + bytes(17),
    ),
    "legacy: a view of a storage": old(
        stream(tensor(storage(more=(group(text("1"), number(0), number(1)),)))),
        "pickle-persistent",
        UNKNOWN,
    ),
    "legacy: a pickle after the storages": old(
        stream(tensor(old_storage())),
        "trailing-bytes",
        UNKNOWN,
        tail=struct.pack("<Q", 4) + bytes(16) + stream(SYSTEM),
    ),
    "an ordered dict of tensors": made(ORDERED, text("a"), tensor(), b"s"),
}
