"""``tune``: weights from one's own labels, kept with the index, used by searches, and removed again."""

import json

import pytest

QUESTIONS = 24


@pytest.fixture
def labelled(tmp_path):
    """A collection where the words know and the vectors, which read the first words alone, do not."""
    folder = tmp_path / "labelled"
    (folder / "qrels").mkdir(parents=True)
    filler = " ".join(f"filler{n}" for n in range(14))
    with open(folder / "corpus.jsonl", "w", encoding="utf-8") as handle:
        for n in range(QUESTIONS):
            handle.write(json.dumps({"_id": f"p{n}", "text": f"{filler} answer{n} thing{n}"}) + "\n")
            handle.write(json.dumps({"_id": f"x{n}", "text": f"answer{n} {filler}"}) + "\n")
    with open(folder / "queries.jsonl", "w", encoding="utf-8") as handle:
        for n in range(QUESTIONS):
            handle.write(json.dumps({"_id": f"q{n}", "text": f"answer{n} thing{n}"}) + "\n")
    rows = "".join(f"q{n}\tp{n}\t1\n" for n in range(QUESTIONS))
    (folder / "qrels" / "dev.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}", encoding="utf-8")
    return folder


@pytest.fixture
def index(run_cli, labelled, stub_model, tmp_path):
    result = run_cli("index", labelled, "--model", stub_model, "--output", tmp_path / "made")
    assert result.exit_code == 0, result.output
    return tmp_path / "made"


def mrr(run_cli, labelled, index, *options) -> float:
    result = run_cli("evaluate", labelled, "--split", "dev", "--index", index, "--json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["systems"][0]["measures"]["MRR@10"]["mean"]


def test_weights_are_found_kept_used_and_removed(run_cli, labelled, index):
    before = mrr(run_cli, labelled, index)
    result = run_cli("tune", index, labelled)
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert f"{QUESTIONS} questions, MRR@10" in said
    assert "p 0.000" in said
    assert "not significant" not in said
    assert f"Kept in {index / 'fusion.json'}" in said
    kept = json.loads((index / "fusion.json").read_text(encoding="utf-8"))
    assert kept["about"]["gain"] > 0
    after = mrr(run_cli, labelled, index)
    assert after == pytest.approx(kept["about"]["tuned"])
    assert after > before
    assert mrr(run_cli, labelled, index, "--fusion", kept["fusion"]) == after
    assert mrr(run_cli, labelled, index, "--fusion", "absolute") == before
    assert run_cli("index", "verify", index, "--sample", "0").exit_code == 0
    assert "back to the default weights" in " ".join(run_cli("tune", index, "--reset").stdout.split())
    assert "was not tuned" in " ".join(run_cli("tune", index, "--reset").stdout.split())
    assert mrr(run_cli, labelled, index) == before


def test_what_gains_nothing_is_not_kept(run_cli, collection, index_folder):
    result = run_cli("tune", index_folder, collection, "--split", "test", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["kept"], found["gain"], found["p"]) == (None, 0, 1)
    assert not (index_folder / "fusion.json").exists()
    assert "no gain, so nothing was kept" in " ".join(
        run_cli("tune", index_folder, collection, "--split", "test").stdout.split()
    )


def test_a_gain_that_may_be_chance_is_called_so():
    from ernie_search.cli.tune import _verdict
    from ernie_search.evaluation.comparison import Comparison

    found = Comparison("MRR@10", 0.01, -0.02, 0.04, 0.3, 4, 3, 20)
    said = " ".join(_verdict(found, 0.01, "runs/index", "runs/index/fusion.json"))
    assert "This is not significant: it may be chance" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["INDEX"], "needs a collection with judgements, or --reset"),
        (["INDEX", "COLLECTION", "--reset"], "needs a collection with judgements, or --reset"),
        (["memory://", "COLLECTION"], "only an index on disk keeps weights"),
        (["COLLECTION", "--reset"], "no index.json"),
        (["INDEX", "COLLECTION", "--metric", "recall"], "needs a cutoff"),
        (["INDEX", "COLLECTION"], "dev"),
    ],
)
def test_refusals_are_one_line(run_cli, collection, index_folder, arguments, message):
    named = {"INDEX": index_folder, "COLLECTION": collection}
    result = run_cli("tune", *(named.get(one, one) for one in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
