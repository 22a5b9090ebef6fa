"""
Every domain tag of the log: no two kinds of bytes that are hashed or signed can be mistaken.

Follows common.md, "Messages": a structure is its tag and canonical JSON, a raw construction
its tag and 0x00. The tag's last byte is the newline.
"""

from __future__ import annotations

from typing import Final

RESERVED_PREFIX: Final = b"tallystick/"
"""What pushed entries must not begin with, so that none passes for a record."""

RECORD_TAG: Final = b"tallystick/seal-record/v1\n"
"""Before the JSON of a record: leaf bytes of form `record`."""
ROW_KEY_TAG: Final = b"tallystick/seal-row-key/v1\n"
"""Before the JSON of a row that has no key but itself."""
SALTED_RECORD_TAG: Final = b"tallystick/seal-salted-record/v1\n"
"""Raw: before salt and record in the digest that a salted leaf is."""
FIELD_KEY_TAG: Final = b"tallystick/seal-field-key/v1\n"
"""Raw: before salt and column name in the key of one field."""
FIELD_TAG: Final = b"tallystick/seal-field/v1\n"
"""Raw: before key and value in the commitment to one field."""
DISCLOSURE_TAG: Final = b"tallystick/seal-disclosure/v1\n"
"""Before the JSON of what opens commitments; travels as a proof's extra data."""
OUTBOX_EVENT_TAG: Final = b"tallystick/outbox-event/v1\n"
"""Before the JSON of an event in what a webhook signs."""
INDEX_KEY_TAG: Final = b"tallystick/seal-index-key/v1\n"
"""Before the JSON of table and key in the hash that stands for them in a log's map."""
INDEX_ENTRY_TAG: Final = b"tallystick/seal-index-entry/v1\n"
"""Raw: before the link before and a leaf's index in the chain over a key's leaves."""
INDEX_BUCKET_TAG: Final = b"tallystick/seal-index-bucket/v1\n"
"""Raw: before the entries of one bucket in the leaf of the map's tree."""
HISTORY_TAG: Final = b"tallystick/seal-history/v1\n"
"""Before the JSON of a file that shows all versions of a key, or that there are none."""
HUMAN_PROOF_TAG: Final = b"tallystick/identity-human-proof/v1\n"
"""Before the JSON whose hash names a human proof (identity.md, section 5.1)."""
WALLET_NULLIFIER_TAG: Final = b"tallystick/identity-nullifier/v1\x00"
"""Raw, and written without the newline: before chain id and address in a wallet's nullifier."""
CHAIN_INTENT_TAG: Final = b"tallystick/chain-intent/v1\n"
"""Before the JSON of a transaction that is to be sent, whose hash tells intents apart."""
API_REQUEST_TAG: Final = b"tallystick/identity-request/v1\n"
"""Before the JSON of method, path and body's digest of a request to the API."""

TAGS: Final = (
    RECORD_TAG,
    ROW_KEY_TAG,
    SALTED_RECORD_TAG,
    FIELD_KEY_TAG,
    FIELD_TAG,
    DISCLOSURE_TAG,
    OUTBOX_EVENT_TAG,
    INDEX_KEY_TAG,
    INDEX_ENTRY_TAG,
    INDEX_BUCKET_TAG,
    HISTORY_TAG,
    HUMAN_PROOF_TAG,
    API_REQUEST_TAG,
    CHAIN_INTENT_TAG,
)
