"""A run's ledger: every request, answer, attempt and verdict, in SQLite. The truth while a run is under way.

What is committed survives SIGKILL at any moment. An answer is committed the moment it comes, before anybody looks at
it; what became of it is committed with the triplet's new state in one transaction. A run that is started again
therefore asks only what had not come back.
"""

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from captioner.engines import Answer, Request
from captioner.errors import OutputError, StorageError
from captioner.triplets import Triplet

Status = Literal["open", "complete", "filled", "incomplete", "failed"]
"""State of a triplet.

open: there is something to ask. complete: as many accepted captions as wanted, from the engine. filled: completed by the
built-in writer. incomplete: given up, with fewer. failed: its last request got no answer; open again at the next start.
"""

_FORMAT = 1
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE triplets (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    triplet TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'open',
    round INTEGER NOT NULL DEFAULT 0,
    accepted INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX triplets_status ON triplets (status, position);
CREATE TABLE requests (key TEXT PRIMARY KEY, messages TEXT NOT NULL, count INTEGER NOT NULL, seed INTEGER, sent REAL NOT NULL)
    WITHOUT ROWID;
CREATE TABLE answers (
    key TEXT PRIMARY KEY, text TEXT, finish_reason TEXT, error TEXT, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, seconds REAL NOT NULL, attempts INTEGER NOT NULL, model TEXT, received REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE attempts (
    triplet TEXT NOT NULL, round INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT, problems TEXT NOT NULL,
    PRIMARY KEY (triplet, round)
) WITHOUT ROWID;
CREATE TABLE captions (
    triplet TEXT NOT NULL, round INTEGER NOT NULL, place INTEGER NOT NULL, caption TEXT NOT NULL, accepted INTEGER NOT NULL,
    source TEXT NOT NULL, original TEXT, issues TEXT NOT NULL,
    PRIMARY KEY (triplet, round, place)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class CheckedCaption:
    """A caption and what became of it.

    Attributes:
        caption: the text.
        accepted: it agrees with its labels and differs from the others.
        source: ``engine``, ``code`` (an engine's caption put right without asking again) or ``rules``.
        original: what the engine had written, where ``source`` is ``code``.
        issues: an :class:`~captioner.agreement.Issue` each, as a dict; also ``duplicate``, ``near_duplicate``, ``surplus``
            and ``judged``.
    """

    caption: str
    accepted: bool
    source: Literal["engine", "code", "rules"] = "engine"
    original: str | None = None
    issues: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One round of a triplet.

    Attributes:
        round: 0, 1, ….
        kind: ``ask``, ``repair``, ``regenerate`` or ``fill``.
        key: of the request, None for ``fill``.
        problems: what was wrong with the answer as a whole.
        captions: each caption of the answer, checked.
    """

    round: int
    kind: str
    key: str | None
    problems: tuple[str, ...]
    captions: tuple[CheckedCaption, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts over a whole ledger.

    Attributes:
        triplets: state → number.
        requests: answers that came, errors included.
        sent: how often requests were sent, for these.
        errors: requests that got no answer.
        prompt_tokens, completion_tokens: as the servers counted them.
        accepted, rejected: captions.
        by_code: code of refusal → captions.
        by_source: who wrote the accepted captions → number.
        by_error: why requests got no answer, the five most frequent reasons.
    """

    triplets: dict[str, int]
    requests: int
    sent: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    accepted: int
    rejected: int
    by_code: dict[str, int]
    by_source: dict[str, int]
    by_error: dict[str, int]


class Ledger:
    """The ledger of one run; use as a context manager.

    Args:
        path: the SQLite file; made if it is not there.
        run: the run's hash; a ledger of another run is refused.
        read_only: for looking on while a run writes.

    Raises:
        OutputError: the file is no ledger, or of another run.
        StorageError: the disk is full or not writable.
    """

    def __init__(self, path: Path, run: str | None = None, *, read_only: bool = False) -> None:
        self.path = path
        if read_only and not path.is_file():
            raise OutputError(f"{path}: no such ledger")
        with self._storage():
            mode = "ro" if read_only else "rwc"
            if read_only and not os.access(path.parent, os.W_OK):
                mode += "&immutable=1"  # readers of a WAL need to write beside it, unless nobody else can either
            uri = f"{path.resolve().as_uri()}?mode={mode}"
            self._db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
        try:
            with self._storage():
                self._open(run, read_only=read_only)
        except BaseException:
            self._db.close()
            raise

    def _open(self, run: str | None, *, read_only: bool) -> None:
        try:
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.DatabaseError as e:
            if isinstance(e, sqlite3.OperationalError):
                raise
            raise OutputError(
                f"{self.path}: not a ledger: {e}. Move the file away, or choose another output folder."
            ) from None
        if version == 0 and not read_only:
            self._db.execute("PRAGMA journal_mode = WAL")
            with self.transaction():
                for statement in _TABLES.split(";\n"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {_FORMAT}")
                self.set_meta("run", run or "")
        elif version != _FORMAT:
            raise OutputError(f"{self.path}: a ledger of format {version}; this version of captioner writes {_FORMAT}.")
        if not read_only:
            self._db.execute(
                "PRAGMA synchronous = NORMAL"
            )  # with WAL: safe against a kill, fast enough for each answer
            if run is not None and self.meta("run") != run:
                raise OutputError(f"{self.path}: belongs to another run ({self.meta('run')}, not {run}).")

    @contextlib.contextmanager
    def _storage(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as e:
            raise StorageError(
                f"{self.path}: cannot be written: {e}. Nothing that was accepted is lost; "
                "make room and start the same command again to go on."
            ) from None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing."""
        with self._storage():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def meta(self, key: str) -> str | None:
        """Return a remark on the run, or None."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Write a remark on the run."""
        with self._storage():
            self._db.execute(
                "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (key, value)
            )

    def add_triplets(self, triplets: Iterable[Triplet]) -> int:
        """Add those that are not there yet, and return how many that were."""
        before = self._count()
        with self.transaction():
            self._db.executemany(
                "INSERT INTO triplets (id, triplet) VALUES (?, ?) ON CONFLICT (id) DO NOTHING",
                ((t.id, json.dumps(asdict(t), ensure_ascii=False)) for t in triplets),
            )
        return self._count() - before

    def _count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM triplets").fetchone()[0])

    def reopen(self) -> None:
        """Give triplets whose last request got no answer another chance."""
        with self.transaction():
            self._db.execute("DELETE FROM answers WHERE error IS NOT NULL")
            self._db.execute("UPDATE triplets SET status = 'open' WHERE status = 'failed'")

    def start_over(self) -> None:
        """Forget all verdicts but no answer: what is asked again is found here and checked anew."""
        with self.transaction():
            self._db.execute("DELETE FROM attempts")
            self._db.execute("DELETE FROM captions")
            self._db.execute("UPDATE triplets SET status = 'open', round = 0, accepted = 0")

    def open_triplets(self, ids: frozenset[str] | None = None) -> Iterator[Triplet]:
        """Yield the open triplets in order, reading ahead little; those that are behind may change meanwhile."""
        position = -1
        while True:
            rows = self._db.execute(
                "SELECT position, triplet FROM triplets WHERE status = 'open' AND position > ? ORDER BY position LIMIT 256",
                (position,),
            ).fetchall()
            if not rows:
                return
            for _, text in rows:
                triplet = _triplet(text)
                if ids is None or triplet.id in ids:
                    yield triplet
            position = rows[-1][0]

    def attempts(self, triplet: str) -> list[Attempt]:
        """Return all rounds of a triplet so far."""
        captions: dict[int, list[CheckedCaption]] = {}
        for number, caption, accepted, source, original, issues in self._db.execute(
            "SELECT round, caption, accepted, source, original, issues FROM captions WHERE triplet = ? ORDER BY round, place",
            (triplet,),
        ):
            checked = CheckedCaption(caption, bool(accepted), source, original, tuple(json.loads(issues)))
            captions.setdefault(number, []).append(checked)
        return [
            Attempt(number, kind, key, tuple(json.loads(problems)), tuple(captions.get(number, ())))
            for number, kind, key, problems in self._db.execute(
                "SELECT round, kind, key, problems FROM attempts WHERE triplet = ? ORDER BY round", (triplet,)
            )
        ]

    def answer(self, key: str) -> Answer | None:
        """Return the answer to a request, if it has come."""
        row = self._db.execute(
            "SELECT key, text, finish_reason, error, prompt_tokens, completion_tokens, seconds, attempts, model "
            "FROM answers WHERE key = ?",
            (key,),
        ).fetchone()
        return None if row is None else Answer(*row)

    def add_request(self, request: Request) -> None:
        """Record what is about to be asked. System messages are the same throughout and stand in the run's file."""
        messages = [asdict(m) for m in request.messages if m.role != "system"]
        with self._storage():
            self._db.execute(
                "INSERT INTO requests VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET sent = excluded.sent",
                (
                    request.key,
                    json.dumps(messages, ensure_ascii=False),
                    request.count,
                    request.sampling.seed,
                    time.time(),
                ),
            )

    def times(self) -> dict[str, tuple[float, float]]:
        """Return when each answer was asked for and when it came, by its key, in seconds since 1970."""
        rows = self._db.execute("SELECT key, received - seconds, received FROM answers")
        return {key: (asked, came) for key, asked, came in rows}

    def add_answer(self, answer: Answer) -> None:
        """Record an answer as it came."""
        with self._storage():
            self._db.execute(
                "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(answer.key, answer.text, answer.finish_reason, answer.error, answer.prompt_tokens),
                    *(answer.completion_tokens, answer.seconds, answer.attempts, answer.model, time.time()),
                ),
            )

    def add_attempt(self, triplet: str, attempt: Attempt, status: Status) -> None:
        """Record what became of an answer, and the triplet's new state."""
        accepted = sum(c.accepted for c in attempt.captions)
        with self.transaction():
            self._db.execute(
                "INSERT INTO attempts VALUES (?, ?, ?, ?, ?)",
                (triplet, attempt.round, attempt.kind, attempt.key, json.dumps(attempt.problems, ensure_ascii=False)),
            )
            self._db.executemany(
                "INSERT INTO captions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        *(triplet, attempt.round, place, c.caption, int(c.accepted), c.source, c.original),
                        json.dumps(c.issues, ensure_ascii=False),
                    )
                    for place, c in enumerate(attempt.captions)
                ),
            )
            self._db.execute(
                "UPDATE triplets SET status = ?, round = ?, accepted = accepted + ? WHERE id = ?",
                (status, attempt.round + 1, accepted, triplet),
            )

    def set_status(self, triplet: str, status: Status) -> None:
        """Change a triplet's state alone."""
        with self._storage():
            self._db.execute("UPDATE triplets SET status = ? WHERE id = ?", (status, triplet))

    def states(self) -> Iterator[tuple[Triplet, Status, int]]:
        """Yield every triplet with its state and its number of accepted captions."""
        for text, status, accepted in self._db.execute(
            "SELECT triplet, status, accepted FROM triplets ORDER BY position"
        ):
            yield _triplet(text), status, accepted

    def totals(self) -> Totals:
        """Return counts over the whole ledger."""
        one = self._db.execute
        tokens = one(
            "SELECT count(*), coalesce(sum(attempts), 0), coalesce(sum(error IS NOT NULL), 0), "
            "coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0) FROM answers"
        ).fetchone()
        accepted, rejected = one(
            "SELECT coalesce(sum(accepted), 0), coalesce(sum(NOT accepted), 0) FROM captions"
        ).fetchone()
        by_code = one(
            "SELECT json_extract(value, '$.code'), count(*) FROM captions, json_each(issues) "
            "WHERE NOT accepted AND json_extract(value, '$.level') = 'error' GROUP BY 1 ORDER BY 2 DESC, 1"
        ).fetchall()
        by_source = one("SELECT source, count(*) FROM captions WHERE accepted GROUP BY 1 ORDER BY 1").fetchall()
        statuses = one("SELECT status, count(*) FROM triplets GROUP BY 1 ORDER BY 1").fetchall()
        by_error = one(
            "SELECT substr(error, 1, 200), count(*) FROM answers WHERE error IS NOT NULL "
            "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5"
        ).fetchall()
        return Totals(
            triplets=dict(statuses),
            requests=tokens[0],
            sent=tokens[1],
            errors=tokens[2],
            prompt_tokens=tokens[3],
            completion_tokens=tokens[4],
            accepted=accepted,
            rejected=rejected,
            by_code=dict(by_code),
            by_source=dict(by_source),
            by_error=dict(by_error),
        )


def _triplet(text: str) -> Triplet:
    data = json.loads(text)
    return Triplet(
        id=data["id"],
        modality=data["modality"],
        anatomy=data["anatomy"],
        findings=tuple(data["findings"]),
        negatives=tuple(data["negatives"]),
        attributes=tuple((k, v) for k, v in data["attributes"]),
    )
