"""Commands on schemas and prompts."""

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from captioner.cli.console import JsonFlag, count, few, grid, out, print_json
from captioner.cli.names import kind_of
from captioner.errors import UsageError

prompt_app = typer.Typer(help="Look at prompts.", no_args_is_help=True)
schema_app = typer.Typer(
    help="The catalogue of label schemas: list, show, check, start a new one.", no_args_is_help=True
)


@prompt_app.command("list")
def prompt_list() -> None:
    """List the prompts that there are.

    Example: captioner prompt list
    """
    from captioner import resources
    from captioner.prompts import load_prompt

    for name in resources.names("prompts"):
        prompt = load_prompt(name)
        out.print(f"{name:<12} {prompt.hash}  {prompt.path}", markup=False)


@prompt_app.command("show")
def prompt_show(
    schema: Annotated[str, typer.Argument(metavar="SCHEMA", help="A schema's id or file.")],
    labels: Annotated[str, typer.Option("--labels", help="Labels, joined by | or by the schema's own separator.")],
    prompt: Annotated[str, typer.Option("--prompt", help="A prompt's name or file.")] = "template",
    count: Annotated[int, typer.Option("--captions", min=1, max=100, help="How many captions are asked for.")] = 10,
    attributes: Annotated[
        list[str] | None, typer.Option("--attribute", metavar="name=value", help="An attribute; may be repeated.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Print exactly what would be sent for some labels.

    Example: captioner prompt show chestxray14 --labels "Effusion|Nodule" --prompt report
    """
    from captioner.answers import answer_schema
    from captioner.captions_file import parse_labels
    from captioner.prompts import load_prompt
    from captioner.schema import load_schema
    from captioner.tables import Labels
    from captioner.triplets import make_triplet

    loaded = load_schema(schema)
    pairs = []
    for given in attributes or ():
        name, equals, value = given.partition("=")
        if not equals or name not in loaded.attributes:
            known = ", ".join(loaded.attributes) or "none"
            raise UsageError(f"--attribute {given!r}: write name=value; the schema's attributes are: {known}")
        pairs.append((name, value))
    triplet = make_triplet(loaded, Labels(parse_labels(labels, loaded)), attributes=pairs)
    messages = load_prompt(prompt).render(loaded, triplet, count)
    if as_json:
        body = {"messages": [m._asdict() for m in messages], "response_schema": answer_schema(count)}
        print_json(body | {"triplet": triplet._asdict()})
        return
    for message in messages:
        out.rule(message.role, align="left", style="dim")
        out.print(message.content, markup=False)


@schema_app.command("list")
def schema_list(as_json: JsonFlag = False) -> None:
    """List the datasets that are described: those with labels, and those that have texts of their own.

    A wide terminal also shows titles, terms of use, and what the description was read against: the dataset's own table, or one that was made by its documentation. With --json also where the facts are from.

    Example: captioner schema list
    """
    from captioner import resources
    from captioner.schema import load_library, load_schema
    from captioner.texts.schema import load_text_schema

    library = load_library()
    rows: list[dict[str, Any]] = []
    for name in resources.names("label_schemas"):
        schema = load_schema(name)
        modalities = [library.modalities[m].name for m in _own_first(schema.modality, schema.modality_of, schema)]
        anatomies = [library.anatomies[a].name for a in _own_first(schema.anatomy, schema.anatomy_of, schema)]
        row: dict[str, Any] = {"id": schema.id, "title": schema.title, "classes": len(schema.classes), "texts": []}
        rows.append(row | {"modality": modalities, "anatomy": anatomies} | _facts(schema))
    for name in resources.names("text_schemas"):
        texts = load_text_schema(name)
        row = {"id": texts.id, "title": texts.title, "classes": None, "texts": list(texts.kinds)}
        rows.append(row | {"modality": [texts.modality], "anatomy": [texts.anatomy]} | _facts(texts))
    if as_json:
        print_json(rows)
        return
    wide = out.width >= _WIDE
    names = ("id", "what", "images", "modality", "anatomy", *(("read against", "title", "terms") if wide else ()))
    table = grid(*names, left={*names} - {"images"})
    table.columns[0].no_wrap = True  # it is what people copy
    for row in rows:
        what = f"{row['classes']} classes" if row["classes"] else few(row["texts"])
        images = "" if row["images"] is None else f"{row['images']:,}"
        imaging = (few(row["modality"], 2), few(row["anatomy"], 2))
        more = (row["verified"] or "", row["title"], row["terms"] or "") if wide else ()
        cells = (row["id"], what, images, *imaging, *more)
        table.add_row(*(escape(str(cell)) for cell in cells))
    out.print(table)


_WIDE = 160
"""Columns from which on what was read, titles and terms of use are shown too."""


def _own_first(own: str | None, of_class: Callable[[Any], str], schema: Any) -> list[str]:
    """Return what the schema says, then what its classes say, each once."""
    return list(dict.fromkeys((*filter(None, [own]), *map(of_class, schema.classes))))


def _facts(schema: Any) -> dict[str, Any]:
    """Return what a schema says of its dataset, for people."""
    return {
        "images": schema.images,
        "terms": schema.terms,
        "verified": schema.verified,
        "sources": list(schema.sources),
    }


@schema_app.command("show")
def schema_show(
    schema: Annotated[str, typer.Argument(metavar="SCHEMA", help="A schema's id or file.")], as_json: JsonFlag = False
) -> None:
    """Show what a schema says: its classes, their names, and the wordings that captions may use; or its kinds of text.

    Example: captioner schema show busi
    """
    from captioner.schema import load_schema
    from captioner.texts.schema import load_text_schema

    loaded: Any = load_text_schema(schema) if kind_of(schema) == "text_schemas" else load_schema(schema)
    if as_json:
        print_json(loaded.model_dump(mode="json", exclude_defaults=True))
        return
    out.print(f"[bold]{escape(loaded.title)}[/] ({loaded.id})")
    facts = [(name, getattr(loaded, key, None)) for name, key in _FACTS.items()]
    for name, text in facts:
        if text:
            out.print(f"{name}: {text}", markup=False)
    for table in loaded.tables:
        files = ", ".join(f.match for f in table.files) or "folders"
        out.print(f"table: {getattr(table, 'layout', 'texts')}: {files}", markup=False)
    if kind_of(schema) == "text_schemas":
        out.print(f"kinds of text: {', '.join(loaded.kinds)}; used: {', '.join(loaded.use)}", markup=False)
        return
    names = ("code", "name", "kind", "group", "other wordings")
    classes = grid(*names, left=names)
    for item in loaded.classes:
        group = f"{item.group} {'' if item.level is None else item.level}" if item.group else ""
        classes.add_row(*map(escape, (item.code, item.name, item.kind, group, few(item.wordings[1:], 5))))
    out.print(classes)


_FACTS = {"about": "description", "page": "homepage", "terms": "terms", "cite": "cite"}


@schema_app.command("lint")
def schema_lint(
    schemas: Annotated[
        list[str] | None, typer.Argument(metavar="SCHEMA", help="Ids or files; all if none is given.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Look for what would make captions wrong: unexpanded abbreviations, a synonym of two classes, a truncated name.

    Example: captioner schema lint my_schema.yaml
    """
    from captioner import agreement, resources
    from captioner.schema import load_schema
    from captioner.texts.schema import load_text_schema

    names = schemas or resources.names("label_schemas")
    problems: list[tuple[str, Any]] = []
    for name in names:
        if kind_of(name) == "text_schemas":
            load_text_schema(name)  # that it is valid is all that there is to say
        else:
            problems += [(name, p) for p in agreement.lint(load_schema(name))]
    errors = sum(p.level == "error" for _, p in problems)
    if as_json:
        print_json([{"schema": name} | p.to_dict() for name, p in problems])
    else:
        for name, p in problems:
            style = "red" if p.level == "error" else "yellow"
            out.print(f"[{style}]{p.level}[/] {escape(f'{name}: {p}')}")
        counts = (count(len(names), "schema"), count(errors, "error"), count(len(problems) - errors, "warning"))
        out.print(f"{counts[0]}: {counts[1]}, {counts[2]}")
    if errors:
        raise typer.Exit(1)


@schema_app.command("new")
def schema_new(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE", help="A label table, or a folder whose subfolders are the classes.")
    ],
    modality: Annotated[
        str, typer.Option(help="How the images were made, such as xray, ct, mri, ultrasound, fundus, histology.")
    ],
    anatomy: Annotated[str, typer.Option(help="What they show, such as chest, brain, retina, breast, knee, skin.")],
    schema_id: Annotated[
        str | None, typer.Option("--id", help="The schema's id; the table's name if left out.")
    ] = None,
    column: Annotated[str | None, typer.Option("--column", help="The column of labels; guessed if left out.")] = None,
    target: Annotated[
        Path | None, typer.Option("--out", help="The file to write; label_schemas/ID.yaml if left out.")
    ] = None,
) -> None:
    """Draft a schema for a label table that nobody has described yet; you then put it right.

    Example: captioner schema new labels.csv --modality xray --anatomy chest
    """
    from captioner import atomic, resources
    from captioner.scaffold import draft

    if not table.exists():
        raise UsageError(f"{table}: no such file or folder")
    words = re.sub(r"[^a-z0-9]+", "_", table.resolve().name.partition(".")[0].lower())
    name = schema_id or words.lstrip("_0123456789").rstrip("_") or "dataset"
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", name):
        raise UsageError(
            f"--id {name!r}: small letters, digits and underscores, and a letter first, such as my_dataset"
        )
    if target is None and name in resources.names("label_schemas"):
        raise UsageError(
            f"--id {name!r}: there is a schema of this name; choose another (captioner schema show {name})"
        )
    path = target or Path("label_schemas") / f"{name}.yaml"
    if path.exists():
        raise UsageError(f"{path}: exists already; choose another file with --out")
    text = draft(table, schema_id=name, modality=modality, anatomy=anatomy, column=column)
    with atomic.storage(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, text.encode())
    _show_labels(path, table)
    out.print(
        f"wrote {path}. Next: look at every class in it (its name, and the body region it shows), then", markup=False
    )
    out.print(f"  captioner schema lint {path}", markup=False)
    out.print(f"  captioner run {name} --data {table if table.is_dir() else table.parent}", markup=False)


def _show_labels(schema: Path, table: Path) -> None:
    """Print what a drafted schema makes of its table: how many rows, and the most frequent labels of an image."""
    from captioner.schema import load_schema
    from captioner.tables import read_samples

    loaded = load_schema(str(schema))
    samples = read_samples(loaded, table)
    images = Counter(samples.frame["labels"].tolist())
    usable, different = f"{len(samples.frame):,} usable", count(len(images), "combination")
    for code, rejects in samples.rejects.groupby("code", sort=False):
        first = rejects.iloc[0]
        out.print(f"left out: {len(rejects):,} {code}, such as row {first.row}: {first.reason}", markup=False)
    out.print(f"{count(samples.rows, 'row')}, {usable}, {different} of labels; the most frequent:", markup=False)
    rows = grid("images", "labels", "a caption would say", left={"labels", "a caption would say"})
    for position, number in images.most_common(10):
        codes = samples.combinations[position].positive
        rows.add_row(f"{number:,}", escape(", ".join(codes)), escape(", ".join(loaded[c].name for c in codes)))
    out.print(rows)


@schema_app.command("json-schema")
def schema_json_schema() -> None:
    """Print the JSON Schema of a label schema file, for editors.

    Example: captioner schema json-schema > label_schema.json
    """
    from captioner.schema import json_schema

    print_json(json_schema())
