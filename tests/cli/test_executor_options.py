"""``--executor`` and its options: refused in one line before anything is loaded."""

import socket
import sys

import pytest

from ernie_search.index import open_index

COMMANDS = {
    "index": ["index", "data", "--model", "m", "--output", "out"],
    "to Qdrant": ["index", "data", "--model", "m", "--output", "qdrant+http://h:1/x", "--shards", "s"],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--executor", "rya"], "executor 'rya'"),
        (["--address", "host:6379"], "takes no address; add: --executor ray"),
        (["--worker-cpus", "2"], "add: --executor ray"),
    ],
)
def test_impossible_executors(run_cli, command, options, message):
    done = run_cli(*COMMANDS[command], *options)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_ray_that_is_not_installed(run_cli, monkeypatch):
    monkeypatch.delitem(sys.modules, "ernie_search.encoding.executors.ray", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    done = run_cli(*COMMANDS["index"], "--executor", "ray")
    assert done.exit_code == 2
    assert "pip install 'ernie-search[ray]'" in done.stderr


def test_the_local_executor_by_name(run_cli, collection, stub_model, tmp_path):
    done = run_cli(
        "index", collection, "--model", stub_model, "--output", tmp_path / "i", "--executor", "local"
    )
    assert done.exit_code == 0, done.stderr
    with open_index(tmp_path / "i") as index:
        assert len(index) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--part", "2"], "say which of how many, such as 2/8"),
        (["--part", "1/2"], "loaders share shards that are there"),
    ],
)
def test_impossible_parts(run_cli, collection, options, message):
    done = run_cli("index", collection, "--output", "qdrant+http://localhost:1/x", *options)
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_nobody_at_the_address(run_cli, monkeypatch, command, address):
    """At once: Ray by itself would go on trying for minutes."""
    pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    monkeypatch.setattr(
        "ray._private.ray_constants.ENABLE_RAY_CLUSTER", False
    )  # not the machine's own address
    with socket.socket() as held:  # bound, and not listening: nobody else can take the port meanwhile
        held.bind(("127.0.0.1", 0))
        there = address.format(held.getsockname()[1])
        done = run_cli(*COMMANDS[command], "--executor", "ray", "--address", there)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {there}: no Ray cluster answers there")
    assert done.stderr.count("\n") == 1
