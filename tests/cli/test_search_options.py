"""``search`` with its modes, fusion, filters and ``--explain``."""

import json

import pytest


@pytest.mark.parametrize("options", [[], ["--no-rerank"], ["--fusion", "dense=0.3,bm25=0.3,late=0.4"]])
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
    assert "shared words: rice, in, water" in lines
    (matched,) = [line for line in lines if line.startswith("water")]
    assert "1.000" in matched
    assert "stands in [water] for most" in matched
    assert "\x1b" not in result.stdout


def test_explain_as_json(run_cli, index_folder):
    result = run_cli("search", "rice in water", "--index", index_folder, "--explain", "--json")
    hits = json.loads(result.stdout)
    assert [one["question"]["text"] for one in hits[0]["explanation"]["tokens"]] == ["rice", "in", "water"]
    assert (
        "explanation"
        not in json.loads(run_cli("search", "rice", "--index", index_folder, "--json").stdout)[0]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mode", "cross"], "--cross"),
        (["--fusion", "rff"], "did you mean 'rrf'"),
        (["--mode", "hybrid", "--fusion", "dense=a"], "is no weight"),
        (["--where", "crop ="], "crop"),
        (["--where", 'crop = "tea"'], "filters"),
        (["--mode", "cross", "--cross", "absent-cross-encoder"], "cannot be loaded as a cross-encoder"),
    ],
)
def test_refusals_are_one_line(run_cli, index_folder, monkeypatch, options, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = run_cli("search", "rice", "--index", index_folder, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
