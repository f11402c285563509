"""The `quill` command."""

import asyncio
import importlib
import json
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import demo, records
from .api import Credentials, api
from .browser import Call
from .errors import CommandError
from .importing import Importer, Outcome, Report, Result, find_organisation

DEFAULT_URL = "http://127.0.0.1:8000"
_SHOWN_AT_MOST = 20
_INTERRUPTED = 130

app = typer.Typer(
    name="quill",
    help="Quill from the command line.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="QUILL_URL",
        help=f"Address of the gateway; if not given, that of the stack of this directory, else {DEFAULT_URL}",
    ),
]
Username = Annotated[
    str | None,
    typer.Option("--username", "-u", envvar="QUILL_USERNAME", help="An administrator's, for most commands"),
]
Password = Annotated[
    str | None,
    typer.Option(
        "--password",
        envvar="QUILL_PASSWORD",
        help="Better given by the environment: options are visible to others on this machine.",
    ),
]


@app.command("import-patients")
def import_patients(
    file: Annotated[Path, typer.Argument(help="FHIR Patients: NDJSON or a Bundle; - is standard input")],
    organisation: Annotated[
        str | None,
        typer.Option("--organisation", "-o", help="Id or name of the organisation they become patients of"),
    ] = None,
    url: Url = None,
    username: Username = None,
    password: Password = None,
    token: Annotated[
        str | None,
        typer.Option("--token", envvar="QUILL_TOKEN", help="Access token instead of user name and password"),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Patients in hand at once")] = 8,
    report: Annotated[Path | None, typer.Option(help="Write the whole report here, as JSON")] = None,
) -> None:
    """Import FHIR R4 Patients through the API. Safe to repeat, and resumed by repeating it.

    Every patient keeps the id it has in the file; nobody who is there already is overwritten. Wants an
    administrator's account; against a `make run` of this directory its demo administrator is taken.
    Exit code 1: something failed that has nothing to do with the data.
    """
    credentials, address = _sign_in(url, username, password, token)
    console = Console(stderr=True, highlight=False)
    _end(_import(file, organisation, credentials, address, concurrency, report, console), console=console)


async def _import(
    file: Path,
    wanted: str | None,
    credentials: Credentials,
    url: str,
    concurrency: int,
    report_file: Path | None,
    console: Console,
) -> int:
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    stopped = ""
    with _opened(file) as opened, progress:
        bar = progress.add_task("patients", total=records.count(opened))
        async with api(url, credentials, connections=concurrency) as caller:
            organisation = await find_organisation(caller, wanted) if wanted else None

            def told(result: Result) -> None:
                progress.advance(bar)

            importer = Importer(caller, organisation=organisation, concurrency=concurrency, told=told)
            try:
                await importer.run(records.read(opened))
            except CommandError as error:
                stopped = str(error)
            except asyncio.CancelledError:
                stopped = "Interrupted."
            report = importer.report
    about = {
        "file": str(file),
        "url": url,
        "organisation": None if organisation is None else {"id": organisation.id, "name": organisation.name},
        "complete": not stopped,
    }
    if report_file is not None:
        _write(report_file, json.dumps(report.document(**about), indent=2) + "\n")
    _print_report(report, console)
    if stopped:
        console.print(
            f"[bold red]{escape(stopped)}[/] The same command again goes on from here.", soft_wrap=True
        )
    if stopped == "Interrupted.":
        return _INTERRUPTED
    return 1 if stopped or report.of(Outcome.FAILED) else 0


def _print_report(report: Report, console: Console) -> None:
    counts = {outcome: len(report.of(outcome)) for outcome in Outcome}
    line = (
        f"{counts[Outcome.CREATED]} created, {counts[Outcome.ALREADY_THERE]} already there, "
        f"{counts[Outcome.REFUSED]} refused, {counts[Outcome.FAILED]} failed"
    )
    if counts[Outcome.OTHER]:
        line += f", {counts[Outcome.OTHER]} other resources left out"
    console.print(f"[bold]{line}.[/]", soft_wrap=True)
    for outcome in (Outcome.REFUSED, Outcome.FAILED):
        results = report.of(outcome)
        for each in results[:_SHOWN_AT_MOST]:
            console.print(f"  {outcome} line {each.line}: {escape(each.reason)}", soft_wrap=True)
        if len(results) > _SHOWN_AT_MOST:
            console.print(f"  ... and {len(results) - _SHOWN_AT_MOST} more; --report writes all of them.")


def _opened(file: Path) -> BinaryIO:
    if str(file) == "-":
        return sys.stdin.buffer
    try:
        return file.open("rb")
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {(error.strerror or str(error)).lower()}.") from None


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {(error.strerror or str(error)).lower()}.") from None


@app.command("demo")
def tell_demo(url: Url = None, username: Username = None, password: Password = None) -> None:
    """Walk through a first day with Quill and show every call. Safe to repeat.

    Against a `make run` of this directory its demo administrator signs in; elsewhere name one.
    """
    credentials, address = _sign_in(url, username, password, None)
    console = Console(highlight=False)
    administrator = demo.Signatory(credentials.username, credentials.password)
    _end(_tell(address, administrator, console), console=console)


async def _tell(url: str, administrator: demo.Signatory, console: Console) -> int:
    await demo.tell(url, administrator, _Terminal(console))
    console.print("\n[bold green]The story is told: everybody saw exactly whom they may see.[/]")
    return 0


class _Terminal:
    """Prints the story as it goes on."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps = 0

    def step(self, text: str) -> None:
        """A numbered line."""
        self._steps += 1
        self._console.print(f"\n[bold]{self._steps}. {escape(text)}[/]", soft_wrap=True)

    def called(self, call: Call) -> None:
        """Method, path, status and time."""
        colour = "green" if call.status < 400 else "yellow"
        self._console.print(
            f"   {call.method:6} {escape(call.path)} [{colour}]{call.status}[/] "
            f"[dim]{call.milliseconds:.0f} ms[/]",
            soft_wrap=True,
        )

    def found(self, text: str) -> None:
        """What came of it."""
        self._console.print(f"   → {escape(text)}", style="cyan", soft_wrap=True)


@app.command("contracts")
def contracts(
    check: Annotated[bool, typer.Option("--check", help="Only compare; exit code 1 if they differ")] = False,
) -> None:
    """Write the committed OpenAPI, event schemas and AsyncAPI anew (in a checkout of the repository)."""
    # Imports every service, which the other commands do without, and which may not be installed.
    module = importlib.import_module(".contracts", __package__)
    raise typer.Exit(module.main(["--check"] if check else []))


def _sign_in(
    url: str | None, username: str | None, password: str | None, token: str | None
) -> tuple[Credentials, str]:
    """Who calls, and where: as told, else the administrator of the stack that was started here."""
    local = _local_stack()
    here = str(local.get("url") or DEFAULT_URL)
    address = url or here
    if token:
        return Credentials(token=token), address
    if username and password:
        return Credentials(username, password), address
    if password:
        raise typer.BadParameter("--password wants a --username (QUILL_USERNAME)")
    name = username or "admin"
    found = local.get("accounts", {}).get(name)
    if found and address.rstrip("/") == here:
        return Credentials(name, str(found)), address
    if username:
        asked = typer.prompt(f"Password of {username}", hide_input=True, err=True)
        return Credentials(username, str(asked)), address
    raise typer.BadParameter(
        "no account to sign in with: give --username and --password (QUILL_USERNAME, QUILL_PASSWORD), or "
        "run this where `make run` has made its data (QUILL_DATA_DIR)"
    )


def _local_stack() -> dict[str, Any]:
    """What the embedded stack wrote down about itself; nothing when there is none here."""
    file = Path(os.environ.get("QUILL_DATA_DIR") or ".quill").expanduser() / "demo.json"
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _end(work: Coroutine[Any, Any, int], *, console: Console) -> None:
    """Runs a command to its exit code; a fault of the expected kinds is one sentence."""
    try:
        code = asyncio.run(work)
    except CommandError as error:
        Console(stderr=True, highlight=False).print(f"[bold red]{escape(str(error))}[/]", soft_wrap=True)
        code = 1
    except KeyboardInterrupt:
        console.print("Interrupted.")
        code = _INTERRUPTED
    raise typer.Exit(code)
