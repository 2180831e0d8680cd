"""Comparisons in bf16 are left out, with a word in the JSON, where it does not pay; else they are there."""

import json

import numpy as np
import pytest
from benchmarks.figures import BF16_LEFT_OUT

from benchmarks import encode, score


def stand_in(calls: list[tuple], pays: bool):
    """``isolated`` with results of a shape that the figures can be made of."""
    precision = "bf16" if pays else "fp32"
    run = {"rate": 2.0, "seconds": 1.0, "flops": 1.0, "dense": np.eye(3), "precision": precision}
    answers = {
        "bf16_pays": pays,
        "peak": 1e9,
        "make": precision,
        "pairs": [("a", "b")] * 4,
        "ours": run | {"logits": np.arange(4.0)},
        "theirs": run | {"logits": np.arange(4.0)},
    }

    def isolated(work, *given):
        calls.append((work.__name__, *(one for one in given if isinstance(one, str | bool))))
        return answers[work.__name__]

    return isolated


@pytest.mark.parametrize("module", [encode, score])
@pytest.mark.parametrize("pays", [True, False])
def test_bf16_runs_only_where_it_pays(module, pays, monkeypatch, capsys):
    calls: list[tuple] = []
    monkeypatch.setattr(module, "isolated", stand_in(calls, pays))
    monkeypatch.setattr("sys.argv", ["benchmark", "--quick", "--json"])
    module.main()
    figures = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    in_bf16 = [one for one in calls if one[0] == "peak" and "bf16" in one]
    in_bf16 += [one for one in calls if one[0] == "theirs" and ("bf16" in one or True in one)]
    assert bool(in_bf16) == pays
    assert any("bf16" in one["figure"] for one in figures) == pays
    words = {one["settings"].get("bf16") for one in figures if one["settings"]}
    assert words == ({None} if pays else {BF16_LEFT_OUT})
