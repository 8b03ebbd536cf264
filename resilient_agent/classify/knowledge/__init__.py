"""The rows, in reading order: what the body tells, then the status, then the classes.

DATA ONLY in every room of this folder: tuples of rules, no function, no condition, no SDK.
Special rows stand before general ones, and the first that fits decides. The phrases of
`wording` come after all rows, and `unknown` after the phrases.
"""

from resilient_agent.classify.knowledge.body import BODY, GENERAL_BODY
from resilient_agent.classify.knowledge.http import HTTP
from resilient_agent.classify.knowledge.local import LOCAL
from resilient_agent.classify.knowledge.network import NETWORK
from resilient_agent.classify.knowledge.unknown import UNKNOWN
from resilient_agent.classify.knowledge.wording import NON_RETRYABLE, RETRYABLE

__all__ = ["NON_RETRYABLE", "RETRYABLE", "RULES", "UNKNOWN"]

RULES = (*BODY, *HTTP, *GENERAL_BODY, *LOCAL, *NETWORK)
