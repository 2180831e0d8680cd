"""What Ray costs on one machine, and whether its shards are the local ones when a node is lost.

``over_local``: seconds to encode SQuAD's 20,958 passages with token matrices through a local Ray over seconds
without it, after both have encoded a few passages, so that starting, loading and sending the model are left
out. ``shards_differ_after_node_loss``: a cluster of two nodes, each a set of processes of its own on this
machine; one is killed when half of the passages are done. Counted are the shards of the folder, made to the
end, whose bytes are not those of the local ones.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.encoded import model_of
from benchmarks.figures import Figure, arguments, emit, squad_folder
from benchmarks.isolated import isolated

WARM = 64
"""Passages encoded before the clock starts."""


def passages(count: int) -> list[Any]:
    """The first ``count`` of SQuAD; 0 is all."""
    from ernie_search.data import open_collection

    everything = list(open_collection(str(squad_folder())).passages())
    return everything[:count] if count else everything


def encode(executor: Any, folder: str, count: int, shard_size: int, progress: Any = None) -> dict[str, float]:
    """Encode into ``folder``; seconds, without those of the first passages."""
    from ernie_search.encoding import encode_collection

    model, texts = model_of(""), passages(count)
    encode_collection(
        model,
        texts[:WARM],
        Path(folder) / "warm",
        data_fingerprint="warm",
        shard_size=WARM // 4,
        executor=executor,
    )
    started = time.perf_counter()
    encode_collection(
        model,
        texts,
        Path(folder) / "shards",
        data_fingerprint="all",
        shard_size=shard_size,
        executor=executor,
        progress=progress,
    )
    return {"seconds": time.perf_counter() - started, "passages": len(texts)}


def local(folder: str, count: int, shard_size: int) -> dict[str, float]:
    """In one process."""
    from ernie_search.encoding.executors import LocalExecutor

    return encode(LocalExecutor(), folder, count, shard_size)


def on_ray(folder: str, count: int, shard_size: int) -> dict[str, float]:
    """On a local Ray of this machine's cores."""
    from ernie_search.encoding.executors.ray import RayExecutor

    started = time.perf_counter()
    executor = RayExecutor()
    ready = time.perf_counter() - started
    try:
        return encode(executor, folder, count, shard_size) | {"start": ready, "workers": executor.workers}
    finally:
        executor.close()


def with_node_loss(folder: str, count: int, shard_size: int) -> dict[str, float]:
    """On two nodes, of which the second is killed half way."""
    import torch
    from ray.cluster_utils import Cluster

    from ernie_search.encoding.executors.ray import RayExecutor

    os.dup2(2, 1)  # what Ray says of the lost node is not among the figures
    threads = torch.get_num_threads()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": threads, "include_dashboard": False})
    second = cluster.add_node(num_cpus=threads)
    cluster.wait_for_nodes()
    executor = RayExecutor(cluster.address)
    half, done, lost = (count or len(passages(0))) / 2, 0, False

    def progress(more: int) -> None:
        nonlocal done, lost
        done += more
        if done >= half and not lost:
            lost = True
            cluster.remove_node(second, allow_graceful=False)

    try:
        before = executor.workers
        found = encode(executor, folder, count, shard_size, progress)
        # Ray may notice only after the last shard: its heartbeats are seconds apart.
        deadline = time.monotonic() + 60
        while executor.workers == before and time.monotonic() < deadline:
            time.sleep(0.5)
        return found | {"workers": before, "after": executor.workers}
    finally:
        executor.close()
        cluster.shutdown()


def differing(folder: Path, reference: Path) -> int:
    """Shards of either folder that the other does not have with the same bytes."""
    names = {one.name for place in (folder, reference) for one in (place / "shards").glob("*.parquet")}
    return sum(_bytes(folder / "shards" / name) != _bytes(reference / "shards" / name) for name in names)


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def main() -> None:
    """Rounds of local and Ray in turn, then the lost node."""
    args = arguments(__doc__ or "", rounds=1, passages=0, shard_size=1024, work="")
    count, shard_size = (400, 50) if args.quick else (args.passages, args.shard_size)
    with tempfile.TemporaryDirectory(dir=args.work or None) as work:
        plain, ray = [], []
        for number in range(args.rounds):
            folder = Path(work) / str(number)
            plain.append(isolated(local, str(folder / "local"), count, shard_size, timeout=20_000))
            ray.append(isolated(on_ray, str(folder / "ray"), count, shard_size, timeout=20_000))
        lost = isolated(with_node_loss, str(Path(work) / "lost"), count, shard_size, timeout=20_000)
        reference = Path(work) / "0" / "local"
        wrong = differing(Path(work) / "lost", reference)
        plainly = differing(Path(work) / "0" / "ray", reference)
        shards = len(list((reference / "shards").glob("*.parquet")))
    seconds, without = (min(one["seconds"] for one in found) for found in (ray, plain))
    settings = {
        "passages": int(plain[0]["passages"]),
        "shard_size": shard_size,
        "rounds": args.rounds,
        "workers": int(ray[0]["workers"]),
        "start_seconds": round(ray[0]["start"], 1),
    }
    survivors = settings | {"workers": f"{int(lost['workers'])} then {int(lost['after'])}", "shards": shards}
    emit(
        [
            Figure("over_local", seconds, "s", "without Ray", without, seconds / without, settings),
            Figure("shards_differ", plainly, "shards", "without Ray", 0, None, settings),
            Figure("shards_differ_after_node_loss", wrong, "shards", "without Ray", 0, None, survivors),
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
