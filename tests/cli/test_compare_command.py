"""``compare``, ``report`` and ``card``: for real, on tiny files."""

import json

import pytest

BEFORE = "q1 Q0 rice 1 2.0 t\nq1 Q0 tea 2 1.0 t\nq2 Q0 rice 1 1.0 t\nq3 Q0 tea 1 1.0 t\n"
AFTER = "q1 Q0 tea 1 2.0 t\nq2 Q0 tea 1 3.0 t\nq2 Q0 rice 2 1.0 t\nq3 Q0 wheat 1 1.0 t\n"


@pytest.fixture
def files(tmp_path):
    """Two runs: reciprocal ranks 1/2, 1, 0 before and 1, 1/2, 1 after."""
    (tmp_path / "before.trec").write_text(BEFORE)
    (tmp_path / "after.trec").write_text(AFTER)
    (tmp_path / "few.trec").write_text(AFTER.split("q3")[0])
    return tmp_path


def test_the_table_the_questions_and_where(run_cli, collection, files):
    options = ["--corpus", collection, "-m", "MRR@10", "--bm25", files / "before.trec"]
    result = run_cli("compare", files / "before.trec", files / "after.trec", *options)
    assert result.exit_code == 0, result.stderr
    for words in (
        "3 questions",
        "after",
        "+0.333",
        "won by most",
        "where tea grows",
        "2 > 1",
        "lost by most",
        "rice in water",
        "by the question's length",
        "by BM25's rank",
        "not found",
    ):
        assert words in result.stdout


def test_json_from_plain_files_without_a_collection(run_cli, collection, files):
    options = [
        "--qrels",
        collection / "qrels" / "test.tsv",
        "--queries",
        collection / "queries.jsonl",
        "--json",
    ]
    found = json.loads(run_cli("compare", files / "before.trec", files / "after.trec", *options).stdout)
    assert [one["system"] for one in found["systems"]] == ["before", "after"]
    first = found["pairs"][0]
    assert (first["system"], first["over"], first["measure"]) == ("after", "before", "MRR@10")
    assert first["difference"] == pytest.approx(1 / 3)
    assert (first["wins"], first["losses"], first["p_holm"]) == (2, 1, first["p"])
    (by,) = found["questions_by_pair"]
    assert (by["won"][0]["query"], by["won"][0]["text"]) == ("q3", "wheat in summer")
    assert found["questions"] == {"compared": 3, "judged": 3, "left_out": 0}


def test_tests_by_cluster_are_shown_beside_the_paired_ones(run_cli, collection, files):
    names = [files / "before.trec", files / "after.trec"]
    options = ["--corpus", collection, "-m", "MRR@10", "--cluster", "passage", "--cluster", "field:title"]
    shown = run_cli("compare", *names, *options)
    assert shown.exit_code == 0, shown.stderr
    assert "p of the cluster randomisation test" in " ".join(shown.stdout.split())
    (pair,) = json.loads(run_cli("compare", *names, *options, "--json").stdout)["pairs"]
    assert [(one["by"], one["clusters"]) for one in pair["clustered"]] == [("passage", 3), ("field:title", 3)]
    assert pair["clustered"][0]["p"] == pair["p"]  # each question has a passage of its own
    page = files / "report.html"
    assert run_cli("report", *names, *options, "--output", page).exit_code == 0
    assert "By cluster" in page.read_text(encoding="utf-8")
    versus = ["--run", names[1], "--baseline", names[0], "--cluster", "passage"]
    assert "3 by passage" in " ".join(run_cli("evaluate", collection, *versus).stdout.split())
    found = json.loads(run_cli("evaluate", collection, *versus, "--json").stdout)
    assert found["systems"][1]["versus"]["MRR@10"]["clustered"][0]["clusters"] == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--answers", "a.jsonl", "--cluster", "passage"], "--cluster passage groups questions by their"),
        (["--qrels", "qrels", "--cluster", "field:title"], "--cluster field:title reads the passages"),
        (["--corpus", "crops", "--cluster", "field:titel"], "did you mean 'title'"),
        (["--corpus", "crops", "--cluster", "titles"], "unknown clusters 'titles'"),
        (["--corpus", "crops", "--cluster", "passage", "--cluster", "passage"], "is given twice"),
        (["--qrels", "shared", "--cluster", "passage"], "all 2 questions are in one cluster"),
    ],
)
def test_clusters_that_cannot_be_had_are_refused(run_cli, collection, files, monkeypatch, options, words):
    monkeypatch.chdir(files)
    (files / "qrels").write_text("q1 0 tea 1\nq2 0 rice 1\n")
    (files / "shared").write_text("q1 0 tea 1\nq2 0 tea 1\n")
    (files / "a.jsonl").write_text('{"_id": "q1", "answers": ["Assam"]}\n')
    result = run_cli("compare", "before.trec", "after.trec", "-m", "MRR@10", *options)
    assert result.exit_code == 2
    assert words in result.stderr


