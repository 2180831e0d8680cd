"""Trackers get what the log has, change no training, and are refused before it where they cannot work."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from ernie_search.errors import SettingsError
from ernie_search.training import trackers, train
from ernie_search.training.settings import UNRELATED, parse_settings
from event_files import scalars
from tiny_training import collection, settings, weights

CHANGES = {"steps": 4, "evaluations": 2, "checkpoints": 1, "onnx": False}


def logged(folder: Path) -> dict[tuple[str, int], float]:
    """What ``log.jsonl`` has, by the trackers' names: (name, step) -> value."""
    found = {}
    for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines():
        values = json.loads(line)
        step = values.pop("step")
        for name, value in values.items():
            if isinstance(value, float) and name != "epoch" and not name.endswith(("runtime", "per_second")):
                found[name, step] = value
    return found


@pytest.fixture(scope="module")
def silent(base, tmp_path_factory) -> Path:
    """A training without trackers."""
    folder = tmp_path_factory.mktemp("silent") / "run"
    train(collection(), folder, settings(**CHANGES), base=base)
    return folder


def test_names_are_a_list_or_between_commas():
    assert parse_settings({"report_to": "wandb, mlflow"}).report_to == ("wandb", "mlflow")
    assert parse_settings({"report_to": ["wandb"]}).report_to == ("wandb",)
    assert parse_settings({"report_to": "none"}).report_to == ()
    assert "report_to" in UNRELATED


def test_tensorboard_has_it_and_is_written_once(base, silent, tmp_path):
    pytest.importorskip("tensorboard", reason="reads event files")
    train(collection(), tmp_path / "run", settings(**CHANGES, report_to="tensorboard"), base=base)
    found = scalars(tmp_path / "run")
    assert "train/raw_dense" in found
    assert any("entropy" in name for name in found)
    assert "eval/dense_mrr" in found


def test_mlflow_gets_losses_entropies_and_measures(base, silent, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="the tracker is tested where it is installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    folder = tmp_path / "run"
    train(collection(), folder, settings(**CHANGES, report_to="mlflow"), base=base)
    assert mlflow.active_run() is None
    client = mlflow.MlflowClient()
    (run,) = client.search_runs(["0"])
    assert run.info.status == "FINISHED"
    expected = logged(silent)
    for (name, step), value in expected.items():
        history = {one.step: one.value for one in client.get_metric_history(run.info.run_id, name)}
        assert history[step] == pytest.approx(value), name
    names = {name for name, _ in expected}
    assert {"loss", "raw_dense", "raw_late", "raw_interaction", "teacher_entropy", "eval_dense_mrr"} <= names
    for model in ("last", "best"):
        assert weights(folder / model) == weights(silent / model)
    training = [json.loads((one / "training.json").read_text()) for one in (folder, silent)]
    assert training[0] == training[1]


def test_wandb_offline(base, silent, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="the tracker is tested where it is installed")
    told = []
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    real = wandb.init

    def init(*args, **options):
        run = real(*args, **options)
        plain = wandb.log
        monkeypatch.setattr(wandb, "log", lambda values, **more: (told.append(values), plain(values, **more)))
        return run

    monkeypatch.setattr(wandb, "init", init)
    folder = tmp_path / "run"
    train(collection(), folder, settings(**CHANGES, report_to="wandb"), base=base)
    assert wandb.run is None
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    seen = {(name, one["train/global_step"]): value for one in told for name, value in one.items()}
    for (name, step), value in logged(silent).items():
        where = f"eval/{name.removeprefix('eval_')}" if name.startswith("eval_") else f"train/{name}"
        assert seen[where, step] == pytest.approx(value)
    assert weights(folder / "last") == weights(silent / "last")


def test_what_cannot_be_reported_to_is_refused_before_anything_is_trained(base, tmp_path, monkeypatch):
    def refused(name: str) -> str:
        with pytest.raises(SettingsError) as caught:
            train(collection(), tmp_path / "run", settings(**CHANGES, report_to=name), base=base)
        assert "\n" not in str(caught.value)
        assert not list(tmp_path.glob("run/*"))
        return str(caught.value)

    assert "did you mean 'wandb'" in refused("wanbd")
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    assert (
        refused("clearml") == "report_to=clearml: clearml is not installed; install it (pip install clearml)"
    )


def test_nobody_logged_in_is_one_line(monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: name)

    def login(**_):
        raise RuntimeError("No API key configured.\nUse `wandb login`")

    monkeypatch.setitem(__import__("sys").modules, "wandb", SimpleNamespace(run=None, login=login))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(
        SettingsError, match=r"report_to=wandb: cannot be reported to \(No API key configured\.\)"
    ):
        trackers.check_trackers(["wandb"])
    monkeypatch.setitem(os.environ, "WANDB_MODE", "offline")
    trackers.check_trackers(["wandb"])
