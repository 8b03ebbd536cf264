"""What the three providers refuse in a history, written down from what they publish. Imports nothing of ours.

Each function gives the complaints that the provider would make, with the provider's words where they are known:
OpenAI's API reference (chat completions, Responses) and Anthropic's documentation (handle tool calls, server tools,
extended thinking), and the texts of their 400 answers. Where OpenAI's Responses API is laxer than services that
speak the same dialect, the stricter reading counts: outputs come right after the calls.
"""

from collections import Counter

# -- chat completions -----------------------------------------------------------------------------


def chat(messages):
    complaints = []
    waiting = Counter()
    for number, message in enumerate(messages):
        role = message["role"]
        if role == "tool":
            if not waiting[message["tool_call_id"]]:
                complaints.append(f"{number}: messages with role 'tool' must be a response to a preceding 'tool_calls'")
            waiting[message["tool_call_id"]] -= 1
            continue
        complaints += _unanswered(number, waiting)
        calls = message.get("tool_calls")
        if calls == []:
            complaints.append(f"{number}: [] is too short - 'tool_calls'")
        waiting = Counter(call["id"] for call in calls or [])
        said = any(message.get(key) for key in ("content", "function_call", "refusal", "audio"))
        if role == "assistant" and not calls and not said:
            complaints.append(f"{number}: content is required unless tool_calls or function_call is specified")
    return complaints + _unanswered(len(messages), waiting)


def _unanswered(number, waiting):
    left = sorted((+waiting).elements())
    return [f"{number}: the following tool_call_ids did not have response messages: {left}"] if left else []


# -- Responses ------------------------------------------------------------------------------------

OUTPUT_OF = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
    "local_shell_call": "local_shell_call_output",
    "shell_call": "shell_call_output",
    "apply_patch_call": "apply_patch_call_output",
    "computer_call": "computer_call_output",
    "tool_search_call": "tool_search_output",
    "mcp_approval_request": "mcp_approval_response",
}
MADE_BY_THE_MODEL = set(OUTPUT_OF) | {"reasoning", "web_search_call", "message"}


def responses(items):
    complaints = []
    waiting = Counter()
    answering = False
    for number, item in enumerate(items):
        kind = item.get("type", "message")
        if kind in OUTPUT_OF.values():
            answered = (kind, item.get("call_id") or item.get("approval_request_id"))
            if not waiting[answered]:
                complaints.append(f"{number}: no tool call found for {answered}")
            waiting[answered] -= 1
            answering = True
            continue
        if (answering or item.get("role", "assistant") != "assistant") and +waiting:
            complaints.append(f"{number}: no tool output found for {sorted(+waiting)}")
            waiting = Counter()
        answering = False
        if kind in OUTPUT_OF and not item.get("async"):
            waiting[OUTPUT_OF[kind], item["id"] if kind == "mcp_approval_request" else item["call_id"]] += 1
        if kind == "reasoning" and not _leads_somewhere(items[number + 1 :]):
            complaints.append(f"{number}: 'reasoning' was provided without its required following item")
        if item.get("role") == "assistant" and not item["content"]:
            complaints.append(f"{number}: empty message")
    if +waiting:
        complaints.append(f"end: no tool output found for {sorted(+waiting)}")
    return complaints


def _leads_somewhere(rest):
    follower = next((item for item in rest if item.get("type") != "reasoning"), {"role": "nobody"})
    made = follower.get("type", "message") in MADE_BY_THE_MODEL
    return made and follower.get("role", "assistant") == "assistant"


# -- Anthropic ------------------------------------------------------------------------------------

SERVER_RESULTS = {"web_search_tool_result", "code_execution_tool_result"}


def anthropic(messages, *, opening=False):
    complaints = []
    if opening and (messages[0]["role"] != "user" or _of(messages[0], "tool_result")):
        complaints.append("0: first message must use the user role, and bring no tool_result")
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            complaints += _assistant(number, message, messages[number + 1 :])
        else:
            before = messages[number - 1] if number else {"role": "nobody", "content": []}
            complaints += _user(number, message, before)
    return complaints + _server_tools(messages)


def _of(message, *kinds):
    content = message["content"]
    return [block for block in content if block["type"] in kinds] if isinstance(content, list) else []


def _assistant(number, message, rest):
    complaints = []
    content = message["content"]
    if not content:
        complaints.append(f"{number}: all messages must have non-empty content")
    if any(not block["text"].strip() for block in _of(message, "text")):
        complaints.append(f"{number}: text content blocks must be non-empty")
    if _of(message, "tool_result"):
        complaints.append(f"{number}: tool_result blocks can only be in user messages")
    if isinstance(content, list) and content and content[-1]["type"] in {"thinking", "redacted_thinking"}:
        complaints.append(f"{number}: the final block in an assistant message cannot be thinking")
    ids = [block["id"] for block in _of(message, "tool_use")]
    if len(set(ids)) < len(ids):
        complaints.append(f"{number}: tool_use ids must be unique")
    follower = rest[0] if rest else {"role": "nobody", "content": []}
    answered = {block["tool_use_id"] for block in _of(follower, "tool_result")} if follower["role"] == "user" else set()
    if set(ids) - answered:
        complaints.append(f"{number}: tool_use ids were found without tool_result blocks immediately after: {ids}")
    return complaints


def _user(number, message, before):
    complaints = []
    results = _of(message, "tool_result")
    if not message["content"]:
        complaints.append(f"{number}: all messages must have non-empty content")
    if isinstance(message["content"], list) and message["content"][: len(results)] != results:
        complaints.append(f"{number}: tool_result blocks come first")
    asked = {block["id"] for block in _of(before, "tool_use")} if before["role"] == "assistant" else set()
    ids = [block["tool_use_id"] for block in results]
    if set(ids) - asked:
        complaints.append(f"{number}: unexpected tool_use_id found in tool_result blocks: {ids}")
    if len(set(ids)) < len(ids):
        complaints.append(f"{number}: each tool_use must have a single result")
    return complaints


def _server_tools(messages):
    """The result follows in the same turn; only the service may still owe one, to the last message of the model."""
    complaints = []
    begun = {}
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            for block in _of(message, "server_tool_use", *SERVER_RESULTS):
                if block["type"] == "server_tool_use":
                    begun[block["id"]] = number
                elif begun.pop(block["tool_use_id"], None) is None:
                    complaints.append(f"{number}: unexpected tool_use_id found in {block['type']} blocks")
        elif len(_of(message, "tool_result")) < len(message["content"]) and (
            not _of(message, "tool_result") or number == len(messages) - 1
        ):
            complaints += _unfinished(number, begun)
            begun = {}
    latest = max((number for number, message in enumerate(messages) if message["role"] == "assistant"), default=0)
    return complaints + _unfinished(latest, [made for made, number in begun.items() if number < latest])


def _unfinished(number, ids):
    return [f"{number}: tool use with id {made} was found without a corresponding block" for made in sorted(ids)]


CHECKS = {"openai-chat": chat, "openai-responses": responses, "anthropic": anthropic}
