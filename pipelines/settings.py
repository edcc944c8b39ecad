"""Settings: all that can be set, as one frozen object.

Only `load` reads them, where a home is opened: what its caller gives (the command line, say), the
environment (`HEADRACE_…`), `headrace.toml` in the home, the defaults below; the first that has a
value wins. Whoever is handed the object looks there no more. A process that we start is handed it
as an environment, and loads its own. `HEADRACE_DEBUG` and `HEADRACE_CRASH_AT` are no settings:
entry points read them.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from headrace.pipelines.errors import UsageError
from headrace.schemas import zones

DEFAULT_HOME = Path("headrace-data")
_FILE = "headrace.toml"
_ZONE = "business_zone"
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+:/")


def _seconds(value: object) -> object:
    """A plain number means seconds, also where it comes as text: from the environment."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _text(value: object) -> object:
    """A plain number as text: seconds, for a schedule."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _words(value: object) -> object:
    """A command line as text, split as a shell would."""
    return tuple(shlex.split(value)) if isinstance(value, str) else value


def _web(value: object) -> object:
    """An address that can be posted to. The message does not repeat it."""
    if isinstance(value, str) and not value.startswith(("http://", "https://")):
        raise ValueError("it must begin with http:// or https://")
    return value


Schedule = Annotated[str, BeforeValidator(_text)]
Duration = Annotated[timedelta, BeforeValidator(_seconds), Field(ge=timedelta(0))]


class Settings(BaseSettings):
    """All that can be set. Each field is also `HEADRACE_<NAME>` and a key of `headrace.toml`."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", frozen=True, extra="forbid")

    home: Path = DEFAULT_HOME
    partitions: int = Field(4, ge=1, le=1024, description="of a new home's log; fixed from then on")
    business_zone: str = Field(
        zones.DEFAULT, description="in which built-in views count days; one for all, in the home"
    )
    commit_events: int = Field(100_000, ge=1, description="events a commit of the speed layer")
    replay_events: int = Field(1_000_000, ge=1, description="events a commit while replaying")
    append_events: int = Field(50_000, ge=1, description="events a durable append")
    max_event_bytes: int = Field(1 << 20, ge=1024, description="a longer event is quarantined")
    reject_limit: float = Field(
        0.5, ge=0, le=1, description="share of bad lines at the start above which nothing is taken"
    )
    poll: Duration = Field(timedelta(seconds=0.2), description="pause at the end of the log")
    lock_wait: Duration = Field(timedelta(seconds=30), description="wait for another writer")
    keep_snapshots: Duration = Field(timedelta(hours=1), description="how long readers may lag")
    keep_generations: int = Field(3, ge=1, description="ready generations kept for rollback")
    catalog: str | None = Field(
        None, description="postgresql://USER@HOST/DATABASE of a new home; default: a file in it"
    )
    catalog_password: SecretStr | None = None
    threads: int | None = Field(None, ge=1, description="of DuckDB; default: all cores")
    memory_limit: str | None = Field(None, description="of DuckDB, as '4GB'; default: 80 %")
    log: str | None = Field(None, description="kafka://host:port/topic; default: the home's own")
    kafka_timeout: Duration = Field(timedelta(seconds=30), description="for Kafka to answer")
    kafka_from_earliest: bool = Field(
        default=False, description="take a topic whose beginning expired"
    )
    kafka_group: str | None = Field(
        None, description="group that shows our lag; default: headrace-HOME-ID, '' for none"
    )
    kafka_replication: int = Field(1, ge=1, description="copies of a topic that we make")
    kafka_min_insync: int = Field(1, ge=1, description="of them, written before we acknowledge")
    workers: int = Field(1, ge=1, description="processes of the speed layer over a topic")
    kafka_security_protocol: str = Field(
        "PLAINTEXT", pattern="^(PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)$"
    )
    kafka_sasl_mechanism: str | None = Field(None, pattern="^(PLAIN|SCRAM-SHA-(256|512))$")
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_cafile: Path | None = None
    kafka_ssl_certfile: Path | None = None
    kafka_ssl_keyfile: Path | None = None
    kafka_ssl_password: SecretStr | None = None
    spark_master: str = "local[*]"
    spark_memory: str = "2g"
    spark_python: str | None = Field(None, description="Python of the executors; default: ours")
    spark_packages: str = Field(
        "org.apache.spark:spark-sql-kafka-0-10_2.13:4.3.0", description="Spark's Kafka source"
    )
    spark_jars: Path | None = Field(None, description="a folder with its jars instead")
    audit: str | None = Field(
        None,
        pattern="^(full|core)$",
        description="of a base; full needs Great Expectations; default: full where it can run",
    )
    alert_command: Annotated[tuple[str, ...], BeforeValidator(_words)] | None = Field(
        None, description="gets each alert as JSON on its standard input"
    )
    alert_webhook: Annotated[SecretStr, BeforeValidator(_web)] | None = Field(
        None, description="gets each alert as JSON by POST"
    )
    lag_limit: Duration | None = Field(
        None, description="an alert when an event waits longer for the views"
    )
    quarantine_limit: int | None = Field(
        None, ge=0, description="an alert when more are quarantined within an hour"
    )
    quarantine_age: Duration | None = Field(
        None, description="an alert when an entry is open for longer"
    )
    schedule_batch: Schedule = Field(
        "0 * * * *", description="of the flow `batch`; cron or seconds"
    )
    schedule_quality: Schedule = Field("20 * * * *", description="of the flow `quality`")
    schedule_maintenance: Schedule = Field("40 * * * *", description="of the flow `maintenance`")
    schedule_ingest: Schedule = Field("300", description="of the flow `ingest`")
    flow_engine: str = Field(
        "spark", pattern="^(spark|duckdb)$", description="that makes the base in the flow `batch`"
    )
    flow_wait: Duration = Field(
        timedelta(minutes=1), description="a flow's wait for another one on the same lake"
    )
    ingest_folder: Path | None = Field(None, description="where the flow `ingest` looks for files")
    ingest_format: str = Field(
        "cloudevents", pattern="^(cloudevents|uci-online-retail|csv)$", description="of its files"
    )
    ingest_mapping: Path | None = Field(None, description="of the columns, for `csv`")
    ingest_settle: Duration = Field(
        timedelta(seconds=1), description="a file that changed more recently is looked at twice"
    )
    log_level: str = Field("warning", pattern="^(debug|info|warning|error)$")
    log_format: str = Field("console", pattern="^(console|json)$")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` hands in: the environment is read there, once."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def load(
    home: Path | None = None, *, environ: Mapping[str, str] | None = None, **given: Any
) -> Settings:
    """Build the settings.

    Args:
        home: the home directory, if the caller named one.
        environ: the environment to read; the process's own by default.
        given: values that win over file and environment; None counts as not given.

    Raises:
        UsageError: a value is out of bounds, unknown, or the file is not TOML.
    """
    env = os.environ if environ is None else environ
    values: dict[str, Any] = {
        name: env[f"HEADRACE_{name.upper()}"]
        for name in Settings.model_fields
        if f"HEADRACE_{name.upper()}" in env
    }
    where = home or Path(values.get("home", DEFAULT_HOME))
    if _ADDRESS.match(str(where)):
        raise UsageError(
            f"the home {str(where)!r} is an address, not a directory; object storage is not "
            "supported: name a directory, on a shared file system if need be"
        )
    file = where / _FILE
    kept = _read(file)
    merged = {**kept, **values, **{k: v for k, v in given.items() if v is not None}}
    merged["home"] = where
    if _ZONE in merged:
        _check_zone(where, kept.get(_ZONE), merged[_ZONE])
    try:
        return Settings(**merged)
    except ValidationError as e:
        first = e.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        hidden = (
            first["type"] == "extra_forbidden" or "password" in name or "alert" in name
        )  # a misspelt secret, too
        shown = "wrong" if hidden else repr(first.get("input"))
        raise UsageError(
            f"setting {name!r} is {shown}: {first['msg'].lower()}; "
            f"correct it in {file}, HEADRACE_{name.upper()} or on the command line"
        ) from e


def business_zone(home: Path) -> str:
    """The zone of a home's days, as its file has it now: the same for all who ask, at any time.

    Raises:
        UsageError: there is no such zone, or the file is not TOML.
    """
    kept = _read(home / _FILE).get(_ZONE)
    _check_zone(home, kept, kept or zones.DEFAULT)
    return str(kept or zones.DEFAULT)


def _check_zone(home: Path, kept: object, wanted: object) -> None:
    """Refuse a zone that there is not, and another one than the home has: all must see the same."""
    file = home / _FILE
    try:
        zones.check(str(wanted))
    except zones.UnknownZoneError as e:
        raise UsageError(f"setting {_ZONE!r} is {wanted!r}, which {e}; correct it in {file}") from e
    has = zones.DEFAULT if kept is None else kept
    if wanted != has and (kept is not None or (home / "home.json").is_file()):
        raise UsageError(
            f"the home {home} has the {_ZONE} {has}, and not {wanted}: it is a setting of the "
            f'home, the same for all. To change it, write {_ZONE} = "{wanted}" into {file}; '
            "`headrace batch`, or `headrace replay` and `promote`, then make it live"
        )


def keep_zone(home: Path, zone: str) -> None:
    """Write the zone of a new home into its file, if it is not there yet; synced."""
    file = home / _FILE
    if zone == zones.DEFAULT or _ZONE in _read(file):
        return
    # At the top: what stands below a table's head belongs to that table.
    rest = file.read_text(encoding="utf-8") if file.is_file() else ""
    fresh = file.with_name(f"{_FILE}.new")
    with fresh.open("w", encoding="utf-8") as f:
        f.write(f'{_ZONE} = "{zone}"\n{rest}')
        f.flush()
        os.fsync(f.fileno())
    fresh.replace(file)


def _read(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise UsageError(f"{file} is not TOML: {e}; correct it or move it away") from e


def as_environment(settings: Settings) -> dict[str, str]:
    """Settings as an environment, so that a process has those of the command line. No secrets."""
    found = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, timedelta):
            value = value.total_seconds()
        elif isinstance(value, tuple):
            value = shlex.join(value)
        # The zone is the home's: whoever works on it looks there.
        if value is not None and not isinstance(value, SecretStr) and name != _ZONE:
            found[f"HEADRACE_{name.upper()}"] = str(value)
    return found
