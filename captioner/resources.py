"""Where prompts, label schemas, text schemas and pipelines are found: the user's folders first, then the ones that ship."""

import functools
from pathlib import Path

from captioner.errors import UsageError, did_you_mean

SUFFIXES = {"prompts": ".j2", "label_schemas": ".yaml", "text_schemas": ".yaml", "pipelines": ".yaml"}


_MANY = 20
"""Names from which on a message does not list them all."""


@functools.cache
def shipped() -> Path:
    """Return the folder that holds the shipped ``prompts/``, ``label_schemas/``, ``text_schemas/`` and ``pipelines/``."""
    package = Path(__file__).resolve().parent
    installed = package / "data"
    return installed if installed.is_dir() else package.parent


def folders(kind: str) -> list[Path]:
    """Return the existing folders of a kind, the user's (in the working directory) before the shipped one."""
    found = []
    for base in (Path.cwd(), shipped()):
        folder = (base / kind).resolve()
        if folder.is_dir() and folder not in found:
            found.append(folder)
    return found


def files(name: str) -> list[Path]:
    """Return the existing files of a name, the user's (in the working directory) before the shipped one."""
    found = [base.resolve() / name for base in (Path.cwd(), shipped())]
    return [path for path in dict.fromkeys(found) if path.is_file()]


def names(kind: str) -> list[str]:
    """Return the names that :func:`find` knows, sorted; files that start with an underscore are parts of others."""
    suffix = SUFFIXES[kind]
    return sorted({f.stem for d in folders(kind) for f in d.glob(f"*{suffix}") if not f.name.startswith("_")})


def find(kind: str, name: str) -> Path:
    """Return the file of a name (``"chestxray14"``) or of a path (``"my/schema.yaml"``).

    Raises:
        UsageError: nothing is found; names what there is.
    """
    path = Path(name)
    if path.suffix and path.is_file():
        return path.resolve()
    suffix = SUFFIXES[kind]
    what = kind.replace("_", " ").removesuffix("s")
    # "pipelines/busi.yaml" is the shipped one from any folder; any other path means what it says.
    stem = path.stem if path.suffix == suffix and str(path.parent) in {".", kind} and not name.startswith(".") else name
    if "/" in stem or "\\" in stem:
        raise UsageError(f"no {what} {name!r}: no such file")
    for folder in folders(kind):
        candidate = folder / f"{stem}{suffix}"
        if candidate.is_file():
            return candidate
    known = names(kind)
    listed = ", ".join(known) or "none"
    hint = did_you_mean(stem, known) or (
        f" There are: {listed}." if len(known) < _MANY else " See: captioner schema list."
    )
    raise UsageError(f"no {what} {name!r}: neither a file nor a known name.{hint}")
