"""Read the docstrings of installed packages. Runs as a process of its own (see ``api_docs``).

Importing half of an environment leaves hundreds of megabytes behind, prints, warns, and can change what a
second import shows. A child process keeps all that away from the caller and makes the result depend on
the installed versions alone.
"""

import contextlib
import importlib
import importlib.util
import inspect
import json
import os
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any, TypedDict

STDLIB = """
    builtins abc argparse array ast asyncio base64 bisect bz2 calendar cmath cmd code codecs
    collections colorsys compileall concurrent.futures configparser contextlib contextvars copy csv
    ctypes dataclasses datetime decimal difflib dis email enum fileinput fnmatch fractions ftplib
    functools gc getpass gettext glob graphlib gzip hashlib heapq hmac html http imaplib importlib
    inspect io ipaddress itertools json keyword linecache locale logging lzma mailbox math mimetypes
    mmap modulefinder multiprocessing netrc numbers operator os pathlib pdb pickle pickletools
    pkgutil platform plistlib poplib pprint profile pstats py_compile pyclbr queue quopri random re
    reprlib runpy sched secrets select selectors shelve shlex shutil signal site smtplib socket
    socketserver sqlite3 ssl stat statistics string struct subprocess symtable sys sysconfig tarfile
    tempfile textwrap threading time timeit token tokenize trace traceback tracemalloc types typing
    unicodedata unittest urllib uuid venv warnings wave weakref webbrowser wsgiref xml xmlrpc zipapp
    zipfile zipimport zlib zoneinfo
""".split()  # noqa: SIM905 - one name a line would fill three screens
"""Standard-library modules that are safe to import on any platform, with their public submodules."""

PACKAGES = {
    "numpy": 3,
    "scipy": 3,
    "pandas": 1,
    "sklearn": 3,
    "networkx": 4,
    "sympy": 4,
    "pyarrow": 2,
    "torch": 3,
    "transformers": 1,
    "datasets": 2,
    "sentence_transformers": 2,
}
"""Third-party packages that come with this one -> how many levels of public submodules are imported."""

SKIPPED_PARTS = frozenset(
    """
    test tests testing conftest setup benchmarks externals vendored compat f2py distutils typing
    plotting interactive tensorboard cutlass onnx fx jit ao distributed cuda mps xpu mtia backends
    quantization contrib jax cffi quantized quantizable intrinsic qat
    """.split()  # noqa: SIM905
)
"""Submodules that are never imported: tests, build tools, drawing, machines that may be absent."""

SKIPPED_MODULES = frozenset({"numpy.core", "numpy.matlib", "numpy.lib", "sklearn.utils", "pandas.core"})
"""Old homes of what is shown elsewhere, and the packages' own tools."""

SIGNATURE_LINE = re.compile(r"^[\w.]+\((?:[^()]|\([^()]*\))*\)\s*(->.*)?:?$")
UNFINISHED_SIGNATURE = re.compile(r"^[\w.]+\([^()]*$")
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


class Found(TypedDict):
    """One documented object. ``key`` is its real module and qualified name, ``title`` where users find it."""

    key: str
    title: str
    module: str
    kind: str
    signature: str
    doc: str


def import_quietly(name: str) -> ModuleType | None:
    """The module, or None if importing it fails in whatever way."""
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException:  # a module may even call sys.exit
        return None


def modules_of(name: str, depth: int) -> Iterator[ModuleType]:
    """The module and its public submodules, ``depth`` levels deep, in order of their names."""
    module = import_quietly(name)
    if module is None:
        return
    yield module
    if depth <= 0 or not hasattr(module, "__path__"):
        return
    for child in sorted(info.name for info in pkgutil.iter_modules(module.__path__)):
        skipped = child.startswith("_") or child in SKIPPED_PARTS or f"{name}.{child}" in SKIPPED_MODULES
        if not skipped:
            yield from modules_of(f"{name}.{child}", depth - 1)


def own_text(value: Any, name: str) -> str:
    """An attribute of the object when it is a string, else nothing: some objects answer anything."""
    try:
        text = getattr(value, name, None)
    except Exception:
        return ""
    return text if isinstance(text, str) else ""


