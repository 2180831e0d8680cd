"""The recipes at paper scale, on a thousandth of their data, made up in the real file formats."""

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ernie_search.data import open_collection
from tiny_training import CROPS, PLACES

MARCO_PASSAGES, MARCO_QUESTIONS = 8842, 503
"""A thousandth of 8,841,823 passages and 502,939 training questions."""
NQ_PASSAGES, NQ_QUESTIONS = 21015, 59
"""A thousandth of 21,015,324 passages and 58,880 training questions."""
FEW = 60
"""Passages, and questions, of what is really trained."""


def run_cli(*arguments: str | Path) -> Result:
    from ernie_search.cli import app

    return CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)


def passage(number: int) -> str:
    draw = random.Random(number)
    crop, place = CROPS[number % len(CROPS)], draw.choice(PLACES)
    return f'{crop} number {number} is "grown" in {place} and needs {draw.choice(["much", "little"])} rain'


def question(number: int) -> str:
    return f"where does {CROPS[number % len(CROPS)]} number {number} grow"


def marco(folder: Path, passages: int, questions: int) -> Path:
    """collection.tsv, queries.*.tsv, qrels.*.tsv as MS MARCO's own, titles as RocketQA's para.title.txt."""
    folder.mkdir()
    lines = {
        "collection.tsv": [f"{i}\t{passage(i)}" for i in range(passages)],
        "para.title.txt": [
            f"{i}\t{'-' if i % 3 else CROPS[i % len(CROPS)].title()}" for i in range(passages)
        ],
        "queries.train.tsv": [f"{i + 1000}\t{question(i)}" for i in range(questions)],
        "qrels.train.tsv": [f"{i + 1000}\t0\t{i}\t1" for i in range(questions)],
        "queries.dev.small.tsv": [f"{i + 9000}\t{question(i)} ?" for i in range(7)],
        "qrels.dev.small.tsv": [f"{i + 9000}\t0\t{i}\t1" for i in range(7)],
    }
    for name, rows in lines.items():
        (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def context(number: int) -> dict[str, Any]:
    crop = CROPS[number % len(CROPS)].title()
    return {
        **{"title": crop, "text": passage(number), "score": 1000, "title_score": 1},
        "passage_id": str(number + 1),
    }


def nq(folder: Path, passages: int, questions: int) -> Path:
    """biencoder-nq-*.json, psgs_w100.tsv and nq-test.qa.csv as DPR has them."""
    folder.mkdir()
    for split, asked in (("train", range(questions)), ("dev", range(questions, questions + 9))):
        rows = [
            {
                "dataset": f"nq_{split}_psgs_w100",
                "question": question(i),
                "answers": [f"number {i}"],
                "positive_ctxs": [context(i)],
                "negative_ctxs": [context((i + 7) % passages)],
                "hard_negative_ctxs": [context((i + 40) % passages)],
            }
            for i in asked
        ]
        (folder / f"biencoder-nq-{split}.json").write_text(json.dumps(rows, indent=4))
    with open(folder / "psgs_w100.tsv", "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, delimiter="\t", lineterminator="\n")
        writer.writerow(["id", "text", "title"])
        writer.writerows([i + 1, passage(i), CROPS[i % len(CROPS)].title()] for i in range(passages))
    with open(folder.parent / "nq-test.qa.csv", "w", encoding="utf-8", newline="") as handle:
        asked = (FEW - 1, 3)
        csv.writer(handle, delimiter="\t").writerows([question(i), str([f"Number {i}"])] for i in asked)
    return folder


MAKERS: dict[str, Callable[[Path, int, int], Path]] = {"msmarco": marco, "nq": nq}
SOURCES = {"msmarco": "marco", "nq": "dpr"}


def base_options(base: Path) -> list[str]:
    """A tiny base in place of the recipe's two, and lengths that it has positions for."""
    short = ["warm-up.passage_length=30", "cascade.passage_length=30", "teacher.max_length=60"]
    changes = [f"teacher.base={base}", *short]
    return ["--base", str(base), *(part for change in changes for part in ("--set", change))]


@pytest.mark.parametrize(
    ("recipe", "passages", "questions"),
    [("msmarco", MARCO_PASSAGES, MARCO_QUESTIONS), ("nq", NQ_PASSAGES, NQ_QUESTIONS)],
)
def test_a_dry_run_on_a_thousandth_has_every_stage_with_its_time(
    recipe: str, passages: int, questions: int, tiny_base: Path, tmp_path: Path
) -> None:
    source = f"{SOURCES[recipe]}:{MAKERS[recipe](tmp_path / 'data', passages, questions)}"
    small = ["--set", "warm-up.questions_per_batch=16", "--set", "cascade.questions_per_batch=16"]
    options = [*base_options(tiny_base), *small, "--dry-run", "--json"]
    result = run_cli("train", recipe, "--source", source, *options)
    assert result.exit_code == 0, result.stderr
    plan = json.loads(result.stdout)
    assert (plan["passages"], plan["questions"]) == (passages, questions)
    stages = {one["stage"]: one for one in plan["stages"]}
    assert list(stages) == ["warm-up", "mine", "teacher", "score", "cascade"]
    assert all(one["seconds"] > 0 and one["state"] == "to do" for one in stages.values())
    assert stages["score"]["pairs"] == questions * 33
    assert stages["teacher"]["settings"]["base"] == str(tiny_base)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("recipe", "titles"), [("msmarco", ""), ("msmarco", "?titles=none"), ("nq", "")])
def test_titles_are_on_or_off_by_the_source(recipe: str, titles: str, tmp_path: Path) -> None:
    folder = MAKERS[recipe](tmp_path / "data", FEW, 3)
    first = next(open_collection(f"{SOURCES[recipe]}:{folder}{titles}").passages())
    assert first.full_text == (passage(0) if titles else f"{CROPS[0].title()} {passage(0)}")


@pytest.mark.parametrize("recipe", ["msmarco", "nq"])
def test_every_stage_runs_from_the_real_formats_to_a_measured_index(
    recipe: str, tiny_base: Path, tmp_path: Path
) -> None:
    source = f"{SOURCES[recipe]}:{MAKERS[recipe](tmp_path / 'data', FEW, FEW // 2)}"
    changes = [
        *(
            "warm-up.steps=2",
            "warm-up.questions_per_batch=4",
            "warm-up.evaluations=1",
            "warm-up.checkpoints=1",
        ),
        *("mine.last=12", "mine.number=8"),
        *("teacher.steps=2", "teacher.questions_per_batch=2", "teacher.backwards=1"),
        *("teacher.evaluations=1", "teacher.checkpoints=1", "teacher.held_out=4"),
        *(
            "cascade.steps=2",
            "cascade.questions_per_batch=2",
            "cascade.evaluations=1",
            "cascade.checkpoints=1",
        ),
        *(
            "warm-up.precision=fp32",
            "teacher.precision=fp32",
            "score.precision=fp32",
            "cascade.precision=fp32",
        ),
    ]
    options = [*base_options(tiny_base), *(part for one in changes for part in ("--set", one))]
    output = tmp_path / "run"
    result = run_cli("train", recipe, "--source", source, "--output", output, *options, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["steps"] == 2
    logged = [json.loads(line) for line in (output / "cascade" / "log.jsonl").read_text().splitlines()]
    terms = {key for one in logged for key in one if key.startswith("loss_")}
    assert {
        f"loss_{name}" for name in ("dense", "late", "interaction", "cascade", "attention", "dual")
    } <= terms
    index = run_cli("index", source, "--model", output / "model", "--output", tmp_path / "index")
    assert index.exit_code == 0, index.stderr
    measured = ["--split", "dev", "-m", "MRR@10"]
    if recipe == "nq":  # DPR's test questions have answers, not judgements
        measured = ["--answers", tmp_path / "nq-test.qa.csv", "-m", "answer_recall@100"]
    found = run_cli("evaluate", source, "--index", tmp_path / "index", *measured, "--json")
    assert found.exit_code == 0, found.stderr
    report = json.loads(found.stdout)
    (system,) = report["answers" if recipe == "nq" else "systems"]
    if (
        recipe == "nq"
    ):  # 60 passages, 100 hits: every passage is found, and with it "number 59" and "number 3"
        assert (system["queries"], system["measures"]["answer_recall@100"]["mean"]) == (2, 1.0)
    else:
        assert system["queries"] == 7
