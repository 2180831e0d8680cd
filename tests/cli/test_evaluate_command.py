"""``evaluate``: an index or a run file against a split, with and without a baseline."""

import json

import numpy as np
import pytest

from ernie_search.data import open_collection
from ernie_search.evaluation import read_run

PERFECT = "q1 Q0 tea 1 1.0 t\nq2 Q0 rice 1 1.0 t\nq3 Q0 wheat 1 1.0 t\n"
SECOND = "q1 Q0 rice 1 2.0 t\nq1 Q0 tea 2 1.0 t\nq2 Q0 rice 1 1.0 t\n"


@pytest.fixture
def runs(tmp_path):
    """Two run files: MRR 1, and (1/2 + 1 + 0) / 3 = 1/2 worked by hand."""
    (tmp_path / "perfect.run").write_text(PERFECT, encoding="utf-8")
    (tmp_path / "second.run").write_text(SECOND, encoding="utf-8")
    return tmp_path


def test_a_run_file_is_measured(run_cli, collection, runs):
    result = run_cli("evaluate", collection, "--run", runs / "second.run")
    assert result.exit_code == 0
    assert "0.500" in result.stdout
    assert "3 questions" in result.stdout
    assert "judged questions that are not in the run and count 0: 1" in result.stdout


def test_json_has_every_measure_and_the_comparison(run_cli, collection, runs):
    options = ["--run", runs / "perfect.run", "--baseline", runs / "second.run", "--json"]
    report = json.loads(run_cli("evaluate", collection, *options).stdout)
    assert (report["source"], report["split"]) == (str(collection), "test")
    baseline, ours = report["systems"]
    assert (baseline["system"], ours["system"]) == ("second.run", "perfect.run")
    assert baseline["measures"]["MRR@10"]["mean"] == pytest.approx(0.5)
    assert ours["measures"]["recall@1000"]["mean"] == 1.0
    assert ours["versus"]["MRR@10"]["difference"] == pytest.approx(0.5)
    assert 0 < ours["versus"]["MRR@10"]["p"] <= 1


def test_a_baseline_adds_a_column(run_cli, collection, runs):
    options = ["--run", runs / "perfect.run", "--baseline", runs / "second.run", "-m", "MRR@10"]
    result = run_cli("evaluate", collection, *options)
    assert "over second.run" in result.stdout
    assert "+0.500" in result.stdout


def test_two_files_of_one_name_stay_apart(run_cli, collection, runs):
    other = runs / "other"
    other.mkdir()
    (other / "perfect.run").write_text(SECOND, encoding="utf-8")
    options = ["--run", runs / "perfect.run", "--baseline", other / "perfect.run", "--json"]
    report = json.loads(run_cli("evaluate", collection, *options).stdout)
    assert [one["system"] for one in report["systems"]] == ["perfect.run", str(runs / "perfect.run")]


def test_a_baseline_is_read_whatever_folder_the_run_is_named_from(run_cli, collection, runs, monkeypatch):
    other = runs / "other"
    other.mkdir()
    (other / "perfect.run").write_text(SECOND, encoding="utf-8")
    monkeypatch.chdir(runs)
    options = ["--run", "perfect.run", "--baseline", "other/perfect.run", "--json"]
    report = json.loads(run_cli("evaluate", collection, *options).stdout)
    assert [one["system"] for one in report["systems"]] == ["perfect.run", "./perfect.run"]
    assert report["systems"][1]["versus"]["MRR@10"]["difference"] == pytest.approx(0.5)
    same = run_cli("evaluate", collection, "--run", "perfect.run", "--baseline", runs / "perfect.run")
    assert same.exit_code == 2
    assert "is the run itself" in same.stderr


