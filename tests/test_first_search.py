"""From a folder of documents to an answer with a real encoder and without torch: every command of the core.

The model's weights are random, so words find what is asked here; that both readings come from it, and are
used, the stored counts and the hits' stages say.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import ernie_search
from ernie_search.cli import app
from ernie_search.cli.defaults import DEFAULT_INDEX
from ernie_search.errors import SettingsError
from ernie_search.search import Searcher
from tiny_onnx import HIDDEN, sentence_files

pytest.importorskip("lancedb", reason="the index on disk needs lancedb")

PAGES = {
    "tea.md": "# Tea\n\n## Growing\n\nTea likes rain in the long hills.\n\n## Cups\n\nHot water, wait.\n",
    "rice/paddy.md": "# Rice\n\nRice stands in water.\n\n## Harvest\n\nIt is cut when the river is low.\n",
    "wheat.txt": "Wheat is sown in autumn.\n",
    "notes.html": "<html><body><h1>Logs</h1><p>Rotate the logs each night.</p></body></html>",
}
QUESTIONS = {"q1": "rain in the hills", "q2": "rotate logs", "q3": "wheat in autumn"}
PASSAGES = {"p1": "Tea likes the rain in the long hills.", "p2": "Rotate the logs.", "p3": "Wheat in autumn."}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with ``docs`` in it, a tiny model as the default one, and a cache of its own."""
    for name, text in PAGES.items():
        path = tmp_path / "docs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    model = sentence_files(tmp_path / "tiny", {"query": "query: "})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for module in ("ernie_search.api", "ernie_search.cli.index", "ernie_search.cli.syncing"):
        __import__(module)
        monkeypatch.setattr(sys.modules[module], "default_model", lambda: str(model))
    return tmp_path


@pytest.fixture
def labelled(place: Path) -> Path:
    """A BEIR folder with a split ``dev``."""
    folder = place / "labelled"
    (folder / "qrels").mkdir(parents=True)
    for name, texts in (("corpus", PASSAGES), ("queries", QUESTIONS)):
        lines = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    rows = "".join(f"q{n}\tp{n}\t1\n" for n in (1, 2, 3))
    for split in ("dev", "test"):
        (folder / "qrels" / f"{split}.tsv").write_text(
            f"query-id\tcorpus-id\tscore\n{rows}", encoding="utf-8"
        )
    return folder


def run(*arguments: str | Path) -> str:
    """What the command prints; it has to succeed."""
    result = CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def first(question: str, *options: str) -> dict:
    return json.loads(run("search", question, "--json", *options))[0]


def test_two_lines_are_enough(place):
    said = run("index", "./docs")
    assert "docs: 4 files, 6 passages" in said
    hit = first("how do I rotate the logs")
    assert (hit["fields"]["path"], hit["title"]) == ("notes.html", "Logs")
    assert {"dense", "late", "bm25"} <= set(hit["stages"]), hit["stages"]
    assert "logs each night" in run("search", "rotate logs")


@pytest.mark.parametrize("mode", ["words", "dense", "late", "hybrid"])
def test_every_mode_answers(place, mode):
    run("index", "docs")
    hits = json.loads(run("search", "wheat in autumn", "--mode", mode, "--json"))
    assert len({hit["id"] for hit in hits}) == len(hits) > 0
    if mode in ("words", "hybrid"):
        assert hits[0]["fields"]["path"] == "wheat.txt"


def test_it_follows_the_folder_and_is_sound(place):
    run("index", "docs")
    assert "up to date" in run("index", "docs")
    (place / "docs" / "tea.md").unlink()
    (place / "docs" / "wheat.txt").write_text("Barley is sown in spring.\n")
    done = json.loads(run("index", "--json"))
    assert (done["encoded"], done["added"] + done["replaced"], done["files"]) == (1, 1, 3)
    assert first("barley in spring")["fields"]["path"] == "wheat.txt"
    paths = {hit["fields"]["path"] for hit in json.loads(run("search", "tea rain hills", "--json"))}
    assert "tea.md" not in paths
    assert "sound" in run("index", "verify", DEFAULT_INDEX)
    assert "encoded again" in run("index", "verify", DEFAULT_INDEX)


def test_explained(place):
    run("index", "docs")
    reason = first("the rain in the hills", "--explain")["explanation"]
    assert "rain" in [match["question"]["text"] for match in reason["tokens"]], reason
    assert {"rain", "hills"} <= set(reason["shared_words"])
    assert "rain" in run("search", "the rain in the hills", "--explain")


def test_measured_and_tuned(place, labelled):
    run("index", labelled, "--output", "index")
    measured = json.loads(run("evaluate", labelled, "--index", "index", "--json"))
    assert measured["systems"][0]["measures"]["MRR@10"]["mean"] == 1
    run("evaluate", labelled, "--index", "index", "--mode", "words")
    assert "3 questions" in run("tune", "index", labelled, "--split", "dev")


def test_served(place):
    testclient = pytest.importorskip(
        "starlette.testclient", reason="needs: pip install 'ernie-search[serve]'"
    )
    from ernie_search.serve import create_app
    from ernie_search.serve.settings import make_settings

    run("index", "docs")
    made = create_app(make_settings(index=DEFAULT_INDEX))
    with testclient.TestClient(made, base_url="http://127.0.0.1") as client:
        answer = client.post("/v1/search", json={"query": "rotate the logs"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["hits"][0]["fields"]["path"] == "notes.html"
        assert "<title>" in client.get("/").text


def test_the_same_from_python(place):
    with ernie_search.build_index("docs", output="index") as index:
        assert len(index) == 6
        assert index.stats().token_dim <= HIDDEN
        assert index.stats().tokens > 0
    searcher = Searcher.open("index")
    assert searcher.search("rotate the logs")[0].fields["path"] == "notes.html"
    (place / "docs" / "more.md").write_text("# More\n\nBarley.\n")
    with ernie_search.build_index(Path("docs"), output="index") as index:
        assert len(index) == 7
    with pytest.raises(SettingsError, match="chunk_overlap: documents are cut between paragraphs"):
        ernie_search.build_index("docs", output="index", chunk_overlap=2)


def test_a_collection_from_python_without_a_model(labelled):
    with ernie_search.build_index(labelled, output="index") as index:
        assert len(index) == 3
    assert Searcher.open("index").search("wheat in autumn")[0].id == "p3"
    with ernie_search.build_index(labelled, output="memory://") as index:
        assert len(index) == 3


def test_nothing_of_it_imports_torch(place):
    run("index", "docs")
    code = (
        "import sys\n"
        "from ernie_search import Searcher, build_index\n"
        f"build_index('docs', {str(place / 'tiny')!r}, {DEFAULT_INDEX!r}).close()\n"
        f"print(Searcher.open({DEFAULT_INDEX!r}).search('rotate the logs')[0].fields['path'])\n"
        "print(sorted({'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split("\n")[:2] == ["notes.html", "[]"], done.stderr
