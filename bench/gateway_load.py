"""Load for the gateway benchmark: wrk, told to speak JSON."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Load", "Measured", "wrk_script"]

_SCRIPT = """
wrk.headers["Authorization"] = "Bearer {token}"

done = function(summary, latency, requests)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write
    + summary.errors.status + summary.errors.timeout
  io.write(string.format(
    '\\nRESULT {{"requests": %d, "seconds": %.6f, "failed": %d, "p50_us": %.1f, "p99_us": %.1f}}\\n',
    summary.requests, summary.duration / 1e6, failed, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Measured:
    """What one run of load saw."""

    rate: float
    p50: float
    p99: float
    requests: int


def wrk_script(path: Path, token: str) -> Path:
    """Writes the script that wrk runs: the caller's token, and the result as JSON."""
    path.write_text(_SCRIPT.format(token=token))
    return path


@dataclass(frozen=True)
class Load:
    """A load of `connections` clients for `seconds`, from the processor `core`."""

    script: Path
    connections: int
    seconds: float
    core: int

    async def put_on(self, url: str) -> Measured:
        """Runs it; latencies in microseconds.

        Raises:
            RuntimeError: an answer was not a success: then nothing was measured.
        """
        process = await asyncio.create_subprocess_exec(
            "taskset",
            "--cpu-list",
            str(self.core),
            "wrk",
            "--threads=1",
            f"--connections={self.connections}",
            f"--duration={self.seconds:.0f}s",
            f"--script={self.script}",
            url,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        line = next((line for line in output.decode().splitlines() if line.startswith("RESULT ")), None)
        if line is None:
            raise RuntimeError(f"wrk did not finish on {url}")
        result = json.loads(line.removeprefix("RESULT "))
        if result["failed"] or not result["requests"]:
            raise RuntimeError(f"{result['failed']} of {result['requests']} requests to {url} failed")
        return Measured(
            result["requests"] / result["seconds"], result["p50_us"], result["p99_us"], result["requests"]
        )
