"""``index`` of a folder of documents from the command line: no model and no output named, and watching."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest

from ernie_search.cli import index as index_module
from ernie_search.cli import syncing
from ernie_search.cli.defaults import DEFAULT_INDEX


@pytest.fixture
def docs(tmp_path: Path, stub_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder beside which commands are run, and the stub as the default model."""
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "logs.md").write_text("# Logs\n\n## Rotation\n\nRotate the logs with care.\n")
    (folder / "tea.txt").write_text("Tea grows in Assam.\n")
    (folder / "empty.md").write_text("")
    monkeypatch.chdir(tmp_path)
    for module in (index_module, syncing):
        monkeypatch.setattr(module, "default_model", lambda: str(stub_model))
    return folder


def test_a_folder_alone_is_enough(run_cli, docs):
    first = run_cli("index", "docs")
    assert first.exit_code == 0, first.output
    assert "docs: 2 files, 2 passages; 1 skipped: empty.md (empty)\n" in first.stdout
    assert f"{DEFAULT_INDEX}: passages 2 added; 2 encoded" in first.stdout
    assert 'Next: ernie-search search "your question"\n' in first.stdout
    hit = json.loads(run_cli("search", "rotate logs", "--index", DEFAULT_INDEX, "--json").stdout)[0]
    assert (hit["title"], hit["fields"]["path"], hit["fields"]["line"]) == ("Logs > Rotation", "logs.md", 5)
    assert f"{DEFAULT_INDEX}: up to date.\n" in run_cli("index", "./docs").stdout


def test_again_without_naming_anything(run_cli, docs):
    assert run_cli("index").exit_code == 2
    assert "name what to index" in run_cli("index").stderr
    run_cli("index", "docs")
    (docs / "new.md").write_text("new words")
    again = json.loads(run_cli("index", "--json").stdout)
    assert (again["source"], again["files"], again["added"], again["encoded"]) == ("files:docs", 3, 1, 1)
    assert again["skipped"] == [{"path": "empty.md", "reason": "empty"}]


def test_what_was_asked_for_at_first_is_asked_for_no_more(run_cli, docs):
    chosen = ["--dense", "int8", "--ann", "none", "--exact-below", "7", "--tokens", "int8"]
    assert run_cli("index", "docs", *chosen).exit_code == 0
    assert json.loads(run_cli("index", "--json").stdout)["up_to_date"]
    (docs / "new.md").write_text("new words")
    again = run_cli("index", "--json")
    assert (again.exit_code, json.loads(again.stdout)["added"]) == (0, 1)
    assert run_cli("index", *chosen, "--json").exit_code == 0
    other = run_cli("index", "--dense", "fp32")
    assert (other.exit_code, other.stderr.count("\n")) == (2, 1)
    assert "made with dense='int8', not 'fp32'" in other.stderr


def test_a_single_document_and_the_folder_itself(run_cli, docs, monkeypatch):
    found = run_cli("index", "docs/logs.md", "--output", "one", "--json")
    assert json.loads(found.stdout)["passages"] == 1
    monkeypatch.chdir(docs)
    assert json.loads(run_cli("index", ".", "--json").stdout)["files"] == 2
    assert json.loads(run_cli("index", ".", "--json").stdout)["up_to_date"]


