"""A virtual environment for each peer whose packages don't go with this project's, with pinned versions."""

import hashlib
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"
DONE = "installed.sha256"


class PeerError(Exception):
    """A peer that cannot be installed or run here, and why."""


def python_of(name: str | None, folder: Path) -> Path:
    """The interpreter to run a peer with; its environment is made in ``folder`` where it is not there.

    All packages are named with their versions and installed without resolving what they need: no package
    brings another torch with it than the pinned one.

    Args:
        name: of ``requirements/NAME.txt``; ``None`` for the interpreter that runs this.
        folder: of all environments.

    Raises:
        PeerError: pip or the first import failed; with its last line.
    """
    if name is None:
        return Path(sys.executable)
    listed = REQUIREMENTS / f"{name}.txt"
    digest = hashlib.sha256(listed.read_bytes()).hexdigest()
    place = folder / name
    python, done = place / "bin" / "python", place / DONE
    if done.is_file() and done.read_text(encoding="ascii") == digest:
        return python
    print(f"{place}: installing {listed.name}", file=sys.stderr, flush=True)
    _run([sys.executable, "-m", "venv", "--clear", str(place)], f"making {place}")
    _run(
        [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "-r", str(listed)],
        f"installing {listed.name}",
    )
    done.write_text(digest, encoding="ascii")
    return python


def _run(command: list[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if "WARNING" not in line]
        raise PeerError(f"{what}: {lines[-1] if lines else f'exit status {done.returncode}'}")
