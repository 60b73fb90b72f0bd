"""An engine that answers from a script: what a test wants a model to say."""

import json
from collections.abc import AsyncIterator, Callable, Iterable

from captioner.engines import Answer, Request


class ScriptedEngine:
    """Answers each request with what ``script`` returns: text, an Answer, or None for a request that failed."""

    name = "scripted"
    model = "script"

    def __init__(self, script: Callable[[Request], str | Answer | None]) -> None:
        self.script = script
        self.asked: list[Request] = []

    async def check(self) -> None:
        pass

    async def answers(self, requests: Iterable[Request]) -> AsyncIterator[Answer]:
        for request in requests:
            self.asked.append(request)
            answer = self.script(request)
            if answer is None:
                yield Answer(request.key, None, error="no answer")
            else:
                yield Answer(request.key, answer, "stop") if isinstance(answer, str) else answer

    async def close(self) -> None:
        pass


def captions(*texts: str) -> str:
    return json.dumps({"captions": list(texts)})
