"""``--engine`` and its options: refused in one line before anything is loaded."""

import sys

import pytest

from ernie_search.encoding import read_manifest

COMMANDS = {
    "index": ["index", "data", "--model", "m", "--output", "out"],
    "build": ["index", "build", "data", "--model", "m", "--output", "out"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "rya"], "engine 'rya'"),
        (["--address", "host:6379"], "takes no address; add: --engine ray"),
        (["--worker-cpus", "2"], "add: --engine ray"),
    ],
)
def test_impossible_engines(run_cli, command, options, message):
    done = run_cli(*COMMANDS[command], *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_ray_that_is_not_installed(run_cli, monkeypatch):
    monkeypatch.delitem(sys.modules, "ernie_search.engines.ray_engine", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    done = run_cli(*COMMANDS["index"], "--engine", "ray")
    assert done.exit_code == 2
    assert "pip install 'ernie-search[ray]'" in done.stderr


def test_the_local_engine_by_name(run_cli, collection, stub_model, tmp_path):
    done = run_cli(
        "index", collection, "--model", stub_model, "--output", tmp_path / "i", "--engine", "local"
    )
    assert done.exit_code == 0, done.stderr
    assert read_manifest(tmp_path / "i").passages == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--part", "2"], "say which of how many, such as 2/8"),
        (["--part", "1/2"], "loaders share shards that are there"),
    ],
)
def test_impossible_parts(run_cli, collection, options, message):
    done = run_cli("index", "build", collection, "--output", "qdrant+http://localhost:1/x", *options)
    assert done.exit_code == 2
    assert message in done.stderr
