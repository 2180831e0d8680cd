"""Schemathesis on the OpenAPI description of a running service, all checks: how many failures it finds.

The service is the command itself, writable and with a key, over a tiny store on disk with a tiny model.
Schemathesis makes requests that the description allows, that it nearly allows, and that it forbids, and
compares the answers with it. One setting is not its default: 400 is an answer to requests that the
description allows, as what an index can do (its fields, modes and dimensions) is not in it.

Bounded by the number of requests for each operation and by seconds.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figures import ROOT, Figure, arguments, emit
from benchmarks.isolated import isolated
from benchmarks.serving import KEY, Server, serving, tiny_store

CHECKS = ROOT / "tests" / "serve" / "schemathesis.toml"


def fuzz(server: Server, folder: Path, examples: int, seconds: int, seed: int) -> dict[str, Any]:
    """Run schemathesis; its report and its own words."""
    report = folder / "report.json"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--no-color"),
        *("--config-file", str(CHECKS)),
        *("run", f"{server.address}/openapi.json", "--header", f"Authorization: Bearer {KEY}"),
        *("--checks", "all", "--continue-on-failure", "--seed", str(seed)),
        *("--max-examples", str(examples), "--max-time", str(seconds)),
        *("--generation-database", "none", "--request-timeout", "30"),
        *("--report", "json", "--report-json-path", str(report)),
    ]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=2 * seconds + 120, check=False
    )
    if not report.is_file():
        raise SystemExit(f"schemathesis did not run: {done.stderr.strip()[-500:] or done.stdout[-500:]}")
    return {"words": done.stdout, "code": done.returncode, **json.loads(report.read_text(encoding="utf-8"))}


def rates(found: dict[str, Any]) -> tuple[int, int]:
    """Allowed requests that were answered, and those refused with 400: not possible with this index."""
    phases = [phase for operation in found["valid_rates"].values() for phase in operation.values()]
    return sum(one["accepted"] for one in phases), sum(one["rejected"] for one in phases)


def main() -> None:
    """Serve, fuzz, count; what was found goes to stderr."""
    args = arguments(__doc__ or "", examples=200, seconds=900, seed=1, passages=50)
    examples, seconds = (20, 120) if args.quick else (args.examples, args.seconds)
    with tempfile.TemporaryDirectory() as name:
        folder, log = Path(name), Path(name) / "log"
        index = isolated(tiny_store, name, args.passages)
        with serving(index, "--writable", keys=True, log=log) as server:
            found = fuzz(server, folder, examples, seconds, args.seed)
            ended = server.process.poll() is not None
        traces = log.read_text(encoding="utf-8").count('"trace"')
    cases = found["test_cases"]
    failures = max(cases["unique_failures"], len(found["failures"])) + len(found["errors"]) + traces + ended
    if failures or not found["complete"]:
        print(found["words"][-8000:], file=sys.stderr)
    accepted, refused = rates(found)
    settings = {
        "requests": cases["generated"],
        "operations": found["operations"]["tested"],
        "seconds": round(found["running_time"]),
        "stopped_by": found["stop_reason"],
        "traces": traces,
        "allowed_and_answered": accepted,
        "allowed_but_400": refused,
        "version": found["schemathesis_version"],
        "seed": args.seed,
    }
    emit([Figure("failures", failures, "failures", settings=settings)], args.json)


if __name__ == "__main__":
    main()
