"""The command line: who signs in where, and what a mistake looks like."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quill_cli.app import app

runner = CliRunner()


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory without a stack, and an environment without settings of ours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("quill_cli.api._FIRST_PATIENCE", 0.1)
    for name in ("URL", "USERNAME", "PASSWORD", "TOKEN", "DATA_DIR"):
        monkeypatch.delenv(f"QUILL_{name}", raising=False)
    return tmp_path


def stack_at(directory: Path, url: str) -> None:
    directory.mkdir()
    document = {"url": url, "accounts": {"admin": "a-password"}}
    (directory / "demo.json").write_text(json.dumps(document))


def test_help_names_the_commands() -> None:
    told = runner.invoke(app, ["--help"])
    assert told.exit_code == 0
    assert {"import-patients", "demo", "contracts"} <= set(told.output.split())


def test_without_an_account_it_says_what_to_give(tmp_path: Path) -> None:
    told = runner.invoke(app, ["demo"])
    assert told.exit_code == 2
    assert "QUILL_USERNAME" in told.output


def test_the_stack_of_this_directory_is_found(tmp_path: Path) -> None:
    stack_at(tmp_path / ".quill", "http://127.0.0.1:9")
    told = runner.invoke(app, ["demo"])
    assert told.exit_code == 1
    assert "http://127.0.0.1:9 cannot be reached" in told.output


def test_its_password_goes_nowhere_else(tmp_path: Path) -> None:
    stack_at(tmp_path / ".quill", "http://127.0.0.1:9")
    told = runner.invoke(app, ["demo", "--url", "http://127.0.0.1:10"])
    assert told.exit_code == 2
    assert "no account to sign in with" in " ".join(told.output.split())


def test_a_password_without_a_name_is_a_mistake(tmp_path: Path) -> None:
    assert runner.invoke(app, ["demo", "--password", "x"]).exit_code == 2


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://x", "http://"])
def test_an_address_that_is_none_is_one_sentence(address: str) -> None:
    told = runner.invoke(app, ["demo", "--url", address, "--username", "a", "--password", "b"])
    assert told.exit_code == 1
    assert "is not an address" in told.output


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    told = runner.invoke(app, ["import-patients", "nowhere", "--token", "t"])
    assert told.exit_code == 1
    assert told.output.strip() == "nowhere cannot be read: no such file or directory."


def test_a_server_that_is_away_ends_the_import_with_a_report(tmp_path: Path) -> None:
    file, report = tmp_path / "p.ndjson", tmp_path / "report.json"
    file.write_text('{"resourceType":"Patient","id":"a"}\n')
    arguments = ["import-patients", str(file), "--report", str(report), "--url", "http://127.0.0.1:9"]
    told = runner.invoke(app, [*arguments, "--username", "admin", "--password", "x"])
    assert told.exit_code == 1
    document = json.loads(report.read_text())
    assert document["complete"] is False
    assert document["failed"][0]["line"] == 1
    assert "The same command again goes on from here." in " ".join(told.output.split())
