"""Secrets are taken out before anything is stored; all else stays as it was said, and the history whole."""

import contextlib
import copy
import dataclasses
import datetime
import json
import re
import string
import time
import uuid

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resilient_agent import NotStorable, OutcomeUnknown, interrupted_sessions, redact_secrets, session_guard
from resilient_agent.session.redact import IDS, REDACTED
from resilient_agent.session.stores.file import FileStore

JWT = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
    "eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkFkYSJ9."
    "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
)
TOKENS = {  # made up, in the forms that the services document
    "OpenAI": "sk-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKL",
    "OpenAI project": "sk-proj-Ab1_Cd2-Ef3gHi4jKl5mNo6pQr7sTu8vWx9yZ0",
    "OpenAI service account": "sk-svcacct-Ab1_Cd2-Ef3gHi4jKl5mNo6pQr7sTu8v",
    "Anthropic": "sk-ant-api03-Ab1_Cd2-Ef3gHi4jKl5mNo6pQr7sTu8vWx9yZ0-AA",
    "Anthropic OAuth": "sk-ant-oat01-Ab1_Cd2-Ef3gHi4jKl5mNo6pQr7sTu8vWx9yZ0",
    "OpenRouter": "sk-or-v1-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "Google": "AIzaSyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
    "AWS": "AKIAIOSFODNN7EXAMPLE",
    "AWS session": "ASIAIOSFODNN7EXAMPLE",
    "GitHub": "ghp_0123456789abcdefghijklmnopqrstuvwxyzAB",
    "GitHub OAuth": "gho_0123456789abcdefghijklmnopqrstuvwxyzAB",
    "GitHub app": "ghs_0123456789abcdefghijklmnopqrstuvwxyzAB",
    "GitHub fine-grained": "github_pat_11ABCDEFG0abcdefghijkl_0123456789abcdefghijklmnopqrstuvwxyz",
    "Hugging Face": "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH",
    "Groq": "gsk_0123456789abcdefghijklmnopqrstuvwxyz0123456789",
    "xAI": "xai-0123456789abcdefghijklmnopqrstuvwxyz0123456789",
    "Slack bot": "xoxb-123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx",
    "Slack user": "xoxp-123456789012-123456789012-123456789012-0123456789abcdef",
    "Stripe": "sk_live_51H8xYzABCDEFGHIJKLMNOPQRST",
    "Stripe restricted": "rk_test_51H8xYzABCDEFGHIJKLMNOPQRST",
    "GitLab": "glpat-abcdefghij1234567890",
    "npm": "npm_abcdefghijklmnopqrstuvwxyz0123456789",
    "PyPI": "pypi-AgEIcHlwaS5vcmcCJDAwMDAwMDAwLTAwMDA",
    "SendGrid": "SG.abcdefghijklmnopqrstuv.ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789abcdefg",
    "Perplexity": "pplx-0123456789abcdef0123456789abcdef",
    "Replicate": "r8_0123456789abcdef0123456789abcdef01234",
    "Google OAuth": "ya29.a0AfH6SMBx1234567890abcdefghijkl",
    "PEM": "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEpAIBAAKCAQEA7/+b=\n-----END RSA PRIVATE KEY-----",
    "JWT": JWT,
    "JWE": "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..MTIzNDU2Nzg5MDEy.Ab1_Cd2-Ef3gHi4jKl5m.No6pQr7sTu8vWx9yZ0-Ab1",
    "Google account": "AQ.Ab8RN6K1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0",
    "Google OAuth client": "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",
    "Google OAuth refresh": "1//0gAb1_Cd2-Ef3gHi4jKl5mNo6pQr7sTu8vWx9yZ0",
    "Bedrock": "ABSKQmVkcm9ja0FQSUtleS0wMTIzNDU2Nzg5YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXo0MTIzNDU2Nzg5",
    "Bedrock, for hours": "bedrock-api-key-YmVkcm9jay5hbWF6b25hd3MuY29tLz9BY3Rpb249",
    "Entra": "Ab1" + "8Q~" + "cD2.eF3-gH4_iJ5~kL6mN7oP8qR9sT0uVw",
    "Alibaba": "LTAI5tAb1Cd2Ef3Gh4Ij5Kl6",
    "Tencent": "AKIDz8krbsJ5yKBZQpn74WFkmLPx3gnPhESA",
    "DigitalOcean": "dop_v1_" + "0123456789abcdef" * 4,
    "Vault": "hvs.CAESIAb1_Cd2-Ef3gHi4jKl5m",
    "Databricks": "dapi0123456789abcdef0123456789abcdef",
    "NVIDIA": "nvapi-Ab1_Cd2-Ef3gHi4jKl5mNo6pQr7sTu8vWx9yZ0Ab1Cd2Ef3",
    "Fireworks": "fw_3ZAb1Cd2Ef3gHi4jKl5mNo6",
    "Together": "tgp_v1_Ab1_Cd2-Ef3gHi4jKl5mNo6pQr7sTu8vWx9yZ0Ab1Cd",
    "Cerebras": "csk-0123456789abcdefghijklmnopqrstuvwxyz0123456789ab",
    "LangSmith": "lsv2_pt_0123456789abcdef0123456789abcdef_0123456789",
    "Tavily": "tvly-dev-0123456789abcdefghijklmnopqrstuv",
    "Shopify": "shpat_0123456789abcdef0123456789abcdef",
    "Sentry": "sntrys_eyJpYXQiOjE2ODc3MTkzMzUuMDEyMzQ1fQ==_Ab1Cd2Ef3",
    "Docker": "dckr_pat_Ab1_Cd2-Ef3gHi4jKl5mNo6pQr7",
    "Atlassian": "ATATT3xFfGF0Ab1_Cd2-Ef3gHi4jKl5mNo6pQr7sTu8v=0A1B2C3D",
    "Telegram": "123456789:AAb1_Cd2-Ef3gHi4jKl5mNo6pQr7sTu8vWx",
    "Notion": "ntn_0123456789abcdefghijklmnopqrstuvwxyz0123456789",
    "Linear": "lin_api_0123456789abcdefghijklmnopqrstuvwxyzABCD",
    "webhook": "whsec_0123456789abcdefghijklmnopqrstuv",
    "age": "AGE-SECRET-KEY-1" + "QYQSZQGPQY" * 5 + "QSZQGPQ7",
    "GitLab runner": "glrt-Ab1_Cd2-Ef3gHi4jKl5m",
}
PASSWORD = "correct-horse-7"

