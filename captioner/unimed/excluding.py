"""Images that are not to be trained on: the lists of evaluation sets and official test splits."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from captioner.errors import UsageError
from captioner.references import normalise, without_extension
from captioner.shards.manifest import file_hash
from captioner.unimed.rows import CsvRow, File, Reject, read_csv, read_lines
from captioner.unimed.sources import Item, Source

CODE = "excluded"


class Excluding:
    """A source without the images of some lists.

    A listed name means an image if one of the two paths ends with the other; the ending of a file may be left out of the
    list (``00000001_000.png``, ``CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg``, a DICOM identifier).

    Args:
        source: the source.
        lists: CSV files, of which every cell that ends like an image file counts, or text files with a name a line.

    Raises:
        UsageError: a list cannot be read, or names no image.
    """

    def __init__(self, source: Source, lists: Sequence[Path]) -> None:
        self._source, self._lists = source, tuple(lists)
        self._names: set[str] = set()
        self._tails: set[str] = set()
        for path in self._lists:
            before = len(self._names)
            for name in _names(path):
                self._names.add(name)
                self._tails.update(_tails(name))
            if len(self._names) == before:
                raise UsageError(f"{path}: names no image (or none that the lists before it do not name).")

    def identity(self) -> dict[str, Any]:
        """Return the source's identity and the lists' hashes."""
        return {**self._source.identity(), "exclude": sorted(file_hash(path) for path in self._lists)}

    def items(self) -> Iterator[Item | Reject]:
        """Yield the source's items; those that are listed as rejects."""
        for item in self._source.items():
            if isinstance(item, Item) and self._has(item.entry.image):
                entry = item.entry
                yield Reject(entry.file, entry.row, "image", entry.image, CODE, "its image is on a list of --exclude")
            else:
                yield item

    def _has(self, reference: str) -> bool:
        name = normalise(reference)
        forms = {name, without_extension(name)}
        return not self._tails.isdisjoint(forms) or any(not self._names.isdisjoint(_tails(form)) for form in forms)


def _tails(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[i:]) for i in range(len(parts))]


def _names(path: Path) -> Iterator[str]:
    if not path.is_file():
        raise UsageError(f"{path}: no such list of images.")
    file = File(path, str(path))
    if path.suffix.lower() != ".csv":
        yield from filter(None, (normalise(line) for line in read_lines(file)))
        return
    for row in read_csv(file):
        if isinstance(row, CsvRow):
            yield from (normalise(cell) for cell in row.cells if without_extension(cell.strip()) != cell.strip())