@pytest.mark.parametrize("how", ["run", "index"])
def test_judgements_of_a_file_take_the_split_s_place(run_cli, collection, runs, index_folder, how):
    (runs / "own.qrels").write_text("q1 0 rice 1\n", encoding="utf-8")
    measured = {"run": ["--run", runs / "second.run"], "index": ["--index", index_folder]}[how]
    report = json.loads(
        run_cli("evaluate", collection, *measured, "--qrels", runs / "own.qrels", "--json").stdout
    )
    assert report["split"] is None
    assert report["qrels"].endswith("own.qrels")
    (system,) = report["systems"]
    assert system["queries"] == 1
    if how == "run":
        assert system["measures"]["MRR@10"]["mean"] == 1.0  # the split judges tea, the file rice


def test_judgements_of_other_questions_are_refused(run_cli, collection, runs):
    (runs / "own.qrels").write_text("q1 0 rice 1\nq77 0 rice 1\n", encoding="utf-8")
    result = run_cli("evaluate", collection, "--run", runs / "second.run", "--qrels", runs / "own.qrels")
    assert result.exit_code == 2
    assert "own.qrels: query 'q77' is not in" in result.stderr
    assert "1 of 2" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("mode", ["late", "dense"])
def test_an_index_is_searched_measured_and_its_run_saved(run_cli, collection, index_folder, tmp_path, mode):
    saved = tmp_path / "out.run"
    options = ["--index", index_folder, "--mode", mode, "--save-run", saved, "--json"]
    report = json.loads(run_cli("evaluate", collection, *options).stdout)
    (system,) = report["systems"]
    assert system["system"] == f"index ({mode})"
    assert system["seconds"] > 0
    assert system["measures"]["MRR@10"]["mean"] == 1.0  # the stub matches words, and the words match
    again = json.loads(run_cli("evaluate", collection, "--run", saved, "--json").stdout)
    assert again["systems"][0]["measures"] == system["measures"]
    assert set(read_run(saved)) == {"q1", "q2", "q3"}


@pytest.fixture
def crosses(tmp_path, monkeypatch):
    """Two cross-encoders with fresh heads, each in a folder of its own."""
    from sentence_transformers import CrossEncoder

    from ernie_search.model.cross_encoder import new_cross_encoder
    from tiny_model import bare_base

    monkeypatch.setattr(CrossEncoder, "_create_model_card", lambda *args, **kwargs: None)
    base = str(bare_base(tmp_path / "base", layers=1))
    for seed in (1, 2):
        new_cross_encoder(base, seed=seed, device="cpu").save(str(tmp_path / f"cross-{seed}"))
    return tmp_path / "cross-1", tmp_path / "cross-2"


def cross_scores(crosses, collection, question, passages):
    """What the definition says: the mean of the raw logits."""
    from sentence_transformers import CrossEncoder
    from torch import nn

    opened = open_collection(str(collection))
    questions = {query.id: query.text for query in opened.queries("test")}
    texts = {passage.id: passage.full_text for passage in opened.passages()}
    pairs = [(questions[question], texts[passage]) for passage in passages]
    return np.mean(
        [CrossEncoder(str(one)).predict(pairs, activation_fn=nn.Identity()) for one in crosses], axis=0
    )


@pytest.mark.needs_torch
def test_a_cross_encoder_re_ranks_a_run_or_an_index_and_its_run_is_saved(
    run_cli, collection, runs, index_folder, crosses
):
    """Both ways its scores are its own, and only of what it read."""
    for source, read in (
        (["--run", runs / "second.run"], {"q1": {"rice"}, "q2": {"rice"}}),
        (["--index", index_folder], {"q1": {"tea"}, "q2": {"rice"}, "q3": {"wheat"}}),
    ):
        saved = runs / "cross.run"
        options = ["--mode", "cross", "--cross", crosses[0], "--candidates", "1", "--save-run", saved]
        result = run_cli("evaluate", collection, *source, *options, "--json")
        assert result.exit_code == 0, result.output
        (system,) = json.loads(result.stdout)["systems"]
        assert system["system"] == f"{source[1].name} (cross)"
        assert system["seconds"] > 0
        found = read_run(saved)
        assert {question: set(scores) for question, scores in found.items()} == read
        for question, scores in found.items():
            expected = cross_scores(crosses[:1], collection, question, scores)
            np.testing.assert_allclose(list(scores.values()), expected, atol=0.02)  # bf16, where it is faster


