"""Local sockets that give nothing away, and servers that misbehave.

Exceptions print the URL they failed at. So no port here holds three digits that read like an HTTP status.
"""

import contextlib
import random
import re
import socket
import struct
import threading
import time

HOST = "127.0.0.1"
NOBODY = f"http://{HOST}:9"  # the port of a service that no machine runs any more
_STATUS = re.compile(r"[1-5]\d\d")
_PORTS = [port for port in range(6000, 61000) if not _STATUS.search(str(port))]


def quiet(bind):
    """Give what `bind(port)` gives for the first quiet port that is free."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with contextlib.suppress(OSError):
            return bind(port)
    raise RuntimeError("every quiet port is taken")


def reset(connection):
    """Close a connection so that the other side sees a reset and not an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@contextlib.contextmanager
def silent():
    """Give the URL of a server that takes connections and never says a word."""
    with quiet(_listening) as listener:
        yield _url(listener)


@contextlib.contextmanager
def resetting():
    """Give the URL of a server that reads the request and resets the connection."""
    with _misbehaving(reset) as url:
        yield url


@contextlib.contextmanager
def closing():
    """Give the URL of a server that reads the request and closes the connection."""
    with _misbehaving(socket.socket.close) as url:
        yield url


@contextlib.contextmanager
def stopping_short():
    """Give the URL of a server whose body is shorter than it said."""
    with _misbehaving(_answer_in_part) as url:
        yield url


@contextlib.contextmanager
def _misbehaving(behave):
    with quiet(_listening) as listener:
        listener.settimeout(0.05)
        over = threading.Event()
        thread = threading.Thread(target=_serve, args=(listener, behave, over), daemon=True)
        thread.start()
        try:
            yield _url(listener)
        finally:
            over.set()
            thread.join()


def _serve(listener, behave, over):
    while not over.is_set():
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            connection.settimeout(5)
            with connection:
                connection.recv(65536)
                behave(connection)


def _answer_in_part(connection):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 90\r\n\r\n" + b"x" * 60)
    time.sleep(0.05)


def _listening(port):
    return socket.create_server((HOST, port))


def _url(listener):
    return f"http://{HOST}:{listener.getsockname()[1]}/"
