"""Nothing runs whose checksum is not the pinned one."""

import hashlib
import shutil
from pathlib import Path

import pytest

from quill_backends.applications import EHRBASE, HAPI
from quill_backends.artefacts import (
    LOCK_NAME,
    Application,
    copy_dependencies,
    differences,
    parse_lock,
    write_lock,
)
from quill_backends.errors import BackendsError

CONTENT = {"a.b.one-1.0.jar": b"one", "a.b.two-2.0.jar": b"two"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    directory = tmp_path / "lib"
    directory.mkdir()
    for name, content in CONTENT.items():
        (directory / name).write_bytes(content)
    return directory


@pytest.fixture
def lock() -> dict[str, str]:
    return {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}


def test_the_right_files_do_not_differ(files: Path, lock: dict[str, str]) -> None:
    assert differences(files, lock) == []


def test_a_changed_a_missing_and_an_unknown_file_are_named(files: Path, lock: dict[str, str]) -> None:
    (files / "a.b.one-1.0.jar").write_bytes(b"One")
    assert differences(files, lock) == ["a.b.one-1.0.jar"]
    (files / "a.b.two-2.0.jar").unlink()
    (files / "three.jar").write_bytes(b"")
    assert differences(files, lock) == ["a.b.one-1.0.jar", "a.b.two-2.0.jar", "three.jar"]


def test_what_is_pinned_is_read_again(files: Path, lock: dict[str, str], tmp_path: Path) -> None:
    assert write_lock(tmp_path, files) == 2
    assert parse_lock((tmp_path / LOCK_NAME).read_text(), "x") == lock


@pytest.mark.parametrize(
    "line",
    [
        "",
        "0" * 63 + "  a.jar",
        "0" * 64 + " a.jar",
        "0" * 64 + "  ../a.jar",
        "0" * 64 + "  a.txt",
        "0" * 64 + "  twice.jar",
    ],
)
def test_a_lock_with_anything_else_is_refused(line: str) -> None:
    good = "0" * 64 + "  twice.jar\n"
    with pytest.raises(BackendsError, match=r"Line 2 of artefacts\.sha256"):
        parse_lock(good + line + "\n", "x")


def test_a_cache_that_was_tampered_with_counts_as_not_there(
    files: Path, lock: dict[str, str], tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    write_lock(project, files)
    application = Application(name="x", project=project, main="x.Main", artefact="a.b.one")
    assert application.version == "1.0"
    assert not application.is_fetched(tmp_path)
    shutil.copytree(files, application.libraries(tmp_path))
    assert application.is_fetched(tmp_path)
    (application.libraries(tmp_path) / "a.b.one-1.0.jar").write_bytes(b"other")
    assert not application.is_fetched(tmp_path)


def test_without_maven_there_is_one_clear_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        BackendsError, match=r"^Maven is needed and was not found on PATH: install the package"
    ):
        copy_dependencies(HAPI.project, tmp_path, 0, lambda text: None)


@pytest.mark.parametrize("application", [HAPI, EHRBASE], ids=lambda application: application.name)
def test_the_pinned_version_is_the_one_of_the_project(application: Application) -> None:
    assert len(application.lock) > 200
    assert f">{application.version}<" in (application.project / "pom.xml").read_text()


def test_ehrbase_tells_its_own_version() -> None:
    said = EHRBASE.project / "src" / "main" / "resources" / "META-INF" / "build-info.properties"
    assert f"build.version={EHRBASE.version}\n" in said.read_text()
