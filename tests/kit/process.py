"""What a process of the server has used."""

from __future__ import annotations

import re
import time

# Seconds that _job takes on the machine for which the tests' bounds are written.
REFERENCE = 0.13


def cpu(pid: int) -> float:
    """Seconds of CPU."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def spent(pid: int, before: float) -> float:
    """Seconds of CPU since ``before``; a slower machine than that of REFERENCE has more time."""
    seconds = cpu(pid) - before
    return seconds / max(1.0, _job() / REFERENCE)


def _job() -> float:
    begun, total = time.thread_time(), 0
    for n in range(2_000_000):
        total += n
    return time.thread_time() - begun


def most_memory(pid: int) -> int:
    """The most memory that it has had, in bytes."""
    with open(f"/proc/{pid}/status") as file:
        (kilobytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", file.read(), re.M)
    return int(kilobytes) * 1024