token = pytest.mark.parametrize("secret", TOKENS.values(), ids=TOKENS)


# -- what is found --------------------------------------------------------------------------------


@token
@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "my key is {}",
        "{}, and nothing else",
        "({})",
        '"{}"',
        "'{}'",
        "KEY={}\n",
        "a\n{}\nb",
        "é{{{}}}",
        "<b>{}</b>",
    ],
)
def test_a_key_is_found_wherever_it_stands_in_a_text(secret, around):  # B55
    """The keys and tokens of the services are taken out whole, and what stands around them stays."""
    redacted = redact_secrets(around.format(secret))
    assert secret not in redacted
    assert redacted == around.format(REDACTED)


@token
def test_a_key_is_found_in_nested_messages(secret):  # B55
    """In parts, tool results and arguments, at any depth; the shape of the message stays."""

    def message(said):
        return {
            "role": "user",
            "content": [
                {"type": "text", "text": f"use {said} now"},
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [{"type": "text", "text": f"env: {said}"}],
                },
                [["deep", {"deeper": [said, 1, None, True, 2.5]}]],
            ],
            "tool_calls": [
                {"id": "call_1", "function": {"name": "sh", "arguments": json.dumps({"command": f"login {said} -v"})}}
            ],
        }

    assert redact_secrets(message(secret)) == message(REDACTED)


@token
def test_several_keys_in_one_text_are_all_found(secret):
    """One does not hide another."""
    assert redact_secrets(f"{secret} {secret}\n{TOKENS['GitHub']}") == f"{REDACTED} {REDACTED}\n{REDACTED}"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"curl -H 'Authorization: Bearer {PASSWORD}' https://a.b", f"curl -H 'Authorization: Bearer {REDACTED}' https://a.b"),
        (f'-H "authorization: bearer {PASSWORD}"', f'-H "authorization: bearer {REDACTED}"'),
        (f"AUTHORIZATION: BASIC {PASSWORD}==\r\nHost: a.b", f"AUTHORIZATION: BASIC {REDACTED}\r\nHost: a.b"),
        (f"{{'Authorization': 'Bearer {PASSWORD}'}}", f"{{'Authorization': 'Bearer {REDACTED}'}}"),
        (f"https://a.b/c?key={PASSWORD}&q=peak", f"https://a.b/c?key={REDACTED}&q=peak"),
        (f"https://a.b/c?q=peak&api_key={PASSWORD}#top", f"https://a.b/c?q=peak&api_key={REDACTED}#top"),
        (f"https://a.b/c?api-key={PASSWORD}", f"https://a.b/c?api-key={REDACTED}"),
        (f"https://a.b/c?q=1;access_token={PASSWORD};x=1", f"https://a.b/c?q=1;access_token={REDACTED};x=1"),
        (f"https://a.b/c?token={PASSWORD}&secret={PASSWORD}", f"https://a.b/c?token={REDACTED}&secret={REDACTED}"),
        (f"user=ada&password={PASSWORD}", f"user=ada&password={REDACTED}"),
        (f"psql password={PASSWORD} host=a.b", f"psql password={REDACTED} host=a.b"),
        (f"<a href='?apikey={PASSWORD}'>", f"<a href='?apikey={REDACTED}'>"),
    ],
)  # fmt: skip
def test_what_leads_a_secret_in_tells_it(text, redacted):  # B55
    """Authorization headers and the parameters of addresses and commands lose their value, and keep their name."""
    assert redact_secrets(text) == redacted


