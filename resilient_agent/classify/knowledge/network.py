"""What the transport says: connections that were refused, cut or silent. Classes by name only."""

import errno

from resilient_agent.classify.knowledge.curves import DISCONNECTED, TRANSPORT
from resilient_agent.classify.rules import Rule, When
from resilient_agent.verdict import ErrorType

__all__ = ["NETWORK"]

NETWORK = (
    Rule(
        "network/certificate",
        when=When(causes=("SSLCertVerificationError", "ClientConnectorCertificateError")),
        then=ErrorType.NON_RETRYABLE,
        because="the server's certificate is not trusted: that does not pass by itself",
        seen="ssl.SSLCertVerificationError behind httpx.ConnectError and openai.APIConnectionError",
    ),
    Rule(
        "network/invalid-address",
        when=When(causes=("UnsupportedProtocol", "InvalidURL", "MissingSchema", "InvalidSchema")),
        then=ErrorType.NON_RETRYABLE,
        because="the address of the service is not written as one",
        seen="httpx.UnsupportedProtocol for a base URL without https://",
    ),
    Rule(
        "network/timeout",
        when=When(
            types=(
                "TimeoutError",
                "TimeoutException",  # httpx
                "Timeout",  # requests
                "APITimeoutError",  # openai, anthropic
                "ConnectTimeoutError",  # urllib3, botocore
                "ReadTimeoutError",
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
                "ServerDisconnectedError",  # aiohttp
                "ClientPayloadError",
                "IncompleteRead",  # http.client, urllib3
                "RemoteDisconnected",
                "ChunkedEncodingError",  # requests
                "ConnectionClosedError",  # websockets, botocore
                "BrokenResourceError",  # anyio, trio
            ),
        ),
        then=ErrorType.RETRYABLE,
        because="the server went away in the middle of its answer",
        backoff=DISCONNECTED,
        seen="httpx.RemoteProtocolError: peer closed connection without sending complete message body",
    ),
    Rule(
        "network/connection",
        when=When(
            types=(
                "ConnectionError",  # the built-in family, and requests'
                "TransportError",  # httpx
                "APIConnectionError",  # openai, anthropic
                "ClientConnectionError",  # aiohttp
                "ProtocolError",  # urllib3
                "NewConnectionError",
                "MaxRetryError",
                "EndpointConnectionError",  # botocore
                "gaierror",
                "SSLError",
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
            errnos=(errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.ETIMEDOUT),
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
