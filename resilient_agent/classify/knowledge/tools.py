"""Libraries that name their errors by numbers of their own: websockets, MCP, Qianfan."""

from resilient_agent.classify.knowledge.curves import DISCONNECTED, TRANSPORT, UNAVAILABLE
from resilient_agent.classify.rules import Rule, When
from resilient_agent.verdict import ErrorType

__all__ = ["TOOLS", "TOOLS_LATE"]

_CLOSE = "RFC 6455, section 7.4.1, and the IANA registry of close codes"

TOOLS = (
    Rule(
        "tools/websocket-too-big",
        when=When(types=("websockets.*",), codes=("1009",)),
        then=ErrorType.DEGRADED,
        because="the message is larger than the other side takes: send less",
        seen=_CLOSE,
    ),
    Rule(
        "tools/websocket-refused",
        when=When(types=("websockets.*",), codes=("1002", "1003", "1007", "1010", "3000", "3003")),
        then=ErrorType.NON_RETRYABLE,
        because="the other side refuses these very messages, or this user",
        seen=_CLOSE,
    ),
    Rule(
        "tools/websocket-closed",
        when=When(types=("websockets.*",), codes=("1001", "1006", "1011", "1012", "1013", "1014", "1015", "3008")),
        then=ErrorType.RETRYABLE,
        because="the other side went away or restarts: connect again",
        backoff=DISCONNECTED,
        seen=_CLOSE,
    ),
    Rule(
        "tools/qianfan-busy",
        when=When(types=("qianfan.*",), codes=("1", "2", "4", "15", "18", "336000", "336100", "336501", "336502")),
        then=ErrorType.RETRYABLE,
        because="the service failed, or takes no more requests at the moment",
        backoff=UNAVAILABLE,
        seen="Qianfan documentation, error codes: 4, 15, 18 and 336100 ask for another call",
    ),
    Rule(
        "tools/qianfan-refused",
        when=When(types=("qianfan.*",), codes=("3", "6", "13", "14", "100", "110", "111", "336002", "336003")),
        then=ErrorType.NON_RETRYABLE,
        because="the key, the permission or the request is wrong",
        seen="Qianfan documentation, error codes",
    ),
    Rule(
        "tools/mcp-timeout",
        when=When(types=("McpError", "MCPError"), words=("timed out", "timeout")),
        then=ErrorType.RETRYABLE,
        because="the tool's server did not answer in time",
        backoff=TRANSPORT,
        seen="mcp.shared.exceptions.McpError: Timed out while waiting for response to ClientRequest",
    ),
)

# Its reason says more, where it has one.
TOOLS_LATE = (
    Rule(
        "tools/websocket-policy",
        when=When(types=("websockets.*",), codes=("1008",)),
        then=ErrorType.NON_RETRYABLE,
        because="the other side refuses these messages, or this user, by its policy",
        seen=_CLOSE,
    ),
)
