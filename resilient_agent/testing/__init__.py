"""Decides what users' tests may import from here.

A model server that fails on a script, time that stands still, and what a store of sessions has to keep.

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
from resilient_agent.testing.contract import MakeStore, Promise, store_contract
from resilient_agent.testing.fake_llm import FakeLLM, Script
from resilient_agent.testing.waiting import Waits, no_waiting, switched_off

__all__ = [
    "Answer",
    "CutStream",
    "FakeLLM",
    "Hang",
    "MakeStore",
    "Promise",
    "Request",
    "Reset",
    "Script",
    "Status",
    "Step",
    "StreamError",
    "ToolCall",
    "Waits",
    "no_waiting",
    "store_contract",
    "switched_off",
]
