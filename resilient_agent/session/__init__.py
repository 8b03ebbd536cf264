"""Conversations that survive the process that holds them. Start reading at `guard.py`."""