NAMES = [
    "api_key", "apiKey", "api-key", "API_KEY", "Authorization", "authorization", "Proxy-Authorization", "x-api-key",
    "X-Goog-Api-Key", "X-Amz-Security-Token", "OPENAI_API_KEY", "anthropic_api_key", "access_token", "accessToken",
    "refresh_token", "client_secret", "password", "Password", "passwd", "secret", "secret_key", "SecretAccessKey",
    "SessionToken", "private_key", "Cookie", "Set-Cookie", "db_password", "DB_PASSWORD", "PGPASSWORD", "dbPassword",
    "token", "auth_token", "authToken", "GITHUB_TOKEN", "slack_token", "webhook_secret", "passphrase", "ssh_private_key",
    "STRIPE_API_KEY",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_under_the_name_of_a_secret_is_one(name):  # B55
    """However short and whatever its form, at any depth; the name stays, so that the shape does."""
    assert redact_secrets({"headers": [{name: "1234"}]}) == {"headers": [{name: REDACTED}]}


@pytest.mark.parametrize("value", [None, True, 7, 1.5, [], {}, ["a"], {"type": "string"}], ids=repr)
def test_the_schema_of_a_secret_is_none(value):
    """A tool's schema has fields called password too: what is no text is no password."""
    assert redact_secrets({"properties": {"password": value}}) == {"properties": {"password": value}}


def test_what_was_handed_over_is_not_changed():
    """It gives a copy."""
    message = {"content": [{"text": TOKENS["OpenAI"], "api_key": "1234"}]}
    before = copy.deepcopy(message)
    redact_secrets(message)
    assert message == before


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        pytest.param(json.dumps({"api_key": PASSWORD}), PASSWORD, id="arguments"),
        pytest.param(f"x-api-key: {PASSWORD}", PASSWORD, id="header"),
        pytest.param(f"Authorization: {PASSWORD}", PASSWORD, id="no scheme"),
        pytest.param(f"password={PASSWORD}", PASSWORD, id="beginning"),
        pytest.param(f"a=b&client_secret={PASSWORD}", PASSWORD, id="client_secret"),
        pytest.param(f"a=b&refresh_token={PASSWORD}", PASSWORD, id="refresh_token"),
        pytest.param(
            f"export AWS_SECRET_ACCESS_KEY={PASSWORD}", PASSWORD, id="env"
        ),
        pytest.param(
            {"aws_secret_access_key": PASSWORD}, PASSWORD, id="boto3 key"
        ),
        pytest.param(
            {"aws_session_token": PASSWORD}, PASSWORD, id="boto3 token"
        ),
        pytest.param(
            {"Authorization": [f"Token {PASSWORD}"]}, PASSWORD, id="list"
        ),
        pytest.param(
            "xapp-1-A0123456789-1234567890123-0123456789abcdef", "xapp-1", id="Slack app"
        ),
    ],
)  # fmt: skip
def test_secrets_that_are_met_in_the_field_are_found(value, secret):  # B55
    """Forms in which tools and their arguments name secrets."""
    assert secret not in json.dumps(redact_secrets(value))


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("export DB_PASSWORD=hunter2; psql", f"export DB_PASSWORD={REDACTED}; psql"),
        ("PASSWORD=mypassword", f"PASSWORD={REDACTED}"),
        ("PGPASSWORD=hunter2secret psql", f"PGPASSWORD={REDACTED} psql"),
        ("MYSQL_ROOT_PASSWORD='hunter2 secret' x", f"MYSQL_ROOT_PASSWORD='{REDACTED}' x"),
        ("GITHUB_TOKEN=abcdefgh", f"GITHUB_TOKEN={REDACTED}"),
        ("MY_API_KEY=hunter2", f"MY_API_KEY={REDACTED}"),
        ("login(password=\"it's me\", user='ada')", f"login(password=\"{REDACTED}\", user='ada')"),
        ("connect(auth_token=abc12345)", f"connect(auth_token={REDACTED})"),
        ("DB_PASSWORD: hunter2secret\nport: 5432", f"DB_PASSWORD: {REDACTED}\nport: 5432"),
        ("aws_secret_access_key = wJalrXUt/K7MDENG", f"aws_secret_access_key = {REDACTED}"),
        ("postgres://ada:hunter2secret@db:5432/agents", f"postgres://ada:{REDACTED}@db:5432/agents"),
        ("redis://:p@ss@db:6379/0", f"redis://:{REDACTED}@db:6379/0"),
        ('{"password": "hunter2 secret word", "n": 1}', f'{{"password": "{REDACTED}", "n": 1}}'),
        ("{'db_password': 'a b', 'n': 1}", f"{{'db_password': '{REDACTED}', 'n': 1}}"),
        ('{"token": "abcd1234", "token_count": "5"}', f'{{"token": "{REDACTED}", "token_count": "5"}}'),
        (f"key: {TOKENS['PEM'][:32]}{'A' * 64}\n{'B' * 64} cut", f"key: {REDACTED} cut"),
        ("SECRET_KEY = 'dev-(abc)-123'\nDEBUG = True", f"SECRET_KEY = '{REDACTED}'\nDEBUG = True"),
        ('db_password: "hunter2 !"\nauth_token: "abcd#1234"', f'db_password: "hunter2 !"\nauth_token: "{REDACTED}"'),
        ("DB_PASS=hunter2 MYSQL_PWD=hunter2 SSHPASS=hunter2", f"DB_PASS={REDACTED} MYSQL_PWD={REDACTED} SSHPASS={REDACTED}"),
        ("ENCRYPTION_KEY=hunter2secret", f"ENCRYPTION_KEY={REDACTED}"),
        ("Ocp-Apim-Subscription-Key: hunter2secret", f"Ocp-Apim-Subscription-Key: {REDACTED}"),
        ("Server=db;Uid=ada;Pwd=hunter2;Port=1", f"Server=db;Uid=ada;Pwd={REDACTED};Port=1"),
        ("jdbc:oracle:thin:ada/hunter2@db:1521/x", f"jdbc:oracle:thin:ada/{REDACTED}@db:1521/x"),
        ("https://a1b2c3d4e5f6a7b8c9d0@git.example.com/x", f"https://{REDACTED}@git.example.com/x"),
        ("machine db.example.com login ada password hunter2", f"machine db.example.com login ada password {REDACTED}"),
        ("密码\uff1ahunter2secret, 密码: hunter2secret", f"密码\uff1a{REDACTED}, 密码: {REDACTED}"),
    ],
)  # fmt: skip
def test_a_name_that_ends_like_one_of_a_secret_tells_it(text, redacted):  # B55
    """Variables of the environment, settings, addresses of databases, and fields of JSON, quoted up to the quote."""
    assert redact_secrets(text) == redacted


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Cookie: sid=hunter2; theme=dark\nAccept: */*", f"Cookie: {REDACTED}\nAccept: */*"),
        ("< Set-Cookie: sid=hunter2; Path=/; HttpOnly", f"< Set-Cookie: {REDACTED}"),
        ('{"Cookie": "sid=hunter2; theme=dark"}', f'{{"Cookie": "{REDACTED}"}}'),
        ("Authorization: ApiKey hunter2secret", f"Authorization: ApiKey {REDACTED}"),
        ("X-Vault-Token: hunter2secret\nPrivate-Token: hunter2secret", f"X-Vault-Token: {REDACTED}\nPrivate-Token: {REDACTED}"),
        ("https://a.b/c?X-Amz-Signature=0123456789abcdef", f"https://a.b/c?X-Amz-Signature={REDACTED}"),
        (f"https://a.b/api/f?code={'a1B2' * 13}==", f"https://a.b/api/f?code={REDACTED}"),
        ("https://hooks.slack.com/services/T00000000/B00000000/a1B2c3D4", f"https://hooks.slack.com/services/{REDACTED}"),
        ("https://discord.com/api/webhooks/123456789/a1B2c3D4-e5", f"https://discord.com/api/webhooks/123456789/{REDACTED}"),
    ],
)  # fmt: skip
def test_headers_and_addresses_that_are_secrets_are_found(text, redacted):  # B55
    """Cookies, schemes of authorization, signed addresses, and addresses that whoever knows them may use."""
    assert redact_secrets(text) == redacted


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("curl -u ada:hunter2 https://a.b", f"curl -u ada:{REDACTED} https://a.b"),
        ("curl -sS 'https://a.b?c=1&d=2' --user 'ada:hunter2'", f"curl -sS 'https://a.b?c=1&d=2' --user 'ada:{REDACTED}'"),
        ("curl --proxy-user ada:hunter2 -x a.b https://c.d", f"curl --proxy-user ada:{REDACTED} -x a.b https://c.d"),
        ("curl -b 'sid=hunter2; theme=dark' https://a.b", f"curl -b '{REDACTED}' https://a.b"),
        ("mysql -P 3306 -u ada -phunter2 shop", f"mysql -P 3306 -u ada -p{REDACTED} shop"),
        ("sshpass -p hunter2 ssh ada@a.b", f"sshpass -p {REDACTED} ssh ada@a.b"),
        ("docker login -u ada -p hunter2 a.b", f"docker login -u ada -p {REDACTED} a.b"),
        ("redis-cli -h a.b -a hunter2 ping", f"redis-cli -h a.b -a {REDACTED} ping"),
        ("deploy --api-key hunter2secret --auth-token 'hunter2secret'", f"deploy --api-key {REDACTED} --auth-token '{REDACTED}'"),
    ],
)  # fmt: skip
def test_a_password_behind_an_option_of_a_command_is_found(text, redacted):  # B55
    """What an agent's shell is given all day."""
    assert redact_secrets(text) == redacted
    assert json.loads(redact_secrets(json.dumps({"command": text}))) == {"command": redacted}


