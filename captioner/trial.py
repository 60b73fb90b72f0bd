"""A trial of an engine: what it can do, how fast it is, and what to change, before a long run finds out."""

import json
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from captioner.agreement import Checker
from captioner.answers import answer_schema, parse_answer
from captioner.engines import Answer, Engine, Message, Request, Sampling
from captioner.engines.openai import OpenAIEngine
from captioner.errors import EngineError
from captioner.prompts import Prompt
from captioner.schema import LabelSchema, hash_of
from captioner.triplets import Labels, Triplet, make_triplet

_SEVERAL, _AGAIN = "trial-several", "trial-again"
# An answer that nobody gives unless the schema is enforced: the question asks for another, and the schema names no topic.
_WORD = "amber-lattice-41"
_FORCED = {"reply": _WORD}
_PROOF = Request(
    key="trial-schema",
    messages=(Message("user", "What is two plus two? Answer with one word of plain text, without any braces."),),
    triplet=Triplet("trial", "none", "none", ()),
    count=1,
    answer_schema={
        "type": "object",
        "properties": {name: {"type": "string", "enum": [value]} for name, value in _FORCED.items()},
        "required": list(_FORCED),
        "additionalProperties": False,
    },
)


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial found.

    Attributes:
        model: who answered.
        address: where; None for an engine without one.
        error: why it cannot be used at all; None if it can.
        requests, answered: sent, and with an answer.
        readable: answers with captions in the form that was asked for.
        captions, agreeing: captions in them, and those that agree with their labels.
        structure: how JSON is asked for (strict, json_schema, json_object, none); None for an engine that settles it itself.
        enforced: a schema that is sent with a question decides the answer; None where that was not found out.
        draws_several: several answers are drawn to one question; None where that was not found out.
        repeats: the same question with the same seed gives the same answer; None where that was not found out.
        counts_tokens: answers say how many tokens they took.
        thinks: the model was seen to think before it answers.
        structured_outputs: vLLM's own field for choices, patterns and grammars decides the answer; None for no server.
        logprobs: probabilities of tokens are given; None for no server. Like the one before, for who puts it into ``extra_body``.
        at_once: how many requests the server has been trusted with at once; None for an engine without a server.
        median_seconds, slowest_seconds: of a request.
        seconds: of the whole trial.
        prompt_tokens, completion_tokens: of all answers.
        problems: what was wrong with answers → how often.
        notes: what was changed for the server, in a sentence each.
        advice: what to change.
    """

    model: str
    address: str | None = None
    error: str | None = None
    requests: int = 0
    answered: int = 0
    readable: int = 0
    captions: int = 0
    agreeing: int = 0
    structure: str | None = None
    enforced: bool | None = None
    draws_several: bool | None = None
    repeats: bool | None = None
    counts_tokens: bool = False
    thinks: bool = False
    structured_outputs: bool | None = None
    logprobs: bool | None = None
    at_once: int | None = None
    median_seconds: float = 0.0
    slowest_seconds: float = 0.0
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    problems: dict[str, int] | None = None
    notes: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether a run can be expected to succeed."""
        return self.requests > 0 and self.answered == self.requests and self.readable > 0


async def try_servers(
    engine: Engine, schema: LabelSchema, prompt: Prompt, *, requests: int, sampling: Sampling
) -> list[Trial]:
    """Try each server of an engine, one after the other.

    Raises:
        EngineError: the engine has one server, and that cannot be used.
    """
    if not isinstance(engine, OpenAIEngine) or len(engine.settings.endpoints) < 2:
        return [await try_engine(engine, schema, prompt, requests=requests, sampling=sampling)]
    trials = []
    for one in engine.apart():
        try:
            trials.append(await try_engine(one, schema, prompt, requests=requests, sampling=sampling))
        except EngineError as error:
            trials.append(Trial(one.model, one.address, error=str(error)))
    return trials


