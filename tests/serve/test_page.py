"""The page in a real Chromium: what people see and can do."""

import re
from collections.abc import Callable, Iterator

import pytest

from chromium import PATIENCE, expect, needs_chromium, opened
from ernie_search.data.chunking import chunk_passages
from ernie_search.types import Passage
from tiny_service import HOSTILE, app_of, listening, store_of, stub

pytestmark = needs_chromium
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


PROSE = (
    "The plant likes hills, rain and mild winters, and it is still picked by hand in all but a few of the "
    "districts. It will, if it is left alone, become a tall tree; cut back, it stays a little bush. "
)
LONG_TITLE = "A very long title about tea, its hills, its rain and all of its history in Assam " * 5
ODD = [
    Passage(
        "long", PROSE * 5 + "tea", LONG_TITLE.strip(), {"score": 0.1 + 0.2, "year": 1998, "tags": [1 / 3]}
    ),
    Passage(
        "ar", "ينمو الشاي في آسام tea grows. (1998)", "الشاي (tea)", {"weight": 1234567.891, "tiny": 1.5e-7}
    ),
    Passage("zh", "茶生长在阿萨姆的山丘上，需要大量的雨水。tea " * 5, "茶 tea"),
    Passage("ctl", "A\r\n\ttea\x1b[31m grows \u202ethere\r\n\r\nשלום tea", "\u202eTea"),
]
"""What a page's author does not think of."""

BOOK = Passage("book", " ".join(f"leaf{number}" for number in range(300)), "A book")
GUIDE = [
    Passage(
        f"my%20guide.md#{number}",
        f"Step {number} of pruning {HOSTILE if number == 1 else 'bushes'}.",
        f"Guide > Part {number // 2}",
        {"path": "my guide.md", "heading": f"Part {number // 2}", "line": 10 * number + 1},
    )
    for number in range(4)
]
SMALL = """() => [...document.querySelectorAll("button, select, input:not([type=checkbox]), .modes label")]
  .filter((one) => one.checkVisibility())
  .filter((one) => Math.min(one.offsetWidth, one.offsetHeight) < 44)
  .map((one) => one.outerHTML)"""
"""Controls that a finger does not meet."""

LINES = """one => {
  const lines = new Map(), range = document.createRange();
  const walk = document.createTreeWalker(one, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode())
    for (let at = 0; at < node.length; at++) {
      range.setStart(node, at);
      range.setEnd(node, at + 1);
      const box = range.getBoundingClientRect();
      const row = Math.round((box.top + box.bottom) / 8);
      if (box.width) lines.set(row, (lines.get(row) ?? 0) + 1);
    }
  return [...lines.values()];
}"""
"""How many characters stand on each line of an element."""


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with opened() as found:
        yield found


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    app, _ = app_of(stub())
    with listening(app) as found:
        yield found


@pytest.fixture(scope="module")
def odd() -> Iterator[str]:
    model = stub()
    app, _ = app_of(model, store_of(model, ODD))
    with listening(app) as found:
        yield found


@pytest.fixture(scope="module")
def shelf() -> Iterator[str]:
    """Documents: a book of 60 pieces that share a word each, and a file."""
    model = stub()
    pieces = list(chunk_passages([BOOK], words=6, overlap=1))
    app, _ = app_of(model, store_of(model, [*pieces, *GUIDE]))
    with listening(app) as found:
        yield found


