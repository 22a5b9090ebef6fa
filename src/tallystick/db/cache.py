"""
An optional cache of reads in Redis, that changes no answer but by five seconds.

A value carries the generation of its subject, which each write to the subject replaces after
its commit, by a random one: a value of another generation is a miss, and no generation ever
comes back. A value also says when it was read, so that one that outlived its five seconds, by
whatever fault, is a miss too. Redis down, slow or flushed costs time only. What decides never
asks here. Follows identity.md, section 4.6.

A Redis database serves one Tallystick: subjects carry no name of the database.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from tallystick import metrics
from tallystick.db.errors import CacheUnavailableError

if TYPE_CHECKING:
    from redis import Redis

MAX_AGE_SECONDS: Final = 5.0
"""No answer is older, whatever happens to Redis or to who should have told it of a write."""
TIMEOUT_SECONDS: Final = 0.02
"""A cache that takes longer than the read that it spares is none."""
REST_SECONDS: Final = 5.0
"""After an error nobody asks for so long: then no value from before it is young enough."""
GENERATION_SECONDS: Final = 3600
"""A subject that nobody wrote to for so long begins anew."""
GENERATION_BYTES: Final = 16
MAX_VALUE_BYTES: Final = 256_000
"""A longer value keeps the connection from the next for longer than the read would."""
READ_AT: Final = struct.Struct(">d")
FUTURE_SECONDS: Final = 1.0
"""Clocks of hosts differ; a value from further ahead than this has no known age."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a value of one subject may be kept, as of before it was read."""

    key: str
    generation: bytes
    read_at: float


class Cache:
    """
    A cache of values by subject; every method returns at once where Redis does not answer.

    Raises:
        CacheUnavailableError: The extra `redis` is not installed, or *url* is none of its own.
    """

    def __init__(self, url: str) -> None:
        self._redis, self._failures = connect_redis(url)
        self._rests_until = 0.0

    def look_up(self, subject: str, name: str) -> tuple[bytes | None, Slot | None]:
        """
        Return the value called *name* of *subject*, or None and where it may be kept.

        One round trip where there is a value; a subject that has no generation is given one.
        """
        key = value_key(subject, name)
        found = self._ask(lambda redis: redis.mget(generation_key(subject), key))
        if found is None:
            return None, None
        generation, kept = found
        now = time.time()
        if generation is None:
            generation = self._begin(subject)
            if generation is None:
                return None, None
        value = open_value(kept, generation, now)
        metrics.CACHE_READS.labels("miss" if value is None else "hit").inc()
        return value, Slot(key, generation, now)

    def keep(self, slot: Slot, value: bytes) -> None:
        """Keep *value*, which was read after *slot* was returned."""
        if len(value) > MAX_VALUE_BYTES:
            return
        kept = READ_AT.pack(slot.read_at) + slot.generation + value
        self._ask(lambda redis: redis.set(slot.key, kept, px=int(1000 * MAX_AGE_SECONDS)))

    def forget(self, subjects: Iterable[str]) -> None:
        """Make every value of each of *subjects* a miss."""
        fresh = {generation_key(subject): new_generation() for subject in subjects}
        if not fresh:
            return

        def replace(redis: Redis) -> object:
            pipeline = redis.pipeline(transaction=False)
            for key, generation in fresh.items():
                pipeline.set(key, generation, ex=GENERATION_SECONDS)
            return pipeline.execute()

        self._ask(replace, even_resting=True)

    def close(self) -> None:
        """Close every connection."""
        self._redis.close()

    def _begin(self, subject: str) -> bytes | None:
        """Give *subject* a generation; who comes second takes the first one's."""
        mine, key = new_generation(), generation_key(subject)
        answer = self._ask(lambda redis: redis.set(key, mine, nx=True, ex=GENERATION_SECONDS))
        return mine if answer else self._ask(lambda redis: redis.get(key))

    def _ask(self, question: Callable[[Redis], Any], *, even_resting: bool = False) -> Any:
        """Return the answer, or None where there is none."""
        if not even_resting and time.monotonic() < self._rests_until:
            return None
        try:
            return question(self._redis)
        except self._failures:
            metrics.CACHE_READS.labels("error").inc()
            self._rests_until = time.monotonic() + REST_SECONDS
            return None


def connect_redis(url: str) -> tuple[Redis, tuple[type[Exception], ...]]:
    """
    Return a client for *url* that waits 20 ms and tries nothing twice, and how its calls fail.

    It connects when it is first asked.

    Raises:
        CacheUnavailableError: The extra `redis` is not installed, or *url* is none of its own.
    """
    try:
        from redis import Redis, RedisError  # noqa: PLC0415 (an extra)
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415
    except ImportError as missing:
        raise CacheUnavailableError from missing
    try:
        client = Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            retry_on_error=[],
        )
    except ValueError:
        # Not chained: the cause quotes the URL, which may hold a password.
        raise CacheUnavailableError("the cache's URL is none of Redis's") from None
    return client, (RedisError, OSError)


def open_value(kept: bytes | None, generation: bytes, now: float) -> bytes | None:
    """Return the value in *kept*, or None where it is another generation's or too old."""
    start = READ_AT.size + GENERATION_BYTES
    if kept is None or len(kept) < start:
        return None
    (read_at,) = READ_AT.unpack_from(kept)
    if kept[READ_AT.size : start] != generation:
        return None
    return kept[start:] if -FUTURE_SECONDS < now - read_at < MAX_AGE_SECONDS else None


def value_key(subject: str, name: str) -> str:
    """Return the key of a value; what was asked for, a wallet perhaps, does not show in it."""
    return f"tally:v:{digest_of(subject)}:{digest_of(name)}"


def generation_key(subject: str) -> str:
    """Return the key of a subject's generation."""
    return f"tally:g:{digest_of(subject)}"


def digest_of(text: str) -> str:
    """Return what stands for *text*, of whatever length and content."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def new_generation() -> bytes:
    """Return a generation that there has never been."""
    return secrets.token_bytes(GENERATION_BYTES)


def encode_value(value: object) -> bytes:
    """Return *value*, a dataclass, list or plain value, as it is kept."""
    return msgspec.json.encode(value)


def decode_value(kept: bytes, kind: Any) -> Any:
    """Return the value of type *kind*, or None where *kept* is none: another program's, say."""
    try:
        return msgspec.json.decode(kept, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
