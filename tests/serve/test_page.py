"""The page in a real Chromium: what people see and can do."""

import re
import shutil
from collections.abc import Iterator

import pytest

from tiny_service import HOSTILE, app_of, listening, stub

playwright = pytest.importorskip(
    "playwright.sync_api", reason="the page is tested in a browser: pip install playwright"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium"
)
expect = playwright.expect
KEY = "0123456789abcdef"
CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((one) => one / 255);
  };
  const over = (top, below) => below.map((one, i) => top[i] * top[3] + one * (1 - top[3]));
  const behind = (node) => {
    const layers = [];
    for (; node; node = node.parentElement) layers.unshift(rgba(getComputedStyle(node).backgroundColor));
    return layers.reduce((below, top) => over(top, below), [1, 1, 1]);
  };
  const linear = (one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
  const light = (color) => [0.2126, 0.7152, 0.0722].reduce((sum, w, i) => sum + w * linear(color[i]), 0);
  const ownText = (node) =>
    node.value || [...node.childNodes].some((one) => one.nodeType === Node.TEXT_NODE && one.data.trim());
  const seen = { visibilityProperty: true, opacityProperty: true };
  const texts = [...document.body.querySelectorAll("*")]
    .filter((node) => node.checkVisibility(seen) && ownText(node))
    .map((node) => {
      const back = behind(node);
      const [a, b] = [light(over(rgba(getComputedStyle(node).color), back)), light(back)];
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      return { tag: node.tagName, class: node.className, text: node.textContent.slice(0, 30), contrast };
    });
  return { page: light(behind(document.body)), texts };
}"""
"""Each visible text's contrast to what lies behind it, and how light the page is."""


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    app, _ = app_of(stub())
    with listening(app) as found:
        yield found


