"""The command line: parse, call, print. The only module that prints.

Exit codes: 0 done; 1 failed, something left out, or below a threshold; 2 bad usage or input; 130 stopped by Ctrl-C.
"""

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from captioner.errors import CaptionerError, UsageError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

app = typer.Typer(
    help="From label tables to checked, multi-caption WebDataset shards, with any LLM.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
prompt_app = typer.Typer(help="Look at prompts.", no_args_is_help=True)
schema_app = typer.Typer(
    help="The catalogue of label schemas: list, show, check, start a new one.", no_args_is_help=True
)
engine_app = typer.Typer(help="Try out engines.", no_args_is_help=True)
shards_app = typer.Typer(help="Image shards, caption shards, and whether they are whole.", no_args_is_help=True)
app.add_typer(prompt_app, name="prompt")
app.add_typer(schema_app, name="schema")
app.add_typer(engine_app, name="engine")
app.add_typer(shards_app, name="shards")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="a.b=c", help="Change a setting of the pipeline; may be repeated.")
]
DataOption = Annotated[Path | None, typer.Option("--data", help="The dataset's folder (data.root).")]
OutOption = Annotated[Path | None, typer.Option("--out", help="The output folder.")]


def version(show: bool) -> None:
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


@app.command()
def demo(out_dir: Annotated[Path, typer.Option("--out", help="Where to put everything.")] = Path("demo")) -> None:
    """Do the whole job offline, in under a minute, on a small dataset that it makes itself.

    Example: captioner demo --out /tmp/demo
    """
    from captioner import run as running
    from captioner.demo import make_dataset
    from captioner.pipeline import load_pipeline

    data = out_dir / "data"
    if not (data / "labels.csv").is_file():
        if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
            raise UsageError(f"{out_dir}: exists and is not a demo. Choose another folder with --out.")
        make_dataset(data)
        out.print(f"drew a small dataset: {data}/labels.csv and {data}/images/")
    spec = load_pipeline("demo", [f"data.root={json.dumps(str(data))}", f"out={json.dumps(str(out_dir / 'out'))}"])
    plan = running.prepare(spec)
    with stoppable(), reporter() as report:
        summary = running.execute(plan, report)
    print_summary(summary)
    folder = Path(summary.out) / "runs" / summary.run
    print_sample(folder / "captions")
    out.print()
    out.print("[bold]Where to look[/]")
    out.print(f"  {summary.out}/images/             image shards, with a manifest")
    out.print(f"  {folder}/captions/  caption shards: same names, keys and order")
    out.print(f"  {folder}/support_sets.parquet, rejected.parquet")
    out.print(f"  {summary.out}/rejected_rows.csv    the rows that were left out on purpose, with the reason for each")
    out.print("[bold]What to do next[/]")
    out.print(
        "  another style     captioner run demo --data demo/data --out demo/out --set prompt=plain".replace(
            "demo/", f"{out_dir}/"
        )
    )
    out.print("  an LLM            … --set engine.model=MODEL --set engine.base_url=http://localhost:8000/v1")
    out.print("  your own dataset  captioner schema list, then captioner run NAME --data FOLDER")
    out.print("  nobody has described it yet?  captioner schema new TABLE.csv")


@app.command()
def unpack(
    archive: Annotated[Path, typer.Argument(help="An .npz archive with train_images, train_labels and so on.")],
    out_dir: Annotated[Path, typer.Option("--out", help="A new folder for the images and labels.csv.")],
) -> None:
    """Write the images of a dataset that comes as arrays (MedMNIST) as PNG files, with a label table beside them.

    Example: captioner unpack pathmnist_224.npz --out data/medmnist_pathmnist
    """
    from captioner.arrays import unpack as unpacking

    done = unpacking(archive, out_dir)
    counts = ", ".join(f"{split} {count:,}" for split, count in done.images.items())
    out.print(f"{done.table}: {sum(done.images.values()):,} images ({counts})")


