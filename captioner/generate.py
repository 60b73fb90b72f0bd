"""The loop: render, ask, check, repair, accept.

Work goes in waves. A wave asks once for every open triplet; each answer is recorded, parsed and checked, and the triplet is
then complete, given up, or open for the next wave, which asks again with what was wrong. Whatever happens is in the
ledger, and what to ask next is a function of the ledger alone: a run that was killed goes on where it was.

While the last answers of a wave are on their way, the next one begins with what is known by then, and answers are checked
in other processes: the engine is kept busy.
"""

import asyncio
import contextlib
import gc
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from json.encoder import encode_basestring as _quoted
from typing import Any, Literal, NamedTuple

from captioner.agreement.sets import NEAR_DUPLICATE
from captioner.answers import MAX_CAPTION, answer_schema, encodable
from captioner.checking import AnswerCheck, Round
from captioner.engines import SEPARATOR, Answer, Engine, Message, Request, Sampling, Tells
from captioner.errors import EngineError
from captioner.judge import CaptionJudge
from captioner.pool import Pool, processes_for
from captioner.prices import Price
from captioner.prompts import Failure, Prompt
from captioner.schema import LabelSchema, hash_of
from captioner.store import Attempt, CheckedCaption, Ledger, OpenTriplet, PackedAttempt, Status
from captioner.writer import write_captions

BARREN = 50
"""Answers without a single readable caption, from the first on, after which a model is given up."""

