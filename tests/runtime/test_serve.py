"""What `tally serve` composes before it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from tallystick.chain.followers import clear_followers, followers_of
from tallystick.runtime import serve as serving

if TYPE_CHECKING:
    from tallystick.config import Settings


def test_followers_and_nodes_are_there_before_the_first_request(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """chain 10: Who cancels over HTTP does so in a process that tells followers."""
    served: dict[str, Any] = {}

    def serve_http(_settings: Settings, **given: Any) -> None:
        served.update(given, followers=followers_of("anchor_publish"))

    monkeypatch.setattr(serving, "serve_http", serve_http)
    clear_followers()
    nodes = {31337: (SecretStr("http://127.0.0.1:1"),)}
    try:
        serving.serve(settings.model_copy(update={"chain_endpoints": nodes}))
    finally:
        clear_followers()
    assert [type(one).__name__ for one in served["followers"]] == ["OutboxFollower"]
    assert served["nodes"].chain_ids == (31337,)
    assert served["facts"].reader is not None
