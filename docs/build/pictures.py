"""The pictures in ``docs/images``, taken anew in Chromium: ``make pictures``.

The page, in light and dark colours, searches the demo, which is made first where ``--demo`` does not hold a
finished one. The report is on rows of ``benchmarks.quality_squad``, and is left as it is where those are not
there, since they take long. With both there it takes about a minute.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT, squad_folder
from benchmarks.serving import serving
from playwright.sync_api import sync_playwright

COMMAND = [sys.executable, "-c", "from ernie_search.cli import main; main()"]
WIDTH, PAGE_HEIGHT, REPORT_HEIGHT = 1280, 900, 1400
SEARCH = "?q=find+the+shortest+path+between+two+nodes+of+a+weighted+graph&k=5&mode=dense,late,hybrid"
ANSWERED = "#results:not([aria-busy]) .hit"
RUNS = {
    "alone-l3-s0.dense": "dual-encoder alone",
    "distilled-l3-s0.dense": "distilled",
    "distilled-l3-s0.late": "distilled, re-ranked",
}
"""The benchmark's run files, and what the report calls them; the others are compared to the first."""


def take_page(browser: Any, address: str, scheme: str, picture: Path) -> None:
    """A search in three modes, with the pointer on a shaded word."""
    context = browser.new_context(viewport={"width": WIDTH, "height": PAGE_HEIGHT}, color_scheme=scheme)
    page = context.new_page()
    for _ in range(2):  # the second answer's times are not those of a model that wakes up
        page.goto(f"{address}/{SEARCH}")
        page.locator(ANSWERED).first.wait_for()
    page.locator("mark").first.hover()
    page.screenshot(path=picture)
    context.close()


def take_report(browser: Any, runs: Path, work: Path, picture: Path) -> None:
    """The upper part of a report."""
    named = [work / f"{name}.trec" for name in RUNS.values()]
    for file, run in zip(RUNS, named, strict=True):
        shutil.copy(runs / f"{file}.trec", run)
    told = ["--corpus", str(squad_folder()), "--split", "dev", "--title", "SQuAD dev, three layers"]
    measures = ["-m", "MRR@10", "-m", "recall@100"]
    report = work / "report.html"
    subprocess.run(
        [*COMMAND, "report", *map(str, named), *told, *measures, "--output", str(report)], check=True
    )
    page = browser.new_page(viewport={"width": WIDTH, "height": REPORT_HEIGHT})
    page.goto(report.as_uri())
    page.screenshot(path=picture)
    page.close()


def main() -> None:
    """All that there is data for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=ROOT / "runs" / "demo", help="the demo's folder")
    parser.add_argument("--squad", type=Path, default=ROOT / "runs" / "quality_squad", help="its --work")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images", help="the pictures' folder")
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("error: no Chromium on this machine; try: apt-get install chromium")
    args.output.mkdir(parents=True, exist_ok=True)
    subprocess.run([*COMMAND, "demo", "--output", str(args.demo)], check=True, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as work, sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with serving(str(args.demo / "index")) as server:
            for scheme in ("light", "dark"):
                take_page(browser, server.address, scheme, args.output / f"page-{scheme}.png")
        runs = args.squad / "runs"
        if all((runs / f"{file}.trec").is_file() for file in RUNS):
            take_report(browser, runs, Path(work), args.output / "report.png")
        else:
            sys.stderr.write(f"{runs}: no runs, so no report; first: python -m benchmarks.quality_squad\n")
        browser.close()


if __name__ == "__main__":
    main()
