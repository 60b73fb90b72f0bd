"""Image shards: written once, appended to when images are added, never rewritten."""

import functools
import os
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from PIL.Image import DecompressionBombWarning

from captioner import atomic
from captioner.errors import OutputError
from captioner.shards import journal, manifest
from captioner.shards.convert import NOTHING, Conversion, changes
from captioner.shards.image_shard import ImageShard, Workers
from captioner.shards.index import KeyIndex
from captioner.shards.items import ImageItem, ImageProblem, Loaded, load
from captioner.shards.journal import Journal
from captioner.shards.manifest import Manifest, Row, Shard, item_key
from captioner.storage import Place, Remote

_KEY = re.compile(r"(?!__)[A-Za-z0-9_-]{1,80}", re.ASCII)
_DATASET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)
_SURROGATE = re.compile("[\ud800-\udfff]")
"""What Python makes of bytes in a file's name that are no UTF-8."""

_PROGRESS = 64
_FETCHES = 16
"""Objects that are fetched at a time: most of that is waiting."""
_KEYS = "a key has 1 to 80 of A-Z a-z 0-9 _ - and does not begin with two underscores"
_HELD = ("key", "source", "frame", "frames")
_DUPLICATE = "another image before it has the same key"


@dataclass(frozen=True, slots=True)
class _Held:
    """An item whose key the folder has: so many images, from the same file or from another one."""

    item: ImageItem
    images: int
    moved: bool


_Sifted = ImageItem | ImageProblem | _Held
_Found = tuple[_Sifted, list[Loaded | ImageProblem]]
"""An item, and what came of it."""


@dataclass(frozen=True, slots=True)
class ImageReport:
    """What the image shards hold after a build.

    Attributes:
        images: in the shards.
        shards: their number.
        written: shards that this call wrote.
        problems: items that are not in the shards, in the items' order.
        bytes: of all shards.
        unlisted: images that the shards hold from earlier builds and that were not among the items.
    """

    images: int
    shards: int
    written: int
    problems: tuple[ImageProblem, ...]
    bytes: int
    unlisted: int = 0


def build_images(
    items: Iterable[ImageItem],
    folder: Path,
    *,
    dataset: str,
    root: Place | None = None,
    per_shard: int = 1000,
    decode_check: bool = True,
    conversion: Conversion = NOTHING,
    progress: Callable[[int], None] | None = None,
) -> ImageReport:
    """Write images into shards ``DATASET-000000.tar`` …, their bytes unchanged.

    Items that the folder has already (the same key from the same source) are passed over without being opened; others
    go into new shards behind the old ones, which are never touched. If nothing is new, nothing in the folder is touched.
    An interrupted build goes on where it stopped and ends with the same bytes. A file with several images (pages of a
    TIFF, frames of a DICOM file, where such are converted) becomes one sample each, with keys ``KEY-f0001`` …

    Memory grows by two or three bytes an image. Their keys are kept in a temporary file, about 60 bytes each.

    Args:
        items: the images, in the order in which they shall be stored.
        folder: where the shards go; made if it does not exist.
        dataset: the id that shard names begin with.
        root: a folder of this machine outside of which nothing is read, whatever has become a link in the meantime.
        per_shard: images a shard.
        decode_check: decode each image fully, in as many threads as there are processors. Without, only headers are
            looked at, and half a JPEG passes.
        conversion: what may be changed in images; by default nothing, and images that would need it are problems.
        progress: called now and then with the number of items handled so far.

    Raises:
        OutputError: the folder holds other shards or is in use, or a key stands for another source than before.
        StorageError: the disk is full or cannot be written. What is finished is kept; call again to go on.
    """
    if not _DATASET.fullmatch(dataset) or per_shard < 1:
        raise ValueError(f"not a dataset id, or no images a shard: {dataset!r}, {per_shard}")
    with ExitStack() as stack:
        build = _Build(folder, dataset, per_shard, conversion, stack)
        if (folder / journal.NAME).exists():
            build.begin()
        build.take_stock()
        problems: list[ImageProblem] = []
        # Large images are decoded all the same; past a limit they are problems.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", DecompressionBombWarning)
        inside = os.path.realpath(root).rstrip("/") + "/" if isinstance(root, Path) else ""
        work = functools.partial(load, decode=decode_check, conversion=conversion, root=inside)
        items, remote = _look(items)
        sifted = build.sift(items)
        if remote or decode_check or conversion != NOTHING:
            loaded = _loaded(sifted, work, _FETCHES if remote else _cores())
        else:
            loaded = _read(sifted, functools.partial(work, room=build.room))
        good = build.sort_out(_counted(loaded, progress), problems)
        while (first := next(good, None)) is not None:
            build.begin()
            build.write_shard(chain([first], islice(good, per_shard - 1)))
        if build.journal is None and build.manifest is None:
            build.begin()  # no image at all is an image set too
        return build.finish(problems)


