"""The report in a real browser: no error on the console, no request, nothing wider than a phone's screen."""

from pathlib import Path

import pytest

from chromium import needs_chromium, opened
from ernie_search.report import Report, write_report

pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_opens_without_a_complaint(whole: Report, tmp_path: Path, scheme: str, width: int) -> None:
    path = write_report(whole, tmp_path / "report.html")
    said: list[str] = []
    asked: list[str] = []
    with opened() as browser:
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
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