@pytest.mark.parametrize("lead", ["", "data:image/png;base64,", "data:application/pdf;name=a.pdf;base64,"])
def test_a_picture_stays_as_it_is(lead):  # B51
    """One in some hundred pictures holds by chance what looks like a key; and looking takes a second for each megabyte."""
    picture = f"{lead}{'iVBORw0K' * 100_000}/{TOKENS['Google']}/{TOKENS['Alibaba']}/AA=="
    begun = time.process_time()
    assert redact_secrets({"content": [{"image_url": {"url": picture}}]}) == {
        "content": [{"image_url": {"url": picture}}]
    }
    assert time.process_time() - begun < 0.1


@given(st.text(min_size=1), st.booleans())
@example('a "b" \\ c', True)
@example("\\", False)
@settings(max_examples=200)
def test_a_quoted_password_goes_whole_and_json_stays_json(password, deep):  # B55 B56
    """Whatever it is made of, also one level deep, as in a call's arguments inside of a message's text."""
    fields = {"db_password": password, "n": 1}
    text = json.dumps({"arguments": json.dumps(fields)} if deep else fields)
    made = json.loads(redact_secrets(text))
    made = json.loads(made["arguments"]) if deep else made
    assert made == {"db_password": REDACTED, "n": 1}


@pytest.mark.parametrize(
    "value",
    [
        {"max_tokens": 5, "total_tokens": 7, "token": 5, "prompt_tokens": "12"},
        {"token": "hello", "logprob": -0.1, "bytes": [104]},
        {"next_page_token": "CAUQAA12345", "NextToken": "abc12345", "pageToken": "x", "eos_token": "</s>"},
        {"cost_per_token": "0.01", "password_policy": "long", "tokenizer": "cl100k", "secretary": "Ada"},
        {"required": ["auth_token", "user"], "properties": {"auth_token": {"type": "string"}}},
        {"id": "token", "tool_call_id": "sk_live_51H8xYzABCDEFGHIJKLMNOPQRST"},
        "max_tokens=4096, total_tokens=12345678",
        '{"max_tokens": 4096, "next_page_token": "CAUQAA12345", "token": "hello"}',
        "login(password=None, token=tokenizer, pad_token=tokenizer2.eos_token)",
        "password = getpass.getpass()",
        "Client(api_key=self._api_key, admin_api_key=api_key, secret=client_secret, password=password)",
        "if password==expected and secret != other:",
        "postgres://ada:{password}@db, postgres://ada:$PGPASSWORD@db, http://localhost:8080/@scope/x",
        "token: str, secret: bytes32, password: the usual one",
        '["password=", "b", "token="]',
        '{"a": "password=", "b": "secret="}',
        "docker run -u 1000:1000 --user ada:users, curl a.b && docker run -u 1000:1000, curl -u ada: -u $USER:$PASS",
        "mysql -P3306 -p shop, PWD=/home/ada OLDPWD=/, curl -b cookies.txt, cookie: the browser asks for consent = yes",
        "--password, --token to use, --max-token 12345678, --secret id=token1234,src=token.txt",
        'label: "Password", password: "at least 8 characters", secret: "required"',
        "https://ada@example.com, ssh://git@github.com/a/b, https://a.b/login?code=US&state=1",
        "connect(proxy_pass=url.password)",
        "bypass=12345678, first_pass=12345678, encryption_key_id=7",
        "a PEM file begins with -----BEGIN PRIVATE KEY----- and ends",
    ],
    ids=str,
)
def test_what_only_looks_like_a_secret_stays(value):  # B51 B56
    """Counts of tokens, places in listings, schemas, ids and programs: an agent needs those as they are."""
    assert redact_secrets(value) == value


# -- what is left ---------------------------------------------------------------------------------

