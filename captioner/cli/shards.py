"""Commands on shards."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from captioner.cli.console import JsonFlag, count, err, make_folder_of, out, print_json, reporter, stoppable
from captioner.errors import UsageError
from captioner.storage import local, matching, place

shards_app = typer.Typer(help="Image shards, caption shards, and whether they are whole.", no_args_is_help=True)


@shards_app.command("build")
def shards_build(
    schema: Annotated[str, typer.Argument(metavar="SCHEMA", help="A schema's id or file.")],
    data: Annotated[
        Path, typer.Option("--data", parser=place, metavar="FOLDER", help="The dataset's folder: a path or a URL.")
    ],
    out_dir: Annotated[Path, typer.Option("--out", parser=local, metavar="FOLDER", help="The output folder.")],
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

    Images keep their bytes, unless an option asks for a change and they need it. Runs into the same folder then take the same settings: --set shards.max_side=512.

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
    written = f"{count(images.images, 'image')} in {count(images.shards, 'shard')} ({images.written:,} written now)"
    out.print(f"{written}: {out_dir}/images", markup=False)
    if rejected:
        out.print(f"{count(rejected, 'row')} left out: {out_dir}/rejected_rows.csv", markup=False)
        raise typer.Exit(1)


@shards_app.command("verify")
def shards_verify(
    folder: Annotated[
        str, typer.Argument(metavar="FOLDER", help="An output folder, a run's, or one of shards: a path or a URL.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Find truncated shards, flipped bits, and shards that do not belong: what readers pass over in silence.

    Example: captioner shards verify out/chestxray14

    In object storage: captioner shards verify s3://bucket/chestxray14
    """
    from captioner.shards import verify

    top = place(folder)
    one_run = (top / "captions").is_dir()
    home = (top.resolve() if isinstance(top, Path) else top).parent.parent if one_run else top
    images = home / "images"
    runs = [top / "captions"] if one_run else matching(top, "runs/*/captions")
    beside = images if images.is_dir() else None
    if one_run:
        folders = runs
        if beside is None:
            err.print(f"no images at {images}: whether the captions belong to them is not known", markup=False)
    else:
        folders = [top] if beside is None else [images, *runs]
    problems = [(each, p) for each in folders for p in verify(each, images=beside if each in runs else None)]
    if as_json:
        print_json([{"folder": str(each)} | asdict(p) for each, p in problems])
    else:
        for each, problem in problems:
            err.print(f"{each / problem.file}: {problem.code}: {problem.reason}", markup=False)
        found = count(len(problems), "problem") if problems else "all shards are whole"
        out.print(f"{count(len(folders), 'folder')}: {found}")
    if problems:
        raise typer.Exit(1)


@shards_app.command("captions")
def shards_captions(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder: OUT/runs/RUN.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", parser=place, metavar="FOLDER", help="The dataset's folder, if it has moved."),
    ] = None,
) -> None:
    """Write the caption shards of a finished run again, for the image shards that there are now; nothing is asked.

    Each caption is checked against the label table again.

    Example: captioner shards captions out/chestxray14/runs/gpt-5-mini-report-1a2b3c4d
    """
    from captioner.recaption import rewrite_captions

    _be_there(folder, "a run's folder, OUT/runs/RUN")
    with stoppable():
        done = rewrite_captions(folder, data=data)
    shards = f"{count(done.captioned, 'image')} in {count(done.shards, 'shard')} ({done.written:,} written now)"
    out.print(f"{folder}/captions: {shards}", markup=False)
    if done.missing:
        out.print(f"{done.missing:,} images have no captions in this run: start it again to caption them")
        raise typer.Exit(1)


@shards_app.command("push")
def shards_push(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An output folder.")],
    target: Annotated[str, typer.Argument(metavar="URL", help="Where to: s3://BUCKET/FOLDER.")],
    run: Annotated[str | None, typer.Option("--run", help="This run's captions alone; otherwise all.")] = None,
) -> None:
    """Put shards, manifests, support sets and summaries into object storage, as far as they are not there yet.

    Credentials are taken from the environment (AWS_ACCESS_KEY_ID, AWS_PROFILE …). Push again after an interruption.

    Example: captioner shards push out/chestxray14 s3://bucket/chestxray14
    """
    from captioner.push import push

    there = place(target)
    with stoppable(), reporter() as report:

        def told(shards: int, total: int) -> None:
            if shards:
                report.advance(shards)
            else:
                report.start("putting shards", total)

        done = push(folder, there, run=run, progress=told)
    what = (
        f"{count(done.put, 'object')} put ({done.bytes / 1e6:,.1f} MB), {count(done.kept, 'shard')} were there already"
    )
    out.print(f"{there}: {what}", markup=False)
    for name, reason in done.left_out.items():
        out.print(f"run {name} was left out: {reason}", markup=False)


@shards_app.command("export")
def shards_export(
    name: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT",
            help="parquet, csv, llava, tars:one, tars:json, tars:flat, tars:joined:TAG, unimed:TAG, card, wids, croissant.",
        ),
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An output folder.")],
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

    _be_there(folder, "an output folder")
    make_folder_of(target)
    with stoppable():
        report = export_as(name, folder, target, run=run, skip=skip, license_url=license_url, url=url)
    what = f": {report.samples:,} images with captions, {report.bytes / 1e6:,.1f} MB" if report else ""
    out.print(f"wrote {target}{what}", markup=False)
    if report and report.missing:
        out.print(f"{report.missing:,} images have no captions in this run and were left out")


@shards_app.command("join")
def shards_join(
    url: Annotated[str, typer.Argument(metavar="URL", help="captioner:OUT/images/NAME-000000.tar?run=RUN")],
) -> None:
    """Write images and their captions as one tar to stdout: a pipe for loaders that read nothing else.

    Example: captioner shards join 'captioner:out/busi/images/busi-000000.tar?run=RUN' | tar t

    For open_clip: --train-data "pipe:captioner shards join 'captioner:out/busi/images/busi-{000000..000007}.tar?run=RUN'"
    """
    from captioner.shards.scheme import copy_url

    copy_url(url, sys.stdout.buffer)


def _be_there(folder: Path, what: str) -> None:
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder. Give {what}.")
