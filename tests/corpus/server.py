"""One local server for all rows: it answers each path with the status, headers and body of a row."""

import contextlib
import hashlib
import http.server
import json
import socket
import threading
import time

from . import sockets, streams

# The date of every answer that names none: what a row says of a point in time stays true.
DATE = "Thu, 20 Aug 2026 09:15:32 GMT"
# Statuses that http.server has no phrase for, with the words of those who send them.
_PHRASES = {
    432: "Unknown",
    498: "Invalid Token",
    499: "Client Closed Request",
    520: "Web Server Returned an Unknown Error",
    522: "Connection Timed Out",
    524: "A Timeout Occurred",
    529: "Site Overloaded",
}
_LETTERS = "bcdfghjkmnpqrtvw"  # a word of these reads like no label, and holds no digit
_FRAMING = {"connection", "content-encoding", "content-length", "transfer-encoding"}  # the server's business


class CorpusServer:
    """Serves rows from a thread of its own, until `stop`."""

    def __init__(self):
        self._http = sockets.quiet(lambda port: _Server((sockets.HOST, port), _Handler))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def serve(self, row):
        """Give the URL at which the row's answer now is."""
        digest = hashlib.sha256(row["id"].encode()).hexdigest()[:16]
        word = "".join(_LETTERS[int(digit, 16)] for digit in digest)
        self._http.rows[word] = row
        return f"http://{sockets.HOST}:{self._http.server_port}/{word}"

    def stop(self):
        """End the thread and close the socket."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address, handler):
        self.rows = {}
        super().__init__(address, handler)

    def handle_error(self, request, client_address):
        """A client that went away is what some rows are about."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.close_connection = True
        row = self.server.rows[self.path.strip("/").partition("/")[0].partition("?")[0]]
        time.sleep(_extra(row).get("hang", 0))
        status = row["status"] or 200
        self.send_response_only(status, _PHRASES.get(status))
        (self._stream if row["kind"] == "stream" else self._whole)(row)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer  # noqa: N815 - http.server's names

    def log_message(self, *_):
        """Nobody reads an access log of this."""

    def _whole(self, row):
        kind, data = _body(row["body"])
        self._head(row, {"content-type": kind}, {"content-length": str(len(data)), "connection": "close"})
        if self.command != "HEAD":
            self.wfile.write(data)

    def _stream(self, row):
        kind, chunks = streams.chunks(row)
        self._head(row, {"content-type": kind}, {"transfer-encoding": "chunked", "connection": "close"})
        for chunk in chunks:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        end = _extra(row).get("cut") or row.get("cut")
        if not end:
            self.wfile.write(b"0\r\n\r\n")
            return
        time.sleep(0.05)  # what was sent is read before the cut is seen
        if end == "reset":
            sockets.reset(self.connection)
        else:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def _head(self, row, defaults, framing):
        named = {name.lower(): str(value) for name, value in (row["headers"] or {}).items()}
        error = _extra(row).get("error_name")
        aws = {"x-amzn-errortype": error} if error and row["kind"] == "http" else {}
        own = {name: value for name, value in named.items() if name not in _FRAMING}
        for name, value in {"date": DATE, **defaults, **aws, **own, **framing}.items():
            self.send_header(name, value)
        self.end_headers()


def _extra(row):
    return row.get("extra") or {}


def _body(body):
    """Give the content type and bytes of a row's body."""
    if isinstance(body, dict | list):
        return "application/json", json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    text = body or ""
    return "text/html" if text.lstrip().startswith("<") else "text/plain", text.encode()
