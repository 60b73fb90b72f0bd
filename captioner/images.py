"""Which file is a sample's image, and what an image's bytes are. Nothing outside the image folder is ever opened."""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pandas as pd

from captioner.errors import UsageError
from captioner.references import EXTENSIONS, Problem, normalise, refusal, sample_key, without_extension
from captioner.storage import Place, Remote
from captioner.tables import REJECT_COLUMNS, SampleTable

__all__ = ["HEAD", "ImageIndex", "Problem", "locate", "sample_key", "sniff"]

HEAD = 132
"""How many bytes :func:`sniff` needs."""

_SIGNATURES = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\x00", "tif"),
    (b"MM\x00*", "tif"),
    (b"II+\x00", "tif"),
    (b"MM\x00+", "tif"),
    (b"\x00\x00\x00\x0cjP  ", "jp2"),
    (b"\x93NUMPY", "npy"),
    (b"P4", "pbm"),
    (b"P5", "pgm"),
    (b"P6", "ppm"),
)


def sniff(head: bytes) -> str | None:
    """Return the type of an image from its first :data:`HEAD` bytes: ``jpg``, ``dcm``, ``npy`` …; None if it is none."""
    if head[128:132] == b"DICM":
        return "dcm"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return next((kind for signature, kind in _SIGNATURES if head.startswith(signature)), None)


class ImageIndex:
    """The image files below a folder, found by references of any completeness.

    Args:
        root: the folder, a path or a URL; walked once. Links to folders are not followed, links to files only if they
            stay inside.

    Raises:
        UsageError: there is no such folder.
    """

    def __init__(self, root: Place) -> None:
        if not root.is_dir():
            raise UsageError(f"{root}: no such image folder")
        self.root = root
        self._real_root = Path(os.path.realpath(str(root)))
        self._files: set[str] = set()
        self._links: set[str] = set()
        self._linked_folders: list[str] = []
        self._by_name: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        if isinstance(root, Remote):
            self._list(root)
        else:
            self._walk(root)

    def _walk(self, root: Path) -> None:
        todo = [""]
        while todo:
            prefix = todo.pop()
            with _scan(root / prefix) as entries:
                for entry in entries:
                    name, path = entry.name, prefix + entry.name
                    if name.startswith(".") or name == "__MACOSX" or not _is_text(name):
                        continue
                    if entry.is_symlink():
                        if entry.is_dir():
                            self._linked_folders.append(path + "/")
                            continue
                        self._links.add(path)
                    elif entry.is_dir():
                        todo.append(path + "/")
                        continue
                    elif not entry.is_file():
                        continue
                    self._add(path, name)

    def _list(self, root: Remote) -> None:
        for path in root.files():
            parts = path.split("/")
            if not any(part.startswith(".") for part in parts) and "__MACOSX" not in parts:
                self._add(path, parts[-1])

    def _add(self, path: str, name: str) -> None:
        self._files.add(path)
        self._by_name.setdefault(_folded_ending(name), []).append(path)
        if name.rpartition(".")[2].lower() in EXTENSIONS:
            self._by_stem.setdefault(without_extension(name), []).append(path)

    @property
    def files(self) -> Collection[str]:
        """All files below the folder, as paths relative to it."""
        return self._files

    def find(self, reference: str) -> Path | Problem:
        """Return the file that a reference names, in a folder of this machine.

        That is the reference joined to the root; else the one file below the root whose path ends with the whole
        reference, where the ending may be missing from the reference or be written in another case.

        Returns:
            A problem has the code ``bad_image_reference``, ``missing_image``, ``ambiguous_image`` or ``outside_root``.
        """
        found = self.resolve(reference)
        assert isinstance(self.root, Path)
        return found if isinstance(found, Problem) else self.root / found

    def resolve(self, reference: str) -> str | Problem:
        """Do what :meth:`find` does, and return the path relative to the root, ``/`` between parts."""
        wanted = normalise(reference)
        refused = refusal(wanted)
        if refused:
            return refused
        if wanted in self._files:
            return self._inside(wanted)
        for candidates in self._candidates(wanted):
            if len(candidates) == 1:
                return self._inside(candidates[0])
            if candidates:
                shown = ", ".join(sorted(candidates)[:3]) + (" …" if len(candidates) > 3 else "")
                return Problem("ambiguous_image", f"{len(candidates)} files could be meant: {shown}")
        return self._missing(wanted)

    def _candidates(self, wanted: str) -> tuple[list[str], ...]:
        """Return the files that a reference could mean, the closest sense first."""
        name = wanted.rpartition("/")[2]
        named = self._by_name.get(_folded_ending(name), ())
        stemmed = self._by_stem.get(name, ())
        if not named and not stemmed:
            return ()
        tail, folded_tail = "/" + wanted, _folded_ending("/" + wanted)
        same = [p for p in named if p.endswith(tail)]
        alike = [p for p in named if _folded_ending("/" + p).endswith(folded_tail)]
        longer = [p for p in stemmed if ("/" + without_extension(p)).endswith(tail)]
        alike_at_root = [p for p in alike if len(p) == len(wanted)]
        longer_at_root = [p for p in longer if without_extension(p) == wanted]
        return same, alike_at_root, alike, longer_at_root, longer

    def _inside(self, path: str) -> str | Problem:
        if path not in self._links:
            return path
        real = Path(os.path.realpath(str(self.root / path)))
        if not real.is_relative_to(self._real_root):
            return Problem("outside_root", "the file is a link to a place outside the image folder")
        if not real.is_file():
            return Problem("missing_image", "the file is a link to nothing")
        return path

    def _missing(self, wanted: str) -> Problem:
        if any(wanted.startswith(folder) for folder in self._linked_folders):
            real = Path(os.path.realpath(str(self.root / wanted)))
            if not real.is_relative_to(self._real_root):
                return Problem("outside_root", "the folder is a link to a place outside the image folder")
        if "\ufffd" in wanted:
            return Problem("missing_image", "the file's name is not valid UTF-8; rename the file")
        name = wanted.rpartition("/")[2]
        others = self._by_stem.get(without_extension(name), ())
        if others:
            return Problem("missing_image", f"no file of this name; there is {min(others)}")
        return _MISSING


