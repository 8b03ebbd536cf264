"""A TCP proxy on this machine that does to connections what networks do to them.

Decides nothing by itself: a test says what is to go wrong. Connections are passed on until then.
"""

import contextlib
import socket
import struct
import threading
import time
from urllib.parse import urlsplit, urlunsplit

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closed without a farewell


class Proxy:
    """Stands between a client and a server.

    Attributes:
        delay: seconds by which each answer is late.
        refusing: whether connections are closed as soon as they are made.
        swallowing: whether what the client sends goes nowhere, while the connection stands (half-open).
        losing: called with each piece of bytes from the client: whether the answer to it is to get lost. The server
            gets the piece and does what it says; then the client's connection is reset.
        dropping: the same, and the server does not get the piece either.
    """

    def __init__(self, url):
        self.target = urlsplit(url)
        self.delay = 0.0
        self.refusing = self.swallowing = False
        self.losing = self.dropping = lambda _: False
        self.lost = 0
        self._sockets = set()
        self._listening = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self):
        user = f"{self.target.username}@" if self.target.username else ""
        port = self._listening.getsockname()[1]
        return urlunsplit(self.target._replace(netloc=f"{user}127.0.0.1:{port}"))

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listening.shutdown(socket.SHUT_RDWR)  # closing alone would leave the thread waiting in it
        self._listening.close()
        self.cut()

    def cut(self):
        """Reset all connections that there are."""
        for each in list(self._sockets):
            self._reset(each)

    def _reset(self, connection):
        self._sockets.discard(connection)
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.shutdown(socket.SHUT_RD)
        with contextlib.suppress(OSError):
            connection.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self.refusing:
                self._reset(client)
                continue
            try:
                server = socket.create_connection((self.target.hostname, self.target.port))
            except OSError:
                self._reset(client)
                continue
            self._sockets |= {client, server}
            state = {"losing": False}
            for way in (self._up, self._down):
                threading.Thread(target=way, args=(client, server, state), daemon=True).start()

    def _up(self, client, server, state):
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if self.swallowing:
                    continue
                if self.dropping(data):
                    self.lost += 1
                    break
                state["losing"] = state["losing"] or self.losing(data)
                server.sendall(data)
        if not state["losing"]:
            self._reset(client)
            self._reset(server)

    def _down(self, client, server, state):
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if state["losing"]:
                    self.lost += 1
                    break
                if self.delay:
                    time.sleep(self.delay)
                if not self.swallowing:
                    client.sendall(data)
        self._reset(client)
        self._reset(server)


def once(matching):
    """For `losing` and `dropping`: True for the first piece that holds these bytes."""
    seen = []

    def is_it(data):
        if not seen and matching in data:
            seen.append(True)
            return True
        return False

    return is_it
