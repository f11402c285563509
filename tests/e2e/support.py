"""The whole stack as a process of its own, and people who use it as browsers do."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from quill_embedded.errors import StackError
from quill_embedded.ports import Ports

REAL = bool(os.environ.get("QUILL_TEST_REAL"))
"""Whether the shared stack is Quill on the real servers, which are started when they do not run."""

_STARTED_WITHIN = 240.0 if REAL else 45.0
_STOPPED_WITHIN = 20.0
_PARTS = (
    "gateway", "FHIR", "openEHR", "PostgreSQL", "auth", "patients", "letters", "messaging", "orgs",
    "auth worker", "patients worker", "letters worker", "messaging worker", "orgs worker",
)  # fmt: skip
# Where the real servers and their downloads are, and how they are started.
_INHERITED = frozenset({"QUILL_BACKENDS_DIR", "QUILL_BACKENDS_JAVA_OPTIONS"})


def free_ports() -> Ports:
    """Ports for one more stack, all free a moment ago."""
    while True:
        ports = Ports(20_000 + secrets.randbelow(40_000))
        try:
            ports.require_free(_PARTS)
        except StackError:
            continue
        return ports


@dataclass
class Stack:
    """A data directory and the process that serves it.

    Args:
        options: of the command.
        settings: more of its environment.
        printed: the file of its output; by default beside the data directory.
    """

    data_dir: Path
    ports: Ports = field(default_factory=free_ports)
    options: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    printed: Path | None = None
    pid: int = 0
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """The gateway."""
        return self.ports.url("gateway")

    @property
    def output(self) -> str:
        """What it has printed since its last start."""
        return self._output.read_text()

    @property
    def real(self) -> bool:
        """Whether it stands on the real servers."""
        return "real" in self.options

    @property
    def password(self) -> str:
        """The one of the demo accounts."""
        secrets_file: dict[str, str] = json.loads((self.data_dir / "secrets.json").read_text())
        return secrets_file["demo_password"]

    @property
    def _output(self) -> Path:
        return self.printed or self.data_dir.with_name(f"{self.data_dir.name}.output")

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of its process, and of a second one on the same data."""
        ours = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("QUILL_") or name in _INHERITED
        }
        given = {"QUILL_DATA_DIR": str(self.data_dir), "QUILL_PORT": str(self.ports.base)}
        return {**ours, **given, **self.settings, **more}

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs `python -m quill_embedded` beside it, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "quill_embedded", *arguments, *self.options],
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def quill(
        self, *arguments: str, text: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs the `quill` command against it, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "quill_cli", *arguments],
            env=self.environment(**environment),
            input=text,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    def start(self) -> float:
        """Starts it; answers the seconds until `/api/health` said healthy, and returns once it is seeded."""
        began = time.monotonic()
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        with self._output.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "quill_embedded", *self.options],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._process = process
        self.pid = process.pid
        healthy_after = 0.0
        while "Ctrl-C stops" not in self.output:
            assert process.poll() is None, self.output
            assert time.monotonic() - began < _STARTED_WITHIN, self.output
            if not healthy_after and self.healthy():
                healthy_after = time.monotonic() - began
            time.sleep(0.05)
        return healthy_after or time.monotonic() - began

    def healthy(self) -> bool:
        """Whether the gateway says that everything is there."""
        try:
            answer: dict[str, Any] = httpx.get(f"{self.url}/api/health", timeout=2).json()
        except httpx.TransportError:
            return False
        return bool(answer["status"] == "healthy")

    def becomes_healthy(self, *, within: float) -> bool:
        """Whether it is healthy at some time within the next seconds."""
        deadline = time.monotonic() + within
        while not self.healthy():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends it a signal and waits for its end; the exit code, negative for a signal.

        Of a stack that another worker of the test run started, only the end is known, not the code.
        """
        os.kill(self.pid, number)
        if self._process is not None:
            return self._process.wait(_STOPPED_WITHIN)
        deadline = time.monotonic() + _STOPPED_WITHIN
        while (self.data_dir / "lock").read_text():
            assert time.monotonic() < deadline, "the stack does not stop"
            time.sleep(0.05)
        return 0

    def kill(self) -> None:
        """Ends it for good, if it runs: `kill -9`."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def children(self) -> dict[str, int]:
        """The process ids of PostgreSQL and of the stand-ins, by name; of an embedded stack only."""
        listed = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.pid)], capture_output=True, text=True, check=False
        )
        found = {}
        for line in listed.stdout.splitlines():
            pid, _, command = line.strip().partition(" ")
            name = "stand-ins" if "quill_embedded.attended" in command else "PostgreSQL"
            found[name] = int(pid)
        return found

    def bearer(self, username: str, password: str = "") -> dict[str, str]:
        """The header of an API client signed in; without a password, as a demo account."""
        form = {"grant_type": "password", "username": username, "password": password or self.password}
        answer = httpx.post(f"{self.url}/api/auth/token", data=form)
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    @contextmanager
    def browser(self, username: str = "", password: str = "") -> Iterator["Browser"]:
        """Somebody's browser, signed in if a user name is given."""
        with httpx.Client(base_url=self.url, timeout=20) as client:
            browser = Browser(client)
            if username:
                answer = browser.post(
                    "/api/auth/login", {"username": username, "password": password or self.password}
                )
                assert answer.status_code == 200, answer.text
            yield browser


@dataclass
class Browser:
    """Cookies, and the CSRF token back in a header."""

    client: httpx.Client

    def get(self, path: str, **params: str) -> httpx.Response:
        """A page's read."""
        return self.client.get(path, params=params)

    def post(self, path: str, body: Any = None, *, method: str = "POST") -> httpx.Response:
        """A page's write."""
        token = self.client.cookies.get("XSRF-TOKEN")
        headers = {"X-CSRF-Token": token} if token else {}
        return self.client.request(method, path, json=body, headers=headers)

    def made(self, path: str, body: Any = None, *, method: str = "POST") -> Any:
        """The document of a write that has to succeed."""
        answer = self.post(path, body, method=method)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def pages(self, path: str, key: str, **params: str) -> Iterator[Any]:
        """Everything in a paged list."""
        cursor: str | None = ""
        while cursor is not None:
            answer = self.get(path, **params, **({"cursor": cursor} if cursor else {}))
            assert answer.status_code == 200, answer.text
            yield from answer.json()[key]
            cursor = answer.json()["next_cursor"]

    def all_patients(self) -> set[str]:
        """The ids of everybody there is, for administrators."""
        return {each["id"] for each in self.pages("/api/patients", "patients", scope="admin", limit="100")}

    def patients(self) -> set[str]:
        """The ids of everybody in the list of patients."""
        answer = self.get("/api/patients").json()
        assert answer["fhir_ready"] is True
        return {each["id"] for each in answer["patients"]}


def eventually(expected: Any, look: Any, *, within: float = 5.0) -> None:
    """Asserts that `look()` comes to be `expected`."""
    deadline = time.monotonic() + within
    while (seen := look()) != expected:
        assert time.monotonic() < deadline, f"{seen!r} is not {expected!r}"
        time.sleep(0.05)
