"""The command line: one small file per command; parse, call, print."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
from pathlib import Path

import click

from e2e_matrix import __version__, diagnostic
from e2e_matrix.errors import EXIT_BAD_INPUT, EXIT_INFRASTRUCTURE, EXIT_INTERRUPTED, E2EMatrixError
from e2e_matrix.workflow_log import without_commands

# Name -> the module whose `command` it is. Imported when asked for: `plan` need not load Docker's SDK.
COMMANDS = {
    "run": "run",
    "plan": "plan",
    "demo": "demo",
    "render": "render",
    "compare": "compare",
    "history": "history",
    "publish": "publish",
    "doctor": "doctor",
    "clean": "clean",
    "images": "images",
    "setup": "setup",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"e2e_matrix.cli.{COMMANDS[cmd_name]}")
        command: click.Command = module.command
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="e2e-matrix")
def program() -> None:
    """Run the OpenHands agent-server images end to end, every variant on every platform.

    Exit codes: 0 passed, 1 the product failed, 2 bad input, 3 infrastructure, 130 interrupted.
    """


def main() -> None:
    """The entry point. Ends with the exit code."""
    with without_commands(os.environ):
        _run()


def _run() -> None:
    """What we raise on purpose is shown as a message, never as a traceback."""
    try:
        status = program.main(standalone_mode=False, auto_envvar_prefix="E2E_MATRIX")
    except SystemExit as ended:
        # click's answer to a closed pipe is 1, which here means that the product failed.
        broken_pipe = isinstance(ended.__context__, BrokenPipeError)
        sys.exit(EXIT_INFRASTRUCTURE if broken_pipe else ended.code)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_BAD_INPUT)
    except (click.Abort, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # another would only spoil the interpreter's own end
        click.echo("interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except E2EMatrixError as error:
        click.echo(f"e2e-matrix: {error}", err=True)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the last resort: a person gets a message, the file the traceback
        path = Path(tempfile.mkdtemp(prefix="e2e-matrix-")) / "diagnostic.txt"
        diagnostic.write(path, error, f"command: {sys.argv[1:2]}")
        click.echo(f"e2e-matrix: unexpected {type(error).__name__}: {error}", err=True)
        click.echo(f"    This is a fault of e2e-matrix. Please report it with {path}.", err=True)
        sys.exit(EXIT_INFRASTRUCTURE)
    sys.exit(status if isinstance(status, int) else 0)
