"""The rows, in reading order, in two books: what is exact, then what is read after all causes were.

DATA ONLY in every room of this folder: tuples of rules, no function, no condition, no SDK.
Special rows stand before general ones, and the first that fits decides:

- `EXACT`: classes that say it all, Python's own and those of the transport, of databases and of tools;
  codes and words that know more than a status (credit, size, models, limits, access, content, what
  is transient whatever it is called); the status; general codes. The classes stand first, so that a
  lost connection or a bug is known before any text is read: one that has a status too is not asked for it.
- `WIDE`: classes that may wrap anything. The causes are read for exact rows first.

The phrases of `wording` come after all rows, and `unknown` after the phrases.
"""

from resilient_agent.classify.knowledge.access import ACCESS, ACCESS_CODES, KEY_CODES
from resilient_agent.classify.knowledge.classes import CLASSES
from resilient_agent.classify.knowledge.credit import CREDIT, CREDIT_CODES
from resilient_agent.classify.knowledge.http import HTTP
from resilient_agent.classify.knowledge.limits import LIMIT_CODES, LIMITS
from resilient_agent.classify.knowledge.local import LOCAL, LOCAL_WORDS
from resilient_agent.classify.knowledge.models import MODEL_CODES, MODELS
from resilient_agent.classify.knowledge.network import CONNECTION, REFUSED_IN_WORDS, TRANSPORT_CLASSES, UNTRUSTED
from resilient_agent.classify.knowledge.request import CONTENT_CODES, OBJECT_CODES, REFUSED_BEHIND, REQUEST
from resilient_agent.classify.knowledge.server import GENERAL_CODES, GENERAL_WORDS, SERVER, SERVER_CODES
from resilient_agent.classify.knowledge.size import SIZE, SIZE_CODES
from resilient_agent.classify.knowledge.stores import STORES, STORES_LATE
from resilient_agent.classify.knowledge.tools import TOOLS, TOOLS_LATE
from resilient_agent.classify.knowledge.unknown import UNKNOWN
from resilient_agent.classify.knowledge.wording import NON_RETRYABLE, RETRYABLE

__all__ = ["EXACT", "NON_RETRYABLE", "RETRYABLE", "UNKNOWN", "WIDE"]

EXACT = (
    *LOCAL,
    *TRANSPORT_CLASSES,
    *UNTRUSTED,
    *STORES,
    *TOOLS,
    *CREDIT_CODES,
    *SIZE_CODES,
    *MODEL_CODES,
    *CONTENT_CODES,
    *KEY_CODES,
    *LOCAL_WORDS,
    *REFUSED_IN_WORDS,
    *LIMITS,
    *CREDIT,
    *REQUEST,
    *SERVER_CODES,
    *LIMIT_CODES,
    *SIZE,
    *MODELS,
    *OBJECT_CODES,
    *ACCESS_CODES,
    *ACCESS,
    *TOOLS_LATE,
    *REFUSED_BEHIND,
    *SERVER,
    *HTTP,
    *GENERAL_CODES,
)
WIDE = (*STORES_LATE, *GENERAL_WORDS, *CLASSES, *CONNECTION)
