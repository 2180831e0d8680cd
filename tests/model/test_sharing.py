"""What is uploaded is the whole model, and loads by its name, head included."""

import shutil
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from sentence_transformers import SentenceTransformer
from typer.testing import CliRunner

import ernie_search
from ernie_search.errors import ModelError
from ernie_search.model import JointEncoder
from ernie_search.model import onnx as onnx_module
from ernie_search.model.sharing import NOT_UPLOADED, share, shared_files

COMMIT = "d" * 40


class Hub:
    """A hub that is a folder: as much of ``HfApi`` as an upload uses."""

    def __init__(self, folder):
        self.folder, self.calls = folder, []

    def create_repo(self, repo_id, **options):
        self.calls.append(("repo", repo_id, options.get("private")))
        return SimpleNamespace(repo_id=repo_id)

    def create_branch(self, repo_id, branch, exist_ok):
        self.calls.append(("branch", branch))

    def upload_folder(self, repo_id, folder_path, revision=None, ignore_patterns=(), **_):
        home = self.folder / f"models--{repo_id.replace('/', '--')}"
        target = home / "snapshots" / COMMIT
        shutil.copytree(folder_path, target, ignore=shutil.ignore_patterns(*ignore_patterns))
        (home / "refs").mkdir()
        (home / "refs" / (revision or "main")).write_text(COMMIT)
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/commit/{COMMIT}")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(made.folder))
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda *_, **__: made)
    monkeypatch.setattr("sentence_transformers.base.model.HfApi", lambda *_, **__: made)
    return made


def test_a_shared_model_loads_by_its_name_head_included(model, hub, tmp_path):
    folder = tmp_path / "model"
    model.save(str(folder))
    (folder / "README.md").unlink(missing_ok=True)
    (folder / "best.json").write_text("{}")
    assert share(folder, "org/mine", private=True).startswith("https://hub/org/mine/commit/")
    assert hub.calls == [("repo", "org/mine", True)]
    loaded = ernie_search.load("org/mine", device="cpu")
    assert isinstance(loaded, JointEncoder)
    assert loaded.fingerprint == model.fingerprint
    uploaded = hub.folder / "models--org--mine" / "snapshots" / COMMIT
    assert (uploaded / "README.md").read_text(encoding="utf-8").splitlines()[0] == "---"
    assert not (uploaded / "best.json").exists()
    assert "best.json" in NOT_UPLOADED


def test_a_branch_is_loaded_by_its_revision(model, hub, tmp_path):
    model.save(str(tmp_path / "model"))
    share(tmp_path / "model", "org/mine", revision="v2")
    assert ("branch", "v2") in hub.calls
    assert ernie_search.load("org/mine@v2", device="cpu").fingerprint == model.fingerprint


def test_push_to_hub_keeps_head_settings_graph_and_card(model, hub, monkeypatch):
    monkeypatch.setattr(
        onnx_module, "export_onnx", lambda _, folder: (folder / "onnx").mkdir() or folder / "onnx"
    )
    model.push_to_hub("org/pushed")
    uploaded = hub.folder / "models--org--pushed" / "snapshots" / COMMIT
    names = {one.name for one in uploaded.iterdir()}
    assert {"token_head.safetensors", "ernie_search.json", "onnx", "README.md"} <= names
    assert "late-interaction" in (uploaded / "README.md").read_text(encoding="utf-8")
    assert ernie_search.load("org/pushed", device="cpu").fingerprint == model.fingerprint


def test_what_cannot_be_uploaded_is_one_line(model, hub, tmp_path):
    with pytest.raises(ModelError, match="no model here"):
        share(tmp_path, "org/mine")
    model.save(str(tmp_path / "model"))

    def refuses(**_):
        raise OSError("403 Forbidden\nand a page")

    hub.create_repo = refuses
    line = r"org/mine: cannot be uploaded .*403 Forbidden.*hf auth login"
    with pytest.raises(ModelError, match=line) as caught:
        share(tmp_path / "model", "org/mine")
    assert "\n" not in str(caught.value)


def test_sentence_transformers_own_loader_reads_it_at_a_revision(model, hub, tmp_path):
    model.save(str(tmp_path / "model"))
    share(tmp_path / "model", "org/mine", revision="v2")
    texts = ["Tea grows on the hills.", "Rice stands in water."]
    expected = model.encode_document(texts)
    cached = hub.folder / "models--org--mine" / "snapshots" / COMMIT
    named = SentenceTransformer("org/mine", revision="v2", cache_folder=str(hub.folder), device="cpu")
    for loaded in (named, SentenceTransformer(str(cached), device="cpu")):
        assert type(loaded) is SentenceTransformer
        np.testing.assert_allclose(loaded.encode_document(texts), expected, atol=1e-6)


def test_a_dry_run_lists_what_is_uploaded_and_uploads_nothing(model, hub, tmp_path):
    from ernie_search.cli import app

    folder = tmp_path / "model"
    model.save(str(folder))
    (folder / "README.md").unlink(missing_ok=True)
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"x" * 2**20)
    (folder / "optimizer.pt").touch()
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x").touch()
    done = CliRunner().invoke(app, ["share", str(folder), "org/mine", "--dry-run"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "1.0 MiB  onnx/model.onnx" in done.stdout
    assert "not uploaded, to org/mine" in done.stdout
    assert "README.md is not there" in done.stderr
    assert (hub.calls, (folder / "README.md").exists()) == ([], False)
    listed = set(shared_files(folder))
    assert {"optimizer.pt", ".cache/x"}.isdisjoint(listed)
    share(folder, "org/mine")
    uploaded = hub.folder / "models--org--mine" / "snapshots" / COMMIT
    there = {one.relative_to(uploaded).as_posix() for one in uploaded.rglob("*") if one.is_file()}
    assert there == listed | {"README.md"}
