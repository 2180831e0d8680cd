"""``search`` with its modes, fusion, filters and ``--explain``."""

import json

import pytest


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--no-rerank"],
        ["--fusion", "rrf"],
        ["--fusion", "dense=0.3,bm25=0.3,late=0.4"],
        ["--fusion", "absolute:dense=0.5,late=1,bm25=0.2", "--token-weights", "idf"],
    ],
)
def test_hybrid(run_cli, index_folder, options):
    result = run_cli(
        "search", "rice in water", "--index", index_folder, "--mode", "hybrid", *options, "--json"
    )
    assert result.exit_code == 0
    best = json.loads(result.stdout)[0]
    assert best["id"] == "rice"
    assert {"dense", "bm25", "fused"} <= set(best["stages"])
    assert ("late" in best["stages"]) == ("--no-rerank" not in options)


def test_explain_for_people(run_cli, index_folder):
    result = run_cli(
        "search", "rice in water", "--index", index_folder, "--mode", "hybrid", "--explain", "-k", "1"
    )
    assert result.exit_code == 0
    lines = [line.strip() for line in result.stdout.splitlines()]
    (scored,) = [line for line in lines if line.startswith("scored: ")]
    assert all(name in scored for name in ("dense", "bm25", "fused", "late"))
    assert "shared words: rice, water" in lines
    (matched,) = [line for line in lines if line.startswith("water")]
    assert "1.000" in matched
    assert "stands in [water] for most" in matched
    assert "\x1b" not in result.stdout


def test_what_explain_prints_is_on_one_line_and_without_control_characters():
    from ernie_search.cli.search import explanation_lines
    from ernie_search.search.explain import Explanation, TokenMatch
    from ernie_search.types import Hit

    hit = Hit("a", 1.0, "tea\r\n\x1b[31m Assam\twet", "A\x1b]0;x\x07")
    text = f"{hit.title} {hit.text}"
    start = text.index("Assam")
    tokens = [
        TokenMatch((0, 5), (start, start + 5), "Assam\x1b[0m", "Assam", 0.9),
        TokenMatch((0, 5), None, "x", "\x9b31mred\n", 0.1),
    ]
    lines = [line.plain for line in explanation_lines(Explanation(hit, tokens, []))]
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    assert "tea  \\x1b[31m [Assam] wet" in lines[1]
    assert "Assam\\x1b[0m" in lines[1]
    assert "\\x9b31mred" in lines[2]


def test_explain_as_json(run_cli, index_folder):
    result = run_cli("search", "rice in water", "--index", index_folder, "--explain", "--json")
    hits = json.loads(result.stdout)
    assert [one["question"]["text"] for one in hits[0]["explanation"]["tokens"]] == ["rice", "in", "water"]
    assert hits[0]["query"] == "rice in water"
    plain = json.loads(run_cli("search", "rice", "--index", index_folder, "--json").stdout)[0]
    assert not plain.keys() & {"explanation", "similarity"}


def test_what_explain_prints_is_drawn_by_the_report(run_cli, index_folder, collection, tmp_path):
    """From the question to the heat map by two commands."""
    asked = ["search", "rice in water", "--index", index_folder, "-k", "2", "--explain", "--json"]
    printed = run_cli(*asked).stdout
    (tmp_path / "examples.json").write_text(printed, encoding="utf-8")
    (tmp_path / "a.run").write_text("q1 Q0 tea 1 1.0 t\n", encoding="utf-8")
    made = ["--corpus", collection, "--examples", tmp_path / "examples.json", "-o", tmp_path / "report.html"]
    assert run_cli("report", tmp_path / "a.run", *made).exit_code == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    _, *maps = page.split('aria-label="heat map"')
    assert len(maps) == 2
    assert page.count("<h3>rice in water</h3>") == 2
    first = maps[0].split("</table>")[0]
    assert all(f'<th scope="row">{token}</th>' in first for token in ("rice", "in", "water"))
    columns = json.loads(printed)[0]["passage_tokens"]
    assert columns[:5] == ["Rice", "Rice", "[", "paddy", "]"]
    assert first.count("<td style") == 3 * len(columns)
    # "water" is one with its own word, and each row has one cell with a number
    water = first.split('<th scope="row">water</th>')[1].split("</tr>")[0]
    cells = water.split("<td ")[1:]
    assert cells[columns.index("water")] == 'style="--v:1.00">1</td>'
    assert sum(not cell.endswith("></td>") for cell in cells) == 1


def test_without_token_matrices_the_words_are_left(run_cli, collection, stub_model, tmp_path):
    run_cli("index", collection, "--model", stub_model, "--output", tmp_path / "bare", "--tokens", "none")
    hits = json.loads(run_cli("search", "rice", "--index", tmp_path / "bare", "--explain", "--json").stdout)
    assert "similarity" not in hits[0]
    assert hits[0]["explanation"]["shared_words"] == ["rice"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mode", "cross"], "--cross"),
        (["--cross", "absent-cross-encoder"], "--mode cross and --cross NAME go together"),
        (["--mode", "late", "--cross", "absent-cross-encoder"], "--mode cross and --cross NAME go together"),
        (["--fusion", "rff"], "did you mean 'rrf'"),
        (["--mode", "hybrid", "--fusion", "dense=a"], "is no weight"),
        (["--fusion", "absolute:late=a"], "is no weight"),
        (["--token-weights", "heavy"], "--token-weights"),
        (["--where", "crop ="], "crop"),
        (["--where", 'crop = "tea"'], "no field 'crop'"),
        pytest.param(
            ["--mode", "cross", "--cross", "absent-cross-encoder"],
            "cannot be loaded as a cross-encoder",
            marks=pytest.mark.needs_torch,
        ),
    ],
)
def test_refusals_are_one_line(run_cli, index_folder, monkeypatch, options, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = run_cli("search", "rice", "--index", index_folder, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
