"""What a GPU offers is chosen, not assumed; what can be tried without one is."""

from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ernie_search.errors import SettingsError
from ernie_search.training import joint, parse_settings, train
from ernie_search.training.joint import arguments
from tiny_training import collection, settings

QUICK: dict[str, Any] = {"steps": 4, "evaluations": 0, "checkpoints": 1}


def test_tf32_without_such_a_gpu_is_refused_before_anything_is_written(base, tmp_path, monkeypatch):
    monkeypatch.setattr(joint, "has_tf32", lambda: False)
    with pytest.raises(SettingsError, match=r"needs an NVIDIA GPU .* set precision to auto or fp32"):
        train(collection(), tmp_path / "run", settings(precision="tf32"), base=base)
    assert list(tmp_path.rglob("*")) == []


def test_memory_is_pinned_for_a_gpu_alone(tmp_path):
    for on_cpu in (True, False):
        made = arguments(tmp_path, settings(), on_cpu=on_cpu, evaluates=False)
        assert made.dataloader_pin_memory is not on_cpu
        assert made.tf32 is None


def test_compile_excludes_gradient_caching():
    words = "compile and gradient_cache are both true"
    with pytest.raises(SettingsError, match=words):
        parse_settings({"compile": True, "gradient_cache": True})


def test_a_compiled_encoder_learns_the_same_and_is_saved_as_a_plain_one(base, tmp_path, monkeypatch):
    traced, original = [], torch.nn.Module.compile

    def compile_eagerly(module: torch.nn.Module, **options: Any) -> None:
        # Traced, and run as traced: not every machine has the compiler that the default backend needs.
        traced.append(type(module).__name__)
        original(module, backend="eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", compile_eagerly)
    plain = train(collection(), tmp_path / "plain", settings(**QUICK), base=base)
    compiled = train(collection(), tmp_path / "compiled", settings(compile=True, **QUICK), base=base)
    assert traced == ["BertModel"]
    for file in ("model.safetensors", "token_head.safetensors"):
        expected, found = load_file(plain.last / file), load_file(compiled.last / file)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, msg=name)
