"""Opening models: graphs of ours, of others, and what is wrong with them."""

import json
import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ernie_search._util.files import sha256_file
from ernie_search.errors import ModelError
from ernie_search.runtime import Place, Sidecar, open_onnx, require_onnx, saved_files
from ernie_search.runtime.batches import LONE_TOKENS
from ernie_search.runtime.bert import build
from ernie_search.runtime.quantize import measured_loss, quantized, remembered_loss
from ernie_search.runtime.saved_files import listing_saved_files
from ernie_search.runtime.sidecar import Graph
from tiny_onnx import HIDDEN, TEXTS, VOCABULARY, sentence_files, word_tokenizer


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    return sentence_files(tmp_path_factory.mktemp("made") / "model", {"query": "query: "})


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "model"))


@pytest.fixture
def published(folder) -> Path:
    """As others publish: with a graph of token states."""
    (folder / "onnx").mkdir()
    build(folder, json.loads((folder / "config.json").read_text()), folder / "onnx")
    return folder


def lookup_graph(path: Path, rows: int = len(VOCABULARY), *, dense: bool = True) -> None:
    """A graph with our outputs: a token's vector is looked up, the single vector is their mean."""
    table = np.random.default_rng(0).standard_normal((rows, 8)).astype(np.float32)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    shapes = {"tokens": ["B", "L", 8], "dense": ["B", 8]}
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
            helper.make_node("Cast", ["attention_mask"], ["there"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["there", "last"], ["there3"]),
            helper.make_node("Mul", ["tokens", "there3"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "middle"], ["sum"], keepdims=0),
            helper.make_node("LpNormalization", ["sum"], ["dense"], axis=-1),
        ],
        "lookup",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["B", "L"])
            for name in ("input_ids", "attention_mask")
        ],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name])
            for name in (("dense", "tokens") if dense else ("tokens",))
        ],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.asarray([2]), "last"),
            numpy_helper.from_array(np.asarray([1]), "middle"),
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))


def exported(folder: Path, kind: str = "joint", rows: int = len(VOCABULARY)) -> Path:
    """A model directory with ``onnx/`` as export writes it, and its tokenizer."""
    word_tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "onnx").mkdir(exist_ok=True)
    lookup_graph(folder / "onnx" / "model.onnx", rows, dense=kind != "late")
    Sidecar(
        kind=kind,
        name="looked up",
        fingerprint="0123456789abcdef",
        dim=8,
        token_dim=8,
        query_prompt="query: ",
        query_length=8,
        passage_length=32,
        special_ids=[0, 2, 3],
        graphs={"fp32": Graph.of(folder / "onnx" / "model.onnx")},
    ).write(folder / "onnx")
    return folder


def test_an_exported_model_is_read_as_its_sidecar_says(tmp_path):
    encoder = open_onnx(exported(tmp_path), check=True)
    assert (encoder.kind, encoder.name, encoder.fingerprint) == ("joint", "looked up", "0123456789abcdef")
    asked, stored = (encoder.encode_joint(TEXTS, task) for task in ("query", "passage"))
    table = encoder.encode_joint([" ".join(VOCABULARY[5:18])], "passage").tokens[0]
    tea = VOCABULARY.index("tea")
    np.testing.assert_allclose(stored.tokens[3][0], table[tea - 5], atol=1e-6)
    assert stored.token_ids[3][0] == tea
    assert not {0, 2, 3} & {int(one) for ids in stored.token_ids for one in ids}
    assert max(map(len, asked.token_ids)) <= 8 - 4  # both ends, and "query", ":"
    assert asked.truncated == sum(len(word_tokenizer().encode("query: " + text).ids) > 8 for text in TEXTS)
    assert [len(one) for one in stored.tokens] == [len(one) for one in stored.token_ids]


def test_a_late_model_s_single_vector_is_the_mean_of_its_tokens(tmp_path):
    found = open_onnx(exported(tmp_path, "late")).encode_joint(TEXTS, "passage")
    for vector, rows in zip(found.dense, found.tokens, strict=True):
        mean = rows.mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)
    alone = open_onnx(tmp_path).encode_joint(TEXTS, "passage", tokens=False)
    np.testing.assert_array_equal(alone.dense, found.dense)


def test_weights_that_were_changed_after_the_export_are_refused(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"first")
    exported(tmp_path)
    sidecar = Sidecar.read(tmp_path / "onnx")
    sidecar.model_copy(update={"weights": {weights.name: sha256_file(weights)}}).write(tmp_path / "onnx")
    assert open_onnx(tmp_path) is not None
    weights.write_bytes(b"other")
    with pytest.raises(ModelError, match=r"model\.safetensors: altered since its graph was made; export"):
        open_onnx(tmp_path)
    weights.unlink()  # the graph alone is enough
    assert open_onnx(tmp_path) is not None


def test_a_text_of_special_tokens_alone_keeps_them(tmp_path):
    found = open_onnx(exported(tmp_path)).encode_joint(["", "tea"], "passage")
    assert [ids.tolist() for ids in found.token_ids] == [[2, 3], [VOCABULARY.index("tea")]]