def test_different_questions_are_refused_unless_asked(run_cli, collection, files):
    names = [files / "before.trec", files / "few.trec", "--corpus", collection, "-m", "MRR@10"]
    refused = run_cli("compare", *names)
    assert refused.exit_code == 2
    assert "few lacks 1 that another has" in refused.stderr
    cut = run_cli("compare", *names, "--intersect")
    assert "compared over the 2 of 3 judged questions that every run has; 1 left out" in cut.stdout
    zero = run_cli("compare", *names, "--zero-missing")
    assert "few: 1 judged questions are not in the run and count 0" in zero.stdout


def test_bm25_s_run_takes_no_compared_run_s_place(run_cli, collection, files):
    (files / "BM25.trec").write_text(BEFORE)
    (files / "other.trec").write_text(AFTER)
    names = ["compare", files / "BM25.trec", files / "after.trec", "--corpus", collection, "-m", "MRR@10"]
    plain = json.loads(run_cli(*names, "--json").stdout)
    for bm25 in ("other.trec", "BM25.trec"):
        found = json.loads(run_cli(*names, "--bm25", files / bm25, "--json").stdout)
        assert found["systems"] == plain["systems"]
        assert "by BM25's rank" in run_cli(*names, "--bm25", files / bm25).stdout


def test_answers_of_other_splits_do_not_count(run_cli, collection, files):
    with open(collection / "queries.jsonl", "a", encoding="utf-8") as handle:
        handle.write('{"_id": "d1", "text": "of dev"}\n')
    (collection / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nd1\ttea\t1\n")
    rows = [("q1", "Assam"), ("q2", "paddy"), ("q3", "Assam"), ("d1", "Assam")]
    answers = files / "answers.jsonl"
    answers.write_text("".join(f'{{"_id": "{one}", "answers": ["{text}"]}}\n' for one, text in rows))
    measure = ["--answers", answers, "-m", "answer_recall@2", "--json"]
    names = ["compare", files / "before.trec", files / "after.trec", "--corpus", collection]
    assert json.loads(run_cli(*names, *measure).stdout)["questions"]["judged"] == 3
    (files / "short.trec").write_text(AFTER.split("q3")[0])
    found = json.loads(run_cli("evaluate", collection, "--run", files / "short.trec", *measure).stdout)
    assert found["answers"][0]["queries"] == 3
    assert "short.trec: questions with answers that are not in the run and count 0: 1" in found["notes"]


def test_the_gap_closed_is_of_the_questions_that_the_teacher_has(run_cli, collection, files):
    """Before has 1/2 and 1, after 1 and 1/2, a perfect teacher 1 and 1: of the third it says nothing."""
    (files / "teacher.trec").write_text("q1 Q0 tea 1 1.0 t\nq2 Q0 rice 1 1.0 t\n")
    page = files / "report.html"
    options = ["--corpus", collection, "--teacher", files / "teacher.trec", "--output", page]
    result = run_cli("report", files / "before.trec", files / "after.trec", "-m", "MRR@10", *options)
    assert result.exit_code == 0, result.stderr
    text = page.read_text(encoding="utf-8")
    assert "From before (0.750) to teacher (1.000)" in text
    assert "Over the 2 of 3 questions that teacher has." in text
    assert "0 %" in text
    (files / "teacher.trec").write_text("")
    refused = run_cli("report", files / "before.trec", *options)
    assert refused.exit_code == 2


def test_answers_decide_where_there_are_some(run_cli, collection, files):
    (files / "answers.jsonl").write_text(
        '{"_id": "q1", "answers": ["Assam"]}\n{"_id": "q2", "answers": ["paddy"]}\n'
    )
    options = [
        "--corpus",
        collection,
        "--answers",
        files / "answers.jsonl",
        "-m",
        "answer_recall@1",
        "--json",
    ]
    found = json.loads(run_cli("compare", files / "before.trec", files / "after.trec", *options).stdout)
    assert [one["measures"]["answer_recall@1"]["mean"] for one in found["systems"]] == [0.5, 0.5]
    assert found["questions"]["compared"] == 2
    measured = run_cli(
        "evaluate",
        collection,
        "--run",
        files / "after.trec",
        "--answers",
        files / "answers.jsonl",
        "-m",
        "answer_recall@2",
        "-m",
        "MRR@10",
        "--json",
    )
    report = json.loads(measured.stdout)
    assert report["answers"][0]["measures"]["answer_recall@2"]["mean"] == 1.0
    assert report["systems"][0]["measures"]["MRR@10"]["mean"] == pytest.approx(2.5 / 3)


def test_self_hits(run_cli, files):
    (files / "qrels").write_text("a 0 b 1\n")
    (files / "x.trec").write_text("a Q0 a 1 2 t\na Q0 b 2 1 t\n")
    (files / "y.trec").write_text("a Q0 b 1 2 t\na Q0 a 2 1 t\n")
    names = ["compare", files / "x.trec", files / "y.trec", "--qrels", files / "qrels", "-m", "MRR@10"]
    dropped = run_cli(*names)
    assert "x: a hit with the question's own id was dropped for 1 questions" in dropped.stdout
    assert "+0.000" in dropped.stdout
    assert "+0.500" in run_cli(*names, "--self-hits", "keep").stdout


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ("q9 Q0 tea 1 1.0 t\n", [], "bad.trec:1: query 'q9' is not among the 3 questions"),
        ("q1 Q0 tea 1 1.0 t\nq1 Q0 moon 2 0.5 t\n", [], "bad.trec:2: passage 'moon' (query 'q1') is not in"),
        ("q1 Q0 tea 1 1.0 t\nq1 Q0 rice 2 3.0 t\n", [], "bad.trec:2: rank 2 with score 3 contradicts"),
        ("q1 Q0 tea 1 nan t\n", [], "bad.trec:1: the score 'nan' is not a number"),
        (BEFORE, ["--intersect", "--zero-missing"], "give one"),
        (BEFORE, ["-m", "MMR@10"], "did you mean 'MRR@10'?"),
        (BEFORE, ["-m", "answer_recall@5"], "needs answers"),
    ],
)
def test_faults_are_one_line(run_cli, collection, files, change, options, words):
    (files / "bad.trec").write_text(change)
    result = run_cli("compare", files / "before.trec", files / "bad.trec", "--corpus", collection, *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_one_run_or_no_judgements_is_refused(run_cli, collection, files):
    assert (
        "at least two run files" in run_cli("compare", files / "before.trec", "--corpus", collection).stderr
    )
    assert "--qrels FILE" in run_cli("compare", files / "before.trec", files / "after.trec").stderr
    twice = run_cli("compare", files / "before.trec", files / "before.trec", "--corpus", collection)
    assert "the same run is given twice" in twice.stderr


def test_a_report_of_runs_and_a_folder(run_cli, collection, files):
    folder = files / "training"
    folder.mkdir()
    (folder / "log.jsonl").write_text('{"event": "log", "step": 1, "loss": 2.0, "raw_dense": 1.0}\n')
    page = files / "out" / "report.html"
    options = [
        "--corpus",
        collection,
        "--teacher",
        files / "after.trec",
        "--output",
        page,
        "--title",
        "A <b> title",
    ]
    result = run_cli("report", folder, files / "before.trec", *options)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(page)
    text = page.read_text(encoding="utf-8")
    for words in ("A &lt;b&gt; title", "Recall at k", "training: Stages", "Teacher and student"):
        assert words in text


def test_an_ablation_is_judged_by_its_own_collection_alone(run_cli, collection, files):
    from ernie_search.data import open_collection

    folder, page = files / "table", files / "report.html"
    (folder / "rows" / "alone" / "seed-0").mkdir(parents=True)
    (folder / "rows" / "alone" / "seed-0" / "test.trec").write_text(BEFORE)
    row = {"row": "alone", "what": "x", "seeds": [0], "questions": 3, "MRR@10": 0.5, "recall@50": 0.5}
    row |= {"gap_closed": None, "seconds": 1.0, "over_alone": None, "over_both": None}
    for mark, code in ((open_collection(str(collection)).fingerprint, 0), ("of-another", 2)):
        page.unlink(missing_ok=True)
        table = {"split": "test", "collection": mark, "rows": [row]}
        (folder / "table.json").write_text(json.dumps(table))
        result = run_cli("report", folder, "--corpus", collection, "--output", page)
        assert result.exit_code == code, result.stderr
        assert page.exists() == (code == 0)
        assert ("is an ablation of another collection (of-another" in result.stderr) == (code == 2)
        if code == 0:
            assert "Recall at k" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        (["before.trec"], "--qrels FILE"),
        (["absent.trec", "--qrels", "qrels"], "qrels: no such file"),
        (["."], "holds no training"),
        ([".", "--measure", "MRR@10"], "--measure is for run files"),
        ([".", "--intersect"], "--intersect is for run files"),
    ],
)
def test_what_no_report_can_be_made_of(run_cli, files, monkeypatch, sources, words):
    monkeypatch.chdir(files)
    result = run_cli("report", *sources, "--output", files / "r.html")
    assert result.exit_code == 2
    assert words in result.stderr
    assert not (files / "r.html").exists()


@pytest.mark.needs_torch
def test_card_of_a_model(run_cli, files):
    model = files / "model"
    model.mkdir()
    assert "no joint model" in run_cli("card", model).stderr
    (model / "ernie_search.json").write_text(json.dumps({"base": "some/base"}))
    result = run_cli("card", model, "--language", "en", "--license", "mit", "--name", "mine")
    assert result.exit_code == 0, result.stderr
    assert (
        (model / "README.md")
        .read_text()
        .startswith("---\nlanguage:\n- en\nlicense: mit\nbase_model: some/base\n")
    )
    assert "no such model directory" in run_cli("card", files / "none").stderr
