"""``denoise``, and ``train --lists``: from scored lists to a trained model by typing two commands."""

import json
from pathlib import Path

import pytest

from ernie_search.cli.denoise import KEPT
from ernie_search.data import BeirCollection, write_beir
from ernie_search.mining import Lists, TrainingList, write_lists
from ernie_search.pipeline.recipe import read_recipe
from tiny_training import TRAIN, collection


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    write_beir(collection(), tmp_path / "crops")
    return tmp_path / "crops"


def write(folder: Path, source: Path, *, scored: bool = True) -> Path:
    """Five negatives a question, at 1.5, 0.5, ...; a positive at 1, of every tenth question at -9."""
    made = [
        TrainingList(
            f"q{i}",
            (f"p{i}",),
            tuple(f"p{(i + k + 1) % TRAIN}" for k in range(5)),
            ((1.0,) if i % 10 else (-9.0,)) if scored else (),
            tuple(1.5 - k for k in range(5)) if scored else (),
        )
        for i in range(TRAIN)
    ]
    data = BeirCollection(source, "crops").fingerprint
    write_lists(folder, made, data_fingerprint=data, about={"split": "train", "counts": {"kept": 200}})
    return folder


def test_what_goes_and_stays_is_counted(run_cli, crops, tmp_path):
    scored, clean = write(tmp_path / "scored", crops), tmp_path / "clean"
    result = run_cli("denoise", scored, "--output", clean, "--margin", 0, "--keep-at-least", 2, "--drop")
    assert result.exit_code == 0, result.output
    # 36 lists lose the first negative; of 4, all negatives are above the positive, and others fill them
    assert result.stdout.splitlines() == [
        f"{clean}: 40 lists, the shortest with 2 negatives",
        "         200  negatives with scores",
        "          56  left out: the teacher scores them like positives",
        "         144  kept",
        "           4  lists kept fewer than 2: filled with 8 of other questions",
        f"Next: ernie-search train cascade --source SOURCE --lists {clean} --base MODEL "
        f"--output {clean}-cascade",
    ]
    kept = {one.query: one.negatives for one in Lists.open(clean)}
    assert len(kept["q0"]) == 2
    assert not set(kept["q0"]) & {f"p{i}" for i in range(6)}  # its positive, and what was dropped
    assert kept["q1"] == ("p3", "p4", "p5", "p6")
    assert len(Lists.open(scored)) == 40  # left as they are
    options = ["--output", clean, "--maximum", 1, "--json"]
    report = json.loads(run_cli("denoise", scored, *options).stdout)
    counted = {"denoised": 40, "too_few": 0, "refilled": 0, "still_short": 0}
    assert report["counts"] == {"kept": 200} | counted
    assert report["denoise"] == {"maximum": 1.0, "margin": None, "keep_at_least": KEPT, "drop": False}
    assert read_recipe("cascade")["stages"][0]["cascade"]["negatives"] == KEPT


def test_what_is_denoised_stays_marked(run_cli, crops, tmp_path):
    scored, clean = write(tmp_path / "scored", crops), tmp_path / "clean"
    result = run_cli("denoise", scored, "--output", clean, "--margin", 0, "--keep-at-least", 2)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[:4] == [
        f"{clean}: 40 lists, the shortest with 2 negatives",
        "         200  negatives with scores",
        "          56  denoised, for the teacher's terms alone: the teacher scores them like positives",
        "         144  kept",
    ]
    found = {one.query: one for one in Lists.open(clean)}
    assert found["q1"].negatives == ("p2", "p3", "p4", "p5", "p6")
    assert found["q1"].kept == (False, True, True, True, True)
    assert found["q0"].kept == (False,) * 5 + (True,) * 2
    shown = run_cli("mine-preview", clean, crops, "--number", 2)
    assert shown.stdout.count("denoised  ") == 10  # all five of q0 and of q20
    as_json = json.loads(run_cli("mine-preview", clean, crops, "--number", 2, "--json").stdout)
    assert [one["kept"] for one in as_json[0]["negatives"]] == [False] * 5 + [True] * 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "denoise needs a limit: give --margin, such as --margin 0, or --maximum"),
        (["--margin", 0, "--keep-at-least", 0], "setting keep_at_least=0"),
        (["--margin", "x"], "--margin"),
        (["--margin", 0, "--output", "scored"], "is the folder of the scored lists; name another one"),
        (["--margin", 0, "--output", "crops"], "holds no training lists; choose another place"),
    ],
)
def test_wrong_options_are_one_line(run_cli, crops, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "scored", crops)
    result = run_cli("denoise", "scored", "--output", "clean", *options)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert words in result.stderr
    assert not (tmp_path / "clean").exists()
    assert Lists.open(tmp_path / "scored").scored


def test_faults_are_one_line(run_cli, crops, tmp_path):
    write(tmp_path / "mined", crops, scored=False)
    for folder, words in (
        ("absent", "make some with: ernie-search mine"),
        ("mined", "score them before denoising by scores"),
    ):
        result = run_cli("denoise", tmp_path / folder, "--output", tmp_path / "clean", "--margin", 0)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert words in result.stderr
        assert not (tmp_path / "clean").exists()


def test_train_takes_the_lists(run_cli, crops, tmp_path):
    from tiny_model import sentence_base

    scored = write(tmp_path / "scored", crops)
    base, output = sentence_base(tmp_path / "base", layers=1), tmp_path / "run"
    small = {"steps": 2, "questions_per_batch": 8, "query_length": 32, "passage_length": 60, "onnx": "false"}
    small |= {"precision": "fp32", "evaluations": 0, "checkpoints": 1}
    changes = [part for name, value in small.items() for part in ("--set", f"{name}={value}")]
    command = ["train", "cascade", "--source", crops, "--base", base, "--output", output, *changes]
    shown = run_cli(*command, "--lists", scored, "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert [line.split()[0] for line in shown.stdout.splitlines() if " given " in line] == ["lists"]
    plan = json.loads(run_cli(*command, "--lists", scored, "--dry-run", "--json").stdout)
    assert (
        plan["lists"] | {"folder": str(scored), "lists": 40, "scored": True, "shortest": 5} == plan["lists"]
    )
    done = run_cli(*command, "--lists", scored)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"model: {output / 'last'} (2 steps")
    unscored = write(tmp_path / "mined", crops, scored=False)
    for options, words in (
        (
            ["--lists", unscored],
            f"error: cascade: stage 'cascade' has cascade_weight above 0, and the lists in {unscored}",
        ),
        ([], "error: cascade: stage 'cascade' trains on mined lists; put a mine before it, or give lists"),
        (["--lists", scored, "--set", "negatives=6"], "has negatives=6, and the shortest list in"),
    ):
        refused = run_cli(*command, *options)
        assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
        assert words in refused.stderr
    nobody = run_cli("train", crops, "--lists", scored, "--output", tmp_path / "other")
    assert nobody.exit_code == 2
    assert f"error: default: no stage reads the lists in {scored}" in nobody.stderr
