"""What the built-in rows promise: each is named, says where it was seen, and can be reached."""

# ruff: noqa: RUF001 - Chinese marks are what is tested

import pytest

from resilient_agent import BackoffConfig, ErrorClassifier, ErrorType
from resilient_agent.classify.evidence import Evidence
from resilient_agent.classify.knowledge import EXACT, NON_RETRYABLE, RETRYABLE, UNKNOWN, WIDE
from resilient_agent.classify.rulebook import Rulebook

ROWS = (*EXACT, *WIDE, *UNKNOWN)
# The rooms of the folder, as they stand before the `/` of a name.
ROOMS = {
    *("access", "classes", "credit", "http", "limits", "local", "models", "network", "request", "server", "size"),
    *("stores", "tools", "unknown"),
}


class Failure(Exception):
    def __init__(self, message="failed", **shown):
        super().__init__(message)
        self.__dict__.update(shown)


@pytest.mark.parametrize("rule", ROWS, ids=lambda rule: rule.name)
def test_every_row_says_where_it_was_seen(rule):
    """Each row has a name behind a room, a reason that is a sentence, and a source."""
    room, _, name = rule.name.partition("/")
    assert room in ROOMS
    assert name
    assert name == name.lower().strip()
    assert len(rule.because.split()) > 2
    assert rule.seen


