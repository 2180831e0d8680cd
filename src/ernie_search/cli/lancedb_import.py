"""Imports lancedb for a store on this disk, in a third of the time: for a process that answers one question.

lancedb imports a REST client of 400 generated modules (``lance_namespace``), which a store in a folder does
not use. While lancedb is imported, stand-ins take their place; afterwards nothing of them is left but names
in the modules of lancedb. So this is for the command's own process alone: in a program of the user's, the
other parts of lancedb must work, too.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

KNOWN = "0.40."
"""Versions of lancedb of which this is known to work; any other is imported as it is."""

STANDINS = ("lance_namespace", "lance_namespace_urllib3_client")
"""Packages that a store in a folder does not use."""
OWN_PROCESS = "the command's own process"
"""The object of the commands' context where this process runs nothing else."""
NATIVE = "lancedb._lancedb"
DECORATORS = "overrides"
"""A package whose decorator compares the signatures of methods, by reading their callers' bytecode."""


class _Unused(type):
    """Of the classes that stand in: whoever makes one of them is told why there is none."""

    def __call__(cls, *arguments: Any, **options: Any) -> Any:
        raise ImportError(f"{cls.__module__}.{cls.__name__} was left out when lancedb was imported")


class _UnusedError(Exception):
    """An error that nobody raises."""


def _as_it_is(function: Any) -> Any:
    """A decorator that does nothing."""
    return function


class _Standin(ModuleType):
    """A module whose every name is a class of its own."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self.__name__ == DECORATORS:
            return _as_it_is if name.islower() else object
        if name.endswith("Error"):
            made: type = type(name, (_UnusedError,), {"__module__": self.__name__})
        else:
            made = _Unused(name, (), {"__module__": self.__name__})
        setattr(self, name, made)
        return made


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives stand-ins for what is of ``STANDINS``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """See ``MetaPathFinder``."""
        if fullname.partition(".")[0] in (*STANDINS, DECORATORS):
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """See ``Loader``."""
        return _Standin(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """See ``Loader``."""


def import_lancedb() -> bool:
    """Import lancedb without what a store in a folder does not use; as it is, if anything stands in the way.

    Returns:
        Whether stand-ins were used.
    """
    wanted = importlib.metadata.version("lancedb").startswith(KNOWN)
    if "lancedb" in sys.modules or not wanted or any(name in sys.modules for name in (*STANDINS, DECORATORS)):
        importlib.import_module("lancedb")
        return False
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        importlib.import_module("lancedb")
    except Exception:  # whatever another version may do
        done = False
        _forget("lancedb")
    else:
        done = True
    finally:
        sys.meta_path.remove(finder)
        for name in (*STANDINS, DECORATORS):
            _forget(name)
    importlib.import_module("lancedb")
    return done


def _forget(package: str) -> None:
    """Have a package imported anew; what is native stays, as it starts only once in a process."""
    for name in list(sys.modules):
        of_it = name == package or name.startswith(f"{package}.")
        if of_it and name != NATIVE:
            del sys.modules[name]
