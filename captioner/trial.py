"""A trial of an engine: what it can do, how fast it is, and what to change, before a long run finds out."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from captioner.agreement import Checker
from captioner.answers import answer_schema, parse_answer
from captioner.engines import Engine, Request, Sampling
from captioner.prompts import Prompt
from captioner.schema import LabelSchema, hash_of
from captioner.triplets import Labels, make_triplet


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial found.

    Attributes:
        model: who answered.
        requests, answered: sent, and with an answer.
        readable: answers with captions in the form that was asked for.
        captions, agreeing: captions in them, and those that agree with their labels.
        median_seconds, slowest_seconds: of a request.
        seconds: of the whole trial.
        prompt_tokens, completion_tokens: of all answers.
        problems: what was wrong with answers → how often.
        notes: what was changed for the server, in a sentence each.
        advice: what to change.
    """

    model: str
    requests: int
    answered: int
    readable: int
    captions: int
    agreeing: int
    median_seconds: float
    slowest_seconds: float
    seconds: float
    prompt_tokens: int
    completion_tokens: int
    problems: dict[str, int]
    notes: tuple[str, ...]
    advice: tuple[str, ...]


async def try_engine(
    engine: Engine, schema: LabelSchema, prompt: Prompt, *, requests: int, sampling: Sampling
) -> Trial:
    """Ask for ten captions of a few classes and look at what comes back.

    Raises:
        EngineError: the engine cannot be used.
    """
    checker = Checker(schema)
    questions: dict[str, Request] = {}
    for number in range(requests):
        code = schema.codes[number % len(schema.codes)]
        triplet = make_triplet(schema, Labels((code,)))
        drawn = Sampling(sampling.temperature, sampling.top_p, sampling.max_tokens, number)
        messages = prompt.render(schema, triplet, 10)
        key = f"trial-{number}-{hash_of([code, number])}"
        questions[key] = Request(key, messages, triplet, 10, drawn, answer_schema(10))
    problems: dict[str, int] = {}
    times, readable, agreeing, total, prompt_tokens, completion_tokens = [], 0, 0, 0, 0, 0
    try:
        await engine.check()
        begin = time.perf_counter()
        async for answer in engine.answers(questions.values()):
            if answer.text is None:
                faults = [answer.error or "no answer"]
            else:
                times.append(answer.seconds)
                prompt_tokens += answer.prompt_tokens
                completion_tokens += answer.completion_tokens
                captions, faults = parse_answer(answer)
                readable += bool(captions)
                total += len(captions)
                findings = questions[answer.key].triplet.findings
                agreeing += sum(checker.check(c, findings).agrees for c in captions)
            for fault in faults:
                problems[fault] = problems.get(fault, 0) + 1
        seconds = time.perf_counter() - begin
    finally:
        await engine.close()
    capabilities = getattr(engine, "capabilities", None)
    return Trial(
        model=engine.model,
        requests=requests,
        answered=len(times),
        readable=readable,
        captions=total,
        agreeing=agreeing,
        median_seconds=statistics.median(times) if times else 0.0,
        slowest_seconds=max(times, default=0.0),
        seconds=seconds,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        problems=problems,
        notes=tuple(capabilities.notes) if capabilities else (),
        advice=tuple(_advice(len(times), requests, readable, agreeing / total if total else 0.0, problems)),
    )


def _advice(answered: int, requests: int, readable: int, agreement: float, problems: dict[str, int]) -> Sequence[str]:
    advice = []
    if answered < requests:
        advice.append("requests fail: look at the reasons above, then at engine.concurrency and engine.timeout")
    if any("too long" in p for p in problems):
        advice.append("answers are cut off: raise sampling.max_tokens, or ask for fewer captions")
    elif readable < answered:
        advice.append("answers are not in the form asked for: serve with structured output, or take a larger model")
    if readable and agreement < 0.5:
        advice.append("most captions disagree with their labels: another model or prompt will cost less than repairs")
    return advice
