"""Not this model: unknown, withdrawn, not for this account, or unable to do what is asked. Another can."""

from resilient_agent.classify.rules import Rule, When
from resilient_agent.verdict import ErrorType

__all__ = ["MODELS", "MODEL_CODES"]

MODEL_CODES = (
    Rule(
        "models/missing",
        when=When(
            codes=(
                "model_not_found",  # OpenAI, Groq, new-api
                "model_not_exist",
                "model_not_exists",
                "model_decommissioned",  # Groq
                "model_deprecated",
                "model_not_available",
                "model_not_supported",  # Hugging Face
                "invalid_model",
                "invalid_model_error",
                "unknown_model",
                "deployment_not_found",  # Azure
                "invalid_endpoint_or_model",  # Volcengine
                "not_found_model",
                "invalid_parameter_value_model",  # Hunyuan
                "1211",  # Zhipu: no such model
                "1221",  # Zhipu: withdrawn
                "1222",
            )
        ),
        then=ErrorType.DEGRADED,
        because="there is no such model, or no longer: another model can answer",
        seen="OpenAI documentation, Error codes; Groq, Azure, Hugging Face, Volcengine, Hunyuan and Zhipu",
    ),
    Rule(
        "models/not-for-this-account",
        when=When(
            codes=(
                "model_permission_blocked_org",  # Groq
                "model_permission_blocked_project",
                "model_terms_required",
                "key_model_access_denied",  # LiteLLM proxy
                "team_model_access_denied",
                "user_model_access_denied",
                "org_model_access_denied",
                "model_access_denied",
                "model_not_open",  # Volcengine
                "unpurchased",  # DashScope: AccessDenied.Unpurchased
                "free_tier_only",  # DashScope: AllocationQuota.FreeTierOnly
                "set_limit_exceeded",  # Volcengine: the user's own limit of one model
                "no_access_to_model",
                "access_denied_model",
                "1220",  # Zhipu: not allowed
                "1311",  # Zhipu: not in this plan
            )
        ),
        then=ErrorType.DEGRADED,
        because="this account or key may not use this model, or has used up its share of it: another model can answer",
        seen="Groq, LiteLLM proxy, Volcengine and DashScope documentation, error codes",
    ),
    Rule(
        "models/cannot-do-that",
        when=When(
            codes=(
                "operation_not_supported",  # Azure: not with the specified model
                "unsupported_value",  # OpenAI: not with this model
                "model_not_multimodal",
                "tool_use_not_supported",
            )
        ),
        then=ErrorType.DEGRADED,
        because="this model cannot do what is asked: another one can, or a plainer request",
        seen="Azure OpenAI: OperationNotSupported; OpenAI: `unsupported_value`",
    ),
)

