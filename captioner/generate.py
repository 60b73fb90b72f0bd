"""The loop: render, ask, check, repair, accept.

Work goes in waves. A wave asks once for every open triplet; each answer is recorded, parsed and checked, and the triplet is
then complete, given up, or open for the next wave, which asks again with what was wrong. Whatever happens is in the
ledger, and what to ask next is a function of the ledger alone: a run that was killed goes on where it was.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from captioner.agreement import Checker, Verdict
from captioner.agreement.repair import repair_in_code
from captioner.agreement.sets import NEAR_DUPLICATE, twin_of, words_of
from captioner.answers import json_of
from captioner.engines import Answer, Engine, Message, Request, Sampling
from captioner.errors import EngineError
from captioner.judge import CaptionJudge
from captioner.prompts import Failure, Prompt
from captioner.schema import LabelSchema, hash_of
from captioner.store import Attempt, CheckedCaption, Ledger, Status
from captioner.triplets import Triplet
from captioner.writer import write_captions

BARREN = 50
"""Answers without a single readable caption, from the first on, after which a model is given up."""

MAX_CAPTION = 600
"""Characters in a caption. CLIP-style text encoders read 77 tokens, roughly 300 characters; nothing longer is of use."""


class CaptionsAnswer(BaseModel):
    """What a model is asked to answer with."""

    model_config = ConfigDict(extra="ignore", strict=True)

    captions: list[Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_CAPTION)]] = (
        Field(min_length=1)
    )


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """How far the loop goes for a triplet.

    Attributes:
        captions: captions in a complete support set.
        repairs: how often the LLM is asked again with what was wrong.
        regenerations: how often it is then asked afresh.
        fill: let the built-in writer complete what is left; such captions are marked ``rules``.
        near_duplicate: two captions whose sets of words overlap by this share (Jaccard) or more are one.
        sampling: how answers are drawn; the seed is the run's, each request derives its own.
    """

    captions: int = 10
    repairs: int = 2
    regenerations: int = 1
    fill: bool = True
    near_duplicate: float = NEAR_DUPLICATE
    sampling: Sampling = field(default_factory=Sampling)

    @property
    def rounds(self) -> int:
        """Rounds in which an engine is asked."""
        return 1 + self.repairs + self.regenerations


@dataclass(frozen=True, slots=True)
class Limits:
    """When a run stops asking, whatever is still open.

    Attributes:
        requests: questions in this session; None is no limit.
        cost: of all tokens in the ledger, in the unit of the prices; None is no limit.
        input_price: of a million prompt tokens.
        output_price: of a million completion tokens.
    """

    requests: int | None = None
    cost: float | None = None
    input_price: float = 0.0
    output_price: float = 0.0

    def cost_of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return what tokens cost."""
        return (prompt_tokens * self.input_price + completion_tokens * self.output_price) / 1e6


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
    ) -> None:
        self.schema = schema
        self.prompt = prompt
        self.engine = engine
        self.ledger = ledger
        self.settings = settings
        self.limits = limits or Limits()
        self.second = judge
        self.checker = Checker(schema)
        self.stopped: str | None = None
        self._asked = 0
        self._cost = 0.0
        self._barren: list[str] | None = []
        self._unjudged: list[tuple[Triplet, Answer, list[Request]]] = []

    async def run(self, only: frozenset[str] | None = None, on_change: Callable[[], None] = lambda: None) -> None:
        """Work until no triplet is open, a limit is reached, or somebody sets ``stopped``.

        Args:
            only: ids of the triplets to work on; all if None.
            on_change: called after each answer.

        Raises:
            EngineError: the engine cannot be used any more, or never answers with captions.
            StorageError: the disk is full.
        """
        if self.ledger.meta("checker") != self.checker.version:
            # Other rules judge by now: every stored answer is judged anew. None is asked for again.
            self.ledger.start_over()
            self.ledger.set_meta("checker", self.checker.version)
        self.ledger.reopen()
        totals = self.ledger.totals()
        self._cost = self.limits.cost_of(totals.prompt_tokens, totals.completion_tokens)
        while self.stopped is None and next(self.ledger.open_triplets(only), None) is not None:
            await self._wave(only, on_change)

    async def _wave(self, only: frozenset[str] | None, on_change: Callable[[], None]) -> None:
        waiting: dict[str, list[Triplet]] = {}

        def questions() -> Iterator[Request]:
            for triplet in self.ledger.open_triplets(only):
                request = self.next_request(triplet)
                if request is None:
                    continue
                if request.key in waiting:  # an identical question is in flight
                    waiting[request.key].append(triplet)
                    continue
                stored = self.ledger.answer(request.key)
                if stored is not None:
                    self._take(triplet, stored)
                    on_change()
                    continue
                if self._full():
                    return
                self.ledger.add_request(request)
                waiting[request.key] = [triplet]
                self._asked += 1
                yield request

        answers: AsyncIterator[Answer] = self.engine.answers(questions())
        async for answer in answers:
            self.ledger.add_answer(answer)
            self._cost += self.limits.cost_of(answer.prompt_tokens, answer.completion_tokens)
            for triplet in waiting.pop(answer.key):
                self._take(triplet, answer)
            on_change()
        # An engine that leaves a request out must not make the loop go round for ever.
        for triplets in waiting.values():
            for triplet in triplets:
                self.ledger.set_status(triplet.id, "failed")
        if self.second is not None and self._unjudged:
            await self._second_opinions(self.second, on_change)

    async def _second_opinions(self, judge: CaptionJudge, on_change: Callable[[], None]) -> None:
        """Ask the judge about this wave's captions, and take the answers that waited for it."""
        pending, self._unjudged = self._unjudged, []

        def questions() -> Iterator[Request]:
            asked: set[str] = set()
            for _, _, requests in pending:
                for request in requests:
                    if request.key in asked:
                        continue
                    if self._full():
                        return
                    asked.add(request.key)
                    self.ledger.add_request(request)
                    self._asked += 1
                    yield request

        answers: AsyncIterator[Answer] = judge.engine.answers(questions())
        async for answer in answers:
            self.ledger.add_answer(answer)
            self._cost += self.limits.cost_of(answer.prompt_tokens, answer.completion_tokens)
        for triplet, answer, _ in pending:
            self._take(triplet, answer)
            on_change()
        left, self._unjudged = self._unjudged, []
        for triplet, _, _ in left if self.stopped is None else ():  # a judge that leaves a question out
            self.ledger.set_status(triplet.id, "failed")

    def _full(self) -> bool:
        """Say whether no more may be asked, and remember why."""
        if self.stopped is None and self.limits.requests is not None and self._asked >= self.limits.requests:
            self.stopped = f"limits.requests={self.limits.requests} is reached"
        if self.stopped is None and self.limits.cost is not None and self._cost >= self.limits.cost:
            self.stopped = f"limits.cost={self.limits.cost} is reached"
        return self.stopped is not None

    def _notice_barren(self, answer: Answer, captions: Sequence[str], problems: Sequence[str]) -> None:
        """Stop when a model that never answered as asked has been asked often enough.

        Raises:
            EngineError: shows what came back.
        """
        if captions:
            self._barren = None  # it can: from now on an answer without is a failure like others
        elif self._barren is not None:
            self._barren.append(f"{problems[0]}: {(answer.text or '')[:120]!r}")
            if len(self._barren) == BARREN:
                examples = "\n  ".join(dict.fromkeys(self._barren[:3]))
                raise EngineError(
                    f"{self.engine.model}: the first {BARREN} answers held no captions that can be read. For example\n"
                    f"  {examples}\nTry another model, a larger sampling.max_tokens, or a server with structured output. "
                    "Nothing that was answered is lost."
                )

    def next_request(self, triplet: Triplet) -> Request | None:
        """Return what to ask next for an open triplet; if nothing is left to ask, finish it and return None."""
        attempts = self.ledger.attempts(triplet.id)
        number = len(attempts)
        if number >= self.settings.rounds:
            self._finish(triplet, attempts)
            return None
        accepted = accepted_of(attempts)
        missing = self.settings.captions - len(accepted)
        kind = self._kind(number)
        last = self.ledger.answer(attempts[-1].key) if attempts and attempts[-1].key else None
        if kind == "repair" and last is not None and last.text:
            messages = self.prompt.render_repair(
                self.schema,
                triplet,
                missing,
                failures=failures_of(attempts[-1]),
                accepted=[c.caption for c in accepted],
                answer=last.text[: 4 * MAX_CAPTION * self.settings.captions],
            )
        else:
            messages = self.prompt.render(self.schema, triplet, missing)
        return self._request(triplet, messages, missing, number)

    def _kind(self, number: int) -> Literal["ask", "repair", "regenerate"]:
        if number == 0:
            return "ask"
        return "repair" if number <= self.settings.repairs else "regenerate"

    def _request(self, triplet: Triplet, messages: tuple[Message, ...], count: int, number: int) -> Request:
        base = self.settings.sampling
        content = [[m.role, m.content] for m in messages]
        # Derived from what is asked, so that identical questions are one, and a run can be repeated.
        seed = int(hash_of([content, base.seed or 0, number])[:8], 16) & 0x7FFFFFFF
        sampling = Sampling(base.temperature, base.top_p, base.max_tokens, seed)
        schema = answer_schema(count)
        parts = [
            content,
            self.engine.name,
            self.engine.model,
            sampling.temperature,
            sampling.top_p,
            sampling.max_tokens,
        ]
        return Request(f"r{hash_of([*parts, seed, schema])}", messages, triplet, count, sampling, schema)

    def _take(self, triplet: Triplet, answer: Answer) -> None:
        """Judge an answer and record what became of it."""
        if answer.text is None:
            self.ledger.set_status(triplet.id, "failed")
            return
        attempts = self.ledger.attempts(triplet.id)
        number = len(attempts)
        earlier = accepted_of(attempts)
        captions, problems = parse_answer(answer)
        self._notice_barren(answer, captions, problems)
        missing = self.settings.captions - len(earlier)
        if captions and len(captions) != missing:
            problems.append(f"{len(captions)} captions where {missing} were asked for")
        checked = self.judge(triplet, captions, [c.caption for c in earlier])
        if self.second is not None:
            open_, opinions = self._opinions(self.second, triplet, checked)
            if open_:
                # Nothing is recorded yet: the answer is in the ledger, and will be taken again with the judge's verdicts.
                self._unjudged.append((triplet, answer, open_))
                return
            if any(o.text is None for o in opinions.values()):
                self.ledger.set_status(triplet.id, "failed")
                return
            checked = [self.second.apply(c, opinions[i]) if i in opinions else c for i, c in enumerate(checked)]
        attempt = Attempt(number, self._kind(number), answer.key, tuple(problems), tuple(checked))
        status: Status = (
            "complete" if len(earlier) + sum(c.accepted for c in checked) == self.settings.captions else "open"
        )
        self.ledger.add_attempt(triplet.id, attempt, status)

    def _opinions(
        self, judge: CaptionJudge, triplet: Triplet, checked: Sequence[CheckedCaption]
    ) -> tuple[list[Request], dict[int, Answer]]:
        """Return what is still to be asked about captions, and the judge's answers by the captions' places."""
        open_, opinions = [], {}
        for i, caption in enumerate(checked):
            if judge.wants(caption):
                request = judge.request(triplet, caption)
                answer = self.ledger.answer(request.key)
                if answer is None:
                    open_.append(request)
                else:
                    opinions[i] = answer
        return open_, opinions

    def judge(self, triplet: Triplet, captions: Sequence[str], earlier: Sequence[str]) -> list[CheckedCaption]:
        """Check captions against a triplet and against each other, repairing in code what needs no LLM.

        Args:
            triplet: what they must agree with.
            captions: new ones.
            earlier: accepted ones of the same set.
        """
        source: Literal["engine", "rules"] = "rules" if self.engine.name == "rules" else "engine"
        kept = [words_of(c) for c in earlier]
        result = []
        for caption in captions:
            text, original = caption, None
            verdict = verdict_of(self.checker, triplet, text)
            if not verdict.agrees:
                mended = repair_in_code(text, verdict)
                if mended is not None and mended != text:
                    again = verdict_of(self.checker, triplet, mended)
                    if again.agrees:
                        text, original, verdict = mended, caption, again
            issues: list[dict[str, Any]] = [i.to_dict() for i in verdict.issues]
            words = words_of(text)
            if verdict.agrees and (twin := twin_of(words, kept, self.settings.near_duplicate)):
                issues.append({"code": twin, "level": "error", "fix": "word it differently from the other captions"})
            elif verdict.agrees and len(kept) == self.settings.captions:
                issues.append({"code": "surplus", "level": "error", "fix": "not needed: the set is complete"})
            accepted = not any(i["level"] == "error" for i in issues)
            if accepted:
                kept.append(words)
            result.append(CheckedCaption(text, accepted, "code" if original else source, original, tuple(issues)))
        return result

    def _finish(self, triplet: Triplet, attempts: Sequence[Attempt]) -> None:
        """Complete a triplet that the engine could not, or give it up."""
        accepted = [c.caption for c in accepted_of(attempts)]
        if not self.settings.fill or self.engine.name == "rules":
            self.ledger.set_status(triplet.id, "incomplete")
            return
        # More than are missing: some may be too close to what is there.
        wanted = 2 * self.settings.captions
        written = write_captions(self.schema, triplet, wanted, seed=self.settings.sampling.seed or 0, avoid=accepted)
        filled: list[CheckedCaption] = []
        for c in self.judge(triplet, written, accepted):
            if c.accepted and len(accepted) + len(filled) < self.settings.captions:
                filled.append(CheckedCaption(c.caption, accepted=True, source="rules", issues=c.issues))
        status: Status = "filled" if len(accepted) + len(filled) == self.settings.captions else "incomplete"
        self.ledger.add_attempt(triplet.id, Attempt(len(attempts), "fill", None, (), tuple(filled)), status)


