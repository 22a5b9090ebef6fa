"""Webhooks against a real HTTPS receiver on this machine."""

from __future__ import annotations

import base64
import datetime
import socket
import ssl

import pytest

from tallystick.outbox import Event
from tallystick.outbox.errors import (
    DeliveryError,
    NoSigningKeyError,
    ReceiverError,
    RedirectRefusedError,
    TargetRefusedError,
)
from tallystick.outbox.sinks import webhook
from tallystick.outbox.sinks.webhook import WebhookSink
from tallystick.record.errors import FalseSignatureError
from tallystick.record.keys import ed25519_verifier, make_signer
from tallystick.record.messages import check_outbox_event
from tests.outbox.support import trusting_context

SECRET = bytes(range(0x40, 0x60))
SIGNER = make_signer(name="outbox.example", secret=SECRET)
VECTOR = "Ny7VrkUrvcsAOKMUTKNc0XaaLRmMsZwRCzGy3iksbdnxqpUL2PERSx41t2/R8LesuEqWMyDR4hhf1x3H3OKNBQ=="
AT = datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
EVENT = Event(7, 5, "log.checkpoint", "payments", "user-1", '{"size": 3}', AT)


def sink_for(receiver, **changes):
    """A sink that posts to *receiver* and accepts that it is on this machine."""
    fields = {
        "url": receiver.url,
        "hosts": (receiver.host,),
        "signer": SIGNER,
        "tls": trusting_context(),
        "unsafe_accept_private_addresses": True,
        **changes,
    }
    return WebhookSink(fields.pop("url"), **fields)


@pytest.fixture
def sink(receiver):
    """A sink that posts to the receiver."""
    made = sink_for(receiver)
    yield made
    made.close()


def test_the_receiver_gets_the_signed_vector(receiver, sink):
    """log 31: The body is the event's canonical JSON and the signature is the published one."""
    sink.deliver(EVENT)
    [post] = receiver.posts
    assert post.path == "/hook?x=1"
    assert post.body == EVENT.body()
    key_id, _, signature = post.headers["Tally-Signature"].partition(" ")
    assert (SIGNER.key_id.hex(), VECTOR) == (key_id, signature)
    assert receiver.host == post.headers["Host"]
    assert post.headers["Content-Type"] == "application/json"


def test_the_signature_verifies_and_a_changed_body_does_not(receiver, sink):
    """log 31: What was posted verifies under the outbox key, and one changed byte does not."""
    sink.deliver(EVENT)
    [post] = receiver.posts
    verifiers = [ed25519_verifier(SIGNER.verifier_key)]
    header = post.headers["Tally-Signature"]
    assert check_outbox_event(post.body, header, verifiers).event_id == EVENT.event_id
    with pytest.raises(FalseSignatureError):
        check_outbox_event(post.body.replace(b"3", b"4", 1), header, verifiers)
    forged = f"{SIGNER.key_id.hex()} {base64.b64encode(bytes(64)).decode()}"
    with pytest.raises(FalseSignatureError):
        check_outbox_event(post.body, forged, verifiers)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(receiver, sink, status):
    """log 31: A redirect is refused, also to a target that would be allowed."""
    receiver.answers.append((status, {"Location": receiver.url}))
    with pytest.raises(RedirectRefusedError):
        sink.deliver(EVENT)
    assert len(receiver.posts) == 1


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
def test_only_success_counts_as_taken(receiver, sink, status):
    """Any answer but 2xx is a failed delivery, and its status is told."""
    receiver.answers.append((status, {}))
    with pytest.raises(ReceiverError) as raised:
        sink.deliver(EVENT)
    assert status == raised.value.status


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_success_counts_as_taken(receiver, sink, status):
    """An answer 2xx means that the event was taken."""
    receiver.answers.append((status, {}))
    sink.deliver(EVENT)
    sink.deliver(EVENT)
    assert len(receiver.posts) == 2


def test_a_private_address_is_refused_before_anything_is_sent(receiver):
    """log 31: A listed name that leads to this machine is refused, and nothing arrives there."""
    sink = sink_for(receiver, unsafe_accept_private_addresses=False)
    with pytest.raises(TargetRefusedError, match="not a public address"):
        sink.deliver(EVENT)
    sink.close()
    assert receiver.posts == []


def test_an_unlisted_host_is_refused_before_anything_is_sent(receiver, monkeypatch):
    """log 31: A host outside the list is refused before its name is resolved."""
    monkeypatch.setattr(webhook, "resolve", lambda _: pytest.fail("resolved"))
    sink = sink_for(receiver, hosts=("elsewhere.example",))
    with pytest.raises(TargetRefusedError, match="not a listed"):
        sink.deliver(EVENT)
    sink.close()
    assert receiver.posts == []


def test_the_connection_goes_to_the_checked_address(receiver, monkeypatch):
    """The name is not resolved a second time: the connection goes where the check looked."""
    looked_up = []

    def resolve_once(host, port, *_args, **_options):
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve_once)
    sink = sink_for(receiver)
    sink.deliver(EVENT)
    sink.close()
    # The library looks up what it connects to: that is the address, and no name.
    assert looked_up == ["localhost", "127.0.0.1"]
    assert len(receiver.posts) == 1


def test_the_next_address_is_tried_where_one_does_not_answer(receiver, monkeypatch):
    """A host with an address that nobody answers is reached by its next one."""
    monkeypatch.setattr(webhook, "resolve", lambda _: ["127.0.0.2", "127.0.0.1"])
    sink = sink_for(receiver)
    sink.deliver(EVENT)
    sink.close()
    assert len(receiver.posts) == 1


def test_an_untrusted_receiver_gets_nothing(receiver):
    """A certificate of an authority that is not trusted ends the delivery before the body."""
    sink = sink_for(receiver, tls=ssl.create_default_context())
    with pytest.raises(DeliveryError, match="did not answer"):
        sink.deliver(EVENT)
    sink.close()
    assert receiver.posts == []


def test_a_certificate_of_another_name_gets_nothing(receiver):
    """The certificate must be the host's own: another name at the same address is refused."""
    sink = sink_for(
        receiver,
        url=f"https://127.0.0.1:{receiver.port}/",
        hosts=(f"127.0.0.1:{receiver.port}",),
    )
    with pytest.raises(DeliveryError, match="did not answer"):
        sink.deliver(EVENT)
    sink.close()
    assert receiver.posts == []


def test_nothing_is_sent_unsigned(receiver):
    """Without an outbox key a webhook fails."""
    sink = sink_for(receiver, signer=None)
    with pytest.raises(NoSigningKeyError):
        sink.deliver(EVENT)
    sink.close()
    assert receiver.posts == []


def test_proxies_of_the_environment_are_not_used(receiver, monkeypatch):
    """A proxy that the environment names is never asked."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    sink = sink_for(receiver)
    sink.deliver(EVENT)
    sink.close()
    assert len(receiver.posts) == 1


def test_cookies_are_not_kept(receiver, sink):
    """What a receiver sets does not come back to it."""
    receiver.answers.append((200, {"Set-Cookie": "a=b; Path=/"}))
    sink.deliver(EVENT)
    sink.deliver(EVENT)
    assert "Cookie" not in receiver.posts[1].headers