def test_files_of_an_export_are_checked(tmp_path):
    exported(tmp_path)
    graph = tmp_path / "onnx" / "model.onnx"
    data = graph.read_bytes()
    graph.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert open_onnx(tmp_path) is not None  # of the same size
    with pytest.raises(ModelError, match=r"model\.onnx: altered since it was written"):
        open_onnx(tmp_path, check=True)
    graph.write_bytes(data[:-1])
    with pytest.raises(
        ModelError, match=r"model\.onnx: [\d,]+ bytes, and [\d,]+ were written; copy or export"
    ):
        open_onnx(tmp_path)
    graph.unlink()
    with pytest.raises(ModelError, match=r"model\.onnx: missing"):
        open_onnx(tmp_path)
    exported(tmp_path)
    with pytest.raises(
        ModelError, match="no int8 graph here; write one with: ernie-search export --onnx --int8"
    ):
        open_onnx(tmp_path, precision="int8")
    sidecar = tmp_path / "onnx" / "ernie_search_onnx.json"
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"dim": 0}))
    with pytest.raises(ModelError, match=r"ernie_search_onnx\.json: dim: .*; export the model again"):
        open_onnx(tmp_path)
    sidecar.write_text("{")
    with pytest.raises(ModelError, match=r"not readable as JSON; export the model again"):
        open_onnx(tmp_path)


def test_no_large_file_is_hashed_before_a_question(folder, monkeypatch):
    with listing_saved_files(folder):
        exported(folder)
        shutil.copy(folder / "model.safetensors", folder / "copy.safetensors")
    hashed: list[str] = []
    monkeypatch.setattr(
        saved_files, "remembered_sha256", lambda path: hashed.append(path.name) or sha256_file(path)
    )
    assert open_onnx(folder) is not None
    assert "tokenizer.json" in hashed
    assert not [name for name in hashed if name.endswith((".onnx", ".safetensors"))]
    (folder / "copy.safetensors").unlink()
    with pytest.raises(ModelError, match=r"copy\.safetensors: missing"):
        open_onnx(folder)


def test_a_graph_of_another_tokenizer_is_one_line(tmp_path):
    encoder = open_onnx(exported(tmp_path, rows=10))
    with pytest.raises(ModelError, match="its graph cannot read these texts") as caught:
        encoder.encode_joint(TEXTS, "query")
    assert "\n" not in str(caught.value)


def test_a_published_graph_gives_what_its_weights_give(published, made):
    expected = open_onnx(made).encode_joint(TEXTS, "query")
    (published / "model.safetensors").unlink()
    for place in ("onnx", "."):
        if place == ".":
            shutil.move(published / "onnx" / "model.onnx", published / "model.onnx")
            shutil.move(published / "onnx" / "model.bin", published / "model.bin")
        found = open_onnx(published).encode_joint(TEXTS, "query")
        np.testing.assert_allclose(found.dense, expected.dense, atol=1e-5)
        for rows, also in zip(found.tokens, expected.tokens, strict=True):
            np.testing.assert_allclose(rows, also, atol=1e-5)


def test_graphs_that_are_none_of_ours(published):
    graph = published / "onnx" / "model.onnx"
    graph.write_bytes(b"no graph")
    with pytest.raises(ModelError, match="cannot be opened by ONNX Runtime") as caught:
        open_onnx(published)
    assert "\n" not in str(caught.value)
    value = helper.make_tensor_value_info
    images = helper.make_graph(
        [helper.make_node("Identity", ["pixel_values"], ["out"])],
        "images",
        [value("pixel_values", TensorProto.FLOAT, ["B", 3, 8])],
        [value("out", TensorProto.FLOAT, ["B", 3, 8])],
    )
    model = helper.make_model(images, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(graph))
    assert open_onnx(published) is None
    with pytest.raises(
        ModelError, match=r"only torch can read this model.*pip install 'ernie-search\[train\]'"
    ):
        require_onnx(Place("images", published))


@pytest.mark.parametrize("kind", ["built", "published"])
def test_8_bit_weights_are_near(kind, request, own_cache):
    folder = request.getfixturevalue("folder" if kind == "built" else "published")
    full, small = open_onnx(folder), open_onnx(folder, precision="int8")
    assert small.precision == "int8"
    loss = remembered_loss(small.sessions.path, full, small)
    assert 0.98 < loss.dense < 1
    assert 0.98 < loss.tokens < 1
    assert remembered_loss(small.sessions.path, full, full) == loss  # measured once
    assert measured_loss(full, full).tokens_least == pytest.approx(1, abs=1e-4)
    assert own_cache in small.sessions.path.parents
    assert full.fingerprint == small.fingerprint


def test_a_graph_is_quantised_beside_it(published):
    path = quantized(published / "onnx" / "model.onnx")
    assert path == published / "onnx" / "model_int8.onnx"
    assert open_onnx(published, precision="int8").sessions.path == path


def test_few_tokens_run_on_one_thread_and_many_on_all(folder, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    encoder = open_onnx(folder)
    encoder.encode_joint(["tea"], "query")
    assert set(encoder.sessions._open) == {1}
    encoder.encode_joint(["tea"] * LONE_TOKENS, "passage")
    assert set(encoder.sessions._open) == {1, 2}


def test_threads_share_an_encoder_and_order_and_budget_change_nothing(folder):
    encoder = open_onnx(folder)
    expected = encoder.encode_joint(TEXTS, "passage")
    wrong: list[object] = []

    def work(turn: int) -> None:
        order = np.random.default_rng(turn).permutation(len(TEXTS))
        done: list[int] = []
        found = encoder.encode_joint(
            [TEXTS[one] for one in order], "passage", token_budget=16 * (turn + 1), progress=done.append
        )
        encoder.pieces(TEXTS[0])
        if sum(done) != len(TEXTS) or not np.allclose(found.dense, expected.dense[order], atol=1e-5):
            wrong.append(turn)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_encoder_is_sent_to_another_process(folder):
    encoder = open_onnx(folder)
    expected = encoder.encode_joint(TEXTS, "query").dense
    other = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(other.encode_joint(TEXTS, "query").dense, expected)
    assert other.encode_joint([], "query").dense.shape == (0, HIDDEN)
