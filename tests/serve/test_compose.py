"""deploy/compose.yaml: closed containers, commands that are ours; and what the image installs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from ernie_search.cli import app

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "deploy" / "compose.yaml").read_text("utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"].startswith("ernie-search")}
CHECK = ROOT / "deploy" / "check_size.py"


def test_what_there_is():
    assert set(SERVICES) == {"index", "search", "qdrant", "collection", "index-qdrant", "search-qdrant"}
    assert [name for name, one in SERVICES.items() if not one.get("profiles")] == ["search"]
    in_qdrant = {name for name, one in SERVICES.items() if one.get("profiles") == ["qdrant"]}
    assert in_qdrant == {"qdrant", "collection", "index-qdrant", "search-qdrant"}
    for one in SERVICES.values():
        for volume in one["volumes"]:
            name = re.sub(r"\$\{[^}]*\}", "/", volume).split(":")[0]
            assert name.startswith("/") or name in COMPOSE["volumes"]
        for other in one.get("depends_on", ()):
            assert other in SERVICES
            assert set(one["profiles"]) & set(SERVICES[other]["profiles"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_closed(name: str):
    one = SERVICES[name]
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert any(place.startswith("/tmp") for place in one["tmpfs"])
    assert {"mem_limit", "cpus", "pids_limit"} <= set(one)
    assert ":" not in one["image"] or ":latest" not in one["image"]
    for port in one.get("ports", ()):
        assert port.startswith("127.0.0.1:")
    if name in OURS:
        assert one["user"] == "10001"
        assert (ROOT / "deploy" / one["build"]["context"] / one["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("name", [one for one in SERVICES if one.startswith("search")])
def test_a_service_needs_a_key_and_says_whether_it_is_well(name: str):
    one = SERVICES[name]
    assert one["environment"]["ERNIE_SEARCH_API_KEYS"].startswith("${ERNIE_SEARCH_API_KEYS:?")
    assert "/readyz" in one["healthcheck"]["test"][-1]
    compile(one["healthcheck"]["test"][-1], "healthcheck", "exec")
    assert all("/documents" not in volume for volume in one["volumes"])
    assert all(volume.endswith(":ro") for volume in one["volumes"] if volume.startswith("index:"))


@pytest.mark.parametrize("name", OURS)
def test_commands_are_ours(name: str):
    one = OURS[name]
    words = [*one.get("entrypoint", ["ernie-search", "serve"]), *one["command"]]
    assert words.pop(0) == "ernie-search"
    command = get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    context = command.make_context(name, words)  # refuses unknown options and wrong values
    paths = [word for word in map(str, context.params.values()) if word.startswith("/")]
    mounted = [volume.removesuffix(":ro").rpartition(":")[2] for volume in one["volumes"]]
    assert all(any(path == place or path.startswith(f"{place}/") for place in mounted) for path in paths)


def test_extras_are_those_of_the_package():
    import tomllib

    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    asked = re.findall(r"EXTRAS[=:] ?([\w,]+)", dockerfile + TEXT)
    assert asked
    assert {extra for one in asked for extra in one.split(",")} <= set(known)


@pytest.mark.slow
def test_the_image_is_under_600_megabytes():
    pytest.importorskip("pdfminer", reason="the extra 'files' is not installed")
    done = subprocess.run(
        [sys.executable, str(CHECK), "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ},
    )
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert 300 < found["megabytes"] < 600
    assert "torch" not in found["packages"]
    assert {"lancedb", "onnxruntime", "uvicorn"} <= set(found["packages"])
