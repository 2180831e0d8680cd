"""Take the pictures in ``docs/images`` in Chromium: ``make pictures``.

The page, in light and dark colours and with a document open, searches pages of this documentation with the
bundled model, untrained: an index that takes a minute to make. ``--index`` names another one. The report
compares runs of ``benchmarks.quality_squad``, which take hours, so its picture is taken where they exist.
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

from ernie_search import build_index
from ernie_search.model import BUNDLED, from_base

COMMAND = [sys.executable, "-c", "from ernie_search.cli import main; main()"]
WIDTH, PAGE_HEIGHT, REPORT_HEIGHT = 1280, 900, 1400
LONGEST = 120_000
"""Milliseconds that a busy machine is given."""
PAGES = ("data", "glossary", "indexes", "limits", "scale", "serve")
SEARCH = "?q=what+happens+to+a+file+that+changes+while+it+is+searched&k=5&mode=dense,late,hybrid"
ANSWERED = "#results:not([aria-busy]) .hit"
RUNS = {
    "alone-l3-s0.dense": "dual-encoder alone",
    "distilled-l3-s0.dense": "distilled",
    "distilled-l3-s0.late": "distilled, re-ranked",
}
"""The benchmark's run files, and what the report calls them; the others are compared to the first."""


def make_index(folder: Path) -> Path:
    """An index of some of the documentation's pages under the bundled model without training."""
    (folder / "docs").mkdir()
    for name in PAGES:
        shutil.copy(ROOT / "docs" / f"{name}.md", folder / "docs")
    from_base(BUNDLED).save(str(folder / "model"))
    build_index(f"files:{folder / 'docs'}", folder / "model", folder / "index")
    return folder / "index"


def take_page(browser: Any, address: str, scheme: str, picture: Path) -> None:
    """A search in three modes, with the pointer on a shaded word."""
    context = browser.new_context(viewport={"width": WIDTH, "height": PAGE_HEIGHT}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(LONGEST)
    for _ in range(3):  # the first answers are slower, which the times would show
        page.goto(f"{address}/{SEARCH}")
        page.locator(ANSWERED).first.wait_for()
    page.locator("mark").first.hover()
    page.screenshot(path=picture)
    context.close()


def take_document(browser: Any, address: str, picture: Path) -> None:
    """The best hit in its document."""
    page = browser.new_page(viewport={"width": WIDTH, "height": PAGE_HEIGHT}, color_scheme="light")
    page.set_default_timeout(LONGEST)
    page.goto(f"{address}/{SEARCH}")
    page.locator(ANSWERED).first.wait_for()
    page.locator(".open").first.click()
    page.locator(".part.here").wait_for()
    page.screenshot(path=picture)
    page.close()


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
    """Take all pictures that there is data for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=Path, help="the index that the page searches")
    parser.add_argument("--squad", type=Path, default=ROOT / "runs" / "quality_squad", help="its --work")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images", help="the pictures' folder")
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("error: no Chromium on this machine; try: apt-get install chromium")
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        with serving(str(args.index or make_index(Path(work)))) as server:
            for scheme in ("light", "dark"):
                take_page(browser, server.address, scheme, args.output / f"page-{scheme}.png")
            take_document(browser, server.address, args.output / "page-document.png")
        runs = args.squad / "runs"
        if all((runs / f"{file}.trec").is_file() for file in RUNS):
            take_report(browser, runs, Path(work), args.output / "report.png")
        else:
            sys.stderr.write(f"{runs}: no runs, so no report; first: python -m benchmarks.quality_squad\n")
        browser.close()


if __name__ == "__main__":
    main()
