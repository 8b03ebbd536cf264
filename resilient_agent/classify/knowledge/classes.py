"""What a class name alone tells, where neither a status nor a word says more."""

from resilient_agent.classify.knowledge.curves import SERVER_ERROR, TRANSPORT
from resilient_agent.classify.rules import Rule, When
from resilient_agent.verdict import ErrorType

__all__ = ["CLASSES"]

CLASSES = (
    Rule(
        "classes/credentials",
        when=When(
            types=(
                "AuthenticationError",
                "PermissionDeniedError",
                "NoCredentialsError",  # botocore
                "PartialCredentialsError",
                "DefaultCredentialsError",  # google.auth
                "RefreshError",
                "AuthenticationWrongNumberOfArgsError",  # redis
                "NoPermissionError",
            )
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the key or credential is missing, wrong or expired: sending it again changes nothing",
        seen="litellm.AuthenticationError without a status; redis.AuthenticationError, which is a ConnectionError",
    ),
    Rule(
        "classes/stream-event",
        when=When(types=("openai.APIError", "anthropic.APIError")),
        then=ErrorType.RETRYABLE,
        because="the service reported a failure inside its stream",
        backoff=SERVER_ERROR,
        seen="openai.APIError without a status: The server had an error processing your request",
    ),
    Rule(
        "classes/request",
        when=When(
            types=(
                "BadRequestError",
                "BadRequest",
                "InvalidRequestError",
                "InvalidArgument",
                "UnprocessableEntityError",
                "NotFoundError",
                "UnsupportedParamsError",
                "ParamValidationError",  # botocore
                "botocore.NoRegionError",
                "botocore.ProfileNotFound",
                "botocore.UnknownServiceError",
                "openai.OpenAIError",
                "anthropic.AnthropicError",
            )
        ),
        then=ErrorType.NON_RETRYABLE,
        because="the service or its library refuses this very request: it has to be changed",
        seen="litellm.BadRequestError without a status; botocore.ParamValidationError; openai: no api_key",
    ),
    Rule(
        "classes/truncated-json",
        when=When(types=("JSONDecodeError",)),
        then=ErrorType.RETRYABLE,
        because="an answer that should be JSON was cut off or is none: asked again, it may be whole",
        backoff=TRANSPORT,
        seen="json.JSONDecodeError: Unterminated string, in a model's output; an empty answer of a proxy",
    ),
    Rule(
        "classes/value",
        when=When(types=("ValueError",)),
        then=ErrorType.NON_RETRYABLE,
        because="a value is not what the program asks for: it would not be the next time",
        seen="ValueError: 'timeout' must be a non-negative number, which most tools retry for its words",
    ),
    Rule(
        "classes/event-loop",
        when=When(
            types=("RuntimeError",),
            words=("event loop", "coroutine", "context manager", "cancel scope", "inside a task"),
        ),
        then=ErrorType.NON_RETRYABLE,
        because="this is a mistake in how the program uses its event loop",
        seen="RuntimeError: Timeout context manager should be used inside a task",
    ),
)
