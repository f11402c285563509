"""What a start ends with: where everything is, who may sign in, and three things to try."""

import sys
from collections.abc import Mapping
from pathlib import Path

from quill_cli.api import Credentials

from .configuration import Configuration
from .console import Console
from .seed import superadmin
from .world import ACCOUNTS, EXTERNAL, SUPERADMIN


def welcome(
    configuration: Configuration,
    keys: Mapping[str, str],
    console: Console,
    *,
    seconds: float,
    servers: Mapping[str, str] | None = None,
    ending: str = "Ctrl-C stops everything.",
) -> None:
    """Prints it.

    Args:
        seconds: that it took.
        servers: addresses of what is not ours, by their names.
        ending: the last line.

    The passwords are shown at every start: they are made anew for each data directory, open nothing but
    this stack on this machine, and would otherwise have to be looked for. A password that the environment
    gave is not repeated.
    """
    url = configuration.ports.url("gateway")
    seeded = configuration.demo_file.exists()
    console.say("")
    console.title(f"Quill runs, healthy after {seconds:.1f} s.")
    console.say("")
    console.table(
        [
            ("API", url),
            ("documentation", f"{url}/api/docs"),
            ("health", f"{url}/api/health"),
            ("data and logs", str(configuration.data_dir)),
            *(servers or {}).items(),
        ]
    )
    console.say("")
    password = keys["demo_password"]
    root = superadmin(keys)
    console.say(f"Accounts, all with the password {password}", style="bold")
    rows = [(root.username, _described(root, password))]
    if seeded:
        rows += [(each.username, each.description) for each in (*ACCOUNTS, EXTERNAL)]
    console.table(rows)
    console.say("")
    console.say("Three things to try, from another terminal:" if seeded else "To try, from another terminal:")
    if seeded:
        console.say("1. A first day with Quill, each step with the calls it makes:")
        console.copyable(f"{_environment(configuration)}{_command('quill')} demo")
        console.say("2. Patients as the general practitioner sees them, with the OAuth token route:")
        _curl(console, url, "gp", password)
        console.say("3. The documentation in a browser; its Authorize button signs you in:")
    else:
        _curl(console, url, root.username, password if root.password == password else "...")
    console.copyable(f"{url}/api/docs")
    console.say("")
    console.say(ending, style="dim")


def _described(root: Credentials, password: str) -> str:
    given = "" if root.password == password else " (but this one with the password of the environment)"
    return f"{SUPERADMIN.description}{given}"


def _curl(console: Console, url: str, username: str, password: str) -> None:
    console.copyable(
        f"TOKEN=$(curl -s {url}/api/auth/token -d grant_type=password -d username={username} "
        f"-d password={password} | {_command('python')} -c "
        """'import json, sys; print(json.load(sys.stdin)["access_token"])')"""
    )
    console.copyable(f'curl -s {url}/api/patients -H "Authorization: Bearer $TOKEN"')


def _environment(configuration: Configuration) -> str:
    """What `quill demo` has to be told to find this stack, and not the one that is usual."""
    if configuration.data_dir == Path.cwd() / ".quill":
        return ""
    return f"QUILL_DATA_DIR={configuration.data_dir} "


def _command(name: str) -> str:
    """The command of this installation, as short as it can be written here."""
    path = Path(sys.executable).parent / name
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
