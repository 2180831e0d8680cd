"""The documentation of installed packages as a collection."""

import sys
from collections import Counter

import pytest

from ernie_search.data import find_problems, inspect_collection, open_collection, write_beir
from ernie_search.data.api_docs import build, is_question, split_docstring, split_of, strip_markup
from ernie_search.data.api_walk import describe, objects_of, signature_of, walk
from ernie_search.data.near_duplicates import near_duplicate_pairs
from ernie_search.errors import DataError

LONG = "Parameters\n----------\nx : array of numbers that this function takes, one for each row\ny : more"


def entry(key, doc, signature="f(x)"):
    return {
        "key": key,
        "title": key,
        "module": key.rpartition(".")[0],
        "kind": "function",
        "signature": signature,
        "doc": doc,
    }


@pytest.fixture(scope="module")
def small():
    return open_collection("api:json,argparse,textwrap,shutil,logging")


def test_summary_asks_and_the_rest_answers():
    summary, body = split_docstring(
        "Compute the :func:`~numpy.mean` along\nan ``axis``. Uses e.g. Welford.\n\n" + LONG
    )
    assert summary == "Compute the numpy.mean along an axis"
    assert body.startswith("Uses e.g. Welford.\n\nParameters\nx : array")
    assert "---" not in body


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (":class:`Adam <torch.optim.Adam>` runs", "Adam runs"),
        ("a `~numpy.ndarray` and **bold** x", "a numpy.ndarray and bold x"),
        ("two  spaces\nand lines", "two spaces and lines"),
    ],
)
def test_markup(text, expected):
    assert strip_markup(text) == expected


def test_what_is_a_question():
    assert is_question("Compute the mean along an axis")
    for bad in (
        "Compute the mean",
        "Return self plus the other value",
        "See the other function there",
        "B.find(x) -> int or so it says",
    ):
        assert not is_question(bad)


def test_signature_lines_of_c_functions():
    value = type("Unknown", (), {"__call__": None})()
    assert signature_of(value, "add", "add(a, b) -> Tensor\n\nAdds the two.") == (
        "add(a, b) -> Tensor",
        "Adds the two.",
    )
    assert signature_of(value, "add", "add(a,\n    b)\n\nAdds.") == ("add(a, b)", "Adds.")

    def add(a, b=object()):  # noqa: B008 - an address that must not be shown
        """Add."""

    assert signature_of(add, "add", "Add.") == ("add(a, b=<object object>)", "Add.")


def test_build_drops_and_joins():
    words = " ".join(f"word{i}" for i in range(40))
    near = words.replace("word39", "other")
    modules = [f"m{i}" for i in range(50)]
    train = next(m for m in modules if split_of(m) == "train")
    test = next(m for m in modules if split_of(m) == "test" and m > train)
    collection = build(
        "n",
        "api:",
        [
            entry(f"{train}.a", f"Do the first good thing.\n\n{words}"),
            entry(f"{test}.b", f"Do the second good thing.\n\n{near}"),
            entry(f"{test}.c", f"Do the third good thing.\n\n{words}"),  # body of another
            entry(f"{test}.d", "Do the fourth good thing.\n\nToo short."),
            entry(f"{test}.e", f"Poor summary.\n\nMore {LONG}"),
            entry(f"{test}.f", f"Say the same to all.\n\nOne {LONG}"),
            entry(f"{test}.g", f"Say the SAME to all.\n\nTwo two {LONG} " + " ".join("abcdefghijklmnopqrst")),
            entry(f"{test}.h", "Do the last good thing.\n\n" + " ".join(f"x{i}" for i in range(900))),
        ],
    )
    passages = {passage.id.rpartition(".")[2]: passage for passage in collection.passages()}
    assert sorted(passages) == ["a", "b", "f", "g", "h"]
    assert passages["a"].text == f"f(x)\n{words}"
    assert passages["a"].fields == {"module": train, "kind": "function"}
    assert len(passages["h"].text.split()) == 400
    assert collection.qrels("train") == {f"q:{train}.a": {f"{train}.a": 1}, f"q:{test}.b": {f"{test}.b": 1}}
    assert [query.text for query in collection.queries("test")] == ["Do the last good thing"]