_TAKE_IN = 0.01
_COMMIT = 0.1
_YOUNG = 50_000
_BREATH = 0.02
_WAVES = 4
_BATCH = 32
_IN_VAIN = 100


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How far the loop goes for a triplet.

    Attributes:
        captions: captions in a complete support set.
        repairs: how often the LLM is asked again with what was wrong.
        regenerations: how often it is then asked afresh.
        fill: let the built-in writer complete what is left; such captions are marked ``rules``.
        near_duplicate: two captions whose sets of words overlap by this share (Jaccard) or more are one.
        sampling: how answers are drawn; the seed is the run's, each request derives its own; of ``n`` answers to a question,
            each is asked for its share of the captions.
        temperatures: of the first round, the second …, the last one of all others; none: that of ``sampling``.
    """

    captions: int = 10
    repairs: int = 2
    regenerations: int = 1
    fill: bool = True
    near_duplicate: float = NEAR_DUPLICATE
    sampling: Sampling = field(default_factory=Sampling)
    temperatures: tuple[float, ...] = ()

    def temperature(self, number: int) -> float | None:
        """Return the temperature of a round."""
        if not self.temperatures:
            return self.sampling.temperature
        return self.temperatures[min(number, len(self.temperatures) - 1)]

    def share(self, missing: int) -> tuple[int, int]:
        """Return into how many answers to a question missing captions are split, and how many each is asked for."""
        answers = min(self.sampling.n, missing)
        return answers, -(-missing // answers)

    @property
    def rounds(self) -> int:
        """Rounds in which an engine is asked."""
        return 1 + self.repairs + self.regenerations


@dataclass(frozen=True, slots=True)
class Limits:
    """When a run stops asking, whatever is still open.

    Attributes:
        requests: questions in this session; None is no limit.
        cost: of all answers in the ledger, in the unit of the prices; None is no limit.
        price: of the model.
        judge_price: of the judge's model.
    """

    requests: int | None = None
    cost: float | None = None
    price: Price = field(default_factory=Price)
    judge_price: Price = field(default_factory=Price)


class _Work(NamedTuple):
    """An open triplet, with its captions that were accepted before."""

    open: OpenTriplet
    earlier: tuple[str, ...]


@dataclass(slots=True)
class _Asked:
    """A question that is at the engine, and who waits for its answer."""

    request: Request
    wave: int
    waiting: list[_Work]


@dataclass(slots=True)
class _Spending:
    """What a model's answers cost, and how many are on their way."""

    price: Price
    guess: float = 0.0
    came: int = 0
    spent: float = 0.0
    on_way: int = 0

    def foresee(self, request: Request) -> None:
        """Guess what an answer costs, before there is one to go by."""
        if not self.came:
            characters = sum(len(m.content) for m in request.messages)
            self.guess = self.price.of(characters // 4, 40 * request.count * request.sampling.n)

    @property
    def to_come(self) -> float:
        """What is on its way will have to be paid too: about what the answers so far did cost."""
        return self.on_way * (self.spent / self.came if self.came else self.guess)


@dataclass(frozen=True, slots=True)
class _Unjudged:
    """An attempt that waits for a second opinion, and the questions that are still to be asked for it."""

    work: _Work
    attempt: Attempt
    requests: list[Request]


class Generator:
    """Everything that a run's questions and verdicts rest on; no I/O but the ledger and the engine.

    Args:
        schema: the dataset's schema.
        prompt: the template.
        engine: whatever answers.
        ledger: the run's.
        settings: how far to go for a triplet.
        limits: when to stop asking.
        judge: a second opinion on captions that the rules pass; none if None.
        processes: that check answers beside this one; as many as are worth while if None.

    Attributes:
        stopped: why no more is asked, None while it is; setting it lets what is in flight come home.
    """

    def __init__(
        self,
        schema: LabelSchema,
        prompt: Prompt,
        engine: Engine,
        ledger: Ledger,
        settings: LoopSettings,
        *,
        limits: Limits | None = None,
        judge: CaptionJudge | None = None,
        processes: int | None = None,
    ) -> None:
        self.schema = schema
        self.prompt = prompt
        self.engine = engine
        self.ledger = ledger
        self.settings = settings
        self.limits = limits or Limits()
        self.second = judge
        source: Literal["engine", "rules"] = "rules" if engine.name == "rules" else "engine"
        self.check = AnswerCheck(schema, settings.captions, settings.near_duplicate, source)
        self.stopped: str | None = None
        self._processes = processes
        self._sent = 0
        self._cost = 0.0
        self._asking, self._judging = _Spending(self.limits.price), _Spending(self.limits.judge_price)
        self._barren: list[str] | None = []
        self._schemas: dict[tuple[int, float | None, int], tuple[dict[str, Any], str]] = {}
        self._asked: dict[str, _Asked] = {}
        self._unused = sha256()  # OpenSSL looks long for what a new one is; a copy is made at once
        self._system = "", self._unused
        # Answers that are recorded, and that nobody has looked at yet.
        self._came_in: list[tuple[_Asked, Answer]] = []
        self._unjudged: list[_Unjudged] = []
        # Positions of triplets that are at the engine or being checked; no wave asks about them.
        self._busy: set[int] = set()
        # Those among them that are settled already, but that the wave which is asking may have read before they were.
        self._settled: set[int] = set()
        self._cursor: float = math.inf
        self._wave_number = 0
        self._again = 0
        self._waker: asyncio.Future[None] | None = None
        self._on_change: Callable[[], None] = lambda: None

    async def run(self, only: frozenset[str] | None = None, on_change: Callable[[], None] = lambda: None) -> None:
        """Work until no triplet is open, a limit is reached, or somebody sets ``stopped``.

        Args:
            only: ids of the triplets to work on; all if None.
            on_change: called after each answer.

        Raises:
            EngineError: the engine cannot be used any more, or never answers with captions.
            StorageError: the disk is full.
        """
        if not self._same_rules:
            # Other rules judge by now: every stored answer is judged anew. None is asked for again.
            self.ledger.start_over()
            self.ledger.set_meta("checker", self.check.checker.version)
        self.ledger.reopen()
        totals = self.ledger.totals()
        self._cost = totals.cost
        self._on_change = on_change
        if isinstance(self.engine, Tells):
            self.engine.tell(self._receive)
        count = processes_for(totals.triplets.get("open", 0)) if self._processes is None else self._processes
        with self.ledger.grouped(), _rarely_collecting():
            async with Pool(self.check, self._checked, count) as self._pool:
                if totals.triplets.get("open"):
                    await self._look_at_stored(only)
                    await self._work_off(only)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to ask about any triplet of the ledger, so that the engine is not needed."""
        return self._same_rules and not {"open", "failed"} & self.ledger.totals().triplets.keys()

    @property
    def _same_rules(self) -> bool:
        """Whether the verdicts in the ledger are by the rules of today."""
        return self.ledger.meta("checker") == self.check.checker.version

    async def _look_at_stored(self, only: frozenset[str] | None) -> None:
        """Have answers checked that are there and that nobody has looked at: after a kill few, all when other rules judge.

        While a wave asks, an answer that is there already is taken in one go with the next question; with very many of them,
        nobody else would have a turn meanwhile, not even Ctrl-C. Few, or some that lie far from all others, are left to the waves.
        """
        taken = _BATCH
        while self.stopped is None and taken and (left := self.ledger.unseen()) >= _BATCH:
            taken = in_vain = 0
            waiting = self.ledger.open_triplets(only)
            while (
                self.stopped is None and taken < left and in_vain < _IN_VAIN and (some := list(islice(waiting, _BATCH)))
            ):
                made, stored = self._with_stored(some)
                for work, request in made:
                    if request is not None and request.key in stored:
                        # Until its verdict is recorded: a judge may have to be asked.
                        self._busy.add(work.open.position)
                        self._take(work, stored[request.key])
                        taken += 1
                in_vain = 0 if stored else in_vain + 1
                self._on_change()
                await self._pool.turn()
            while self._pool.waiting:
                await self._pool.turn()

    async def _work_off(self, only: frozenset[str] | None) -> None:
        """Start waves as there is something to ask, until there is not."""
        overlapping = _WAVES if self.second is None and getattr(self.engine, "overlaps", False) else 1
        waves: set[asyncio.Task[None]] = set()
        others = {asyncio.create_task(self._commit_now_and_then()), *self._pool.tasks}
        self._again = 1
        try:
            while True:
                idle = not waves and not self._pool.waiting
                if idle and (self.stopped is not None or not (self._again or self._unjudged)):
                    return
                if idle and self._unjudged and self.second is not None:
                    waves.add(asyncio.create_task(self._second_opinions(self.second)))
                elif self._again and self._may_start(room=idle or len(waves) < overlapping):
                    self._again, self._cursor = 0, -1
                    self._wave_number += 1
                    waves.add(asyncio.create_task(self._wave(only, self._wave_number)))
                self._waker = asyncio.get_running_loop().create_future()
                done, _ = await asyncio.wait({*waves, *others, self._waker}, return_when=asyncio.FIRST_COMPLETED)
                waves -= done
                others -= done
                # Each is asked: of an error that nobody asked for, asyncio would say so itself.
                if failed := [error for ended in done if (error := ended.exception()) is not None]:
                    raise failed[0]
        finally:
            tasks = waves | others
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _may_start(self, *, room: bool) -> bool:
        """Say whether a wave may begin: one alone asks at a time, and none when the run is to stop."""
        return room and self.stopped is None and self._cursor == math.inf

    def _wake(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    async def _commit_now_and_then(self) -> None:
        committed = time.monotonic()
        while True:
            await asyncio.sleep(_TAKE_IN)
            self._take_in()
            self.ledger.keep_answers()
            # What became of answers follows from them, and many rows in one commit cost less.
            if (now := time.monotonic()) > committed + _COMMIT:
                self.ledger.commit()
                committed = now

    async def _wave(self, only: frozenset[str] | None, number: int) -> None:
        """Ask once for every open triplet that is not busy."""
        breath = time.monotonic()
        answers: AsyncIterator[Answer] = self.engine.answers(self._questions(only, number))
        async for answer in answers:
            self._receive(answer)
            # Until the model has answered well, each answer is looked at: it may be time to stop.
            if self._barren is not None or len(self._came_in) >= _BATCH:
                self._take_in()
            if (now := time.monotonic()) > breath + _BREATH:
                await asyncio.sleep(0)  # an engine that never waits would keep all others from their turn
                breath = now
        self._take_in()
        self._all_asked(number)
        # An engine that leaves a request out must not make the loop go round for ever.
        for key in [key for key, asked in self._asked.items() if asked.wave == number]:
            self._asking.on_way -= 1
            for work in self._asked.pop(key).waiting:
                self.ledger.set_status(work.open, "failed")
                self._settle(work.open)

    def _questions(self, only: frozenset[str] | None, wave: int) -> Iterator[Request]:
        """Yield what to ask, made a few ahead: code that runs several times in a row runs faster."""
        waiting = self.ledger.open_triplets(only)
        while self.stopped is None and (some := list(islice(waiting, _BATCH))):
            self._cursor = some[-1].position
            made, stored = self._with_stored(some)
            asked_before = set(self._asked)
            for work, request in made:
                if request is None:
                    continue
                self._busy.add(work.open.position)
                if (asked := self._asked.get(request.key)) is not None:  # an identical question is in flight
                    asked.waiting.append(work)
                    continue
                answer = stored.get(request.key)
                if answer is None and request.key in asked_before:  # or its answer has come in the meantime
                    answer = self.ledger.answer(request.key)
                if answer is not None:
                    self._take(work, answer)
                    self._on_change()
                elif self._full(request, self._asking):
                    self._busy.remove(work.open.position)
                    break
                else:
                    self._asked[request.key] = _Asked(request, wave, [work])
                    asked_before.add(request.key)
                    self._sent += 1
                    self._asking.on_way += 1
                    self.ledger.keep_answers()  # nothing leaves before all that came is safe: a kill costs what is in flight
                    yield request
        self._all_asked(wave)

    def _with_stored(self, some: Sequence[OpenTriplet]) -> tuple[list[tuple[_Work, Request | None]], dict[str, Answer]]:
        """Return what to ask next about those that are not busy, and which of it has been answered already."""
        made = [self._next(o) for o in some if o.position not in self._busy]
        return made, self.ledger.answers([request.key for _, request in made if request is not None])

    def _all_asked(self, wave: int) -> None:
        """A wave has nothing more to ask: the next one may, unless it does already."""
        if wave != self._wave_number:
            return
        self._cursor = math.inf
        self._busy -= self._settled
        self._settled.clear()
        self._wake()

    def _settle(self, open_: OpenTriplet, *, again: bool = False) -> None:
        """A triplet is no longer busy; say whether there is more to ask about it."""
        if open_.position > self._cursor:
            self._settled.add(open_.position)
        else:
            self._busy.discard(open_.position)
        self._again += again
        if self._cursor == math.inf:
            self._wake()

    def _receive(self, answer: Answer) -> None:
        """Record an answer, before anybody looks at it; an engine that tells of it at once yields it later."""
        asked = self._asked.pop(answer.key, None)
        if asked is not None:
            if answer.refused and any(work.open.round for work in asked.waiting):
                # What a repair quotes may make it too long, or not allowed: the next round asks in another way.
                answer = answer._replace(finish_reason="refused")
            self._came_in.append((asked, self._keep(answer, asked.request, self._asking)))

    def _keep(self, answer: Answer, request: Request, spending: _Spending) -> Answer:
        """Record an answer and what it did cost; return it as it is recorded."""
        answer = encodable(answer)
        cost = _cost(spending.price, answer)
        self.ledger.add_answer(answer, request, cost)
        spending.on_way -= 1
        spending.came += 1
        spending.spent += cost
        self._cost += cost
        return answer

    def _take_in(self) -> None:
        """Have the answers that came checked."""
        came, self._came_in = self._came_in, []
        for asked, answer in came:
            for work in asked.waiting:
                self._take(work, answer)
        if came:
            self._on_change()

    def _take(self, work: _Work, answer: Answer) -> None:
        """Have an answer checked."""
        open_ = work.open
        if (
            answer.text is None and answer.finish_reason is None
        ):  # a model that says nothing has answered; here none has
            self.ledger.set_status(open_, "failed")
            self._settle(open_)
            return
        said = (answer.text, answer.finish_reason, answer.error)
        round_ = Round(open_.triplet, open_.round, self._kind(open_.round), answer.key, *said, work.earlier)
        if self._barren is None:
            self._pool.submit((work, answer), round_)
        else:  # until the model has answered well, each verdict may be the last
            self._checked((work, answer), self.check.attempt(round_))

    def _checked(self, token: tuple[_Work, Answer], packed: PackedAttempt) -> None:
        """Record what became of an answer, unless somebody has still to be asked."""
        work, answer = token
        if self._barren is not None:
            self._notice_barren(answer, packed)
        if self.second is not None:
            attempt = packed.unpacked()
            open_, opinions = self._opinions(self.second, work, attempt)
            if open_:
                # Nothing is recorded yet: the answer is in the ledger, and is taken again at the next start.
                self._unjudged.append(_Unjudged(work, attempt, open_))
                self._wake()  # it may be the last that was being checked
                return
            self._apply(self.second, work, attempt, opinions)
            return
        self._record(work, packed)

    def _record(self, work: _Work, packed: PackedAttempt) -> None:
        complete = len(work.earlier) + packed.accepted == self.settings.captions
        self.ledger.add_attempt(work.open, packed, "complete" if complete else "open")
        self._settle(work.open, again=not complete)

    async def _second_opinions(self, judge: CaptionJudge) -> None:
        """Ask the judge about this wave's captions, and record the attempts that waited for it."""
        pending, self._unjudged = self._unjudged, []
        asked: set[str] = set()
        unanswered: dict[str, Request] = {}

        def questions() -> Iterator[Request]:
            for unjudged in pending:
                for request in unjudged.requests:
                    if request.key in asked:
                        continue
                    if self._full(request, self._judging):
                        return
                    asked.add(request.key)
                    unanswered[request.key] = request
                    self._sent += 1
                    self._judging.on_way += 1
                    self.ledger.keep_answers()
                    yield request

        def receive(answer: Answer) -> None:
            request = unanswered.pop(answer.key, None)
            if request is not None:
                self._keep(answer, request, self._judging)

        if isinstance(judge.engine, Tells):
            judge.engine.tell(receive)
        answers: AsyncIterator[Answer] = judge.engine.answers(questions())
        async for answer in answers:
            receive(answer)
        self._judging.on_way -= len(unanswered)
        for unjudged in pending:
            open_, opinions = self._opinions(judge, unjudged.work, unjudged.attempt)
            if not open_:
                self._apply(judge, unjudged.work, unjudged.attempt, opinions)
            elif self.stopped is None:  # a judge that leaves a question out
                self.ledger.set_status(unjudged.work.open, "failed")
                self._settle(unjudged.work.open)
            self._on_change()

    def _apply(self, judge: CaptionJudge, work: _Work, attempt: Attempt, opinions: Mapping[int, Answer]) -> None:
        """Record an attempt with the judge's opinions."""
        if any(o.text is None and o.finish_reason is None for o in opinions.values()):
            self.ledger.set_status(work.open, "failed")
            self._settle(work.open)
            return
        captions = [judge.apply(c, opinions[i]) if i in opinions else c for i, c in enumerate(attempt.captions)]
        self._record(work, attempt._replace(captions=tuple(captions)).packed())

    def _opinions(self, judge: CaptionJudge, work: _Work, attempt: Attempt) -> tuple[list[Request], dict[int, Answer]]:
        """Return what is still to be asked about captions, and the judge's answers by the captions' places."""
        open_, opinions = [], {}
        for i, caption in enumerate(attempt.captions):
            if judge.wants(caption):
                request = judge.request(work.open.triplet, caption)
                answer = self.ledger.answer(request.key)
                if answer is None:
                    open_.append(request)
                else:
                    opinions[i] = answer
        return open_, opinions

    def _full(self, request: Request, spending: _Spending) -> bool:
        """Say whether no more may be asked, and remember why."""
        if self.stopped is None and self.limits.requests is not None and self._sent >= self.limits.requests:
            self.stopped = f"limits.requests={self.limits.requests} is reached"
        if self.stopped is None and self.limits.cost is not None:
            spending.foresee(request)
            if self._cost + self._asking.to_come + self._judging.to_come >= self.limits.cost:
                self.stopped = f"limits.cost={self.limits.cost} is reached"
        return self.stopped is not None

    def _notice_barren(self, answer: Answer, packed: PackedAttempt) -> None:
        """Stop when a model that never answered as asked has been asked often enough.

        Raises:
            EngineError: shows what came back.
        """
        attempt = packed.unpacked()
        if attempt.captions or self._barren is None:
            self._barren = None  # it can: from now on an answer without is a failure like others
            return
        self._barren.append(f"{attempt.problems[0]}: {(answer.text or '')[:120]!r}")
        if len(self._barren) == BARREN:
            examples = "\n  ".join(dict.fromkeys(self._barren[:3]))
            raise EngineError(
                f"{self.engine.model}: the first {BARREN} answers held no captions that can be read. For example\n"
                f"  {examples}\nTry another model, a larger sampling.max_tokens, or a server with structured output; captioner "
                "engine test, with the same settings, says which. Nothing that was answered is lost."
            )

    def next_request(self, open_: OpenTriplet) -> Request | None:
        """Return what to ask next about an open triplet; if nothing is left to ask, finish it and return None."""
        return self._next(open_)[1]

    def _next(self, open_: OpenTriplet) -> tuple[_Work, Request | None]:
        triplet, number = open_.triplet, open_.round
        if number == 0:
            answers, each = self.settings.share(self.settings.captions)
            messages = self.prompt.render(self.schema, triplet, each)
            return _Work(open_, ()), self._request(open_, messages, each, answers)
        attempts = self.ledger.attempts(triplet.id)
        accepted = tuple(c.caption for c in accepted_of(attempts))
        work = _Work(open_, accepted)
        if number >= self.settings.rounds:
            self._finish(work)
            return work, None
        answers, each = self.settings.share(self.settings.captions - len(accepted))
        last = self.ledger.answer(attempts[-1].key) if attempts[-1].key else None
        if self._kind(number) == "repair" and last is not None and last.text:
            messages = self.prompt.render_repair(
                self.schema,
                triplet,
                each,
                failures=failures_of(attempts[-1]),
                accepted=accepted,
                answer=last.text.replace(SEPARATOR, "\n")[: 4 * MAX_CAPTION * self.settings.captions],
            )
        else:
            messages = self.prompt.render(self.schema, triplet, each)
        return work, self._request(open_, messages, each, answers)

    def _kind(self, number: int) -> Literal["ask", "repair", "regenerate"]:
        if number == 0:
            return "ask"
        return "repair" if number <= self.settings.repairs else "regenerate"

    def _request(self, open_: OpenTriplet, messages: tuple[Message, ...], count: int, answers: int) -> Request:
        base = self.settings.sampling
        # Derived from what is asked, so that identical questions are one, and a run can be repeated.
        system = messages[0].content
        if self._system[0] != system:  # nearly always the same: it is hashed once
            self._system = system, sha256(f'[[["system",{_quoted(system)}]'.encode())
        asked_hash = self._system[1].copy()
        others = "".join([f",[{_quoted(m.role)},{_quoted(m.content)}]" for m in messages[1:]])
        asked_hash.update(f"{others}],{base.seed or 0},{open_.round}]".encode())
        asked = asked_hash.hexdigest()
        seed = int(asked[:8], 16) & 0x7FFFFFFF
        temperature = self.settings.temperature(open_.round)
        sampling = Sampling(temperature, base.top_p, base.max_tokens, seed, answers)
        schema, rest = self._schema_of(count, temperature, answers)
        key_hash = self._unused.copy()
        key_hash.update(f"{asked} {rest}".encode())
        key = key_hash.hexdigest()[:16]
        return Request(f"r{key}", messages, open_.triplet, count, sampling, schema)

    def _schema_of(self, count: int, temperature: float | None, answers: int) -> tuple[dict[str, Any], str]:
        """Return the schema of an answer, and a hash over all of a request but its messages and seed."""
        found = self._schemas.get((count, temperature, answers))
        if found is None:
            schema, base = answer_schema(count), self.settings.sampling
            rest = [self.engine.name, self.engine.model, temperature, base.top_p, base.max_tokens, schema]
            rest += [answers] if answers > 1 else []
            found = self._schemas[count, temperature, answers] = schema, hash_of(rest)
        return found

    def _finish(self, work: _Work) -> None:
        """Complete a triplet that the engine could not, or give it up."""
        open_ = work.open
        if not self.settings.fill or self.engine.name == "rules":
            self.ledger.set_status(open_, "incomplete")
            return
        # More than are missing: some may be too close to what is there.
        wanted = 2 * self.settings.captions
        seed = self.settings.sampling.seed or 0
        written = write_captions(self.schema, open_.triplet, wanted, seed=seed, avoid=work.earlier)
        missing = self.settings.captions - len(work.earlier)
        checked = self.check.captions(open_.triplet, written, work.earlier)
        filled = [c._replace(source="rules", original=None) for c in checked if c.accepted][:missing]
        status: Status = "filled" if len(filled) == missing else "incomplete"
        self.ledger.add_attempt(open_, Attempt(open_.round, "fill", None, (), tuple(filled)).packed(), status)


@contextlib.contextmanager
def _rarely_collecting() -> Iterator[None]:
    """Have the garbage collector look less often: requests in flight are thousands of objects, and no garbage."""
    before = gc.get_threshold()
    gc.set_threshold(_YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _cost(price: Price, answer: Answer) -> float:
    return price.of(answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens)


def accepted_of(attempts: Sequence[Attempt]) -> list[CheckedCaption]:
    """Return the accepted captions of all rounds, in the order in which they came."""
    return [c for a in attempts for c in a.captions if c.accepted]


def failures_of(attempt: Attempt) -> list[Failure]:
    """Return what a repair prompt tells of a round: each refused caption with its problems, then those of the answer."""
    failures = [
        Failure(c.original or c.caption, tuple(_sentence(i) for i in c.issues if i["level"] == "error"))
        for c in attempt.captions
        if not c.accepted and not any(i["code"] == "surplus" for i in c.issues)
    ]
    if attempt.problems:
        failures.append(Failure("(the answer as a whole)", attempt.problems))
    return failures


def _sentence(issue: Any) -> str:
    quoted = f" at {issue['text']!r}" if issue.get("text") else ""
    accept = "; ".join(issue.get("accept") or ())
    return f"{issue['code'].replace('_', ' ')}{quoted}: {issue['fix']}" + (f" (would pass: {accept})" if accept else "")
