"""The core imports and answers without what only training needs, whichever environment this is."""

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import HAS_TORCH, ROOT, TRAIN_MODULES, WITH_TRAINING

ROOMS = (
    *("data", "encoder", "encoding", "encoding.build", "errors", "evaluation", "index", "index.lance"),
    *(
        "report",
        "runtime",
        "search",
        "search.explain",
        "serve",
        "serve.server",
        "shards",
        "types",
        "cli",
        "api",
    ),
)

IMPORT = """
import importlib, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in FORBIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

FORBIDDEN = sys.argv[1].split(",")
sys.meta_path.insert(0, Block())
for room in sys.argv[2].split(","):
    importlib.import_module(f"ernie_search.{room}")
"""

BLOCK = (
    IMPORT[: IMPORT.index("for room")]
    + "sys.argv[1:] = sys.argv[3:]\nfrom ernie_search.cli import main\nmain()"
)
FORBIDDEN = ",".join((*TRAIN_MODULES, "matplotlib", "ir_measures", "pandas", "sklearn"))


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_of_the_core_imports_without_training(room: str) -> None:
    if room == "serve.server":
        pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")
    done = python(IMPORT, FORBIDDEN, room)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    ["train x --output y", "demo", "export x y", "mine x --output y", "score x y --teachers z --output w"],
)
def test_without_torch_a_command_of_training_names_the_extra(command: str, tmp_path: Path) -> None:
    done = python(BLOCK, FORBIDDEN, "", *command.split())
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    if command.split()[0] in ("train", "demo", "export"):
        assert "is not installed: pip install 'ernie-search[train]'" in done.stderr


@pytest.mark.parametrize("name", WITH_TRAINING)
def test_what_is_left_out_is_there(name: str) -> None:
    assert (ROOT / "tests" / name).exists()


@pytest.mark.skipif(not HAS_TORCH, reason="nothing to compare with: torch is not installed")
def test_with_torch_nothing_is_left_out() -> None:
    from conftest import collect_ignore

    assert collect_ignore == []
