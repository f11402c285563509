"""The compose file and what it mounts, checked without Docker.

Containers have limits (hazard 0045), nothing but Caddy is published (0043), no secret has a default (0040),
and every application's settings accept exactly what its container is given.
"""

import importlib
import json
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from quill_embedded.provision import (
    SERVER_STATEMENTS,
    Ownership,
    create_statement,
    grant_statements,
    owner_role,
    role_statements,
)

ROOT = Path(__file__).parents[2]
SERVE = ["python", "-m", "quill_shared.platform.serve"]
MIGRATE = ["python", "-m", "quill_shared.platform.migrations"]
# Read by the process around the application, or set by the image, rather than by its settings.
PROCESS = {"QUILL_HOST", "QUILL_PORT", "QUILL_ROLE"}
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<sign>:?[-?])?(?P<text>[^}]*)\}")
NOT_SECRET = {"QUILL_SITE_ADDRESS", "QUILL_CORS_ORIGINS", "QUILL_EHRBASE_NODE_NAME", "QUILL_LOG_LEVEL"}


@cache
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return document


SERVICES: dict[str, dict[str, Any]] = compose()["services"]
OURS = [name for name, service in SERVICES.items() if service.get("image", "").startswith("quill:")]
APPLICATIONS = [name for name in OURS if SERVICES[name]["command"][:3] == SERVE]
MIGRATIONS = [name for name in OURS if SERVICES[name]["command"][:3] == MIGRATE]


def texts(value: Any) -> Iterator[str]:
    """Every text in a part of the document."""
    if isinstance(value, dict):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, str):
        yield value


