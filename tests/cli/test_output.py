"""Text from data on a terminal: no control character of it, no traceback for what an encoding lacks."""

import io
import json
import re

import pytest
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from ernie_search.cli import app, output
from ernie_search.cli.app import fail
from ernie_search.cli.output import PlainConsole, print_json, print_line, progress, working

HOSTILE = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202e\r"
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
STYLE = re.compile("\x1b\\[[0-9;]*m")


def table(cell):
    made = Table()
    made.add_column(cell)
    made.add_row(cell)
    return made


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("form", [str, Text, table, lambda text: table(Text(text)), Padding, "{}\n{}".format])
def test_a_console_shows_control_characters_as_escapes(form, terminal):
    file = io.StringIO()
    out = PlainConsole(file=file, force_terminal=terminal, width=120, markup=False, emoji=False)
    try:
        shown = form(HOSTILE)
    except IndexError:
        shown = form(HOSTILE, HOSTILE)
    out.print(shown, style="bold")
    found = STYLE.sub("", file.getvalue())
    assert not CONTROLS.search(found)
    assert "\\x1b[31mred" in found
    assert bool(STYLE.search(file.getvalue())) == terminal


def test_a_table_is_as_wide_as_what_it_shows():
    file = io.StringIO()
    PlainConsole(file=file, width=120, markup=False).print(table(HOSTILE))
    assert len({len(line) for line in file.getvalue().splitlines()}) == 1


def test_lines_stay_lines(capsys):
    print_line(f"a\n{HOSTILE}b")
    fail(f"c\r\n{HOSTILE}d")
    found = capsys.readouterr()
    for text in found:
        assert text.count("\n") == 1
        assert not CONTROLS.search(text)


@pytest.mark.parametrize("name", ["[red]a[/b].csv", HOSTILE])
def test_what_is_being_done_is_no_markup(monkeypatch, name):
    """A name in brackets was taken for markup, and an unmatched one ended the command."""
    file = io.StringIO()
    shown = PlainConsole(file=file, force_terminal=True, width=120, markup=False)
    monkeypatch.setattr(output, "console", lambda **options: shown)
    with progress(f"converting {name}", 2) as advance:
        advance(1)
    with working(f"reading {name}"):
        pass
    assert name != HOSTILE or "\\x1b[31mred" in file.getvalue()
    assert name == HOSTILE or name in file.getvalue()


@pytest.fixture
def hostile(tmp_path):
    """A BEIR folder whose ids, titles, texts and questions would all take the terminal over."""
    folder = tmp_path / "hostile"
    (folder / "qrels").mkdir(parents=True)
    name = HOSTILE.strip()
    rows = [
        {"_id": f"{n}{name}", "title": f"Tea {HOSTILE}\n{n}", "text": f"tea grows\t{HOSTILE} in Assam {n} 茶"}
        for n in range(3)
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "queries.jsonl").write_text(
        "".join(
            json.dumps({"_id": f"q{n}{name}", "text": f"tea {n} {HOSTILE}\n茶?"}) + "\n" for n in range(3)
        )
    )
    (folder / "qrels" / "test.tsv").write_text("".join(f"q{n}{name}\t{n}{name}\t1\n" for n in range(3)))
    return folder


@pytest.fixture
def searched(run_cli, hostile, stub_model, tmp_path):
    """The folder, indexed, and two runs over it, of which one finds what the other doesn't."""
    index = tmp_path / "index"
    assert run_cli("index", hostile, "--model", stub_model, "--output", index).exit_code == 0
    name = HOSTILE.strip()
    for run, order in (("dense", (0, 1, 2)), ("late", (2, 1, 0))):
        lines = (
            f"q{q}{name} Q0 {p}{name} {rank} {-rank} t\n" for q in range(3) for rank, p in enumerate(order)
        )
        (tmp_path / f"{run}\x1b[1m.trec").write_text("".join(lines))
    return index


def commands(hostile, index, tmp_path):
    runs = (tmp_path / "dense\x1b[1m.trec", tmp_path / "late\x1b[1m.trec")
    question = f"tea {HOSTILE} 茶"
    return {
        "search": ("search", question, "--index", index),
        "explain": ("search", question, "--index", index, "--explain"),
        "validate": ("data", "validate", hostile),
        "stats": ("data", "stats", hostile),
        "evaluate": ("evaluate", hostile, "--run", runs[0]),
        "compare": ("compare", *runs, "--corpus", hostile, "--show", "3"),
    }


@pytest.mark.parametrize("name", ["search", "explain", "validate", "stats", "evaluate", "compare"])
def test_commands_print_no_control_character_of_data(run_cli, hostile, searched, tmp_path, name):
    arguments = commands(hostile, searched, tmp_path)[name]
    result = run_cli(*arguments)
    assert result.exit_code == 0, result.output
    assert not CONTROLS.search(result.stdout)
    assert not CONTROLS.search(result.stderr)
    told = run_cli(*arguments, "--json")
    assert json.loads(told.stdout)
    if name == "search":
        assert json.loads(told.stdout)[0]["title"].startswith(f"Tea {HOSTILE}")


@pytest.mark.parametrize("name", ["search", "explain", "validate", "stats", "evaluate", "compare"])
@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-15"])
def test_an_encoding_that_lacks_a_character_is_no_failure(hostile, searched, tmp_path, name, encoding):
    arguments = [str(one) for one in commands(hostile, searched, tmp_path)[name]]
    plain = CliRunner(charset=encoding).invoke(app, arguments, catch_exceptions=False)
    assert plain.exit_code == 0
    as_json = CliRunner(charset=encoding).invoke(app, [*arguments, "--json"], catch_exceptions=False)
    found = json.loads(as_json.stdout_bytes.decode(encoding))
    if name in ("search", "explain"):
        assert "\\u8336" in plain.stdout
        assert "茶" in found[0]["text"]


def test_faults_tell_hostile_names_in_one_line(run_cli, hostile):
    with open(hostile / "corpus.jsonl", "a") as handle:
        handle.write(json.dumps({"_id": f"x{HOSTILE}", "text": "x"}) + '\n{"_id": "y", "text": "\\ud800"}\n')
    (hostile / "qrels" / "test.tsv").write_text(f"q\x1b[1m\t{HOSTILE}\t1\n")
    result = run_cli("data", "validate", hostile)
    assert result.exit_code == 2
    assert not CONTROLS.search(result.stderr)
    assert ["corpus.jsonl:4" in result.stderr, "corpus.jsonl:5" in result.stderr] == [True, True]
    missing = run_cli("data", "validate", hostile / "\x1b[31mgone\n\udcff")
    assert missing.exit_code == 2
    assert missing.stderr.count("\n") == 1
    assert not CONTROLS.search(missing.stderr)


@pytest.mark.parametrize("mode", ["dense", "late"])
def test_a_question_that_is_no_text_is_refused(run_cli, index_folder, mode):
    """A byte that is not UTF-8 comes from the command line as half a surrogate pair."""
    result = run_cli("search", "caf\udce9", "--index", index_folder, "--mode", mode)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "error: question 1 of 1 holds half a surrogate pair, which is no character; "
        "write the whole character\n"
    )


def test_json_stays_json(capsys):
    print_json({"a": [float("nan"), float("inf"), 1.5], "b": "\udcff 茶", "c": None})
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found == {"a": [None, None, 1.5], "b": "\udcff 茶", "c": None}
