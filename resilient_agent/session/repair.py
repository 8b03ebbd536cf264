"""`repair_messages`: an interrupted conversation, as its provider accepts it. Pure.

Decides what may be put in, moved and left out; what exactly a provider accepts stands in `dialects`.
Must not know sessions, logs, files, clocks or chance: the same history always comes back the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from resilient_agent.session.content import is_model, plain
from resilient_agent.session.dialects import OUTCOME_UNKNOWN, dialect_for, history_of

__all__ = ["OUTCOME_UNKNOWN", "repair_messages", "repaired"]


def repair_messages(messages: Iterable[Any], dialect: str = "auto") -> list[dict[str, Any]]:
    """An interrupted conversation, as its provider accepts it: each call with exactly one result.

    - A call without a result gets one that says that its outcome is unknown (`OUTCOME_UNKNOWN`), right
      behind its message and before anything that a user said later. It says neither that the call
      failed nor that it was done: only the application can find that out.
    - A result that was saved late goes to its call, also into the place of one that was put in. Of two
      real results the first stays; a result that no call asked for goes.
    - Which call a result belongs to is decided by order, for ids come again: it is the latest before it
      with its id.
    - Reasoning and thinking stay where and as they are. They go only when what they led to was never
      saved, as at the end of a cut stream.
    - An assistant's message that says nothing at all goes. `arguments` that are no JSON stay, for they
      are text; messages, keys and blocks that are not known stay as they are.

    What a provider asks for beyond that stands at the top of its file in `dialects`.

    Args:
        messages: the history, in the provider's own JSON. It is not changed; messages that need no
            repair are in the result themselves, not as copies. Pydantic models, such as the SDKs' messages and
            blocks, are in the result as their JSON.
        dialect: `"openai-chat"`, `"openai-responses"`, `"anthropic"`, or `"auto"` to go by the messages.

    Returns:
        A new list. A history that is in order comes back equal, and so does one that was repaired before.

    Raises:
        ValueError: there is no dialect of that name.
        TypeError: `messages` is one message or a text, not a list.
        NotStorable: a model that is no JSON.

    Example:
        >>> call = {"id": "call_1", "type": "function", "function": {"name": "pay", "arguments": "{}"}}
        >>> for message in repair_messages([
        ...     {"role": "user", "content": "Pay the bill"},
        ...     {"role": "assistant", "content": None, "tool_calls": [call]},
        ...     {"role": "user", "content": "Are you still there?"},
        ... ]):
        ...     print(message["role"], str(message["content"])[:33])
        user Pay the bill
        assistant None
        tool [resilient_agent] outcome unknown
        user Are you still there?
    """
    return repaired([_dumped(message) for message in history_of(messages)], dialect)


def repaired(history: list[Any], dialect: str) -> list[Any]:
    """The same for a history that is known to be JSON, as what is stored is: models need not be looked for."""
    return dialect_for(dialect, history).repair(history)


def _dumped(message: Any) -> Any:
    """A message without models: those of the SDKs, or dicts that hold blocks or calls of theirs."""
    if is_model(message):
        return plain(message)
    if isinstance(message, dict) and any(_holds_models(value) for value in message.values()):
        return {name: plain(value) if _holds_models(value) else value for name, value in message.items()}
    return message


def _holds_models(value: Any) -> bool:
    return is_model(value) or (isinstance(value, list) and any(is_model(each) for each in value))
