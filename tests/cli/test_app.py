"""How commands end: exit codes, one line on stderr, help at once."""

import signal
import subprocess
import sys
import time

import pytest
import typer
from typer.testing import CliRunner

from ernie_search.cli import app as real_app
from ernie_search.cli.app import Commands
from ernie_search.errors import DataError

COMMANDS = [
    ["demo"],
    ["doctor"],
    ["train"],
    ["mine"],
    ["mine-preview"],
    ["teacher"],
    ["score"],
    ["score-tune"],
    ["score-import"],
    ["denoise"],
    ["judge"],
    ["questions"],
    ["adapt"],
    ["ablate"],
    ["index"],
    ["search"],
    ["evaluate"],
    ["tune"],
    ["compare"],
    ["report"],
    ["export"],
    ["card"],
    ["share"],
    ["index", "add"],
    ["index", "delete"],
    ["index", "stats"],
    ["index", "optimize"],
    ["index", "verify"],
    ["data", "stats"],
    ["serve"],
    ["mcp"],
    ["data", "validate"],
    ["data", "convert"],
]


@pytest.fixture
def small():
    """A program with one command for each way to end."""
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)

    @app.command()
    def good() -> None:
        typer.echo("done")

    @app.command()
    def bad() -> None:
        raise DataError("corpus.jsonl:3: [red]broken[/red] JSON; mend the line\nor not " + "long " * 60)

    @app.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    @app.command()
    def refused() -> None:
        open("/nowhere/at/all")  # noqa: SIM115

    @app.command()
    def bug() -> None:
        raise ZeroDivisionError

    @app.command()
    def leaves() -> None:
        raise typer.Exit(3)

    return lambda *arguments: CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_a_command_that_works_exits_with_0(small):
    result = small("good")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "done\n", "")


def test_an_expected_failure_is_one_plain_line_and_code_2(small):
    result = small("bad")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith(
        "error: corpus.jsonl:3: [red]broken[/red] JSON; mend the line or not long "
    )
    assert result.stderr.count("\n") == 1


def test_an_interruption_is_one_line_and_code_130(small):
    result = small("interrupted")
    assert (result.exit_code, result.stderr) == (130, "error: interrupted\n")


def test_a_file_that_the_system_refuses_is_one_line(small):
    result = small("refused")
    assert (result.exit_code, result.stderr) == (2, "error: /nowhere/at/all: No such file or directory\n")


def test_an_unexpected_failure_keeps_its_traceback(small):
    with pytest.raises(ZeroDivisionError):
        small("bug")


def test_a_command_may_choose_its_code(small):
    assert small("leaves").exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serch"], ["no command 'serch'", "did you mean 'search'?"]),
        (["zzzzzz"], ["no command 'zzzzzz'", "known: ", "evaluate"]),
        (["data", "valdate"], ["no command 'valdate'", "did you mean 'validate'?"]),
        (["index", "verfy", "runs/index"], ["no command 'verfy'", "did you mean 'verify'?"]),
        (["index", "ad", "runs/index", "more", "--model", "m"], ["no command 'ad'", "did you mean 'add'?"]),
        (["index", "delte", "i", "--where", "year < 2000"], ["no command 'delte'", "did you mean 'delete'?"]),
        (["index", "add", "more", "runs/index"], ["'--model'", "add --help"]),
        (["doctor", "--jsn"], ["--jsn", "--json", "ernie-search doctor --help"]),
        (["search"], ["question", "ernie-search search --help"]),
        (["search", "x", "--index", "i", "--mode", "lat"], ["--mode", "'late'", "'dense'"]),
        (
            ["index", "x", "--model", "m", "--output", "o", "--shard-size", "many"],
            ["--shard-size", "integer"],
        ),
    ],
)
def test_a_wrong_command_line_is_one_line_and_code_2(run_cli, arguments, words):
    result = run_cli(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert [word for word in words if word not in result.stderr] == []


def test_no_arguments_show_the_help(run_cli):
    result = run_cli()
    assert result.exit_code == 0
    assert "Usage" in result.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_help_shows_an_example(run_cli, command):
    result = run_cli(*command, "--help")
    assert result.exit_code == 0
    assert f"Example: ernie-search {' '.join(command)}" in result.stdout


def test_the_commands_listed_here_are_all_there_are():
    listed = {command[0] for command in COMMANDS}
    assert {"doctor", "index", "search", "evaluate", "data"} <= listed
    names = {one.name or one.callback.__name__ for one in real_app.registered_commands}
    assert names <= listed


def test_the_version_is_the_package_s(run_cli):
    from ernie_search import __version__

    assert run_cli("--version").stdout == f"ernie-search {__version__}\n"


def test_help_imports_neither_torch_nor_any_other_heavy_package():
    heavy = "('torch', 'transformers', 'sentence_transformers', 'scipy', 'pyarrow', 'datasets')"
    code = (
        "import sys; from typer.testing import CliRunner; from ernie_search.cli import app; "
        "result = CliRunner().invoke(app, ['--help']); assert result.exit_code == 0; "
        f"sys.exit(', '.join(name for name in {heavy} if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr.strip() == ""


def entry_point(*arguments: str) -> list[str]:
    """The installed command, without relying on where its script lies."""
    return [sys.executable, "-c", "from ernie_search.cli import main; main()", *arguments]


def test_the_installed_command_exits_with_2_and_one_line(tmp_path):
    done = subprocess.run(
        entry_point("data", "validate", str(tmp_path / "absent")),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {tmp_path / 'absent'}: ")
    assert done.stderr.count("\n") == 1


def test_ctrl_c_ends_a_real_process_with_130():
    """The command is interrupted while it waits for a collection that never opens."""
    code = (
        "import ernie_search.data, time, sys\n"
        "def wait(source):\n    sys.stdout.write('ready\\n'); sys.stdout.flush(); time.sleep(60)\n"
        "ernie_search.data.open_collection = wait\n"
        "from ernie_search.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "data", "validate", "x"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (130, "error: interrupted\n")
