"""``export --onnx``: what is written, and whether the graph of 8 bits stays, is said."""

import shutil

import pytest

from ernie_search.encoding import opening
from ernie_search.runtime import Sidecar
from tiny_model import sentence_base


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return sentence_base(tmp_path_factory.mktemp("export") / "base", layers=1)


@pytest.mark.slow  # two exports take seconds each
def test_auto_keeps_eight_bits_within_the_bound_and_says_so(run_cli, base, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(base, folder)
    kept = run_cli("export", folder, "--onnx", "--precision", "auto")
    assert kept.exit_code == 0, kept.stderr
    assert "within the bound of 0.99" in kept.stdout
    assert set(Sidecar.read(folder / "onnx").graphs) == {"fp32", "int8"}
    assert opening.int8_suffices(folder)
    monkeypatch.setattr(opening, "INT8_COSINE", 0.99999999)
    assert not opening.int8_suffices(folder)
    dropped = run_cli("export", folder, "--onnx", "--precision", "auto", "--output", tmp_path / "out")
    assert "int8: left out, below the bound of 0.99999999 (mean cosine to fp32" in dropped.stdout
    assert set(Sidecar.read(tmp_path / "out" / "onnx").graphs) == {"fp32"}
    assert not (tmp_path / "out" / "onnx" / "model_int8.onnx").exists()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["m", "--int8"], "are of ONNX graphs; add --onnx"),
        (["m"], "name the folder for the MultiVectorEncoder, or add --onnx"),
        (["org/name", "--onnx"], "org/name is no directory of yours; name the folder to write"),
        (["m", "--onnx", "--int8", "--precision", "auto"], "leave one out"),
    ],
)
def test_what_does_not_go_together_is_refused(run_cli, options, error):
    result = run_cli("export", *options)
    assert result.exit_code == 2
    assert error in result.stderr