def example() -> dict[str, str]:
    """The variables of `.env.example`."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("=", 1) for line in lines if line and not line.startswith("#")]
    return dict(pairs)


def test_the_five_services_the_gateway_and_their_backends_are_there() -> None:
    names = ("auth", "patients", "letters", "messaging", "orgs")
    roles = {f"{name}-{role}" for name in names for role in ("api", "worker")}
    assert set(APPLICATIONS) == roles | {"gateway"}
    assert set(MIGRATIONS) == {f"{name}-migrate" for name in names}
    backends = {"caddy", "postgres", "rabbitmq", "hapi", "ehrbase", "ehrbase-postgres"}
    assert set(SERVICES) == {*APPLICATIONS, *MIGRATIONS, *backends}


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_limited_and_restarts(name: str) -> None:
    limits = SERVICES[name]["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) <= 2
    assert re.fullmatch(r"\d+[MG]", limits["memory"])
    assert SERVICES[name]["restart"] in {"unless-stopped", "on-failure"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_is_watched_or_waits_for_what_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service.get("healthcheck", {}).get("test") or service.get("depends_on")
    for needed, how in service.get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert SERVICES[needed]["healthcheck"]["test"]
        else:
            assert (needed in MIGRATIONS, how["condition"]) == (True, "service_completed_successfully")


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    assert image.startswith("quill:${QUILL_VERSION") or re.search(r":v?\d+\.\d+[\w.-]*$", image)


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_change_nothing_but_tmp(name: str) -> None:
    assert SERVICES[name]["read_only"] is True
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in SERVICES[name]["security_opt"]
    assert "volumes" not in SERVICES[name]


def test_only_caddy_is_published_and_on_loopback_only() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"caddy": ["127.0.0.1:8080:8080"]}
    assert not [name for name, service in SERVICES.items() if "network_mode" in service]


def test_backends_are_on_a_network_without_a_way_out() -> None:
    networks = compose()["networks"]
    assert networks["data"]["internal"] is networks["bus"]["internal"] is True
    for name in ("postgres", "hapi", "ehrbase", "ehrbase-postgres"):
        assert SERVICES[name]["networks"] == ["data"]
    assert SERVICES["rabbitmq"]["networks"] == ["bus"]
    assert "data" not in SERVICES["gateway"]["networks"]
    assert SERVICES["caddy"]["networks"] == ["edge"]
    assert [name for name in SERVICES if "edge" in SERVICES[name]["networks"]] == ["caddy", "gateway"]


def test_caddy_lets_nothing_but_the_api_through() -> None:
    text = (ROOT / "deploy/caddy/Caddyfile").read_text(encoding="utf-8")
    assert re.findall(r"handle (\S+) \{", text) == ["/api/*"]
    assert re.findall(r"reverse_proxy (\S+)", text) == ["gateway:8000"]


def test_no_secret_has_a_default_and_every_one_is_explained() -> None:
    used = {match["name"]: match for text in texts(compose()) for match in VARIABLE.finditer(text)}
    defaults = {name: match["text"] for name, match in used.items() if match["sign"] != ":?"}
    assert set(defaults) == {
        "QUILL_VERSION",
        "QUILL_SITE_ADDRESS",
        "QUILL_CORS_ORIGINS",
        "QUILL_LOG_LEVEL",
    }
    assert set(example()) == set(used) - {"QUILL_VERSION"}
    assert {name for name, value in example().items() if value} == NOT_SECRET
    for service in SERVICES.values():
        for variable, value in (service.get("environment") or {}).items():
            # Without a value, Compose hands on what its own environment holds.
            if value is not None and re.search(r"PASS|KEY|SECRET|TOKEN|PEPPER", variable):
                assert VARIABLE.search(value), f"{variable} is written down"


@pytest.mark.parametrize("name", OURS)
def test_a_command_names_modules_that_exist(name: str) -> None:
    _, _, runner, module, *rest = SERVICES[name]["command"]
    assert find_spec(runner) is not None
    assert find_spec(module) is not None
    assert rest in ([], ["--role", "api"], ["--role", "worker"])


@pytest.mark.parametrize("name", APPLICATIONS)
def test_the_settings_of_an_application_accept_its_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = SERVICES[name]["command"][3].removesuffix(".main")
    settings = importlib.import_module(f"{package}.bootstrap").definition.settings
    known = {f"QUILL_{field.upper()}" for field in settings.model_fields}
    given = {k: v for k, v in SERVICES[name]["environment"].items() if v is not None}
    assert set(SERVICES[name]["environment"]) - PROCESS - known == set(), "nobody reads these"
    values = {variable: value or secrets.token_hex(32) for variable, value in example().items()}
    for variable in [key for key in os.environ if key.startswith("QUILL_")]:
        monkeypatch.delenv(variable)
    for variable, value in given.items():
        monkeypatch.setenv(variable, VARIABLE.sub(lambda match: values[match["name"]], value))
    assert not settings().development


@pytest.mark.parametrize("name", MIGRATIONS)
def test_only_the_migrations_know_the_owner_of_a_database(name: str) -> None:
    package = SERVICES[name]["command"][3]
    url = SERVICES[name]["environment"]["QUILL_MIGRATION_DATABASE_URL"]
    assert url.startswith(f"postgresql+asyncpg://{owner_role(package)}:")
    assert url.endswith(f"@postgres/{package}")
    for role in ("api", "worker"):
        application = SERVICES[name.replace("migrate", role)]
        assert "OWNER" not in str(application["environment"])
        assert application["environment"]["QUILL_DATABASE_URL"].startswith(f"postgresql+asyncpg://{package}:")
        assert name in application["depends_on"]


def normalised(statements: list[str]) -> list[str]:
    return sorted(re.sub(r"\s+", " ", statement).strip(" ;") for statement in statements if statement.strip())


def test_postgres_is_set_up_as_in_the_embedded_stack(tmp_path: Path) -> None:
    expected = list(SERVER_STATEMENTS)
    split = [f"quill_{name}" for name in ("auth", "patients", "letters", "messaging", "orgs")]
    for database in [*split, "quill_fhir"]:
        ownership = Ownership.SPLIT if database in split else Ownership.SINGLE
        roles = dict.fromkeys([owner_role(database, ownership), database], "secret")
        expected += role_statements(database, roles)
        expected += [create_statement(database, ownership), *grant_statements(database, ownership)]
    psql = tmp_path / "psql"
    psql.write_text("#!/bin/sh\ncat\n")
    psql.chmod(0o755)
    done = subprocess.run(
        ["sh", ROOT / "deploy/postgres/init/10-databases.sh"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "POSTGRES_USER": "postgres"},
        capture_output=True,
        text=True,
        check=True,
    )
    said = "\n".join(line for line in done.stdout.splitlines() if not line.startswith("\\getenv"))
    found = re.split(r";\n", said.replace(":'password'", "'secret'"))
    assert normalised(found) == normalised(expected)
    asked = set(re.findall(r"^\\getenv password (\w+)$", done.stdout, re.MULTILINE))
    assert asked == set(SERVICES["postgres"]["environment"]) - {"POSTGRES_PASSWORD"}


def subnets(*networks: str) -> set[str]:
    return {compose()["networks"][network]["ipam"]["config"][0]["subnet"] for network in networks}


def test_forwarded_addresses_are_believed_from_the_neighbour_only() -> None:
    def believed(name: str, setting: str) -> set[str]:
        return set(json.loads(SERVICES[name]["environment"][setting]))

    assert believed("gateway", "QUILL_TRUSTED_PROXIES") == subnets(*SERVICES["caddy"]["networks"])
    shared = set(SERVICES["gateway"]["networks"]) & set(SERVICES["auth-api"]["networks"])
    assert believed("auth-api", "QUILL_GATEWAY_NETWORKS") == subnets(*shared)


def test_what_is_mounted_exists() -> None:
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    named, mounted = set(compose()["volumes"]), []
    for volume in volumes:
        source, _, rest = volume.partition(":")
        if source in named:
            continue
        assert rest.endswith(":ro")
        mounted.append(source)
    assert mounted
    assert [source for source in mounted if not (ROOT / source).exists()] == []


def test_the_image_runs_as_nobody_and_holds_every_application() -> None:
    text = (ROOT / "deploy/image/Dockerfile").read_text(encoding="utf-8")
    instructions = re.sub(r"\\\n", " ", text)
    images = re.findall(r"^FROM (\S+)", instructions, re.MULTILINE)
    assert len(set(images)) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", images[0])
    assert re.findall(r"^USER (\S+)", instructions, re.MULTILINE)[-1] not in {"root", "0"}
    installed = re.search(r"uv pip install (.*)", instructions)
    assert installed is not None
    packages = {word for word in installed[1].split() if word.startswith("./")}
    assert packages == {"./shared", "./gateway"} | {
        f"./services/{directory.name}" for directory in (ROOT / "services").iterdir() if directory.is_dir()
    }
    assert "--constraint requirements.lock" in installed[1]