class _Build:
    """One call of build_images."""

    def __init__(self, folder: Path, dataset: str, per_shard: int, conversion: Conversion, stack: ExitStack) -> None:
        self.folder, self.dataset, self.per_shard = folder, dataset, per_shard
        self.conversion = changes(conversion)
        self._stack = stack
        self._workers = stack.enter_context(Workers())
        self.room = self._workers.room
        self._disk = stack.enter_context(ThreadPoolExecutor(1, "disk"))
        self._pending: Future[Shard] | None = None
        self.manifest: Manifest | None = None
        self.journal: Journal | None = None
        self.shards: list[Shard] = []
        self.written = 0
        self.added = 0
        self.held = 0
        self._index = stack.enter_context(KeyIndex())
        self._stamp = self._manifest_stamp()

    def _manifest_stamp(self) -> tuple[int, int] | None:
        try:
            found = (self.folder / manifest.NAME).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns

    def begin(self) -> None:
        """Open the journal, unless it is open: from here on the folder changes."""
        if self.journal is not None:
            return
        with atomic.storage(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "version": manifest.VERSION,
            "dataset": self.dataset,
            "per_shard": self.per_shard,
            "conversion": self.conversion,
        }
        self.journal = self._stack.enter_context(Journal(self.folder, settings))
        self._stack.callback(self.settle)  # whatever ends the build: before the journal is closed
        if self._manifest_stamp() != self._stamp:
            raise OutputError(f"{self.folder} was changed by another build at this moment. Start again.")

    def take_stock(self) -> None:
        """Find out what the folder holds, and refuse what is not ours."""
        if self._stamp:
            self.manifest = manifest.read_manifest(self.folder)
            if self.manifest.dataset != self.dataset:
                raise OutputError(
                    f"{self.folder} holds the images of {self.manifest.dataset}, not of {self.dataset}. "
                    "Choose another folder."
                )
            if self.manifest.conversion != self.conversion:
                raise OutputError(
                    f"{self.folder} holds images with the conversion {self.manifest.conversion or 'none'}, now it is "
                    f"{self.conversion or 'none'}. Choose another folder."
                )
            self.shards += self.manifest.shards
            self._hold(self.manifest.rows(*_HELD))
        if self.journal is not None:
            finished = {shard.name for shard in self.shards}
            for entry in self.journal.entries():
                if entry.shard.name in finished:  # killed between writing the manifest and removing the journal
                    continue
                self.shards.append(entry.shard)
                places = [manifest.COLUMNS.index(name) for name in _HELD]
                self._hold(tuple(row[place] for place in places) for row in entry.rows)
        self._check_files()

    def _hold(self, images: Iterable[Row]) -> None:
        self._index.hold(_by_item(images))

    def _check_files(self) -> None:
        known = {shard.name: shard.bytes for shard in self.shards}
        if self.journal is not None:
            known.setdefault(self._next_name(), -1)  # killed between its renaming and its line in the journal
        found = {path.name: path.stat().st_size for path in self.folder.glob("*.tar")}
        for name, size in found.items():
            if name not in known:
                raise OutputError(
                    f"{self.folder} holds {name}, which is not part of its image set. "
                    "Move it away, or choose another folder."
                )
            if known[name] not in (size, -1):
                raise OutputError(
                    f"{self.folder / name} has {size} bytes, its manifest says {known[name]}. "
                    "Restore it, or build in another folder."
                )
        for shard in self.shards:
            if shard.name not in found:
                raise OutputError(f"{self.folder / shard.name} is missing. Restore it, or build in another folder.")

    def _next_name(self) -> str:
        return f"{self.dataset}-{len(self.shards) + (self._pending is not None):06d}.tar"

    def sift(self, items: Iterable[ImageItem]) -> Iterator[_Sifted]:
        """Yield what has to be read, problems with keys, and the items that the folder has already."""
        for item in items:
            if not _KEY.fullmatch(item.key):
                yield ImageProblem(item.key, item.source, "invalid_key", _KEYS)
                continue
            if _SURROGATE.search(item.source):
                yield ImageProblem(item.key, item.source, "unreadable", "the file's name is not valid UTF-8; rename it")
                continue
            state, images = self._index.held(item.key, item.source)
            yield item if state in ("no", "partly") else _Held(item, images, state == "moved")

    def sort_out(self, found: Iterable[_Found], problems: list[ImageProblem]) -> Iterator[Loaded]:
        """Yield the images that are new, in order; add problems to the list, and count what the folder has already.

        Raises:
            OutputError: a key stands for another file than before.
        """
        for what, images in found:
            if isinstance(what, ImageProblem):
                problems.append(what)
                continue
            item = what.item if isinstance(what, _Held) else what
            if not self._index.first(item.key):
                problems.append(ImageProblem(item.key, item.source, "duplicate_key", _DUPLICATE))
                continue
            if isinstance(what, _Held):
                if what.moved:
                    raise OutputError(
                        f"{self.folder} has the key {item.key} from another file than {item.source}. Keys of a "
                        "dataset must stay with their images: choose another folder for the changed table."
                    )
                self.held += what.images
            for image in images:
                if isinstance(image, ImageProblem):
                    problems.append(image)
                elif image.frame is None:
                    yield image
                elif self._index.held(image.key, image.source)[0] == "whole":  # from before an interruption
                    self.held += 1
                elif not _KEY.fullmatch(image.key):
                    problems.append(ImageProblem(item.key, item.source, "invalid_key", _KEYS, image.frame[0]))
                elif not self._index.first(image.key):
                    problems.append(ImageProblem(item.key, item.source, "duplicate_key", _DUPLICATE, image.frame[0]))
                else:
                    yield image

    def write_shard(self, images: Iterable[Loaded]) -> None:
        """Write the next shard. It is brought to disk and recorded while the one behind it is written."""
        shard = ImageShard(self.folder / self._next_name(), self._workers)
        try:
            for image in images:
                shard.add(image)
            shard.end()
            self.settle()
        except BaseException:
            shard.give_up()
            raise
        self._pending = self._disk.submit(self._record, shard)

    def _record(self, unfinished: ImageShard) -> Shard:
        assert self.journal is not None
        shard, rows = unfinished.finish()
        self.journal.add(shard, rows)
        return shard

    def settle(self) -> None:
        """Wait for the shard that is being brought to disk."""
        if (pending := self._pending) is not None:
            self._pending = None
            shard = pending.result()
            self.shards.append(shard)
            self.written += 1
            self.added += shard.samples

    def finish(self, problems: list[ImageProblem]) -> ImageReport:
        """Make the manifest say what the shards hold, if anything has changed."""
        self.settle()
        total = Manifest(self.folder, self.dataset, self.per_shard, tuple(self.shards), self.conversion)
        if self.journal is not None:
            for path in self.folder.glob(f"{self.dataset}-*.tar{atomic.TEMPORARY}"):
                path.unlink()
            old = () if self.manifest is None else self.manifest.rows(*manifest.COLUMNS)
            before = 0 if self.manifest is None else len(self.manifest.shards)
            added = {shard.name for shard in self.shards[before:]}
            new = (row for entry in self.journal.entries() if entry.shard.name in added for row in entry.rows)
            manifest.write_manifest(total, chain(old, new))
            self.journal.remove()
        return ImageReport(
            images=total.samples,
            shards=len(total.shards),
            written=self.written,
            problems=tuple(problems),
            bytes=sum(shard.bytes for shard in total.shards),
            unlisted=total.samples - self.added - self.held,
        )


