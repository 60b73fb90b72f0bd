"""Commands on engines."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from captioner.cli.console import (
    JsonFlag,
    out,
    print_json,
    stoppable,
)

engine_app = typer.Typer(help="Try out engines.", no_args_is_help=True)


@engine_app.command("test")
def engine_test(
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="engine.key=value", help="As for run; may be repeated.")
    ] = None,
    schema: Annotated[str, typer.Option("--schema", help="Whose classes to ask for.")] = "chestxray14",
    requests: Annotated[int, typer.Option(min=1, max=1000, help="How many requests to send.")] = 16,
    as_json: JsonFlag = False,
) -> None:
    """Send a few requests and say what an endpoint can do, how fast it is, and what to change.

    Example: captioner engine test --set engine.model=MODEL --set engine.base_url=http://localhost:8000/v1
    """
    import asyncio

    from captioner import engines
    from captioner.engines import Sampling
    from captioner.pipeline import load_pipeline
    from captioner.prompts import load_prompt
    from captioner.schema import load_schema
    from captioner.trial import try_engine

    spec = load_pipeline({"schema": schema}, settings or ())
    loaded = load_schema(schema)
    sampling = Sampling(spec.sampling.temperature, spec.sampling.top_p, spec.sampling.max_tokens)
    engine = engines.make(spec.engine, loaded)
    with stoppable():
        trial = asyncio.run(try_engine(engine, loaded, load_prompt(spec.prompt), requests=requests, sampling=sampling))
    if as_json:
        print_json(asdict(trial))
    else:
        rate = trial.answered / trial.seconds if trial.seconds else 0
        tokens = trial.completion_tokens / trial.seconds if trial.seconds else 0
        out.print(f"[bold]{escape(trial.model)}[/]")
        out.print(
            f"  answered    {trial.answered} of {trial.requests} requests; {trial.readable} in the form asked for"
        )
        out.print(f"  captions    {trial.captions}, of which {trial.agreeing} agree with their labels")
        out.print(f"  latency     {trial.median_seconds:.2f} s median, {trial.slowest_seconds:.2f} s slowest")
        out.print(f"  throughput  {rate:.1f} requests/s, {tokens:,.0f} tokens/s")
        out.print(f"  tokens      {trial.prompt_tokens:,} in, {trial.completion_tokens:,} out")
        for problem, number in trial.problems.items():
            out.print(f"  problem     {number} x {problem}", markup=False)
        for note in trial.notes:
            out.print(f"  note        {note}", markup=False)
        for line in trial.advice:
            out.print(f"  [yellow]advice[/]      {escape(line)}")
    if trial.answered < trial.requests or trial.readable == 0:
        raise typer.Exit(1)
