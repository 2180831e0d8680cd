"""Peak memory of converting a 2-million-passage TSV, made up on the spot, to a BEIR folder."""

import random
import resource
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.figures import Figure, arguments, emit
from benchmarks.isolated import isolated

WORDS = 100
"""Words a passage, as in DPR's Wikipedia."""
VOCABULARY = 5000
QUICK = 100_000


def write_tsv(path: Path, passages: int) -> None:
    """DPR's form: id, text, title with a header; words from a seed, every seventh text with quotes."""
    drawn = random.Random(0)
    words = [
        "".join(drawn.choices("abcdefghijklmnopqrstuvwxyz", k=drawn.randint(2, 10)))
        for _ in range(VOCABULARY)
    ]
    with open(path, "w", encoding="utf-8", newline="\n") as handle:
        handle.write("id\ttext\ttitle\n")
        for number in range(1, passages + 1):
            text = " ".join(drawn.choices(words, k=WORDS))
            if number % 7 == 0:
                text = f'"{text} ""{words[number % VOCABULARY]}"""'
            handle.write(f"{number}\t{text}\t{words[number % VOCABULARY]}\n")


def peak(source: str, warm_source: str, output: str) -> tuple[float, float, int]:
    """In a process of its own: peak memory above the level before, in MB; seconds; passages written."""
    from ernie_search.data import convert, open_collection

    # A small one first, so that the modules are there before the level is read.
    convert(open_collection(warm_source), Path(f"{output}-small"))
    before, start = psutil.Process().memory_info().rss, time.perf_counter()
    done = convert(open_collection(source), Path(output))
    unit = 1024 if sys.platform != "darwin" else 1  # of ru_maxrss, in bytes
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return (after - before) / 2**20, time.perf_counter() - start, done.info.passages


def main() -> None:
    """Write the TSV, convert it in a fresh process, and remove both."""
    args = arguments(__doc__ or "", passages=2_000_000)
    passages = min(args.passages, QUICK) if args.quick else args.passages
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tsv, small = folder / "psgs_w100.tsv", folder / "small.tsv"
        write_tsv(tsv, passages)
        write_tsv(small, 1000)
        megabytes = tsv.stat().st_size / 2**20
        used, seconds, written = isolated(peak, f"dpr:{tsv}", f"dpr:{small}", str(folder / "beir"))
    if written != passages:
        raise SystemExit(f"{written} passages written of {passages}")
    settings = {"passages": passages, "file_mb": round(megabytes), "seconds": round(seconds, 1)}
    emit([Figure("peak_mb", used, "MB", settings=settings)], args.json)


if __name__ == "__main__":
    main()
