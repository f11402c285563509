"""What the command's tests share."""

import pytest

from .support import FakeQuill


@pytest.fixture
def quill() -> FakeQuill:
    """The server."""
    return FakeQuill()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the code under test would have waited; it does not."""
    waited: list[float] = []

    async def sleep(seconds: float, result: object = None) -> object:
        waited.append(seconds)
        return result

    monkeypatch.setattr("quill_cli.api.asyncio.sleep", sleep)
    return waited