_MISSING = Problem("missing_image", "no file of this name below the image folder")


def _scan(folder: Path) -> AbstractContextManager[Iterator[os.DirEntry[str]]]:
    try:
        return os.scandir(folder)
    except OSError as e:
        raise UsageError(f"{folder}: the image folder cannot be read: {e.strerror}") from None


def _is_text(name: str) -> bool:
    """Say whether a file's name is valid UTF-8; no table can name the others."""
    return name.isascii() or not any("\ud800" <= c <= "\udfff" for c in name)


def _folded_ending(path: str) -> str:
    """Return a path with its file's ending in lower case: ``X.JPG`` and ``X.jpg`` are one image's names."""
    stem, dot, ending = path.rpartition(".")
    return f"{stem}.{ending.lower()}" if dot else path


def locate(samples: SampleTable, root: Place) -> SampleTable:
    """Find the images of samples.

    Args:
        samples: the samples of a dataset.
        root: the folder that the references start from, or any folder above it.

    Returns:
        The same, with a column ``path`` (relative to ``root``, ``/`` between parts). Samples whose image is not found
        have moved to the rejects, as ``missing_image``, ``ambiguous_image`` or ``outside_root``; so have samples that
        share an image file with another one, as ``duplicate_image``.

    Raises:
        UsageError: there is no such folder.
    """
    index = ImageIndex(root)
    found = [index.resolve(reference) for reference in samples.frame["image"].tolist()]
    problems = [f if isinstance(f, Problem) else None for f in found]
    good = np.array([p is None for p in problems], dtype=bool)
    frame = samples.frame[good].reset_index(drop=True)
    frame["path"] = pd.Series([f for f in found if isinstance(f, str)], dtype=samples.frame["image"].dtype)
    bad = [p for p in problems if p is not None]
    rejects = [samples.rejects]
    if bad:
        rejects.append(_rejects(samples.frame[~good], [p.code for p in bad], [p.reason for p in bad]))
    uses = Counter(frame["path"])
    shared = frame["path"].map(uses).to_numpy() > 1
    if shared.any():
        rows = frame[shared]
        reasons = [f"{uses[p]} samples have the image file {p}" for p in rows["path"]]
        rejects.append(_rejects(rows, ["duplicate_image"] * len(rows), reasons))
        frame = frame[~shared].reset_index(drop=True)
    everything = pd.concat([r for r in rejects if len(r)] or rejects, ignore_index=True)
    return SampleTable(frame, samples.combinations, everything, samples.rows, samples.notes)


def _rejects(rows: pd.DataFrame, codes: list[str], reasons: list[str]) -> pd.DataFrame:
    columns = {
        "file": rows["file"].to_numpy(),
        "row": rows["row"].to_numpy(),
        "column": "image",
        "value": rows["image"].to_numpy(),
        "code": codes,
        "reason": reasons,
    }
    return pd.DataFrame({name: columns[name] for name in REJECT_COLUMNS})
