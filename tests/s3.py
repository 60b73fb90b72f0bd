"""A real S3 server on loopback, and a wire to it that can be cut at any byte."""

import contextlib
import itertools
import logging
import socket
import threading
from collections.abc import Callable, Iterator

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "a-test-key",
    "AWS_SECRET_ACCESS_KEY": "a-test-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    "AWS_MAX_ATTEMPTS": "1",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}


class Wire:
    """Passes bytes on to a server, until it is cut: then it drops its connections and refuses new ones."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Condition()
        self._open: set[socket.socket] = set()
        self._cut: set[socket.socket] = set()
        self._left: float = float("inf")
        self._then: Callable[[], object] = lambda: None
        self.sent = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, sent: float, then: Callable[[], object] = lambda: None) -> None:
        """Cut the wire after that many more bytes from the client, and call something then."""
        with self._lock:
            self._then, self._left = then, sent

    def settle(self) -> None:
        """Wait until the server has done what it was asked over connections that were cut: nothing changes after that."""
        with self._lock:
            self._lock.wait_for(lambda: not self._cut)

    def mend(self) -> None:
        """Let bytes pass again, once the server has done with those before."""
        self.settle()
        with self._lock:
            self._left = float("inf")

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            with self._lock:
                if self._left <= 0:
                    client.close()
                    continue
                self._open.add(client)
            server = socket.create_connection(self._server)
            threading.Thread(target=self._connect, args=(client, server), daemon=True).start()

    def _connect(self, client: socket.socket, server: socket.socket) -> None:
        up = threading.Thread(target=self._up, args=(client, server), daemon=True)
        up.start()
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                with contextlib.suppress(OSError):  # the client may be gone: the server is heard to its end
                    client.sendall(data)
        _shut(client, socket.SHUT_RDWR)
        up.join()
        client.close()
        server.close()
        with self._lock:
            self._open.discard(client)
            self._cut.discard(client)
            self._lock.notify_all()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                with self._lock:  # as long as one connection cuts the wire, nothing passes through the others
                    if not self._pass(data, server):
                        break
        with self._lock:
            if self._left <= 0:
                self._cut.add(client)
        _shut(server, socket.SHUT_WR)  # it ends what it was asked for, and then the connection

    def _pass(self, data: bytes, server: socket.socket) -> bool:
        """Send what may be sent; return whether more may be."""
        left = self._left
        if left <= 0:
            return False
        server.sendall(data[: int(min(left, len(data)))])
        self.sent += len(data)
        self._left = left - len(data)
        if self._left > 0:
            return True
        self._left = 0
        self._then()
        self._cut |= self._open
        for each in self._open:
            _shut(each, socket.SHUT_RDWR)
        return False


def _shut(end: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(how)


class Server:
    """Moto's S3 server, reached over a wire.

    Attributes:
        wire: what ``AWS_ENDPOINT_URL_S3`` leads to.
        client: boto3's, which goes past the wire.
    """

    def __init__(self) -> None:
        import boto3
        from botocore.config import Config
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.wire = Wire(host, port)
        self.endpoint = f"http://127.0.0.1:{self.wire.port}"
        self.direct = f"http://{host}:{port}"
        self.client = boto3.client(
            "s3",
            endpoint_url=self.direct,
            aws_access_key_id="k",
            aws_secret_access_key="s",
            region_name="us-east-1",
            config=Config(proxies={}),
        )
        self._numbers = itertools.count()

    def new_bucket(self) -> "Bucket":
        name = f"bucket-{next(self._numbers)}"
        self.client.create_bucket(Bucket=name)
        return Bucket(self, name)

    def stop(self) -> None:
        self._server.stop()


class Bucket:
    """A bucket of a test's own."""

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name, self.wire = server, name, server.wire
        self.url = f"s3://{name}"

    def contents(self) -> dict[str, bytes]:
        """Every object's content by its key, read past the wire."""
        return {key: self[key] for key in self}

    def __iter__(self) -> Iterator[str]:
        return iter([each["Key"] for page in self._pages() for each in page.get("Contents", ())])

    def _pages(self) -> Iterator[dict]:
        return iter(self.server.client.get_paginator("list_objects_v2").paginate(Bucket=self.name))

    def stamps(self) -> dict[str, object]:
        """When each object was written."""
        return {each["Key"]: each["LastModified"] for page in self._pages() for each in page.get("Contents", ())}

    def __getitem__(self, key: str) -> bytes:
        return self.server.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def __setitem__(self, key: str, content: bytes) -> None:
        self.server.client.put_object(Bucket=self.name, Key=key, Body=content)

    def __delitem__(self, key: str) -> None:
        self.server.client.delete_object(Bucket=self.name, Key=key)