def test_split_is_fixed_and_of_the_right_shares():
    counts = Counter(split_of(f"package.module{i}") for i in range(20_000))
    assert abs(counts["train"] / 20_000 - 0.7) < 0.01
    assert abs(counts["dev"] / 20_000 - 0.1) < 0.01
    assert split_of("numpy.linalg") == "train"


def test_a_real_one(small):
    passages = {passage.id: passage for passage in small.passages()}
    assert find_problems(small) == []
    assert passages["json.dumps"].text.startswith("dumps(obj, *, skipkeys=False")
    assert "Serialize ``obj`` to a JSON" not in passages["json.dumps"].text
    questions = {query.id: query.text for split in small.splits for query in small.queries(split)}
    assert questions["q:json.dumps"] == "Serialize obj to a JSON formatted str"
    assert passages["shutil.copytree"].fields == {"module": "shutil", "kind": "function"}
    assert passages["logging.Logger.debug"].fields["kind"] == "method"
    assert all(query_id[2:] in passages for query_id in questions)


def test_same_again_and_written(small, tmp_path):
    again = open_collection(small.source)
    assert again.fingerprint == small.fingerprint
    copy = write_beir(small, tmp_path / "api")
    assert list(copy.passages()) == list(small.passages())
    assert copy.splits == small.splits
    assert all(copy.qrels(split) == small.qrels(split) for split in copy.splits)


def test_reading_happens_elsewhere(capfd):
    """The packages are imported by another process: nothing is printed or imported here."""
    before = set(sys.modules)
    assert inspect_collection(open_collection("api:wave"))[1].passages > 0
    assert "wave" not in set(sys.modules) - before
    assert capfd.readouterr() == ("", "")


def test_modules_that_cannot_be_imported_are_left_out(tmp_path, monkeypatch):
    package = tmp_path / "odd_package"
    package.mkdir()
    (package / "__init__.py").write_text('def good(x):\n    """Do good things here."""\n')
    (package / "exits.py").write_text("raise SystemExit(3)\n")
    (package / "fails.py").write_text("1 / 0\n")
    (package / "fine.py").write_text('from json import dumps\nclass Fine:\n    """A fine thing."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    found = list(walk(["odd_package", "not_there_at_all"]))
    assert [item["key"] for item in found] == ["odd_package.good", "odd_package.fine.Fine"]
    assert [item["kind"] for item in found] == ["function", "class"]


def test_objects_that_answer_anything():
    class Strange:
        def __getattr__(self, name):
            raise RuntimeError(name)

    assert describe(Strange(), "m", "strange", "m.strange", "function") is None
    module = type(sys)("strange_module")
    module.value = Strange()
    assert list(objects_of(module, set())) == []


@pytest.mark.parametrize(
    ("packages", "message"),
    [
        ("numpi", r"'numpi' is not a package .*; did you mean 'numpy'\?"),
        ("numpy,os.system", "'os.system' is not"),
    ],
)
def test_only_the_allow_list(packages, message):
    with pytest.raises(DataError, match=message):
        open_collection(f"api:{packages}")


def test_allowed_but_not_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match="'sympy' is not installed"):
        open_collection("api:sympy")


@pytest.mark.needs_torch
@pytest.mark.slow
def test_the_default_corpus():
    collection = open_collection("api:")
    info = inspect_collection(collection)[1]
    assert 5_000 < info.passages < 8_000
    assert min(info.queries["dev"], info.queries["test"]) > 200
    assert find_problems(collection) == []


def test_splits_share_no_near_duplicate_and_no_wording():
    collection = open_collection("api:numpy")
    passages = list(collection.passages())
    split = {pid: s for s in collection.splits for row in collection.qrels(s).values() for pid in row}
    pairs = near_duplicate_pairs([passage.text for passage in passages])
    assert len(pairs) > 50
    modules = {(passages[a].fields["module"], passages[b].fields["module"]) for a, b in pairs}
    assert any(split_of(a) != split_of(b) for a, b in modules)
    for a, b in pairs:
        first, second = split.get(passages[a].id), split.get(passages[b].id)
        assert None in (first, second) or first == second
    wordings = Counter(query.text.lower() for s in collection.splits for query in collection.queries(s))
    assert wordings.most_common(1)[0][1] == 1
