"""Commands that look at captions that there are: check, audit, compare, review, diff."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from captioner.cli.console import JsonFlag, err, grid, make_folder_of, out, print_json, stoppable
from captioner.errors import UsageError
from captioner.storage import Place, place

app = typer.Typer()


@app.command()
def check(
    schema: Annotated[str, typer.Option("--schema", help="A schema's id or file.")],
    source: Annotated[
        Path,
        typer.Option("--input", help="JSONL, CSV or Parquet with columns labels and caption; - is JSONL from a pipe."),
    ],
    target: Annotated[
        Path, typer.Option("--output", help="Where the verdicts go: JSONL, CSV or Parquet; - is JSONL into a pipe.")
    ],
    labels: Annotated[str, typer.Option("--labels-column", help="Name of the column of labels.")] = "labels",
    caption: Annotated[str, typer.Option("--caption-column", help="Name of the column of captions.")] = "caption",
    min_agreement: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit with 1 if a smaller share of the captions agrees.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Check captions against their labels.

    Example: captioner check --schema chestxray14 --input captions.jsonl --output verdicts.jsonl

    In a pipe: zcat captions.jsonl.gz | captioner check --schema chestxray14 --input - --output - | grep disagree
    """
    from captioner.captions_file import PIPE, check_file
    from captioner.schema import load_schema

    if source.exists() and target.exists() and target.samefile(source):
        raise UsageError(f"{target}: --output is the same file as --input; give it another name")
    make_folder_of(target)
    agreeing, rows = check_file(load_schema(schema), source, target, labels=labels, caption=caption)
    share = agreeing / rows
    if as_json and target != PIPE:
        print_json({"captions": rows, "agreeing": agreeing, "agreement": share, "verdicts": str(target)})
    else:
        where = "" if target == PIPE else f"; verdicts: {target}"
        text = f"{agreeing:,} of {rows:,} captions agree with their labels ({share:.1%}){where}"
        (err if target == PIPE else out).print(text, markup=False)
    if min_agreement is not None and share < min_agreement:
        err.print(f"below --min-agreement {min_agreement}")
        raise typer.Exit(1)