WORDS = re.findall(
    r"\w+",
    "the quick brown fox jumps over a lazy dog key token secret password author authorization api bearer sky task "
    "risk desk ask disk sk ghost hf github slack azure google openai anthropic cookie eyJ AIza AKIA tokenizer passwords",
)
HEX = st.text("0123456789abcdef", min_size=8, max_size=128)
ALPHANUMERIC = st.text(string.ascii_letters + string.digits, min_size=8, max_size=40)
INNOCENT = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join).filter(lambda text: "bearer " not in text),
    HEX,
    HEX.map(str.upper),
    st.uuids().map(str),
    st.builds(
        "{}{}".format,
        st.sampled_from(["call_", "toolu_", "msg_", "fc_", "rs_", "resp_", "chatcmpl-", "req_", "run_", "thread_", "file-", "ws_"]),
        ALPHANUMERIC,
    ),
    st.datetimes().map(datetime.datetime.isoformat),
    st.integers().map(str),
    st.sampled_from(
        [
            "for key in sorted(keys): print(key, tokens[key])",
            "max(counts, key=len)",
            "if token == secret and password != key: return api_key",
            "def f(key=None, token=''): ...",
            "SELECT key, token FROM secrets WHERE password IS NULL;",
            "https://example.com/search?q=key+token&page=2#secret",
            "git commit -m 'task-key-rotation-for-the-api' --author=ada",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHElEQVQI12P4//8/w38GIAXDIBKE0DHxgljNBAAO",
            "risk-assessment-of-the-north-face and desk-sharing-in-the-office",
            "eyJ is how a token begins, and AIza how a key does",
            "Password: ask the desk. Token: none. Authorization: denied.",
        ]
    ),
)  # fmt: skip
PLAIN_NAMES = st.sampled_from(["role", "content", "name", "key", "tokens", "usage", "max_tokens", "n", ""])


def nested(texts):
    """JSON without ids: those are looked at below."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
    return st.recursive(
        scalars,
        # A pair of words may be a header with its value, and is one where the first is a secret's name.
        lambda inner: (
            st.lists(inner, max_size=4).filter(lambda found: len(found) != 2 or not isinstance(found[0], str))
            | st.dictionaries(PLAIN_NAMES, inner, max_size=4)
        ),
        max_leaves=12,
    )


@given(nested(INNOCENT))
@settings(max_examples=300)
def test_what_holds_no_secret_is_left_as_it_is(value):  # B51
    """Words, ids of calls and messages, hexadecimal digests, UUIDs, dates and code come back equal."""
    assert repr(redact_secrets(value)) == repr(value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("You need a basic understanding of physics.", id="basic"),
        pytest.param("The bearer certificates were sold.", id="bearer"),
        pytest.param("sorted(rows, key=itemgetter(1))", id="key="),
        pytest.param("ask(model, token=get_token())", id="token="),
        pytest.param("<div class='sk-text-repr-fallback'>", id="sk-"),
        pytest.param("sk-learn-compatible-estimators", id="sk-learn"),
    ],
)
def test_ordinary_words_and_code_are_left_as_they_are(text):  # B51
    """What an agent reads and writes all day is not taken for a secret."""
    assert redact_secrets(text) == text


def _token(name):  # the tokens themselves would make the strategy's repr too long for Hypothesis
    return TOKENS[name]


MIXED = st.lists(
    st.one_of(
        st.sampled_from(list(TOKENS)).map(_token),
        st.sampled_from(["Bearer ", "basic ", "?key=", "&password=", " api_key=", ".", "-", "_", "=", '"', "\\"]),
        st.sampled_from([REDACTED, "sk-", "eyJ", "ghp_", "xoxb-", "AKIA", PASSWORD]),
        INNOCENT,
        st.text(max_size=10),
    ),
    max_size=8,
).map("".join)  # fmt: skip


@given(nested(MIXED))
@settings(max_examples=300)
@example(f"?key=ab-{TOKENS['OpenAI']}")
@example(f"{TOKENS['GitHub']}-{TOKENS['OpenAI']}")
def test_twice_is_once(value):
    """What was redacted holds nothing more to redact: a resumed history is not changed again."""
    once = redact_secrets(value)
    assert redact_secrets(once) == once


@given(nested(MIXED))
@settings(max_examples=100)
def test_the_shape_stays(value):
    """Only texts change: keys, numbers, order and lengths of lists are those of before."""

    def shape(value):
        if isinstance(value, dict):
            return [(key, shape(item)) for key, item in value.items()]
        if isinstance(value, list):
            return [shape(item) for item in value]
        return str if isinstance(value, str) else repr(value)

    assert shape(redact_secrets(value)) == shape(value)


@pytest.mark.parametrize(
    "command",
    [
        f"curl 'https://a.b?key={PASSWORD}'",
        f"login {TOKENS['OpenAI']} now",
        pytest.param(
            f'curl -H "Authorization: Bearer {PASSWORD}" https://a.b',
            id="an escaped quote",
        ),
        pytest.param(
            f"curl https://a.b?key={PASSWORD}\nls",
            id="an escaped line break",
        ),
    ],
)
def test_arguments_of_a_call_stay_json(command):  # B56
    """The text of a tool call's arguments can be read after redaction as before, and says the same but for the secret."""
    made = json.loads(redact_secrets(json.dumps({"command": command, "timeout": 5})))
    assert made == {"command": redact_secrets(command), "timeout": 5}


