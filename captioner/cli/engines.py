"""Commands on engines."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from captioner.cli.console import (
    JsonFlag,
    grid,
    out,
    print_json,
    stoppable,
)

if TYPE_CHECKING:
    from captioner.trial import Trial

engine_app = typer.Typer(help="Try out engines.", no_args_is_help=True)


@engine_app.command("test")
def engine_test(
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="engine.key=value", help="As for run; may be repeated.")
    ] = None,
    schema: Annotated[str, typer.Option("--schema", help="Whose classes to ask for.")] = "chestxray14",
    requests: Annotated[int, typer.Option(min=1, max=100_000, help="How many requests to send.")] = 16,
    as_json: JsonFlag = False,
) -> None:
    r"""Send a few requests and say what an endpoint can do, how fast it is, and what to change.

    Example: captioner engine test --set engine.model=MODEL --set engine.base_url=http://localhost:8000/v1

    Several: captioner engine test --set engine.model=MODEL --set engine.base_url='\[http://a:8000/v1, http://b:8000/v1]'
    """
    import asyncio

    from captioner import engines
    from captioner.engines import Sampling
    from captioner.pipeline import load_pipeline
    from captioner.prompts import load_prompt
    from captioner.schema import load_schema
    from captioner.trial import try_servers

    spec = load_pipeline({"schema": schema}, settings or ())
    loaded = load_schema(schema)
    sampling = Sampling(spec.sampling.first_temperature, spec.sampling.top_p, spec.sampling.max_tokens)
    engine = engines.make(spec.engine, loaded)
    with stoppable(goes_on=False):
        trials = asyncio.run(
            try_servers(engine, loaded, load_prompt(spec.prompt), requests=requests, sampling=sampling)
        )
    if as_json:
        print_json(asdict(trials[0]) if len(trials) == 1 else {"endpoints": [asdict(t) for t in trials]})
    elif len(trials) == 1:
        _print_one(trials[0])
    else:
        _print_several(trials)
    if not all(t.usable for t in trials):
        raise typer.Exit(1)


def _print_one(trial: "Trial") -> None:
    rate = trial.answered / trial.seconds if trial.seconds else 0
    tokens = trial.completion_tokens / trial.seconds if trial.seconds else 0
    out.print(f"[bold]{escape(trial.model)}[/]" + (f" at {escape(trial.address)}" if trial.address else ""))
    out.print(f"  answered    {trial.answered} of {trial.requests} requests; {trial.readable} in the form asked for")
    out.print(f"  captions    {trial.captions}, of which {trial.agreeing} agree with their labels")
    out.print(f"  latency     {trial.median_seconds:.2f} s median, {trial.slowest_seconds:.2f} s slowest")
    out.print(f"  throughput  {rate:.1f} requests/s, {tokens:,.0f} tokens/s" + _at_once(trial))
    out.print(f"  tokens      {trial.prompt_tokens:,} in, {trial.completion_tokens:,} out")
    if trial.structure is not None:
        out.print(f"  can         {_can(trial)}")
    for problem, number in (trial.problems or {}).items():
        out.print(f"  problem     {number} x {problem}", markup=False)
    for note in trial.notes:
        out.print(f"  note        {note}", markup=False)
    for line in trial.advice:
        out.print(f"  [yellow]advice[/]      {escape(line)}")


def _print_several(trials: Sequence["Trial"]) -> None:
    table = grid(
        "endpoint", "answered", "readable", "agree", "median", "slowest", "requests/s", "can", left={"endpoint", "can"}
    )
    for trial in trials:
        if trial.error is not None:
            table.add_row(escape(trial.address or ""), *["-"] * 6, "cannot be used")
            continue
        rate = trial.answered / trial.seconds if trial.seconds else 0
        table.add_row(
            escape(trial.address or ""),
            f"{trial.answered}/{trial.requests}",
            str(trial.readable),
            f"{trial.agreeing}/{trial.captions}",
            f"{trial.median_seconds:.2f} s",
            f"{trial.slowest_seconds:.2f} s",
            f"{rate:.1f}",
            escape(_can(trial)),
        )
    out.print(table)
    for trial in trials:
        lines = [trial.error] if trial.error else []
        lines += [f"{number} x {problem}" for problem, number in (trial.problems or {}).items()]
        for line in (*lines, *trial.notes, *(f"advice: {line}" for line in trial.advice)):
            out.print(f"{trial.address}: {line}", markup=False)


def _at_once(trial: "Trial") -> str:
    return "" if trial.at_once is None else f", up to {trial.at_once} at once"


def _can(trial: "Trial") -> str:
    """Return what an endpoint can do, in a line."""
    structure = {
        "strict": "JSON Schema (strict)",
        "json_schema": "JSON Schema",
        "json_object": "JSON asked for without a schema (unproven)",
        "none": "JSON asked for in words alone",
    }
    if trial.structure in {"strict", "json_schema"} and not trial.enforced:
        proven = "not enforced" if trial.enforced is False else "not known to be enforced"
        structure[trial.structure] = f"JSON Schema accepted, {proven}"
    said = [structure.get(trial.structure or "", "")]
    if trial.draws_several is not None:
        said.append("several answers at once" if trial.draws_several else "one answer at a time")
    if trial.repeats is not None:
        said.append("repeats with a seed" if trial.repeats else "does not repeat with a seed")
    said += ["vLLM's structured_outputs"] * bool(trial.structured_outputs) + ["logprobs"] * bool(trial.logprobs)
    if trial.thinks:
        said.append("thinks before it answers")
    said.append("counts tokens" if trial.counts_tokens else "counts no tokens")
    return ", ".join(s for s in said if s)
