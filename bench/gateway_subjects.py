"""The processes of the gateway benchmark: what is measured, and what stands around it."""

import asyncio
import json
import secrets
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

__all__ = ["Credentials", "Subject", "missing_programs", "standing"]

PEERS = Path(__file__).parent / "peers"
ROOT = Path(__file__).parent.parent
PATH = "/api/patients/7f3e2a10-0000-4000-8000-000000000001/demographics"

_ORIGIN = """
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            default_type application/json;
            return 200 "{body}";
        }}
    }}
"""
_PASS_THROUGH = """
    upstream origin {{
        server 127.0.0.1:{origin_port};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
"""


_TITLES = {
    "origin": "origin alone",
    "gateway": "gateway",
    "haproxy": "HAProxy, RS256",
    "nginx": "nginx, no checks",
    "fastapi": "FastAPI + httpx",
}


def missing_programs() -> list[str]:
    """The programs that the benchmark needs and the machine lacks."""
    return [name for name in ("wrk", "nginx", "haproxy", "taskset") if shutil.which(name) is None]


@dataclass(frozen=True)
class Credentials:
    """A key and a token that every subject accepts."""

    token: str
    public_key: Path
    key_set: Path

    @classmethod
    def made_in(cls, directory: Path) -> "Credentials":
        """New ones, with the public half written to files."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = key.public_key()
        issued = time.time()
        claims = {
            "iss": "quill",
            "aud": "quill-api",
            "sub": "7",
            "sid": secrets.token_hex(16),
            "jti": secrets.token_hex(8),
            "iat": issued,
            "exp": int(issued) + 900,
            "typ": "access",
            "username": "a.nurse",
            "roles": ["Clinician"],
            "perm": "staff",
            "cbac": {"bp": "registered_nurse", "add": [], "rem": []},
            "ver": 1,
        }
        token = jwt.encode(claims, key, algorithm="RS256", headers={"kid": "bench"})
        pem, jwks = directory / "public.pem", directory / "jwks.json"
        pem.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        member = {**RSAAlgorithm.to_jwk(public, as_dict=True), "kid": "bench", "use": "sig", "alg": "RS256"}
        jwks.write_text(json.dumps({"keys": [member]}))
        return cls(token, pem, jwks)


@dataclass(frozen=True)
class Subject:
    """Something with an address that load is put on, and the process that answers there."""

    name: str
    url: str
    pid: int

    def processor_seconds(self) -> float:
        """Time on the processor so far, of the process, its threads and its children."""
        return sum(_nanoseconds(pid) for pid in _family(self.pid)) / 1e9


@asynccontextmanager
async def standing(
    directory: Path, credentials: Credentials, *, subject_core: int, other_core: int
) -> AsyncIterator[list[Subject]]:
    """Everything running: origin and auth on `other_core`, the subjects on `subject_core`.

    The first subject is the origin itself, for what it costs to ask without anybody in between.
    """
    names = ("origin", "auth", "gateway", "haproxy", "nginx", "fastapi")
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    origin, auth = (f"http://127.0.0.1:{ports[name]}" for name in ("origin", "auth"))
    commands: dict[str, tuple[int, Sequence[str]]] = {
        "origin": (
            other_core,
            _nginx(directory, "origin", _ORIGIN.format(port=ports["origin"], body="x" * 1024)),
        ),
        "auth": (
            other_core,
            _python("bench.gateway_auth", port=ports["auth"], key_set=credentials.key_set),
        ),
        "gateway": (
            subject_core,
            _python("bench.gateway_target", port=ports["gateway"], origin=origin, auth=auth),
        ),
        "haproxy": (subject_core, _haproxy(directory, ports["haproxy"], ports["origin"], credentials)),
        "nginx": (
            subject_core,
            _nginx(
                directory,
                "pass",
                _PASS_THROUGH.format(port=ports["nginx"], origin_port=ports["origin"]),
            ),
        ),
        "fastapi": (
            subject_core,
            _python(
                "bench.peers.fastapi_httpx",
                port=ports["fastapi"],
                origin=origin,
                public_key=credentials.public_key,
            ),
        ),
    }
    async with AsyncExitStack() as stack:
        pids = {}
        for name, (core, command) in commands.items():
            pids[name] = await stack.enter_async_context(_running(name, command, core, directory))
            await _listening(ports[name])
        yield [
            Subject(title, f"http://127.0.0.1:{ports[name]}{PATH}", pids[name])
            for name, title in _TITLES.items()
        ]


def _family(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for each in tasks for child in each.read_text().split()]
    return [pid, *(member for child in children for member in _family(child))]


def _nanoseconds(pid: int) -> int:
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in tasks)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _python(module: str, **options: object) -> list[str]:
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    return [sys.executable, "-m", module, *arguments]


def _nginx(directory: Path, name: str, server: str) -> list[str]:
    config = directory / f"{name}.conf"
    template = (PEERS / "nginx.conf").read_text()
    config.write_text(template.format(directory=directory, name=name, server=server))
    return ["nginx", "-c", str(config), "-e", str(directory / f"{name}.log")]


def _haproxy(directory: Path, port: int, origin_port: int, credentials: Credentials) -> list[str]:
    config = directory / "haproxy.cfg"
    template = (PEERS / "haproxy.cfg").read_text()
    config.write_text(
        template.format(
            directory=directory, port=port, origin_port=origin_port, public_key=credentials.public_key
        )
    )
    return ["haproxy", "-f", str(config)]


@asynccontextmanager
async def _running(name: str, command: Sequence[str], core: int, directory: Path) -> AsyncIterator[int]:
    with (directory / f"{name}.out").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "taskset", "--cpu-list", str(core), *command, stdout=log, stderr=log, cwd=ROOT
        )
    try:
        yield process.pid
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(5):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def _listening(port: int) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return
