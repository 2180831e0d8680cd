"""An endpoint on this machine that answers, fails, lies and runs out of money."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapt_crops import crops
from ernie_search._util.files import sha256_file
from ernie_search.adaptation import QuestionSettings, make_questions
from ernie_search.adaptation.answers import lines_of, valid
from ernie_search.adaptation.endpoint import NONSENSE, PATIENCE, Endpoint
from ernie_search.adaptation.generators import open_generator
from ernie_search.adaptation.make import Made, manifest_of, parts_of
from ernie_search.errors import SettingsError
from ernie_search.types import Passage
from fake_endpoint import Answer, FakeEndpoint, completion, good

SETTINGS = QuestionSettings(number=400, per_passage=2, held_out=0.2)


def asker(fake: FakeEndpoint, folder: Path, notes: list[str] | None = None, **options: Any) -> Endpoint:
    say = None if notes is None else notes.append
    options = {"pause": 0.0, "workers": 1, **options}
    return Endpoint("tiny", folder / "a.jsonl", base_url=fake.url, say=say, **options)


def some(number: int) -> list[Passage]:
    return list(crops(number).passages())


def test_each_passage_gets_its_questions_and_a_restart_asks_nothing_twice(fake, tmp_path):
    first = asker(fake, tmp_path, workers=4)
    found = first.ask(some(8), 2, 5)
    assert [len(one) for one in found] == [2] * 8
    assert all(not one.startswith(("1.", "2.")) for row in found for one in row)
    assert first.spent == (800, 160)
    assert len(fake.bodies) == 8
    assert set(fake.keys) == {"Bearer sk-secret"}
    assert {body["seed"] for body in fake.bodies} == {5}
    again = asker(fake, tmp_path)
    assert again.ask(some(8), 2, 5) == found
    assert len(fake.bodies) == 8
    assert again.estimate(some(8), 2).requests == 0
    assert again.estimate(some(9), 2).requests == 1
    assert "sk-secret" not in (tmp_path / "a.jsonl").read_text()


def test_an_answer_that_a_kill_broke_off_is_asked_for_again(fake, tmp_path):
    found = asker(fake, tmp_path).ask(some(3), 2, 0)
    path = tmp_path / "a.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    again = asker(fake, tmp_path)
    assert again.ask(some(3), 2, 0) == found
    assert len(fake.bodies) == 4
    assert len(path.read_text().splitlines()) == 3
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_what_passes_is_tried_again(fake, tmp_path):
    fake.answer = lambda n, body: (
        [(429, {"error": {"message": "slow down"}}), (503, b"busy"), (200, b"{")][n]
        if n < 3
        else good(n, body)
    )
    assert len(asker(fake, tmp_path).ask(some(1), 2, 0)[0]) == 2
    assert len(fake.bodies) == 4


def test_a_setting_that_the_model_refuses_is_left_out(fake, tmp_path):
    def picky(number: int, body: dict[str, Any]) -> Answer:
        for name in ("temperature", "max_tokens"):
            if name in body:
                return 400, {"error": {"message": f"Unsupported parameter: '{name}'", "param": name}}
        return good(number, body)

    fake.answer = picky
    assert [len(one) for one in asker(fake, tmp_path).ask(some(3), 2, 0)] == [2] * 3
    assert "max_completion_tokens" in fake.bodies[-1]
    assert len(fake.bodies) == 5


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (402, {"error": {"message": "Payment required"}}, "out of money (HTTP 402: Payment required)"),
        (
            429,
            {"error": {"message": "quota", "code": "insufficient_quota"}},
            "out of money (HTTP 429: quota)",
        ),
        (401, {"error": {"message": "bad key"}}, "HTTP 401: bad key"),
    ],
)
def test_what_there_is_is_kept_when_it_ends_in_the_middle(fake, tmp_path, status, error, said):
    fake.answer = lambda n, body: good(n, body) if n < 20 else (status, error)
    notes: list[str] = []
    collection = crops(150)
    made = make_questions(
        collection,
        tmp_path / "q.jsonl",
        SETTINGS,
        generator=asker(fake, tmp_path, notes),
        say=notes.append,
    )
    assert len(fake.bodies) == 21
    assert len([one for one in notes if said in one]) == 1
    assert "rules make the questions that it did not write" in notes
    by_kind = made.counts["made"]
    assert by_kind["generated"] == 40
    assert by_kind["span"] > 40
    assert made.counts["generator_gave_up"] == said
    assert {one.split for one in made.questions if one.kind == "generated"} == {"train"}
    assert made.counts["splits"]["held-out"] > 20


def refusing(refused: Callable[[int], bool], status: int = 400) -> Callable[[int, dict[str, Any]], Answer]:
    """Answers all passages but some, by their place among ``some``."""
    error = {"error": {"message": "The response was filtered", "code": "content_filter"}}
    texts = [one.text for one in some(40)]

    def answer(number: int, body: dict[str, Any]) -> Answer:
        text = body["messages"][0]["content"]
        place = next(row for row, one in enumerate(texts) if one in text)
        return (status, error) if refused(place) else good(number, body)

    return answer


@pytest.mark.parametrize("status", [400, 403, 413, 422, 451])
@pytest.mark.parametrize("first", [0, 3])
def test_a_passage_that_is_refused_gets_no_question_and_others_do(fake, tmp_path, status, first):
    fake.answer = refusing(lambda place: first <= place < first + PATIENCE, status)
    notes: list[str] = []
    endpoint = asker(fake, tmp_path, notes)
    found = endpoint.ask(some(20), 2, 0)
    assert [len(one) for one in found] == [0 if first <= row < first + PATIENCE else 2 for row in range(20)]
    assert (len(fake.bodies), endpoint.gave_up) == (20, "")
    assert len(notes) == 1
    assert f"HTTP {status}: The response was filtered" in notes[0]
    assert asker(fake, tmp_path).ask(some(20), 2, 0) == found


def test_an_endpoint_that_refuses_every_passage_is_given_up(fake, tmp_path):
    fake.answer = refusing(lambda place: place > 3)
    notes: list[str] = []
    endpoint = asker(fake, tmp_path, notes)
    assert [len(one) for one in endpoint.ask(some(40), 2, 0)] == [2] * 4 + [0] * 36
    assert len(fake.bodies) == 4 + NONSENSE
    why = f"{NONSENSE} answers in a row held no question (HTTP 400: The response was filtered)"
    assert (endpoint.gave_up, len(notes)) == (why, 2)
    fake.answer = refusing(lambda place: True)
    with pytest.raises(SettingsError, match="HTTP 400: The response was filtered; check --base-url"):
        asker(fake, tmp_path / "first").ask(some(40), 2, 0)


def test_what_was_answered_before_counts_for_nothing_when_it_is_asked_again(fake, tmp_path):
    fake.answer = lambda n, body: completion("???")
    assert asker(fake, tmp_path).ask(some(NONSENSE), 2, 0) == [[]] * NONSENSE
    fake.answer = good
    again = asker(fake, tmp_path)
    assert [len(one) for one in again.ask(some(NONSENSE + 3), 2, 0)] == [0] * NONSENSE + [2] * 3
    assert again.gave_up == ""


def down_after(number: int) -> Callable[[int, dict[str, Any]], Answer]:
    """Answers so many requests from now on."""
    return lambda n, body: good(n, body) if n < number else (503, b"down")


class KilledError(Exception):
    pass


def die(*arguments: Any) -> Any:
    raise KilledError


def test_a_file_whose_endpoint_gave_up_is_gone_on_with(fake, tmp_path):
    collection, path = crops(150), tmp_path / "q.jsonl"
    whole = make_questions(
        collection, tmp_path / "whole.jsonl", SETTINGS, generator=asker(fake, tmp_path / "whole")
    )
    wanted = len(fake.bodies)
    fake.bodies.clear()

    def make() -> Made:
        return make_questions(collection, path, SETTINGS, generator=asker(fake, tmp_path))

    fake.answer = down_after(30)
    first = make()
    assert first.is_left
    assert first.counts["generator_gave_none"] == wanted - 30
    assert len(fake.bodies) == 30 + 4 * PATIENCE
    before = path.read_bytes(), manifest_of(path).read_bytes()
    fake.answer = down_after(0)
    still = make()  # nothing is answered, so nothing is written
    assert (path.read_bytes(), manifest_of(path).read_bytes()) == before
    assert (still.questions, still.counts) == (first.questions, first.counts)
    assert not parts_of(path).exists()
    answers = (tmp_path / "a.jsonl").read_bytes()
    (tmp_path / "a.jsonl").unlink()
    fake.answer = down_after(len(fake.bodies) + 5)
    assert make().questions == first.questions  # it has more of the model's than could be written now
    (tmp_path / "a.jsonl").write_bytes(answers)
    fake.answer = good
    fake.bodies.clear()
    last = make()
    assert len(fake.bodies) == wanted - 30
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert last.counts == whole.counts
    assert last.counts["generator_gave_none"] == 0
    assert not last.is_left
    make()
    assert len(fake.bodies) == wanted - 30


def test_a_file_that_was_edited_is_not_gone_on_with(fake, tmp_path):
    collection, path = crops(150), tmp_path / "q.jsonl"
    fake.answer = down_after(30)
    make_questions(collection, path, SETTINGS, generator=asker(fake, tmp_path))
    path.write_bytes(path.read_bytes() + b'{"text": "who reaps", "passage": "p3"}\n')
    fake.answer, edited = good, path.read_bytes()
    fake.bodies.clear()
    made = make_questions(collection, path, SETTINGS, generator=asker(fake, tmp_path))
    assert (made.edited, made.is_left) == (True, False)
    assert (path.read_bytes(), fake.bodies) == (edited, [])


@pytest.mark.parametrize("killed", ["making", "writing", "noting"])
def test_a_kill_while_it_is_gone_on_with_loses_nothing(fake, tmp_path, monkeypatch, killed):
    collection, path = crops(150), tmp_path / "q.jsonl"
    make_questions(collection, tmp_path / "whole.jsonl", SETTINGS, generator=asker(fake, tmp_path / "whole"))
    fake.bodies.clear()
    fake.answer = down_after(70)
    make_questions(collection, path, SETTINGS, generator=asker(fake, tmp_path))
    fake.answer, before = good, path.read_bytes()
    digests = iter([sha256_file(path)])  # of the file as it was; the new one's comes last of all
    with monkeypatch.context() as patch:
        if killed == "writing":
            patch.setattr("ernie_search.adaptation.make.write_questions", die)
        if killed == "noting":
            patch.setattr(
                "ernie_search.adaptation.make.sha256_file", lambda path: next(digests, None) or die()
            )
        with pytest.raises(KilledError):
            make_questions(
                collection,
                path,
                SETTINGS,
                generator=asker(fake, tmp_path),
                making=die if killed == "making" else None,
            )
    assert (path.read_bytes() == before) == (killed != "noting")
    asked = len(fake.bodies)
    made = make_questions(collection, path, SETTINGS, generator=asker(fake, tmp_path))
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert (made.edited, made.is_left) == (False, False)
    assert (len(fake.bodies) == asked) == (killed != "making")


def test_a_kill_after_it_gave_up_does_not_hide_that(fake, tmp_path):
    collection, path = crops(150), tmp_path / "q.jsonl"
    make_questions(collection, tmp_path / "whole.jsonl", SETTINGS, generator=asker(fake, tmp_path / "whole"))
    fake.bodies.clear()
    fake.answer = down_after(10)
    done: list[int] = []
    with pytest.raises(KilledError):
        make_questions(
            collection,
            path,
            SETTINGS,
            generator=asker(fake, tmp_path),
            making=lambda number: die() if done else done.append(number),
        )
    fake.answer = good
    make_questions(collection, path, SETTINGS, generator=asker(fake, tmp_path))
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_an_endpoint_that_is_silent_is_given_up(fake, tmp_path):
    given_up = threading.Event()

    def slow(number: int, body: dict[str, Any]) -> Answer:
        given_up.wait(60)
        return good(number, body)

    notes: list[str] = []
    fake.answer = slow
    endpoint = asker(fake, tmp_path, notes, timeout=0.05)
    assert endpoint.ask(some(6), 2, 0) == [[]] * 6
    given_up.set()
    assert endpoint.gave_up == f"no answer to {PATIENCE} passages in a row (no answer within 0.05 seconds)"
    assert len(notes) == 1


@pytest.mark.parametrize("text", ["", "???", "Here are your questions:", "[1, 2]", "{}", "lorem " * 200])
def test_an_endpoint_that_answers_nonsense_is_given_up(fake, tmp_path, text):
    fake.answer = lambda n, body: completion(text)
    endpoint = asker(fake, tmp_path)
    assert endpoint.ask(some(NONSENSE + 5), 2, 0) == [[]] * (NONSENSE + 5)
    assert endpoint.gave_up == f"{NONSENSE} answers in a row held no question"
    assert len(fake.bodies) == NONSENSE


@pytest.mark.parametrize("answer", [(200, b"<html>"), (200, {"choices": []}), (200, [])])
def test_an_answer_of_another_form_is_a_failure(fake, tmp_path, answer):
    fake.answer = lambda n, body: answer
    endpoint = asker(fake, tmp_path)
    assert endpoint.ask(some(5), 2, 0) == [[]] * 5
    assert "no answer to 3 passages in a row" in endpoint.gave_up


def test_an_answer_without_text_is_kept_and_counted(fake, tmp_path):
    fake.answer = lambda n, body: completion(None, {"prompt_tokens": 1000, "completion_tokens": 1000})
    endpoint = asker(fake, tmp_path, limit_tokens=3000)
    assert endpoint.ask(some(3), 2, 0) == [[]] * 3
    assert (len(fake.bodies), endpoint.spent) == (2, (2000, 2000))
    assert endpoint.gave_up == "the limit of 3,000 tokens is reached"
    again = asker(fake, tmp_path)
    assert again.spent == (2000, 2000)
    assert again.estimate(some(3), 2).requests == 1
    assert again.ask(some(2), 2, 0) == [[]] * 2
    assert len(fake.bodies) == 2


@pytest.mark.parametrize("message", [{"refusal": "no"}, {"content": [{"type": "image"}]}, {"content": ""}])
def test_an_answer_without_text_is_no_failure(fake, tmp_path, message):
    fake.answer = lambda n, body: good(n, body) if n else (200, {"choices": [{"message": message}]})
    endpoint = asker(fake, tmp_path)
    assert [len(one) for one in endpoint.ask(some(3), 2, 0)] == [0, 2, 2]
    assert (len(fake.bodies), endpoint.gave_up) == (3, "")


def test_an_answer_that_is_too_long_is_counted_and_not_asked_for_again(fake, tmp_path):
    fake.answer = lambda n, body: good(n, body) if n else completion("lorem " * 200_000)
    endpoint = asker(fake, tmp_path)
    assert [len(one) for one in endpoint.ask(some(3), 2, 0)] == [0, 2, 2]
    assert len(fake.bodies) == 3
    assert endpoint.spent[1] > 250_000
    assert asker(fake, tmp_path).spent == endpoint.spent


def test_an_answer_of_another_form_that_was_paid_for_counts(fake, tmp_path):
    usage = {"prompt_tokens": 1000, "completion_tokens": 500}
    fake.answer = lambda n, body: good(n, body) if n else (200, {"choices": [], "usage": usage})
    endpoint = asker(fake, tmp_path)
    assert [len(one) for one in endpoint.ask(some(1), 2, 0)] == [2]
    assert endpoint.spent == (1100, 520)
    again = asker(fake, tmp_path)
    assert again.spent == (1100, 520)
    assert again.ask(some(1), 2, 0) == endpoint.ask(some(1), 2, 0)
    assert len(fake.bodies) == 2


def test_requests_under_way_and_those_without_an_answer_in_time_count(fake, tmp_path):
    passages = [
        Passage(f"p{row}", f"Rice grows in wet field number {row} of the valley.") for row in range(8)
    ]
    one = asker(fake, tmp_path).estimate(passages[:1], 2)
    room = 2 * (one.tokens_in + one.tokens_out) + one.tokens_in

    def slow(number: int, body: dict[str, Any]) -> Answer:
        time.sleep(0.3)
        return good(number, body)

    fake.answer = slow
    together = asker(fake, tmp_path, workers=4, limit_tokens=room)
    together.ask(passages, 2, 0)
    assert len(fake.bodies) == 2  # four at once would all have been below the limit
    assert "the limit of" in together.gave_up
    fake.bodies.clear()
    late = asker(fake, tmp_path / "late", workers=1, limit_tokens=room, timeout=0.05)
    late.ask(passages, 2, 0)
    patience = time.monotonic() + 20
    while len(fake.bodies) < 2 and time.monotonic() < patience:  # the server may be later than the client
        time.sleep(0.01)
    assert len(fake.bodies) == 2
    assert "the limit of" in late.gave_up


def test_limits_are_checked_before_and_kept_on_the_way(fake, tmp_path):
    endpoint = asker(fake, tmp_path, limit_tokens=1000)
    estimate = endpoint.estimate(some(50), 2)
    assert estimate.requests == 50
    with pytest.raises(SettingsError, match="more than --limit-tokens 1,000"):
        endpoint.check_limits(estimate)
    endpoint.ask(some(50), 2, 0)
    assert sum(endpoint.spent) <= 1000
    assert endpoint.gave_up == "the limit of 1,000 tokens is reached"
    later = asker(fake, tmp_path, price_in=1.0, price_out=10.0, limit_cost=0.001)
    assert later.cost(1_000_000, 100_000) == 2.0
    with pytest.raises(SettingsError, match=r"more than --limit-cost 0\.00"):
        later.check_limits(later.estimate(some(50), 2))
    with pytest.raises(SettingsError, match="needs --price-in and --price-out"):
        asker(fake, tmp_path, limit_cost=1.0)


def test_what_is_wrong_from_the_start_is_an_error(fake, tmp_path, monkeypatch):
    fake.answer = lambda n, body: (401, {"error": {"message": "bad key"}})
    with pytest.raises(SettingsError, match="HTTP 401: bad key; check --base-url"):
        asker(fake, tmp_path).ask(some(2), 2, 0)
    with pytest.raises(SettingsError, match="cannot be reached"):
        Endpoint("m", tmp_path / "b.jsonl", base_url="http://127.0.0.1:9/v1", pause=0).ask(some(1), 2, 0)
    with pytest.raises(SettingsError, match="give http://"):
        Endpoint("m", tmp_path / "b.jsonl", base_url="file:///etc/passwd")
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with pytest.raises(SettingsError, match="OPENAI_API_KEY is not set"):
        Endpoint("m", tmp_path / "b.jsonl")


@pytest.mark.parametrize("key", ["sk-secret\rX", "sk-secret\u2028X", "sk-secr\u00e9t", "sk-\u0441ecret"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(fake, tmp_path, monkeypatch, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(SettingsError, match="OPENAI_API_KEY holds characters that no key has") as refused:
        asker(fake, tmp_path)
    assert "sk-" not in str(refused.value)


def test_white_space_around_the_key_is_none_of_it(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", " sk-secret\r\n")
    asker(fake, tmp_path).ask(some(1), 2, 0)
    assert fake.keys == ["Bearer sk-secret"]
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    with pytest.raises(SettingsError, match="OPENAI_API_KEY is not set"):
        Endpoint("m", tmp_path / "b.jsonl", base_url="https://api.openai.com/v1/")


@pytest.mark.parametrize(
    "address",
    [
        *(
            "http://[::1/v1",
            "http://localhost:x/v1",
            "http://localhost:99999/v1",
            "http:///v1",
            "localhost:8000",
        ),
        *("http://a b/v1", "http://a/v1\u00e9", "http://a/v1?key=1", "http://a/v1#x", "http://a/\nv1"),
    ],
)
def test_an_address_that_is_none_is_one_line(tmp_path, address):
    with pytest.raises(SettingsError, match=r"^--base-url .*give http://HOST:PORT/v1") as refused:
        Endpoint("m", tmp_path / "b.jsonl", base_url=address)
    assert len(str(refused.value).splitlines()) == 1


def test_an_address_s_password_is_not_shown(tmp_path):
    for host in ("localhost", "[::1"):
        with pytest.raises(SettingsError, match="a name or a password") as refused:
            Endpoint("m", tmp_path / "b.jsonl", base_url=f"http://me:hidden@{host}/v1")
        assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    "options",
    [
        *({"timeout": one} for one in (-1.0, 0.0, float("nan"), float("inf"), 1e300)),
        *({"limit_tokens": one} for one in (-1,)),
        *({"price_in": one, "price_out": 1.0} for one in (-1.0, float("nan"), float("inf"))),
        *({"price_in": 1.0, "price_out": one} for one in (-1.0, float("nan"))),
        *(
            {"price_in": 1.0, "price_out": 1.0, "limit_cost": one}
            for one in (-0.1, float("nan"), float("inf"))
        ),
        *({one: 1.0} for one in ("price_in", "price_out")),
    ],
)
def test_a_number_out_of_its_range_and_a_price_alone_are_refused(tmp_path, options):
    name = next(one for one in options if options[one] != 1.0 or len(options) == 1)
    with pytest.raises(SettingsError, match=f"^--{name.replace('_', '-')}"):
        Endpoint("m", tmp_path / "b.jsonl", base_url="http://127.0.0.1:9/v1", **options)


def test_a_host_that_has_no_name_is_not_reached(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    endpoint = Endpoint("m", tmp_path / "b.jsonl", base_url=f"http://{'a' * 64}.x/v1", pause=0)
    with pytest.raises(SettingsError, match="cannot be reached"):
        endpoint.ask(some(1), 2, 0)


def test_a_file_is_of_the_endpoint_that_was_asked(fake, tmp_path):
    path, collection = tmp_path / "q.jsonl", crops(30)
    made = make_questions(collection, path, SETTINGS, generator=asker(fake, tmp_path))
    elsewhere = Endpoint("tiny", tmp_path / "b.jsonl", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(SettingsError, match=r"made otherwise \(other: endpoint\)"):
        make_questions(collection, path, SETTINGS, generator=elsewhere)
    noted = json.loads(manifest_of(path).read_text())
    del noted["asked"]["endpoint"]  # as an earlier version wrote it
    manifest_of(path).write_text(json.dumps(noted))
    assert make_questions(collection, path, SETTINGS, generator=elsewhere).questions == made.questions


def test_a_failure_lets_no_further_request_begin(fake, tmp_path):
    asked = threading.Event()

    def answer(number: int, body: dict[str, Any]) -> Answer:
        if number:
            asked.wait()
            return 503, b"busy"
        return 401, {"error": {"message": "bad key"}}

    fake.answer = answer
    before = set(threading.enumerate())
    endpoint = asker(fake, tmp_path, workers=4, pause=60.0)
    with pytest.raises(SettingsError, match="bad key"):
        endpoint.ask(some(20), 2, 0)
    asked.set()
    patience = time.monotonic() + 20
    while set(threading.enumerate()) - before:  # a thread that is being started cannot be joined
        assert time.monotonic() < patience
        time.sleep(0.01)
    assert len(fake.bodies) <= 4


INTERRUPTED = """
import sys
from pathlib import Path
sys.path.append(sys.argv[3])
from adapt_crops import crops
from ernie_search.adaptation.endpoint import Endpoint
endpoint = Endpoint("tiny", Path(sys.argv[2]), base_url=sys.argv[1], workers=2, timeout=600)
try:
    endpoint.ask(list(crops(20).passages()), 2, 0)
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_ctrl_c_ends_a_process_whose_requests_are_not_answered(fake, tmp_path):
    let_go = threading.Event()

    def silent(number: int, body: dict[str, Any]) -> Answer:
        let_go.wait()
        return 503, b"busy"

    fake.answer = silent
    tests = str(Path(__file__).parent.parent)
    command = [sys.executable, "-c", INTERRUPTED, fake.url, str(tmp_path / "a.jsonl"), tests]
    with subprocess.Popen(command) as process:
        try:
            while len(fake.bodies) < 2 and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        finally:
            let_go.set()
            process.kill()
    assert len(fake.bodies) == 2


