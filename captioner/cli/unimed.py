"""The command that builds UniMed's outputs."""

from collections.abc import Container, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from captioner.cli.console import JsonFlag, count, err, few, grid, out, print_json, reporter, stoppable
from captioner.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from captioner.unimed import Built, State

app = typer.Typer()

_NOTES = {
    "short": "fewer than ten captions; the training loader draws an empty one now and then",
    "filled": "empty captions in the list; others of the list stand in their place",
    "unfiltered": "only categories that UniMed filters out; the first was taken, where UniMed draws one",
}


@app.command()
def unimed(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="The folder that UniMed's documentation calls $DATA.")],
    out_dir: Annotated[Path | None, typer.Option("--out", help="Where the outputs go, a folder for each.")] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="Build this output; may be repeated.")
    ] = None,
    captions: Annotated[
        list[str] | None,
        typer.Option(
            "--captions",
            metavar="NAME=FOLDER",
            help="Build it from a run of captioner: an output folder, or OUT/runs/RUN. May be repeated.",
        ),
    ] = None,
    exclude: Annotated[
        list[Path] | None,
        typer.Option("--exclude", help="Leave out the images of this list (CSV, or a name a line); may be repeated."),
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="Samples in a tar.")] = 1000,
    listing: Annotated[bool, typer.Option("--list", help="Say what can be built; build nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Build UniMed's training tars from its annotation files, or from captions of your own.

    Everything is built that DATA has the files for; what is finished already is left as it is.

    Example: captioner unimed ~/DATA --list

    Build: captioner unimed ~/DATA --out unimed

    Without an evaluation set: captioner unimed ~/DATA --out unimed --exclude local_data/chexpert-5x200.csv

    Own captions: captioner unimed ~/DATA --out unimed --only chestxray8 --captions chestxray8=out/chestxray14
    """
    from captioner.unimed import OUTPUTS, Excluding, Source, build, from_files, from_runs, look

    if not data.is_dir():
        raise UsageError(
            f"{data}: no such folder. Give the folder that holds CheXpert-v1.0-small, openi and the others."
        )
    runs = _runs(captions or [], OUTPUTS)
    for name in only or []:
        _known(name, OUTPUTS, "--only")
    states = [look(data, output) for output in OUTPUTS.values()]
    if listing:
        _print_states(states, runs, as_json=as_json)
        return
    if out_dir is None:
        raise UsageError("where should the outputs go? Give --out FOLDER, or --list to see what can be built.")
    if outside := [name for name in runs if only and name not in only]:
        raise UsageError(f"--captions: {outside[0]} is not among the outputs that --only names.")
    chosen = [
        s.output for s in states if s.output.name in (only or []) or (not only and (s.ready or s.output.name in runs))
    ]
    if not chosen:
        raise UsageError(f"{data}: nothing can be built from it. See what is missing: captioner unimed {data} --list")
    sources: dict[str, Source] = {
        o.name: from_runs(o, runs[o.name]) if o.name in runs else from_files(data, o) for o in chosen
    }
    if exclude:
        sources = {name: Excluding(source, exclude) for name, source in sources.items()}
    done: list[tuple[str, Built]] = []
    wrong: dict[str, str] = {}
    with stoppable(), reporter() as report:
        for output in chosen:
            report.start(f"building {output.name}", None)
            try:
                built = build(output, sources[output.name], out_dir, per_shard=size, progress=report.advance)
            except UsageError as e:
                if len(chosen) == 1:
                    raise
                wrong[output.name] = str(e)
            else:
                done.append((output.name, built))
    skipped = [] if only else [s for s in states if s.output not in chosen]
    _print_built(done, skipped, wrong, data, runs, as_json=as_json)
    if wrong:
        raise typer.Exit(2)
    if skipped or not all(built.complete for _, built in done):
        raise typer.Exit(1)


def _known(name: str, known: Any, option: str) -> None:
    if name not in known:
        raise UsageError(f"{option}: no output {name!r}. There are: {', '.join(known)}.{did_you_mean(name, known)}")


def _runs(given: Sequence[str], known: Any) -> dict[str, list[Path]]:
    runs: dict[str, list[Path]] = {}
    for each in given:
        name, sign, folder = each.partition("=")
        if not sign or not folder:
            raise UsageError(f"--captions: {each!r} is not NAME=FOLDER, such as chestxray8=out/chestxray14.")
        _known(name, known, "--captions")
        runs.setdefault(name, []).append(Path(folder))
    return runs


def _print_states(states: "Sequence[State]", runs: dict[str, list[Path]], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "name": s.output.name,
                    "folder": s.output.folder,
                    "ready": s.ready or s.output.name in runs,
                    "annotations": [file.name for file in s.files],
                    "images": str(s.images) if s.images else None,
                    "captions": [str(run) for run in runs.get(s.output.name, [])],
                    "missing": list(s.missing),
                }
                for s in states
            ]
        )
        return
    for s in states:
        own = runs.get(s.output.name)
        what = ", ".join(map(str, own)) if own else "; ".join(s.missing) or few(file.name for file in s.files)
        out.print(f"{s.output.name:20} {'yes' if s.ready or own else 'no':4} {what}", markup=False)
    out.print("Any output can also be built from captions of your own: --captions NAME=OUT")


def _print_built(
    done: "Sequence[tuple[str, Built]]",
    skipped: "Sequence[State]",
    wrong: dict[str, str],
    data: Path,
    runs: Container[str],
    *,
    as_json: bool,
) -> None:
    from captioner.unimed import OUTPUTS

    if as_json:
        outputs = [{"name": name} | asdict(built) | {"folder": str(built.folder)} for name, built in done]
        missing = {s.output.name: list(s.missing) for s in skipped}
        print_json({"outputs": outputs, "not_built": missing | {name: [why] for name, why in wrong.items()}})
        return
    table = grid("output", "samples", "left out", "tars", "written now", left={"output"})
    for name, built in done:
        left_out = sum(built.rejected.values())
        table.add_row(name, f"{built.samples:,}", f"{left_out:,}", f"{built.shards:,}", f"{built.written:,}")
    out.print(table)
    for name, built in done:
        for note, number in built.notes.items():
            out.print(f"{name}: {count(number, 'sample')}: {_NOTES[note]}")
        if name not in runs and (tars := -(-built.samples // 1000)) != (its := OUTPUTS[name].tars):
            out.print(f"{name}: UniMed's own fills {count(its, 'tar')} of 1,000 samples, this one {tars:,}")
        if built.rejected:
            codes = ", ".join(f"{code} {number:,}" for code, number in built.rejected.items())
            out.print(f"{name}: left out: {codes}; see {built.folder}/rejected_rows.csv", markup=False)
            if built.shards and not built.complete:
                out.print("  to build it again with what was missing, delete its folder", markup=False)
    if any(built.shards for _, built in done):
        out.print("for --train-data:")
    for _, built in done:
        if built.shards:
            out.print(f"  {built.folder}/dataset-{{000001..{built.shards:06d}}}.tar", markup=False)
    out.print(f"{sum(built.samples for _, built in done):,} samples in all, for --train-num-samples")
    for name, why in wrong.items():
        err.print(f"[bold red]error:[/] {escape(f'{name}: {why}')}")
    if skipped:
        names = ", ".join(s.output.name for s in skipped)
        err.print(f"not built: {names}. See what is missing: captioner unimed {data} --list", markup=False)