@pytest.mark.parametrize(
    "piece",
    [
        "lorem ipsum ", "A9+/", "Bearer ", "bearer" + " " * 10_000, "?key=", "sk-", "0123456789abcdef", "-eyJaaaaaaaaa",
        "-----BEGIN PRIVATE KEY-----", "'password':'", '\\"password\\":\\"', "password='", "://a:", "password:        ",
        "'" + "a" * 10_000, "curl -u ", "curl & ", "docker login -p ", "cookie:a=", "secret = '", "1Q~",
    ],
    ids=lambda piece: piece[:20],
)  # fmt: skip
def test_a_long_text_takes_no_longer_than_its_length(piece):
    """A page that a tool read, even one that was made for this, does not hold up the save: no square of its length."""

    def seconds(size):
        text = piece * (size // len(piece))
        begun = time.process_time()
        redact_secrets(text)
        return time.process_time() - begun

    short = min(seconds(20_000) for _ in range(3))
    assert min(seconds(160_000) for _ in range(2)) < 24 * short + 0.05  # 8 where it is as its length, 64 as its square


@pytest.mark.parametrize("between", ["-s " * 90, "x" * 250 + " ", ""], ids=["many words", "one long word", "nothing"])
def test_an_option_may_stand_far_behind_its_command(between):
    """However many words that is: what bounds it is their length."""
    assert redact_secrets(f"curl {between}-u joe:hunter22 https://shop.example") == (
        f"curl {between}-u joe:{REDACTED} https://shop.example"
    )


# -- in a guard -----------------------------------------------------------------------------------

SECRET = TOKENS["Anthropic"]


class Crash(Exception):
    """What ends a body, so that the session stays."""


def crash(store, body, redact=redact_secrets, **options):
    """A guard whose body ends badly; what the folder holds then, and nothing was ever elsewhere."""
    with pytest.raises(Crash), session_guard("ticket-42", store=store, redact=redact, **options) as session:
        body(session)
        raise Crash
    return b"".join(path.read_bytes() for path in store.folder.iterdir()).decode()


def says(text):
    return {"role": "user", "content": text}


SAVES = {
    "append": lambda session, said: session.append(says(said)),
    "extend": lambda session, said: session.extend([says("hello"), says(said)]),
    "replace": lambda session, said: session.replace([says(said)]),
    "set_extra": lambda session, said: session.set_extra({"note": said}),
    "argument": lambda session, said: session.once("effect", lambda argument: "done", said),
    "result": lambda session, said: session.once("effect", lambda: {"printed": said}),
    "resolve": lambda session, said: (unknown(session), session.resolve("effect", result=said)),
}
save = pytest.mark.parametrize("save", SAVES.values(), ids=SAVES)


def unknown(session):
    """An effect whose outcome is unknown."""
    with pytest.raises(ZeroDivisionError):
        session.once("effect", lambda: 1 / 0)


@save
def test_no_secret_ever_reaches_the_disk(store, save, monkeypatch):  # B55
    """Message, extra state, argument and result are redacted before a byte of them is written."""
    from resilient_agent.session.stores import _posix

    written, really = [], _posix.write_at
    monkeypatch.setattr(_posix, "write_at", lambda fd, data, offset: written.append(data) or really(fd, data, offset))
    text = crash(store, lambda session: save(session, f"my key: {SECRET}!"))
    assert f"my key: {REDACTED}!" in text
    assert SECRET not in text
    assert SECRET.encode() not in b"".join(written)


def test_what_is_in_memory_is_what_is_stored(store):  # B55
    """The session shows the redacted message at once, and the same after a restart."""

    def body(session):
        said = says(f"my key: {SECRET}")
        session.append(said)
        assert said == says(f"my key: {SECRET}")
        assert session.messages == session.window(last=5) == [says(f"my key: {REDACTED}")]
        session.set_extra({"headers": {"x-api-key": "1234"}})
        assert session.extra == {"headers": {"x-api-key": REDACTED}}
        assert session.once("effect", lambda argument: {"token": SECRET}, SECRET) == {"token": REDACTED}
        assert session.once("effect", lambda argument: pytest.fail("again"), SECRET) == {"token": REDACTED}
        effect = session.effects["effect"]
        assert (effect.arguments, effect.result) == ([REDACTED], {"token": REDACTED})

    crash(store, body)
    with session_guard("ticket-42", store=store) as session:  # no redact= is needed to read it
        assert session.messages == [says(f"my key: {REDACTED}")]
        assert session.extra == {"headers": {"x-api-key": REDACTED}}
        assert session.effects["effect"].arguments == [REDACTED]


@pytest.mark.anyio
async def test_async_with_redacts_as_with_does(store):  # B55
    """Each saving method of the other face redacts as well."""
    with pytest.raises(Crash):
        async with session_guard("ticket-42", store=store, redact=redact_secrets) as session:
            await session.append(says(SECRET))
            await session.extend([says(SECRET)])
            await session.set_extra({"note": SECRET})

            async def effect(argument):
                return argument

            assert await session.once("effect", effect, SECRET) == REDACTED
            assert session.messages == [says(REDACTED)] * 2
            raise Crash
    assert SECRET not in session.path.read_text()
    async with session_guard("ticket-42", store=store, redact=redact_secrets) as session:
        await session.replace([*session.messages, says(SECRET)])
        assert SECRET not in session.path.read_text()
        assert session.messages == [says(REDACTED)] * 3


def test_what_an_exception_says_is_not_stored(store):  # B55
    """The mark of an interrupted session names the error's class and none of its words, with redact= or without."""
    with pytest.raises(ValueError), session_guard("ticket-42", store=store) as session:
        session.append(says("hello"))
        raise ValueError(f"401 for {SECRET}")
    assert SECRET not in session.path.read_text()


def test_what_a_redactor_is_given_is_a_copy(store):
    """It may change what it is given: neither the caller's message nor what is stored already changes by that."""
    given = []

    def redact(value):
        given.append(value)
        if isinstance(value, dict):
            value["content"] = "changed"
        return value

    def body(session):
        mine = {"role": "user", "content": "said", "parts": [{"text": "said"}]}
        session.append(mine)
        assert mine == {"role": "user", "content": "said", "parts": [{"text": "said"}]}
        given[0]["content"] = "later"
        given[0]["parts"][0]["text"] = "later"
        assert session.messages == [{"role": "user", "content": "changed", "parts": [{"text": "said"}]}]

    crash(store, body, redact)
    assert store.read("ticket-42").messages[0]["parts"] == [{"text": "said"}]


def test_a_redactor_sees_what_would_be_stored(store):
    """JSON's own types, models dumped: one that looks for dicts and strings finds them."""
    import pydantic

    class Part(pydantic.BaseModel):
        text: str

    seen = []

    def body(session):
        session.append({"role": "user", "content": (Part(text="hi"), Part(text="there"))})
        session.once("effect", lambda part: Part(text="result"), Part(text="argument"))

    crash(store, body, lambda value: seen.append(value) or value)
    assert seen == [
        {"role": "user", "content": [{"text": "hi"}, {"text": "there"}]},
        {"text": "argument"},
        {"text": "result"},
    ]


@save
@pytest.mark.parametrize(
    "error", [RuntimeError("cannot tell"), KeyError("x"), OSError(28, "not of the disk")], ids=repr
)
def test_where_redacting_fails_nothing_is_stored_and_the_next_works(store, save, error):  # B55
    """What the redactor raises comes out as it is; no byte is written for it, and the session lives on."""
    failing = []

    def redact(value):
        if failing and "lost" in json.dumps(value):
            raise error
        return value

    def body(session):
        session.append(says("kept"))
        session.set_extra({"plan": 1})
        failing.append(True)
        with pytest.raises(type(error)) as raised:
            save(session, "lost")
        assert raised.value is error
        assert (session.messages, session.extra) == ([says("kept")], {"plan": 1})
        assert all(effect.result is None for effect in session.effects.values())
        failing.clear()
        session.append(says("next"))

    text = crash(store, body, redact)
    assert "lost" not in text
    assert store.read("ticket-42").messages == [says("kept"), says("next")]


def test_an_effect_whose_argument_cannot_be_redacted_does_not_run(store):  # B60
    """Nothing is started that could not be written down before."""

    def redact(value):
        raise LookupError

    def body(session):
        with pytest.raises(LookupError):
            session.once("effect", lambda argument: pytest.fail("it ran"), "argument")
        assert session.effects == {}

    crash(store, body, redact)


def test_an_effect_whose_result_cannot_be_redacted_has_an_unknown_outcome(store):  # B60
    """It took place, and nothing of its result is stored: it is not run again by itself."""
    ran = []

    def redact(value):
        if value == "result":
            raise LookupError
        return value

    def effect(argument):
        ran.append(argument)
        return "result"

    def body(session):
        with pytest.raises(LookupError):
            session.once("effect", effect, "argument")
        with pytest.raises(OutcomeUnknown):
            session.once("effect", effect, "argument")

    assert '"result"' not in crash(store, body, redact)
    assert ran == ["argument"]


@pytest.mark.parametrize("made", [None, "text", ["a"], 5], ids=repr)
def test_a_message_that_is_redacted_away_is_refused(store, made):
    """What a redactor makes of a message has to be one."""

    def body(session):
        with pytest.raises(NotStorable, match="a dict or a pydantic model is due here"):
            session.append(says("lost"))

    assert "lost" not in crash(store, body, lambda value: made)


@pytest.mark.parametrize("made", [b"PNG", float("nan"), {1: 2}, object()], ids=lambda made: type(made).__name__)
def test_a_redactor_that_makes_no_json_is_refused_with_its_place(store, made):  # B51
    """What it returns is held to the rules of what is stored, and the place is named."""

    def body(session):
        with pytest.raises(NotStorable) as refused:
            session.append(says("lost"))
        assert refused.value.path == "$.content"
        with pytest.raises(NotStorable) as refused:
            session.extend([says("lost"), says("lost")])
        assert refused.value.path == "$[0].content"
        assert session.messages == []

    assert "lost" not in crash(store, body, lambda value: {**value, "content": made})


# -- the history stays whole ----------------------------------------------------------------------

CALL = {"id": "call_1", "type": "function", "function": {"name": "sh", "arguments": "{}"}}
WITH_IDS = {
    "tool_calls": {"role": "assistant", "content": None, "tool_calls": [CALL]},
    "tool_call_id": {"role": "tool", "tool_call_id": "call_1", "content": "done"},
    "tool_use": {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "sh", "input": {}}]},
    "tool_use_id": {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"}]},
    "call_id": {"type": "function_call_output", "call_id": "call_1", "output": "done"},
    "approval_request_id": {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True},
    "message": {"type": "message", "id": "msg_1", "role": "assistant", "content": []},
}