async def try_engine(
    engine: Engine, schema: LabelSchema, prompt: Prompt, *, requests: int, sampling: Sampling
) -> Trial:
    """Ask for ten captions of a few classes and look at what comes back.

    Beyond these requests, a server gets a few: one for several answers to a question, one a second time, if it takes schemas
    one with a schema that no answer meets by chance, and one each for vLLM's ``structured_outputs`` and for ``logprobs``.

    Raises:
        EngineError: the engine cannot be used.
    """
    checker = Checker(schema)
    server = engine if isinstance(engine, OpenAIEngine) else None
    questions = {q.key: q for q in (_question(schema, prompt, i, sampling) for i in range(requests))}
    first = next(iter(questions))
    extra = []
    if server is not None:
        extra = [
            replace(questions[first], key=_SEVERAL, sampling=questions[first].sampling._replace(n=2)),
            replace(questions[first], key=_AGAIN),
        ]
    problems: Counter[str] = Counter()
    answers: dict[str, Answer] = {}
    readable = agreeing = total = 0
    try:
        await engine.check()
        begin = time.perf_counter()
        async for answer in engine.answers(questions.values()):
            answers[answer.key] = answer
            captions, faults = parse_answer(answer) if answer.text is not None else ([], [answer.error or "no answer"])
            readable += bool(captions)
            total += len(captions)
            findings = questions[answer.key].triplet.findings
            agreeing += sum(checker.check(c, findings).agrees for c in captions)
            problems.update(faults)
        seconds = time.perf_counter() - begin
        if server is not None and server.capabilities.sends_schemas:
            extra.append(replace(_PROOF, sampling=sampling))
        more = {answer.key: answer.text async for answer in engine.answers(extra)} if extra else {}
        said, _ = await _asked_with(server, questions[first], structured_outputs={"choice": [_WORD]})
        _, logprobs = await _asked_with(server, questions[first], logprobs=True)
    finally:
        await engine.close()
    good = [a for a in answers.values() if a.text is not None]
    several, again, proof = more.get(_SEVERAL), more.get(_AGAIN), more.get(_PROOF.key)
    trial = Trial(
        model=engine.model,
        address=server.address if server else None,
        requests=requests,
        answered=len(good),
        readable=readable,
        captions=total,
        agreeing=agreeing,
        structure=server.capabilities.structured if server else None,
        enforced=_is_forced(proof) if server and proof and server.capabilities.sends_schemas else None,
        draws_several=None if server is None or several is None else server.capabilities.draws_several,
        repeats=None if again is None or answers[first].text is None else answers[first].text == again,
        counts_tokens=any(a.completion_tokens for a in good),
        thinks=server is not None and server.capabilities.thinks,
        structured_outputs=None if server is None else said == _WORD,
        logprobs=None if server is None else logprobs,
        at_once=server.concurrency if server else None,
        median_seconds=statistics.median(a.seconds for a in good) if good else 0.0,
        slowest_seconds=max((a.seconds for a in good), default=0.0),
        seconds=seconds,
        prompt_tokens=sum(a.prompt_tokens for a in good),
        completion_tokens=sum(a.completion_tokens for a in good),
        problems=dict(problems),
        notes=tuple(server.capabilities.notes) if server else (),
    )
    return replace(trial, advice=tuple(_advice(trial, server.settings.concurrency if server else None)))


def _question(schema: LabelSchema, prompt: Prompt, number: int, sampling: Sampling) -> Request:
    code = schema.codes[number % len(schema.codes)]
    triplet = make_triplet(schema, Labels((code,)))
    key = f"trial-{number}-{hash_of([code, number])}"
    return Request(
        key, prompt.render(schema, triplet, 10), triplet, 10, sampling._replace(seed=number), answer_schema(10)
    )


async def _asked_with(server: OpenAIEngine | None, question: Request, **fields: Any) -> tuple[str | None, bool]:
    """Ask a server with more fields, and without a schema; return what it says, and whether probabilities came with it."""
    if server is None:
        return None, False
    settings = {"extra_body": {**server.settings.extra_body, **fields}, "max_retries": 0}
    engine = OpenAIEngine(server.settings.model_copy(update=settings))
    try:
        bound = question.sampling.max_tokens
        room = None if bound is None else bound * server.capabilities.room(question)
        asked = replace(question, answer_schema=None, sampling=question.sampling._replace(max_tokens=room))
        (answer,) = [answer async for answer in engine.answers([asked])]
    except EngineError:
        return None, False
    finally:
        await engine.close()
    return answer.text, engine.capabilities.logprobs


def _is_forced(text: str) -> bool:
    try:
        return bool(json.loads(text) == _FORCED)
    except ValueError:
        return False


def _advice(trial: Trial, allowed: int | None) -> Sequence[str]:
    problems, advice = trial.problems or {}, []
    if trial.answered < trial.requests:
        advice.append("requests fail: look at the reasons above, then at engine.concurrency and engine.timeout")
    cut, controls = (any(said in p for p in problems) for said in ("too long", "control character"))
    if cut:
        advice.append("answers are cut off: raise sampling.max_tokens, or ask for fewer captions")
    if trial.thinks:
        advice.append(
            "the model thinks before it answers, which takes time and is paid for: engine.extra_body="
            """'{"reasoning_effort": "low"}' (OpenAI) or '{"chat_template_kwargs": {"enable_thinking": false}}' (vLLM) """
            "has it think less; see whether as many captions agree"
        )
    if controls:
        advice.append(
            "answers hold control characters: with vLLM, serve with "
            """--structured-outputs-config '{"backend":"guidance","disable_any_whitespace":true}'"""
        )
    if trial.readable < trial.answered and not (cut or controls):
        advice.append("answers are not in the form asked for: serve with structured output, or take a larger model")
    if trial.readable and trial.agreeing < 0.5 * trial.captions:
        advice.append("most captions disagree with their labels: another model or prompt will cost less than repairs")
    unforced = trial.enforced is False or trial.structure in {"json_object", "none"}
    if unforced and trial.readable == trial.answered:
        advice.append("the form of answers is left to the model: a server that enforces a JSON Schema saves repairs")
    if trial.answered and not trial.counts_tokens:
        advice.append("tokens are not counted: limits.cost and engine.tokens_per_minute cannot be kept")
    if trial.at_once is not None and trial.at_once == allowed and trial.requests >= 4 * trial.at_once:
        advice.append(f"it bears all of engine.concurrency={allowed} at once: try more")
    return advice
