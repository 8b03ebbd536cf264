"""Decides which request takes which step of a script, and does to its connection what the step says.

A real HTTP server on a real socket, so that a test exercises the provider's own SDK, its timeouts and its
exceptions.  It must not know anything of retries, sessions or the rest of this library (an agent without
them can be tested with it too), nor what bytes a step stands for: that is `_replies` and `_dialects`.
"""

import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from resilient_agent.testing._dialects import DIALECTS
from resilient_agent.testing._replies import Reply, not_found, reply_to
from resilient_agent.testing._steps import Answer, Request, Status, Step, as_step, as_steps

Script = Iterable[Step | str | int] | Callable[[Request], Step | str | int]

_OK = Answer("ok")


class FakeLLM:
    """A local server that speaks OpenAI chat completions and Anthropic messages, and fails on a script.

    Start and stop it with `with`, with `async with`, or by hand.  Started again after a stop, it listens on
    the same port and goes on with its script: a provider that was down for a while.

    Args:
        script: a finite iterable of steps, of which each request takes one, in the order of arrival; or a
            function from the `Request` to a step, called for one request at a time.  A str stands for an
            `Answer` with that text, an int for that `Status`.
        then: what every request gets once the script is over.

    Raises:
        TypeError: the script is neither, or something in it is no step (the error names its index).

    A request to any other path than the two is answered with 404, takes no step and is not recorded.  If a
    script function raises or returns no step, the request gets a 400 that says so, and leaving the `with`
    block (or `stop()`) raises the error too.

    Example:
        >>> from openai import OpenAI, RateLimitError
        >>> with FakeLLM([429, "hello"]) as llm:
        ...     with OpenAI(base_url=llm.openai_base_url, api_key="test", max_retries=0) as client:
        ...         ask = lambda: client.chat.completions.create(model="m", messages=[])
        ...         try:
        ...             ask()
        ...         except RateLimitError as error:
        ...             print(error.status_code)
        ...         print(ask().choices[0].message.content, llm.request_count)
        429
        hello 2
    """

    def __init__(self, script: Script = (), *, then: Step | str | int = _OK) -> None:
        self._function = script if callable(script) else None
        self._steps = () if callable(script) else as_steps(script)
        self._then = as_step(then, "then")
        self._requests: list[Request] = []
        # Reentrant: a script function runs under it and may look at `requests`.
        self._lock = threading.RLock()
        self._fault: BaseException | None = None
        self._port = 0
        self._server: _Server | None = None

    @property
    def openai_base_url(self) -> str:
        """The `base_url` for OpenAI's SDK; RuntimeError before the first start."""
        return f"{self.anthropic_base_url}/v1"

    @property
    def anthropic_base_url(self) -> str:
        """The `base_url` for Anthropic's SDK; RuntimeError before the first start."""
        if not self._port:
            raise RuntimeError("FakeLLM has no address yet: use `with FakeLLM(...) as llm:` or call start()")
        return f"http://127.0.0.1:{self._port}"

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in the order of arrival."""
        with self._lock:
            return list(self._requests)

    @property
    def request_count(self) -> int:
        """The number of requests so far."""
        with self._lock:
            return len(self._requests)

    @property
    def pending(self) -> int | None:
        """The number of steps that no request has taken yet; None if the script is a function."""
        return None if self._function else max(0, len(self._steps) - self.request_count)

    def start(self) -> Self:
        """Listen; nothing happens if it listens already.

        Returns:
            Itself.

        Raises:
            OSError: no socket could be had.
        """
        if self._server is None:
            self._server = _Server(self._port, self._take, self._blame)
            self._port = self._server.server_address[1]
            _running.add(self)
        return self

    def stop(self) -> None:
        """Close all connections, hanging ones too, and end all threads; nothing happens if it is stopped.

        It waits for nothing but a script function that is at work.

        Raises:
            Exception: what a script function raised, if it did.
        """
        fault = self._close()
        if fault is not None:
            raise fault

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fault = self._close()
        # An error that is already on its way out of the block tells more: it is not replaced.
        if fault is not None and error is None:
            raise fault

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    def _close(self) -> BaseException | None:
        if self._server is not None:
            _running.discard(self)
            self._server.close()
            self._server = None
        fault, self._fault = self._fault, None
        return fault

    def _take(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> tuple[Request, Step]:
        """Record a request and take the step for it, both in one, as many arrive at the same time."""
        stream = isinstance(body, dict) and body.get("stream") is True
        with self._lock:
            index = len(self._requests)
            request = Request(index, method, path, headers, body, stream, time.monotonic())
            self._requests.append(request)
            if self._function is not None:
                return request, self._ask(self._function, request)
            return request, self._steps[index] if index < len(self._steps) else self._then

    def _ask(self, function: Callable[[Request], Step | str | int], request: Request) -> Step:
        try:
            return as_step(function(request), f"what the script returned for request {request.index}")
        except Exception as error:
            error.add_note(f"raised by the script of a FakeLLM, for request {request.index}")
            self._blame(error)
            # 400 and not 500: a client must not take a mistake in a test for a moment's trouble and retry.
            return Status(400, f"The script of this FakeLLM failed at request {request.index}: {error!r}")

    def _blame(self, error: BaseException) -> None:
        self._fault = self._fault or error

    def _leave_to_parent(self) -> None:
        """In a forked child: drop the parent's sockets, and its lock: its holder may be a thread not here."""
        self._lock = threading.RLock()
        if self._server is not None:
            self._server.drop_sockets()
            self._server = None


