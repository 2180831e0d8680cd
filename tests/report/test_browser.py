"""The report in a real browser: no error on the console, no request, nothing wider than a phone's screen."""

import shutil
from pathlib import Path

import pytest

from ernie_search.report import Report, write_report

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed (pip install -e .[dev])"
)
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; on Debian: apt-get install chromium"),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_opens_without_a_complaint(whole: Report, tmp_path: Path, scheme: str, width: int) -> None:
    path = write_report(whole, tmp_path / "report.html")
    said: list[str] = []
    asked: list[str] = []
    with sync_api.sync_playwright() as playwright:
        # no sandbox: containers and CI run as root, where Chromium refuses it; the page is our own file
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda request: asked.append(request.url))
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert ground == ("rgb(246, 247, 249)" if scheme == "light" else "rgb(16, 20, 27)")
            assert page.locator("svg").count() > 5
            assert page.locator("section script, section img").count() == 0
            page.locator("summary").first.click()
            page.locator("nav a").last.click()
            assert len(page.screenshot(full_page=True)) > 10_000
            assert len(page.pdf()) > 10_000
        finally:
            browser.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