@app.command()
def audit(
    target: Annotated[
        Path,
        typer.Argument(
            parser=place,
            metavar="TARGET",
            help="A run, an output folder, shards (of these also the URL), a CSV, JSONL or Parquet, a dataset on disk.",
        ),
    ],
    schema: Annotated[
        str | None, typer.Option("--schema", help="A schema's id or file; what a run was made with if left out.")
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder of the report; TARGET/report or audit-NAME if left out.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="Table of labels by key, for captions that come alone.")
    ] = None,
    labels_column: Annotated[str, typer.Option(help="Name of the column of labels, if it is not a usual one.")] = "",
    caption_column: Annotated[str, typer.Option(help="Name of the column of captions, if it is not a usual one.")] = "",
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of image shards, or that a table's image paths start from.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="COLUMN=VALUE", help="Only rows of a table with this value; may be repeated."),
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
    disagreements: Annotated[
        Path | None, typer.Option("--disagreements", help="Write every caption that disagrees as a row of this CSV.")
    ] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="How many judge at once.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show how far captions agree with labels: figures and a report, for anybody's captions.

    Example: captioner audit out/chestxray14

    Anybody's: captioner audit captions.csv --schema chestxray14 --labels-column finding --caption-column text

    In CI: captioner audit captions.jsonl --schema chestxray14 --min-agreement 0.98 --max-issue hedged_label=0 --junit audit.xml
    """
    from captioner.audit import Columns, gates, write_sample
    from captioner.audit import audit as audit_target
    from captioner.audit.rows import parse_where
    from captioner.report import folder_for, write_report

    chosen = tuple(parse_where(text) for text in where or ())
    limits = [gates.parse_limit(text) for text in max_issue or ()]
    with stoppable(goes_on=False), err.status("judging captions") as status:
        found = audit_target(
            target,
            schema or schema_of(target),
            columns=Columns(labels=labels_column, caption=caption_column, where=chosen),
            labels=labels,
            images=images,
            strict=strict,
            processes=processes,
            review=review,
            allow=allow,
            disagreements=disagreements,
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
                f"for review: {len(found.sample):,} captions in {sheet} and under Review in the report; then: captioner "
                f"review SHEET --key {sheet.with_name('review.json')}",
                markup=False,
            )
        if disagreements is not None:
            out.print(f"all captions that disagree: {disagreements}", markup=False)
    if github:
        sys.stdout.writelines(f"{line}\n" for line in gates.github(found, thresholds))
    for gate in thresholds:
        if not gate.passed:
            err.print(gate.complaint, markup=False)
    if not all(gate.passed for gate in thresholds):
        raise typer.Exit(1)


def schema_of(target: Place) -> str:
    """Return the label schema of a run, or of the runs of an output folder: a run on texts has that of the same images.

    Raises:
        UsageError: nothing says so.
    """
    import yaml

    from captioner.storage import matching

    if not target.exists():
        raise UsageError(f"{target}: no such file or folder")
    for settings in (target / "pipeline.yaml", *matching(target, "runs/*/pipeline.yaml")):
        if settings.is_file():
            said = yaml.safe_load(settings.read_text(encoding="utf-8"))
            if name := said.get("schema") or said.get("resolved_texts", {}).get("dataset"):
                return str(name)
    raise UsageError(f"{target}: does not say what its labels mean. Give --schema ID; all: captioner schema list")


@app.command()
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN", help="Runs of one dataset, OUT/runs/RUN; an output folder stands for all its runs."
        ),
    ],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder of the report.")] = Path("compare"),
    as_json: JsonFlag = False,
) -> None:
    """Compare runs on the label combinations that all of them asked for: agreement, repairs, tokens, diversity.

    Example: captioner compare out/nih/runs/rules-report-67628d50 out/nih/runs/gpt-5-mini-report-0c1d2e3f

    All runs of a dataset: captioner compare out/nih
    """
    from captioner.audit import compare as compare_runs
    from captioner.report import write_comparison
    from captioner.report.comparison import comparison_markdown

    with stoppable(goes_on=False):
        found = compare_runs([run for folder in runs for run in finished_runs(folder)])
        page = write_comparison(found, out_dir)
    if as_json:
        print_json(found.to_dict())
        return
    sys.stdout.write(comparison_markdown(found))
    out.print(f"\nreport: {page}; for a paper: {page.with_suffix('.tex')}", markup=False)


def finished_runs(folder: Path) -> list[Path]:
    """Return the runs of an output folder that have support sets, else those begun; of anything else, the folder itself."""
    files = ("support_sets.parquet", "ledger.sqlite")
    found = (sorted(file.parent for file in folder.glob(f"runs/*/{name}")) for name in files)
    return next(filter(None, found), [folder])


@app.command()
def review(
    sheets: Annotated[list[Path], typer.Argument(metavar="SHEET", help="Filled copies of review.csv, one a reviewer.")],
    key: Annotated[
        Path | None, typer.Option("--key", help="The sample's review.json; beside the first sheet if left out.")
    ] = None,
    allow: Annotated[
        Path | None, typer.Option("--allow", help="Write the captions that people accept and the checker refuses.")
    ] = None,
    synonyms: Annotated[
        Path | None, typer.Option("--synonyms", help="Write wordings that the schema may lack, by class, as YAML.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Say how good the checker is by people's verdicts on a sample of captions, and how well people agree.

    Draw the sample with: captioner audit TARGET --schema ID --review 0.05

    Example: captioner review audit-captions/anna.csv audit-captions/ben.csv --key audit-captions/review.json --allow allow.jsonl
    """
    from captioner.audit import read_review, write_corrections, write_synonyms

    for sheet in sheets:
        if not sheet.is_file():
            raise UsageError(f"{sheet}: no such file")
    sample = key or sheets[0].with_name("review.json")
    if not sample.is_file():
        raise UsageError(f"{sample}: no such file; give the review.json of the audit that drew the sample with --key")
    found = read_review(sample, sheets)
    allowed = write_corrections(found, allow) if allow is not None else 0
    if synonyms is not None:
        write_synonyms(found, synonyms)
    if as_json:
        print_json(found.to_dict())
        return
    print_review(found)
    if allow is not None:
        out.print(
            f"{allowed:,} accepted captions: {allow}; use it with: captioner audit … --allow {allow}", markup=False
        )
    if synonyms is not None:
        out.print(f"wordings for {len(found.wordings):,} classes, to be read and copied: {synonyms}", markup=False)


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="TABLE", help="A label table, or the folder that it is in.")],
    schema: Annotated[str, typer.Option("--schema", help="A schema's id or file.")],
    second: Annotated[
        Path | None,
        typer.Argument(
            metavar="SECOND",
            help="Another table of labels for the same images; without it, the readers of the first.",
        ),
    ] = None,
    second_schema: Annotated[
        str, typer.Option(help="The second table's schema, if it is another; what both have is compared.")
    ] = "",
    out_file: Annotated[Path | None, typer.Option("--out", help="Write the rows that differ as CSV.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the images that two label tables label differently, or the readers of one: copies, adjudicated labels.

    Example: captioner diff Data_Entry_2017_v2020.csv adjudicated.csv --schema chestxray14 --out differences.csv

    Readers of one table: captioner diff train.csv --schema vinbigdata_cxr --out differences.csv
    """
    from captioner import atomic
    from captioner.audit import diff_readers, diff_tables

    other = second_schema or None
    found = diff_readers(first, schema) if second is None else diff_tables(first, second, schema, other)
    if out_file is not None:
        make_folder_of(out_file)
        atomic.write(out_file, found.rows.to_csv(index=False).encode())
    if as_json:
        rows = {"rows": found.rows.to_dict("records"), "classes": found.classes.to_dict("records")}
        print_json({"images": found.images, "same": found.same} | rows)
        return
    print_diff(found)
    if out_file is not None:
        out.print(f"all {len(found.rows):,}: {out_file}", markup=False)


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
    if found.second:
        alone = f"{found.only_first:,} images are in {found.first} alone, {found.only_second:,} in {found.second} alone"
        out.print(f"  {alone}", markup=False)
    table = grid("class", "both", "first only", "second only", "kappa", left={"class"})
    for r in found.classes.itertuples():
        table.add_row(escape(r[1]), f"{r.both:,}", f"{r.only_first:,}", f"{r.only_second:,}", f"{r.kappa:.2f}")
    out.print(table)
    for r in found.rows.head(10).itertuples():
        text = f"{r.image} (rows {r.first_row} and {r.second_row}): {r.first or 'nothing'} / {r.second or 'nothing'}"
        out.print(f"  {text}", markup=False)