def _by_item(rows: Iterable[Row]) -> Iterator[tuple[str, str, int]]:
    """Yield what the index is told of images: as parts of their items, and those of several also by themselves."""
    for key, source, frame, frames in rows:
        yield item_key(key, frame), source, frames or 1
        if frame is not None:
            yield key, source, 1


def _look(items: Iterable[ImageItem]) -> tuple[Iterable[ImageItem], bool]:
    """Return the items, and whether the first is an object behind a URL."""
    items = iter(items)
    first = next(items, None)
    return ((), False) if first is None else (chain([first], items), isinstance(first.path, Remote))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_Load = Callable[[ImageItem], list[Loaded | ImageProblem]]


def _read(sifted: Iterable[_Sifted], work: _Load) -> Iterator[_Found]:
    """Read one item after the other, each when the one before it is in its shard."""
    return ((what, work(what) if isinstance(what, ImageItem) else []) for what in sifted)


def _loaded(sifted: Iterable[_Sifted], work: _Load, workers: int) -> Iterator[_Found]:
    """Load items in their order, in threads a few ahead of the writer.

    Pillow frees the interpreter while it decodes, scales and encodes.
    """
    with ThreadPoolExecutor(workers, "decode") as pool:
        ahead: deque[tuple[_Sifted, Future[list[Loaded | ImageProblem]] | None]] = deque()
        for what in sifted:
            ahead.append((what, pool.submit(work, what) if isinstance(what, ImageItem) else None))
            if len(ahead) > 2 * workers:
                yield _result(*ahead.popleft())
        while ahead:
            yield _result(*ahead.popleft())


def _result(what: _Sifted, future: Future[list[Loaded | ImageProblem]] | None) -> _Found:
    return what, [] if future is None else future.result()


def _counted(found: Iterable[_Found], progress: Callable[[int], None] | None) -> Iterator[_Found]:
    done = 0
    for done, each in enumerate(found, 1):
        yield each
        if progress is not None and not done % _PROGRESS:
            progress(done)
    if progress is not None:
        progress(done)
