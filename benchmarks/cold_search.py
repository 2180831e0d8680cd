"""Processor seconds of ``ernie-search search`` as a process of its own, and the size of what it needs.

A store of 20,958 passages (SQuAD's corpus where it lies beside the checkout, else made-up words) whose
vectors are random numbers under the name of the model, since what a search costs does not depend on them. The
question is encoded by the model itself. The median of several processes counts, user and system time
together, after one that is not counted (the model's graph may be made then).

``install_mb`` is what the distribution and all that it requires without extras hold on this disk;
``first_import_mb`` what a fresh environment with the core alone holds as a whole, pip left out: that of
``--venv``, or one that is made now with ``--make-venv 1`` (which asks a package index).
"""

import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement

from benchmarks.figures import ROOT, SHARED, Figure, arguments, emit

PASSAGES, WORDS, TOKENS = 20_958, 100, 120
QUESTION = "when did the first settlers cross the river"
BLOCK = 2_048
PARTS = """
import json, sys, time
start, parts = time.process_time(), {}
def part(name):
    global start
    now = time.process_time()
    parts[name], start = now - start, now
parts["python"] = start
import numpy, pyarrow; part("numpy, pyarrow")
from ernie_search.cli import main; part("command line")
from ernie_search.cli.lancedb_import import import_lancedb
import_lancedb(); part("lancedb")
import ernie_search.search, ernie_search.index.lance; part("search and index")
import onnxruntime, tokenizers; part("onnxruntime, tokenizers")
from ernie_search.search import Searcher
searcher = Searcher.open(sys.argv[1], sys.argv[2], verify=False); part("open store and model")
searcher.search(sys.argv[3], 10, mode="hybrid"); part("first question")
print(json.dumps(parts))
"""


def make_store(folder: Path, model: str, passages: int) -> Path:
    """An index of made-up passages with random vectors."""
    from ernie_search.encoding.opening import open_encoder
    from ernie_search.index import make_batch, make_spec, open_index

    encoder = open_encoder(model)
    dim = encoder.encode_joint([QUESTION], "query").dense.shape[1]
    spec = make_spec(
        model_name=encoder.name,
        model_fingerprint=encoder.fingerprint,
        dim=dim,
        token_dim=encoder.token_dim,
    )
    random = np.random.default_rng(0)
    corpus = texts_of(random)
    with open_index(folder, spec, "w") as index:
        for first in range(0, passages, BLOCK):
            count = min(BLOCK, passages - first)
            texts = list(islice(corpus, count))
            batch = make_batch(
                model_name=encoder.name,
                model_fingerprint=encoder.fingerprint,
                ids=[f"p{first + place}" for place in range(count)],
                titles=[""] * count,
                texts=texts,
                fields=["{}"] * count,
                dense=_rows(random, count, dim),
                tokens=[_rows(random, TOKENS, encoder.token_dim).astype(np.float16) for _ in texts],
                token_ids=[random.integers(0, 30_000, TOKENS).astype(np.int32) for _ in texts],
                token_dim=encoder.token_dim,
            )
            index.upsert(batch)
        index.commit()
        index.optimize()
    return folder


def texts_of(random: np.random.Generator) -> Iterator[str]:
    """SQuAD's passages, and after them, or without them, made-up ones."""
    if (SHARED / "squad").is_dir():
        from ernie_search.data import open_collection

        yield from (passage.full_text for passage in open_collection(str(SHARED / "squad")).passages())
    words = [*QUESTION.split(), *(f"w{number}" for number in range(30_000))]
    while True:
        for row in _zipf(random, BLOCK, len(words)):
            yield " ".join(words[place] for place in row)


def _zipf(random: np.random.Generator, count: int, words: int) -> np.ndarray:
    return np.minimum(random.zipf(1.2, (count, WORDS)) - 1, words - 1)


