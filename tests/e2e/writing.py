"""People who go on writing whatever happens to the servers, and somebody who watches Quill's health.

What was acknowledged is kept, what was not is kept too: in the end each is compared with what can be read.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx

_PAUSE = 0.1
_PAUSE_AFTER_REFUSAL = 0.3
_LOOK_EVERY = 0.1


@dataclass
class Writer:
    """One person: `attempt` is called again and again with the next number.

    Args:
        attempt: makes the call.
        acknowledged: by the number, the answer's document and when it came.
        refused: by the number, the status (0: no answer) and when.
    """

    attempt: Any
    acknowledged: dict[int, Any] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)
    times: dict[int, float] = field(default_factory=dict)

    def run(self, stop: threading.Event) -> None:
        """Writes until told to stop."""
        number = 0
        while not stop.is_set():
            number += 1
            try:
                answer: httpx.Response = self.attempt(number)
            except httpx.TransportError:
                self.refused[number] = 0
            else:
                if answer.is_success:
                    self.acknowledged[number] = answer.json()
                else:
                    self.refused[number] = answer.status_code
            self.times[number] = time.monotonic()
            stop.wait(_PAUSE if number in self.acknowledged else _PAUSE_AFTER_REFUSAL)

    def statuses(self) -> Counter[int]:
        """How often each refusal came."""
        return Counter(self.refused.values())

    def acknowledged_between(self, begin: float, end: float) -> int:
        """How many writes were acknowledged in that time."""
        return sum(begin < self.times[number] < end for number in self.acknowledged)


@dataclass
class Watch:
    """What `/api/health` said, and when the answer had come."""

    url: str
    seen: list[tuple[float, dict[str, Any]]] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        """Looks until told to stop."""
        with httpx.Client(base_url=self.url, timeout=5) as client:
            while not stop.is_set():
                answer = client.get("/api/health")
                assert answer.status_code == 200
                self.seen.append((time.monotonic(), answer.json()))
                stop.wait(_LOOK_EVERY)

    def first(self, since: float, entry: str, *, available: bool) -> float:
        """Seconds from `since` until `entry` was first reported so, and the whole with it."""
        wanted = "healthy" if available else "degraded"
        for moment, document in self.seen:
            told = document["services"][entry]["available"] is available
            if moment >= since and told and (not available or document["status"] == wanted):
                assert available or document["status"] == wanted
                return moment - since
        raise AssertionError(f"{entry} was never reported {wanted}")

    def always(self, begin: float, end: float, entry: str) -> set[bool]:
        """All that was said of `entry` in that time."""
        return {
            document["services"][entry]["available"] for moment, document in self.seen if begin < moment < end
        }

    def longest_silence(self) -> float:
        """Seconds between two answers."""
        moments = [moment for moment, _ in self.seen]
        return max(after - before for before, after in pairwise(moments))


@contextmanager
def at_work(*people: Writer | Watch) -> Iterator[None]:
    """Lets all of them work for the block, and raises what one of them raised."""
    stop, failures = threading.Event(), []

    def work(person: Writer | Watch) -> None:
        try:
            person.run(stop)
        except Exception as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(person,), daemon=True) for person in people]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert failures == []
