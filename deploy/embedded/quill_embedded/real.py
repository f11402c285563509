"""Quill on the real servers: gateway, and each service as an API process and a worker process.

`make run BACKENDS=real`. HAPI FHIR, EHRbase, RabbitMQ and PostgreSQL are those of `quill_backends`; they are
started when they do not run, and stay when Quill stops.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import uvloop

from quill_auth.settings import AuthSettings
from quill_backends import Backends, BackendsError, ensure
from quill_backends.places import Places
from quill_gateway.settings import GatewaySettings
from quill_letters.settings import LettersSettings
from quill_messaging.settings import MessagingSettings
from quill_orgs.settings import OrgsSettings
from quill_patients.settings import PatientsSettings
from quill_shared.platform.settings import PlatformSettings

from .configuration import Configuration
from .console import Console
from .errors import StackError
from .health import healthy, ready
from .instance import only_instance
from .interrupts import finished, interrupts
from .keys import MAKERS, kept
from .migrate import migrate
from .ownership import claim, claimed
from .ports import HOST
from .processes import Part, Processes
from .provision import DatabaseUrls, Ownership, provision
from .seed import seeded
from .values import checked, common
from .welcome import welcome

__all__ = ["reset", "run", "usual_data_dir"]

_HEALTHY_WITHIN: Final = 90.0
_PATIENCE_AFTER_CRASH: Final = 5.0
_DRAINED_WITHIN: Final = 10.0
# HAPI and EHRbase hold up to 36 of the server's 100 connections; ten processes of ours at most 50.
_POOLS: Final[Mapping[str, Mapping[str, int]]] = {
    "api": {"database_pool_size": 3, "database_pool_overflow": 3},
    "worker": {"database_pool_size": 2, "database_pool_overflow": 2},
}


@dataclass(frozen=True, slots=True)
class _Service:
    name: str
    package: str
    settings: type[PlatformSettings]


_SERVICES: Final = (
    _Service("auth", "quill_auth", AuthSettings),
    _Service("patients", "quill_patients", PatientsSettings),
    _Service("letters", "quill_letters", LettersSettings),
    _Service("messaging", "quill_messaging", MessagingSettings),
    _Service("orgs", "quill_orgs", OrgsSettings),
)
_GATEWAY: Final = _Service("gateway", "quill_gateway", GatewaySettings)


def usual_data_dir(environ: Mapping[str, str]) -> Path:
    """Beside the servers' own data: what belongs together is found, and deleted, together.

    Raises:
        StackError: this user has no place for a cache.
    """
    try:
        return Places.read(environ).running / "quill"
    except BackendsError as error:
        raise StackError(str(error)) from None


def reset(configuration: Configuration) -> None:
    """Tells what to do for an empty Quill: its data cannot be taken out of servers that others use too.

    Raises:
        StackError: always, with that as its message, or because this stack runs.
    """
    if configuration.data_dir.is_dir():
        with only_instance(configuration):
            pass
    servers = Places.read(os.environ).running
    inside = configuration.data_dir.is_relative_to(servers)
    rest = "" if inside else f" and {configuration.data_dir}"
    raise StackError(
        "The data is on the real servers, and goes with them: `make backends-down`, then delete "
        f"{servers}{rest}."
    )


def run(configuration: Configuration, console: Console) -> None:
    """Runs Quill until SIGINT or SIGTERM, then stops it: gateway, APIs, workers. The servers stay.

    Raises:
        StackError: it cannot start.
    """
    try:
        Places.read(os.environ).make()
        with only_instance(configuration) as instance:
            patience = _PATIENCE_AFTER_CRASH if instance.followed_a_crash else 0.0
            configuration.ports.require_free(_parts(), patience=patience)
            backends = ensure(hapi_database="postgresql", say=lambda text: console.say(text, style="dim"))
            began = time.monotonic()
            keys, urls = _databases(configuration, backends)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_Stack(configuration, keys, urls, backends, console, began).run())
    except BackendsError as error:
        raise StackError(str(error)) from None


def _parts() -> tuple[str, ...]:
    return ("gateway", *(part for each in _SERVICES for part in (each.name, f"{each.name} worker")))


def _databases(
    configuration: Configuration, backends: Backends
) -> tuple[dict[str, str], dict[str, DatabaseUrls]]:
    """The secrets of this stack, and the addresses of its databases, made if need be."""
    url, marked = backends.postgres_url, _SERVICES[0].package
    keys = kept(configuration.keys_file, {}) or None
    try:
        made = asyncio.run(claimed(url, marked, configuration, keys))
        if not made:
            # Whatever it told of went with the databases.
            configuration.demo_file.unlink(missing_ok=True)
        keys = kept(configuration.keys_file, MAKERS)
        databases = {each.package: Ownership.SPLIT for each in _SERVICES}
        urls = provision(url, databases, secrets_file=configuration.roles_file)
        if not made:
            asyncio.run(claim(url, marked, configuration, keys))
    except (OSError, ValueError, asyncpg.PostgresError) as error:
        raise StackError(f"The databases could not be prepared: {error}.") from None
    return keys, urls


class _Stack:
    def __init__(
        self,
        configuration: Configuration,
        keys: Mapping[str, str],
        urls: Mapping[str, DatabaseUrls],
        backends: Backends,
        console: Console,
        began: float,
    ) -> None:
        self._configuration = configuration
        self._keys = keys
        self._urls = urls
        self._backends = backends
        self._console = console
        self._began = began
        self._stop = asyncio.Event()

    async def run(self) -> None:
        parts = self._planned()
        grace = float(parts[0].environment["QUILL_SHUTDOWN_GRACE_SECONDS"])
        processes = Processes(self._console, stop_within=grace + _DRAINED_WITHIN)
        with interrupts(self._stop):
            try:
                starting = asyncio.create_task(self._start(parts, processes))
                if await finished(starting, self._stop):
                    await self._stop.wait()
            finally:
                self._console.say("Stopping ...", style="dim")
                # Nobody asks any more when an API stops, and what it left to do its worker may still do.
                for these in (
                    ("gateway",),
                    [each.name for each in _SERVICES],
                    [f"{each.name} worker" for each in _SERVICES],
                ):
                    await processes.stop(these)
                processes.close()
        self._console.say("The servers go on running; `make backends-down` stops them.", style="dim")

    async def _start(self, parts: list[Part], processes: Processes) -> None:
        migrated = await migrate(_SERVICES, self._urls)
        if migrated:
            self._console.say(f"Databases migrated: {', '.join(migrated)}.", style="dim")
        self._console.say(f"Starting {len(parts)} processes ...", style="dim")
        within = _HEALTHY_WITHIN

        def complain() -> None:
            for name, how in processes.ended.items():
                raise StackError(f"{name} ended while starting, {how}")

        # The others let nobody in before they know from auth which sessions have ended.
        first, *others = parts
        processes.start(first)
        await ready(self._configuration, first.name, within=within, complain=complain)
        for part in others:
            processes.start(part)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(healthy(self._configuration, within=within, complain=complain))
                for part in others:
                    group.create_task(ready(self._configuration, part.name, within=within, complain=complain))
        except* StackError as failures:
            raise failures.exceptions[0] from None
        seconds = time.monotonic() - self._began
        await seeded(self._configuration, self._keys, self._console)
        welcome(
            self._configuration,
            self._keys,
            self._console,
            seconds=seconds,
            servers={
                "FHIR": self._backends.fhir_url,
                "openEHR": self._backends.openehr_url,
            },
            ending="Ctrl-C stops Quill; the servers go on running until `make backends-down`.",
        )

    def _planned(self) -> list[Part]:
        return [
            *(self._part(each, role) for role in ("api", "worker") for each in _SERVICES),
            self._part(_GATEWAY, "api"),
        ]

    def _part(self, service: _Service, role: str) -> Part:
        configuration, backends = self._configuration, self._backends
        name = f"{service.name} worker" if role == "worker" else service.name
        port = configuration.ports.of(name)
        given: dict[str, Any] = {
            **common(configuration, self._keys, _POOLS[role]),
            "port": port,
            "fhir_url": backends.fhir_url,
            "openehr_url": backends.openehr_url,
            "openehr_username": backends.openehr_username,
            "openehr_password": backends.openehr_password,
            "rabbitmq_url": backends.rabbitmq_url,
        }
        if service is not _GATEWAY:
            given["database_url"] = self._urls[service.package].app
        # A process is given what it asks for, and no other's secrets.
        own = {key: value for key, value in given.items() if key in service.settings.model_fields}
        settings = checked(service.name, service.settings, own)
        own["shutdown_grace_seconds"] = settings.shutdown_grace_seconds
        environment = {**os.environ, **{f"QUILL_{key.upper()}": str(value) for key, value in own.items()}}
        command = ["quill_shared.platform.serve", f"{service.package}.main"]
        log = configuration.log_file.with_name(f"{name.replace(' ', '-')}.log")
        return Part(
            name=name,
            command=[*command, "--role", role, "--host", HOST, "--port", str(port)],
            environment=environment,
            log=None if configuration.shows_logs else log,
        )
