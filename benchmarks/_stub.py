"""The cheapest server that there is, in a process of its own: for measuring what a client costs."""

import asyncio
import contextlib
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from itertools import cycle
from multiprocessing.connection import Connection


def completion(text: str) -> bytes:
    """Return the body of a chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 400, "completion_tokens": 250, "total_tokens": 650}
    head = {"id": "chatcmpl-0", "object": "chat.completion", "created": 0, "model": "stub"}
    return json.dumps({**head, "choices": [choice], "usage": usage}).encode()


class _Stub(asyncio.Protocol):
    """Reads headers, skips the body and answers after a while."""

    def __init__(self, replies: Iterator[bytes], latency: float) -> None:
        self._replies = replies
        self._latency = latency
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, self._answer)
            else:
                self._answer()

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(next(self._replies))


def _serve(texts: Sequence[str], latency: float, pipe: Connection) -> None:
    async def forever() -> None:
        replies = []
        for text in texts:
            body = completion(text)
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            replies.append(head.encode() + body)
        source = cycle(replies)
        server = await asyncio.get_running_loop().create_server(lambda: _Stub(source, latency), "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())


@contextlib.contextmanager
def stub(texts: Sequence[str], latency: float = 0.0) -> Iterator[str]:
    """Serve texts in turn, whatever is asked; yield the base URL.

    Args:
        texts: what the model says.
        latency: seconds before each answer.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serve, args=(list(texts), latency, theirs), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        server.terminate()
        server.join()
