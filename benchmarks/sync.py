"""A folder of documents kept in an index: what a second call costs, and whether anything is lost or stale.

5,000 files of one to three sections are indexed; then ``ernie-search index`` is timed as a process, with no
file changed. After that files are edited, added, renamed and deleted at random, 100 times; every fourth sync
is killed at a random moment, after which the index must hold the state before or the one after, and the next
sync must bring it up to date. After each, all that the index holds is compared with what the files say.
``lost_or_stale`` counts passages that are missing, are there though they should not be, or differ in text,
title, line or path. Without ``--model`` it is the default one; texts are short, as encoding is not measured.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, arguments, emit, median

FILES, EDITS = 5000, 100
QUICK = (100, 4)
"""Files and edits of a quick run."""
KILLED = 4
"""Every so many syncs one is killed."""
WORDS = [
    f"{start}{end}" for start in ("ro", "lo", "ta", "we", "si") for end in ("g", "tate", "ve", "ll", "dy")
]


def text_of(drawn: random.Random) -> str:
    """A document of one to three sections of a few words."""
    parts = [f"# {' '.join(drawn.choices(WORDS, k=2))}"]
    for _ in range(drawn.randint(1, 3)):
        parts += [f"## {' '.join(drawn.choices(WORDS, k=2))}", " ".join(drawn.choices(WORDS, k=12))]
    return "\n\n".join(parts) + "\n"


def edit(folder: Path, drawn: random.Random) -> None:
    """Change, add, rename or delete one to five files."""
    for _ in range(drawn.randint(1, 5)):
        files = sorted(folder.rglob("*.md"))
        path, kind = drawn.choice(files), drawn.choice(("change", "insert", "add", "rename", "delete"))
        if kind == "change":
            path.write_text(text_of(drawn))
        elif kind == "insert":
            path.write_text(f"inserted {drawn.random()}\n\n{path.read_text()}")
        elif kind == "add":
            path.with_name(f"new{drawn.getrandbits(40)}.md").write_text(text_of(drawn))
        elif kind == "rename":
            path.rename(path.with_name(f"moved{drawn.getrandbits(40)}.md"))
        elif len(files) > 10:
            path.unlink()


def sync(root: Path, model: str, kill_after: float | None = None) -> float:
    """The command as a process; the seconds that it took."""
    command = [
        sys.executable,
        "-c",
        "from ernie_search.cli import main; main()",
        "index",
        "docs",
        "--output",
        "index",
    ]
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, *(["--model", model] if model else [])],
        cwd=root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        _, said = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return time.perf_counter() - started
    if process.returncode:
        raise SystemExit(said.decode())
    return time.perf_counter() - started


Rows = dict[str, tuple[Any, ...]]


def truth(root: Path) -> Rows:
    """What the files say."""
    from ernie_search.data.files import open_files

    return {
        one.id: (one.title, one.text, dict(one.fields)) for one in open_files(str(root / "docs")).passages()
    }


def held(root: Path) -> Rows:
    """What the index holds."""
    from ernie_search.index import open_index

    with open_index(root / "index", check=False) as index:
        ids = [one for part in index.scan(["id"]) for one in part.column("id").to_pylist()]
        return {one.id: (one.title, one.text, dict(one.fields)) for one in index.get(ids)}


def wrong(one: Rows, other: Rows) -> int:
    """Passages that are in one alone, or differ."""
    return sum(one.get(key) != other.get(key) for key in one.keys() | other.keys())


def main() -> None:
    """Index, time a second call, then edit and kill; ``--quick`` takes fewer files."""
    args = arguments(__doc__ or "", model="", seed=1)
    count, edits = QUICK if args.quick else (FILES, EDITS)
    drawn = random.Random(args.seed)
    root = Path(tempfile.mkdtemp(prefix="ernie-search-sync-"))
    try:
        for number in range(count):
            path = root / "docs" / f"part{number % 50}" / f"file{number}.md"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text_of(drawn))
        first = sync(root, args.model)
        time.sleep(2.1)  # a file that changed within two seconds of a sync is hashed by the next one
        sync(root, args.model)
        unchanged = [sync(root, args.model) for _ in range(3)]
        faults, kills, seconds, before = wrong(held(root), truth(root)), 0, [], truth(root)
        for number in range(edits):
            edit(root / "docs", drawn)
            after = truth(root)
            if number % KILLED == KILLED - 1:
                kills += 1
                sync(root, args.model, kill_after=drawn.uniform(0, 1.5 * median(seconds)))
                found = held(root)
                faults += min(wrong(found, before), wrong(found, after))
            seconds.append(sync(root, args.model))
            faults += wrong(held(root), after)
            before = after
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        settings = {"files": count, "passages": len(before), "edits": edits, "kills": kills, "cores": cores}
        emit(
            [
                Figure("unchanged_seconds", median(unchanged), "s", settings=settings),
                Figure("lost_or_stale", faults, "passages", settings=settings),
                Figure("changed_seconds", median(seconds), "s", settings=settings),
                Figure("first_seconds", first, "s", settings=settings),
            ],
            args.json,
        )
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
