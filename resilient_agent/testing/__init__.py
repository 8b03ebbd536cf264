"""Decides what users' tests may import from here: a model server that fails on a script, and time that stands still.

The server must not reach into the rest of the library: an agent is tested from outside, over a socket.
"""

from resilient_agent.testing._steps import (
    Answer,
    CutStream,
    Hang,
    Request,
    Reset,
    Status,
    Step,
    StreamError,
    ToolCall,
)
from resilient_agent.testing.fake_llm import FakeLLM, Script
from resilient_agent.testing.waiting import Waits, no_waiting, switched_off

__all__ = [
    "Answer",
    "CutStream",
    "FakeLLM",
    "Hang",
    "Request",
    "Reset",
    "Script",
    "Status",
    "Step",
    "StreamError",
    "ToolCall",
    "Waits",
    "no_waiting",
    "switched_off",
]
