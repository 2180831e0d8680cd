"""Add up what deploy/Dockerfile installs, in megabytes, and fail above a limit.

    python deploy/check_size.py                 # of the packages as they are installed here
    python deploy/check_size.py --build DIR     # makes the image's environment in DIR, and measures that

The first follows the requirements of pyproject.toml, with the Dockerfile's extras, through the metadata of
what is installed. The second runs the Dockerfile's own command. Neither counts Python and Debian, which the
base image brings.
"""

import argparse
import importlib.metadata
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 600
"""Megabytes (10^6 bytes) that the image may add to its base."""


def pip_arguments(dockerfile: str, extras: str) -> list[str]:
    """What the Dockerfile gives to ``pip install``."""
    found = re.search(r"bin/pip install ((?:[^\n\\&]|\\\n)+)", dockerfile)
    if found is None:
        sys.exit("deploy/Dockerfile: no pip install found")
    return shlex.split(found[1].replace("\\\n", " ").replace("${EXTRAS}", extras))


def default_extras(dockerfile: str) -> str:
    """What the Dockerfile installs if nothing else is asked for."""
    found = re.search(r"(?m)^ARG EXTRAS=([\w,-]+)$", dockerfile)
    return found[1] if found is not None else ""


def removed(dockerfile: str) -> list[str]:
    """Patterns of the folders that the Dockerfile removes again."""
    return re.findall(r"-path '([^']+)'", dockerfile)


def own_requirements(extras: set[str]) -> list[Requirement]:
    """Those of pyproject.toml, with those of the extras.

    Raises:
        SystemExit: there is no such extra.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = list(project["dependencies"])
    for extra in sorted(extras):
        if extra not in project["optional-dependencies"]:
            sys.exit(f"pyproject.toml: no extra {extra}")
        lines += project["optional-dependencies"][extra]
    return [Requirement(line) for line in lines]


def required(ahead: list[Requirement]) -> dict[str, importlib.metadata.Distribution]:
    """Packages and everything that they require here, by name.

    Raises:
        SystemExit: one is not installed.
    """
    found: dict[str, importlib.metadata.Distribution] = {}
    done: set[tuple[str, str]] = set()
    while ahead:
        one = ahead.pop()
        name = canonicalize_name(one.name)
        try:
            found.setdefault(name, importlib.metadata.distribution(name))
        except importlib.metadata.PackageNotFoundError:
            sys.exit(f"{name} is not installed here, so its size is not known; see --build")
        for extra in {"", *one.extras} - {known for package, known in done if package == name}:
            done.add((name, extra))
            asked = [Requirement(line) for line in found[name].requires or ()]
            ahead += [each for each in asked if each.marker is None or each.marker.evaluate({"extra": extra})]
    return found


def size_of(distribution: importlib.metadata.Distribution, without: list[str]) -> int:
    """Bytes of a package's files; bytecode is not made, and some folders are removed."""
    total = 0
    for one in distribution.files or ():
        path = Path(str(one.locate()))
        inside = f"/{one.as_posix()}"
        if path.suffix == ".pyc" or any(fnmatch(inside, f"{pattern}/*") for pattern in without):
            continue
        total += path.stat().st_size if path.is_file() else 0
    return total


def built(folder: Path, arguments: list[str], without: list[str]) -> dict[str, int]:
    """Make the environment as the Dockerfile does, see that it starts, and measure all its files."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = str(folder / "bin" / "pip")
    subprocess.run([pip, "install", *arguments], cwd=ROOT, check=True)
    subprocess.run([pip, "uninstall", "--yes", "pip"], check=True)
    for path in sorted(folder.rglob("*")):
        if path.is_dir() and any(fnmatch(str(path), pattern) for pattern in without):
            shutil.rmtree(path)
    command = [str(folder / "bin" / "python"), "-B", str(folder / "bin" / "ernie-search"), "serve", "--help"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    sizes: dict[str, int] = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            parts = path.relative_to(folder).parts
            name = parts[parts.index("site-packages") + 1] if "site-packages" in parts else parts[0]
            sizes[name] = sizes.get(name, 0) + path.stat().st_size
    return sizes


def main() -> None:
    """Print the largest packages and the sum; exit with 1 above the limit."""
    parser = argparse.ArgumentParser(description="Megabytes that deploy/Dockerfile installs.")
    parser.add_argument("--build", type=Path, metavar="DIR", help="make the environment there and measure it")
    parser.add_argument("--extras", help="instead of the Dockerfile's, as --build-arg EXTRAS names them")
    parser.add_argument("--json", action="store_true", help="print the sizes as JSON")
    args = parser.parse_args()
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    extras, without = args.extras or default_extras(dockerfile), removed(dockerfile)
    if args.build is not None:
        sizes = built(args.build, pip_arguments(dockerfile, extras), without)
    else:
        packages = required(own_requirements(set(extras.split(","))))
        sizes = {name: size_of(one, without) for name, one in packages.items()}
    megabytes = {name: round(size / 1e6, 1) for name, size in sorted(sizes.items(), key=lambda one: -one[1])}
    total = sum(sizes.values()) / 1e6
    if args.json:
        sys.stdout.write(
            json.dumps({"megabytes": round(total, 1), "limit": LIMIT, "packages": megabytes}, indent=2) + "\n"
        )
    else:
        for name, size in list(megabytes.items())[:12]:
            sys.stdout.write(f"{size:8.1f}  {name}\n")
        sys.stdout.write(f"{total:8.1f}  MB of {len(sizes)} packages, of at most {LIMIT}\n")
    sys.exit(total > LIMIT)


if __name__ == "__main__":
    main()
