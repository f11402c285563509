"""Java applications from Maven artefacts whose every checksum is pinned.

An application is a Maven project of this repository: its `pom.xml` names what it wants, and beside it the
file `artefacts.sha256`, which `sha256sum --check` understands, names every file that it is made of. Maven
only fetches; nothing that was fetched is run or compiled against before its checksum was compared, which is
done at every start. `python -m quill_backends.relock` writes that file.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .errors import BackendsError

LOCK_NAME: Final = "artefacts.sha256"
_LINE: Final = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._+-]*\.jar)")
_COPY: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_ATTEMPTS: Final = 3
_TOLD_EVERY: Final = 40
# Code for this version runs on every Java that the servers run on.
_RELEASE: Final = 17


@dataclass(frozen=True, slots=True)
class Application:
    """A server made of Maven artefacts and a few classes of ours.

    Args:
        name: what it is called in the cache and on the terminal.
        project: its Maven project.
        main: the class with the entry point.
        artefact: the file whose version is the server's, without version and suffix.
    """

    name: str
    project: Path
    main: str
    artefact: str

    @property
    def lock(self) -> dict[str, str]:
        """The pinned checksums by file name.

        Raises:
            BackendsError: the file says something else.
        """
        return parse_lock((self.project / LOCK_NAME).read_text(), self.name)

    @property
    def version(self) -> str:
        """The version of the server that is pinned."""
        prefix = f"{self.artefact}-"
        return next(
            (file.removeprefix(prefix).removesuffix(".jar") for file in self.lock if file.startswith(prefix)),
            "unknown",
        )

    def libraries(self, downloads: Path) -> Path:
        """Where its artefacts are kept."""
        return downloads / f"{self.name}-{_digest((self.project / LOCK_NAME).read_bytes())}"

    def is_fetched(self, downloads: Path) -> bool:
        """Whether its artefacts are there, all of them and unchanged."""
        directory = self.libraries(downloads)
        return directory.is_dir() and not differences(directory, self.lock)

    def is_built(self, downloads: Path) -> bool:
        """Whether its own classes are there."""
        return self._classes(downloads).is_dir()

    def fetch(self, downloads: Path, say: Callable[[str], None]) -> None:
        """Has Maven fetch the artefacts into the cache and compares their checksums.

        Raises:
            BackendsError: Maven failed, or a checksum is not the pinned one.
        """
        directory, lock = self.libraries(downloads), self.lock
        say(f"{self.name}: fetching {len(lock)} artefacts ...")
        staging = Path(tempfile.mkdtemp(dir=downloads))
        try:
            copy_dependencies(self.project, staging, len(lock), lambda text: say(f"{self.name}: {text}"))
            if wrong := differences(staging / "lib", lock):
                raise BackendsError(
                    f"{self.name}: {len(wrong)} artefacts are not the pinned ones, among them {wrong[0]}; "
                    f"see {self.project / LOCK_NAME}."
                )
            # Another command may have been quicker, and a server may run from there already.
            if not self.is_fetched(downloads):
                shutil.rmtree(directory, ignore_errors=True)
                (staging / "lib").rename(directory)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def build(self, downloads: Path, compiler: Path) -> None:
        """Compiles the classes of ours into the cache.

        Raises:
            BackendsError: the compiler refused.
        """
        staging = Path(tempfile.mkdtemp(dir=downloads))
        try:
            sources = sorted((self.project / "src" / "main" / "java").rglob("*.java"))
            options: list[str | Path] = [
                "-proc:none",
                "-parameters",
                "-nowarn",
                "--release",
                str(_RELEASE),
                "-d",
                staging,
            ]
            classpath = ["-cp", f"{self.libraries(downloads)}/*"]
            done = subprocess.run(  # noqa: S603 - our own arguments
                [compiler, *options, *classpath, *sources], capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise BackendsError(f"{self.name} could not be compiled:\n{done.stderr.strip()[-2000:]}")
            resources = self.project / "src" / "main" / "resources"
            shutil.copytree(resources, staging, dirs_exist_ok=True)
            place = self._classes(downloads)
            if not place.exists():
                staging.rename(place)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def command(self, java: Path, downloads: Path, options: tuple[str, ...]) -> list[str]:
        """The command line that runs it."""
        classpath = f"{self._classes(downloads)}:{self.libraries(downloads)}/*"
        return [str(java), *options, "-cp", classpath, self.main]

    def _classes(self, downloads: Path) -> Path:
        files = sorted(file for file in (self.project / "src" / "main").rglob("*") if file.is_file())
        parts = [self.project / LOCK_NAME, *files]
        content = b"\0".join(
            part.read_bytes() + str(part.relative_to(self.project)).encode() for part in parts
        )
        return downloads / f"{self.name}-classes-{_digest(content)}"


def parse_lock(text: str, name: str) -> dict[str, str]:
    """Return the checksums in `text`, the contents of a file `artefacts.sha256`, by file name.

    Raises:
        BackendsError: a line is none of that form, or a file is named twice.
    """
    checksums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in checksums:
            raise BackendsError(
                f"Line {number} of {LOCK_NAME} of {name} is no checksum with a new file's name."
            )
        checksums[match[2]] = match[1]
    return checksums


def checksum(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def differences(directory: Path, lock: Mapping[str, str]) -> list[str]:
    """Return the names of the files in `directory` that are missing, changed or not in `lock`."""
    there = {entry.name for entry in directory.iterdir()}
    changed = {name for name in there & lock.keys() if checksum(directory / name) != lock[name]}
    return sorted(changed | (there ^ lock.keys()))


def copy_dependencies(project: Path, target: Path, expected: int, say: Callable[[str], None]) -> None:
    """Have Maven put the runtime dependencies of `project` into `target`/lib.

    Args:
        project: holds the `pom.xml`; nothing is written there.
        target: an empty directory.
        expected: how many files there will be, for the progress; 0 if that is not known.
        say: told how far it is.

    Raises:
        BackendsError: Maven is missing or failed.
    """
    maven = shutil.which("mvn")
    if maven is None:
        raise BackendsError("Maven is needed and was not found on PATH: install the package maven.")
    shutil.copy(project / "pom.xml", target / "pom.xml")
    options = ["-DincludeScope=runtime", "-Dmdep.prependGroupId=true", f"-DoutputDirectory={target / 'lib'}"]
    command: list[str | Path] = [
        maven,
        "-B",
        "-Dmaven.artifact.threads=10",
        "-f",
        target / "pom.xml",
        _COPY,
        *options,
    ]
    last, errors = "", list[str]()
    for _ in range(_ATTEMPTS):
        last, errors, fetched = "", [], 0
        with subprocess.Popen(  # noqa: S603 - our own arguments
            command,
            cwd=target,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            for line in process.stdout or ():
                last = line.strip() or last
                if line.startswith("[ERROR] "):
                    errors.append(line.removeprefix("[ERROR] ").strip())
                if "Downloaded from" in line and line.rstrip().partition(" (")[0].endswith(".jar"):
                    fetched += 1
                    if fetched % _TOLD_EVERY == 0:
                        say(
                            f"{min(fetched, expected)} of {expected} downloaded"
                            if expected
                            else f"{fetched} downloaded"
                        )
        if process.returncode == 0:
            return
    reason = next(filter(None, errors), last) or "it said nothing"
    raise BackendsError(f"Maven could not fetch the artefacts: {reason}")


def write_lock(project: Path, directory: Path) -> int:
    """Pin the files in `directory` in the project's `artefacts.sha256`; return how many there are."""
    lines = [f"{checksum(file)}  {file.name}\n" for file in sorted(directory.iterdir())]
    replacement = project / f"{LOCK_NAME}.{os.getpid()}.new"
    replacement.write_text("".join(lines))
    replacement.rename(project / LOCK_NAME)
    return len(lines)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
