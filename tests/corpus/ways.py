"""Which of the ways a row becomes an exception: by itself, without the SDKs, and also in a recording environment."""

import sys

LIVE = "live"  # a real SDK is served the row's answer over a socket and raises
MADE = "made"  # the real class is constructed, or a small scenario makes the real library raise it
TEXT = "text"  # an application's own class with that name and message
SHAPE = "shape"  # what the real SDK raised was recorded once and is rebuilt

# The SDKs of the test extra that can be called (`via` of a row) ...
CALLED = frozenset({"openai", "anthropic", "google-genai", "httpx", "aiohttp", "requests", "boto3"})
# ... and the packages whose classes are there with the test extra: its own, and what those depend on.
INSTALLED = (
    *("aiohttp", "anthropic", "anyio", "boto3", "botocore", "google.auth", "google.genai", "httpcore", "httpx"),
    *("openai", "pydantic", "pydantic_core", "requests", "resilient_agent", "tenacity", "urllib3", "websockets"),
)


def way(row):
    """LIVE, MADE, TEXT or SHAPE."""
    if row["kind"] in {"http", "stream"}:
        return LIVE if row["via"] in CALLED else SHAPE
    classes = set(_classes(row.get("cause"))) | set(_classes(row.get("extra")))
    if row["kind"] == "exc":
        classes.add(row["exc_type"])
    if not all(map(_is_installed, classes)):
        return SHAPE
    return TEXT if row["kind"] == "text" else MADE


def _classes(spec):
    """Give the qualified class names anywhere in a nested description."""
    if isinstance(spec, list):
        spec = dict(enumerate(spec))
    if isinstance(spec, dict):
        if "exc_type" in spec:
            yield spec["exc_type"]
        for value in spec.values():
            yield from _classes(value)


def _is_installed(name):
    if name.startswith("text:") or name.partition(".")[0] in sys.stdlib_module_names:
        return True
    return any(name.startswith(package + ".") for package in INSTALLED)