# The servers of this process.  A forked child inherits their sockets, and as long as it held them, the
# parent could neither reset a connection nor give back its port.
_running: set[FakeLLM] = set()


def _leave_all_to_parent() -> None:
    for llm in _running:
        llm._leave_to_parent()  # noqa: SLF001 - the hook is this class's own
    _running.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all_to_parent)


class _Server(ThreadingHTTPServer):
    """Listens from its making to `close()`, with a thread for each connection."""

    # The length of the queue of clients that connect at the same moment.
    request_queue_size = 1024
    allow_reuse_address = True

    def __init__(
        self,
        port: int,
        take: Callable[[str, str, Mapping[str, str], Any], tuple[Request, Step]],
        blame: Callable[[BaseException], None],
    ) -> None:
        self.take = take
        self._blame = blame
        self._clients: list[tuple[threading.Thread, socket.socket]] = []
        super().__init__(("127.0.0.1", port), _Handler)
        # The interval bounds how long close() waits for the loop to notice it.
        poll = {"poll_interval": 0.01}
        self._loop = threading.Thread(target=self.serve_forever, kwargs=poll, name="FakeLLM", daemon=True)
        self._loop.start()

    def server_bind(self) -> None:
        # HTTPServer's own also looks up the host's name, which takes seconds where DNS is slow.
        TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        # ThreadingMixIn keeps account of its threads only if they are no daemons; but a test that forgot
        # stop() must not keep the interpreter from its exit.
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name="FakeLLM-client",
            daemon=True,
        )
        self._clients = [client for client in self._clients if client[0].is_alive()]
        # Known before it starts: its script function may fork, and the child has to know all sockets.
        self._clients.append((thread, request))
        thread.start()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        error = sys.exception()
        # A client that went away is an everyday thing here.  Everything else is kept for stop() to raise.
        if error is not None and not isinstance(error, OSError):
            self._blame(error)

    def close(self) -> None:
        self.shutdown()
        for _, client in self._clients:
            # Wakes a thread that reads, writes or hangs; the error is that of a socket closed in between.
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread, _ in self._clients:
            thread.join()
        self._loop.join()
        self.server_close()

    def drop_sockets(self) -> None:
        for owned in (self.socket, *(client for _, client in self._clients)):
            # Not socket.close(): it would wait for the file objects of threads that are not in this process.
            with suppress(OSError):
                os.close(owned.detach())


class _Handler(BaseHTTPRequestHandler):
    """Reads the requests of one connection and writes what the script says."""

    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "FakeLLM"
    sys_version = ""
    # Each event of a stream goes out when it is written.
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        size = int(self.headers.get("content-length", 0))
        body = self.rfile.read(size)
        if len(body) < size:  # the client left before it had said everything
            self.close_connection = True
            return
        self._send(self._reply(body))

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815 - http.server's names

    def log_message(self, *args: Any) -> None:
        """Say nothing: the output of a test belongs to the test."""

    def _reply(self, body: bytes) -> Reply:
        dialect = DIALECTS.get(urlsplit(self.path).path)
        if dialect is None or self.command != "POST":
            return not_found(self.command, self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request, step = self.server.take(self.command, self.path, headers, _parsed(body))
        return reply_to(request, step, dialect)

    def _send(self, reply: Reply) -> None:
        if not self._wait(reply.delay):
            self.close_connection = True
            return
        if reply.code is not None:
            self._send_head(reply.code, reply.headers)
        for frame in reply.frames:
            self.wfile.write(frame)
        if reply.ending != "keep":
            self.close_connection = True
        if reply.ending == "reset":
            self._reset()

    def _send_head(self, code: int, headers: Mapping[str, str]) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _wait(self, seconds: float | None) -> bool:
        """Whether the client stays for that time (None: until it leaves); `_Server.close()` ends it too."""
        end = None if seconds is None else time.monotonic() + seconds
        try:
            while end is None or (left := end - time.monotonic()) > 0:
                self.connection.settimeout(None if end is None else left)
                if not self.connection.recv(65_536):
                    return False
        except TimeoutError:
            pass
        finally:
            self.connection.settimeout(None)
        return True

    def _reset(self) -> None:
        # A reset may discard what the peer has not read yet: give it the time to read the frames.
        time.sleep(0.02)
        # With a linger time of zero, close() sends RST instead of FIN.  The file objects hold the socket
        # until the end of this handler; the server does not shut down a closed one, which would send FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
