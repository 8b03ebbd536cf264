"""One call of each SDK in the test extra, with its own retries off and nothing taken from the environment.

Each function takes the URL of a row's answer and the row. Returning means that the SDK raised nothing.
"""

import asyncio
import functools
import ssl

TIMEOUT = 10.0
MESSAGES = [{"role": "user", "content": "hi"}]
CLAUDE = "claude-opus-4-8"


def call(url, row):
    """Call the SDK that the row came through."""
    return _CALLS[row["via"]](url, row)


def http_client(sdk):
    """Give an HTTP client of the library that this SDK stands on (httpx, or its successor)."""
    return sdk.DefaultHttpxClient(trust_env=False, verify=False)


def ask_anthropic(url, *, key="sk-ant-api", timeout=TIMEOUT, max_tokens=64, messages=MESSAGES):
    """Ask for a message that is no stream."""
    import anthropic

    with anthropic.Anthropic(
        api_key=key, base_url=url, max_retries=0, timeout=timeout, http_client=http_client(anthropic)
    ) as client:
        return client.messages.create(model=CLAUDE, max_tokens=max_tokens, messages=messages)


def amazon(service, url):
    """Give a client of an AWS service that lives at `url`."""
    from botocore.config import Config

    once = Config(
        retries={"total_max_attempts": 1},
        proxies={},
        read_timeout=TIMEOUT,
        connect_timeout=TIMEOUT,
        s3={"addressing_style": "path"},
    )
    return _amazon_session().client(service, endpoint_url=url, config=once)


def get_httpx(url, *, timeout=TIMEOUT, method="GET", headers=None):
    """Fetch with httpx."""
    import httpx

    with httpx.Client(trust_env=False, verify=False, timeout=timeout) as client:
        return client.request(method, url, headers=headers).raise_for_status()


def get_requests(url, *, timeout=TIMEOUT, method="GET"):
    """Fetch with requests."""
    with _requests_session() as session, session.request(method, url, timeout=timeout) as response:
        response.raise_for_status()
        return response


def get_aiohttp(url, *, method="GET", **timeouts):
    """Fetch with aiohttp."""
    import aiohttp

    async def fetch():
        timeout = aiohttp.ClientTimeout(**(timeouts or {"total": TIMEOUT}))
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
            session.request(method, url) as response,
        ):
            return await response.read()

    return asyncio.run(fetch())


def _openai(url, row):
    import openai

    streaming = row["kind"] == "stream"
    with openai.OpenAI(
        api_key="sk-api", base_url=f"{url}/v1", max_retries=0, timeout=TIMEOUT, http_client=http_client(openai)
    ) as client:
        answer = client.chat.completions.create(model=row.get("model") or "gpt-4o", messages=MESSAGES, stream=streaming)
        return list(answer) if streaming else answer


def _anthropic(url, row):
    if row["provider"] == "vertex":
        return _anthropic_vertex(url)
    if row["kind"] == "stream":
        return _anthropic_stream(url)
    return ask_anthropic(url, timeout=(row.get("extra") or {}).get("timeout", TIMEOUT))


def _anthropic_stream(url):
    import anthropic

    with (
        anthropic.Anthropic(
            api_key="sk-ant-api", base_url=url, max_retries=0, http_client=http_client(anthropic)
        ) as client,
        client.messages.stream(model=CLAUDE, max_tokens=64, messages=MESSAGES) as stream,
    ):
        return list(stream)


def _anthropic_vertex(url):
    import anthropic

    with anthropic.AnthropicVertex(
        base_url=url,
        region="us-east5",
        project_id="demo",
        access_token="ya29.api",
        max_retries=0,
        http_client=http_client(anthropic),
    ) as client:
        return client.messages.create(model=CLAUDE, max_tokens=64, messages=MESSAGES)


def _google(url, row):
    from google import genai

    once = genai.types.HttpOptions(
        base_url=url,
        timeout=int(TIMEOUT * 1000),
        retry_options=genai.types.HttpRetryOptions(attempts=1),
        client_args={"trust_env": False, "verify": _nobody_trusted()},
        async_client_args={"verify": _nobody_trusted(), "ssl": _nobody_trusted()},
    )
    client = genai.Client(http_options=once, **_google_account(row["provider"]))
    try:
        if row["kind"] == "stream":
            return list(client.models.generate_content_stream(model="gemini-2.5-flash", contents="hi"))
        return client.models.generate_content(model="gemini-2.5-flash", contents="hi")
    finally:
        client.close()


@functools.cache
def _nobody_trusted():
    """Give a TLS context without certificates: the local server speaks plain HTTP, and reading them is slow."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _google_account(provider):
    if provider != "vertex":
        return {"vertexai": False, "api_key": "AIza"}
    from google.oauth2.credentials import Credentials

    return {"vertexai": True, "project": "demo", "location": "us-central1", "credentials": Credentials("ya29.api")}


@functools.cache
def _amazon_session():
    """Give the one session: it keeps the service descriptions, which are slow to read."""
    import boto3

    return boto3.session.Session(aws_access_key_id="AKIA", aws_secret_access_key="api", region_name="us-east-1")


_BEDROCK = {"modelId": "anthropic.claude-v2", "messages": [{"role": "user", "content": [{"text": "hi"}]}]}
_ITEM = {"TableName": "agent-state", "Item": {"pk": {"S": "a"}}}
_OPERATIONS = {  # `op` of a row: the service, and the arguments
    "converse": ("bedrock-runtime", _BEDROCK),
    "converse_stream": ("bedrock-runtime", _BEDROCK),
    "invoke_model": ("bedrock-runtime", {"modelId": "anthropic.claude-v2", "body": b"{}"}),
    "put_item": ("dynamodb", _ITEM),
    "transact_write_items": ("dynamodb", {"TransactItems": [{"Put": _ITEM}]}),
    "get_object": ("s3", {"Bucket": "agent-artifacts", "Key": "out.json"}),
    "invoke": ("lambda", {"FunctionName": "tool-runner", "Payload": b"{}"}),
}


def _boto3(url, row):
    streaming = row["kind"] == "stream"
    operation = "converse_stream" if streaming else (row.get("extra") or {}).get("op", "converse")
    service, arguments = _OPERATIONS[operation]
    client = amazon(service, url)
    try:
        answer = getattr(client, operation)(**arguments)
        return list(answer["stream"]) if streaming else answer
    finally:
        client.close()


def _httpx(url, row):
    import httpx

    if row["kind"] != "stream":
        return get_httpx(url, method=_method(row))
    with httpx.Client(trust_env=False, verify=False) as client, client.stream("POST", url, json={}) as response:
        return list(response.iter_lines())


def _requests(url, row):
    if row["kind"] != "stream":
        return get_requests(url, method=_method(row))
    with _requests_session() as session, session.post(url, json={}, stream=True, timeout=TIMEOUT) as response:
        return list(response.iter_lines())


def _requests_session():
    import requests

    session = requests.Session()
    session.trust_env = False
    return session


def _aiohttp(url, row):
    return get_aiohttp(url, method="POST" if row["kind"] == "stream" else _method(row))


def _method(row):
    return (row.get("extra") or {}).get("op", "GET")


_CALLS = {
    "openai": _openai,
    "anthropic": _anthropic,
    "google-genai": _google,
    "boto3": _boto3,
    "httpx": _httpx,
    "requests": _requests,
    "aiohttp": _aiohttp,
}
