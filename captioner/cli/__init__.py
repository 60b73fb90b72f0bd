"""The command line: parse, call, print. The only module that prints.

Exit codes: 0 done; 1 failed, something left out, or below a threshold; 2 bad usage or input; 130 stopped by Ctrl-C.
"""

import sys
from typing import Annotated

import typer
from rich.markup import escape

from captioner.cli import captions, engines, preparing, runs, schemas, shards, standing, unimed
from captioner.cli.console import err, out
from captioner.errors import CaptionerError

app = typer.Typer(
    help="From label tables to checked, multi-caption WebDataset shards, with any LLM.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(runs.app)
app.add_typer(standing.app)
app.add_typer(captions.app)
app.add_typer(schemas.prompt_app, name="prompt")
app.add_typer(schemas.schema_app, name="schema")
app.add_typer(engines.engine_app, name="engine")
app.add_typer(shards.shards_app, name="shards")
app.add_typer(preparing.app)
app.add_typer(unimed.app)


def version(show: bool) -> None:
    """Print the version and end."""
    if show:
        from importlib.metadata import version as installed

        out.print(f"captioner {installed('captioner')}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show where in the code an error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """See [bold]captioner COMMAND --help[/] for examples of each command."""


def main() -> None:
    """Run the command line: a message and an exit code for whatever a person can put right, and never a traceback."""
    debug = "--debug" in sys.argv[1:]
    try:
        app()
    except CaptionerError as e:
        if debug:
            raise
        err.print(f"[bold red]error:[/] {escape(str(e))}")
        sys.exit(e.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as e:
        if debug:
            raise
        place = e.filename or "output"
        err.print(f"[bold red]error:[/] {escape(f'{place}: {e.strerror or e}')}")
        sys.exit(2 if isinstance(e, FileExistsError | NotADirectoryError | IsADirectoryError) else 1)
    except Exception as e:
        if debug:
            raise
        err.print(f"[bold red]internal error:[/] {escape(type(e).__name__)}: {escape(str(e))}")
        err.print("This is a fault of captioner's. Please report it with what --debug prints (captioner --debug …).")
        sys.exit(1)
