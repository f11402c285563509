"""The committed contracts, made from the code: OpenAPI, JSON Schema per event, AsyncAPI.

`python -m quill_cli.contracts` writes them, with `--check` it only compares. This module imports every
service; nothing else of the command does.
"""

import argparse
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from quill_auth.bootstrap import definition as auth
from quill_gateway.bootstrap import definition as gateway
from quill_letters.bootstrap import definition as letters
from quill_messaging.bootstrap import definition as messaging
from quill_orgs.bootstrap import definition as orgs
from quill_patients.bootstrap import definition as patients
from quill_shared.platform.app import create_app
from quill_shared.platform.events import MEDIA_TYPE, Envelope, Event
from quill_shared.platform.revocation import SESSION_REVOKED, TOKENS_OUTDATED
from quill_shared.platform.service import ServiceDefinition

__all__ = ["REPOSITORY", "differences", "event_schema", "main", "produced"]

# Each process that verifies tokens hears these on a queue of its own; the gateway hears nothing else.
_HEARD_BY_ALL: Final = (SESSION_REVOKED, TOKENS_OUTDATED)

SERVICES: Final = (auth, patients, letters, messaging, orgs)
REPOSITORY: Final = Path(__file__).parents[3]
ASYNCAPI: Final = Path("docs/events/asyncapi.yaml")

_JSON_SCHEMA: Final = "https://json-schema.org/draft/2020-12/schema"


def produced() -> dict[Path, str]:
    """Every contract as the code says it is now, by its path in the repository."""
    files = {Path("gateway/openapi.json"): _openapi(gateway)}
    for service in SERVICES:
        directory = Path("services") / service.name
        files[directory / "openapi.json"] = _openapi(service)
        for event in service.publishes:
            files[directory / "events" / f"{event.type_name}.schema.json"] = _json(event_schema(event))
    files[ASYNCAPI] = _yaml(asyncapi((*SERVICES, gateway)))
    return files


def differences(repository: Path) -> list[str]:
    """What is committed and not produced, produced and not committed, or not the same; empty if equal."""
    wanted = produced()
    found = [
        f"{path} is missing" if not (repository / path).is_file() else f"{path} differs"
        for path, text in wanted.items()
        if not (repository / path).is_file() or (repository / path).read_text(encoding="utf-8") != text
    ]
    return found + [
        f"{path} is of an event that is no longer published" for path in _stale(repository, wanted)
    ]


def write(repository: Path) -> list[Path]:
    """Makes the repository equal to what is produced; answers the paths that changed."""
    wanted = produced()
    changed = []
    for path, text in wanted.items():
        file = repository / path
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            changed.append(path)
    for path in _stale(repository, wanted):
        (repository / path).unlink()
        changed.append(path)
    return changed


def event_schema(event: type[Event]) -> dict[str, Any]:
    """The JSON Schema of the event's `data`, with its example."""
    schema = event.model_json_schema()
    for described in (schema, *schema.get("$defs", {}).values()):
        for field in described.get("properties", {}).values():
            # Pydantic's titles repeat the name of the field.
            field.pop("title", None)
    return {
        "$schema": _JSON_SCHEMA,
        "$id": f"urn:quill:event:{event.type_name}",
        **schema,
        "title": event.type_name,
        "description": inspect.cleandoc(event.__doc__ or ""),
        "examples": [dict(event.example)],
    }


