"""The dialects in which conversations are kept: which one a history speaks, and where its rules are.

Pure. Decides only between the three; what each accepts stands in its own file, and what they share in
`_pairing.py`. Knows no session, no log and no request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from resilient_agent.session.content import is_single
from resilient_agent.session.dialects import _anthropic, _chat, _responses
from resilient_agent.session.dialects._pairing import OUTCOME_UNKNOWN, Call, Dialect, Result, Standing, Unit, settle

__all__ = [
    "OUTCOME_UNKNOWN",
    "Call",
    "Dialect",
    "Result",
    "Standing",
    "Unit",
    "dialect_for",
    "history_of",
    "is_setup",
    "name_of",
    "settle",
]

_DIALECTS: Final[Mapping[str, Dialect]] = {
    "openai-chat": _chat,
    "openai-responses": _responses,
    "anthropic": _anthropic,
}

_CHAT_KEYS: Final = ("tool_calls", "function_call", "tool_call_id")
_CHAT_ROLES: Final = frozenset({"tool", "function"})
_CHAT_CONTENT: Final = frozenset({"image_url", "input_audio"})
_SETUP_ROLES: Final = frozenset({"system", "developer"})


def dialect_for(name: str, messages: Sequence[Any], *, untold: str = "openai-chat") -> Dialect:
    """The rules of the dialect of that name; for `"auto"`, of the one that the messages speak, else of `untold`.

    Raises:
        ValueError: there is no dialect of that name.
    """
    if name == "auto":
        name = name_of(messages) or untold
    if name not in _DIALECTS:
        known = ", ".join(repr(each) for each in _DIALECTS)
        raise ValueError(f"there is no dialect {name!r}: use {known}, or 'auto' to go by the messages")
    return _DIALECTS[name]


def name_of(messages: Sequence[Any]) -> str | None:
    """The dialect of the first message that tells; None if none does, for plain text is the same in all three.

    Example:
        >>> name_of([{"role": "user", "content": "hi"}, {"type": "reasoning", "id": "rs_1", "summary": []}])
        'openai-responses'
    """
    told = (_told_by(message) for message in messages if isinstance(message, dict))
    return next((name for name in told if name is not None), None)


def history_of(messages: Iterable[Any]) -> list[Any]:
    """The messages as a list of their own.

    Raises:
        TypeError: it is one message or a text.
    """
    if is_single(messages):
        raise TypeError(f"messages is a {type(messages).__name__}: pass a list of messages")
    return list(messages)


def is_setup(message: Any) -> bool:
    """Whether a message is the application's own: system or developer."""
    return isinstance(message, dict) and _is_one_of(message.get("role"), _SETUP_ROLES)


def _told_by(message: dict[str, Any]) -> str | None:
    content = message.get("content")
    blocks = content if isinstance(content, list) else []
    kinds = [block.get("type") for block in blocks if isinstance(block, dict)]
    if any(_is_one_of(kind, _anthropic.BLOCK_TYPES) for kind in kinds):
        return "anthropic"
    if _is_one_of(message.get("type"), _responses.ITEM_TYPES):
        return "openai-responses"
    if any(_is_one_of(kind, _responses.CONTENT_TYPES) for kind in kinds):
        return "openai-responses"
    if message.get("type") == "message" and "text" not in kinds:
        return "openai-responses"  # with blocks of the type text it is an answer of Anthropic's, dumped whole
    if _is_one_of(message.get("role"), _CHAT_ROLES) or any(message.get(key) for key in _CHAT_KEYS):
        return "openai-chat"
    return "openai-chat" if any(_is_one_of(kind, _CHAT_CONTENT) for kind in kinds) else None


def _is_one_of(value: Any, known: frozenset[str]) -> bool:
    return isinstance(value, str) and value in known
