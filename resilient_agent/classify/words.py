"""Texts made comparable: what is the same to a reader is the same string here.

`plain` for sentences, `snake` for the words by which bodies name their errors. Punctuation,
case, the kind of an apostrophe and the style of an identifier differ from provider to provider
and tell nothing. Pure; knows neither exceptions nor rules.
"""

from __future__ import annotations

import functools
import re
from typing import Final

__all__ = ["parts", "plain", "snake", "stems"]

_STEM: Final = 4
_FOREIGN: Final = re.compile(r"[^\x00-\x7f]+")
# Where a new word begins inside a code; never inside `40P01`, a SQLSTATE.
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])")
_SPACES: Final = dict.fromkeys(map(ord, "’‘“”，。；：、！？（）【】《》「」…–—\u3000\xa0"), " ")  # noqa: RUF001 - Chinese marks
_TABLE: Final = {
    **{code: chr(code).lower() if chr(code).isalnum() else " " for code in range(128)},
    **_SPACES,
}


@functools.lru_cache(maxsize=256)  # providers say the same few sentences
def plain(text: str) -> str:
    """Lower-case words between single blanks, without punctuation; Chinese runs stand alone.

    Example:
        >>> plain("Rate-limit reached (TPM): 'try again' in 4.7s")
        'rate limit reached tpm try again in 4 7s'
        >>> plain("模型gpt-4o不存在，请检查")
        '模型 gpt 4o 不存在 请检查'
    """  # noqa: RUF002 - a Chinese comma
    words = text.translate(_TABLE)
    if not words.isascii():
        words = _FOREIGN.sub(r" \g<0> ", words.lower())
    return " ".join(words.split())


@functools.lru_cache(maxsize=256)
def stems(words: str) -> frozenset[str]:
    """The first four letters of each word of a `plain` text: the key under which phrases are filed."""
    return frozenset([word[:_STEM] for word in words.split()])


@functools.lru_cache(maxsize=4096)
def snake(code: str) -> str:
    """A code in one style, whatever its provider's.

    Example:
        >>> snake("RateLimitExceeded"), snake("rate-limit exceeded"), snake("HTTP_ERROR")
        ('rate_limit_exceeded', 'rate_limit_exceeded', 'http_error')
    """
    return plain(_HUMP.sub(" ", code)).replace(" ", "_")


@functools.lru_cache(maxsize=4096)
def parts(code: str) -> tuple[str, ...]:
    """A code, and each part of one that is put together, in one style.

    Example:
        >>> parts("AllocationQuota.FreeTierOnly")
        ('allocation_quota_free_tier_only', 'allocation_quota', 'free_tier_only')
    """
    pieces = re.split(r"[.#/:]+", code)
    whole = snake(code)
    if len(pieces) == 1 or not whole:
        return (whole,) if whole else ()
    return whole, *filter(None, map(snake, pieces))