@pytest.mark.needs_torch
def test_a_re_ranked_run_stands_beside_the_run_that_it_was(run_cli, collection, runs, crosses):
    options = ["--mode", "cross", "--cross", crosses[0], "--baseline", runs / "second.run"]
    result = run_cli("evaluate", collection, "--run", runs / "second.run", *options, "--json")
    assert [one["system"] for one in json.loads(result.stdout)["systems"]] == [
        "second.run",
        "second.run (cross)",
    ]


@pytest.mark.needs_torch
def test_folders_of_teachers_speak_by_their_mean(run_cli, collection, runs, crosses):
    from ernie_search.model.cross_encoder import cross_encoder_fingerprint, load_cross_encoder
    from ernie_search.teacher.teachers import FORMAT, TEACHERS_FILE

    teachers = [
        {"model": one.name, "fingerprint": cross_encoder_fingerprint(load_cross_encoder(one))}
        for one in crosses
    ]
    about = {"format": FORMAT, "teachers": teachers}
    (runs / TEACHERS_FILE).write_text(json.dumps(about), encoding="utf-8")
    (runs / "own.qrels").write_text("q1 0 tea 1\n", encoding="utf-8")
    saved = runs / "mean.run"
    options = ["--run", runs / "second.run", "--qrels", runs / "own.qrels", "--save-run", saved]
    result = run_cli("evaluate", collection, *options, "--mode", "cross", "--cross", runs)
    assert result.exit_code == 0, result.output
    (scores,) = read_run(saved).values()  # of the question that is judged
    assert set(scores) == {"rice", "tea"}
    expected = cross_scores(crosses, collection, "q1", scores)
    np.testing.assert_allclose(list(scores.values()), expected, atol=0.02)
    assert np.abs(expected - cross_scores(crosses[:1], collection, "q1", scores)).max() > 0.1


@pytest.mark.needs_torch
def test_its_run_is_the_teacher_of_a_report(run_cli, collection, runs, index_folder, crosses):
    student, teacher, page = runs / "late.run", runs / "cross.run", runs / "report.html"
    run_cli("evaluate", collection, "--index", index_folder, "--save-run", student)
    options = ["--mode", "cross", "--cross", crosses[0], "--save-run", teacher]
    run_cli("evaluate", collection, "--run", student, *options)
    result = run_cli("report", student, "--teacher", teacher, "--corpus", collection, "-o", page)
    assert result.exit_code == 0, result.output
    text = page.read_text(encoding="utf-8")
    assert "Scores: cross over late" in text
    assert "9 pairs" in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--index DIR and --run FILE"),
        (["--run", "a", "--index", "b"], "--index DIR and --run FILE"),
        (["--run", "a", "--save-run", "b"], "--index"),
        (["--run", "a", "--mode", "cross"], "--cross NAME"),
        (["--run", "a", "--cross", "b"], "--mode cross"),
        (["--run", "a", "--mode", "late"], "--run is ranked already"),
        (["--index", "a", "--cross", "b", "--mode", "late"], "--mode cross"),
        (["--run", "a", "-k", "1"], "--top is for a search"),
        (["--run", "a", "-k", "0"], "--top is for a search"),
        (["--run", "a", "--candidates", "5"], "--candidates is for a search"),
        (["--run", "a", "--model", "b"], "--model is for a search"),
        (["--run", "a", "--precision", "int8"], "--precision is for a search"),
        (["--run", "absent.run"], "absent.run: no such file"),
        (["--run", "absent.run", "--split", "tset"], "did you mean 'test'?"),
        (["--run", "absent.run", "-m", "MMR@10"], "did you mean 'MRR@10'?"),
    ],
)
def test_wrong_options_are_one_line(run_cli, collection, options, words):
    result = run_cli("evaluate", collection, *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
