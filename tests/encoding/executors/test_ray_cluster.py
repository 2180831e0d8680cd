"""A cluster of two nodes by its address, of which one is lost on the way."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from ernie_search.encoding import encode_collection
from ernie_search.encoding.executors import open_executor
from stub_encoder import StubEncoder, numbered_passages

pytest.importorskip("ray", reason="the extra 'ray' is not installed")

TESTS = str(Path(__file__).parent.parent.parent)


def test_a_lost_node_costs_only_what_it_had_not_finished(tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", TESTS, prepend=os.pathsep)  # where workers find the stub
    # All on the loopback, as in the tests' rule of no network; by default it is the machine's own address.
    monkeypatch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)
    passages = numbered_passages(60)

    def encode(output: Path, **settings) -> dict[str, bytes]:
        model = StubEncoder(delay=0.2)
        encode_collection(model, iter(passages), output, data_fingerprint="d1", shard_size=5, **settings)
        return {path.name: path.read_bytes() for path in sorted(output.rglob("*.parquet"))}

    head = {"num_cpus": 1, "include_dashboard": False, "wait": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        second = cluster.add_node(wait=False, num_cpus=1)
        cluster.wait_for_nodes(timeout=180)
        with closing(open_executor("ray", cluster.address, cpus=1)) as executor:
            assert executor.workers == 2
            done: list[int] = []

            def lose(more: int) -> None:
                done.append(more)
                if len(done) == 3:
                    cluster.remove_node(second, allow_graceful=False)

            found = encode(tmp_path / "ray", executor=executor, progress=lose)
    finally:
        cluster.shutdown()
    assert sum(done) == 60
    assert found == encode(tmp_path / "local")
    assert len(found) == 12