def verdict_of(checker: Checker, triplet: Triplet, caption: str) -> Verdict:
    """Return whether a caption agrees with everything that a triplet says."""
    return checker.check(caption, triplet.findings, negatives=triplet.negatives, attributes=dict(triplet.attributes))


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


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff\ufffd]")


def parse_answer(answer: Answer) -> tuple[list[str], list[str]]:
    """Return the captions of an answer, and what is wrong with it as a whole.

    What surrounds the JSON (a fence, a thought, "Here are …") does no harm. An answer that was cut off, or holds no JSON,
    or control characters, gives no captions: a part of it may look whole and not be.
    """
    data, problem = json_of(answer, '{"captions": ["…"]}')
    if problem is not None:
        return [], [problem]
    if isinstance(data, list):
        data = {"captions": data}
    try:
        captions = CaptionsAnswer.model_validate(data).captions
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "answer"
        return [], [f'the answer is not of the form {{"captions": ["…"]}}: {place}: {first["msg"]}']
    if any(_CONTROL.search(c) for c in captions):
        return [], ["the answer holds control characters"]
    return captions, []


def answer_schema(count: int) -> dict[str, Any]:
    """Return the JSON Schema of an answer with ``count`` captions.

    Every string has a bound, and a pattern that leaves control characters out: without, constrained decoding of some
    servers runs on until the token limit, or emits raw control characters (xgrammar issues 286 and 800).
    """
    caption = {"type": "string", "minLength": 10, "maxLength": MAX_CAPTION}
    return {
        "type": "object",
        "properties": {"captions": {"type": "array", "items": caption, "minItems": count, "maxItems": count}},
        "required": ["captions"],
        "additionalProperties": False,
    }
