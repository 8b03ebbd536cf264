"""A session in plain code that looks like one in a coroutine, so that one job is written for both faces.

Sent to child processes as text (`inspect.getsource`), so each piece stands by itself.
"""


class Plain:
    """A session: what it does is awaited, and is done when that begins."""

    def __init__(self, session):
        self._session = session

    def __getattr__(self, name):
        found = getattr(self._session, name)
        if not callable(found):
            return found

        async def call(*args, **options):
            return found(*args, **options)

        return call


class PlainGuard(Plain):
    """A guard, and its session once it is entered."""

    def __init__(self, guard):
        self._guard = guard

    async def __aenter__(self):
        self._session = self._guard.__enter__()
        return self

    async def __aexit__(self, *error):
        return self._guard.__exit__(*error)


def never_waiting(coroutine):
    """Run a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("plain code has nothing to wait for")