@pytest.fixture
def page(browser) -> Iterator[object]:
    """A page that must end without errors of its own, and must not have asked anybody else."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE)
    faults: list[str] = []
    asked: set[str] = set()
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("dialog", lambda dialog: faults.append(f"dialog {dialog.message}"))
    opened.on("request", lambda request: asked.add(request.url.split("/")[2].split(":")[0]))
    yield opened
    assert faults == []
    assert asked == {"127.0.0.1"}
    context.close()


class Gate:
    """The way to a path, open until ``answer`` is set; laid before the page is opened.

    A route that is set on an open page may miss its next request.
    """

    def __init__(self, page, path: str) -> None:
        self.answer: Callable[[object], object] | None = None
        page.route(path, lambda route: (self.answer or (lambda one: one.continue_()))(route))


def search(page, address: str, question: str = "where does tea grow", more: str = "") -> None:
    page.goto(f"{address}/?{more}")
    expect(page.locator("#modes label").first).to_be_visible()
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
    expect(page.get_by_role("status").first).to_have_text("5 hits in 3 modes.")
    page.get_by_role("checkbox", name="Hybrid").uncheck()
    expect(page.locator(".column")).to_have_count(2)
    assert "mode=late%2Cdense" in page.url


def test_a_question_typed_before_the_page_is_ready_is_kept(page, address):
    held = []
    page.route("**/v1/info", lambda route: held.append(route))
    page.goto(f"{address}/?mode=late", wait_until="domcontentloaded")
    page.get_by_label("Question", exact=True).fill("where does tea grow")
    with page.expect_request("**/v1/info"):
        page.keyboard.press("Enter")
    for one in held:
        one.continue_()
    expect(page.locator(".hit").first).to_be_visible()
    expect(page.get_by_label("Question", exact=True)).to_have_value("where does tea grow")


def test_words_are_shaded_and_say_which_token_they_answer(page, address):
    search(page, address, "tea in water", "mode=late")
    rice = page.locator('.hit[data-id="rice"]').first
    mark = rice.locator("mark", has_text=re.compile("^water$"))
    assert float(mark.evaluate("one => one.style.getPropertyValue('--strength')")) == 1
    mark.hover()
    expect(page.get_by_role("tooltip")).to_have_text("“water” 1.00")
    expect(page.locator(".token.near")).to_have_text(re.compile(r"^water[\d.]+$"))  # and its weight
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
    held: list[object] = []
    page.route("**/v1/search", lambda route: held.append(route))
    page.goto(f"{address}/?mode=late")
    page.get_by_label("Question", exact=True).fill("where does tea grow")
    with page.expect_request("**/v1/search"):
        page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("status").first).to_have_text("Searching…")
    expect(page.locator("#results[aria-busy=true]")).to_have_count(1)
    expect(page.locator(".hit")).to_have_count(0)
    held[0].continue_()
    expect(page.locator(".hit").first).to_be_visible()
    expect(page.locator("#results[aria-busy]")).to_have_count(0)
    expect(page.get_by_role("status").first).to_have_text("5 hits in one mode.")


@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_lines_are_no_longer_than_75_characters(page, odd, width):
    page.set_viewport_size({"width": width, "height": 900})
    search(page, odd, "tea", "mode=late")
    lines = page.locator('.hit[data-id="long"] .text').evaluate(LINES)
    assert len(lines) >= 8
    assert max(lines) <= 75
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_hits_of_a_single_mode_fill_the_width(page, odd, width):
    page.set_viewport_size({"width": width, "height": 900})
    search(page, odd, "tea", "mode=late&k=5")
    shown = [box for box in (one.bounding_box() for one in page.locator(".hit").all()) if box]
    right = max(box["x"] + box["width"] for box in shown)
    page_right = page.evaluate("document.querySelector('.ask').getBoundingClientRect().right")
    assert abs(right - page_right) <= 2
    rows = [box["y"] for box in shown]
    assert rows == sorted(rows)  # best first, row by row
    assert (len(set(rows)) < len(rows)) == (width > 800)


def test_long_titles_are_cut_and_can_be_read(page, odd):
    search(page, odd, "tea", "mode=late")
    hit = page.locator('.hit[data-id="long"]')
    rows = "one => Math.round(one.clientHeight / parseFloat(getComputedStyle(one).lineHeight))"
    assert hit.locator("h3").evaluate(rows) == 2
    assert hit.locator(".text").evaluate(rows) == 9
    hit.get_by_role("button", name="Show all").click()
    assert hit.locator("h3").evaluate("one => one.scrollHeight <= one.clientHeight + 2")
    assert hit.locator("h3").evaluate(rows) > 2
    expect(hit.locator("h3")).to_have_text(LONG_TITLE.strip())
    hit.get_by_role("button", name="Show less").click()
    assert hit.locator("h3").evaluate(rows) == 2
    expect(page.locator('.hit[data-id="ar"] .more')).to_have_count(0)


def test_scripts_from_the_right_turn_nothing_else(page, odd):
    search(page, odd, "tea", "mode=late")
    style = "one => [getComputedStyle(one).direction, getComputedStyle(one).unicodeBidi]"
    for name, direction in (("ar", "rtl"), ("long", "ltr"), ("zh", "ltr")):
        hit = page.locator(f'.hit[data-id="{name}"]')
        assert hit.locator(".text").evaluate(style) == [direction, "plaintext"]
        assert hit.locator("h3").evaluate(style) == [direction, "isolate"]
        assert hit.evaluate(style)[0] == "ltr"
        for part in hit.locator("dd, dt").all():
            assert part.evaluate(style)[1] == "isolate"
    expect(page.get_by_label("Question", exact=True)).to_have_attribute("dir", "auto")


def test_marks_stand_on_their_words_among_control_characters(page, odd):
    hit = page.locator('.hit[data-id="ctl"]')
    search(page, odd, "tea there", "mode=late")  # nearly every passage has tea, so it counts little
    assert hit.locator(".text mark").all_text_contents() == ["there"]
    search(page, odd, "tea", "mode=late")
    assert hit.locator("h3 mark").all_text_contents() == ["Tea"]
    assert hit.locator(".text").evaluate("one => one.textContent") == ODD[3].text


def test_fields_are_told_apart_from_scores(page, odd):
    search(page, odd, "tea", "mode=late")
    shown = "all => all.map((one) => [...one.children].map((part) => part.textContent))"
    hit = page.locator('.hit[data-id="long"]')
    for group, heading in (("scores", "Scores"), ("fields", "Fields")):
        expect(hit.locator(f".{group} > span")).to_have_text(heading)
    scores = dict(hit.locator(".scores dl > div").evaluate_all(shown))
    assert list(scores) == ["score", "dense", "late"]
    assert re.fullmatch(r"\d\.\d{4}", scores["score"])
    fields = dict(hit.locator(".fields dl > div").evaluate_all(shown))
    assert fields == {"score": "0.3", "year": "1998", "tags": "[0.333333]"}
    arabic = page.locator('.hit[data-id="ar"] .fields dl > div').evaluate_all(shown)
    assert dict(arabic) == {"weight": "1234568", "tiny": "1.5e-7"}
    assert page.locator('.hit[data-id="zh"] .fields').count() == 0


def test_what_is_wrong_with_a_filter_is_said_once(page, address):
    search(page, address)
    page.get_by_role("button", name="+ Filter").click()
    page.get_by_label("Field").select_option("year")
    page.get_by_label("Value").fill("abc")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_contain_text("expected a value")
    expect(page.get_by_text("expected a value")).to_have_count(1)
    expect(page.locator("#results[aria-busy], .column, .failed")).to_have_count(0)
    page.get_by_label("Value").fill("1998")
    page.keyboard.press("Enter")
    expect(page.locator(".column")).to_have_count(3)
    expect(page.locator("#status.bad")).to_have_count(0)


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
    gate = Gate(page, "**/v1/search")
    search(page, address)
    gate.answer = lambda route: route.fulfill(
        status=429, json={"error": {"message": "the queue is full; try again in a second"}}
    )
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("status").first).to_have_text("the queue is full; try again in a second")
    expect(page.locator(".failed:visible")).to_have_count(0)  # one line says it, and the hits stay
    expect(page.locator(".hit")).not_to_have_count(0)
    gate.answer = lambda route: route.abort()
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("status").first).to_have_text("The service does not answer.")


@pytest.mark.parametrize(("most", "offered"), [(2, ["2"]), (5, ["3", "5"])])
def test_no_more_hits_are_asked_for_than_the_service_gives(page, most, offered):
    app, _ = app_of(limits={"k": most})
    with listening(app) as address:
        page.goto(f"{address}/?q=tea")
        expect(page.locator(".hit").first).to_be_visible()
        expect(page.locator("#k")).to_have_value(offered[-1])
        assert page.locator("#k option:not([disabled])").all_text_contents() == offered


def test_a_key_is_asked_for(page):
    app, _ = app_of(stub(), keys=(KEY,))
    with listening(app) as address:
        page.goto(f"{address}/?q=tea")
        field = page.get_by_label("This service needs an API key.")
        expect(field).to_be_focused()
        expect(page.get_by_role("status").first).to_have_text("")  # the form says what is needed
        expect(page.locator("input:visible, button:visible, select:visible, a:visible")).to_have_count(2)
        field.fill("wrong")
        page.get_by_role("button", name="Use key").click()
        expect(page.get_by_role("status").first).to_have_text("unknown API key")
        field.fill(KEY)
        page.get_by_role("button", name="Use key").click()
        expect(page.locator(".hit").first).to_be_visible()
        expect(field).to_be_hidden()
        expect(page.get_by_label("Question", exact=True)).to_have_value("tea")
        page.evaluate("sessionStorage.setItem('key', 'old')")  # one that is no longer taken
        page.get_by_role("button", name="Search").click()
        expect(page.get_by_role("status").first).to_have_text("unknown API key")
        expect(page.locator("input:visible, button:visible, select:visible, a:visible")).to_have_count(2)
        field.fill(KEY)
        page.keyboard.press("Enter")
        expect(page.locator(".hit").first).to_be_visible()
        assert KEY not in page.url


def typed(page, text: str) -> None:
    """Key by key, and no Enter."""
    page.get_by_label("Question", exact=True).press_sequentially(text)


def test_what_is_typed_is_searched_after_a_pause(page, address):
    page.goto(f"{address}/?mode=late")
    expect(page.locator("#modes label").first).to_be_visible()
    sent = []
    page.on("request", lambda request: sent.append(request.post_data_json) if "search" in request.url else 0)
    entries = page.evaluate("history.length")
    typed(page, "rice")
    expect(page.locator(".hit").first).to_have_attribute("data-id", "rice")
    expect(page.locator("#results[aria-busy]")).to_have_count(0)
    assert sent[-1]["query"] == "rice"
    assert len(sent) < 4  # not for every key
    assert "q=rice" in page.url
    assert page.evaluate("history.length") == entries
    page.keyboard.press("Enter")
    page.get_by_label("Question", exact=True).fill("wheat")
    expect(page.locator(".hit").first).to_have_attribute("data-id", "wheat")
    page.go_back()
    expect(page.locator(".hit").first).to_have_attribute("data-id", "rice")
    expect(page.get_by_label("Question", exact=True)).to_have_value("rice")
    page.get_by_label("Question", exact=True).fill("")
    expect(page.get_by_text("Ask a question")).to_be_visible()


def test_only_the_latest_answer_is_shown_and_nothing_flickers(page, address):
    gate, held = Gate(page, "**/v1/search"), {}
    search(page, address, "rice", "mode=late")
    gate.answer = lambda route: held.update({route.request.post_data_json["query"]: route})
    with page.expect_request("**/v1/search"):
        typed(page, " tea")
    expect(page.locator("#results[aria-busy] .hit").first).to_have_attribute("data-id", "rice")
    expect(page.locator(".ghost")).to_have_count(0)
    with page.expect_event("requestfailed"), page.expect_request("**/v1/search"):
        page.get_by_label("Question", exact=True).fill("wheat")
    expect(page.get_by_role("status").first).to_have_text("Searching…")
    held["wheat"].continue_()
    expect(page.locator(".hit").first).to_have_attribute("data-id", "wheat")
    expect(page.locator("#results[aria-busy]")).to_have_count(0)
    assert "q=wheat" in page.url


def test_common_hits_and_moves_between_two_modes(page, address):
    search(page, address, "tea", "mode=dense,words&k=3")
    first, second = page.locator(".column").nth(0), page.locator(".column").nth(1)
    ids = [[one.get_attribute("data-id") for one in col.locator(".hit").all()] for col in (first, second)]
    both = set(ids[0]) & set(ids[1])
    assert both
    for col, own in ((first, ids[0]), (second, ids[1])):
        common = [one.get_attribute("data-id") for one in col.locator(".hit.common").all()]
        assert common == [one for one in own if one in both]
        lone = col.locator(".hit", has_text="only here")
        assert [one.get_attribute("data-id") for one in lone.all()] == [one for one in own if one not in both]
    expect(second.locator(".shared")).to_have_text(f"{len(both)} of {len(ids[1])} also in dense")


def test_a_passage_in_its_document(page, shelf):
    search(page, shelf, "leaf152", "mode=words&k=3")
    url = page.url
    page.locator(".hit").first.get_by_role("button", name="Show in document").click()
    view = page.get_by_role("dialog", name="A book")
    here = view.locator(".part.here")
    expect(here).to_be_in_viewport()
    expect(here.locator("mark")).to_have_text("leaf152")
    expect(view.locator(".at").first).to_have_text("passage 31 of 60")
    expect(view.locator(".part")).to_have_count(21)
    assert view.locator(".part .again").first.text_content() == "leaf105"
    view.get_by_role("button", name="Later passages").click()
    expect(view.locator(".part")).to_have_count(40)
    expect(view.get_by_role("button", name="Later passages")).to_be_hidden()
    view.get_by_role("button", name="Earlier passages").click()
    expect(view.locator(".part")).to_have_count(60)
    read = view.locator(".part .text").evaluate_all(
        "all => all.map((one) => [...one.childNodes].filter((part) => part.className !== 'again')"
        ".map((part) => part.textContent).join('').trim()).join(' ').split(' ')"
    )
    assert list(dict.fromkeys(read)) == BOOK.text.split()
    page.reload()  # the address has the view, too
    expect(here.locator("mark")).to_have_text("leaf152")
    page.keyboard.press("Escape")
    expect(view).to_be_hidden()
    expect(page).to_have_url(url)
    page.locator(".open").first.click()
    expect(view).to_be_visible()
    page.go_back()
    expect(view).to_be_hidden()
    expect(page.locator(".open").first).to_be_focused()


def test_an_answer_that_is_cut_off_is_said(page, shelf):
    gate = Gate(page, "**/v1/documents*")
    search(page, shelf, "leaf152", "mode=words&k=3")
    cut = {"status": 200, "content_type": "application/json", "body": '{"passages": [{"id": "b'}
    gate.answer = lambda route: route.fulfill(**cut)
    page.locator(".open").first.click()
    expect(page.locator("#documentStatus")).to_have_text("The service's answer was cut off.")
    gate.answer = None
    page.keyboard.press("Escape")
    page.locator(".open").first.click()
    expect(page.locator(".part.here")).to_be_visible()


def test_a_file_is_named_and_never_linked(page, shelf):
    search(page, shelf, "step pruning", "mode=words&k=5")
    page.locator('.hit[data-id="my%20guide.md#1"] .open').click()
    view = page.get_by_role("dialog", name="Guide")
    expect(view.locator("#documentPath")).to_have_text("my guide.md")
    assert view.locator(".part h3").all_text_contents() == ["Part 0", "Part 1"]
    assert view.locator(".part > .at").all_text_contents() == ["line 1", "line 11", "line 21", "line 31"]
    expect(view.locator(".part.here")).to_contain_text(HOSTILE)
    assert view.locator("a, script, img").count() == 0
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    view.get_by_role("button", name="Copy path").click()
    expect(view.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "my guide.md"
    page.goto(f"{shelf}/?q=step&doc=../../etc/passwd")
    expect(page.locator("#documentStatus")).to_have_text("no passage or document of this index has that id")


def test_arrows_and_enter(page, shelf):
    search(page, shelf, "step pruning", "mode=dense,words&k=3")
    page.get_by_label("Question", exact=True).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    focused = page.locator(".hit:focus")
    expect(focused.locator(".rank")).to_have_text("2")
    page.keyboard.press("Enter")
    expect(page.locator(".part.here")).to_be_focused()
    page.keyboard.press("Escape")
    expect(focused.locator(".rank")).to_have_text("2")
    page.keyboard.press("ArrowRight")
    assert focused.evaluate("one => one.closest('.column').getAttribute('aria-label')") == "Words (BM25)"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_label("Question", exact=True)).to_be_focused()


def test_a_phone_has_tabs_and_room_for_fingers(page, odd):
    page.set_viewport_size({"width": 360, "height": 740})
    search(page, odd, "tea", "mode=late,dense")
    tabs = page.get_by_role("group", name="Mode in sight")
    expect(tabs.get_by_role("button")).to_have_text(["Late interaction", "Dense"])
    expect(page.get_by_role("region", name="Dense")).to_be_hidden()
    tabs.get_by_role("button", name="Dense").click()
    column = page.get_by_role("region", name="Dense")
    expect(column.locator('.hit[data-id="long"] .more')).to_be_visible()  # cut when it came into sight
    expect(page.get_by_role("region", name="Late interaction")).to_be_hidden()
    assert page.evaluate(SMALL) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    column.locator(".open").first.click()
    expect(page.locator(".part.here")).to_be_visible()
    assert page.evaluate(SMALL) == []
    assert page.locator("#documentBody").evaluate("one => one.scrollWidth <= one.clientWidth")


def test_a_lost_service_is_asked_again_once_it_is_back(page, address):
    asked, ready = Gate(page, "**/v1/search"), Gate(page, "**/readyz")
    search(page, address, "rice", "mode=late")
    asked.answer = lambda route: route.abort()
    ready.answer = lambda route: route.fulfill(status=503, body="not ready")
    typed(page, " wheat")
    expect(page.get_by_role("status").first).to_have_text("The service does not answer.")
    expect(page.locator(".hit").first).to_have_attribute("data-id", "rice")
    asked.answer = ready.answer = None
    expect(page.get_by_role("status").first).to_have_text("5 hits in one mode.")
    expect(page.locator("#status.bad")).to_have_count(0)
