"""Judging in a real Chromium, by the keyboard alone."""

from collections.abc import Iterator

import pytest

from chromium import PATIENCE, expect, needs_chromium, opened
from ernie_search.evaluation import evaluate_run, read_qrels
from ernie_search.judge import Judging, verdict
from tiny_service import HOSTILE, listening

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with opened() as found:
        yield found


@pytest.fixture
def page(browser) -> Iterator[object]:
    """A page that must end without errors of its own, and must not have asked anybody else."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("request", lambda request: faults.extend([request.url] * ("//127.0.0.1" not in request.url)))
    yield opened
    assert faults == []
    context.close()


@pytest.fixture
def served(judged):
    """Serve a folder's judging: ``with served(folder) as address``."""
    from contextlib import contextmanager

    from ernie_search.judge import create_judge_app
    from ernie_search.serve.settings import make_settings

    @contextmanager
    def start(folder):
        judging = Judging(folder)
        settings = make_settings(index="judged", port=0)
        try:
            with listening(create_judge_app(judging, settings), settings) as address:
                yield address
        finally:
            judging.close()

    return start


def press(page, key: str) -> None:
    """Press a key, and wait until the page stands on the next step."""
    before = page.locator("#step").text_content()
    page.keyboard.press(key)
    expect(page.locator("#step")).not_to_have_text(before)


def test_three_questions_by_keyboard_with_a_restart(page, judged, served):
    folder = judged(k=2)
    pool = Judging(folder, writing=False).questions
    with served(folder) as address:
        page.goto(address)
        for number, one in enumerate(pool[:2]):
            expect(page.locator("#question")).to_have_text(one.query.text)
            for side, hits in zip(("Left", "Right"), one.columns, strict=True):
                column = page.get_by_role("region", name=side)
                assert column.locator(".hit").evaluate_all("all => all.map((one) => one.dataset.id)") == [
                    hit.id for hit in hits
                ]
            for passage in one.order:
                assert page.locator(".here").first.get_attribute("data-id") == passage
                if number == 1 and passage == one.order[-1]:
                    break  # the command ends in the middle of a question
                press(page, "1" if passage in ("tea", "rice") else "3")
            else:
                press(page, "ArrowLeft")
    with served(folder) as address:
        page.goto(address)
        expect(page.locator("#step")).to_contain_text("Question 2: hit")
        assert page.locator(".here").first.get_attribute("data-id") == pool[1].order[-1]
        press(page, "2")
        expect(page.locator("#step")).to_contain_text("which list?")
        press(page, "ArrowUp")
        press(page, "3")  # the mark was wrong
        press(page, "ArrowRight")
        expect(page.locator("#question")).to_have_text(pool[2].query.text)
        for _ in pool[2].order:
            press(page, "4")
        press(page, "ArrowDown")
        expect(page.locator("#question")).to_have_text("All questions are judged.")
        expect(page.locator("#about")).to_have_text("3 of 3 questions judged")
        press(page, "Backspace")
        expect(page.locator("#step")).to_contain_text("Question 3")
    judging = Judging(folder, writing=False)
    assert judging.preferences == ["left", "right", "equal"]
    assert judging.marks[1][pool[1].order[-1]] == "not"
    assert set(judging.marks[2].values()) == {"skip"}
    qrels = read_qrels(folder / "qrels" / "test.tsv")
    assert qrels == judging.qrels()
    assert set(qrels) == {"q1", "q2"}
    run = judging.runs()[judging.names[0]]
    own = evaluate_run(qrels, {one: run[one] for one in qrels}, ["nDCG@2"])
    assert verdict(judging).systems[0].measured.mean("nDCG@2") == own.mean("nDCG@2")


def test_it_is_blind(page, judged, served):
    seen = []
    answered = []
    page.on("response", lambda answer: answered.append(answer))
    folder = judged()
    with served(folder) as address:
        page.goto(address)
        expect(page.locator(".here").first).to_be_visible()
        seen += [page.content(), *(one.text() for one in answered)]
    answers = [one for one in seen if "columns" in one or "<main>" in one]
    assert len(answers) >= 2
    for text in answers:
        assert "(words)" not in text
        assert "(dense)" not in text
        assert "swapped" not in text
        assert "score" not in text


def test_hostile_hits_stay_text(page, judged, served):
    with served(judged(modes=("dense",), k=5)) as address:
        page.goto(address)
        hit = page.locator('.hit[data-id="hostile"]')
        expect(hit.locator("h3")).to_have_text(HOSTILE)
        assert page.locator("#results script, #results img, #results b").count() == 0
        assert page.locator(".column").count() == 1
        policy = page.evaluate("async () => (await fetch('/')).headers.get('content-security-policy')")
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")


def test_what_cannot_be_saved_is_said(page, judged, served):
    broken = True
    # before the page: a route that is set while one is open may miss the next request
    page.route("**/v1/judging/marks", lambda route: route.abort() if broken else route.continue_())
    with served(judged()) as address:
        page.goto(address)
        expect(page.locator(".here").first).to_be_visible()
        at = page.locator("#step").text_content()
        page.keyboard.press("1")
        expect(page.get_by_role("status")).to_contain_text("Not saved")
        expect(page.locator("#step")).to_have_text(at)
        broken = False
        page.keyboard.press("1")
        expect(page.locator("#step")).not_to_have_text(at)


@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits(page, judged, served, width):
    page.set_viewport_size({"width": width, "height": 800})
    with served(judged()) as address:
        page.goto(address)
        expect(page.locator(".here").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
