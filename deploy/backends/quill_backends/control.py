"""Starting and stopping the servers, together or one by one; what tests and the local stack call."""

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal
from urllib.parse import quote

from . import packages
from .errors import BackendsError
from .javaserver import EHRBASE_USERNAME, Ehrbase, Hapi
from .places import Places
from .ports import HOST, PREFERRED
from .postgres import SUPERUSER, Postgres
from .processes import boot
from .rabbitmq import USERNAME, RabbitMQ
from .server import Server, Setting
from .state import FILE, State, exclusive

HapiDatabase = Literal["h2", "postgresql"]

_KINDS: Final[tuple[type[Server], ...]] = (Postgres, RabbitMQ, Ehrbase, Hapi)
SERVERS: Final = tuple(kind.name for kind in _KINDS)
"""The names of the servers, in the order in which they start."""

_TELLS_EVERY: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """Where the real servers are. The addresses stay the same from one start to the next.

    Args:
        directory: data, logs and the state file.
        fhir_url: HAPI's FHIR base URL.
        openehr_url: EHRbase's openEHR REST base URL.
        openehr_username: an ordinary user of EHRbase.
        openehr_password: that user's.
        rabbitmq_url: the AMQP URL with its credentials.
        postgres_url: the superuser's URL of PostgreSQL's own database.
        hapi_database: what HAPI keeps its resources in.
        versions: of the servers that were ever started, by name.
        pids: of the servers that run now, by name.
    """

    directory: Path
    fhir_url: str
    openehr_url: str
    openehr_username: str
    openehr_password: str = field(repr=False)
    rabbitmq_url: str = field(repr=False)
    postgres_url: str = field(repr=False)
    hapi_database: str
    versions: Mapping[str, str]
    pids: Mapping[str, int]


def load(environ: Mapping[str, str] | None = None) -> Backends | None:
    """Return the servers that run, or None if none does. Changes nothing and asks none of them.

    Args:
        environ: where `QUILL_BACKENDS_DIR` is looked up; by default this process's environment.

    Raises:
        BackendsError: the state file cannot be read.
    """
    places = Places.read(_environ(environ))
    state = State.read(places.running)
    if state is None or not set(PREFERRED) <= set(state.ports):
        return None
    backends = _described(places, state)
    return backends if backends.pids else None


def ensure(
    only: Collection[str] = SERVERS,
    *,
    hapi_database: HapiDatabase | None = None,
    say: Callable[[str], None] = lambda text: None,
    environ: Mapping[str, str] | None = None,
) -> Backends:
    """Install, start and await what does not run yet of `only` and of what those need.

    Args:
        only: names out of `SERVERS`.
        hapi_database: what HAPI is to run on; one that runs on the other is started anew. By default, what it
            ran on last, at first PostgreSQL.
        say: told about the progress, a line at a time.
        environ: the environment; by default this process's.

    Raises:
        BackendsError: something is missing or does not start. What started before stays.

    Example:
        >>> backends = ensure(["hapi"], hapi_database="h2")  # doctest: +SKIP
        >>> backends.fhir_url
        'http://127.0.0.1:18081/fhir'
    """
    with _setting(environ, say) as setting:
        servers = _servers(setting)
        chosen = {name: _named(servers, name) for name in only}
        if "hapi" in chosen and hapi_database not in (None, setting.state.hapi_database):
            _stop(servers["hapi"])
            setting.state.hapi_database = str(hapi_database)
        for server in list(chosen.values()):
            chosen.update((name, servers[name]) for name in server.needs())
        wanted = [servers[name] for name in SERVERS if name in chosen and servers[name].process is None]
        if wanted:
            _install(wanted, setting)
            _start(wanted, setting)
        # Those that run were perhaps started a moment ago by somebody who did not wait.
        _await([servers[name] for name in SERVERS if name in chosen and servers[name] not in wanted], setting)
        return _described(setting.places, setting.state)


def start(name: str, environ: Mapping[str, str] | None = None) -> Backends:
    """Start one server, and await it; one that runs is left alone.

    Raises:
        BackendsError: it does not start, or is not installed.
    """
    return ensure([name], environ=environ)


