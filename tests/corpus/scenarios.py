"""Small scenarios (`run` of a row) in which a library meets a real fault and raises by itself.

Each takes the exception that the row says is raised inside, which most have no use for. Returning means that nothing
was raised.
"""

import asyncio
import contextlib
import functools
import sqlite3
import tempfile
import urllib.request
from pathlib import Path

from . import calls, sockets


def run(name, inner):
    """Run a scenario by its name."""
    return SCENARIOS[name](inner)


# ---- a client meets a server that misbehaves


def _get_urllib(url):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=calls.TIMEOUT) as response:
        return response.read()


def _meet(get, server, _inner):
    with server() as url:
        return get(url)


_CLIENTS = {
    "httpx": calls.get_httpx,
    "requests": calls.get_requests,
    "aiohttp": calls.get_aiohttp,
    "urllib": _get_urllib,
}
_FAULTS = {
    "reset": sockets.resetting,
    "disconnected": sockets.closing,
    "remote_disconnected": sockets.closing,
    "short_body": sockets.stopping_short,
    "refused": functools.partial(contextlib.nullcontext, f"{sockets.NOBODY}/"),
}
_MEETINGS = {
    f"{client}_{fault}": functools.partial(_meet, get, server)
    for client, get in _CLIENTS.items()
    for fault, server in _FAULTS.items()
}
_PATIENCE = {  # clients that give up early on a server that is silent
    "httpx_read_timeout": functools.partial(calls.get_httpx, timeout=0.2),
    "requests_read_timeout": functools.partial(calls.get_requests, timeout=0.2),
    "aiohttp_total_timeout": functools.partial(calls.get_aiohttp, total=0.2),
    "aiohttp_sock_read_timeout": functools.partial(calls.get_aiohttp, total=None, sock_read=0.2),
    "anthropic_timeout": functools.partial(calls.ask_anthropic, timeout=0.2),
}
_TIMEOUTS = {name: functools.partial(_meet, get, sockets.silent) for name, get in _PATIENCE.items()}


def _httpx_async_read_timeout(_inner):
    import httpx

    async def fetch():
        with sockets.silent() as url:
            async with httpx.AsyncClient(trust_env=False, verify=False, timeout=0.2) as client:
                return await client.get(url)

    return asyncio.run(fetch())


def _httpx_pool_timeout(_inner):
    import httpx

    options = {"limits": httpx.Limits(max_connections=1), "timeout": httpx.Timeout(5, pool=0.2)}

    async def fetch():
        with sockets.silent() as url:
            async with httpx.AsyncClient(trust_env=False, verify=False, **options) as client:
                first = asyncio.ensure_future(client.get(url))
                await asyncio.sleep(0.05)
                try:
                    return await client.get(url)
                finally:
                    first.cancel()
                    await asyncio.gather(first, return_exceptions=True)

    return asyncio.run(fetch())


def _httpx_header_newline(_inner):
    with sockets.silent() as url:  # there is one, but the header is refused by the side that sends it
        return calls.get_httpx(url, headers={"Authorization": "Bearer tok\n"})


def _httpx_closed_client(_inner):
    import httpx

    client = httpx.Client(trust_env=False, verify=False)
    client.close()
    return client.get(sockets.NOBODY)


def _aiohttp_bad_url(_inner):
    return calls.get_aiohttp("search?q=weather")


# ---- an SDK that is used or configured wrongly


def _anthropic_no_auth(_inner):
    return calls.ask_anthropic(sockets.NOBODY, key=None)


def _anthropic_header_newline(_inner):
    with sockets.silent() as url:
        return calls.ask_anthropic(url, key="sk-ant-api\n")


def _anthropic_refused(_inner):
    return calls.ask_anthropic(sockets.NOBODY)


def _anthropic_no_scheme(_inner):
    return calls.ask_anthropic("gateway.internal/anthropic")


def _anthropic_ten_minutes(_inner):
    import anthropic

    with anthropic.Anthropic(api_key="sk-ant-api", base_url=sockets.NOBODY, max_retries=0) as client:
        return client.messages.create(model=calls.CLAUDE, max_tokens=64000, messages=calls.MESSAGES)


def _anthropic_surrogate(_inner):
    return calls.ask_anthropic(sockets.NOBODY, messages=[{"role": "user", "content": "page \ud83d title"}])


def _genai_no_key(_inner):
    from google import genai

    return genai.Client()


