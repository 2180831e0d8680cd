"""On Ray: the same bytes as on this machine, resumed, whatever happens to the workers."""

import os
import sys
from pathlib import Path

import pytest

from ernie_search.encoding import encode_collection, read_manifest
from ernie_search.encoding.executors import LocalExecutor, open_executor
from ernie_search.errors import ErnieSearchError, ExecutorError, ModelError, SettingsError
from ernie_search.teacher import ListScoreSettings, score_lists
from ernie_search.types import Passage
from lossy_encoder import CountingEncoder, CrashingEncoder, LossyEncoder, RefusingEncoder, double
from stub_encoder import StubEncoder, numbered_passages

TESTS = str(Path(__file__).parent.parent.parent)
PASSAGES = numbered_passages(50)


@pytest.fixture(scope="module")
def cluster():
    """A local Ray of two logical cores and a GPU that is not there, shared by the tests of this file."""
    ray = pytest.importorskip("ray", reason="the extra 'ray' is not installed")
    from ernie_search.encoding.executors import ray as ray_executor

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", TESTS, prepend=os.pathsep)  # where workers find the stub
        ray_executor._connect(None, num_cpus=2, num_gpus=1)
    yield ray
    ray.shutdown()


@pytest.fixture
def executor(cluster):
    """Workers of one core each."""
    one = open_executor("ray", cpus=1)
    yield one
    one.close()
    assert cluster.is_initialized()  # a connection that was there before is not ended


def encode(output: Path, model=None, **settings):
    return encode_collection(
        model or StubEncoder(), iter(PASSAGES), output, data_fingerprint="d1", shard_size=8, **settings
    )


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def test_the_same_shards_as_local_ones(tmp_path, executor):
    encode(tmp_path / "local")
    seen: list[int] = []
    result = encode(tmp_path / "ray", executor=executor, progress=seen.append)
    assert executor.workers == 2
    assert files(tmp_path / "ray") == files(tmp_path / "local")
    assert read_manifest(tmp_path / "ray").shards == read_manifest(tmp_path / "local").shards
    assert result.encoded == sum(seen) == 50


def test_what_is_there_is_not_encoded_again(tmp_path, executor):
    encode(tmp_path / "out")
    before = files(tmp_path / "out")
    (tmp_path / "out" / "shard-00001.parquet").unlink()
    (tmp_path / "out" / "shard-00004.parquet").write_bytes(b"damaged")
    (tmp_path / "calls").mkdir()
    result = encode(tmp_path / "out", CountingEncoder(tmp_path / "calls"), executor=executor)
    assert result.encoded == 16
    assert len(list((tmp_path / "calls").iterdir())) == 2
    assert files(tmp_path / "out") == before


def test_an_interrupted_encoding_resumes_on_either_executor(tmp_path, executor):
    encode(tmp_path / "whole")

    def stop(done: int) -> None:
        if done and len(read_manifest(tmp_path / "out").shards) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(tmp_path / "out", executor=executor, progress=stop)
    assert read_manifest(tmp_path / "out").passages == 24
    assert encode(tmp_path / "out").encoded == 26
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_killed_worker_costs_only_what_it_had_not_finished(tmp_path, executor):
    encode(tmp_path / "whole")
    model = LossyEncoder(PASSAGES[20].full_text, tmp_path / "died")
    encode(tmp_path / "out", model, executor=executor)
    assert (tmp_path / "died").exists()
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_jobs_are_drawn_only_as_there_is_room(executor):
    from ernie_search.encoding.executors.ray import AHEAD

    drawn = finished = most = 0

    def jobs():
        nonlocal drawn, most
        for number in range(20):
            drawn += 1
            most = max(most, drawn - finished)
            yield number, number, 1

    for key, result in executor.run(StubEncoder(), double, jobs()):
        assert result == 2 * key
        finished += 1
    assert finished == 20
    assert most <= executor.workers + AHEAD + 1  # the one that is drawn while a finished one is handed out


def test_what_a_worker_raises_is_one_line_here(tmp_path, executor):
    with pytest.raises(ModelError, match=r"^stub: broken on purpose$"):
        encode(tmp_path / "out", RefusingEncoder(), executor=executor)
    with pytest.raises(
        ExecutorError, match=r"shard-00000.*failed on a Ray worker \(ValueError: unforeseen\)"
    ):
        encode(tmp_path / "out", CrashingEncoder(), executor=executor)
    assert not (tmp_path / "out").exists()


def test_another_version_on_a_worker_is_refused(tmp_path, executor, monkeypatch):
    from ernie_search.encoding.executors import ray as ray_executor

    real = ray_executor.version
    monkeypatch.setattr(ray_executor, "version", lambda name: "0.0" if name == "torch" else real(name))
    with pytest.raises(ExecutorError, match=r"has torch .*, not 0\.0; install the same everywhere"):
        encode(tmp_path / "out", StubEncoder("other"), executor=executor)


