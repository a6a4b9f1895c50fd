# SPDX-License-Identifier: Apache-2.0
"""Pickles: routes to code, what only looks like data, streams that readers read differently."""

import struct

from rosin.scan import Level
from tests.attacks.assemble import (
    NONE,
    call,
    call_of,
    framed,
    group,
    name,
    number,
    stacked,
    stream,
    text,
)
from tests.attacks.case import Case

SAFE, SUSPICIOUS, UNKNOWN, DANGEROUS = Level.SAFE, Level.SUSPICIOUS, Level.UNKNOWN, Level.DANGEROUS
LS = text("ls")
SYSTEM = call_of("os.system", LS)
DEEP = b"(" * 100 + b"l" * 100
PROTOCOL_0 = b"cos\nsystem\n(S'ls'\ntR."


def called(dotted, *arguments, verdict=DANGEROUS, **more):
    """Call a name."""
    rule = "pickle-code" if verdict == DANGEROUS else "pickle-name"
    return Case(stream(call_of(dotted, *(arguments or (LS,)))), rule, verdict, 2, **more)


def data(*parts, rule=None, verdict=SAFE, **more):
    """Make a stream of protocol 2."""
    return Case(stream(*parts), rule, verdict, **more)


def wrong(*parts, rule="pickle-operand", verdict=SUSPICIOUS, **more):
    """Make a stream that does something to a value that it is not meant for."""
    return Case(stream(*parts), rule, verdict, **more)


ROUTES = """
    os.system posix.system nt.system posixpath.os.system subprocess.Popen subprocess.check_output
    builtins.eval builtins.exec builtins.compile builtins.getattr builtins.__import__
    builtins.open builtins.globals __builtin__.eval __builtin__.apply builtins.eval.__call__
    runpy.run_path runpy._run_code code.InteractiveInterpreter codeop.compile_command pty.spawn
    ctypes.CDLL importlib.import_module imp.load_source pip.main pip._internal.main
    pkgutil.resolve_name operator.methodcaller operator.attrgetter functools.partial
    functools.reduce types.FunctionType types.CodeType marshal.loads pickle.loads _pickle.loads
    dill.loads dill._dill._create_function cloudpickle.cloudpickle.subimport
    cloudpickle.cloudpickle._make_function cProfile.run profile.Profile.runctx pdb.run bdb.Bdb
    timeit.timeit trace.Trace doctest.debug_script idlelib.run.Executive
    lib2to3.pgen2.pgen.generate_grammar ensurepip._run_pip uuid._get_command_stdout
    imaplib.IMAP4_stream webbrowser.open socket.socket urllib.request.urlopen http.client
    requests.get requests.api.get ftplib.FTP smtplib.SMTP shutil.rmtree tempfile.mktemp io.open
    io.FileIO _io.FileIO logging.FileHandler logging.config.listen pathlib.Path.write_text
    sqlite3.connect zipfile.ZipFile tarfile.open linecache.getline site.main venv.create
    distutils.file_util.write_file asyncio.create_subprocess_shell multiprocessing.Process
    threading.Thread signal.signal sys.settrace inspect.getattr_static test.support.script_helper
    _posixsubprocess.fork_exec _aix_support._read_cmd_output _osx_support._read_output
    _pyrepl.pager.pipe_pager torch.load torch.hub.load torch.jit.load torch.utils.collect_env.run
    torch._dynamo.guards.eval torch._inductor.codecache.PyCodeCache torch.storage._load_from_bytes
    numpy.f2py.crackfortran.getlincoef numpy.testing._private.utils.runstring numpy.load
    numpy.memmap joblib.load pandas.read_pickle keras.models.load_model copyreg.add_extension
""".split()  # noqa: SIM905  one name a line would fill pages
"""Names from the advisories of three scanners; see `docs/scan/`."""

OTHERS = """
    sklearn.linear_model.LogisticRegression torch.nn.Linear some_module.some_function
    collections.defaultdict argparse.Namespace datetime.datetime copyreg._reconstructor
    torch._tensor._rebuild_from_type_v2 numpy.random._pickle.__randomstate_ctor decimal.Decimal
""".split()  # noqa: SIM905  likewise