@pytest.fixture
def page(browser) -> Iterator[object]:
    """A page that must end without errors of its own, and must not have asked anybody else."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(5000)
    faults: list[str] = []
    asked: set[str] = set()
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("dialog", lambda dialog: faults.append(f"dialog {dialog.message}"))
    opened.on("request", lambda request: asked.add(request.url.split("/")[2].split(":")[0]))
    yield opened
    assert faults == []
    assert asked == {"127.0.0.1"}
    context.close()


def search(page, address: str, question: str = "where does tea grow", more: str = "") -> None:
    page.goto(f"{address}/?{more}")
    page.get_by_label("Question", exact=True).fill(question)
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".hit").first).to_be_visible()
    expect(page.locator("#results[aria-busy]")).to_have_count(0)


def test_modes_side_by_side(page, address):
    page.goto(address)
    expect(page.get_by_text("Ask a question")).to_be_visible()
    search(page, address)
    for name in ("Dense", "Late interaction", "Hybrid"):
        column = page.get_by_role("region", name=name)
        expect(column.locator(".hit").first).to_be_visible()
        expect(column.locator(".times")).to_have_text(re.compile(r"^[\d.]+ ms: .*rank"))
    expect(page.get_by_role("status")).to_have_text("5 hits in 3 modes.")
    page.get_by_role("checkbox", name="Hybrid").uncheck()
    expect(page.locator(".column")).to_have_count(2)
    assert "mode=dense%2Clate" in page.url


def test_words_are_shaded_and_say_which_token_they_answer(page, address):
    search(page, address, "tea in water", "mode=late")
    rice = page.locator('.hit[data-id="rice"]').first
    mark = rice.locator("mark", has_text=re.compile("^water$"))
    assert float(mark.evaluate("one => one.style.getPropertyValue('--strength')")) == 1
    mark.hover()
    expect(page.get_by_role("tooltip")).to_have_text("“water” 1.00")
    expect(page.locator(".token.near")).to_have_text("water")
    page.locator(".token", has_text="water").click()
    expect(mark).to_have_class(re.compile("near"))
    page.keyboard.press("Escape")
    expect(page.locator("mark.near")).to_have_count(0)
    expect(rice.locator(".text")).to_contain_text("water 🌾 for")  # places count characters, not UTF-16 units


def test_the_address_holds_the_search(page, address):
    search(page, address, "where does tea grow & why?", "mode=late&k=3")
    expect(page.locator(".hit")).to_have_count(3)
    url, title = page.url, page.title()
    assert "where does tea grow & why?" in title
    page.goto("about:blank")
    page.goto(url)
    expect(page.get_by_label("Question", exact=True)).to_have_value("where does tea grow & why?")
    expect(page.locator(".column")).to_have_count(1)
    expect(page.locator(".hit")).to_have_count(3)
    search(page, address, "rice")
    page.get_by_label("Question", exact=True).fill("wheat")
    page.keyboard.press("Enter")
    expect(page.locator(".hit").first).to_be_visible()
    page.go_back()
    expect(page.get_by_label("Question", exact=True)).to_have_value("rice")


def test_filters_from_the_fields(page, address):
    search(page, address, more="mode=late")
    page.get_by_role("button", name="+ Filter").click()
    page.get_by_label("Field").select_option("lang")
    page.get_by_label("Value").fill("fr")
    page.keyboard.press("Enter")
    expect(page.locator(".hit")).to_have_count(1)
    expect(page.locator(".hit")).to_contain_text("Thé")
    page.reload()
    expect(page.get_by_label("Value")).to_have_value("fr")
    expect(page.locator(".hit")).to_have_count(1)
    page.get_by_label("Value").fill('"nobody" or id != "x')
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing found")).to_be_visible()
    page.get_by_role("button", name="Remove this filter").click()
    expect(page.locator(".hit")).to_have_count(5)


def test_the_keyboard_alone(page, address):
    page.goto(address)
    expect(page.get_by_text("Ask a question")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("tea")
    page.keyboard.press("Enter")
    expect(page.locator("#results:not([aria-busy]) .hit").first).to_be_visible()
    expect(page.locator("#results[aria-busy]")).to_have_count(0)
    page.locator("h1").click()
    page.keyboard.press("j")
    focused = page.locator(".hit:focus")
    expect(focused.locator(".rank")).to_have_text("1")
    page.keyboard.press("j")
    expect(focused.locator(".rank")).to_have_text("2")
    page.keyboard.press("l")
    assert focused.evaluate("one => one.closest('.column').getAttribute('aria-label')") == "Late interaction"
    page.keyboard.press("k")
    expect(focused.locator(".rank")).to_have_text("1")
    page.keyboard.press("/")
    expect(page.get_by_label("Question", exact=True)).to_be_focused()


def test_every_control_has_a_name(page, address):
    search(page, address)
    page.get_by_role("button", name="+ Filter").click()
    nameless = page.locator("button, input, select").evaluate_all(
        "all => all.filter(one => !(one.labels?.length || one.ariaLabel || one.textContent.trim()))"
        ".map(one => one.outerHTML)"
    )
    assert nameless == []


def test_hostile_passages_and_questions_stay_text(page, address):
    search(page, address, HOSTILE)
    hit = page.locator('.hit[data-id="hostile"]').first
    expect(hit.locator("h3")).to_have_text(HOSTILE)
    expect(hit.locator(".text")).to_contain_text(HOSTILE)
    assert page.locator("#results script, #results img, #results b, #asked script, #asked img").count() == 0
    assert page.title() != "owned"
    page.goto(f"{address}/?q=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&mode=%22%3E%3Cscript%3E&k=9e9&f=%7B%7D")
    expect(page.get_by_text("Choose a mode.")).to_be_visible()


def test_a_slow_answer_is_awaited_in_sight(page, address):
    page.goto(f"{address}/?mode=late")
    held: list[object] = []
    page.route("**/v1/search", lambda route: held.append(route))
    page.get_by_label("Question", exact=True).fill("where does tea grow")
    with page.expect_request("**/v1/search"):
        page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("status")).to_have_text("Searching…")
    expect(page.locator("#results[aria-busy=true]")).to_have_count(1)
    expect(page.locator(".hit")).to_have_count(0)
    held[0].continue_()
    expect(page.locator(".hit").first).to_be_visible()
    expect(page.locator("#results[aria-busy]")).to_have_count(0)
    expect(page.get_by_role("status")).to_have_text("5 hits in one mode.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(page, address, scheme):
    """WCAG 2.2, 1.4.3: a contrast of 4.5 to 1 for text of usual size, shaded words included."""
    page.emulate_media(color_scheme=scheme)
    search(page, address, "tea in water", "mode=late")
    measured = page.evaluate(CONTRAST)
    dark = measured["page"] < 0.2
    assert dark is (scheme == "dark")
    assert {"MARK", "BUTTON", "INPUT", "H1"} <= {one["tag"] for one in measured["texts"]}
    assert [one for one in measured["texts"] if one["contrast"] < 4.5] == []


def test_errors_are_said(page, address):
    search(page, address)
    page.route(
        "**/v1/search",
        lambda route: route.fulfill(
            status=429, json={"error": {"message": "too many requests wait; try again in a second"}}
        ),
    )
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("status")).to_have_text("too many requests wait; try again in a second")
    expect(page.locator(".failed")).to_have_count(3)
    page.unroute("**/v1/search")
    page.route("**/v1/search", lambda route: route.abort())
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("status")).to_have_text("The service does not answer.")


def test_a_key_is_asked_for(page):
    app, _ = app_of(stub(), keys=(KEY,))
    with listening(app) as address:
        page.goto(f"{address}/?q=tea")
        field = page.get_by_label("This service needs an API key.")
        expect(field).to_be_visible()
        field.fill("wrong")
        page.get_by_role("button", name="Use key").click()
        expect(page.get_by_role("status")).to_have_text("unknown API key")
        field.fill(KEY)
        page.get_by_role("button", name="Use key").click()
        expect(page.locator(".hit").first).to_be_visible()
        expect(field).to_be_hidden()
        assert KEY not in page.url