def test_a_real_model_and_a_real_teacher(tmp_path, cluster):
    from ernie_search.model import ScoreSettings, from_base
    from ernie_search.model.cross_encoder import new_cross_encoder
    from tiny_model import TEXTS, sentence_base
    from tiny_teacher import collection, lists

    base = str(sentence_base(tmp_path / "base", layers=2))
    settings = ScoreSettings(token_dim=16, query_length=16, passage_length=48)
    model = from_base(base, settings=settings, device="cpu")
    passages = [Passage(f"p{number}", text) for number, text in enumerate(TEXTS)]
    new_cross_encoder(base, max_length=60, seed=1, device="cpu").save(str(tmp_path / "teacher"))
    mined = lists(tmp_path / "lists")
    executor = open_executor("ray", cpus=2)  # one worker, so that the libraries are loaded once
    found = []
    for name, where in (("local", LocalExecutor()), ("ray", executor)):
        encode_collection(
            model, passages, tmp_path / name, data_fingerprint="d", shard_size=4, executor=where
        )
        how = ListScoreSettings(shard_size=5, precision="fp32")
        scored = score_lists(
            str(tmp_path / "teacher"), collection(), mined, tmp_path / f"{name}-scored", how, executor=where
        )
        found.append([files(tmp_path / name), files(tmp_path / f"{name}-scored"), list(scored)])
    (shards, made, lists_here), (shards_there, made_there, lists_there) = found
    assert shards == shards_there
    assert len(shards) == 2
    assert made.keys() == made_there.keys()
    assert len(made) > 5
    # Unlike the fp16 vectors, logits in fp32 show how many threads a worker has, on some processors.
    for here, there in zip(lists_here, lists_there, strict=True):
        assert (here.query, here.positives, here.negatives) == (
            there.query,
            there.positives,
            there.negatives,
        )
        assert here.positive_scores == pytest.approx(there.positive_scores, rel=1e-4, abs=1e-6)
        assert here.negative_scores == pytest.approx(there.negative_scores, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rya", None), "executor 'rya'.*did you mean 'ray'"),
        (("local", "host:1"), "executor 'local' takes no address; add: --executor ray"),
        (("local", None, None, 1), "executor 'local' takes no GPUs of a worker; add: --executor ray"),
    ],
)
def test_impossible_executors(arguments, message):
    with pytest.raises(SettingsError, match=message):
        open_executor(*arguments)


def test_ray_is_missing(monkeypatch):
    monkeypatch.delitem(sys.modules, "ernie_search.encoding.executors.ray", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ErnieSearchError, match=r"pip install 'ernie-search\[ray\]'"):
        open_executor("ray")


def test_more_cores_than_any_node_has(cluster):
    with pytest.raises(ExecutorError, match="largest node has 2 cores, a worker was to have 3"):
        open_executor("ray", cpus=3)
    with pytest.raises(SettingsError, match="cores of a worker: 0"):
        open_executor("ray", cpus=0)


def test_workers_with_gpus_are_counted_by_them(tmp_path, cluster):
    assert open_executor("ray", cpus=1, gpus=1).workers == 1
    assert open_executor("ray", cpus=1, gpus=0.5).workers == 2
    assert open_executor("ray", cpus=2, gpus=0.5).workers == 1
    with pytest.raises(ExecutorError, match="no node has more than 1 GPUs, a worker was to have 2"):
        open_executor("ray", cpus=1, gpus=2)
    for impossible in (-1, 1.5):
        with pytest.raises(SettingsError, match="give 1 or more whole ones, or a part of one"):
            open_executor("ray", cpus=1, gpus=impossible)


def test_a_gpu_that_torch_cannot_use_is_refused_by_the_worker(tmp_path, cluster):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("torch can use this machine's GPU")
    with pytest.raises(ExecutorError, match="was given a GPU, but torch cannot use it; install torch for"):
        encode(tmp_path / "out", executor=open_executor("ray", cpus=1, gpus=1))
    assert not (tmp_path / "out").exists()


def test_a_model_goes_to_the_worker_s_gpu_and_another_build_of_torch_will_do(cluster, monkeypatch):
    import torch

    from ernie_search.encoding.executors import ray as ray_executor
    from ernie_search.teacher import Teachers

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    moved = []
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, device: moved.append(device) or self)
    model = torch.nn.Linear(2, 2)
    assert ray_executor._on_gpu(model) is model
    teachers = Teachers("ready", ["somewhere"])
    teachers.all = [model]
    assert ray_executor._on_gpu(teachers) is teachers
    assert moved == ["cuda", "cuda"]
    monkeypatch.setattr(ray_executor, "version", lambda name: "2.13.0+cpu")
    ray_executor._check_versions({"torch": "2.13.0"}, builds=False)
    for expected, builds in (("2.13.0", True), ("2.12.0", False)):
        with pytest.raises(ExecutorError, match=r"has torch 2\.13\.0\+cpu, not"):
            ray_executor._check_versions({"torch": expected}, builds=builds)
