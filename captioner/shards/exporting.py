"""Exports by name, for the command line: which there are, and what each is called with."""

from collections.abc import Callable
from pathlib import Path

import yaml

from captioner.errors import UsageError, did_you_mean
from captioner.shards.captions import RECORD
from captioner.shards.croissant import export_croissant
from captioner.shards.export import export_csv, export_llava, export_parquet
from captioner.shards.export_shards import export_tars, export_unimed
from captioner.shards.metadata import export_card, export_wids
from captioner.shards.rows import ExportReport, Missing

_TABLES: dict[str, Callable[[Path, Path, Path], ExportReport]] = {
    "parquet": export_parquet,
    "csv": export_csv,
    "llava": export_llava,
}
_NAMES = (*_TABLES, "tars:one", "tars:json", "tars:flat", "tars:joined:TAG", "unimed:TAG", "card", "wids", "croissant")


def captions_of(out: Path, run: str | None) -> Path:
    """Return the folder of a run's caption shards.

    Args:
        out: an output folder.
        run: the run's name; it may be left out where there is only one.

    Raises:
        UsageError: there is none of this name; or none was named, and there are none or several.
    """
    runs = sorted(path.parent.parent.name for path in out.glob(f"runs/*/captions/{RECORD}"))
    if run is None and len(runs) == 1:
        run = runs[0]
    if run not in runs:
        if not runs:
            raise UsageError(
                f"{out}: no caption shards of any run in this folder. Give an output folder (OUT/runs/RUN)."
            )
        known = f"it has: {', '.join(runs)}."
        wrong = "name a run of this folder" if run is None else f"no caption shards of a run {run!r}"
        raise UsageError(f"{out}: {wrong}; {known}{did_you_mean(run or '', runs)}")
    return out / "runs" / run / "captions"


def export_as(
    name: str,
    out: Path,
    target: Path,
    *,
    run: str | None = None,
    skip: bool = False,
    license_url: str | None = None,
    url: str | None = None,
) -> ExportReport | None:
    """Write an export of an output folder.

    Args:
        name: ``parquet``, ``csv``, ``llava``, ``tars:FORM`` with a form of ``export_tars``, ``unimed:TAG``, ``card``,
            ``wids`` or ``croissant`` (which writes its table beside itself, under the same name with ``.parquet``).
        out: the output folder.
        target: the file or, for tars, the folder to write.
        run: whose captions; it may be left out where the folder has one run.
        skip: leave images without captions out of tars, where they are an error otherwise.
        license_url: for ``croissant``: the licence of the images.
        url: for ``croissant``: where the data set is described.

    Returns:
        What the export holds; None for those that describe the shards themselves.

    Raises:
        UsageError: there is no such export, or it lacks something.
        OutputError, ShardError, StorageError: as for the export itself.
    """
    images = out / "images"
    missing: Missing = "skip" if skip else "error"
    kind, _, detail = name.partition(":")
    if kind == "wids" and not detail:
        export_wids(images, target)
        return None
    if name in _TABLES:
        return _TABLES[name](images, captions_of(out, run), target)
    if kind == "tars" and detail:
        return export_tars(images, captions_of(out, run), target, form=detail, missing=missing)
    if kind == "unimed" and detail:
        return export_unimed(images, captions_of(out, run), target, tag=detail, missing=missing)
    if name == "card":
        captions = captions_of(out, run)
        export_card(images, captions, target, title=_title(captions.parent))
        return None
    if name == "croissant":
        if not license_url or not url:
            raise UsageError("a Croissant file names the licence of the images and a page about them: give both URLs.")
        table = target.with_suffix(".parquet")
        report = export_parquet(images, captions_of(out, run), table)
        export_croissant(images, table, target, license_url=license_url, url=url)
        return report
    raise UsageError(f"no export {name!r}; there are: {', '.join(_NAMES)}.{did_you_mean(name, _NAMES)}")


def _title(run: Path) -> str | None:
    """Return the data set's name as the schema of a run has it; None if the run does not say."""
    try:
        said = yaml.safe_load((run / "pipeline.yaml").read_text(encoding="utf-8"))
        return str((said.get("resolved_schema") or said["resolved_texts"])["title"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return None
