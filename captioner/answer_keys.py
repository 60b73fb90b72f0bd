"""Where the answer to a request stands in a ledger, by the request's key.

Keys are hashes: an index over them in the ledger itself would put each new answer's on another page, and writing these
pages would cost as much as writing the answers. So the ledger lists the keys as they come, and they are indexed here, in
memory, by whoever looks one up: about 30 bytes each.
"""

import sqlite3
from collections.abc import Iterable, Sequence

_LATER = 4096


class AnswerKeys:
    """The index of one ledger.

    Args:
        ledger: its database. After answers were deleted, :meth:`forget`.
        others_write: answers are added by somebody else, at any time; all others are told of by :meth:`came`.
    """

    def __init__(self, ledger: sqlite3.Connection, *, others_write: bool) -> None:
        self._ledger = ledger
        self._others_write = others_write
        self._begin()

    def _begin(self) -> None:
        self._last = 0
        self._behind = True
        self._newer: set[str] = set()
        self._index = sqlite3.connect(":memory:", isolation_level=None)
        self._index.execute("PRAGMA journal_mode = OFF")
        self._index.execute("CREATE TABLE keys (key TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID")

    def came(self, keys: Iterable[str]) -> None:
        """Take note of answers that were written: they are indexed when one is looked up, or there are many."""
        self._newer.update(keys)
        if len(self._newer) >= _LATER:
            self._behind = True
            self._newer.clear()

    def numbers(self, keys: Sequence[str]) -> list[int]:
        """Return the numbers of the answers to requests, of those that the ledger has.

        Raises:
            sqlite3.OperationalError: the ledger cannot be read.
        """
        if self._behind or not self._newer.isdisjoint(keys):
            self._catch_up()
        if not self._last:
            return []
        wanted = ",".join("?" * len(keys))
        return [n for (n,) in self._index.execute(f"SELECT number FROM keys WHERE key IN ({wanted})", keys)]

    def _catch_up(self) -> None:
        (last,) = self._ledger.execute("SELECT coalesce(max(number), 0) FROM answers").fetchone()
        if last != self._last:
            self._take_in(last)
        self._behind = self._others_write
        self._newer.clear()

    def _take_in(self, last: int) -> None:
        newer, after = (" WHERE number > ?", (self._last,)) if self._last else ("", ())
        try:
            self._index.execute("BEGIN")
            self._index.executemany(
                "INSERT OR REPLACE INTO keys VALUES (?, ?)",  # in the order of the keys: a million take half the time
                self._ledger.execute(f"SELECT key, number FROM answers{newer} ORDER BY key, number", after),
            )
            self._index.execute("COMMIT")
        except BaseException:
            self.forget()
            raise
        self._last = last

    def forget(self) -> None:
        """Begin anew: answers were deleted, and their numbers may be given a second time."""
        self._index.close()
        self._begin()

    def close(self) -> None:
        """Give the memory back."""
        self._index.close()