def asyncapi(services: Sequence[ServiceDefinition]) -> dict[str, Any]:
    """The AsyncAPI 3 document: a channel per event, and for each service what it sends and receives."""
    events = {event.type_name: event for service in services for event in service.publishes}
    heard = {type_ for service in services for type_ in service.consumers.types}
    unknown = sorted(heard - events.keys())
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Quill events",
            "version": "0.1.0",
            "description": (
                "How the services tell each other what happened. Every message is a CloudEvent in structured "
                "JSON; its type is the routing key on the topic exchange `quill.events`. An event is "
                "delivered at least once, and in any order beyond the `sequence` of its subject. Made from "
                "the code by `make contracts`."
            ),
        },
        "defaultContentType": MEDIA_TYPE,
        "channels": {
            type_: {
                "address": type_,
                "title": _summary(event),
                "messages": {type_: {"$ref": f"#/components/messages/{type_}"}},
            }
            for type_, event in sorted(events.items())
        }
        | {type_: {"address": type_, "title": "Published by no service yet."} for type_ in unknown},
        "operations": dict(_operations(services, events)),
        "components": {
            "messages": {
                type_: {
                    "name": type_,
                    "title": type_,
                    "summary": _summary(event),
                    "contentType": MEDIA_TYPE,
                    "payload": {
                        "allOf": [
                            {"$ref": "#/components/schemas/CloudEvent"},
                            {
                                "type": "object",
                                "properties": {
                                    "type": {"const": type_},
                                    "data": _inlined(event_schema(event)),
                                },
                            },
                        ]
                    },
                }
                for type_, event in sorted(events.items())
            },
            "schemas": {"CloudEvent": _envelope()},
        },
    }


def _operations(
    services: Sequence[ServiceDefinition], events: Mapping[str, type[Event]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for service in sorted(services, key=lambda each: each.name):
        for event in sorted(service.publishes, key=lambda each: each.type_name):
            yield f"{service.name}.sends.{event.type_name}", _operation("send", service, event.type_name)
        for type_ in sorted({*service.consumers.types, *_HEARD_BY_ALL}):
            yield f"{service.name}.receives.{type_}", _operation("receive", service, type_)


def _operation(action: str, service: ServiceDefinition, type_: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{type_}"},
        "title": f"{service.title} {action}s {type_}",
        "tags": [{"name": service.name}],
    }


def _envelope() -> dict[str, Any]:
    """CloudEvents as Quill sends them; a member that is never null here is not described as if."""
    schema = Envelope.model_json_schema()
    properties = {
        name: {key: value for key, value in field.items() if key != "title"}
        for name, field in schema["properties"].items()
    }
    return {
        "type": "object",
        "description": "CloudEvents 1.0, structured mode.",
        "required": sorted({*schema["required"], "specversion", "datacontenttype"}),
        "properties": properties,
    }


def _inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without references, which would mean another place inside the document."""
    definitions = schema.get("$defs", {})

    def resolved(node: Any) -> Any:
        if isinstance(node, dict):
            reference = node.get("$ref")
            if isinstance(reference, str):
                return resolved(definitions[reference.removeprefix("#/$defs/")])
            return {name: resolved(value) for name, value in node.items()}
        return [resolved(each) for each in node] if isinstance(node, list) else node

    left_out = ("$schema", "$id", "$defs")
    return {name: resolved(value) for name, value in schema.items() if name not in left_out}


def _summary(event: type[Event]) -> str:
    return inspect.cleandoc(event.__doc__ or "").split("\n", 1)[0]


def _openapi(definition: ServiceDefinition) -> str:
    return _json(create_app(definition).openapi())


def _stale(repository: Path, wanted: Mapping[Path, str]) -> list[Path]:
    found = (repository / "services").glob("*/events/*.schema.json")
    return sorted(path for file in found if (path := file.relative_to(repository)) not in wanted)


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _yaml(document: Any) -> str:
    # By way of JSON, so that two places holding one object are written out twice and not as an alias.
    text = yaml.safe_dump(json.loads(json.dumps(document)), sort_keys=False, allow_unicode=True, width=100)
    return f"# Made by `make contracts`; not to be edited.\n{text}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m quill_cli.contracts", description="Writes the committed contracts anew."
    )
    parser.add_argument("--check", action="store_true", help="only compare; exit code 1 if they differ")
    options = parser.parse_args(arguments)
    if options.check:
        found = differences(REPOSITORY)
        for each in found:
            print(each, file=sys.stderr)
        if found:
            print("`make contracts` writes them anew; read what it changed.", file=sys.stderr)
        return 1 if found else 0
    changed = write(REPOSITORY)
    for path in changed:
        print(path)
    if not changed:
        print("The contracts are up to date.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
