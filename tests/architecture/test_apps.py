"""Every application builds with nothing given and nothing connected, and starts with strong secrets only."""

import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from applications import APPLICATIONS
from pydantic import SecretStr, ValidationError

# Runs in a process of its own. Sockets and name look-ups are reported to an audit hook before they happen;
# the event loop's own pair of sockets would be too, so even a loop must not be made.
PROGRAM = """
import json, sys, time

touched = []
watched = ("socket.", "subprocess.", "os.exec", "os.posix_spawn", "urllib.")
sys.addaudithook(lambda event, _: touched.append(event) if event.startswith(watched) else None)
began = time.process_time()
import importlib
app = importlib.import_module(sys.argv[1]).app
document = app.openapi()
print(json.dumps({
    "seconds": time.process_time() - began,
    "touched": sorted(set(touched)),
    "paths": sorted(document["paths"]),
    "started": hasattr(app.state, "runtime"),
}))
"""
LONGEST_CPU_SECONDS = 5.0


@pytest.mark.parametrize("name", APPLICATIONS)
def test_an_application_builds_with_an_empty_environment_and_connects_to_nothing(
    name: str, tmp_path: Path
) -> None:
    package = APPLICATIONS[name].package
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, f"{package}.main"],
        env={},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "/health/live" in found["paths"]
    assert not found["started"]
    assert found["touched"] == []
    assert found["seconds"] < LONGEST_CPU_SECONDS
    assert list(tmp_path.iterdir()) == [], "building wrote a file"


@pytest.mark.parametrize("name", APPLICATIONS)
def test_starting_without_settings_names_what_is_missing_and_shows_no_value(
    name: str, tmp_path: Path
) -> None:
    definition = APPLICATIONS[name]
    program = (
        "import importlib, sys; importlib.import_module(sys.argv[1]).definition.settings(env='production')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, f"{definition.package}.bootstrap"],
        env={"QUILL_SERVICE_KEY": "too-short-to-be-a-key"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.returncode != 0
    assert "service_key" in done.stderr
    assert "too-short-to-be-a-key" not in done.stderr


def secret_fields(name: str) -> list[str]:
    """The settings of an application that must be strong secrets."""
    fields = APPLICATIONS[name].settings.model_fields.items()
    return [field for field, info in fields if info.annotation is SecretStr and info.is_required()]


def settings_of(name: str, **more: str) -> Any:
    """The settings of an application in production, every secret strong and different."""
    strong = {field: secrets.token_urlsafe(48) for field in secret_fields(name)}
    values: dict[str, Any] = {"env": "production", **strong, **more}
    return APPLICATIONS[name].settings(**values)


@pytest.mark.parametrize(
    ("name", "field"),
    [(name, field) for name in APPLICATIONS for field in secret_fields(name) if field != "database_url"],
)
@pytest.mark.parametrize(
    "weak",
    [
        "",
        "short",
        "kF3v9qLw2Zx7Rt5Yb8Nc1Mh4Jd6Gs0P",
        "a" * 64,
        "abcabcabc" * 8,
        "changeme-" + "0123456789abcdef" * 4,
    ],
)
def test_a_weak_secret_stops_the_start(name: str, field: str, weak: str) -> None:
    with pytest.raises(ValidationError, match=field) as refused:
        settings_of(name, **{field: weak})
    assert not weak or weak not in str(refused.value)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_one_secret_is_not_good_for_two_things(name: str) -> None:
    first, *others = [field for field in secret_fields(name) if field != "database_url"]
    shared = secrets.token_urlsafe(48)
    for other in others:
        with pytest.raises(ValidationError, match="must not be the same secret") as refused:
            settings_of(name, **{first: shared, other: shared})
        assert shared not in str(refused.value)


@pytest.mark.parametrize("name", APPLICATIONS)
def test_no_secret_shows_in_the_settings(name: str) -> None:
    shown = secrets.token_urlsafe(48)
    settings = settings_of(name, service_key=shown)
    assert shown not in repr(settings)
    assert shown not in str(settings.model_dump())
    assert shown not in settings.model_dump_json()