def changing(change):
    """A redactor that does so with every id that it meets."""

    def redact(value):
        if isinstance(value, dict):
            made = {}
            for name, item in value.items():
                if name in IDS:
                    change(made, name, item)
                else:
                    made[name] = redact(item)
            return made
        return [redact(item) for item in value] if isinstance(value, list) else value

    return redact


CHANGES = {
    "blanked": lambda made, name, item: made.update({name: REDACTED}),
    "cut": lambda made, name, item: made.update({name: item[:-1]}),
    "left out": lambda made, name, item: None,
    "null": lambda made, name, item: made.update({name: None}),
    "renamed": lambda made, name, item: made.update({f"x_{name}": item}),
}


@pytest.mark.parametrize("message", WITH_IDS.values(), ids=WITH_IDS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_redactor_that_changes_an_id_is_refused(store, message, change):  # B55 B56
    """Calls and results find each other by their ids: NotStorable, its place named, nothing stored, and it goes on."""
    redacting = []

    def redact(value):
        return changing(change)(value) if redacting else value

    def body(session):
        session.append(says("kept"))
        redacting.append(True)
        before = session.path.read_bytes()
        with pytest.raises(NotStorable, match="changed an id") as refused:
            session.append(message)
        assert refused.value.path == "$"
        for several in (session.extend, session.replace):
            with pytest.raises(NotStorable, match="changed an id") as refused:
                several([says("hello"), message])
            assert refused.value.path == "$[1]"
        assert session.path.read_bytes() == before
        assert session.messages == [says("kept")]
        redacting.clear()
        session.append(message)
        assert session.messages == [says("kept"), message]

    crash(store, body, redact, repair=None)


def test_an_id_that_is_changed_in_place_is_refused(store):  # B55
    """It makes no difference whether a redactor changes what it is given or gives something else."""

    def redact(value):
        value["tool_call_id"] = REDACTED
        return value

    def body(session):
        with pytest.raises(NotStorable, match="changed an id"):
            session.append(WITH_IDS["tool_call_id"])
        assert session.messages == []

    assert REDACTED not in crash(store, body, redact)


@pytest.mark.parametrize("name", ["id", "tool_call_id", "tool_use_id", "call_id", "approval_request_id"])
def test_an_id_that_looks_like_a_secret_is_left_alone(store, name):  # B56
    """A history without its ids is broken, and a message that is refused is lost."""
    message = {"role": "tool", name: "sk-0123456789abcdef0123", "content": "done"}
    crash(store, lambda session: session.append(message), repair=None)
    assert store.read("ticket-42").messages == [message]


def test_ids_that_are_exchanged_are_refused(store):
    """The same ids in other places are other ids."""
    calls = [CALL, {**CALL, "id": "call_2"}]

    def redact(value):
        return {**value, "tool_calls": value["tool_calls"][::-1]}

    def body(session):
        with pytest.raises(NotStorable, match="changed an id"):
            session.append({"role": "assistant", "content": None, "tool_calls": calls})

    crash(store, body, redact)


CHAT = [
    says(f"log in with {SECRET}"),
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": f"call_{number}",
                "type": "function",
                "function": {"name": "login", "arguments": json.dumps({"key": SECRET, "n": number})},
            }
            for number in (1, 2)
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": f"in with {SECRET}"},
    {"role": "tool", "tool_call_id": "call_2", "content": "Set-Cookie: none"},
    {"role": "assistant", "content": "You are in."},
]
ANTHROPIC = [
    says(f"log in with {SECRET}"),
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "EqoBCkgIARABGAIiQL" + "x" * 60},
            {"type": "tool_use", "id": "toolu_01A09q90qw90lq917835lq9", "name": "login", "input": {"password": SECRET}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_01A09q90qw90lq917835lq9", "content": f"in: {SECRET}"}
        ],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "You are in."}]},
]
RESPONSES = [
    says(f"log in with {SECRET}"),
    {"type": "reasoning", "id": "rs_67ccd2bed1ec8190", "summary": [], "encrypted_content": "gAAAAABo" + "x" * 60},
    {
        "type": "function_call",
        "id": "fc_67ccd2bf17f0819081ff3bb2cf6508e6",
        "call_id": "call_12345xyz",
        "name": "login",
        "arguments": json.dumps({"key": SECRET}),
    },
    {"type": "function_call_output", "call_id": "call_12345xyz", "output": f"in with {SECRET}"},
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "You are in."}],
    },
]