def _boto3_param(_inner):
    return calls.amazon("bedrock-runtime", sockets.NOBODY).converse(modelId="m", messages="hello")


def _boto3_no_credentials(_inner):
    import boto3

    client = boto3.session.Session(region_name="us-east-1").client("bedrock-runtime", endpoint_url=sockets.NOBODY)
    return client.converse(modelId="m", messages=[])


def _boto3_no_region(_inner):
    import boto3

    return boto3.session.Session().client("bedrock-runtime")


# ---- SQLite


@contextlib.contextmanager
def _database(**options):
    """Give a function that connects to one new database; what it gave is closed."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        address = (Path(folder) / "s.db").as_uri()
        yield lambda mode="rwc", **more: stack.enter_context(
            contextlib.closing(
                sqlite3.connect(f"{address}?mode={mode}", uri=True, isolation_level=None, **options, **more)
            )
        )


def _sqlite_locked(_inner):
    with _database(timeout=0.05) as connect:
        one, other = connect(), connect()
        one.execute("create table t(x)")
        one.execute("begin immediate")
        return other.execute("insert into t values (1)")


def _sqlite_no_table(_inner):
    with _database() as connect:
        return connect().execute("select * from checkpoints")


def _sqlite_unique(_inner):
    with _database() as connect:
        connection = connect()
        connection.execute("create table runs(id text primary key)")
        return [connection.execute("insert into runs values ('a')") for _ in range(2)]


def _sqlite_full(_inner):
    with _database() as connect:
        connection = connect()
        connection.execute("pragma max_page_count=2")
        connection.execute("create table t(x)")
        return connection.execute("insert into t values (zeroblob(100000))")


def _sqlite_readonly(_inner):
    with _database() as connect:
        connect().execute("create table t(x)")
        return connect("ro").execute("insert into t values (1)")


# ---- asyncio, anyio, tenacity and the language


def _anyio_group(inner):
    import anyio

    async def child():
        raise inner

    async def parent():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child)

    anyio.run(parent)


def _tenacity_retry_error(inner):
    import tenacity

    @tenacity.retry(stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_none())
    def attempt():
        raise inner

    attempt()


def _wait_for_timeout(_inner):
    async def wait():
        await asyncio.wait_for(asyncio.sleep(5), 0.02)

    asyncio.run(wait())


def _event_loop_closed(_inner):
    loop = asyncio.new_event_loop()
    loop.close()
    loop.call_soon(repr, loop)


def _nested_asyncio_run(_inner):
    async def inner():
        """Be there for the second loop."""

    async def outer():
        with contextlib.closing(inner()) as work:
            asyncio.run(work)

    asyncio.run(outer())


def _stop_iteration_in_generator(_inner):
    def generate():
        yield next(iter([]))

    return list(generate())


def _recursion(inner):
    return _recursion(inner)


SCENARIOS = {
    **_MEETINGS,
    **_TIMEOUTS,
    "aiohttp_bad_url": _aiohttp_bad_url,
    "anthropic_header_newline": _anthropic_header_newline,
    "anthropic_no_auth": _anthropic_no_auth,
    "anthropic_no_scheme": _anthropic_no_scheme,
    "anthropic_refused": _anthropic_refused,
    "anthropic_surrogate": _anthropic_surrogate,
    "anthropic_ten_minutes": _anthropic_ten_minutes,
    "anyio_group": _anyio_group,
    "boto3_no_credentials": _boto3_no_credentials,
    "boto3_no_region": _boto3_no_region,
    "boto3_param": _boto3_param,
    "event_loop_closed": _event_loop_closed,
    "genai_no_key": _genai_no_key,
    "httpx_async_read_timeout": _httpx_async_read_timeout,
    "httpx_closed_client": _httpx_closed_client,
    "httpx_header_newline": _httpx_header_newline,
    "httpx_pool_timeout": _httpx_pool_timeout,
    "nested_asyncio_run": _nested_asyncio_run,
    "recursion": _recursion,
    "sqlite_full": _sqlite_full,
    "sqlite_locked": _sqlite_locked,
    "sqlite_no_table": _sqlite_no_table,
    "sqlite_readonly": _sqlite_readonly,
    "sqlite_unique": _sqlite_unique,
    "stop_iteration_in_generator": _stop_iteration_in_generator,
    "tenacity_retry_error": _tenacity_retry_error,
    "wait_for_timeout": _wait_for_timeout,
}
