"""How often an SDK had retried by itself, read from what it leaves on its error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_agent.classify.below import sdk_retries


class Holder:
    def __init__(self, **parts):
        self.__dict__.update(parts)


def failure(**parts):
    error = RuntimeError("refused")
    error.__dict__.update(parts)
    return error


def request(count):
    return Holder(headers={"x-stainless-retry-count": count})


@pytest.mark.parametrize(
    "error",
    [failure(request=request("2")), failure(response=Holder(request=request("2")))],
    ids=["its own request", "its response's request"],
)
def test_the_count_is_read_from_the_request(error):
    """A connection that broke has no response; a refusal has its request behind one."""
    assert sdk_retries(error) == 2


def test_a_real_request_is_read_too():
    """Whatever the case of the header's name."""
    httpx = pytest.importorskip("httpx")
    sent = httpx.Request("POST", "https://api.example.com", headers={"X-Stainless-Retry-Count": "3"})
    assert sdk_retries(failure(response=httpx.Response(503, request=sent))) == 3
    assert sdk_retries(httpx.ConnectError("refused", request=sent)) == 3


def test_a_response_without_its_request_is_no_error():
    """Where httpx did not keep the request, its property raises: nothing is known then."""
    httpx = pytest.importorskip("httpx")
    assert sdk_retries(failure(response=httpx.Response(503))) == 0


@pytest.mark.parametrize("count", ["", "many", "-1", "1001", "2.0", "1e3", "inf", None, [], b"\xff"], ids=repr)
def test_what_is_no_count_is_none(count):
    """Nothing is multiplied by a header that says something else."""
    assert sdk_retries(failure(request=request(count))) == 0


class Raising:
    def __getattr__(self, name):
        raise RuntimeError(name)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("plain"),
        failure(),
        failure(request=None, response=None),
        failure(request="POST /v1"),
        failure(request=Holder(headers=None)),
        failure(request=Holder(headers=["x-stainless-retry-count"])),
        failure(request=Raising()),
        failure(request=Holder(headers=Raising())),
    ],
    ids=["bare", "nothing", "none", "text", "no headers", "a list", "raises", "headers raise"],
)
def test_where_nothing_is_known_it_is_0(error):
    """Whatever stands in the place of a request, nothing is raised."""
    assert sdk_retries(error) == 0


@given(st.none() | st.text() | st.integers() | st.floats() | st.binary())
def test_a_count_is_from_0_to_1000(count):
    """Of any header at all."""
    assert 0 <= sdk_retries(failure(request=request(count))) <= 1000
