"""Encoders are opened by what they are for: questions without torch, passages by what was measured."""

import json
import subprocess
import sys

import numpy as np
import pytest

from ernie_search.encoding import opening
from ernie_search.encoding.build import make_index
from ernie_search.encoding.opening import open_encoder, passage_speeds
from ernie_search.errors import IndexStateError, ModelError
from ernie_search.model import PlainEncoder
from ernie_search.runtime import OnnxEncoder
from ernie_search.search import Searcher
from tiny_model import TEXTS, sentence_base


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ernie-search"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return sentence_base(tmp_path_factory.mktemp("opening") / "base", {"query": "query: "})


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    lines = [json.dumps({"_id": f"p{place}", "text": text}) for place, text in enumerate(TEXTS)]
    (folder / "corpus.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "tea"}', encoding="utf-8")
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\tp0\t1\n", encoding="utf-8")
    return folder


def nearest(base, question):
    """The passage that torch finds."""
    model = open_encoder(base, runtime="torch")
    passages = model.encode_joint(TEXTS, "passage", bf16=False).dense
    asked = model.encode_joint([question], "query", bf16=False).dense[0]
    return f"p{int((passages @ asked).argmax())}"


def test_questions_go_through_onnx_and_torch_gives_the_same(base):
    questions, torch_one = open_encoder(base), open_encoder(base, runtime="torch")
    assert isinstance(questions, OnnxEncoder)
    assert isinstance(torch_one, PlainEncoder)
    assert questions.fingerprint == torch_one.fingerprint
    assert (questions.kind, questions.token_dim) == (torch_one.kind, torch_one.token_dim)
    for task in ("query", "passage"):
        found, expected = (one.encode_joint(TEXTS, task, bf16=False) for one in (questions, torch_one))
        np.testing.assert_allclose(found.dense, expected.dense, atol=1e-5)
        for ours, theirs in zip(found.tokens, expected.tokens, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(("torch_speed", "kind"), [(2.0, PlainEncoder), (1.1, OnnxEncoder)])
def test_passages_take_the_faster_one_and_it_is_measured_once(base, monkeypatch, torch_speed, kind):
    measured = []

    def speed(encoder):
        measured.append(type(encoder))
        return torch_speed if isinstance(encoder, PlainEncoder) else 1.0

    monkeypatch.setattr(opening, "_speed", speed)
    assert isinstance(open_encoder(base, use="passages"), kind)
    assert measured == [PlainEncoder, OnnxEncoder]
    assert isinstance(open_encoder(base, use="passages"), kind)
    assert len(measured) == 2
    (known,) = passage_speeds().values()
    assert (known["torch"], known["onnx"]) == (torch_speed, 1.0)
    assert isinstance(open_encoder(base, use="passages", runtime="onnx"), OnnxEncoder)


def test_a_broken_memory_of_speeds_is_measured_again(base, cache, monkeypatch):
    cache.mkdir(parents=True)
    (cache / opening.SPEEDS_FILE).write_text('{"a": {"torch": "fast"}', encoding="utf-8")
    monkeypatch.setattr(opening, "_speed", lambda encoder: 1.0)
    assert isinstance(open_encoder(base, use="passages"), OnnxEncoder)
    assert len(passage_speeds()) == 1


def test_the_measurement_runs_both(base):
    open_encoder(base, use="passages")
    (known,) = passage_speeds().values()
    assert known["torch"] > 0
    assert known["onnx"] > 0


def test_questions_import_no_torch(base):
    code = (
        "import sys; from ernie_search.encoding.opening import open_encoder; "
        f"open_encoder({str(base)!r}).encode_joint(['tea'], 'query'); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


def test_without_torch_passages_go_through_onnx_too(base, monkeypatch):
    monkeypatch.setattr(opening, "has_torch", lambda: False)
    assert isinstance(open_encoder(base, use="passages"), OnnxEncoder)


def test_any_model_is_indexed_and_searched(base, source, tmp_path):
    built = make_index(source, base, tmp_path / "index", runtime="onnx")
    with built.index as index:
        assert index.spec.encoder_kind == "plain"
        assert index.spec.passages_in == "fp32"
    searcher = Searcher.open(tmp_path / "index")
    assert isinstance(searcher.model, OnnxEncoder)
    assert searcher.note == ""
    assert searcher.search(TEXTS[1], 1, mode="dense")[0].id == nearest(base, TEXTS[1])
    # The other runtime finds it up to date: it is the same model.
    assert make_index(source, base, tmp_path / "index", runtime="torch").up_to_date


def test_another_model_is_refused(base, source, tmp_path):
    make_index(source, base, tmp_path / "index", runtime="onnx").index.close()
    other = sentence_base(tmp_path / "other", layers=1)
    with pytest.raises(IndexStateError, match=r"the index was made by model .*, not by"):
        Searcher.open(tmp_path / "index", other)


def test_a_hub_model_is_found_again_by_its_name(base, source, tmp_path, monkeypatch):
    import shutil

    from huggingface_hub import constants

    home = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home))
    commit = "c" * 40
    shutil.copytree(base, home / "models--org--tiny" / "snapshots" / commit)
    (home / "models--org--tiny" / "refs").mkdir()
    (home / "models--org--tiny" / "refs" / "main").write_text(commit)
    built = make_index(source, "org/tiny", tmp_path / "index", runtime="onnx")
    with built.index as index:
        assert (index.spec.model_path, index.spec.model_ref) == ("", f"org/tiny@{commit}")
    searcher = Searcher.open(tmp_path / "index")
    assert searcher.search(TEXTS[1], 1, mode="dense")[0].id == nearest(base, TEXTS[1])
    assert open_encoder("org/tiny", runtime="torch").fingerprint == searcher.model.fingerprint


def test_questions_of_eight_bits_on_other_passages_are_said(base, source, tmp_path):
    make_index(source, base, tmp_path / "index", runtime="onnx").index.close()
    searcher = Searcher.open(tmp_path / "index")
    searcher.model.precision = "int8"
    assert searcher.note == (
        "questions are encoded in int8, the passages were in fp32: ranks may differ a little"
    )


def test_int8_is_of_graphs_and_auto_takes_only_what_was_measured(base):
    assert open_encoder(base, precision="int8").precision == "int8"
    assert open_encoder(base, precision="auto").precision == "fp32"
    with pytest.raises(ModelError, match="int8 is a graph's precision"):
        open_encoder(base, precision="int8", runtime="torch")


def test_a_speed_without_a_gpu_says_nothing_of_a_machine_with_one(base, tmp_path, monkeypatch):
    monkeypatch.setattr(opening, "_speed", lambda encoder: 1.0)
    open_encoder(base, use="passages")
    assert len(passage_speeds()) == 1
    (tmp_path / "gpu").touch()
    monkeypatch.setattr(opening, "GPU_FILES", (str(tmp_path / "gpu"),))
    open_encoder(base, use="passages")
    assert len(passage_speeds()) == 2  # measured anew; where torch finds a GPU, nothing is remembered
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    open_encoder(base, use="passages")
    assert len(passage_speeds()) == 3
