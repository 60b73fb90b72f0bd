"""Which keys an image set holds and which came by, on disk: memory does not grow with their number."""

import os
import sqlite3
from collections.abc import Iterable
from typing import Literal, Self

from captioner.errors import StorageError

_CACHE = 2_048
"""Kilobytes that are kept in memory."""
_TOGETHER = 1_024
"""Keys that are written at a time where they come in order."""


class KeyIndex:
    """Keys with their sources, in a nameless temporary file of about 60 bytes a key that goes with the process.

    Raises:
        StorageError: the temporary file cannot be written.
    """

    def __init__(self) -> None:
        try:
            self._database = sqlite3.connect("", isolation_level=None)
            self._database.executescript(
                # Nothing has to survive: the file is made anew from manifest and journal each time.
                f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{_CACHE}; BEGIN;"
                "CREATE TABLE held (key TEXT PRIMARY KEY, source TEXT, images INT, of INT) WITHOUT ROWID;"
                "CREATE TABLE seen (key TEXT PRIMARY KEY) WITHOUT ROWID;"
            )
        except sqlite3.OperationalError as error:
            raise _full(error) from error
        self._holds_any = False
        self._last = ""
        self._recent: list[str] = []

    def hold(self, images: Iterable[tuple[str, str, int]]) -> None:
        """Record images that the set holds.

        Args:
            images: for each, the key of its item, its source, and how many images the file has. A file with several
                comes once for each of them that is there.
        """
        try:
            self._database.executemany(
                "INSERT INTO held VALUES (?, ?, 1, ?) ON CONFLICT DO UPDATE SET images = images + 1", images
            )
            self._holds_any = self._database.execute("SELECT 1 FROM held LIMIT 1").fetchone() is not None
        except sqlite3.OperationalError as error:
            raise _full(error) from error

    def held(self, key: str, source: str) -> tuple[Literal["no", "partly", "whole", "moved"], int]:
        """Say whether the set holds all images of an item, and how many.

        Returns:
            ``moved``: it holds the key from another source.
        """
        if not self._holds_any:
            return "no", 0
        try:
            found = self._database.execute("SELECT source, images, of FROM held WHERE key = ?", (key,)).fetchone()
        except sqlite3.OperationalError as error:
            raise _full(error) from error
        if found is None:
            return "no", 0
        if found[0] != source:
            return "moved", 0
        return "whole" if found[1] == found[2] else "partly", found[1]

    def first(self, key: str) -> bool:
        """Say whether a key comes by for the first time."""
        if ordered := key > self._last:  # behind all others, as in most tables: it need not be looked for
            self._last = key
            self._recent.append(key)
        try:
            if len(self._recent) >= _TOGETHER or not ordered:
                self._database.executemany("INSERT INTO seen VALUES (?)", [(each,) for each in self._recent])
                self._recent.clear()
            return ordered or self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,)).rowcount == 1
        except sqlite3.OperationalError as error:
            raise _full(error) from error

    def close(self) -> None:
        """Delete the temporary file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _full(error: sqlite3.Error) -> StorageError:
    return StorageError(
        f"cannot keep the list of keys in a temporary file: {error}. Free some space in the temporary folder "
        f"({os.environ.get('TMPDIR', '/var/tmp')}), or set TMPDIR to another one."  # noqa: S108 - where SQLite puts it
    )
