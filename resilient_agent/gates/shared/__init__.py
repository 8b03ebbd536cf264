"""Limits that several processes share through a Redis or Valkey server.

`pacer.py` and `budget.py` are the doors; `lane.py`, `standing.py`, `slots.py` and `moment.py` decide
and count without doing anything; `link.py` does, and is the only one that knows the server.
"""
