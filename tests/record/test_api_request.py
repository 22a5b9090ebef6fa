"""The digest of a request: what tells a repetition from another request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tallystick.record.api_request import ApiRequest, api_request_digest, format_api_request

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "api_request.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["path"])
def test_vectors(vector: dict[str, str | int]) -> None:
    """identity 8: The message identity-request and its digest are those of section 5.1."""
    request = ApiRequest(
        method=str(vector["method"]), path=str(vector["path"]), body=str(vector["body"]).encode()
    )
    assert len(format_api_request(request)) == vector["bytes"]
    assert api_request_digest(request).hex() == vector["digest"]


def test_whatever_differs_is_another_request() -> None:
    """Method, path, query and each byte of the body are in the digest."""
    digests = {
        api_request_digest(ApiRequest(method, path, body))
        for method in ("POST", "PUT")
        for path in ("/a", "/a?b=c", "/b")
        for body in (b"", b"{}", b"{ }")
    }
    assert len(digests) == 18