def test_the_key_follows_no_redirect(fake, tmp_path):
    fake.headers = {"Location": fake.url + "/elsewhere"}
    fake.answer = lambda n, body: (302, b"")
    with pytest.raises(SettingsError, match="HTTP 302"):
        asker(fake, tmp_path).ask(some(1), 2, 0)
    assert len(fake.bodies) == 1


def test_lines_and_json_are_read_alike():
    passage = Passage("p", "tea from Assam")
    for answer in (
        "1. what is tea\n- who grows rice?\n\n",
        '```json\n["what is tea", "who grows rice?"]\n```',
        '{"questions": ["what is tea", "who grows rice?", 3]}',
        '"what is tea"\n“who grows rice?”\nWHO grows rice\nTea from Assam!\n',
    ):
        assert valid(lines_of(answer), passage, 5) == ["what is tea", "who grows rice?"]


THOUGHT = "Okay, the user wants two questions about Assam tea.\nThey should be short and in English.\n"


@pytest.mark.parametrize(
    ("opened", "closed"),
    [
        ("<think>\n", "</think>\n\n"),
        ("", "\n</think>\n"),
        ("\n<THINK>", "</THINK>"),
        ("<think>Hm. </think><think>", "</think>\n"),
        ("<thinking>", "</thinking>"),
        ("[THINK]", "[/THINK]"),
        ("\u25c1think\u25b7", "\u25c1/think\u25b7"),
    ],
)
def test_thoughts_are_no_questions(opened, closed):
    passage = Passage("p", "Tea is grown in Assam.")
    for said in (
        "where in India is tea grown\nwhen is it cut",
        '["where in India is tea grown", "when is it cut"]',
    ):
        answer = f"{opened}{THOUGHT}{closed}{said}"
        assert valid(lines_of(answer), passage, 2) == ["where in India is tea grown", "when is it cut"]
    if opened:
        assert lines_of(f"{opened}{THOUGHT}") == []
    assert lines_of("what does <think> do") == ["what does <think> do"]


def test_thoughts_without_an_end_are_nonsense(fake, tmp_path):
    fake.answer = lambda n, body: completion(f"<think>\n{THOUGHT}")
    endpoint = asker(fake, tmp_path)
    assert endpoint.ask(some(NONSENSE), 2, 0) == [[]] * NONSENSE
    assert endpoint.gave_up == f"{NONSENSE} answers in a row held no question"


@pytest.mark.parametrize("name", ["doc2query", "hub:", "ollama:llama", ":x"])
def test_unknown_generators_are_refused(tmp_path, name):
    with pytest.raises(SettingsError, match="hub:MODEL or openai:MODEL"):
        open_generator(name, cache=tmp_path / "a.jsonl")
    with pytest.raises(SettingsError, match="--base-url: of an endpoint"):
        open_generator("hub:x", cache=tmp_path / "a.jsonl", base_url="http://x")
