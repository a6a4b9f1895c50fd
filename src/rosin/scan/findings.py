# SPDX-License-Identifier: Apache-2.0
"""Every rule that a scan can find broken: its level, what it could do, and the way out.

A rule's id never changes its meaning; each has a page of its own in `docs/scan/`. Rules that
mean the same for every format stand in `GENERAL`; each format adds a table of its own.
"""

import dataclasses
from collections.abc import Mapping
from typing import Final

from rosin.scan.report import Finding, Level

GET_AGAIN: Final = "get the file again from its author; this one is damaged or was made wrongly"
CUT_SHORT: Final = "copy or download the file again; it was cut short"
KEEP_STILL: Final = "scan it again when nothing else writes to it"
ASK_FOR_DATA: Final = "ask its author for the arrays alone: a state dict, or a safetensors file"
UNREAD: Final = "What is not understood may be anything, code included"


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Args:
        level: How bad it is to break it.
        expected: A noun phrase: what the rule wants; the finding may say it more exactly.
        danger: A sentence on what a file that breaks it could do, without its full stop.
        way_out: One imperative, without its full stop.
    """

    level: Level
    expected: str
    danger: str
    way_out: str = GET_AGAIN


GENERAL: Final[Mapping[str, Rule]] = {
    "format-unknown": Rule(
        Level.UNKNOWN,
        "a format that Rosin knows",
        UNREAD,
        "convert the file to safetensors where it was made, or leave it out of the folder",
    ),
    "format-unread": Rule(
        Level.UNKNOWN,
        "a format that Rosin reads",
        UNREAD,
        "convert a model to safetensors where it was made; unpack an archive and scan its files",
    ),
    "format-mismatch": Rule(
        Level.SUSPICIOUS,
        "contents that agree with the file's extension",
        "Programs that go by the extension would treat it as something else than it is",
        "rename the file after what it holds, if you know why it is called otherwise",
    ),
    "polyglot": Rule(
        Level.SUSPICIOUS,
        "one format",
        "Two programs can read two different files from the same bytes",
    ),
    "cut-short": Rule(Level.UNKNOWN, "more bytes", UNREAD, CUT_SHORT),
    "trailing-bytes": Rule(
        Level.UNKNOWN,
        "the end of the file",
        "Bytes that belong to nothing can hold a second file that another program finds",
    ),
    "limit": Rule(
        Level.UNKNOWN,
        "no more than the bound",
        "Reading it could fill the memory or never end",
        "split the file, or pass limits= with this bound sized for a file you know",
    ),
    "changed": Rule(
        Level.UNKNOWN,
        "a file that stays as it is while it is scanned",
        "What was scanned is not what somebody would load",
        KEEP_STILL,
    ),
    "unreadable": Rule(
        Level.UNKNOWN, "a file that can be opened", UNREAD, "give yourself permission to read it"
    ),
    "not-regular": Rule(
        Level.UNKNOWN,
        "a regular file or a folder",
        "A pipe or a device gives other bytes each time, or none for ever",
        "take it out of the folder",
    ),
    "link": Rule(
        Level.UNKNOWN,
        "files and folders, no symbolic links",
        "A link shows what lies elsewhere, and something else tomorrow; it is not followed",
        "put the file itself in place of the link, or scan what it points to",
    ),
    "tensor-name": Rule(
        Level.UNKNOWN,
        "names of printable characters, each once",
        "Which of two arrays of one name is used depends on the reader",
    ),
    "depth": Rule(
        Level.UNKNOWN,
        "folders and archives no deeper than the bound",
        "Archives in archives can grow without end",
        "unpack the outer archive and scan what comes out",
    ),
}

_NAMES: Final = "only names that plain data is made with"

PICKLES: Final[Mapping[str, Rule]] = {
    "pickle-code": Rule(
        Level.DANGEROUS,
        _NAMES,
        "Loading the file runs this, with arguments from the file: any program, as you",
        ASK_FOR_DATA,
    ),
    "pickle-name": Rule(
        Level.SUSPICIOUS,
        _NAMES,
        "Loading the file imports this, and may call it with arguments from the file",
        ASK_FOR_DATA,
    ),
    "pickle-call": Rule(
        Level.SUSPICIOUS,
        "a constructor with arguments that data has",
        "With other arguments it may do something else than make data",
        ASK_FOR_DATA,
    ),
    "pickle-operand": Rule(
        Level.SUSPICIOUS,
        "an operation on a value that it is meant for",
        "What the operation does is then decided by the value's class, even by its code",
        ASK_FOR_DATA,
    ),
    "pickle-extension": Rule(
        Level.SUSPICIOUS,
        _NAMES,
        "The name stands in a registry of the program that loads it; it may be any",
        ASK_FOR_DATA,
    ),
    "pickle-nested": Rule(
        Level.SUSPICIOUS,
        "bytes of data",
        "A program that unpickles these bytes in turn runs what they call",
        ASK_FOR_DATA,
    ),
    "pickle-persistent": Rule(
        Level.UNKNOWN,
        "values that are all in the stream",
        "What it refers to is decided by the program that loads it",
        ASK_FOR_DATA,
    ),
    "pickle-opcode": Rule(Level.UNKNOWN, "an opcode of pickle protocols 0 to 5", UNREAD),
    "pickle-malformed": Rule(
        Level.UNKNOWN, "a stream that a writer of pickles could have written", UNREAD
    ),
    "pickle-frame": Rule(
        Level.UNKNOWN,
        "a frame of whole opcodes",
        "Readers that go by frames and readers that do not would run different opcodes",
    ),
    "pickle-duplicate-key": Rule(
        Level.UNKNOWN,
        "every key once",
        "Which of the two values counts depends on the reader",
    ),
    "pickle-cycle": Rule(Level.UNKNOWN, "a tree", "A walk over it never ends", ASK_FOR_DATA),
    "pickle-unread": Rule(
        Level.UNKNOWN,
        "dense tensors of plain numbers",
        "It is data, but of a kind that Rosin does not read",
        "make it dense where it was saved, with .to_dense() or .dequantize(), and save it again",
    ),
}

PYTORCH: Final[Mapping[str, Rule]] = {
    "pytorch-layout": Rule(
        Level.UNKNOWN, "the parts that torch.save writes", "Readers may take it differently"
    ),
    "torchscript": Rule(
        Level.SUSPICIOUS,
        "a checkpoint of tensors",
        "It is a program: TorchScript code that runs when the model is used",
        "save model.state_dict() with torch.save, or as a safetensors file",
    ),
}

ARCHIVES: Final[Mapping[str, Rule]] = {
    "zip-layout": Rule(
        Level.UNKNOWN,
        "members end to end, each as the directory says",
        "Programs that go by the directory and those that go by the members read different files",
    ),
    "zip-feature": Rule(
        Level.UNKNOWN, "members that are stored or deflated, in one plain archive", UNREAD
    ),
    "tar-layout": Rule(
        Level.UNKNOWN,
        "headers of plain files and folders, and zeros at the end",
        "Programs that understand other headers read other files",
    ),
    "archive-name": Rule(
        Level.DANGEROUS,
        "names of files beneath the folder of the archive",
        "Unpacking the archive can write outside of its folder, or over a file of yours",
        "do not unpack it; ask its author for an archive with plain names",
    ),
    "archive-duplicate": Rule(
        Level.SUSPICIOUS,
        "every name once, also where capitals do not count",
        "Which of the two is read depends on the program",
    ),
    "archive-checksum": Rule(
        Level.UNKNOWN, "bytes that agree with their checksum", UNREAD, CUT_SHORT
    ),
    "archive-damaged": Rule(Level.UNKNOWN, "compressed data", UNREAD, CUT_SHORT),
}

NUMPY: Final[Mapping[str, Rule]] = {
    "npy-header": Rule(
        Level.UNKNOWN,
        "a header of descr, fortran_order and shape, as NumPy writes it",
        "Readers that evaluate the header, or guess, take it differently",
    ),
    "npy-dtype": Rule(
        Level.UNKNOWN,
        "numbers, or flat records of numbers",
        "It is data, but of a kind that Rosin does not read",
        "convert it to numbers where it was saved",
    ),
    "npy-objects": Rule(
        Level.SUSPICIOUS,
        "numbers, or flat records of numbers",
        "An array of objects is a pickle: loading it with allow_pickle=True runs what it calls",
        "convert it to an array of numbers where it was saved",
    ),
}

SAFETENSORS: Final[Mapping[str, Rule]] = {
    "safetensors-header": Rule(
        Level.UNKNOWN,
        "a header that says where each array lies, end to end to the end of the file",
        "Readers that trust the header would read other bytes, or take two for one",
    ),
}

GGUF: Final[Mapping[str, Rule]] = {
    "gguf-layout": Rule(
        Level.UNKNOWN,
        "keys and tensors as the specification of GGUF lays them out",
        "Programs that trust the counts and offsets would read or write beyond their memory",
    ),
    "gguf-type": Rule(
        Level.UNKNOWN,
        "plain numbers, or blocks of Q4_0 to Q8_0 and Q4_K to Q6_K",
        "It is data, but of a kind that Rosin does not read",
        "quantise the model to Q8_0 or Q6_K with llama.cpp's llama-quantize, or keep it in F16",
    ),
}

ONNX: Final[Mapping[str, Rule]] = {
    "onnx-layout": Rule(
        Level.UNKNOWN,
        "the fields that onnx.proto has, each as it has them",
        "Readers differ on fields that they do not know, or find twice",
    ),
    "onnx-type": Rule(
        Level.UNKNOWN,
        "dense initialisers of plain numbers",
        "It is data, but of a kind that Rosin does not read",
        "save these initialisers as dense numbers of 8 bits or more",
    ),
    "onnx-external": Rule(
        Level.UNKNOWN,
        "all numbers in the file itself",
        "What lies in another file was not looked at",
        "save the model as one file: onnx.save(model, path, save_as_external_data=False)",
    ),
    "onnx-path": Rule(
        Level.DANGEROUS,
        "all numbers in the file itself, or in one beside it",
        "Loading it reads a file elsewhere on your system as if it were weights",
        "do not load it; ask its author for the model as one file",
    ),
    "onnx-domain": Rule(
        Level.SUSPICIOUS,
        "operators that ONNX and its runtimes have by themselves",
        "Running it needs a library of somebody's own, which is loaded as a program",
        "ask its author for the arrays alone, or read the library before you load it",
    ),
}

_READ_IT: Final = "read it before you use the model, or keep the arrays alone"

SCRIPTS: Final[Mapping[str, Rule]] = {
    "program": Rule(
        Level.DANGEROUS,
        "files of data",
        "It is made to be run, or to be loaded by a program that is",
        "delete it: arrays need no program; build what you need from its sources",
    ),
    "office": Rule(
        Level.SUSPICIOUS,
        "files of data and plain text",
        "Such documents hold macros, which run when they are opened",
        "ask its author for the text as Markdown or PDF",
    ),
    "script": Rule(
        Level.SUSPICIOUS,
        "text that documents, lists or sets something",
        "It may be a script: a program that imports or runs what lies beside a model runs it",
        _READ_IT,
    ),
    "settings-call": Rule(
        Level.DANGEROUS,
        "settings of plain values",
        "Loading these settings with the library they are for runs code from the file",
        "ask its author for the arrays alone, and build the model from code you know",
    ),
    "settings-code": Rule(
        Level.SUSPICIOUS,
        "settings of plain values",
        "The library that these settings are for imports what they name, or fetches code",
        _READ_IT,
    ),
    "settings-malformed": Rule(
        Level.UNKNOWN, "JSON", "Another reader may take it for other settings than this one"
    ),
    "template": Rule(
        Level.NOTE,
        "settings of plain values",
        "A template is a small program; filled in without a sandbox it can run any code",
        "fill it in with jinja2.sandbox.ImmutableSandboxedEnvironment only",
    ),
}

RULES: Final[Mapping[str, Rule]] = {
    **GENERAL,
    **PICKLES,
    **PYTORCH,
    **ARCHIVES,
    **NUMPY,
    **SAFETENSORS,
    **GGUF,
    **ONNX,
    **SCRIPTS,
}


def finding(
    rule: str, file: str, byte: int | None, *, got: str, expected: str = "", place: str = ""
) -> Finding:
    """Make the finding that a rule is broken, with the rule's own texts.

    Examples:
        >>> finding("cut-short", "a.pt", 12, got="the end").level.label
        'unknown'
    """
    row = RULES[rule]
    return Finding(
        id=rule,
        level=row.level,
        file=file,
        byte=byte,
        place=place,
        expected=expected or row.expected,
        got=got,
        danger=row.danger,
        way_out=row.way_out,
    )