@app.command()
def run(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="A pipeline's name or file, or a schema's name.")],
    data: DataOption = None,
    out_dir: OutOption = None,
    settings: SetOption = None,
    as_json: JsonFlag = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log progress as JSON lines on stderr.")] = False,
) -> None:
    """Run a pipeline, or go on with it where it stopped.

    Example: captioner run chestxray14 --data ~/nih

    With an API: captioner run chestxray14 --data ~/nih --set prompt=report --set engine.model=gpt-5-mini

    With your own server: captioner run chestxray14 --data ~/nih --set engine.model=Qwen/Qwen3-32B --set engine.base_url=http://localhost:8000/v1
    """
    from captioner import run as running

    with stoppable(), reporter(quiet=as_json, log_json=log_json) as report:
        plan = running.prepare(pipeline_of(pipeline, data, out_dir, settings), report)
        print_notes(plan.notes, report.note)
        summary = running.execute(plan, report)
    if as_json:
        print_json(asdict(summary) | {"exit_code": summary.exit_code})
    else:
        print_summary(summary)
    raise typer.Exit(summary.exit_code)


@app.command()
def plan(
    pipeline: Annotated[str, typer.Argument(metavar="PIPELINE", help="A pipeline's name or file, or a schema's name.")],
    data: DataOption = None,
    out_dir: OutOption = None,
    settings: SetOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Say what a run would do: samples, distinct triplets, requests, tokens, disk. Nothing is sent or written.

    Example: captioner plan chestxray14 --data ~/nih
    """
    from captioner import run as running

    with reporter(quiet=as_json) as report:
        prepared = running.prepare(pipeline_of(pipeline, data, out_dir, settings), report)
        forecast = running.forecast(prepared)
    if as_json:
        print_json(asdict(forecast))
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_row("run", f"{prepared.out}/runs/{forecast.run}{' (exists)' if forecast.done else ''}")
    table.add_row("rows", f"{forecast.rows:,}")
    table.add_row(
        "rows with a usable label" + (" and an image" if prepared.with_images else ""), f"{forecast.samples:,}"
    )
    for code, number in forecast.rejected_rows.items():
        table.add_row(f"  left out: {code}", f"{number:,}")
    table.add_row("distinct triplets", f"{forecast.triplets:,} ({forecast.done:,} done)")
    table.add_row("requests", f"{forecast.requests:,} at least")
    table.add_row("prompt tokens", f"about {forecast.prompt_tokens:,} (an estimate: 4 characters a token)")
    table.add_row("completion tokens", f"about {forecast.completion_tokens:,} (an estimate)")
    if forecast.cost:
        table.add_row("cost", f"about {forecast.cost:,.2f} (by the pipeline's prices)")
    table.add_row("disk", f"about {forecast.disk_bytes / 1e6:,.1f} MB")
    out.print(table)
    print_notes(prepared.notes, lambda text: out.print(text, markup=False), most=len(prepared.notes))


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(help="An output folder, or one run's folder.")], as_json: JsonFlag = False
) -> None:
    """Say how runs stand, also while they are under way.

    Example: captioner status out/chestxray14
    """
    from captioner.store import Ledger

    ledgers = sorted(folder.glob("ledger.sqlite")) or sorted(folder.glob("runs/*/ledger.sqlite"))
    if not ledgers:
        raise UsageError(f"{folder}: no run in this folder (no runs/*/ledger.sqlite)")
    rows: list[dict[str, Any]] = []
    for path in ledgers:
        with Ledger(path, read_only=True) as ledger:
            rows.append({"run": path.parent.name} | asdict(ledger.totals()))
    if as_json:
        print_json(rows)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in (
        "run",
        "complete",
        "filled",
        "open",
        "failed",
        "given up",
        "captions",
        "rejected",
        "requests",
        "tokens",
    ):
        table.add_column(column, justify="left" if column == "run" else "right")
    for row in rows:
        states = row["triplets"]
        cells = [states.get(s, 0) for s in ("complete", "filled", "open", "failed", "incomplete")]
        cells += [row["accepted"], row["rejected"], row["requests"], row["prompt_tokens"] + row["completion_tokens"]]
        table.add_row(row["run"], *(f"{c:,}" for c in cells))
    out.print(table)


@app.command()
def check(
    schema: Annotated[str, typer.Option("--schema", help="A schema's id or file.")],
    source: Annotated[Path, typer.Option("--input", help="JSONL, CSV or Parquet with columns labels and caption.")],
    target: Annotated[Path, typer.Option("--output", help="Where the verdicts go; JSONL, CSV or Parquet.")],
    labels: Annotated[str, typer.Option(help="Name of the column of labels.")] = "labels",
    caption: Annotated[str, typer.Option(help="Name of the column of captions.")] = "caption",
    min_agreement: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit with 1 if a smaller share of the captions agrees.")
    ] = None,
) -> None:
    """Check captions against their labels.

    Example: captioner check --schema chestxray14 --input captions.jsonl --output verdicts.jsonl
    """
    from captioner.captions_file import check_file
    from captioner.schema import load_schema

    agreeing, rows = check_file(load_schema(schema), source, target, labels=labels, caption=caption)
    share = agreeing / rows if rows else 0.0
    out.print(
        f"{agreeing:,} of {rows:,} captions agree with their labels ({share:.1%}); verdicts: {target}", markup=False
    )
    if min_agreement is not None and share < min_agreement:
        err.print(f"below --min-agreement {min_agreement}")
        raise typer.Exit(1)


@app.command()
def audit(
    target: Annotated[
        Path, typer.Argument(help="A run, an output folder, shards, a CSV, JSONL or Parquet, a dataset on disk.")
    ],
    schema: Annotated[str, typer.Option("--schema", help="A schema's id or file.")],
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder of the report; TARGET/report or audit-NAME if left out.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Table of labels by key, for shards that hold captions alone.")
    ] = None,
    labels_column: Annotated[str, typer.Option(help="Name of the column of labels, if it is not a usual one.")] = "",
    caption_column: Annotated[str, typer.Option(help="Name of the column of captions, if it is not a usual one.")] = "",
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of image shards, or that a table's image paths start from.")
    ] = None,
    min_agreement: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit with 1 if a smaller share of the captions agrees.")
    ] = None,
    max_issue: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE=SHARE", help="Exit with 1 if more captions have this error; may be repeated."),
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write the thresholds as JUnit XML.")] = None,
    github: Annotated[bool, typer.Option("--github", help="Print annotations for GitHub Actions.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Let the first row that cannot be used end it.")] = False,
    review: Annotated[
        float | None,
        typer.Option(min=0.005, max=0.5, help="Draw captions for people to judge, enough for this error (0.05)."),
    ] = None,
    allow: Annotated[
        Path | None, typer.Option("--allow", help="JSONL of captions that people have accepted; see captioner review.")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="How many judge at once.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show how far captions agree with labels: figures and a report, for anybody's captions.

    Example: captioner audit out/chestxray14 --schema chestxray14

    In CI: captioner audit captions.jsonl --schema chestxray14 --min-agreement 0.98 --max-issue hedged_label=0 --junit audit.xml
    """
    from captioner.audit import Columns, gates, write_sample
    from captioner.audit import audit as audit_target
    from captioner.report import folder_for, write_report

    limits = [gates.parse_limit(text) for text in max_issue or ()]
    with stoppable(), err.status("judging captions") as status:
        found = audit_target(
            target,
            schema,
            columns=Columns(labels=labels_column, caption=caption_column),
            labels=labels,
            images=images,
            strict=strict,
            processes=processes,
            review=review,
            allow=allow,
            progress=lambda n: status.update(f"judging captions: {n:,}"),
        )
        status.update("writing the report")
        folder = out_dir or folder_for(target)
        written = write_report(found, folder)
        sheet = write_sample(found, folder) if found.sample else None
    thresholds = gates.gates(found, min_agreement, limits)
    if junit is not None:
        gates.write_junit(junit, found, thresholds)
    if as_json:
        sys.stdout.write(found.to_json())
    else:
        print_audit(found, written)
        if sheet is not None:
            out.print(
                f"for review: {len(found.sample):,} captions in {sheet}; then: captioner review {sheet}", markup=False
            )
    if github:
        sys.stdout.writelines(f"{line}\n" for line in gates.github(found, thresholds))
    for gate in thresholds:
        if not gate.passed:
            err.print(f"threshold missed: {gate.message}", markup=False)
    if not all(gate.passed for gate in thresholds):
        raise typer.Exit(1)


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


@app.command()
def review(
    sheets: Annotated[
        list[Path], typer.Argument(metavar="SHEET…", help="Filled copies of review.csv, one a reviewer.")
    ],
    key: Annotated[
        Path | None, typer.Option("--key", help="The sample's review.json; beside the first sheet if left out.")
    ] = None,
    allow: Annotated[
        Path | None, typer.Option("--allow", help="Write the captions that people accept and the checker refuses.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say how good the checker is by people's verdicts on a sample of captions, and how well people agree.

    Draw the sample with: captioner audit TARGET --schema ID --review 0.05

    Example: captioner review audit-captions/anna.csv audit-captions/ben.csv --key audit-captions/review.json --allow allow.jsonl
    """
    from captioner.audit import read_review, write_corrections

    found = read_review(key or sheets[0].with_name("review.json"), sheets)
    allowed = write_corrections(found, allow) if allow is not None else 0
    if as_json:
        print_json(found.to_dict())
        return
    print_review(found)
    if allow is not None:
        out.print(
            f"{allowed:,} accepted captions: {allow}; use it with: captioner audit … --allow {allow}", markup=False
        )


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="A label table, or the folder that it is in.")],
    second: Annotated[Path, typer.Argument(help="Another table of labels for the same images.")],
    schema: Annotated[str, typer.Option("--schema", help="A schema's id or file.")],
    out_file: Annotated[Path | None, typer.Option("--out", help="Write the rows that differ as CSV.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the images that two label tables label differently: two copies, a second reader, adjudicated labels.

    Example: captioner diff Data_Entry_2017_v2020.csv adjudicated.csv --schema chestxray14 --out differences.csv
    """
    from captioner import atomic
    from captioner.audit import diff_tables

    found = diff_tables(first, second, schema)
    if out_file is not None:
        atomic.write(out_file, found.rows.to_csv(index=False).encode())
    if as_json:
        rows = {"rows": found.rows.to_dict("records"), "classes": found.classes.to_dict("records")}
        print_json({"images": found.images, "same": found.same} | rows)
        return
    print_diff(found)
    if out_file is not None:
        out.print(f"all {len(found.rows):,}: {out_file}", markup=False)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN [RUN…]", help="Folders of runs of one dataset.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder of the report.")] = Path("compare"),
    as_json: JsonFlag = False,
) -> None:
    """Compare runs on the label combinations that all of them asked for: agreement, repairs, tokens, diversity.

    Example: captioner compare out/nih/runs/rules-report-67628d50 out/nih/runs/gpt-5-mini-report-0c1d2e3f
    """
    from captioner.audit import compare as compare_runs
    from captioner.report import write_comparison
    from captioner.report.comparison import comparison_markdown

    with stoppable():
        found = compare_runs(runs)
        page = write_comparison(found, out_dir)
    if as_json:
        print_json(found.to_dict())
        return
    sys.stdout.write(comparison_markdown(found))
    out.print(f"\nreport: {page}; for a paper: {page.with_suffix('.tex')}", markup=False)


@prompt_app.command("list")
def prompt_list() -> None:
    """List the prompts that there are."""
    from captioner import resources
    from captioner.prompts import load_prompt

    for name in resources.names("prompts"):
        prompt = load_prompt(name)
        out.print(f"{name:<12} {prompt.hash}  {prompt.path}", markup=False)


@prompt_app.command("show")
def prompt_show(
    schema: Annotated[str, typer.Argument(help="A schema's id or file.")],
    labels: Annotated[str, typer.Option("--labels", help="Labels, joined by | or by the schema's own separator.")],
    prompt: Annotated[str, typer.Option("--prompt", help="A prompt's name or file.")] = "template",
    count: Annotated[int, typer.Option("--captions", min=1, help="How many captions are asked for.")] = 10,
    attributes: Annotated[
        list[str] | None, typer.Option("--attribute", metavar="name=value", help="An attribute; may be repeated.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Print exactly what would be sent for some labels.

    Example: captioner prompt show chestxray14 --labels "Effusion|Nodule" --prompt report
    """
    from captioner.captions_file import parse_labels
    from captioner.generate import answer_schema
    from captioner.prompts import load_prompt
    from captioner.schema import load_schema
    from captioner.tables import Labels
    from captioner.triplets import make_triplet

    loaded = load_schema(schema)
    pairs = [a.partition("=")[::2] for a in attributes or ()]
    triplet = make_triplet(loaded, Labels(parse_labels(labels, loaded)), attributes=pairs)
    messages = load_prompt(prompt).render(loaded, triplet, count)
    if as_json:
        body = {"messages": [asdict(m) for m in messages], "response_schema": answer_schema(count)}
        print_json(body | {"triplet": asdict(triplet)})
        return
    for message in messages:
        out.rule(message.role, align="left", style="dim")
        out.print(message.content, markup=False)


@schema_app.command("list")
def schema_list(as_json: JsonFlag = False) -> None:
    """List the label schemas that there are."""
    from captioner import resources
    from captioner.schema import load_library, load_schema

    library = load_library()
    rows: list[dict[str, Any]] = []
    for name in resources.names("label_schemas"):
        schema = load_schema(name)
        modalities = {library.modalities[schema.modality_of(c)].name: None for c in schema.classes}
        anatomies = {library.anatomies[schema.anatomy_of(c)].name: None for c in schema.classes}
        rows.append(
            {
                "id": schema.id,
                "title": schema.title,
                "classes": len(schema.classes),
                "modality": list(modalities),
                "anatomy": list(anatomies),
                "terms": schema.terms,
            }
        )
    if as_json:
        print_json(rows)
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("id", "title", "classes", "modality", "anatomy"):
        table.add_column(column, justify="right" if column == "classes" else "left")
    for row in rows:
        table.add_row(row["id"], escape(row["title"]), str(row["classes"]), _few(row["modality"]), _few(row["anatomy"]))
    out.print(table)


@schema_app.command("show")
def schema_show(
    schema: Annotated[str, typer.Argument(help="A schema's id or file.")], as_json: JsonFlag = False
) -> None:
    """Show what a schema says: its classes, their names, and the wordings that captions may use."""
    from captioner.schema import load_schema

    loaded = load_schema(schema)
    if as_json:
        print_json(loaded.model_dump(mode="json", exclude_defaults=True))
        return
    out.print(f"[bold]{escape(loaded.title)}[/] ({loaded.id})")
    for label, text in (
        ("about", loaded.description),
        ("page", loaded.homepage),
        ("terms", loaded.terms),
        ("cite", loaded.cite),
    ):
        if text:
            out.print(f"{label}: {text}", markup=False)
    for table in loaded.tables:
        files = ", ".join(f.match for f in table.files) or "folders"
        out.print(f"table: {table.layout}: {files}", markup=False)
    grid = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("code", "name", "kind", "group", "other wordings"):
        grid.add_column(column)
    for item in loaded.classes:
        group = f"{item.group} {'' if item.level is None else item.level}" if item.group else ""
        grid.add_row(*map(escape, (item.code, item.name, item.kind, group, _few(item.wordings[1:], 5))))
    out.print(grid)


@schema_app.command("lint")
def schema_lint(
    schemas: Annotated[list[str] | None, typer.Argument(help="Ids or files; all if none is given.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Look for what would make captions wrong: unexpanded abbreviations, a synonym of two classes, a truncated name.

    Example: captioner schema lint my_schema.yaml
    """
    from captioner import agreement, resources
    from captioner.schema import load_schema

    problems: list[dict[str, Any]] = []
    names = schemas or resources.names("label_schemas")
    for name in names:
        problems += [{"schema": name} | asdict(p) for p in agreement.lint(load_schema(name))]
    if as_json:
        print_json(problems)
    else:
        for p in problems:
            style = "red" if p["level"] == "error" else "yellow"
            out.print(
                f"[{style}]{p['level']}[/] {escape(str(p['schema']))}: {escape(p['where'])}: {escape(p['message'])} {escape(p['fix'])}"
            )
        errors = sum(p["level"] == "error" for p in problems)
        out.print(f"{len(names)} schema{'s' * (len(names) != 1)}: {errors} errors, {len(problems) - errors} warnings")
    if any(p["level"] == "error" for p in problems):
        raise typer.Exit(1)


@schema_app.command("new")
def schema_new(
    table: Annotated[Path, typer.Argument(help="A label table, or a folder whose subfolders are the classes.")],
    modality: Annotated[str, typer.Option(help="Such as xray, ct, mri, ultrasound, fundus, histology.")],
    anatomy: Annotated[str, typer.Option(help="Such as chest, brain, retina, breast, knee, skin.")],
    schema_id: Annotated[
        str | None, typer.Option("--id", help="The schema's id; the table's name if left out.")
    ] = None,
    target: Annotated[
        Path | None, typer.Option("--out", help="The file to write; label_schemas/ID.yaml if left out.")
    ] = None,
) -> None:
    """Draft a schema for a label table that nobody has described yet; you then put it right.

    Example: captioner schema new labels.csv --modality xray --anatomy chest
    """
    from captioner.scaffold import draft

    if not table.exists():
        raise UsageError(f"{table}: no such file or folder")
    name = schema_id or re.sub(r"[^a-z0-9]+", "_", table.name.partition(".")[0].lower()).strip("_") or "dataset"
    path = target or Path("label_schemas") / f"{name}.yaml"
    if path.exists():
        raise UsageError(f"{path}: exists already; choose another file with --out")
    text = draft(table, schema_id=name, modality=modality, anatomy=anatomy)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    out.print(f"wrote {path}. Next: look at every class in it, then", markup=False)
    out.print(f"  captioner schema lint {path}", markup=False)
    out.print(f"  captioner run {name} --data {table if table.is_dir() else table.parent}", markup=False)


@schema_app.command("json-schema")
def schema_json_schema() -> None:
    """Print the JSON Schema of a label schema file, for editors.

    Example: captioner schema json-schema > label_schema.json
    """
    from captioner.schema import json_schema

    print_json(json_schema())


@shards_app.command("build")
def shards_build(
    schema: Annotated[str, typer.Argument(help="A schema's id or file.")],
    data: Annotated[Path, typer.Option("--data", help="The dataset's folder.")],
    out_dir: Annotated[Path, typer.Option("--out", help="The output folder.")],
    size: Annotated[int, typer.Option(min=1, help="Samples in a shard.")] = 1000,
    types: Annotated[bool, typer.Option("--types", help="Convert TIFF, DICOM, WebP and other types to PNG.")] = False,
    window: Annotated[
        str | None,
        typer.Option(metavar="LOW,HIGH|file|range", help="How pixels of more than 8 bits become 8."),
    ] = None,
    max_side: Annotated[
        int | None, typer.Option("--max-side", min=1, help="Scale larger images down to this many pixels.")
    ] = None,
    orient: Annotated[bool, typer.Option("--orient", help="Turn images as their EXIF orientation says.")] = False,
    image_type: Annotated[
        str | None, typer.Option("--type", metavar="jpg|png", help="Store every image as this type.")
    ] = None,
) -> None:
    """Write the image shards of a dataset alone; runs then add captions beside them.

    Images keep their bytes, unless an option asks for a change and they need it. Runs into the same folder then take the
    same settings: --set shards.max_side=512.

    Example: captioner shards build chestxray14 --data ~/nih --out out/chestxray14

    DICOM: captioner shards build ct_head --data ~/ct --out out/ct_head --types --window 0,80
    """
    from captioner import run as running
    from captioner.pipeline import load_pipeline

    shards = {"size": size, "types": types, "window": window, "max_side": max_side, "orient": orient}
    shards["type"] = image_type
    spec = load_pipeline({"schema": schema, "data": {"root": data}, "out": out_dir, "shards": shards})
    with stoppable(), reporter() as report:
        images, rejected = running.build_shards(running.prepare(spec, report), report)
    out.print(
        f"{images.images:,} images in {images.shards:,} shards ({images.written:,} written now): {out_dir}/images"
    )
    if rejected:
        out.print(f"{rejected:,} rows left out: {out_dir}/rejected_rows.csv")
        raise typer.Exit(1)


@shards_app.command("verify")
def shards_verify(
    folder: Annotated[Path, typer.Argument(help="An output folder, or a folder of shards.")], as_json: JsonFlag = False
) -> None:
    """Find truncated shards, flipped bits, and shards that do not belong: what readers pass over in silence.

    Example: captioner shards verify out/chestxray14
    """
    from captioner.shards import verify

    images = folder / "images"
    runs = sorted(folder.glob("runs/*/captions"))
    folders = [images, *runs] if images.is_dir() else [folder]
    problems = [p for each in folders for p in verify(each, images=images if each in runs else None)]
    if as_json:
        print_json([asdict(p) for p in problems])
    else:
        for problem in problems:
            err.print(f"{problem.file}: {problem.code}: {problem.reason}", markup=False)
        out.print(f"{len(folders)} folders: " + (f"{len(problems)} problems" if problems else "all shards are whole"))
    if problems:
        raise typer.Exit(1)


@shards_app.command("captions")
def shards_captions(
    folder: Annotated[Path, typer.Argument(help="A run's folder: OUT/runs/RUN.")],
    data: Annotated[Path | None, typer.Option("--data", help="The dataset's folder, if it has moved.")] = None,
) -> None:
    """Write the caption shards of a finished run again, for the image shards that there are now; nothing is asked.

    Each caption is checked against the label table again.

    Example: captioner shards captions out/chestxray14/runs/gpt-5-mini-report-1a2b3c4d
    """
    from captioner.recaption import rewrite_captions

    with stoppable():
        done = rewrite_captions(folder, data=data)
    out.print(f"{folder}/captions: {done.captioned:,} images in {done.shards:,} shards ({done.written:,} written now)")
    if done.missing:
        out.print(f"{done.missing:,} images have no captions in this run: start it again to caption them")
        raise typer.Exit(1)


@shards_app.command("export")
def shards_export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT",
            help="parquet, csv, llava, tars:one, tars:json, tars:flat, tars:joined:TAG, unimed:TAG, card, wids, croissant.",
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="An output folder.")],
    target: Annotated[Path, typer.Option("--out", help="The file to write; for tars and unimed, the folder.")],
    run: Annotated[
        str | None, typer.Option("--run", help="Whose captions; needed where there are several runs.")
    ] = None,
    skip: Annotated[bool, typer.Option("--skip", help="Leave images without captions out of tars.")] = False,
    license_url: Annotated[
        str | None, typer.Option("--license", help="URL of the images' licence (croissant).")
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="Page about the dataset (croissant).")] = None,
) -> None:
    """Write captions, or images and captions, as others read them; the shards stay as they are.

    Example: captioner shards export parquet out/chestxray14 --out captions.parquet

    For LLaVA: captioner shards export llava out/chestxray14 --out llava.json

    For open_clip's --json-text-key: captioner shards export tars:flat out/chestxray14 --out flat

    For UniMed's loader: captioner shards export unimed:chestxray8 out/chestxray14 --out unimed
    """
    from captioner.shards.exporting import export_as

    with stoppable():
        report = export_as(name, folder, target, run=run, skip=skip, license_url=license_url, url=url)
    what = f": {report.samples:,} images with captions, {report.bytes / 1e6:,.1f} MB" if report else ""
    out.print(f"wrote {target}{what}", markup=False)
    if report and report.missing:
        out.print(f"{report.missing:,} images have no captions in this run and were left out")


@shards_app.command("join")
def shards_join(
    url: Annotated[str, typer.Argument(help="captioner:OUT/images/NAME-000000.tar?run=RUN")],
) -> None:
    """Write images and their captions as one tar to stdout: a pipe for loaders that read nothing else.

    Example: captioner shards join 'captioner:out/busi/images/busi-000000.tar?run=RUN' | tar t

    For open_clip: --train-data "pipe:captioner shards join 'captioner:out/busi/images/busi-{000000..000007}.tar?run=RUN'"
    """
    from captioner.shards.scheme import copy_url

    copy_url(url, sys.stdout.buffer)


def pipeline_of(name: str, data: Path | None, out_dir: Path | None, settings: list[str] | None) -> Any:
    """Return the pipeline that a command line asks for."""
    from captioner import resources
    from captioner.pipeline import load_pipeline

    overrides = list(settings or ())
    if data is not None:
        overrides.append(f"data.root={json.dumps(str(data))}")
    if out_dir is not None:
        overrides.append(f"out={json.dumps(str(out_dir))}")
    known = resources.names("pipelines")
    if name not in known and name in resources.names("label_schemas"):  # every schema can be run with the defaults
        return load_pipeline({"schema": name}, overrides)
    return load_pipeline(name, overrides)


def reporter(*, quiet: bool = False, log_json: bool = False) -> Any:
    """Return the progress display that fits where the output goes."""
    from captioner.progress import JsonReporter, LineReporter, LiveReporter

    if log_json:
        return JsonReporter(err)

    if quiet:
        return LineReporter(Console(quiet=True))
    return LiveReporter(err) if err.is_terminal else LineReporter(err)


def print_notes(notes: list[str], write: Callable[[str], None], most: int = 6) -> None:
    """Print what a person should know before a run, the most important first."""
    for note in notes[:most]:
        write(f"note: {note}")
    if notes[most:]:
        write(f"note: and {len(notes) - most} more: captioner plan shows all, and so does the run's summary.json")


def print_summary(summary: Any) -> None:
    """Print what a run came to."""
    from captioner.progress import counts

    states = summary.triplets
    out.print(f"[bold]{escape(summary.run)}[/] in {escape(summary.out)}")
    out.print(f"  rows        {summary.rows:,}, {summary.samples:,} usable")
    if summary.images is not None:
        out.print(f"  images      {summary.images:,} in shards")
    out.print(f"  triplets    {sum(states.values()):,} ({counts(states)})")
    out.print(f"  captions    {summary.captions:,} accepted ({counts(summary.sources)}), {summary.rejected:,} refused")
    if summary.rejected_by_code:
        out.print(f"  refused for {counts(summary.rejected_by_code)}")
    if summary.prompt_tokens:
        out.print(
            f"  tokens      {summary.prompt_tokens:,} in, {summary.completion_tokens:,} out, {summary.requests:,} requests"
        )
    if summary.rejected_rows:
        out.print(f"  left out    {counts(summary.rejected_rows)}: see {escape(summary.out)}/rejected_rows.csv")
    if summary.cost:
        out.print(f"  cost        {summary.cost:,.2f}")
    for reason, number in summary.failures.items():
        out.print(f"  no answer   {number:,} x {reason}", markup=False)
    if summary.stopped:
        out.print(f"[yellow]stopped:[/] {escape(summary.stopped)}")
    if not summary.complete:
        unfinished = {s: n for s, n in states.items() if s in ("open", "failed", "incomplete")}
        out.print(f"[red]not complete:[/] {counts(unfinished) or 'no captions'}; start the same command again to go on")
    if summary.excluded:
        out.print(
            f"[yellow]{summary.excluded:,} rows have a label but no usable image[/] (exit code 1; "
            "--set data.missing=ignore where this is as it should be)"
        )


def print_audit(found: Any, written: Any) -> None:
    """Print what an audit found, and where to read more."""
    from captioner.audit.result import percent

    out.print(f"{found.headline()}.", markup=False)
    for row in found.codes.itertuples():
        out.print(f"  {row.code:<20} {row.captions:>9,}  {percent(row.share)}", markup=False)
    for code, number in found.problems.items():
        out.print(f"  not audited: {number:,} {code.replace('_', ' ')}: {found.first_bad(code)}", markup=False)
    out.print(f"report: {written.html}", markup=False)


def print_review(found: Any) -> None:
    """Print what people's verdicts say of the checker."""
    from captioner.audit.result import percent

    out.print(f"{found.reviewed:,} captions reviewed, {found.undecided:,} without a majority")
    for name, text in (
        ("precision", "of the captions that the checker refuses, people refuse"),
        ("recall", "of the captions that people refuse, the checker refuses"),
        ("accuracy", "same verdict"),
        ("agreement", "captions that people accept"),
    ):
        m = getattr(found, name)
        interval = f"95 % interval {percent(m.low)} to {percent(m.high)}"
        out.print(f"  {name:<10} {percent(m.value):>8}  {interval}: {text}", markup=False)
    for first, second, value, number in found.kappas:
        out.print(f"  kappa      {value:8.2f}  {first} and {second}, {number:,} captions", markup=False)
    for c in found.corrections[:10]:
        labels = ", ".join(c.labels)
        out.print(
            f"  people {c.people}, checker {c.checker} ({', '.join(c.codes)}) [{labels}]: {c.caption}", markup=False
        )
    for label, wordings in found.wordings.items():
        out.print(f"  wordings that the schema may lack for {label}: {', '.join(wordings)}", markup=False)


def print_diff(found: Any) -> None:
    """Print where two label tables differ."""
    out.print(f"{found.headline()}.", markup=False)
    out.print(
        f"  {found.only_first:,} images are in {found.first} alone, {found.only_second:,} in {found.second} alone"
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("class", "both", "first only", "second only", "kappa"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for r in found.classes.itertuples():
        table.add_row(escape(r[1]), f"{r.both:,}", f"{r.only_first:,}", f"{r.only_second:,}", f"{r.kappa:.2f}")
    out.print(table)
    for r in found.rows.head(10).itertuples():
        text = f"{r.image} (rows {r.first_row} and {r.second_row}): {r.first or 'nothing'} / {r.second or 'nothing'}"
        out.print(f"  {text}", markup=False)


def print_sample(captions: Path) -> None:
    """Print a few of the captions that were written."""
    from captioner.shards import load_captions

    shard = next(iter(sorted(captions.glob("*.tar"))), None)
    if shard is None:
        return
    out.print("[bold]Some of the captions[/]")
    records = load_captions(shard)
    for key in list(records)[:: max(1, len(records) // 6)][:6]:
        out.print(f"  {key}: {records[key]['captions'][0]}", markup=False)


def print_json(value: Any) -> None:
    """Print JSON on stdout, and nothing else."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _few(items: Any, limit: int = 3) -> str:
    items = list(items)
    return ", ".join(items[:limit]) + (f" and {len(items) - limit} more" if len(items) > limit else "")


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let Ctrl-C end a command with a word on how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        err.print("stopped. What was accepted is kept: start the same command again to go on.")
        raise typer.Exit(130) from None


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
    except Exception as e:
        if debug:
            raise
        err.print(f"[bold red]internal error:[/] {escape(type(e).__name__)}: {escape(str(e))}")
        err.print("This is a fault of captioner's. Please report it with what --debug prints (captioner --debug …).")
        sys.exit(1)


if __name__ == "__main__":
    main()