def _rows(random: np.random.Generator, count: int, dim: int) -> np.ndarray:
    rows = random.standard_normal((count, dim), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def cold(command: list[str]) -> tuple[float, float, str]:
    """Processor and wall seconds of a process, and what it printed."""
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    after, wall = os.times(), time.perf_counter() - started
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return used, wall, done.stdout


def requirements(name: str, seen: set[str]) -> Iterator[importlib.metadata.Distribution]:
    """A distribution and all that it requires without extras, each once."""
    if name.lower().replace("_", "-") in seen:
        return
    seen.add(name.lower().replace("_", "-"))
    found = importlib.metadata.distribution(name)
    yield found
    for line in found.requires or ():
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            yield from requirements(wanted.name, seen)


def installed() -> dict[str, float]:
    """MB on disk of each distribution that the core needs, compiled files included, largest first."""
    sizes = {}
    for one in requirements("ernie-search", set()):
        files = [Path(str(one.locate_file(file))) for file in one.files or ()]
        sizes[one.metadata["Name"]] = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
    return dict(sorted(sizes.items(), key=lambda pair: -pair[1]))


def environment(given: str, make: bool) -> Figure | None:
    """``first_import_mb``: the size of an environment without pip; None, with a word, where there is none."""
    if given:
        return _measured(Path(given))
    if not make:
        print("first_import_mb: left out; name an environment with --venv, or --make-venv 1", file=sys.stderr)
        return None
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [str(_python(Path(folder))), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), str(ROOT)])
        if done.returncode:
            print("first_import_mb: left out; the core could not be installed here", file=sys.stderr)
            return None
        return _measured(Path(folder))


def _python(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _measured(venv: Path) -> Figure:
    packages = next(iter([*venv.glob("lib/python3*/site-packages"), *venv.glob("Lib/site-packages")]), None)
    if packages is None:
        raise SystemExit(f"{venv}: no environment here")
    sizes: dict[str, float] = {}
    for file in packages.rglob("*"):
        if file.is_file() and not file.is_symlink():
            name = file.relative_to(packages).parts[0]
            sizes[name] = sizes.get(name, 0.0) + file.stat().st_size / 1e6
    sizes = {name: size for name, size in sizes.items() if not name.startswith(("pip", "setuptools"))}
    largest = sorted(sizes.items(), key=lambda pair: -pair[1])[:10]
    settings = {"largest": {name: round(size, 1) for name, size in largest}, "torch": "torch" in sizes}
    return Figure("first_import_mb", sum(sizes.values()), "MB", settings=settings)


def main() -> None:
    """Build the store, start the processes, emit the figures."""
    options = arguments(__doc__ or "", model="", runs=7, venv="", make_venv=0)
    runs_wanted = 2 if options.quick else options.runs
    if not options.model:
        from ernie_search.runtime import default_model

        options.model = default_model()
    passages = 2_000 if options.quick else PASSAGES
    with tempfile.TemporaryDirectory() as folder:
        store = str(make_store(Path(folder) / "store", options.model, passages))
        search = [sys.executable, "-c", "from ernie_search.cli import main; main()", "search", QUESTION]
        search += ["--index", store, "--model", options.model, "--mode", "hybrid"]
        cold(search)
        runs = [cold(search) for _ in range(runs_wanted)]
        parts = [
            json.loads(cold([sys.executable, "-c", PARTS, store, options.model, QUESTION])[2])
            for _ in range(runs_wanted)
        ]
    medians = {name: round(statistics.median(one[name] for one in parts), 3) for name in parts[0]}
    sizes = installed()
    largest = {name: round(size, 1) for name, size in list(sizes.items())[:10]}
    settings = {
        "passages": passages,
        "mode": "hybrid",
        "runs": runs_wanted,
        "model": Path(options.model).name,
        "texts": "squad" if (SHARED / "squad").is_dir() else "made up",
    }
    cpu = statistics.median(one[0] for one in runs)
    wall = statistics.median(one[1] for one in runs)
    emit(
        [
            Figure("cpu_seconds", cpu, "seconds", settings=settings | {"parts": medians}),
            Figure("wall_seconds", wall, "seconds", settings=settings),
            Figure("install_mb", sum(sizes.values()), "MB", settings={"largest": largest}),
            *([held] if (held := environment(options.venv, bool(options.make_venv))) else []),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
