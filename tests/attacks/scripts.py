# SPDX-License-Identifier: Apache-2.0
"""What lies beside a model: programs, scripts, settings that make others run code."""

import json

from rosin.scan import Level
from tests.attacks.assemble import archive
from tests.attacks.case import Case

SAFE, NOTE, SUSPICIOUS, UNKNOWN, DANGEROUS = Level


def program(head, rule="program", verdict=DANGEROUS, file="weights.bin"):
    """Make a file that is a program by its first bytes."""
    return Case(head + bytes(64), rule, verdict, 0, file)


def script(text, file, byte=None):
    """Make a text that something may run."""
    return Case(text.encode(), "script", SUSPICIOUS, byte, file)


def settings(value, rule="settings-code", verdict=SUSPICIOUS, byte=None, file="config.json"):
    """Make settings that are more than data."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Case(data, rule, verdict, byte, file)


def plain(data, file):
    """Make text that is sound."""
    return Case(data, None, SAFE, file=file, reads=False)


def keras(**parts):
    """Make the settings of one layer of Keras, inside a model."""
    layer = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 2}, **parts}
    model = {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}}
    return {**model, "registered_name": None}


TARGET = {"model": {"_target_": "torch.nn.Linear", "in_features": 2}}
CALL = {"model": {"_target_": "os.system", "command": "ls"}}
BYTECODE = b"\xcb\r\r\n" + bytes(12) + b"\xe3"

CASES = {
    "a program of Linux": program(b"\x7fELF\2\1\1"),
    "a program of Windows": program(b"MZ\x90\0"),
    "a program of macOS": program(b"\xcf\xfa\xed\xfe"),
    "a program of macOS for two machines": program(b"\xca\xfe\xba\xbe\0\0\0\2"),
    "a module of WebAssembly": program(b"\0asm\1\0\0\0"),
    "a program of Android": program(b"dex\n035\0"),
    "compiled Python": program(BYTECODE, file="network.pyc"),
    "a link of Windows": program(b"L\0\0\0\x01\x14\x02\0", file="model.lnk"),
    "a program in an archive": Case(
        archive({"lib/a.so": b"\x7fELF" + bytes(60)}), "program", DANGEROUS, 0, "a.zip"
    ),
    "a document of Office": program(
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "office", SUSPICIOUS, "card.doc"
    ),
    "Python": script("import os\n", "network.py"),
    "Python in an archive": Case(
        archive({"code/model.py": b"import os"}), "script", SUSPICIOUS, file="a.zip"
    ),
    "a notebook": script('{"cells": []}', "train.ipynb"),
    "a script of a shell": script("ls\n", "install.sh"),
    "a script of PowerShell": script("ls\n", "install.PS1"),
    "JavaScript": script("alert(1)\n", "index.js"),
    "a page of the web": script("<script>alert(1)</script>", "card.html"),
    "a script by its first line": script("#!/bin/sh\nls\n", "README.md", 0),
    "a script by its first line after a mark of UTF-8": script("\ufeff#!/bin/sh\n", "a.txt", 0),
    "rules of make": script("all:\n\tls\n", "Makefile"),
    "text with an extension that nobody knows": script("ls\n", "model.xyz"),
    # settings
    "code in the folder": settings({"auto_map": {"AutoModel": "m.M"}}, byte=1),
    "code in the folder, spelled with escapes": settings(
        b'{"\\u0061uto_map": {"AutoModel": "m.M"}}'
    ),
    "code in the folder, then a key twice": settings(b'{"auto_map": {"A": "b"}, "auto_map": {}}'),
    "code in the folder, in a text of another name": settings(
        {"a": [{"auto_map": {"AutoModel": "m.M"}}]}, file="config"
    ),
    "code in the folder, on a line of its own": settings(
        b'{"a": 1}\n{"auto_map": {"A": "b"}}\n', byte=10, file="configs.jsonl"
    ),
    "consent to code": settings({"trust_remote_code": True}),
    "pipelines of their own": settings({"custom_pipelines": {"a": {"impl": "a.A"}}}),
    "a pipeline of its own": settings(
        {"_class_name": ["pipeline", "Mine"]}, file="model_index.json"
    ),
    "a target of Hydra": settings(TARGET, byte=11),
    "a target of Hydra that runs programs": settings(CALL, "settings-call", DANGEROUS, 11),
    "an object of jsonpickle": settings({"py/object": "a.B"}),
    "a call of jsonpickle": settings({"py/type": "os.system"}, "settings-call", DANGEROUS),
    "a layer of Keras that is code": settings(
        keras(class_name="Lambda"), "settings-call", DANGEROUS
    ),
    "a function of Keras that is code": settings(
        keras(activation={"class_name": "__lambda__", "config": {"value": "4wEAAA=="}}),
        "settings-call",
        DANGEROUS,
    ),
    "a layer of Keras from another module": settings(keras(module="mine.layers")),
    "a layer of Keras from the system": settings(
        keras(module="os", class_name="system"), "settings-call", DANGEROUS
    ),
    "a layer of Keras that fetches": settings(
        keras(module="keras.utils", class_name="get_file"), "settings-call", DANGEROUS
    ),
    "a layer of Keras that somebody registered": settings(keras(registered_name="mine>Dense")),
    "a layer of Keras in an archive": Case(
        archive({"config.json": json.dumps(keras(class_name="Lambda")).encode()}),
        "settings-call",
        DANGEROUS,
        file="model.zip",
    ),
    "settings that are no JSON": settings(b"{a: 1}", "settings-malformed", UNKNOWN, 0),
    "settings of many levels": settings(b"[" * 100_000, "limit", UNKNOWN),
    "settings larger than the bound": Case(
        b"{}" + b" " * 100,
        "limit",
        UNKNOWN,
        file="config.json",
        limits={"max_index_bytes": 100},
    ),
    "a tag of PyYAML": settings(
        b"a: !!python/object/apply:os.system [ls]\n", "settings-call", DANGEROUS, 3, "config.yaml"
    ),
    "a tag of PyYAML, spelled out": settings(
        b"- !<tag:yaml.org,2002:python/name:os.system> ''", "settings-call", DANGEROUS, 2, "a.yml"
    ),
    "a tag of somebody": settings(b"a: !mine {b: 1}\n", file="config.yaml", byte=3),
    "a target of Hydra in YAML": settings(
        b"model:\n  _target_: os.system\n", "settings-call", DANGEROUS, 9, "config.yaml"
    ),
    "consent to code in YAML": settings(b"trust_remote_code: true\n", file="a.yaml", byte=0),
    "a template of a chat": Case(
        b'{"chat_template": "{{ messages }}"}',
        "template",
        NOTE,
        1,
        "tokenizer_config.json",
        reads=False,
    ),
    "a template of its own": Case(
        b"{{ messages }}", "template", NOTE, 0, "chat_template.jinja", reads=False
    ),
    # what is sound
    "a model card": plain("# Modèle\n\n`python -m x`\n".encode(), "README.md"),
    "a licence": plain(b"Permission is granted", "LICENSE-2.0"),
    "attributes of git": plain(b"*.bin filter=lfs\n", ".gitattributes"),
    "settings of a model": plain(b'{"model_type": "bert", "auto_map": {}}', "config.json"),
    "settings after a mark of UTF-8": plain(b'\xef\xbb\xbf{"a": NaN}', "config.json"),
    "settings of Keras": plain(json.dumps(keras(registered_name="Dense")).encode(), "config.json"),
    "words": plain(json.dumps({"_target": 1, "class_name": 2}).encode(), "vocab.json"),
    "settings in YAML": plain(b"a: !!str 1\nb: [x!, '!y']\nauto_maps: 1\n", "config.yaml"),
    "lines of JSON": plain(b'{"a": 1}\n\n[2]\n', "data.jsonl"),
}
