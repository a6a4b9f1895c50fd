# SPDX-License-Identifier: Apache-2.0
"""Names that are known ways to run code, reach the system or change the running program.

These lists never decide whether a file is accepted: a name that no profile lists is refused
whether it stands here or not. They decide only whether a report says *dangerous*.
"""

from typing import Final

_MODULES: Final = frozenset(
    """
    _aix_support _bootsubprocess _ctypes _frozen_importlib _frozen_importlib_external _imp
    _io _osx_support _pickle _posixshmem _posixsubprocess _pydecimal _pyio _pyrepl _socket
    _sqlite3 _ssl _testcapi _thread _winapi _xxsubinterpreters aifc antigravity asyncio
    atexit bdb cProfile cffi cgi cgitb cloudpickle code codeop commands compileall
    concurrent configparser ctypes dbm dill dis distutils django doctest email ensurepip
    fabric faulthandler fileinput flask ftplib functools gc git getpass glob http httplib
    httpx idlelib imaplib imp importlib inspect io ipykernel IPython jinja2 joblib.externals
    jsonpickle keyboard lib2to3 linecache logging loky lzma macpath mailbox mako marshal
    mmap modulefinder msvcrt multiprocessing netrc nntplib nt ntpath numba numpy.distutils
    numpy.f2py numpy.testing operator optparse os osx_support paramiko pathlib pdb pexpect
    pickle pickletools pip pipes pkg_resources pkgutil platform popen2 poplib posix
    posixpath pprint profile pstats psutil pty pwd py_compile pyclbr pydoc pyautogui
    pyximport readline reprlib requests resource rlcompleter runpy sched secrets select
    selectors setuptools shelve shlex shutil signal site smtpd smtplib socket socketserver
    sqlite3 ssl stat subprocess sysconfig sys syslog tarfile telnetlib tempfile test
    threading timeit tkinter torch._dynamo torch._inductor torch.hub torch.jit
    torch.multiprocessing torch.package torch.serialization torch.utils trace traceback tty
    turtle types typing unittest urllib urllib2 urllib3 uuid venv webbrowser winreg wsgiref
    xml xmlrpc yaml zipapp zipfile zipimport zmq
    """.split()  # noqa: SIM905  one word a line would fill pages
)
"""Modules all of whose contents count, their submodules included."""

_BUILTINS: Final = frozenset(
    """
    __build_class__ __import__ apply breakpoint bytearray.__init__ callable chr classmethod
    compile delattr dir eval exec execfile exit file filter getattr globals hasattr help
    input locals map memoryview object open print property quit reduce reload setattr
    staticmethod super type vars
    """.split()  # noqa: SIM905  one word a line would fill pages
)
_BUILTIN_MODULES: Final = frozenset({"builtins", "__builtin__", "__builtins__"})

_NAMES: Final = frozenset(
    {
        "torch.load",
        "torch.save",
        "torch.storage._load_from_bytes",
        "numpy.load",
        "numpy.fromfile",
        "numpy.memmap",
        "numpy.save",
        "numpy.savetxt",
        "numpy.loadtxt",
        "numpy.genfromtxt",
        "joblib.load",
        "joblib.numpy_pickle.load",
        "pandas.eval",
        "pandas.read_pickle",
        "pandas.io.pickle.read_pickle",
        "copyreg.add_extension",
        "copyreg.pickle",
        "keras.models.load_model",
        "keras.utils.get_file",
        "keras.src.utils.file_utils.get_file",
        "codecs.open",
        "gzip.open",
        "bz2.open",
        "scipy.io.loadmat",
        "sklearn.externals.joblib.load",
        "collections.namedtuple",
        "collections.abc.Callable",
    }
)

_WORDS: Final = frozenset(
    """
    eval exec execute system popen spawn run_path run_module compile __import__
    import_module load_module __globals__ __builtins__ __subclasses__ __reduce__ __class__
    __code__ __getattribute__ __setattr__ __init__ __call__
    """.split()  # noqa: SIM905  one word a line would fill pages
)
"""Parts of a name that count in any module."""


def known_to_run_code(module: str, name: str) -> bool:
    """Say whether a name is on one of the lists.

    Examples:
        >>> known_to_run_code("os.path", "join"), known_to_run_code("sklearn.tree", "Tree")
        (True, False)
    """
    parts = module.split(".")
    prefixes = {".".join(parts[: end + 1]) for end in range(len(parts))}
    first, *rest = name.split(".")
    return bool(
        prefixes & _MODULES
        or (module in _BUILTIN_MODULES and (first in _BUILTINS or rest))
        or f"{module}.{name}" in _NAMES
        or _WORDS & {first, *rest}
    )