MODELS = (
    Rule(
        "models/unsupported-parameter",
        when=When(codes=("unsupported_parameter", "unknown_parameter"), status=range(400, 500)),
        then=ErrorType.NON_RETRYABLE,
        because="a parameter of the request is not taken here: it has to be left out",
        seen="OpenAI documentation, Error codes: `Unknown parameter`, `Unsupported parameter`",
    ),
    Rule(
        "models/not-found",
        when=When(
            status=404, words=("model", "models", "deployment", "is not available", "not found for account", "模型")
        ),
        then=ErrorType.DEGRADED,
        because="there is no such model here: another model can answer",
        seen="Anthropic: 404 `model: claude-3-5-haiku-latest`; Google, Ollama, Azure",
    ),
    Rule(
        "models/no-provider",
        when=When(
            words=(
                "no endpoints found",
                "no endpoints available",
                "no provider supported",
                "model identifier is invalid",
                "not servable",
                "supports at most",
                "tool choice requires",
                "no available channel*",
                "no available provider*",
                "no allowed providers",
                "not supported by any provider",
                "model access is denied",
                "access to model denied",
                "access to the model",
                "not authorized to access this model",
                "on demand throughput isn t supported",
                "on demand throughput is not supported",
                "无可用渠道",
                "模型不存在",
                "模型未找到",
                "模型已下线",
                "模型已下架",
                "不支持该模型",
                "不支持的模型",
                "无权访问",
                "无权使用",
                "暂未开放",
                "specified version does not exist",
                "could not resolve the foundation model",
                "cannot access gated repo",
                "unsupported param tools",
                "tools param requires",
                "模型未开通",
                "未开通模型",
            )
        ),
        then=ErrorType.DEGRADED,
        because="nobody serves this model to this account: another model can answer",
        seen="OpenRouter: `No endpoints found for`; new-api; Bedrock: on-demand throughput, model access; Zhipu, Hunyuan",
    ),
    Rule(
        "models/unknown-or-withdrawn",
        when=When(
            words=(
                "not found",
                "does not exist",
                "doesn t exist",
                "not exist",
                "no such model",
                "unknown model",
                "invalid model",
                "not a valid model",
                "is unavailable",
                "not available",
                "no longer available",
                "no longer supported",
                "deprecated",
                "decommissioned",
                "retired",
                "discontinued",
                "end of life",
                "has been removed",
                "have access",
                "no access to",
                "disabled",
                "allowed to access",
                "allowed to use",
                "not allowed to",
                "permission to access",
                "authorized to access",
                "access to the requested model",
                "is blocked",
                "not enabled",
                "must be verified",
                "only available",
                "requires a subscription",
                "not agreed to",
                "is restricted",
                "as legacy",
                "too large to be loaded",
            ),
            also=("model", "models"),
            unless=(
                "rate limit*",
                "temporar*",
                "currently unavailable",
                "try again",
                "retry*",
                "overload*",
                "capacity",
                "response with id",
                "denied on resource",
                "not authorized to perform",
                "api key is not set",
                "attribute",
                "module*",
            ),
        ),
        then=ErrorType.DEGRADED,
        because="this model is unknown, withdrawn, or not for this account: another model can answer",
        seen="OpenAI, Google, Ollama, OpenRouter, LiteLLM and vLLM messages, under 400, 403 and 404 and without a status",
    ),
    Rule(
        "models/not-in-this-plan",
        when=When(
            words=("not yet available", "not available", "not included", "not enabled"),
            also=("subscription", "your plan", "this plan", "your tier", "your account"),
        ),
        then=ErrorType.DEGRADED,
        because="this account's plan does not include it: the plain form, or another model, can answer",
        seen="Anthropic: `The long context beta is not yet available for this subscription`",
    ),
    Rule(
        "models/unable",
        when=When(
            words=(
                "not supported",
                "isn t supported",
                "aren t supported",
                "unsupported",
                "does not support",
                "doesn t support",
                "do not support",
                "not support",
                "does not work with",
                "cannot be used with",
                "can t be used with",
                "not compatible with",
                "incompatible with",
                "not a multimodal",
                "not enabled for",
                "not allowed for",
                "not permitted for",
                "no support for",
                "only supported by",
                "only supported for",
                "is not a vlm",
                "use text only",
                "不支持",
            ),
            also=(
                "model",
                "models",
                "tool call",
                "tool calls",
                "tools",
                "tool use",
                "tool choice",
                "function calling",
                "image input",
                "image inputs",
                "images",
                "multimodal",
                "vision",
                "json schema",
                "json mode",
                "structured output*",
                "thinking",
                "reasoning",
                "chat",
                "generate",
                "embeddings",
                "模型",
                "工具调用",
                "图片",
                "图像",
                "多模态",
            ),
            unless=(
                "unsupported param*",
                "input schema",
                "property",
                "argument not supported",
                "temperature",
                "top p",
                "frequency penalty",
                "presence penalty",
                "media type",
                "mime type",
                "file type",
                "image type",
                "image format",
                "must contain",
                "http call",
                "参数",
            ),
        ),
        then=ErrorType.DEGRADED,
        because="this model cannot do what is asked: another one can, or a plainer request",
        seen="OpenAI: `Web search options not supported with this model`; Bedrock; vLLM; llama.cpp; DashScope",
    ),
)
