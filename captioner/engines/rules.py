"""The built-in writer as an engine: no model, no network, no cost."""

import json
from collections.abc import AsyncIterator, Iterable

from captioner.engines import Answer, Request
from captioner.schema import LabelSchema, load_library
from captioner.writer import VERSION, Writer


class RulesEngine:
    """Answers each request with captions that are composed from its triplet; its messages are not read.

    Args:
        schema: the schema of the triplets that requests carry.
    """

    name = "rules"
    model = f"built-in writer {VERSION}"

    def __init__(self, schema: LabelSchema) -> None:
        self._writer = Writer(schema, load_library())

    async def check(self) -> None:
        """Do nothing: it can always be used."""

    async def answers(self, requests: Iterable[Request]) -> AsyncIterator[Answer]:
        """Yield one answer for each request, in order; the sampling's seed chooses the selection of captions."""
        for request in requests:
            captions = self._writer.write(request.triplet, request.count, seed=request.sampling.seed or 0)
            text = json.dumps({"captions": captions}, ensure_ascii=False)
            yield Answer(request.key, text, finish_reason="stop", model=self.model)

    async def close(self) -> None:
        """Do nothing: it holds nothing."""
