"""Reports as files: HTML, Markdown and JSON in one folder, with the trend against earlier audits of the same folder."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from captioner import atomic
from captioner.audit.compare import Comparison
from captioner.audit.result import Audit
from captioner.report.comparison import comparison_latex, comparison_markdown, comparison_page
from captioner.report.markdown import audit_markdown
from captioner.report.page import audit_page
from captioner.storage import Place, Remote

JSON = "audit.json"
_REMEMBERED = 50


@dataclass(frozen=True, slots=True)
class Written:
    """The files of a report."""

    html: Path
    markdown: Path
    json: Path


def write_report(audit: Audit, folder: Path, *, when: datetime | None = None) -> Written:
    """Write the report of an audit into a folder; earlier audits there, under the same schema, become its trend.

    Args:
        audit: what was found.
        folder: made if it does not exist.
        when: the time of the audit; now if left out.

    Raises:
        StorageError: the folder cannot be written.
    """
    when = when or datetime.now(UTC)
    written = Written(folder / "index.html", folder / "audit.md", folder / JSON)
    with atomic.storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
    history = [*_history(written.json, audit.schema), entry_of(audit, when)][-_REMEMBERED:]
    content = audit.to_dict() | {"time": history[-1]["time"], "history": history}
    atomic.write(written.html, audit_page(audit, [h for h in history if h["captions"]], when).encode())
    atomic.write(written.markdown, audit_markdown(audit).encode())
    text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
    atomic.write(written.json, text.encode() + b"\n")
    return written


def write_comparison(comparison: Comparison, folder: Path, *, when: datetime | None = None) -> Path:
    """Write ``compare.html``, ``.md``, ``.tex`` and ``.json`` into a folder; return the page.

    Raises:
        StorageError: the folder cannot be written.
    """
    with atomic.storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
    page = folder / "compare.html"
    atomic.write(page, comparison_page(comparison, when or datetime.now(UTC)).encode())
    atomic.write(folder / "compare.md", comparison_markdown(comparison).encode())
    atomic.write(folder / "compare.tex", comparison_latex(comparison).encode())
    text = json.dumps(comparison.to_dict(), ensure_ascii=False, indent=1, allow_nan=False)
    atomic.write(folder / "compare.json", text.encode() + b"\n")
    return page


def folder_for(target: Place) -> Path:
    """Return where the report of a target goes unless it is said: into a run or an output folder, else beside one's work."""
    if isinstance(target, Remote):
        return Path(f"audit-{target.name.partition('.')[0]}")
    if (target / "pipeline.yaml").is_file() or (target / "runs").is_dir():
        return target / "report"
    return Path(f"audit-{target.resolve().name.partition('.')[0]}")


def entry_of(audit: Audit, when: datetime) -> dict[str, Any]:
    """Return what later audits remember of this one."""
    data = audit.to_dict()
    return {
        "time": when.isoformat(timespec="seconds"),
        "schema": audit.schema,
        "target": audit.target,
        "checker": audit.checker,
        "captions": audit.captions,
        "agreement": data["agreement"],
        "codes": {c["code"]: c["share"] for c in data["codes"]},
    }


def _history(path: Path, schema: str) -> list[Mapping[str, Any]]:
    """Return earlier audits under the same schema; a file that is none of ours has none."""
    try:
        history = json.loads(path.read_text(encoding="utf-8"))["history"]
        return [h for h in history if h["schema"] == schema and _is_entry(h)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _is_entry(entry: Mapping[str, Any]) -> bool:
    numbers = (entry["agreement"]["low"], entry["agreement"]["high"], entry["captions"])
    whole = all(isinstance(n, int | float) for n in numbers) and isinstance(
        entry["agreement"]["share"], int | float | None
    )
    datetime.fromisoformat(entry["time"])
    return (
        whole
        and isinstance(entry["checker"], str)
        and bool(entry["agreement"]["share"] is not None or not entry["captions"])
    )
