"""A run's ledger: every request, answer, attempt and verdict, in SQLite. The truth while a run is under way.

What is committed survives SIGKILL at any moment. An answer is written before anybody looks at it; what became of it is
written with the triplet's new state. A run that is started again therefore asks only what had not come back. Within
:meth:`Ledger.grouped`, several writes share one commit: whoever groups decides what a kill may cost.

Counts are kept beside the rows, in the same transactions, so that looking on costs nothing however long a run is.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from pydantic_core import from_json, to_json

from captioner.answer_keys import AnswerKeys
from captioner.engines import Answer, Request
from captioner.errors import OutputError, StorageError
from captioner.triplets import Triplet

Status = Literal["open", "complete", "filled", "incomplete", "failed"]
"""State of a triplet.

open: there is something to ask. complete: as many accepted captions as wanted, from the engine. filled: completed by the
built-in writer. incomplete: given up, with fewer. failed: its last request got no answer; open again at the next start.
"""

FINISHED = frozenset({"complete", "filled"})
"""States in which a triplet has its whole set of captions."""

_FORMAT = 2
_COST = 10**12
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
CREATE INDEX triplets_open ON triplets (position) WHERE status = 'open';
CREATE INDEX triplets_failed ON triplets (position) WHERE status = 'failed';
CREATE TABLE answers (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, messages TEXT, seed INTEGER, text TEXT, finish_reason TEXT, error TEXT,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, seconds REAL NOT NULL, attempts INTEGER NOT NULL,
    model TEXT, received REAL NOT NULL, cached_tokens INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX answers_keys ON answers (number, key);
CREATE INDEX answers_failed ON answers (number) WHERE error IS NOT NULL;
CREATE TABLE attempts (
    triplet INTEGER NOT NULL, round INTEGER NOT NULL, kind TEXT NOT NULL, key TEXT, problems TEXT NOT NULL, captions TEXT NOT NULL,
    UNIQUE (triplet, round)
)
"""
# A commit is written to the log without waiting for the disk (safe against a kill), and the log goes into the file each 32 MB
# instead of each 4: the same pages are written once instead of eight times.
_SETTINGS = ("journal_mode = WAL", "synchronous = NORMAL", "wal_autocheckpoint = 8192", "cache_size = -65536")
_READ_AHEAD = 256


_ANSWER = "key, text, finish_reason, error, prompt_tokens, completion_tokens, seconds, attempts, model, cached_tokens"
_NEW_ANSWER = f"{_ANSWER.replace('key,', 'key, messages, seed,')}, received"
_ATTEMPT = "round, kind, key, problems, captions"


class CheckedCaption(NamedTuple):
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


class Attempt(NamedTuple):
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

    def packed(self) -> "PackedAttempt":
        """Return it as the ledger stores it."""
        counts = {"accepted": 0, "rejected": 0}
        stored: list[str | CheckedCaption] = []
        plain = 0
        for checked in self.captions:
            caption, accepted, source, original, issues = checked
            if accepted and source == "engine" and original is None and not issues:  # nearly all are
                stored.append(caption)
                plain += 1
                continue
            stored.append(checked)
            names = [f"source {source}"] if accepted else [f"code {i['code']}" for i in issues if i["level"] == "error"]
            for name in ("accepted" if accepted else "rejected", *names):
                counts[name] = counts.get(name, 0) + 1
        if plain:
            counts["accepted"] += plain
            counts["source engine"] = counts.get("source engine", 0) + plain
        problems = _json(self.problems) if self.problems else "[]"
        return PackedAttempt(self.round, self.kind, self.key, problems, _json(stored), counts["accepted"], counts)


class PackedAttempt(NamedTuple):
    """An attempt as the ledger stores it: JSON, with what is to be counted."""

    round: int
    kind: str
    key: str | None
    problems: str
    captions: str
    accepted: int
    counts: Mapping[str, int]

    def unpacked(self) -> Attempt:
        """Return the attempt."""
        return _attempt(*self[:5])


