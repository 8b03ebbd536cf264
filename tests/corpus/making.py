"""Exceptions from their description: the real class, constructed as its library would.

A description is {"exc_type": qualified class name, "message": its text} and, where it has more:
args, kwargs      constructor arguments instead of the message
errno, filename   of an OSError
attrs             attributes set afterwards
cause, context    a description, for __cause__ and __context__
group             descriptions, for the members of an exception group
and what single classes need: host, port, os_error, http_status, reason, url, headers, response, title, line_errors,
rcvd, sent. Among arguments {"bytes": hex}, {"spec": description} and {"type": qualified name} stand for those things.
"""

import importlib
import inspect
import re
import ssl

from . import calls


def make(spec):
    """Make the exception; one that is made already is taken as it is."""
    if isinstance(spec, BaseException):
        return spec
    error = _construct(spec)
    for name, value in (spec.get("attrs") or {}).items():
        setattr(error, name, _expand(value))
    if spec.get("cause") is not None:
        error.__cause__ = error.__context__ = make(spec["cause"])
    if spec.get("context") is not None:
        error.__context__ = make(spec["context"])
    return error


def text_class(name):
    """Give the class of an application (or of a package that is not here) that is known by its name alone."""
    module, _, short = name.rpartition(".")
    return type(short, (Exception,), {"__module__": module or "app.errors"})


def resolve(name):
    """Give the class of a qualified name."""
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _construct(spec):
    name = spec["exc_type"]
    if name.startswith("text:"):
        return text_class(name.removeprefix("text:"))(spec["message"])
    cls = resolve(name)
    for base in cls.__mro__:
        special = _SPECIAL.get((base.__module__.partition(".")[0], base.__name__))
        if special:
            return special(cls, spec)
    return _plain(cls, spec)


def _plain(cls, spec):
    message = spec.get("message") or ""
    if spec.get("errno") is not None:
        return cls(spec["errno"], message, *filter(None, [spec.get("filename")]))
    if spec.get("args") is not None or spec.get("kwargs"):
        return cls(*_expand(spec.get("args") or []), **_expand(spec.get("kwargs") or {}))
    return cls(message) if message else cls()


def _expand(value):
    if isinstance(value, list):
        return [_expand(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"bytes"}:
        return bytes.fromhex(value["bytes"])
    if value.keys() == {"spec"}:
        return make(value["spec"])
    if value.keys() == {"type"}:
        return resolve(value["type"])
    return {key: _expand(item) for key, item in value.items()}


# ---- classes whose constructor wants more than a text


def _group(cls, spec):
    return cls(spec.get("message") or "unhandled errors in a TaskGroup", [make(member) for member in spec["group"]])


def _ssl(cls, spec):
    return _plain(cls, spec) if spec.get("args") else cls(1, spec["message"])


def _sdk_connection(cls, spec):
    """Make a connection error of openai or anthropic: it holds the request, and a timeout has a text of its own."""
    sdk = importlib.import_module(cls.__module__.partition(".")[0])
    with calls.http_client(sdk) as client:
        request = client.build_request("POST", f"https://api.{sdk.__name__}.com/v1")
    if issubclass(cls, sdk.APITimeoutError):
        return cls(request=request)
    return cls(message=spec.get("message") or "Connection error.", request=request)


def _length_finish(cls, spec):
    from openai.types.chat import ChatCompletion

    message = {"role": "assistant", "content": "{", "refusal": None}
    choice = {"index": 0, "finish_reason": "length", "logprobs": None, "message": message}
    head = {"id": "chatcmpl-a", "object": "chat.completion", "created": 1, "model": "gpt-4o"}
    return cls(completion=ChatCompletion.model_validate({**head, "choices": [choice], "usage": spec["kwargs"]}))


def _httpx_transport(cls, spec):
    return cls(spec.get("message") or "", request=_httpx_request(spec))


def _httpx_status(cls, spec):
    import httpx

    told, request = spec["response"], _httpx_request(spec)
    body = told.get("body")
    content = {"json": body} if isinstance(body, dict | list) else {"text": body or ""}
    response = httpx.Response(told["status"], headers=told.get("headers"), request=request, **content)
    return cls(spec["message"], request=request, response=response)


def _httpx_request(spec):
    import httpx

    return httpx.Request("POST", spec.get("url") or "https://api.example.com/v1/messages")


def _aiohttp_connector(cls, spec):
    from aiohttp.client_reqrep import ConnectionKey

    message = spec.get("message") or ""
    told = re.search(r"to host ([^: ]+):(\d+)", message)
    known = {"host": told[1], "port": int(told[2])} if told else {}
    known |= {"is_ssl": True, "ssl": True} | {name: spec[name] for name in ("host", "port") if name in spec}
    inner = make(spec["os_error"]) if spec.get("os_error") else _bracketed(message)
    return cls(
        ConnectionKey(**dict.fromkeys(inspect.signature(ConnectionKey).parameters) | {"port": 443} | known), inner
    )


def _bracketed(message):
    """Make the error below that aiohttp puts in brackets: `[Class: (number, 'text')]` of a certificate, or `[text]`."""
    told = re.search(r"""\[(SSL\w+): \((\d+), ['"](.*)['"]\)]""", message)
    return (
        getattr(ssl, told[1])(int(told[2]), told[3])
        if told
        else OSError(0, message.partition(" [")[2].removesuffix("]"))
    )


def _aiohttp_response(cls, spec):
    from aiohttp import RequestInfo
    from multidict import CIMultiDict, CIMultiDictProxy
    from yarl import URL

    url = URL(spec.get("url") or "https://api.example.com/v1/search")
    info = RequestInfo(url, "GET", CIMultiDictProxy(CIMultiDict()), url)
    headers = CIMultiDict(spec.get("headers") or {})
    return cls(info, (), status=spec["http_status"], message=spec["reason"], headers=headers)


def _pydantic(cls, spec):
    lines = [line | {"loc": tuple(line["loc"])} for line in _expand(spec["line_errors"])]
    return cls.from_exception_data(spec["title"], lines)


def _websocket_closed(cls, spec):
    from websockets.frames import Close

    frames = [Close(**spec[side]) if spec.get(side) else None for side in ("rcvd", "sent")]
    return cls(*frames, True if all(frames) else None)


def _websocket_refused(cls, spec):
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    return cls(Response(spec["http_status"], spec.get("reason") or "", Headers()))


_SPECIAL = {  # by package and the name of a class or of a base of it
    ("aiohttp", "ClientConnectorError"): _aiohttp_connector,
    ("aiohttp", "ClientResponseError"): _aiohttp_response,
    ("anthropic", "APIConnectionError"): _sdk_connection,
    ("builtins", "BaseExceptionGroup"): _group,
    ("httpx", "HTTPStatusError"): _httpx_status,
    ("httpx", "RequestError"): _httpx_transport,
    ("openai", "APIConnectionError"): _sdk_connection,
    ("openai", "LengthFinishReasonError"): _length_finish,
    ("pydantic_core", "ValidationError"): _pydantic,
    ("ssl", "SSLError"): _ssl,
    ("websockets", "ConnectionClosed"): _websocket_closed,
    ("websockets", "InvalidStatus"): _websocket_refused,
}