def test_a_collection_needs_no_output_either(run_cli, collection, docs):
    assert run_cli("index", collection).exit_code == 0
    assert "up to date" in run_cli("index", collection).stdout
    assert "up to date" in run_cli("index").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "absent: no such folder; name a folder of documents, a BEIR folder or 'api:'"),
        (["files:absent"], "absent: no such file or folder; files:absent names it"),
        (["docs", "--chunk-words", "9", "--chunk-overlap", "3"], "--chunk-overlap: documents are cut"),
        (["api:", "--watch"], "--watch: api: is no folder of documents"),
        (["bare"], "no file that can be read"),
        (["asked"], "no corpus.jsonl"),
    ],
)
def test_errors_are_one_line(run_cli, docs, arguments, message):
    (docs.parent / "bare").mkdir()
    (docs.parent / "asked").mkdir()
    (docs.parent / "asked" / "queries.jsonl").write_text("")
    result = run_cli("index", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (docs.parent / DEFAULT_INDEX).exists()


def test_chunk_words_are_the_longest_passage(run_cli, docs):
    (docs / "logs.md").write_text("one two three four five six")
    assert json.loads(run_cli("index", "docs", "--chunk-words", "3", "--json").stdout)["passages"] == 4


WATCH = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import importlib.util
from stub_encoder import StubEncoder
from ernie_search.encoding import opening
opening.open_encoder = lambda path, **options: StubEncoder()
if sys.argv.pop(1) == "poll":
    found = importlib.util.find_spec
    importlib.util.find_spec = lambda name, *rest: None if name == "watchfiles" else found(name, *rest)
from ernie_search.cli import main
main()
"""


@pytest.mark.slow  # a process that watches
@pytest.mark.parametrize("way", ["watchfiles", "poll"])
def test_watching_takes_up_changes_and_ends_with_ctrl_c(docs, stub_model, way):
    if way == "watchfiles":
        pytest.importorskip("watchfiles")
    tests = str(Path(__file__).parent.parent)
    command = [
        sys.executable,
        "-u",
        "-c",
        WATCH,
        tests,
        way,
        "index",
        "docs",
        "--watch",
        "--model",
        stub_model,
    ]
    pipe = subprocess.PIPE
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        overdue = Timer(120, process.kill)  # lines then end, and nothing waits for ever
        overdue.start()
        try:
            while "watching" not in process.stderr.readline():
                assert process.poll() is None
            while not (line := process.stdout.readline()).startswith("Next"):
                assert line
            written = docs.parent / "new.md"
            written.write_text("new words")
            written.rename(docs / "new.md")  # whole from the first moment on
            assert "1 added, 2 unchanged; 1 encoded" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(120) == 0
            assert process.stderr.read().endswith("stopped\n")
        finally:
            overdue.cancel()
            process.kill()


def test_a_folder_is_encoded_as_asked(run_cli, docs, monkeypatch):
    """--runtime, --precision and --language hold for documents, too."""
    from ernie_search.encoding import opening

    asked = []
    opened = opening.open_encoder
    monkeypatch.setattr(
        opening, "open_encoder", lambda path, **options: asked.append(options) or opened(path, **options)
    )
    options = ("--runtime", "onnx", "--precision", "int8", "--language", "de")
    assert run_cli("index", "docs", *options).exit_code == 0
    assert (asked[0]["runtime"], asked[0]["precision"]) == ("onnx", "int8")
    assert asked[0]["use"] == "questions"  # so few passages are not worth an import of torch
    assert "up to date" in run_cli("index", "docs", "--language", "auto").stdout
    result = run_cli("index", "docs", "--language", "en")
    assert result.exit_code == 2
    assert "made with language='de', not 'en'" in result.stderr


def test_a_folder_that_is_gone_is_named_as_seen_from_here(run_cli, docs):
    assert run_cli("index", "docs").exit_code == 0
    docs.rename(docs.with_name("moved"))
    assert "docs: no such file or folder; files:docs names it" in run_cli("index").stderr
    assert "../" not in run_cli("index").stderr
    said = run_cli("index", "moved").stderr
    assert "made from files:docs, not files:moved" in said


def test_verify_finds_weights_that_no_search_can_read(run_cli, docs):
    run_cli("index", "docs")
    (docs.parent / DEFAULT_INDEX / "fusion.json").write_text("{")
    result = run_cli("index", "verify", DEFAULT_INDEX)
    assert result.exit_code == 2
    assert "fusion.json: no weights that this version reads; remove it" in result.stderr