CASES = {
    **{f"a call of {dotted}": called(dotted) for dotted in ROUTES},
    **{f"a call of {dotted}": called(dotted, verdict=SUSPICIOUS) for dotted in OTHERS},
    # ways to spell a call
    "protocol 0": Case(PROTOCOL_0, "pickle-code", DANGEROUS, 0),
    "protocol 0 without the end": Case(PROTOCOL_0[:-1], "pickle-code", DANGEROUS, 0),
    "protocol 0 with bytes after it": Case(PROTOCOL_0 + b"\n", "pickle-code", DANGEROUS, 0),
    "protocol 0 under another's extension": Case(
        PROTOCOL_0, "pickle-code", DANGEROUS, 0, file="model.txt"
    ),
    "a name from the stack": data(
        stacked("os", "system"), group(LS), b"R", rule="pickle-code", verdict=DANGEROUS
    ),
    "a name from the memo": data(
        text("os"),
        b"q\0",
        text("system"),
        b"q\1",
        b"00h\0h\1\x93",
        group(LS),
        b"R",
        rule="pickle-code",
        verdict=DANGEROUS,
    ),
    "INST": data(b"(", LS, b"ios\nsystem\n", rule="pickle-code", verdict=DANGEROUS),
    "OBJ": data(b"(", name("os", "system"), LS, b"o", rule="pickle-code", verdict=DANGEROUS),
    "OBJ that is popped": data(
        b"(", name("os", "system"), LS, b"o0N", rule="pickle-code", verdict=DANGEROUS
    ),
    "NEWOBJ": data(
        name("subprocess", "Popen"), group(LS), b"\x81", rule="pickle-code", verdict=DANGEROUS
    ),
    "NEWOBJ_EX": data(
        name("subprocess", "Popen"), group(LS), b"}\x92", rule="pickle-code", verdict=DANGEROUS
    ),
    "a name that is not called": data(
        name("os", "system"), rule="pickle-code", verdict=DANGEROUS, byte=2
    ),
    "a name that is popped": data(
        name("antigravity", "x"), b"0N", rule="pickle-code", verdict=DANGEROUS
    ),
    "a call whose result is popped": data(SYSTEM, b"0N", rule="pickle-code", verdict=DANGEROUS),
    "a call dropped with a mark": data(b"(", SYSTEM, b"1N", rule="pickle-code", verdict=DANGEROUS),
    "a call as a key": data(b"}", SYSTEM, b"Ns", rule="pickle-code", verdict=DANGEROUS),
    "a call as the state": data(
        call_of("collections.OrderedDict"), SYSTEM, b"b", rule="pickle-code", verdict=DANGEROUS
    ),
    "a call inside what is listed": data(
        call_of("collections.OrderedDict", SYSTEM), rule="pickle-code", verdict=DANGEROUS
    ),
    "a call before the file breaks off": Case(stream(SYSTEM)[:-1], "pickle-code", DANGEROUS, 2),
    "a call before an unknown opcode": data(SYSTEM, b"\xff", rule="pickle-code", verdict=DANGEROUS),
    "a name in the second stream": Case(stream(NONE) + stream(SYSTEM), "pickle-code", DANGEROUS, 6),
    "a name in a second stream of protocol 0": Case(
        stream(NONE) + PROTOCOL_0, "pickle-code", DANGEROUS, 4
    ),
    "a dotted attribute of what is listed": data(
        name("collections", "OrderedDict.__init__.__globals__"),
        rule="pickle-code",
        verdict=DANGEROUS,
    ),
    "a method of what is listed": data(
        call_of("collections.OrderedDict.fromkeys", LS), rule="pickle-name", verdict=SUSPICIOUS
    ),
    "a listed name in another module": data(
        call_of("evil.OrderedDict"), rule="pickle-name", verdict=SUSPICIOUS
    ),
    "a listed name with a space": data(
        call_of("collections.OrderedDict "), rule="pickle-name", verdict=SUSPICIOUS
    ),
    "a name that is no text": wrong(number(1), number(2), b"\x93"),
    "an extension code": wrong(b"\x82\x01", rule="pickle-extension"),
    "an extension code of four bytes": wrong(b"\x84\1\0\0\0", rule="pickle-extension"),
    # calls of what is listed that data does not make
    "an ordered dict of a text": wrong(call_of("collections.OrderedDict", LS), rule="pickle-call"),
    "an ordered dict of what is not pairs": wrong(
        call_of("collections.OrderedDict", b"](" + number(1) + b"e"), rule="pickle-call"
    ),
    "an encoding that runs a codec": wrong(
        call_of("_codecs.encode", LS, text("rot13")), rule="pickle-call"
    ),
    "a set of a text": wrong(call_of("builtins.set", LS), rule="pickle-call"),
    "bytes of a huge number": wrong(call_of("builtins.bytes", number(2**30)), rule="pickle-call"),
    "a complex of a text": wrong(call_of("builtins.complex", LS), rule="pickle-call"),
    "NEWOBJ of what is listed": wrong(
        name("collections", "OrderedDict"), b")\x81", rule="pickle-call"
    ),
    "INST of what is listed": wrong(b"(icollections\nOrderedDict\n", rule="pickle-call"),
    "arguments that are no tuple": wrong(
        name("collections", "OrderedDict"), b"]R", rule="pickle-call"
    ),
    "an array of objects": wrong(
        call_of("numpy.dtype", text("O8"), b"\x89", b"\x88"), rule="pickle-call"
    ),
    "a dtype of records": wrong(
        call_of("numpy.dtype", text("V8"), b"\x89", b"\x88"), rule="pickle-call"
    ),
    "a scalar of too few bytes": wrong(
        call_of(
            "numpy.core.multiarray.scalar",
            call_of("numpy.dtype", text("f8"), b"\x89", b"\x88"),
            b"C\x04abcd",
        ),
        rule="pickle-call",
    ),
    "a scalar of too many bytes": wrong(
        call_of(
            "numpy.core.multiarray.scalar",
            call_of("numpy.dtype", text("i2"), b"\x89", b"\x88"),
            b"C\x04abcd",
        ),
        rule="pickle-call",
    ),
    "an array of another class": wrong(
        call_of(
            "numpy.core.multiarray._reconstruct",
            name("collections", "Counter"),
            group(number(0)),
            b"C\x01b",
        ),
        rule="pickle-call",
    ),
    # operations on what they are not meant for
    "a call of a text": wrong(call(LS, NONE)),
    "an append to a text": wrong(LS, NONE, b"a"),
    "appends to a dict": wrong(b"}(", NONE, b"e"),
    "an item of a list": wrong(b"]", number(0), NONE, b"s"),
    "items of an ordered class": wrong(name("collections", "OrderedDict"), LS, NONE, b"s"),
    "a state for a list": wrong(b"]}b"),
    "a state for a dict": wrong(b"}}b"),
    "a state for a class": wrong(name("collections", "OrderedDict"), b"}b"),
    "an ordered dict with a state of slots": wrong(
        call_of("collections.OrderedDict"), group(NONE, b"}"), b"b"
    ),
    "a key that is a list": wrong(b"}]Ns"),
    "a key of tuples in tuples": wrong(b"}", group(group(group(NONE))), b"Ns"),
    "a class as a value": wrong(b"}", text("a"), name("collections", "OrderedDict"), b"s"),
    "an addition to a frozen set": wrong(b"(\x91(", NONE, b"\x90"),
    # what stands outside
    "a persistent id": wrong(LS, b"Q", rule="pickle-persistent", verdict=UNKNOWN),
    "a persistent id on a line": wrong(b"P1\n", rule="pickle-persistent", verdict=UNKNOWN),
    "a buffer outside": wrong(b"\x97", rule="pickle-persistent", verdict=UNKNOWN),
    # pickles in pickles
    "a pickle in bytes": wrong(
        b"C" + bytes([len(stream(SYSTEM))]) + stream(SYSTEM), rule="pickle-nested"
    ),
    "a pickle of protocol 0 in bytes": wrong(
        b"C" + bytes([len(PROTOCOL_0)]) + PROTOCOL_0, rule="pickle-nested"
    ),
    "a pickle in long bytes": wrong(
        b"B" + struct.pack("<I", 300 + len(stream(SYSTEM))) + stream(SYSTEM) + bytes(300),
        rule="pickle-nested",
    ),
    "a pickle in recoded text": wrong(
        call_of("_codecs.encode", text("cos\nsystem\n(S'ls'\ntR."), text("latin1")),
        rule="pickle-nested",
    ),
    # streams that cannot be
    "an unknown opcode": wrong(b"\xff", rule="pickle-opcode", verdict=UNKNOWN, byte=2),
    "protocol 6": Case(b"\x80\x06N.", "pickle-opcode", UNKNOWN, 0),
    "PROTO in the middle": wrong(b"\x80\x02N", rule="pickle-opcode", verdict=UNKNOWN, byte=2),
    "an empty stack": Case(stream(), "pickle-malformed", UNKNOWN, 2),
    "a mark at the end": wrong(b"(", rule="pickle-malformed", verdict=UNKNOWN),
    "a value below a mark": wrong(b"N(0.", rule="trailing-bytes", verdict=UNKNOWN),
    "values left over": wrong(b"NN", rule="pickle-malformed", verdict=UNKNOWN),
    "no mark": wrong(b"t", rule="pickle-malformed", verdict=UNKNOWN),
    "a memo that lacks the value": wrong(b"h\0", rule="pickle-malformed", verdict=UNKNOWN),
    "a key without a value": wrong(b"}(Nu", rule="pickle-malformed", verdict=UNKNOWN),
    "a key twice": wrong(
        b"}(", LS, NONE, LS, NONE, b"u", rule="pickle-duplicate-key", verdict=UNKNOWN
    ),
    "text that is not UTF-8": wrong(b"X\1\0\0\0\xff", rule="pickle-malformed", verdict=UNKNOWN),
    "a string without quotes": wrong(b"Sls\n", rule="pickle-malformed", verdict=UNKNOWN),
    "a string with an open escape": wrong(b"S'\\'\n", rule="pickle-malformed", verdict=UNKNOWN),
    "a number in hexadecimal": wrong(b"I0x10\n", rule="pickle-malformed", verdict=UNKNOWN),
    "a number with underscores": wrong(b"L1_0L\n", rule="pickle-malformed", verdict=UNKNOWN),
    "a number of a megabyte": wrong(
        b"\x8b" + struct.pack("<I", 2**20), bytes(2**20), rule="pickle-malformed", verdict=UNKNOWN
    ),
    "a number with a leading nought": wrong(b"I012\n", rule="pickle-malformed", verdict=UNKNOWN),
    "a float that overflows": wrong(b"F1e999\n", rule="pickle-malformed", verdict=UNKNOWN),
    "a memo of four gigabytes": wrong(b"Nr\xff\xff\xff\xff", rule="limit", verdict=UNKNOWN),
    "a set of lists": wrong(b"\x8f(]\x90"),
    "a set made of lists": wrong(call_of("builtins.set", b"]]a"), rule="pickle-call"),
    "a float that is none": wrong(b"F0x1p3\n", rule="pickle-malformed", verdict=UNKNOWN),
    "a memo index that is negative": wrong(b"g-1\n", rule="pickle-malformed", verdict=UNKNOWN),
    "a line without an end": Case(b"\x80\x02cos", "pickle-malformed", UNKNOWN),
    "bytes longer than the file": wrong(
        b"\x8e" + struct.pack("<Q", 2**62), rule="cut-short", verdict=UNKNOWN
    ),
    "text longer than the bound": wrong(
        b"\x8d" + struct.pack("<Q", 2**62), rule="limit", verdict=UNKNOWN
    ),
    "a list that holds itself": wrong(b"]q\0h\0a", rule="pickle-cycle", verdict=UNKNOWN),
    "bytes after the end": Case(stream(NONE) + b"\0", "trailing-bytes", UNKNOWN, 4),
    "nothing but PROTO": Case(b"\x80\x02", "cut-short", UNKNOWN),
    # frames
    "a frame that is too long": Case(
        b"\x80\x04\x95" + struct.pack("<Q", 3) + b"N.", "pickle-frame", UNKNOWN, 2
    ),
    "a frame that ends with the opcodes": Case(
        b"\x80\x04\x95" + struct.pack("<Q", 2) + b"K\1.", None, SAFE
    ),
    "an opcode across the end of a frame": Case(
        b"\x80\x04\x95" + struct.pack("<Q", 1) + b"K\1K\1\x86.", "pickle-frame", UNKNOWN, 13
    ),
    "a frame in a frame": Case(framed(framed(b"N.")[2:]), "pickle-frame", UNKNOWN),
    "a call in the second frame": Case(
        framed(b"N0", stacked("os", "system") + group(LS) + b"R."), "pickle-code", DANGEROUS
    ),
    # bounds
    "lists in lists": data(b"(" * 70, b"l" * 70, rule="limit", verdict=UNKNOWN),
    "tuples of the same tuples": data(b")" + b"2\x86" * 60, rule="limit", verdict=UNKNOWN),
    "many steps": data(
        b"N0" * 60, NONE, rule="limit", verdict=UNKNOWN, limits={"max_pickle_steps": 100}
    ),
    "much text": data(
        b"](", LS * 60, b"e", rule="limit", verdict=UNKNOWN, limits={"max_text_bytes": 100}
    ),
    "more findings than anybody reads": data(
        b"".join(b"\x82\x01" for _ in range(1001)), rule="limit", verdict=UNKNOWN
    ),
    # another kind of file
    "a pickle under PyTorch's extension": Case(
        stream(NONE), "format-mismatch", SUSPICIOUS, file="model.pth"
    ),
    "text under a pickle's extension": Case(b"text", "format-mismatch", SUSPICIOUS),
    # joblib
    "joblib's array of objects": wrong(
        name("joblib.numpy_pickle", "NumpyArrayWrapper"), b")\x81}b", rule="pickle-call"
    ),
    "an array that a plain unpickler would run": Case(
        lambda: joblib(PROTOCOL_0.ljust(24, b"\0")), "polyglot", SUSPICIOUS, file="model.joblib"
    ),
    "joblib's array of another class": Case(
        lambda: joblib(bytes(24), subclass=name("numpy", "memmap")),
        "pickle-code",
        DANGEROUS,
        file="model.joblib",
    ),
    "joblib's array of no class": Case(
        lambda: joblib(bytes(24), subclass=NONE), "pickle-call", UNKNOWN, file="model.joblib"
    ),
    "joblib's array of an order of its own": Case(
        lambda: joblib(bytes(24), order=text("A")), "pickle-call", UNKNOWN, file="model.joblib"
    ),
    "an array that is cut short": Case(
        lambda: joblib(bytes(24))[:-10], "cut-short", UNKNOWN, file="model.joblib"
    ),
    # what is sound
    "joblib's array": Case(lambda: joblib(bytes(24)), None, SAFE, file="model.joblib"),
    "plain data": data(b"}(", text("a"), number(1), text("b"), b"](NNe", b"u"),
    "an ordered dict with attributes": data(
        call_of("collections.OrderedDict"), b"}", text("_metadata"), b"}sb"
    ),
    "several streams": Case(stream(NONE) + stream(b"]"), None, SAFE),
}


def joblib(numbers, **changed):
    """Write what joblib writes for an array of float64 numbers."""
    dtype = call_of("numpy.dtype", text("f8"), b"\x89", b"\x88")
    order = group(number(3), text("<"), NONE, NONE, NONE, number(-1), number(-1), number(0))
    state = {
        "subclass": name("numpy", "ndarray"),
        "shape": group(number(len(numbers) // 8)),
        "order": text("C"),
        "dtype": dtype + order + b"b",
        "allow_mmap": b"\x88",
        "numpy_array_alignment_bytes": NONE,
    }
    state |= changed
    pairs = b"".join(text(key) + value for key, value in state.items())
    wrapper = name("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81"
    return b"\x80\x03" + wrapper + b"}(" + pairs + b"ub" + numbers + b"."
