"""``scale`` from rates that were measured before."""

import json

import pytest

RATES = {
    "passages_a_second": 100.0,
    "pairs_a_second": 50.0,
    "seconds_a_step": 2.0,
    "questions_per_batch": 32,
    "products_a_second": 1e6,
    "stored_a_second": 1000.0,
    "packed_bytes_a_second": 1e8,
    "dim": 100,
    "token_dim": 10,
    "tokens_a_passage": 5.0,
    "text_bytes": 480.0,
}


@pytest.fixture
def rates(tmp_path):
    path = tmp_path / "rates.json"
    path.write_text(json.dumps({"rates": RATES, "tables": []}))  # as --json prints them
    return path


def test_the_three_corpora_as_tables(run_cli, rates):
    done = run_cli("scale", "--rates", rates)
    assert done.exit_code == 0
    for text in ("8,841,823 passages, machines: 1", "21,015,324", "1,000,000,000", "mine: grows with"):
        assert text in done.output


def test_json_can_be_read_again(run_cli, rates, tmp_path):
    options = ["--passages", "1e6", "--machines", "4", "--price", "3", "--json"]
    first = run_cli("scale", "--rates", rates, *options)
    found = json.loads(first.output)
    (table,) = found["tables"]
    assert table["scale"]["passages"] == 1_000_000
    assert [one["name"] for one in table["stages"]] == ["train", "mine", "score", "encode", "store", "index"]
    (tmp_path / "again.json").write_text(first.output)
    assert run_cli("scale", "--rates", tmp_path / "again.json", *options).output == first.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "give a collection to measure on"), (["data", "--rates", "r.json"], "give a collection")],
)
def test_refusals(run_cli, arguments, message):
    done = run_cli("scale", *arguments)
    assert done.exit_code == 2
    assert message in done.output + done.stderr
