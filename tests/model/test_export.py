"""What is exported scores as the joint model does, in sentence-transformers alone."""

import json

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder
from typer.testing import CliRunner

from ernie_search.errors import ModelError
from ernie_search.model import export as export_module
from ernie_search.model import export_multi_vector, from_base, load
from tiny_model import TEXTS


def late_scores(model, queries, passages):
    """Mean over question tokens of the best passage token, written out."""
    questions, texts = model.encode_joint(queries, "query"), model.encode_joint(passages, "passage")
    return np.array([[(q @ p.T).max(1).mean() for p in texts.tokens] for q in questions.tokens])


def exported_scores(folder, queries, passages):
    encoder = MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
    return encoder.similarity(encoder.encode_query(queries), encoder.encode_document(passages)).numpy()


def names(folder):
    return sorted(one.name for one in folder.iterdir())


def test_it_scores_the_same(model, tmp_path):
    assert export_multi_vector(model, tmp_path / "out") == tmp_path / "out"
    assert model.encode_joint(TEXTS, "query").truncated > 0  # the lengths went with it
    expected = late_scores(model, TEXTS, TEXTS)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(exported_scores(tmp_path / "out", TEXTS, TEXTS), expected, atol=1e-4)


def test_it_gives_the_same_token_vectors(model, tmp_path):
    export_multi_vector(model, tmp_path / "out")
    encoder = MultiVectorEncoder(str(tmp_path / "out"), device="cpu", local_files_only=True)
    for task, vectors in (
        ("query", encoder.encode_query(TEXTS)),
        ("passage", encoder.encode_document(TEXTS)),
    ):
        for ours, theirs in zip(model.encode_joint(TEXTS, task).tokens, vectors, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_it_is_made_of_the_library_s_own_modules(model, tmp_path):
    export_multi_vector(model, tmp_path / "out")
    modules = json.loads((tmp_path / "out" / "modules.json").read_text())
    assert [one["type"].rsplit(".", 1)[1] for one in modules] == [
        "Transformer",
        "Dense",
        "MultiVectorMask",
        "Normalize",
    ]
    assert all(one["type"].startswith("sentence_transformers.") for one in modules)
    written = "".join(
        one.read_text(encoding="utf-8")
        for one in (tmp_path / "out").rglob("*")
        if one.suffix in (".json", ".md")
    )
    assert str(tmp_path) not in written  # no place of this machine
    assert "ernie_search" not in written


def test_the_model_is_left_as_it_was(model, tmp_path):
    before = model.fingerprint
    model.train()
    export_multi_vector(model, tmp_path / "out")
    assert model.training
    assert model.fingerprint == before
    assert model.token_head.token_dim == 16


def test_a_trained_model_from_disk_goes_the_same_way(model, tmp_path):
    with torch.no_grad():
        model.token_head.linear.weight.mul_(torch.linspace(0.1, 3, 32))
    model.save(str(tmp_path / "saved"))
    export_multi_vector(load(tmp_path / "saved", device="cpu"), tmp_path / "out")
    np.testing.assert_allclose(
        exported_scores(tmp_path / "out", TEXTS, TEXTS), late_scores(model, TEXTS, TEXTS), atol=1e-4
    )


def test_prompts_are_refused(prompted, settings, tmp_path):
    model = from_base(str(prompted), settings=settings, device="cpu")
    with pytest.raises(ModelError, match=r"query_prompt is 'query: '; .*only models without prompts"):
        export_multi_vector(model, tmp_path / "out")
    assert names(tmp_path) == []


def test_what_does_not_score_the_same_is_not_left_behind(model, tmp_path, monkeypatch):
    real = export_module._multi_vector

    def wrong(joint):
        made = real(joint)
        with torch.no_grad():
            made[1].linear.weight[:, 0] += 0.5
        return made

    monkeypatch.setattr(export_module, "_multi_vector", wrong)
    with pytest.raises(ModelError, match="out: not written, for the exported model scores differently"):
        export_multi_vector(model, tmp_path / "out")
    assert names(tmp_path) == []


def test_an_earlier_export_is_replaced(model, sentence, settings, tmp_path):
    other = from_base(str(sentence), settings=settings, seed=9, device="cpu")
    export_multi_vector(other, tmp_path / "out")
    export_multi_vector(model, tmp_path / "out")
    np.testing.assert_allclose(
        exported_scores(tmp_path / "out", TEXTS, TEXTS), late_scores(model, TEXTS, TEXTS), atol=1e-4
    )
    assert names(tmp_path) == ["out"]


def test_anything_else_is_left_alone(model, tmp_path):
    model.save(str(tmp_path / "saved"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("x")
    for name in ("saved", "home", "file"):
        with pytest.raises(
            ModelError, match=f"{name}: exists and is no exported model; choose another folder"
        ):
            export_multi_vector(model, tmp_path / name)
    assert load(tmp_path / "saved", device="cpu").fingerprint == model.fingerprint
    assert (tmp_path / "home" / "letter.txt").read_text() == "dear"
    (tmp_path / "empty").mkdir()
    export_multi_vector(model, tmp_path / "empty")


def test_sixteen_bit_weights_pass_with_their_own_tolerance(model, tmp_path):
    model.bfloat16()
    export_multi_vector(model, tmp_path / "out")
    encoder = MultiVectorEncoder(str(tmp_path / "out"), device="cpu", local_files_only=True)
    assert encoder.get_embedding_dimension() == 16


def test_the_command_writes_it(model, tmp_path):
    from ernie_search.cli import app

    model.save(str(tmp_path / "saved"))
    arguments = ["export", str(tmp_path / "saved"), str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert f"{tmp_path / 'out'}: a MultiVectorEncoder" in result.stdout
    np.testing.assert_allclose(
        exported_scores(tmp_path / "out", TEXTS, TEXTS), late_scores(model, TEXTS, TEXTS), atol=1e-4
    )


def test_the_command_refuses_in_one_line(tmp_path):
    from ernie_search.cli import app

    result = CliRunner().invoke(app, ["export", str(tmp_path / "absent"), str(tmp_path / "out")])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert names(tmp_path) == []


@pytest.mark.slow
def test_the_real_base_goes_through(real_model, tmp_path):
    export_multi_vector(real_model, tmp_path / "out")
    queries = ["how do I sort a list?", "who wrote the 9th symphony", "where " * 60]
    passages = [
        "sorted(iterable, key=None) returns a new sorted list.",
        "Beethoven wrote it. " * 40,
        "茶は山で育つ。",
    ]
    expected = late_scores(real_model, queries, passages)
    np.testing.assert_allclose(exported_scores(tmp_path / "out", queries, passages), expected, atol=1e-4)


@pytest.mark.slow
def test_the_real_base_round_trip(real_model, tmp_path):
    real_model.save(str(tmp_path / "saved"))
    again = load(tmp_path / "saved", device="cpu")
    assert again.fingerprint == real_model.fingerprint
    texts = ["how do I sort a list?", "Beethoven wrote nine symphonies."]
    np.testing.assert_allclose(
        late_scores(again, texts, texts), late_scores(real_model, texts, texts), atol=1e-6
    )