def stop(
    only: Collection[str] = SERVERS,
    *,
    say: Callable[[str], None] = lambda text: None,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Stop servers in order, and await their end; what does not run is passed over.

    Raises:
        BackendsError: one of them does not end.
    """
    if _read(environ)[1] is None:
        return
    with _setting(environ, say) as setting:
        servers = _servers(setting)
        for name in only:
            _named(servers, name)
        for name in reversed(SERVERS):
            if name in only:
                was_running = servers[name].process is not None
                _stop(servers[name])
                if was_running:
                    say(f"{servers[name].title} stopped")


def kill(name: str, environ: Mapping[str, str] | None = None) -> None:
    """End one server as a crash would, with SIGKILL; for tests of what happens then.

    Raises:
        BackendsError: there is no server of that name.
    """
    with _setting(environ, lambda text: None) as setting:
        _named(_servers(setting), name).kill()


def inspect(environ: Mapping[str, str] | None = None) -> tuple[Places, State | None, list[Server]]:
    """Return the places, what is kept of the servers, and the servers; for the command `status`.

    Raises:
        BackendsError: the state file cannot be read.
    """
    places, state = _read(environ)
    if state is None:
        return places, None, []
    setting = Setting(places, state, _environ(environ), lambda text: None)
    return places, state, list(_servers(setting).values())


def _read(environ: Mapping[str, str] | None) -> tuple[Places, State | None]:
    places = Places.read(_environ(environ))
    return places, State.read(places.running)


def _environ(environ: Mapping[str, str] | None) -> Mapping[str, str]:
    return os.environ if environ is None else environ


@contextmanager
def _setting(environ: Mapping[str, str] | None, say: Callable[[str], None]) -> Iterator[Setting]:
    boot()
    places = Places.read(_environ(environ))
    places.make()
    with exclusive(places.running, say):
        state = State.read(places.running)
        if state is None:
            left = [name for name in SERVERS if (places.running / name).exists()]
            if left:
                raise BackendsError(
                    f"{places.running} holds data whose passwords are lost with its {FILE}: delete it."
                )
            state = State.fresh()
        setting = Setting(places, state, _environ(environ), say)
        setting.reservable(PREFERRED)
        setting.keep()
        try:
            yield setting
        finally:
            setting.keep()


def _servers(setting: Setting) -> dict[str, Server]:
    return {kind.name: kind(setting) for kind in _KINDS}


def _named(servers: Mapping[str, Server], name: str) -> Server:
    if name not in servers:
        raise BackendsError(f"There is no server called {name}; there are {', '.join(SERVERS)}.")
    return servers[name]


def _install(servers: Collection[Server], setting: Setting) -> None:
    missing = [package for server in servers for package in server.packages()]
    packages.install(missing, setting.say)
    for server in servers:
        server.fetch()


def _start(servers: Collection[Server], setting: Setting) -> None:
    # All at once, before any of them runs and is told the ports of the others.
    setting.assign_ports([name for server in servers for name in server.listens()])
    setting.keep()
    started: list[Server] = []
    for server in servers:
        # What it needs has to answer first; the others come up side by side.
        _await([other for other in started if other.name in server.needs()], setting)
        server.directories()
        server.start()
        setting.say(f"{server.title} {server.version()} is starting ...")
        started.append(server)
    _await(started, setting)


def _await(servers: Collection[Server], setting: Setting) -> None:
    begun = time.monotonic()
    failures: list[BackendsError] = []

    def watch(server: Server) -> None:
        try:
            _await_one(server, setting, begun)
        except BackendsError as error:
            failures.append(error)

    watchers = [threading.Thread(target=watch, args=(server,), daemon=True) for server in servers]
    for watcher in watchers:
        watcher.start()
    for watcher in watchers:
        watcher.join()
    if failures:
        raise failures[0]


def _await_one(server: Server, setting: Setting, begun: float) -> None:
    tell_at = _TELLS_EVERY
    waited = False
    while True:
        ran = server.process is not None
        if ran and server.answers():
            if waited:
                setting.say(f"{server.title} is ready after {time.monotonic() - begun:.1f} s")
            return
        waited = True
        elapsed = time.monotonic() - begun
        if not ran or elapsed > server.patience:
            fault = "ended while starting" if not ran else f"did not answer within {server.patience:.0f} s"
            if ran:
                server.stop()
            raise BackendsError(
                f"{server.title} {fault}; the end of its log, {server.log}:\n{server.log_end()}"
            )
        if elapsed >= tell_at:
            setting.say(f"{server.title} is starting ... {elapsed:.0f} s")
            tell_at += _TELLS_EVERY
        time.sleep(0.2)


def _stop(server: Server) -> None:
    if not server.stop():
        raise BackendsError(f"{server.title} does not stop; its log is {server.log}.")


def _described(places: Places, state: State) -> Backends:
    ports, credentials = state.ports, state.credentials
    running = {name: process.pid for name in SERVERS if (process := state.running(name))}
    return Backends(
        directory=places.running,
        fhir_url=f"http://{HOST}:{ports['hapi']}/fhir",
        openehr_url=f"http://{HOST}:{ports['ehrbase']}/ehrbase/rest/openehr/v1",
        openehr_username=EHRBASE_USERNAME,
        openehr_password=credentials["ehrbase"],
        rabbitmq_url=f"amqp://{USERNAME}:{quote(credentials['rabbitmq'])}@{HOST}:{ports['rabbitmq']}/",
        postgres_url=f"postgresql://{SUPERUSER}:{quote(credentials['postgres'])}@{HOST}:{ports['postgres']}/postgres",
        hapi_database=state.hapi_database,
        versions=MappingProxyType(dict(state.versions)),
        pids=MappingProxyType(running),
    )
