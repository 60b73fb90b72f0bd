"""What an output is built from: annotation files and images below $DATA, or runs of captioner."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from captioner.errors import ShardError, UsageError
from captioner.shards import Samples
from captioner.shards.captions import RECORD
from captioner.shards.forms import captions_of
from captioner.shards.manifest import file_hash, read_manifest
from captioner.shards.rows import Rows, record_of
from captioner.unimed import texts
from captioner.unimed.outputs import Output
from captioner.unimed.pictures import Pictures
from captioner.unimed.rows import Entry, Field, File, Reject, entry


@dataclass(frozen=True, slots=True)
class Item:
    """A sample to be: its row, and how its image's bytes are got. ``load`` may be called in any thread."""

    entry: Entry
    load: Callable[[], bytes]


class Source(Protocol):
    """Where the samples of an output come from."""

    def identity(self) -> dict[str, Any]:
        """Return, as JSON, what decides which samples there are: an interrupted build is only resumed with the same."""

    def items(self) -> Iterator[Item | Reject]:
        """Yield the samples, and the rows that cannot become one, always in the same order."""


@dataclass(frozen=True, slots=True)
class State:
    """Whether an output can be built from a $DATA.

    Attributes:
        output: which.
        files: its annotation files, as far as they are there.
        images: the folder in which images are looked for first; None if there is none.
        missing: for each thing that is not there, a sentence that says where it should be.
    """

    output: Output
    files: tuple[File, ...]
    images: Path | None
    missing: tuple[str, ...]

    @property
    def ready(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing


def look(data: Path, output: Output) -> State:
    """Say what of an output's annotations and images is there; no file is opened.

    Args:
        data: the folder that UniMed's documentation calls $DATA.
        output: which output.
    """
    folder = _dataset(data, output)
    files: list[File] = []
    missing: list[str] = []
    for places in output.annotations:
        found = next((folder / place for place in places if (folder / place).exists()), None)
        if found is None:
            missing.append(f"{folder / places[0]} is not there")
            continue
        paths = [found] if found.is_file() else _tables(found, output)
        if not paths:
            missing.append(f"{found} holds no CSV files")
        files += [File(path, path.relative_to(data).as_posix()) for path in paths]
    images = next(iter(_roots(folder, output)), None)
    if images is None:
        missing.append(f"the image folder {folder / output.images[0]} is not there")
    return State(output, tuple(files), images, tuple(missing))


def from_files(data: Path, output: Output) -> "FileSource":
    """Return an output's annotation files and images as UniMed's documentation lays them out.

    Raises:
        UsageError: something is missing; says where it should be, and that a run's captions would do.
    """
    state = look(data, output)
    if not state.ready:
        raise UsageError(
            f"{output.name}: {'; '.join(state.missing)}. Lay it out as UniMed's documentation says, or use the captions "
            f"of a run of your own: --captions {output.name}=OUT."
        )
    folder = _dataset(data, output)
    return FileSource(state.files, output, Pictures(_roots(folder, output), (data, folder)))


def from_runs(output: Output, folders: Sequence[Path]) -> "RunSource":
    """Return the image and caption shards of runs, one behind the other.

    Args:
        output: which output.
        folders: output folders of captioner with one run each, or folders of runs (``OUT/runs/RUN``).

    Raises:
        UsageError: a folder holds no run, or several.
        ShardError: its shards do not belong together.
    """
    return RunSource([_Run(folder) for folder in folders], output)


class FileSource:
    """Annotation files, and images below $DATA."""

    def __init__(self, files: Sequence[File], output: Output, pictures: Pictures) -> None:
        self._files, self._read, self._pictures = tuple(files), output.read, pictures

    def identity(self) -> dict[str, Any]:
        """Return the files' hashes."""
        return {"files": {file.name: file_hash(file.path) for file in self._files}}

    def items(self) -> Iterator[Item | Reject]:
        """Yield what the rows come to."""
        for row in self._read(self._files):
            yield row if isinstance(row, Reject) else Item(row, partial(self._pictures.load, row.image))


class RunSource:
    """The captions of runs."""

    def __init__(self, runs: Sequence["_Run"], output: Output) -> None:
        self._runs = tuple(runs)
        self._rule = partial(texts.own, tag=output.tag, drawn=output.drawn)

    def identity(self) -> dict[str, Any]:
        """Return the runs' names and hashes."""
        return {"runs": [run.identity() for run in self._runs]}

    def items(self) -> Iterator[Item | Reject]:
        """Yield the images of the runs, in the order of their label tables."""
        for run in self._runs:
            yield from run.items(self._rule)


class _Run:
    """A run: caption shards beside image shards."""

    def __init__(self, folder: Path) -> None:
        self.folder = _run_folder(folder)
        self._images = self.folder.parent.parent / "images"
        self._captions = self.folder / "captions"
        self._file = File(self.folder, str(self.folder))

    def identity(self) -> dict[str, Any]:
        manifest = read_manifest(self._images)
        record = record_of(manifest, self._captions)
        hashes = "".join(shard.sha256 for shard in record.shards)
        return {
            "run": record.run,
            "images": manifest.hash,
            "captions": hashlib.sha256(hashes.encode()).hexdigest(),
        }

    def items(self, rule: Callable[[Sequence[str]], texts.Text]) -> Iterator[Item | Reject]:
        samples = Samples(self._images)
        lock = threading.Lock()

        def load(position: int, sha256: str) -> bytes:
            with lock:
                sample = samples[position]
            if hashlib.sha256(sample.image).hexdigest() != sha256:
                raise ShardError(f"the image {sample.key} in {self._images} is damaged. Restore it.")
            return sample.image

        expected = 0
        for row in Rows(self._images, self._captions, "skip"):
            yield from map(self._without, range(expected, row.position))
            expected = row.position + 1
            text = Field("captions", captions_of(row.record), rule)
            made = entry(self._file, expected, Field("image", row.source, str), text)
            yield made if isinstance(made, Reject) else Item(made, partial(load, row.position, row.sha256))
        yield from map(self._without, range(expected, len(samples)))

    def _without(self, position: int) -> Reject:
        return Reject(self._file.name, position + 1, "captions", "", "no_caption", "the run has no caption for it")


def _run_folder(folder: Path) -> Path:
    if _is_run(folder):
        return folder
    runs = sorted(path for path in folder.glob("runs/*") if _is_run(path))
    if len(runs) == 1:
        return runs[0]
    if runs:
        raise UsageError(f"{folder} has several runs; name one of them: {', '.join(map(str, runs))}.")
    raise UsageError(
        f"{folder} holds no run with caption shards. Name an output folder of captioner, or one run in it (OUT/runs/RUN). "
        "A run without images gets its shards from: captioner shards build, then captioner shards captions."
    )


def _is_run(folder: Path) -> bool:
    return (folder / "captions" / RECORD).is_file()


def _dataset(data: Path, output: Output) -> Path:
    return next((data / name for name in output.dataset if (data / name).is_dir()), data / output.dataset[0])


def _roots(folder: Path, output: Output) -> list[Path]:
    if not folder.is_dir():
        return []
    places = (folder.parent if place == ".." else folder / place for place in output.images)
    return [place for place in places if place.is_dir()]


def _tables(folder: Path, output: Output) -> list[Path]:
    return sorted(path for path in folder.glob("*.csv") if path.name not in output.passed_over and path.is_file())