def signature_of(value: Any, name: str, doc: str) -> tuple[str, str]:
    """The call signature, and the docstring without the signature line that C functions begin with."""
    lines, written = doc.split("\n"), ""
    if SIGNATURE_LINE.match(lines[0]):
        written, doc = lines[0], "\n".join(lines[1:]).strip("\n")
    elif UNFINISHED_SIGNATURE.match(lines[0]) and (
        ends := [i for i in range(1, len(lines)) if ")" in lines[i]]
    ):
        written = " ".join(line.strip() for line in lines[: ends[0] + 1])
        doc = "\n".join(lines[ends[0] + 1 :]).strip("\n")
    try:
        signature = name.split(".")[-1] + str(inspect.signature(value))
    except Exception:  # builtins without one, and objects whose annotations cannot be resolved
        signature = written or name.split(".")[-1]
    return ADDRESS.sub("", signature), doc


def describe(value: Any, module: str, name: str, title: str, kind: str) -> Found | None:
    """One entry, or None for an object without a docstring of its own."""
    doc = own_text(value, "__doc__")
    if not doc.strip():
        return None
    signature, doc = signature_of(value, name, inspect.cleandoc(doc))
    return Found(
        key=f"{module}.{name}",
        title=title,
        module=module,
        kind=kind,
        signature=signature,
        doc=ADDRESS.sub("", doc),
    )


def methods_of(cls: type, module: str, name: str, title: str, seen: set[str]) -> Iterator[Found]:
    """The public methods that a class defines itself, or has from bases that users never see."""
    for owner in cls.__mro__:
        hidden = owner.__name__.startswith("_") or any(
            part.startswith("_") for part in owner.__module__.split(".")
        )
        if owner is not cls and not (hidden and belongs(owner.__module__, module)):
            continue
        real = (module, name) if owner is cls else (owner.__module__, owner.__qualname__)
        for attribute, raw in sorted(vars(owner).items()):
            value = raw.__func__ if isinstance(raw, (staticmethod, classmethod)) else raw
            key = f"{real[0]}.{real[1]}.{attribute}"
            if attribute.startswith("_") or not inspect.isroutine(value) or key in seen:
                continue
            seen.add(key)
            found = describe(value, real[0], f"{real[1]}.{attribute}", f"{title}.{attribute}", "method")
            if found:
                yield found


def belongs(real: str, module: str) -> bool:
    """Whether an object of module ``real`` is this module's to show, and not one that it only imported."""
    root, here = real.split(".")[0], module.split(".")[0]
    hidden = root.startswith("_") or root in ("posix", "posixpath", "genericpath")
    return root == here or (hidden and root in sys.stdlib_module_names and here in sys.stdlib_module_names)


def objects_of(module: ModuleType, seen: set[str]) -> Iterator[Found]:
    """The documented public functions, classes and methods of a module that were not seen before."""
    path = module.__name__
    listed = getattr(module, "__all__", None)
    names = (
        listed if isinstance(listed, (list, tuple)) else [n for n in vars(module) if not n.startswith("_")]
    )
    for public in sorted({n for n in names if isinstance(n, str) and not n.startswith("_")}):
        try:
            value = getattr(module, public, None)
            universal = type(value).__name__ == "ufunc"
            if type(value).__name__ == "tensortype":
                continue  # torch.FloatTensor and the like: old names that repeat all of torch.Tensor
            is_class = isinstance(value, type)
        except Exception:  # lazy modules raise what they like
            continue
        if not (is_class or universal or inspect.isroutine(value)):
            continue
        # a ufunc, and a function of a C extension, does not know the module that it lives in
        real = path if universal else own_text(value, "__module__") or path
        name = public if universal or real == path else own_text(value, "__qualname__") or public
        if not belongs(real, path) or f"{real}.{name}" in seen or name.split(".")[-1].startswith("_"):
            continue
        seen.add(f"{real}.{name}")
        title = f"{path}.{public}"
        found = describe(value, real, name, title, "class" if is_class else "function")
        if found:
            yield found
        if isinstance(value, type):
            yield from methods_of(value, real, name, title, seen)


def walk(roots: list[str]) -> Iterator[Found]:
    """Everything documented in the named packages, the shortest public name of each object first."""
    modules: dict[str, ModuleType] = {}
    for root in roots:
        for module in modules_of(root, PACKAGES.get(root, 1)):
            modules.setdefault(module.__name__, module)
    seen: set[str] = set()
    for name in sorted(modules, key=lambda path: (path != "builtins", path.count("."), path)):
        yield from objects_of(modules[name], seen)


def main() -> None:
    """Write one JSON object a line for the packages named as arguments. Nothing else reaches stdout."""
    warnings.simplefilter("ignore")
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    with contextlib.suppress(BrokenPipeError), output:
        for found in walk(sys.argv[1:]):
            output.write(json.dumps(found) + "\n")
    os._exit(0)  # threads and exit handlers of what was imported are not ours to wait for


if __name__ == "__main__":
    main()
