"""Rounds of ``kill -9`` at random moments of writing to an index: ``make faults``; the tests run three.

In every round a writer process first checks that the index holds what the rounds before acknowledged (as a
reader, then again as the writer, after what the killed one left was removed), and then upserts, deletes,
optimizes and commits at random until it is killed. What it said that it had committed must be there in the
next round, whole, once, and with nothing else beside it, but for a commit that was under way: that one may be
there or not.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

State = dict[str, int]
"""Passage id -> number of the operation that wrote it last."""

POOL, DIM, LONGEST_S = 400, 8, 1.5
"""Ids to choose from; dimensions; seconds until a round's kill at most."""


def batch(ids: list[str], number: int):
    """Passages whose text and vector say which operation wrote them."""
    from ernie_search.index import make_batch

    dense = np.asarray([[number, *one_hot(one)] for one in ids], np.float32)
    return make_batch(
        model_name="faults",
        model_fingerprint="fa17",
        ids=ids,
        titles=[""] * len(ids),
        texts=[f"operation{number} passage {one}" for one in ids],
        fields=["{}"] * len(ids),
        dense=dense,
        tokens=[np.full((3, 4), number % 1000, np.float16)] * len(ids),
        token_ids=[np.zeros(3, np.int32)] * len(ids),
        token_dim=4,
    )


def one_hot(one: str) -> list[float]:
    return [float(int(one[1:]) % (DIM - 1) == place) for place in range(DIM - 1)]


def held(store) -> State:
    """What an index holds; every part of a passage must be of the same operation, and none twice."""
    found: State = {}
    for part in store.scan(["id", "text", "dense", "tokens"]):
        columns = [part.column(place).to_pylist() for place in range(4)]
        for one, text, dense, blob in zip(*columns, strict=True):
            number = int(dense[0])
            token = np.frombuffer(blob, np.float16)[0]
            whole = text == f"operation{number} passage {one}" and token == np.float16(number % 1000)
            if one in found or not whole:
                raise SystemExit(f"FAULT: passage {one} is there twice, or half: {text!r}, {number}, {token}")
            found[one] = number
    return found


def check(store, allowed: list[State], who: str) -> State:
    from ernie_search.index import verify

    found, problems = held(store), verify(store).problems
    if problems:
        raise SystemExit(f"FAULT: {who}: {problems[0]}")
    if found not in allowed:
        raise SystemExit(
            f"FAULT: {who}: {len(found)} passages, which no commit left; {len(allowed)} were possible"
        )
    if found:
        one = min(found)
        words = store.bm25([f"operation{found[one]}"], POOL)[0].ids
        if one not in words:
            raise SystemExit(f"FAULT: {who}: words do not find {one}")
    return found


def say(**what) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def write(folder: Path, seed: int) -> None:
    """The process that is killed. What it expects comes in on stdin, what it does goes out on stdout."""
    from ernie_search.index import make_spec, open_index

    allowed = json.loads(sys.stdin.readline())
    spec = make_spec(
        model_name="faults",
        model_fingerprint="fa17",
        dim=DIM,
        token_dim=4,
        tokens="fp16",
        exact_below=100,
        partitions=1,
    )
    if (folder / "index.json").exists():
        reader = open_index(folder)
        as_reader = check(reader, allowed, "reader")
        reader.close()
        allowed = [as_reader]
    store = open_index(folder, spec, "w")
    found = check(store, allowed, "writer")
    say(op="ready", state=found)
    chance = random.Random(seed)
    number = max(found.values(), default=0)
    while True:
        number += 1
        kind = chance.choices(["upsert", "delete", "commit", "optimize"], [5, 2, 3, 1])[0]
        ids = [f"p{place}" for place in sorted(chance.sample(range(POOL), chance.randint(1, 150)))]
        say(op=kind, ids=ids, number=number)
        if kind == "upsert":
            store.upsert(batch(ids, number))
        elif kind == "delete":
            store.delete(ids[:20])
        else:
            store.commit() if kind == "commit" else store.optimize()
            say(op="acknowledged")


def allowed_after(lines: list[str]) -> list[State]:
    """What may be there after a writer that said this: its last acknowledged commit, or one under way."""
    pending: State = {}
    committed: State = {}
    under_way: State | None = None
    for line in lines:
        try:
            said = json.loads(line)
        except json.JSONDecodeError:  # cut off by the kill
            break
        if said["op"] == "ready":
            pending, committed = dict(said["state"]), dict(said["state"])
        elif said["op"] == "upsert":
            pending |= dict.fromkeys(said["ids"], said["number"])
        elif said["op"] == "delete":
            pending = {one: value for one, value in pending.items() if one not in said["ids"][:20]}
        elif said["op"] == "acknowledged":
            committed, under_way = dict(pending), None
        else:
            under_way = dict(pending)
    return [committed] if under_way is None else [committed, under_way]


def kill_rounds(folder: Path, rounds: int, seed: int = 0, *, progress: bool = False) -> int:
    """Run them; the number of operations that were under way when a kill came.

    Raises:
        AssertionError: a commit was lost, half of one was there, or a file was damaged.
    """
    chance = random.Random(seed)
    allowed: list[State] = [{}]
    killed = 0
    for number in range(rounds + 1):  # the last writer only checks
        command = [sys.executable, __file__, "--write", str(folder), str(chance.randrange(10**9))]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as child:
            child.stdin.write(json.dumps(allowed) + "\n")
            child.stdin.flush()
            lines = [child.stdout.readline()]
            if '"ready"' in lines[0]:
                time.sleep(chance.random() * LONGEST_S if number < rounds else 0)
                child.send_signal(signal.SIGKILL)
                killed += 1
            lines += child.stdout.readlines()
            errors = child.stderr.read()
        assert child.returncode == -signal.SIGKILL, f"round {number}: {errors.strip()[-2000:]}"
        allowed = allowed_after(lines)
        if progress:
            sys.stdout.write(
                f"\rround {number} of {rounds}, {len(lines):3} lines, {len(allowed[0]):3} passages "
            )
            sys.stdout.flush()
    return killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", nargs=2)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    if options.write:
        write(Path(options.write[0]), int(options.write[1]))
        return
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "store"
        kill_rounds(folder, options.rounds, options.seed, progress=True)
    sys.stdout.write(f"\n{options.rounds} rounds: every acknowledged commit is there, verify is clean\n")


if __name__ == "__main__":
    main()