def test_no_two_rows_have_the_same_name():
    """A name in a note or a log leads to one row."""
    names = [rule.name for rule in ROWS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("rule", ROWS, ids=lambda rule: rule.name)
def test_only_what_is_tried_again_has_a_curve(rule):
    """A row that stops says nothing about waiting; one that retries and is known says how."""
    if rule.then is not ErrorType.RETRYABLE:
        assert rule.backoff is None
    elif rule.at_most is None and rule.when.types != ("tenacity.TryAgain",):
        assert rule.backoff is not None


def test_no_code_stands_twice_in_one_row():
    """A word that is written down twice is a slip of the pen."""
    for rule in ROWS:
        for values in (rule.when.codes, rule.when.types, rule.when.needles, rule.when.also, rule.when.unless):
            assert len(values) == len(set(values)), rule.name


def by_codes_alone():
    return [(rule, code) for rule in EXACT if rule.when.asked() == ("codes",) for code in rule.when.codes]


@pytest.mark.parametrize(
    ("rule", "code"), by_codes_alone(), ids=lambda value: value if isinstance(value, str) else value.name
)
def test_every_code_of_a_row_can_be_reached(rule, code):
    """A failure that shows nothing but this code is judged as the row says, in the provider's style too."""
    for sent in (code, code.upper()):
        verdict = ErrorClassifier().classify(Failure(body={"error": {"code": sent}}))
        assert verdict.error_type is rule.then, verdict.rule


def by_codes_of_a_class():
    rows = [rule for rule in EXACT if rule.when.asked() == ("codes", "types")]
    return [(rule, code) for rule in rows for code in rule.when.codes]


@pytest.mark.parametrize(
    ("rule", "code"), by_codes_of_a_class(), ids=lambda value: value if isinstance(value, str) else value.name
)
def test_every_code_of_a_row_for_a_class_can_be_reached(rule, code):
    """An error of such a class with this code is judged by that row, whatever the case of the code."""
    package, _, name = rule.when.types[0].replace("*", "ConnectionClosed").rpartition(".")
    for sent in (code, code.upper()):
        error = type(name, (Exception,), {"__module__": package or "somewhere"})()
        error.sqlstate = sent
        assert ErrorClassifier().classify(error).rule == rule.name


def by_words_alone():
    return [
        (rule, phrase)
        for rule in EXACT
        if rule.when.asked() in {("words",), ("words", "unless")}
        for phrase in rule.when.words
    ]


@pytest.mark.parametrize(
    ("rule", "phrase"), by_words_alone(), ids=lambda value: value if isinstance(value, str) else value.name
)
def test_every_phrase_of_a_row_can_be_reached(rule, phrase):
    """A failure that says nothing but this phrase is judged as the row says."""
    verdict = ErrorClassifier().classify(Failure(phrase.rstrip("*")))
    assert verdict.error_type is rule.then, verdict.rule


def by_class_alone():
    rows = [rule for rule in (*EXACT, *WIDE) if rule.when.asked() == ("types",)]
    return [(rule, name) for rule in rows for name in rule.when.types if not name.endswith("*")]


@pytest.mark.parametrize(
    ("rule", "name"), by_class_alone(), ids=lambda value: value if isinstance(value, str) else value.name
)
def test_every_class_of_a_row_can_be_reached(rule, name):
    """A class of that name, without a word or a status, is judged as the row says."""
    package, _, bare = name.rpartition(".")
    error = type(bare, (Exception,), {"__module__": package or "somewhere"})()
    verdict = ErrorClassifier().classify(error)
    assert verdict.error_type is rule.then, verdict.rule


RETRY, STOP = ErrorType.RETRYABLE, ErrorType.NON_RETRYABLE
LESS, FATAL = ErrorType.DEGRADED, ErrorType.FATAL
# What is said, under which status, and what that is: sentences that were seen, then the same in other words, ...
SAID = [
    ("model requires more system memory (127.8 GiB) than is available (13.2 GiB)", 500, LESS),
    ("not enough system memory to load the model", 500, LESS),
    ("wsarecv: An existing connection was forcibly closed by the remote host.", None, RETRY),
    ("No connection could be made because the target machine actively refused it", None, RETRY),
    ("[WinError 10060] a connection attempt failed", None, RETRY),
    ("远程主机强迫关闭了一个现有的连接。", None, RETRY),
    ("由于目标计算机积极拒绝，无法连接。", None, RETRY),
    ("由于连接方在一段时间后没有正确答复，连接尝试失败。", None, RETRY),
    ("unexpected EOF", None, RETRY),
    ('Post "https://api.example.com/v1": context deadline exceeded', None, RETRY),
    ("dial tcp: lookup api.example.com: no such host", None, RETRY),
    ("Error: socket hang up", None, RETRY),
    ("TypeError: fetch failed", None, RETRY),
    ("fetch failed", None, RETRY),
    ("read ECONNRESET", None, RETRY),
    ("connect ETIMEDOUT 10.0.0.1:443", None, RETRY),
    ("connect ECONNREFUSED 127.0.0.1:443", None, RETRY),
    ("getaddrinfo ENOTFOUND api.example.com", None, RETRY),
    ("getaddrinfo EAI_AGAIN api.example.com", None, RETRY),
    ("stream disconnected before completion: error sending request", None, RETRY),
    ("请求超时", None, RETRY),
    ("与上游的连接超时", None, RETRY),
    ("连接被重置", None, RETRY),
    ("网络异常，请检查网络设置", None, RETRY),
    ("模型名字错误请求进入模型广场查看或当前分组下对于模型无使用权限", 503, LESS),
    ("模型 gpt-9 不存在", 503, LESS),
    ("该账号没有权限使用模型 gpt-4o", 503, LESS),
    ("模型名称错误，请修改后再发送", 500, LESS),
    ("您尚未开通该模型", 503, LESS),
    ("wrong model name: gpt-9", 503, LESS),
    ("Incorrect model ID was given", 500, LESS),
    ("invalid model id", 503, LESS),
    ("The dedicated endpoint for mistralai/Mixtral-8x22B is not running.", 400, LESS),
    ("Endpoint is paused. Ask a maintainer to restart it", 400, LESS),
    ("the deployment llama-3 is stopped", 503, LESS),
    ("Model accounts/x/models/y is not deployed", 503, LESS),
    ("该 API Key 仅限企业编程套餐场景使用", 429, STOP),
    ("This API key is only for the coding plan", 429, STOP),
    ("No available accounts: no available accounts", 424, RETRY),
    ("当前没有可用账号", 424, RETRY),
    ("max_tokens参数非法：限制数值范围[1,98304]", 400, LESS),
    ("max_tokens 超出最大值 8192", 400, LESS),
    ("guardrail: input exceeds max length", 422, LESS),
    ("the text is over the maximum length of 512", 422, LESS),
    ("Prompt exceeds max length (request id: 2026)", 400, LESS),
    ("Malformed input request: expected maxLength: 42000, actual: 46735", 400, LESS),
    ("To access gpt-image-1, please complete organization verification", 403, LESS),
    ("Please verify your organization to use the model o3", 403, LESS),
    ("使用该模型前请先完成实名认证", 403, LESS),
    ("您已达到每周/每月使用上限", 429, FATAL),
    ("本月额度已全部使用", 429, FATAL),
    ("您今天的额度已用尽", 429, LESS),
    ("今天的调用次数已达上限", 429, LESS),
    ("Your Horizon budget is exhausted (remaining: $0.000000).", 403, FATAL),
    ("The team has exhausted its budget", 429, FATAL),
    ("input exceeds client batch size limit of 32", 422, LESS),
    ("batch size is invalid, it should not be larger than 10", 400, LESS),
    ("This model is not available in your country.", 403, LESS),
    ("The model gpt-5 is not supported in your region", 403, LESS),
    ("Usage limit reached for 5 hour. Your limit will reset at 2026-04-09 15:13:03", None, RETRY),
    ("You have exceeded the 5-hour usage quota.", 403, RETRY),
    ("You have exceeded the weekly usage quota.", 429, FATAL),
    ("You have exceeded the monthly usage quota.", 429, FATAL),
    ("Weekly/Monthly Limit Exhausted.", None, FATAL),
    ("Your account has been blocked for abuse of the service", 403, FATAL),
    ("Open WebUI: Server Connection Error", 400, RETRY),
    ("Agent run failed. Error Details: Service Unavailable", 400, RETRY),
    ("Rate of traffic exceeds capacity. Ramp your traffic up more slowly.", None, RETRY),
    ("Missing credentials. Please pass an `api_key`", 500, STOP),
    ("upstream answered 400 Bad Request: messages must alternate", 502, STOP),
    ("model accounts/a/b: The messages parameter is illegal", 500, STOP),
    ("Error loading model.", 400, LESS),
    ("unable to load model: /models/blobs/sha256-1", 500, LESS),
    ("memory layout cannot be allocated", 500, LESS),
    ('tool_choice="required" requires --tool-call-parser to be set', 400, LESS),
    ("There is no 'model_name' with this string", 400, LESS),
    ("* GenerateContentRequest.model: unexpected model name format", 400, LESS),
    ("Hosted tool 'web_search_preview' is not supported with gpt-5-nano.", 400, LESS),
    ("current model does not support parameter `enable_thinking`.", 400, STOP),
    ("Usage limit reached. Your limit will reset at 2pm.", None, RETRY),
    ("You've reached your usage limit. Credits reset on 2026-07-10.", None, FATAL),
    ("Container is expired.", 409, STOP),
    ("a deployment of this name already exists", 409, STOP),
    ("Invalid status transition from ACTIVE to PENDING", 409, STOP),
    ("Error retrieving tool list from MCP server: 'x'. Http status code: 503", 424, RETRY),
    ("Model unavailable in your region", 451, LESS),
    ("API returned an empty or malformed response (HTTP 200)", None, RETRY),
    ("No generations found in stream.", None, RETRY),
    ("请求参数不能为空", 500, STOP),
    ("Model x does not have a default chat template defined in the tokenizer.", 500, LESS),
    ("This response_format type is unavailable now", 400, LESS),
    ("You've hit your limit · resets 3pm (Asia/Seoul)", None, RETRY),
    ("You're out of extra usage", None, RETRY),
    ("You've used all the included free usage for model grok-4.5.", 429, LESS),
    ("积分不足", 403, FATAL),
    ("模型[gpt-image-2]未配置路由", 400, LESS),
    ("模型未开放", 400, LESS),
    ("模型服务暂时不可用", None, RETRY),
    ("GET rate limits: your authentication token has been invalidated", 401, STOP),
    ("exceeded the 500 output token maximum", 400, LESS),
    ("Cannot truncate prompt with n_keep (4270) >= n_ctx (4096)", None, LESS),
    ("n_tokens = 5000 exceeds n_ctx = 4096", 500, LESS),
    ("budget_insufficient_before_dispatch", 409, FATAL),
    ("Insufficient budget for this call", 403, FATAL),
    ("Terms of service violation: your organization has been terminated", 403, FATAL),
    ("This service has been disabled in this account for violation of Terms of Service.", 403, FATAL),
    ("You do not have permission to use the model gpt-5", 403, LESS),
    ("Upgrade to Pro for premium models", 403, LESS),
    ("Execution failed: 402 You have no quota", None, FATAL),
    ("agent failed: RESOURCE_EXHAUSTED, try less", None, RETRY),
    ("rpc: code = UNAVAILABLE", None, RETRY),
    ("访问频率超限", None, RETRY),
    ("请求体太大", None, LESS),
    ("该模型在企业版不可用", 403, LESS),
    ("只今混み合っています。", None, RETRY),
    ("요청이 너무 많습니다", None, RETRY),
    ("Сервер перегружен, попробуйте позже", None, RETRY),
    ("Der Dienst ist ausgelastet, bitte später erneut versuchen", None, RETRY),
    ("Die Anfrage ist zu groß", None, LESS),
    ("La requête est trop longue, réessayez plus tard", None, LESS),
    ("saldo insuficiente, intente más tarde", None, FATAL),
    ("Your quota of this model will reset after 42h1m20s.", 429, LESS),
]
# ... and neighbours that use the same words for something else.
NEIGHBOURS = [
    ("TypeError: 'NoneType' object is not iterable", 500, STOP),
    ("read ECONNRESETS is no code", None, STOP),
    ("the exact word for this model is unknown here", 503, RETRY),
    ("model requires more memory than the GPU has free, try again", 500, RETRY),
    ("SyntaxError: unexpected EOF while parsing", None, STOP),
    ("read request body: unexpected EOF", 400, STOP),
    ("image fetch failed", 400, STOP),
    ("请求超时时间必须大于零", None, STOP),
    ("网络错误码说明", 400, STOP),
    ("文件 file-1 不存在，模型无法读取", 500, RETRY),
    ("模型服务错误", 500, RETRY),
    ("模型 gpt-9 暂时找不到可用实例", 503, RETRY),
    ("model output was incorrect", 500, RETRY),
    ("llama runner process is not running, the model has crashed", 500, RETRY),
    ("The model endpoint is not running yet, it is starting", 503, RETRY),
    ("This API key is restricted to 3 concurrent requests", 429, RETRY),
    ("该 API Key 仅限每分钟 60 次请求", 429, RETRY),
    ("account not found", 424, STOP),
    ("max_tokens 必须为整数，超出类型限制", 400, STOP),
    ("请求过于频繁，max_tokens 超过速率限制", 429, RETRY),
    ("tool name exceeds max length", 400, STOP),
    ("expected minLength: 1, actual: 0", 400, STOP),
    ("Please verify your organization before you use this API", 403, STOP),
    ("请先完成实名认证", 403, STOP),
    ("已达到 5 小时的使用上限。您的限额将在 07:41:44 重置。", 429, RETRY),
    ("5-hour usage limit reached", 429, RETRY),
    ("请求频率超过限制，每月额度不受影响", 429, RETRY),
    ("今天服务繁忙，请求超时", 503, RETRY),
    ("retry budget is exhausted", 503, RETRY),
    ("Tool call budget exhausted", 500, RETRY),
    ("the crawl budget is exhausted", 429, RETRY),
    ("每月配额将于 1 日重置，请求过多", 429, RETRY),
    ("model generation is stopped", 500, RETRY),
    ("You are not running the latest model client", 400, STOP),
    ("数据库连接不存在，模型调用失败", 500, RETRY),
    ("大模型服务未开通", 403, STOP),
    ("No available account for user 7", 400, STOP),
    ("Batch size limit exceeded, wait for the queue", 429, RETRY),
    ("unexpected EOF in template", None, STOP),
    ("Our API is not available in your region. See the model docs", 403, FATAL),
    ("the thinking budget is exhausted", 500, RETRY),
    ("temperature: input should not be larger than 2", 400, STOP),
    ("This service is not available in your country.", 403, FATAL),
    ("You have used all of this month's share; the 5-hour limit is separate", 403, STOP),
    ("The request was blocked for abuse of the service", 403, STOP),
    ("Service unavailable in your region", 400, FATAL),
    ("Connection error handling is not configured", 400, STOP),
    ("upstream answered 400 Bad Request: rate limit, try again", 502, RETRY),
    ("upstream connection failed after 400 Bad Requests were served", 502, RETRY),
    ("Failed to load model: timed out, try again", 500, RETRY),
    ("Loading model", 503, RETRY),
    ("this model does not support tools", 400, LESS),
    ("the weekly report exceeds the limit of requests per minute", 429, RETRY),
    ("the thread already exists and is being modified, try again", 409, RETRY),
    ("Another operation is in progress", 409, RETRY),
    ("Error retrieving tool list from MCP server: 'x'. Http status code: 401", 424, STOP),
    ("Unavailable in your region", 451, FATAL),
    ("an empty response is not allowed here", None, STOP),
    ("monthly usage limit reached", 429, FATAL),
    ("服务异常，参数加载失败", 500, RETRY),
    ("You've hit your limit for the month", 403, FATAL),
    ("接口未开放", 400, STOP),
    ("free usage is described in the docs", 400, STOP),
    ("llama_context: n_ctx_per_seq (4096) < n_ctx_train (131072) -- exceeds nothing", None, STOP),
    ("n_ctx must be greater than 0", 400, STOP),
    ("insufficient budget for thinking tokens", 400, STOP),
    ("the context budget insufficient, see docs", 400, STOP),
    ("Your request was disabled for violating our terms", 403, STOP),
    ("The job was terminated: terms of service violation", 400, STOP),
    ("Missing scopes: model.request. You need permission to use this", 403, STOP),
    ("This role has no permission to use list models", 403, STOP),
    ("Permission 'aiplatform.models.predict' denied on resource", 403, STOP),
    ("Upgrade to a newer client", 403, STOP),
    ("The key of this model provider is invalid, upgrade to v2", 403, STOP),
    ("Insufficient budget: 3 steps left", None, STOP),
    ("Compile error [502]: bad", None, STOP),
    ("too many requests for your plan and model", 403, RETRY),
    ("import failed: 404 rows", None, STOP),
    ("child ended with exit code: 429", None, STOP),
    ("THE ITEM IS UNAVAILABLE", None, STOP),
    ("当前访问量过大，图片稍后再试", None, RETRY),
    ("请求量过大，文件排队中", 503, RETRY),
    ("频率惩罚超出范围", 400, STOP),
    ("模型服务不可用", 503, RETRY),
    ("模型暂不可用", 503, RETRY),
    ("Das Passwort ist zu lang", None, STOP),
    ("Имя слишком длинное, запрос отклонён", 400, STOP),
    ("Your quota of this model will reset after 2h13m5s.", 429, RETRY),
    ("Please wait 30 hours: this address is limited", 429, RETRY),
    ("Fair usage policy: slow down", 429, RETRY),
    ("blocked by our usage policy", 400, STOP),
]


@pytest.mark.parametrize(("says", "status", "expected"), [*SAID, *NEIGHBOURS])
def test_a_sentence_and_its_neighbours(says, status, expected):
    """What is said is judged in other words too, and a sentence that only sounds like it is not."""
    shown = {} if status is None else {"status_code": status}
    verdict = ErrorClassifier().classify(Failure(says, **shown))
    assert verdict.error_type is expected, verdict.rule


@pytest.mark.parametrize("status", range(400, 600))
def test_every_error_status_has_a_row(status):
    """No HTTP error is left to the phrases or to the unknown."""
    assert ErrorClassifier().classify(Failure(status_code=status)).rule.startswith("http/")


@pytest.mark.parametrize("outside", [True, False])
def test_the_unknown_always_has_a_row(outside):
    """Whatever fits nothing came from outside, or it did not."""
    error = Failure(request=object()) if outside else Failure()
    found = Rulebook(UNKNOWN).first(Evidence(error))
    assert found is not None
    assert found.when.outside is outside


@pytest.mark.parametrize(
    ("phrases", "expected"),
    [
        (("rate limit", "too many requests", "429"), BackoffConfig(5000, 120_000, 2.0, max_retries=5)),
        (
            ("timed out", "timeout", "connection error", "connection reset"),
            BackoffConfig(500, 10_000, 1.5, max_retries=3),
        ),
        (("server disconnected",), BackoffConfig(1000, 30_000, 2.0, max_retries=3)),
        (("internal server error",), BackoffConfig(2000, 30_000, 2.0, max_retries=3)),
        (("service unavailable",), BackoffConfig(2000, 60_000, 2.0, max_retries=3)),
        (
            ("temporarily unavailable", "bad gateway", "gateway timeout"),
            BackoffConfig(1000, 30_000, 2.0, max_retries=3),
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_the_phrases_and_their_backoff_are_those_of_the_reference(phrases, expected):
    """Each row of the reference's table is there with its numbers."""
    assert {phrase: RETRYABLE[phrase] for phrase in phrases} == dict.fromkeys(phrases, expected)


def test_the_tables_hold_the_references_phrases_and_no_others():
    """Thirteen phrases are retried, eight are not."""
    assert len(RETRYABLE) == 13
    assert set(NON_RETRYABLE) == {
        "unauthorized",
        "authentication",
        "invalid api key",
        "forbidden",
        "not found",
        "validation error",
        "bad request",
        "402",
    }


@pytest.mark.parametrize(
    ("text", "headers"),
    [
        ("<title>Attention Required! | Cloudflare</title>", {}),
        ("<title>Just a moment...</title><body>Enable JavaScript and cookies to continue</body>", {}),
        ("error code: 1020", {"server": "cloudflare"}),
        ("<html></html>", {"cf-mitigated": "challenge"}),
    ],
)
def test_a_firewalls_page_does_not_blame_the_key(text, headers):
    """A 403 that the service itself never saw: who looks for a wrong key looks in the wrong place."""
    verdict = ErrorClassifier().classify(Failure(text, status_code=403, headers=headers))
    assert verdict.error_type is ErrorType.NON_RETRYABLE
    assert verdict.rule.startswith("access/challenge")
    assert "firewall" in verdict.because
    assert "not the key" in verdict.because


@pytest.mark.parametrize(
    ("status", "text"), [(503, "Just a moment..."), (429, "error code: 1015 You are being rate limited")]
)
def test_a_busy_firewall_is_waited_for(status, text):
    """Where it limits rates, or the service behind it is away, another attempt is worth while."""
    assert ErrorClassifier().classify(Failure(text, status_code=status)).error_type is ErrorType.RETRYABLE
