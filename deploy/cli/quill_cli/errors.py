"""What can go wrong between the command and the API.

CommandError                  one sentence, exit code 1
├── UnreachableError          no answer, or none that is of use, for as long as we were patient
├── SignInError               the credentials, or what they may do, are not enough
└── RefusedError              the API answered something the command did not ask for
"""

import httpx


class CommandError(Exception):
    """The command cannot go on; the message is one sentence for the person at the terminal."""


class UnreachableError(CommandError):
    """No usable answer in time."""


class SignInError(CommandError):
    """Not signed in, or not entitled."""


class RefusedError(CommandError):
    """An answer that the command cannot use."""

    def __init__(self, method: str, path: str, response: httpx.Response) -> None:
        self.status = response.status_code
        self.code = error_code(response)
        super().__init__(f"{method} {path} was refused: {explanation(response)} (status {self.status}).")


def explanation(response: httpx.Response) -> str:
    """What a problem document or an OperationOutcome says, in one line."""
    document = _document(response)
    issues = document.get("issue")
    if isinstance(issues, list):
        texts = [_issue(issue) for issue in issues if isinstance(issue, dict)]
        return "; ".join(text for text in texts if text) or "no reason given"
    faults = document.get("errors")
    if isinstance(faults, list) and faults:
        return "; ".join(_fault(fault) for fault in faults if isinstance(fault, dict))
    for name in ("detail", "error_description", "title"):
        if isinstance(document.get(name), str):
            return str(document[name]).rstrip(".")
    return "no reason given"


def error_code(response: httpx.Response) -> str:
    """The stable code of a problem document, or an empty text."""
    return str(_document(response).get("error_code") or "")


def _document(response: httpx.Response) -> dict[str, object]:
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _issue(issue: dict[str, object]) -> str:
    details = issue.get("details")
    # What a person is to read; `diagnostics` is for who looks after the server (FHIR R4).
    text = (details.get("text") if isinstance(details, dict) else None) or issue.get("diagnostics")
    places = issue.get("expression")
    where = ", ".join(str(place) for place in places) if isinstance(places, list) else ""
    return f"{where}: {text or issue.get('code')}" if where else str(text or issue.get("code") or "")


def _fault(fault: dict[str, object]) -> str:
    places = fault.get("loc")
    where = ".".join(str(place) for place in places) if isinstance(places, list) else ""
    return f"{where}: {fault.get('msg')}"
