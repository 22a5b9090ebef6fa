"""
Settings: `TALLY_…` in the environment, or `tally.toml`; the environment wins.

A value that does not parse stops the start with its name: nothing falls back silently
(log.md, sections 6.4 and 7.18). Secrets are files, never settings.
"""

from __future__ import annotations

import os
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from tallystick.errors import Error, Kind

CONFIG_FILE = "tally.toml"
PREFIX = "TALLY_"
FOREIGN_VARIABLES = frozenset(
    {
        "TALLY_PAUSE_AT",
        "TALLY_PAUSE_FILE",
        "TALLY_PEER_PROGRAMS",
        "TALLY_POSTGRES_BIN",
        "TALLY_PUBLIC_VECTORS",
        "TALLY_TEST_POSTGRES_BIN",
    }
)
"""Variables of this prefix that other modules read; all others must be settings."""


class ConfigError(Error):
    """A setting has a value that does not parse, or a name that does not exist."""

    kind = Kind.INVALID


class FileSigner(BaseModel):
    """A key in a keystore file of version 3."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["file"]
    path: Path
    password_env: str = Field(min_length=1)
    """The environment variable that holds the file's password."""


class EnvSigner(BaseModel):
    """A key in the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["env"]
    key_env: str = Field(min_length=1)
    """The environment variable that holds the private key, 64 hex digits."""


class RemoteSigner(BaseModel):
    """A key that a service holds which speaks Web3Signer's eth1 API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["remote"]
    url: SecretStr
    """Where the service is; it may carry a password."""
    public_key: str = Field(pattern="^(0x)?[0-9a-fA-F]{128}$")
    """The key's public half, as the service lists it."""


class FixedPrice(BaseModel):
    """A price that stands still."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["fixed"]
    usd: Decimal = Field(gt=0, lt=10**12)
    """USD for one whole coin; written as text it is exact."""


class ChainlinkPrice(BaseModel):
    """A price that a feed of Chainlink holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["chainlink"]
    chain_id: int = Field(gt=0)
    """The network that the feed stands on, which need not be the coin's own."""
    feed: str
    """The feed's address."""


class HttpPrice(BaseModel):
    """A price that a service answers, one of those that are on the list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["http"]
    name: str
    """The service: coinbase, kraken or bitstamp."""


PriceSetting = Annotated[FixedPrice | ChainlinkPrice | HttpPrice, Field(discriminator="kind")]
SignerSetting = Annotated[FileSigner | EnvSigner | RemoteSigner, Field(discriminator="kind")]


class Settings(BaseSettings):
    """Everything that an operator can set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        toml_file=CONFIG_FILE,
        extra="forbid",
        frozen=True,
        # What does not parse may be an endpoint with its password.
        hide_input_in_errors=True,
    )

    database_url: str | None = Field(None, description="PostgreSQL; none: the embedded server.")
    read_database_url: str | None = Field(None, description="A replica that reads are served from.")
    cache_url: str | None = Field(
        None, description="Redis that reads may be answered from, at most 5 s old; none: none."
    )
    data_dir: Path = Field(
        Path("tally-data"), description="Where the embedded server and its keys live."
    )
    key_dir: Path | None = Field(None, description="Private keys; none: `keys` in data_dir.")
    host: str = Field("127.0.0.1", description="Address that the server listens on.")
    port: int = Field(7421, ge=0, le=65535, description="Port that the server listens on.")
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^/?#@\s]+$",
        description="Scheme and host that people reach the server at; none: host and port.",
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = Field(
        (), description="Networks of proxies whose X-Forwarded-For counts."
    )
    origin_prefix: str | None = Field(
        None, description="Origins are <prefix>/<log_name>; none: host and port, with /logs."
    )
    sequencers: int = Field(
        min(4, os.cpu_count() or 1), ge=1, le=64, description="Threads that seal."
    )
    pool_size: int = Field(10, ge=2, le=500, description="Database connections of one process.")
    tile_cache_mb: int = Field(64, ge=1, le=65536, description="Memory for tiles, in MB.")
    max_backlog: int = Field(
        100_000, ge=1, description="Rows waiting in a log from which on pushes are refused."
    )
    witness_name: str | None = Field(None, description="Key name of our own witness.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged."
    )
    wal_lag_limit_mb: int = Field(
        1024, ge=1, description="WAL that may wait to be read before it is warned of, in MB."
    )
    outbox_webhook_hosts: tuple[str, ...] = Field(
        (), description="Hosts that webhooks may be sent to."
    )
    outbox_retention_days: int = Field(
        7, ge=1, le=3650, description="Days that delivered events are kept."
    )

    identity_verifiers: tuple[str, ...] = Field(
        (), description="Verifiers of human proofs that count, by name; none: nobody can prove."
    )
    chain_endpoints: dict[int, tuple[SecretStr, ...]] = Field(
        {}, description="URLs of EVM nodes by chain id, the first preferred."
    )
    chain_prices: dict[str, PriceSetting] = Field(
        {}, description="Where prices come from, by symbol: kind fixed, chainlink or http."
    )
    chain_signers: dict[str, SignerSetting] = Field(
        {}, description="What signs for chain accounts, by name: kind file, env or remote."
    )
    dev_chain: bool | None = Field(
        None,
        description="Whether `tally up` runs the dev chain; none: with its own PostgreSQL, where"
        " an EVM is installed and no endpoint is named.",
    )

    @field_validator("origin_prefix")
    @classmethod
    def _prefix_is_a_note_name(cls, value: str | None) -> str | None:
        if value is not None and (not value or "+" in value or any(map(str.isspace, value))):
            raise ValueError("an origin has no white space and no +")
        return value

    @property
    def keys(self) -> Path:
        """The directory of private keys."""
        return self.key_dir or self.data_dir / "keys"

    @property
    def base_url(self) -> str:
        """Where people reach the server, without a path."""
        return self.public_url or f"http://{self.host}:{self.port}"

    @property
    def origins(self) -> str:
        """The prefix of the origins of new logs."""
        return self.origin_prefix or f"{self.host}:{self.port}/logs"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Options of the command line, then the environment, then `tally.toml`."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(**overrides: object) -> Settings:
    """
    Return the settings; an override that is None counts as not given.

    Raises:
        ConfigError: A value does not parse, or a name is unknown; every one is named.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    known = {PREFIX + name.upper() for name in Settings.model_fields} | FOREIGN_VARIABLES
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise ConfigError(f"there is no setting {', '.join(unknown)}")
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as raised:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in raised.errors()]
        raise ConfigError("; ".join(lines)) from raised
    except ValueError as raised:  # a tally.toml that is no TOML, or a list that is no JSON
        raise ConfigError(str(raised)) from raised
