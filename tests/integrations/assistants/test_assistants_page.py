"""The page's configuration is valid JSON and TOML and names what exists; the skill's commands run."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from ernie_search.cli import app, syncing
from ernie_search.cli import index as index_module

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "howto" / "assistants.md").read_text("utf-8")
SKILL = (ROOT / "skills" / "ernie-search" / "SKILL.md").read_text("utf-8")
BLOCKS = re.findall(r"```(json|toml)\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    line for block in re.findall(r"```bash\n(.*?)```", SKILL, re.DOTALL) for line in block.splitlines()
]


@pytest.mark.parametrize(("kind", "text"), BLOCKS, ids=range(len(BLOCKS)))
def test_a_configuration_starts_our_command(kind, text):
    value = json.loads(text) if kind == "json" else tomllib.loads(text)
    (servers,) = value.values()
    server = servers["docs"]
    if "url" in server:
        assert server["url"].endswith("/mcp")
        return
    assert server["command"].rpartition("/")[2] == "ernie-search"
    name, *rest = server["args"]
    command = get_command(app).commands[name]
    assert command.make_context(name, list(rest)).params["indexes"] == rest


def test_all_options_are_on_the_page():
    options = {
        opt for param in get_command(app).commands["mcp"].params for opt in param.opts if opt[:2] == "--"
    }
    assert {one for one in options - {"--help"} if f"`{one}" not in PAGE} == set()


def test_the_page_s_assistants_are_there():
    for name in (
        "Claude Code",
        "Claude Desktop",
        "Cursor",
        "VS Code",
        "Codex",
        "Gemini CLI",
        "Windsurf",
        "Zed",
    ):
        assert f"**{name}**" in PAGE
    assert len(BLOCKS) == 9


def test_the_skill_has_its_front_matter():
    _, front, body = SKILL.split("---\n", 2)
    about = yaml.safe_load(front)
    assert about["name"] == "ernie-search"
    assert 50 < len(about["description"]) < 1024
    assert body.strip().startswith("# ")


def test_the_skill_s_commands_run(tmp_path, tiny_model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "logs.md").write_text("# Logs\n\nHow do I rotate the logs: rotation, with care.\n")
    for module in (index_module, syncing):
        monkeypatch.setattr(module, "default_model", lambda: str(tiny_model))
    runner = CliRunner()
    assert len(COMMANDS) == 8
    for line in sorted(COMMANDS, key=lambda one: not one.startswith("ernie-search index")):
        words = shlex.split(line)
        assert words.pop(0) == "ernie-search"
        done = runner.invoke(app, words)
        assert done.exit_code == 0, f"{line}: {done.output}"
        if words[0] == "search":
            hits = json.loads(done.stdout)
            if "refused" not in line:
                assert hits[0]["fields"]["path"] == "logs.md"
                assert {"text", "title", "score", "passage"} <= set(hits[0])
        elif "--json" in words:
            assert json.loads(done.stdout)