@pytest.mark.parametrize("history", [CHAT, ANTHROPIC, RESPONSES], ids=["chat", "anthropic", "responses"])
@pytest.mark.parametrize("repair", ["auto", None])
def test_a_redacted_history_is_whole(store, history, repair):  # B55 B56
    """Calls keep their results, signatures stay, and a start repairs nothing; only the secret is gone."""
    expected = json.loads(
        json.dumps(history).replace(f'"password": "{SECRET}"', f'"password": "{REDACTED}"').replace(SECRET, REDACTED)
    )
    text = crash(store, lambda session: session.extend(history), repair=repair)
    assert SECRET not in text
    with session_guard("ticket-42", store=store, redact=redact_secrets, repair=repair) as session:
        assert session.messages == expected
        assert session.pending.kind == "clean"
        assert "repaired" not in session.path.read_text()


@pytest.mark.parametrize(
    ("history", "late"),
    [
        (CHAT[:3], CHAT[3]),
        (ANTHROPIC[:2], ANTHROPIC[2]),
        (RESPONSES[:3], RESPONSES[3]),
    ],
    ids=["chat", "anthropic", "responses"],
)
def test_a_late_result_finds_its_call_in_a_redacted_history(store, history, late):  # B55 B58
    """Pairing goes by ids, and those were left alone."""
    crash(store, lambda session: session.extend(history))
    with session_guard("ticket-42", store=store, redact=redact_secrets) as session:
        assert session.interruption is not None
        noted = len(session.messages)
        session.append(late)
        assert len(session.messages) == noted
        assert session.messages[-1] == redact_secrets(late)
        assert "outcome unknown" not in json.dumps(session.messages)
        assert session.pending.kind == "results"


@given(history=st.lists(nested(MIXED).map(lambda value: {"role": "user", "content": value}), max_size=4))
@example([{"role": "user", "content": "Ab18Q~cD2.eF3-gH4_iJ5~kL6mN7oP8qR9sT0uVw" + TOKENS["OpenAI"]}])
@settings(max_examples=50)
def test_a_redacted_session_is_redacted_as_its_messages_are(tmp_path_factory, history):  # B55
    """Whatever is said: stored is what `redact_secrets` makes of it, and a restart changes nothing of that."""
    store = FileStore(tmp_path_factory.mktemp("redacted"), durability="process")
    text = crash(store, lambda session: session.extend(history), repair=None)
    assert not [
        secret for secret in TOKENS.values() if secret in text and secret not in json.dumps(map_redacted(history))
    ]
    with session_guard("ticket-42", store=store, redact=redact_secrets, repair=None) as session:
        assert session.messages == map_redacted(history)
        session.replace(session.messages)
        assert session.messages == map_redacted(history)
    assert interrupted_sessions(store) == []


def map_redacted(history):
    return [redact_secrets(message) for message in history]


# -- what cannot be stored as it is ---------------------------------------------------------------


@dataclasses.dataclass
class Login:
    user: str
    token: str


@pytest.mark.parametrize(
    ("argument", "secret"),
    [
        pytest.param(Login("ada", SECRET), SECRET, id="a key in an object"),
        pytest.param({"token": SECRET, "at": datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)}, SECRET, id="a key"),
        pytest.param({"uuid": uuid.UUID(int=7), "key": SECRET.encode()}, SECRET, id="a key in bytes"),
        pytest.param(
            {"password": "hunter2", "at": datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)},
            "hunter2",
            id="a password",
        ),
        pytest.param(
            {"x": "x" * (200 - len("{'x': '', 'key': '") - 12), "key": SECRET, "at": uuid.UUID(int=7)},
            SECRET[:12],
            id="a key that is cut",
        ),
    ],
)
def test_an_argument_that_json_cannot_hold_is_redacted_too(store, argument, secret):  # B55
    """It is stored as text, and no secret stands in that."""
    text = crash(store, lambda session: session.once("effect", lambda argument: "done", argument))
    assert secret not in text


def test_an_argument_whose_id_was_changed_is_not_stored_as_it_was(store):  # B55
    """A redactor that goes by names is obeyed or refused, and never passed by."""

    def redact(value):
        return {**value, "id": "-", "password": "-"} if isinstance(value, dict) else value

    def body(session):
        with contextlib.suppress(NotStorable):
            session.once("effect", lambda argument: "done", {"id": "customer-7", "password": "hunter2"})

    assert "hunter2" not in crash(store, body, redact)
