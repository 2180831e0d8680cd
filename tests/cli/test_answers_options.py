"""DPR's questions with answers as the questions that are searched, measured and compared."""

import json

import pytest

from ernie_search.evaluation import read_run

QAS = "where tea grows\t['Ceylon', 'Assam']\nwho waters rice\t[\"the paddy farmer\"]\n"
PATTERNS = "where tea grows\t['A(ss|z)am', '(']\nwho waters rice\t['padd(y|ies)']\n"


@pytest.fixture
def asked(tmp_path):
    (tmp_path / "nq-test.qa.csv").write_text(QAS)
    (tmp_path / "curatedtrec-test.qa.csv").write_text(PATTERNS)
    return tmp_path


def test_an_index_is_asked_the_questions_of_the_file(run_cli, collection, index_folder, asked):
    run = asked / "asked.trec"
    options = ["--index", index_folder, "--answers", asked / "nq-test.qa.csv", "--save-run", run, "--json"]
    found = json.loads(run_cli("evaluate", collection, *options).stdout)
    assert found["systems"] == []
    (system,) = found["answers"]
    assert (system["queries"], system["missing"]) == (2, 0)
    # Assam stands in the passage on tea; no passage speaks of a farmer
    assert {name: one["mean"] for name, one in system["measures"].items()} == {
        f"answer_recall@{k}": 0.5 for k in (1, 5, 20, 100)
    }
    assert len(read_run(run)) == 2
    again = run_cli("evaluate", collection, "--run", run, "--answers", asked / "curatedtrec-test.qa.csv")
    assert again.exit_code == 0, again.stderr
    assert "2 questions" in again.stdout.splitlines()[0]
    patterns = ["--answers", asked / "curatedtrec-test.qa.csv", "--answer-match", "regex"]
    regex = run_cli("evaluate", collection, "--run", run, *patterns, "-m", "answer_recall@3")
    assert "1.000" in regex.stdout
    assert "no regular expressions, and match nothing: 1 ('(')" in regex.stdout


def test_compare_and_report_read_the_same_file(run_cli, collection, index_folder, asked):
    for mode in ("dense", "late"):
        saved = ["--mode", mode, "--save-run", asked / f"{mode}.trec", "-m", "answer_recall@1"]
        answers = ["--answers", asked / "curatedtrec-test.qa.csv"]
        run_cli("evaluate", collection, "--index", index_folder, *answers, *saved)
    names = [asked / "dense.trec", asked / "late.trec", "--corpus", collection]
    names += [*answers, "--answer-match", "regex", "-m", "answer_recall@1"]
    found = json.loads(run_cli("compare", *names, "--json").stdout)
    assert found["systems"][1]["measures"]["answer_recall@1"]["mean"] == 1.0
    assert any("match nothing: 1" in note for note in found["notes"])
    page = asked / "report.html"
    assert run_cli("report", *names, "--output", page).exit_code == 0
    assert "who waters rice" in page.read_text() or "answer_recall@1" in page.read_text()


def test_judgements_are_not_in_it(run_cli, collection, asked):
    options = ["--run", "x.trec", "--answers", asked / "nq-test.qa.csv", "-m", "MRR@10"]
    result = run_cli("evaluate", collection, *options)
    assert result.exit_code == 2
    assert "questions with answers, not judgements, so MRR@10 cannot be measured" in result.stderr
