"""Command line: `dynasor-graph` with its commands, each in a module of its name."""

from __future__ import annotations

import os
import sys

import typer

from dynasor_graph.cli.calibrate import calibrate
from dynasor_graph.cli.chat import chat
from dynasor_graph.cli.demo import demo
from dynasor_graph.cli.equivalence import equivalence
from dynasor_graph.cli.lists import algorithms, policies
from dynasor_graph.cli.replay import replay
from dynasor_graph.cli.report import report
from dynasor_graph.cli.run import run
from dynasor_graph.cli.serve import serve
from dynasor_graph.cli.solve import solve
from dynasor_graph.errors import DynasorError, EngineError

__all__ = ["app", "main"]

app = typer.Typer(
    name="dynasor-graph",
    help="LLM reasoning that stops when the answer has settled: self-consistency and chain of "
    "thought on your own vLLM, with every token on the ledger.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    solve,
    run,
    serve,
    chat,
    demo,
    replay,
    calibrate,
    equivalence,
    report,
    algorithms,
    policies,
):
    app.command()(command)


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        from dynasor_graph import __version__

        typer.echo(f"dynasor-graph {__version__}")
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. A user's mistake ends with one line and status 2, never a traceback.

    Status 1: some programs failed or some lines were no questions; 2: wrong input; 3: the engine
    failed; 130: interrupted.

    Args:
        arguments: Instead of the process's own.
    """
    os.environ.setdefault("LANGSMITH_TRACING", "false")
    try:
        app(arguments)
    except EngineError as error:
        _fail(error, 3)
    except DynasorError as error:
        _fail(error, 2)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        sys.exit(130)


def _fail(error: DynasorError, status: int) -> None:
    sys.stderr.write(f"error: {error}\n")
    sys.exit(status)
