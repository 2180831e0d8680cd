"""Builds the sdist and, from it, the wheel, and checks the wheel: ``python tests/distribution.py dist``.

Only pip and setuptools are used, without a network: the environment's own setuptools builds.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "ernie_search"
SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
COMMAND = "import ernie_search.cli as cli; print(cli.__file__); cli.main()"


def build(folder: Path, source: Path = ROOT) -> tuple[Path, Path]:
    """The sdist of ``source``, and a wheel built from that sdist, which proves the sdist complete."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"  # setuptools leaves its notes in the tree that it builds
        left_out = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "runs", "*.egg-info")
        shutil.copytree(source, tree, ignore=left_out)
        _run([sys.executable, "-c", SDIST, str(folder.resolve())], tree)
    (sdist,) = folder.glob("*.tar.gz")
    wheel = [
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        str(folder),
        str(sdist),
    ]
    _run([sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *wheel], ROOT)
    (built,) = folder.glob("*.whl")
    return sdist, built


def faults(wheel: Path, package: Path = PACKAGE) -> list[str]:
    """What is wrong with a wheel: missing or extra files, or a command that fails."""
    wanted = {
        path.relative_to(package.parent).as_posix()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    found = [f"{wheel.name}: lacks {name}" for name in sorted(wanted - held)]
    found += [f"{wheel.name}: holds {name}, which is not in the package" for name in sorted(held - wanted)]
    if found:
        return found
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, "--version"],
            env=os.environ | {"PYTHONPATH": folder},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not done.stdout.startswith(folder):
            found.append(f"{wheel.name}: the command fails: {done.stdout}{done.stderr}".strip())
    return found


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {' '.join(command)}\n{done.stdout}{done.stderr}")


def main(folder: Path) -> int:
    """Build into an empty ``folder``, say what is there, and what is wrong with it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sdist, wheel = build(folder)
    wrong = faults(wheel)
    for path in (sdist, wheel):
        print(f"{path}: {path.stat().st_size / 1024:,.0f} KiB")
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
