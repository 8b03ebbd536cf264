"""What the transport says: connections that were refused, cut or silent. Classes by name only.

`TRANSPORT_CLASSES` say it exactly. `CONNECTION` are classes that wrap anything from a reset to an
untrusted certificate, so what stands behind them is read first.
"""

import errno

from resilient_agent.classify.knowledge.curves import DISCONNECTED, TRANSPORT
from resilient_agent.classify.rules import Rule, When
from resilient_agent.verdict import ErrorType

__all__ = ["CONNECTION", "REFUSED_IN_WORDS", "TRANSPORT_CLASSES", "UNTRUSTED"]

# Before status and classes, as they hide behind connection errors of every library.
UNTRUSTED = (
    Rule(
        "network/certificate",
        when=When(types=("SSLCertVerificationError", "ClientConnectorCertificateError", "CertificateError")),
        then=ErrorType.NON_RETRYABLE,
        because="the server's certificate is not trusted: that does not pass by itself",
        seen="ssl.SSLCertVerificationError behind httpx.ConnectError and openai.APIConnectionError",
    ),
    Rule(
        "network/illegal-request",
        when=When(
            types=(
                "LocalProtocolError",  # httpx, httpcore
                "UnsupportedProtocol",
                "InvalidURL",  # httpx, aiohttp, requests, http.client
                "MissingSchema",  # requests
                "InvalidSchema",
                "InvalidHeader",
                "LocationParseError",  # urllib3
                "LocationValueError",
                "TooManyRedirects",
                "InvalidProxyURL",
            )
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the request cannot be sent as it is: a wrong address, or a header with a line break in it",
        seen="httpx.LocalProtocolError: Illegal header value, behind anthropic.APIConnectionError",
    ),
    Rule(
        "network/cut-body",
        when=When(types=("aiohttp.PayloadEncodingError", "aiohttp.ClientPayloadError")),
        then=ErrorType.RETRYABLE,
        because="the server went away in the middle of its answer",
        backoff=DISCONNECTED,
        seen="aiohttp.ClientPayloadError: TransferEncodingError: 400, where 400 is no status of the answer",
    ),
)

# The same in words, as other libraries quote them.
REFUSED_IN_WORDS = (
    Rule(
        "network/tls-refused",
        when=When(
            words=(
                "certificate verify failed",
                "certificate is not valid for",
                "hostname mismatch",
                "self signed certificate",
                "unable to get local issuer certificate",
                "wrong version number",
                "unsupported protocol",
                "no protocols available",
                "handshake failure",
                "unknown ca",
                "alert protocol version",
                "alert no application protocol",
                "alert certificate*",
                "unrecognized name",
            )
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the two sides do not agree on TLS or do not trust each other: that does not pass by itself",
        seen="requests: `Max retries exceeded ... SSLCertVerificationError`; https spoken to an http port",
    ),
    Rule(
        "network/address",
        when=When(
            words=(
                "too many redirects",
                "unknown url type",
                "no host supplied",
                "no host given",
                "invalid url",
                "no schema supplied",
            ),
            unless=("invalid url post", "invalid url get"),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the address is not one, or leads round in a circle",
        seen="urllib3.MaxRetryError: too many redirects; urllib.error.URLError: unknown url type",
    ),
)

TRANSPORT_CLASSES = (
    Rule(
        "network/timeout",
        when=When(
            types=(
                "TimeoutError",
                "TimeoutException",  # httpx
                "ConnectTimeout",
                "ReadTimeout",
                "Timeout",  # requests, litellm
                "APITimeoutError",  # openai, anthropic
                "ConnectTimeoutError",  # urllib3, botocore
                "ReadTimeoutError",
                "InferenceTimeoutError",  # huggingface_hub
                "TooSlowError",  # trio
            ),
        ),
        then=ErrorType.RETRYABLE,
        because="no answer came in time",
        backoff=TRANSPORT,
        seen="httpx.ReadTimeout; openai.APITimeoutError; the built-in TimeoutError",
    ),
    Rule(
        "network/cut",
        when=When(
            types=(
                "RemoteProtocolError",  # httpx, httpcore
                "httpx.ReadError",
                "httpx.WriteError",
                "httpx2.ReadError",
                "httpx2.WriteError",
                "httpcore.ReadError",
                "httpcore.WriteError",
                "httpcore2.ReadError",
                "httpcore2.WriteError",
                "ServerDisconnectedError",  # aiohttp
                "ServerDisconnected",
                "IncompleteRead",  # http.client, urllib3
                "IncompleteReadError",  # asyncio, botocore
                "RemoteDisconnected",
                "BadStatusLine",
                "ChunkedEncodingError",  # requests
                "ResponseStreamingError",  # botocore
                "botocore.ConnectionClosedError",
                "BrokenResourceError",  # anyio, trio
                "EndOfStream",
                "SSLEOFError",
                "SSLZeroReturnError",
            ),
        ),
        then=ErrorType.RETRYABLE,
        because="the server went away in the middle of its answer",
        backoff=DISCONNECTED,
        seen="httpx.RemoteProtocolError: peer closed connection without sending complete message body",
    ),
)

CONNECTION = (
    Rule(
        "network/connection",
        when=When(
            types=(
                "ConnectionError",  # the built-in family, requests', redis'
                "TransportError",  # httpx, google.auth
                "APIConnectionError",  # openai, anthropic, litellm
                "ClientConnectionError",  # aiohttp
                "ConnectError",
                "ProtocolError",  # urllib3
                "NewConnectionError",
                "MaxRetryError",
                "PoolError",
                "EmptyPoolError",
                "EndpointConnectionError",  # botocore
                "HTTPClientError",
                "NetworkError",
                "gaierror",
                "SSLError",
                "websockets.ConnectionClosed",
            ),
        ),
        then=ErrorType.RETRYABLE,
        because="the connection could not be made, or broke",
        backoff=TRANSPORT,
        seen="httpx.ConnectError; ConnectionResetError; socket.gaierror",
    ),
    Rule(
        "network/unreachable",
        when=When(
            types=("OSError",),
            errnos=(
                errno.ENETUNREACH,
                errno.EHOSTUNREACH,
                errno.ENETDOWN,
                errno.EHOSTDOWN,
                errno.ETIMEDOUT,
                errno.ECONNREFUSED,
                errno.ECONNRESET,
                errno.ECONNABORTED,
                errno.ENETRESET,
                errno.EPIPE,
                errno.ENOTCONN,
                errno.EADDRNOTAVAIL,
            ),
        ),
        then=ErrorType.RETRYABLE,
        because="the network does not reach the service at the moment",
        backoff=TRANSPORT,
        seen="OSError: [Errno 101] Network is unreachable",
    ),
    Rule(
        "network/system",
        when=When(types=("OSError",), errnos=(errno.EAGAIN, errno.EINTR, errno.EBUSY)),
        then=ErrorType.RETRYABLE,
        because="the system was busy for a moment",
        backoff=TRANSPORT,
        seen="OSError: [Errno 11] Resource temporarily unavailable",
    ),
)
