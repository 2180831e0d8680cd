"""What a directory says of itself, and its fingerprint."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from ernie_search.errors import ModelError
from ernie_search.runtime import PlainSettings, open_onnx, plain_fingerprint, read_settings
from ernie_search.runtime.plain import LONGEST, read_modules
from tiny_onnx import HIDDEN, TEXTS, bare_files, sentence_files


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    prompts = {"query": "query: ", "document": "", "passage": "never"}
    return sentence_files(tmp_path_factory.mktemp("made") / "model", prompts)


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "model"))


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def of(folder: Path) -> str:
    return plain_fingerprint(folder, read_settings(folder))


def test_settings_are_the_model_s_own(folder):
    assert read_settings(folder) == PlainSettings("cosine", "query: ", "", 64, 64)
    change(folder / "sentence_bert_config.json", max_seq_length=20, query_length=10, do_lower_case=True)
    change(
        folder / "config_sentence_transformers.json",
        similarity_fn_name="dot",
        prompts={"retrieval": "r: ", "query": "q: "},
        default_prompt_name="retrieval",
    )
    assert read_settings(folder) == PlainSettings("dot", "q: ", "r: ", 10, 20, True)


def test_a_bare_model_has_defaults(tmp_path):
    bare = bare_files(tmp_path / "bare")
    assert read_settings(bare) == PlainSettings(query_length=64, passage_length=64)
    change(bare / "config.json", max_position_embeddings=8192)
    change(bare / "tokenizer_config.json", model_max_length=10**30)
    assert read_settings(bare).passage_length == LONGEST
    change(bare / "config.json", model_type="roberta", max_position_embeddings=66, pad_token_id=1)
    assert read_settings(bare).passage_length == 64


def test_prompts_lengths_and_case_act(folder):
    change(folder / "sentence_bert_config.json", max_seq_length=12, do_lower_case=True)
    encoder = open_onnx(folder)
    long = " ".join(["tea"] * 30)
    asked, stored = (encoder.encode_joint([long], task) for task in ("query", "passage"))
    assert (len(asked.token_ids[0]), len(stored.token_ids[0])) == (
        8,
        10,
    )  # without "query", ":" and both ends
    assert asked.truncated == stored.truncated == 1
    assert abs(asked.dense - stored.dense).max() > 1e-3
    upper = encoder.encode_joint(["TEA"], "passage").dense
    assert (upper == encoder.encode_joint(["tea"], "passage").dense).all()


def test_other_similarities_are_refused(folder):
    change(folder / "config_sentence_transformers.json", similarity_fn_name="euclidean")
    with pytest.raises(ModelError, match="its similarity is euclidean; choose a model with cosine or dot"):
        open_onnx(folder)


@pytest.mark.parametrize(
    "module",
    [
        {"type": "sentence_transformers.models.LSTM"},
        {"type": "pylate.models.Dense.Dense"},
        {"type": "custom_st.Transformer"},
    ],
)
def test_modules_that_only_torch_runs(folder, module):
    modules = json.loads((folder / "modules.json").read_text())
    modules[2] |= module
    (folder / "modules.json").write_text(json.dumps(modules))
    assert read_modules(folder) is None
    assert open_onnx(folder) is None


def test_a_colbert_checkpoint_is_no_plain_encoder(tmp_path):
    bare = bare_files(tmp_path / "bare")
    assert open_onnx(bare) is not None
    (bare / "artifact.metadata").write_text("{}")
    assert open_onnx(bare) is None


def test_a_classifier_is_named(tmp_path):
    bare = bare_files(tmp_path / "bare")
    change(bare / "config.json", architectures=["BertForSequenceClassification"])
    with pytest.raises(ModelError, match="a BertForSequenceClassification, which scores or labels texts"):
        open_onnx(bare)


@pytest.mark.parametrize("name", ["modules.json", "config.json", "1_Pooling/config.json"])
@pytest.mark.parametrize("text", ["{", "[1]", "[{}]"])
def test_damaged_configs_are_one_line(folder, name, text):
    (folder / name).write_text(text)
    with pytest.raises(ModelError) as caught:
        open_onnx(folder)
    assert Path(name).name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(ModelError, match=r"no model here \(config\.json is missing\)"):
        open_onnx(tmp_path)
    (tmp_path / "best").mkdir()
    (tmp_path / "best" / "modules.json").write_text("[]")
    with pytest.raises(ModelError, match=r"a training folder; its model is .*best"):
        open_onnx(tmp_path)


def test_the_fingerprint_follows_what_acts(folder, tmp_path):
    first = of(folder)
    assert of(Path(shutil.copytree(folder, tmp_path / "copy"))) == first
    (folder / "README.md").write_text("other words")
    state = json.loads((folder / "tokenizer.json").read_text())
    state["truncation"] = {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    (folder / "tokenizer.json").write_text(json.dumps(state, indent=1))
    assert of(folder) == first
    settings = read_settings(folder)
    assert plain_fingerprint(folder, replace(settings, passage_length=32)) != first
    assert plain_fingerprint(folder, replace(settings, query_prompt="q")) != first
    assert plain_fingerprint(folder, settings, kind="late") != first
    change(folder / "1_Pooling" / "config.json", pooling_mode="cls")
    second = of(folder)
    state["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(state))
    third = of(folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, folder / "model.safetensors")
    assert len({first, second, third, of(folder)}) == 4


def test_a_snapshot_s_commit_stands_for_its_files(folder, tmp_path):
    snapshot = tmp_path / "models--org--small" / "snapshots" / ("a" * 40)
    shutil.copytree(folder, snapshot)
    first = of(snapshot)
    (snapshot / "model.safetensors").unlink()  # only the graph was downloaded
    assert of(snapshot) == first
    other = snapshot.with_name("b" * 40)
    shutil.copytree(snapshot, other)
    assert of(other) != first


def test_an_opened_encoder_says_it(folder):
    encoder = open_onnx(folder)
    assert encoder.fingerprint == of(folder)
    assert (encoder.kind, encoder.dim, encoder.token_dim) == ("plain", HIDDEN, HIDDEN)
    assert encoder.encode_joint(TEXTS, "query", tokens=False).tokens == []
