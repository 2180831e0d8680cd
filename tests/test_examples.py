"""Every script in examples/ runs, and prints what its first lines promise; over a tiny model, in seconds."""

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import tiny_model
from ernie_search import load
from tiny_training import collection

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def script(name: str) -> Callable[[list[str]], None]:
    """The ``main`` of a script."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiny_model, "POSITIONS", 256)  # the scripts keep the usual lengths
        return str(tiny_model.sentence_base(tmp_path_factory.mktemp("base") / "model"))


@pytest.fixture(scope="module")
def beir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny collection as a BEIR folder; its dev split is test here."""
    folder, tiny = tmp_path_factory.mktemp("beir"), collection()
    passages = [{"_id": one.id, "text": one.text} for one in tiny.passages()]
    asked = [one for split in ("train", "dev") for one in tiny.queries(split)]
    queries = [{"_id": one.id, "text": one.text} for one in asked]
    for name, rows in (("corpus", passages), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "qrels").mkdir()
    for split, name in (("train", "train"), ("dev", "test")):
        lines = [f"{q}\t{p}\t{grade}\n" for q, row in tiny.qrels(split).items() for p, grade in row.items()]
        (folder / "qrels" / f"{name}.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder


@pytest.fixture(scope="module")
def trained(base: str, beir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script that trains leaves."""
    output = tmp_path_factory.mktemp("trained")
    script("train_on_beir")(
        [str(beir), "--output", str(output), "--model", base, "--steps", "2", "--batch", "4"]
    )
    return output


def test_every_script_is_tested_here():
    tested = {"first_search", "search_passages", "train_on_beir", "compare_runs", "plain_pytorch"}
    tested |= {"train_with_sentence_transformers"}
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested


def test_search_passages_prints_the_best_first(base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    script("search_passages")(["rice", "--model", base])
    assert len(capsys.readouterr().out.splitlines()) == 3
    passages = tmp_path / "own.jsonl"
    passages.write_text('{"_id": "a", "text": "the river is long"}\n{"_id": "b", "text": "rice"}\n')
    script("search_passages")(["rice", "--model", base, "--passages", str(passages), "-k", "1"])
    score, text = capsys.readouterr().out.split()
    assert text == "rice"
    assert 1.3 <= float(score) <= 1.7  # both cosines are 1, weighing 0.3 and 1; BM25's share weighs 0.4


def test_train_on_beir_leaves_a_model_and_an_index_and_says_how_good(
    trained: Path, base: str, beir: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = [str(beir), "--output", str(trained), "--model", base, "--steps", "2", "--batch", "4"]
    script("train_on_beir")(arguments)  # once more: what is there is read
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("2 steps in ")
    assert [line.split(":")[0] for line in said[1:]] == ["dense", "late"]
    assert all(0 <= float(line.split()[-1]) <= 1 for line in said[1:])


def test_compare_runs_writes_both_runs_and_says_how_they_differ(
    trained: Path, beir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    script("compare_runs")([str(beir), "--index", str(trained / "index"), "--output", str(tmp_path)])
    assert {path.name for path in tmp_path.iterdir()} == {"dense.trec", "late.trec"}
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == ["MRR@10", "nDCG@10", "recall@10"]
    assert all("95 % interval" in line and "p = " in line for line in said)


def test_plain_pytorch_learns_and_saves(base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["--output", str(tmp_path / "model"), "--model", base]
    script("plain_pytorch")([*arguments, "--steps", "20", "--learning-rate", "1e-2"])
    losses = [float(line.split()[3].rstrip(",")) for line in capsys.readouterr().out.splitlines()]
    assert sum(losses[-5:]) < sum(losses[:5])
    assert (tmp_path / "model" / "token_head.safetensors").is_file()


def test_sentence_transformers_trainer_leaves_a_model_with_both_readings(base: str, tmp_path: Path):
    arguments = ["--output", str(tmp_path / "joint"), "--model", base, "--steps", "2"]
    script("train_with_sentence_transformers")(arguments)
    found = load(str(tmp_path / "joint")).encode_joint(["rice"], "query")
    assert found.dense.shape[0] == len(found.tokens) == 1


def documents(folder: Path) -> str:
    """A folder of two documents."""
    folder.mkdir()
    (folder / "river.md").write_text("# River\n\nthe river is long\n")
    (folder / "logs.md").write_text("# Logs\n\nhow do I rotate the logs\n")
    return str(folder)


def test_first_search_finds_the_file(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    folder = documents(tmp_path / "docs")
    for _ in range(2):  # the second time what is there is used
        script("first_search")([folder, "how do I rotate the logs", base])
        said = capsys.readouterr().out.splitlines()
        assert len(said) == 2
        assert said[0].endswith("logs.md: how do I rotate the logs")


def front_page() -> list[str]:
    """The pieces of Python in README.md."""
    page = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", page, re.DOTALL)


@pytest.mark.filterwarnings("ignore:'pin_memory' argument")  # the trainer's default, where there is no GPU
def test_the_lines_of_the_front_page_train(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _, lines = front_page()
    assert len([line for line in lines.splitlines() if line.strip()]) <= 20
    monkeypatch.chdir(tmp_path)
    named = lines.replace('"sentence-transformers/all-MiniLM-L6-v2"', repr(base))
    assert named != lines
    exec(compile(named, "README.md", "exec"), {})
    found = load(str(tmp_path / "joint")).encode_joint(["rice"], "query")
    assert found.dense.shape[0] == len(found.tokens) == 1


def test_the_lines_of_the_front_page_search(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    lines, _ = front_page()
    assert len([line for line in lines.splitlines() if line.strip()]) == 5
    monkeypatch.chdir(tmp_path)
    documents(tmp_path / "docs")
    named = lines.replace('output="index"', f'model={base!r}, output="index"')
    assert named != lines
    exec(compile(named, "README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[0].endswith("logs.md how do I rotate the logs")