class OpenTriplet(NamedTuple):
    """A triplet about which there is something to ask.

    Attributes:
        position: its number in the ledger.
        triplet: what it is.
        round: rounds that are behind it.
    """

    position: int
    triplet: Triplet
    round: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts over a whole ledger.

    Attributes:
        triplets: state → number.
        requests: answers that came, errors included.
        sent: how often requests were sent, for these.
        errors: requests that got no answer, or one without a word.
        prompt_tokens, completion_tokens: as the servers counted them.
        cost: of all that was answered, by the prices of the day, answers that have been asked for again included.
        accepted, rejected: captions.
        by_code: code of refusal → captions.
        by_source: who wrote the accepted captions → number.
        by_error: why requests got no answer, the five most frequent reasons.
        cached_tokens: of the prompts', those that a server had read before.
    """

    triplets: dict[str, int]
    requests: int
    sent: int
    errors: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    accepted: int
    rejected: int
    by_code: dict[str, int]
    by_source: dict[str, int]
    by_error: dict[str, int]
    cached_tokens: int = 0


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
        self._grouping = False
        self._counts: dict[str, int] = {}
        self._new_counts: dict[str, int] = {}  # of the attempts and states that wait
        self._new_answers: dict[str, tuple[Any, ...]] = {}
        self._new_attempts: list[tuple[Any, ...]] = []
        self._new_states: list[tuple[Any, ...]] = []
        self._answer = _ANSWER
        if read_only and not path.is_file():
            raise OutputError(f"{path}: no such ledger")
        with self._storage():
            # Who looks on may write, so that the last to leave can clear away SQLite's files beside the ledger.
            mode = "rw" if read_only else "rwc"
            if read_only and not os.access(path.parent, os.W_OK):
                mode = "ro&immutable=1"  # readers of a WAL need to write beside it, unless nobody else can either
            uri = f"{path.resolve().as_uri()}?mode={mode}"
            self._db = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
        self._keys = AnswerKeys(self._db, others_write=read_only)
        try:
            with self._storage():
                self._open(run, read_only=read_only)
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        self._keys.close()
        self._db.close()

    def _open(self, run: str | None, *, read_only: bool) -> None:
        try:
            self._db.execute(f"PRAGMA query_only = {read_only:d}")
            self._db.execute("PRAGMA temp_store = MEMORY")  # keys are put in order when they are first looked up
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
        if not self._db.execute("SELECT 1 FROM pragma_table_info('answers') WHERE name = 'cached_tokens'").fetchone():
            # Written before what was read from a cache was kept.
            if read_only:
                self._answer = _ANSWER.replace("cached_tokens", "0")
            else:
                self._db.execute("ALTER TABLE answers ADD COLUMN cached_tokens INTEGER NOT NULL DEFAULT 0")
        if not read_only:
            for setting in _SETTINGS:
                self._db.execute(f"PRAGMA {setting}")
            if run is not None and self.meta("run") != run:
                raise OutputError(
                    f"{self.path}: belongs to another run ({self.meta('run')}, not {run}): its schema, prompt, model or "
                    "settings are others. Choose another name (--set name=NAME) or another folder (--out)."
                )
        self._load_counts()

    def _load_counts(self) -> None:
        self._counts = json.loads(self.meta("counts") or "{}")
        self._new_counts.clear()

    @contextlib.contextmanager
    def _storage(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as e:
            raise self._unwritable(e) from None

    def _unwritable(self, error: sqlite3.OperationalError) -> StorageError:
        return StorageError(
            f"{self.path}: cannot be written: {error}. Nothing that was accepted is lost; "
            "make room and start the same command again to go on."
        )

    @contextlib.contextmanager
    def grouped(self) -> Iterator[None]:
        """Let writes wait for :meth:`commit`, which comes at the end at the latest.

        What was written by then is kept whatever ends the block. Others do not see it before.
        """
        self._grouping = True
        try:
            yield
        except StorageError:
            with contextlib.suppress(StorageError):
                self.commit()
            raise
        except BaseException:
            self.commit()
            raise
        else:
            self.commit()
        finally:
            self._grouping = False

    @property
    def waiting(self) -> bool:
        """Whether something waits for a commit."""
        return bool(self._new_answers or self._new_states)

    def commit(self) -> None:
        """Make what was written so far durable.

        Raises:
            StorageError: the disk is full; what was not committed before is lost.
        """
        if self.waiting:
            with self.transaction():
                pass

    def keep_answers(self) -> None:
        """Make the answers that were added so far durable, if any are not.

        What became of them still waits for :meth:`commit`: it follows from the answers, and many rows in one commit cost less.

        Raises:
            StorageError: the disk is full; what was not committed before is lost.
        """
        if self._new_answers:
            with self._all_or_nothing():
                pass

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing, after what waits for a commit, and all of it now."""
        with self._all_or_nothing():
            self._write_verdicts()
            yield

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Write the answers that wait, whatever else the block writes, and the counts of all this."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            if self._new_answers:
                self._db.executemany(
                    f"INSERT OR REPLACE INTO answers ({_NEW_ANSWER}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    self._new_answers.values(),
                )
            yield
            self._db.execute(
                "INSERT INTO meta VALUES ('counts', ?) ON CONFLICT DO UPDATE SET value = excluded.value",
                (_json(self._counts),),
            )
            self._keys.came(self._new_answers)
            self._db.execute("COMMIT")
        except BaseException as e:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._new_answers.clear()
            self._new_attempts.clear()
            self._new_states.clear()
            self._load_counts()
            if isinstance(e, sqlite3.OperationalError):
                raise self._unwritable(e) from None
            raise
        self._new_answers.clear()

    def _write_verdicts(self) -> None:
        """Write the attempts and states that wait, each kind of row in one go; within a transaction."""
        for statement, rows in (
            ("INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?)", self._new_attempts),
            (
                "UPDATE triplets SET status = ?, round = max(round, ?), accepted = accepted + ? WHERE position = ?",
                self._new_states,
            ),
        ):
            if rows:
                self._db.executemany(statement, rows)
                rows.clear()
        self._count_in(self._new_counts)
        self._new_counts.clear()

    def _wrote(self) -> None:
        if not self._grouping:
            self.commit()

    def _count_in(self, counts: Mapping[str, int], sign: int = 1) -> None:
        for name, number in counts.items():
            if number:
                self._counts[name] = self._counts.get(name, 0) + sign * number

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

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

    def add_triplets(self, triplets: Sequence[Triplet]) -> int:
        """Add those that are not there yet, and return how many that were."""
        digest = hashlib.sha256("\n".join([t.id for t in triplets]).encode()).hexdigest()
        if self.meta("added") == digest:
            return 0
        with self.transaction():
            before = self._db.total_changes
            self._db.executemany(
                "INSERT INTO triplets (id, triplet) VALUES (?, ?) ON CONFLICT (id) DO NOTHING",
                ((t.id, _triplet_text(t)) for t in triplets),
            )
            added = self._db.total_changes - before
            self._count_in({"status open": added})
            self.set_meta("added", digest)
        return added

    def reopen(self) -> None:
        """Give triplets whose last request got no answer another chance; a model that said nothing has answered."""
        with self.transaction():
            lost = self._db.execute(
                "SELECT count(*), coalesce(sum(attempts), 0), coalesce(sum(prompt_tokens), 0), "
                "coalesce(sum(completion_tokens), 0), coalesce(sum(cached_tokens), 0) FROM answers WHERE error IS NOT NULL AND finish_reason IS NULL"
            ).fetchone()
            names = ("requests", "sent", "prompt_tokens", "completion_tokens", "cached_tokens")
            self._count_in(dict(zip(names, lost, strict=True)) | {"errors": lost[0]}, -1)
            self._db.execute("DELETE FROM answers WHERE error IS NOT NULL AND finish_reason IS NULL")
            self._keys.forget()
            failed = self._db.execute("UPDATE triplets SET status = 'open' WHERE status = 'failed'").rowcount
            self._count_in({"status failed": -failed, "status open": failed})

    def start_over(self) -> None:
        """Forget all verdicts but no answer: what is asked again is found here and checked anew."""
        with self.transaction():
            self._db.execute("DELETE FROM attempts")
            self._db.execute("UPDATE triplets SET status = 'open', round = 0, accepted = 0")
            kept = ("requests", "sent", "errors", "prompt_tokens", "completion_tokens", "cached_tokens", "cost")
            self._counts = {name: self._counts[name] for name in kept if name in self._counts}
            self._count_in({"status open": self._db.execute("SELECT count(*) FROM triplets").fetchone()[0]})

    def open_triplets(self, ids: frozenset[str] | None = None) -> Iterator[OpenTriplet]:
        """Yield the open triplets in order, reading ahead little; those that are behind may change meanwhile."""
        position = -1
        while True:
            self.commit()
            rows = self._db.execute(
                "SELECT position, id, triplet, round FROM triplets WHERE status = 'open' AND position > ? "
                f"ORDER BY position LIMIT {_READ_AHEAD}",
                (position,),
            ).fetchall()
            if not rows:
                return
            for position, name, text, number in rows:
                if ids is None or name in ids:
                    yield OpenTriplet(position, _triplet(name, text), number)

    def attempts(self, triplet: str) -> list[Attempt]:
        """Return all rounds of a triplet so far."""
        self.commit()
        return [
            _attempt(*row)
            for row in self._db.execute(
                f"SELECT {_ATTEMPT} FROM attempts WHERE triplet = (SELECT position FROM triplets WHERE id = ?) "
                "ORDER BY round",
                (triplet,),
            )
        ]

    def answer(self, key: str) -> Answer | None:
        """Return the answer to a request, if it has come."""
        return self.answers((key,)).get(key)

    def unseen(self) -> int:
        """Return about how many answers to questions have come that no attempt rests on: nobody has looked at them."""
        self.commit()
        (came,) = self._db.execute("SELECT count(*) FROM answers WHERE key >= 'r' AND key < 's'").fetchone()
        (attempts,) = self._db.execute("SELECT count(*) FROM attempts").fetchone()
        return max(0, int(came) - int(attempts))

    def times(self) -> dict[str, tuple[float, float]]:
        """Return when each answer was asked for and when it came, by its key, in seconds since 1970."""
        rows = self._db.execute("SELECT key, received - seconds, received FROM answers")
        return {key: (asked, came) for key, asked, came in rows}

    def pace(self, seconds: float = 60.0) -> tuple[float, float] | None:
        """Return how many answers a second came of late, and when the last one came, in seconds since 1970.

        Args:
            seconds: how far back from the last answer is looked, as far as a few thousand answers reach.

        Returns:
            None if there are fewer than two answers.
        """
        rows = self._db.execute("SELECT received FROM answers ORDER BY number DESC LIMIT 5000").fetchall()
        if len(rows) < 2:
            return None
        last = rows[0][0]
        recent = [received for (received,) in rows if received >= last - seconds]
        begin = recent[-1] if len(recent) > 1 else rows[1][0]
        return (max(1, len(recent) - 1) / (last - begin) if last > begin else 0.0), last

    def answers(self, keys: Sequence[str]) -> dict[str, Answer]:
        """Return the answers to requests, of those that have come."""
        with self._storage():
            numbers = self._keys.numbers(keys)
        found = {}
        if numbers:
            which = ",".join(map(str, numbers))
            rows = self._db.execute(f"SELECT {self._answer} FROM answers WHERE number IN ({which})")
            found = {row[0]: Answer(*row) for row in rows}
        for key in keys:
            if (new := self._new_answers.get(key)) is not None:
                found[key] = Answer(new[0], *new[3:-1])
        return found

    def add_answer(self, answer: Answer, request: Request, cost: float = 0.0) -> None:
        """Record an answer as it came, with its question; system messages are the same throughout and stand in the run's file.

        Args:
            answer: what came.
            request: the question.
            cost: of its tokens, by today's prices.
        """
        messages = [[m.role, m.content] for m in request.messages if m.role != "system"]
        self._new_answers[answer.key] = (
            *(answer.key, _json(messages), request.sampling.seed, answer.text),
            *(answer.finish_reason, answer.error, answer.prompt_tokens, answer.completion_tokens),
            *(answer.seconds, answer.attempts, answer.model, answer.cached_tokens, time.time()),
        )
        counts = self._counts
        for name, number in (
            ("requests", 1),
            ("sent", answer.attempts),
            ("errors", answer.error is not None),
            ("prompt_tokens", answer.prompt_tokens),
            ("completion_tokens", answer.completion_tokens),
            ("cached_tokens", answer.cached_tokens),
            ("cost", round(cost * _COST)),  # whole numbers: their sum does not depend on the order
        ):
            counts[name] = counts.get(name, 0) + number
        self._wrote()

    def add_attempt(self, open_: OpenTriplet, attempt: PackedAttempt, status: Status) -> None:
        """Record what became of an answer, and the triplet's new state."""
        self._new_attempts.append((open_.position, *attempt[:5]))
        self._new_states.append((status, attempt.round + 1, attempt.accepted, open_.position))
        self._moved(status)
        counts = self._new_counts
        for name, number in attempt.counts.items():
            counts[name] = counts.get(name, 0) + number
        self._wrote()

    def set_status(self, open_: OpenTriplet, status: Status) -> None:
        """Change an open triplet's state alone."""
        self._new_states.append((status, 0, 0, open_.position))
        self._moved(status)
        self._wrote()

    def _moved(self, status: Status) -> None:
        counts = self._new_counts
        for name, number in (("status open", -1), (f"status {status}", 1)):
            counts[name] = counts.get(name, 0) + number

    def states(self) -> Iterator[tuple[Triplet, Status, int]]:
        """Yield every triplet with its state and its number of accepted captions."""
        self.commit()
        for name, text, status, accepted in self._db.execute(
            "SELECT id, triplet, status, accepted FROM triplets ORDER BY position"
        ):
            yield _triplet(name, text), status, accepted

    def histories(self, first: Iterable[str] = ()) -> Iterator[tuple[Triplet, Status, list[Attempt]]]:
        """Yield every triplet with its state and its rounds: those whose ids are given, in that order, then all others."""
        self.commit()
        positions = self._in_order(first)
        for start in range(0, len(positions), _READ_AHEAD):
            part = positions[start : start + _READ_AHEAD].tolist()
            rows = self._db.execute(
                f"SELECT position, id, triplets.triplet, status, a.{_ATTEMPT.replace(', ', ', a.')} "
                "FROM triplets LEFT JOIN attempts a ON a.triplet = position "
                f"WHERE position IN ({','.join('?' * len(part))}) ORDER BY position, a.round",
                part,
            )
            found = {
                position: (_triplet(name, text), status, [_attempt(*row[4:]) for row in rounds if row[4] is not None])
                for (position, name, text, status), rounds in groupby(rows, key=lambda row: row[:4])
            }
            yield from (found[position] for position in part)

    def _in_order(self, first: Iterable[str]) -> "array[int]":
        """Return all positions, those of the ids that are given first."""
        wanted = list(first)
        rows = self._db.execute("SELECT position, id FROM triplets ORDER BY position").fetchall()
        if [name for _, name in rows] == wanted:
            return array("q", [position for position, _ in rows])
        place = {name: position for position, name in rows}
        given = [place.pop(name) for name in wanted if name in place]
        return array("q", [*given, *place.values()])

    def finished_captions(self, triplet: str) -> list[str] | None:
        """Return a triplet's accepted captions in the order in which they came; None if its set is not finished."""
        self.commit()
        row = self._db.execute("SELECT position, status FROM triplets WHERE id = ?", (triplet,)).fetchone()
        if row is None or row[1] not in FINISHED:
            return None
        rounds = self._db.execute("SELECT captions FROM attempts WHERE triplet = ? ORDER BY round", row[:1])
        return [c.caption for (text,) in rounds for c in map(_caption, json.loads(text)) if c.accepted]

    def totals(self) -> Totals:
        """Return counts over the whole ledger."""
        if not self._grouping:
            self._load_counts()  # another process may be writing
        counts = dict(self._counts)
        for name, number in self._new_counts.items():
            counts[name] = counts.get(name, 0) + number
        by_error = {}
        if counts.get("errors"):
            by_error = dict(
                self._db.execute(
                    "SELECT substr(error, 1, 200), count(*) FROM answers WHERE error IS NOT NULL "
                    "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5"
                )
            )

        def group(prefix: str) -> list[tuple[str, int]]:
            found = [(name.removeprefix(prefix), n) for name, n in counts.items() if name.startswith(prefix) and n]
            return sorted(found)

        return Totals(
            triplets=dict(group("status ")),
            requests=counts.get("requests", 0),
            sent=counts.get("sent", 0),
            errors=counts.get("errors", 0),
            prompt_tokens=counts.get("prompt_tokens", 0),
            completion_tokens=counts.get("completion_tokens", 0),
            cost=counts.get("cost", 0) / _COST,
            accepted=counts.get("accepted", 0),
            rejected=counts.get("rejected", 0),
            by_code=dict(sorted(group("code "), key=lambda item: -item[1])),
            by_source=dict(group("source ")),
            by_error=by_error,
            cached_tokens=counts.get("cached_tokens", 0),
        )


def _json(value: Any) -> str:
    return to_json(value).decode()  # several times as fast as the standard library


def _triplet_text(t: Triplet) -> str:
    return _json([t.modality, t.anatomy, t.findings, t.negatives, t.attributes])


def _triplet(name: str, text: str) -> Triplet:
    modality, anatomy, findings, negatives, attributes = from_json(text)
    return Triplet(name, modality, anatomy, tuple(findings), tuple(negatives), tuple((k, v) for k, v in attributes))


def _attempt(number: int, kind: str, key: str | None, problems: str, captions: str) -> Attempt:
    return Attempt(number, kind, key, tuple(from_json(problems)), tuple(map(_caption, from_json(captions))))


def _caption(stored: Any) -> CheckedCaption:
    if isinstance(stored, str):
        return CheckedCaption(stored, accepted=True)
    caption, accepted, source, original, issues = stored
    return CheckedCaption(caption, accepted, source, original, tuple(issues))
