"""What a process of the server has used."""

from __future__ import annotations

import re


def cpu(pid: int) -> float:
    """Seconds of CPU."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def most_memory(pid: int) -> int:
    """The most memory that it has had, in bytes."""
    with open(f"/proc/{pid}/status") as file:
        (kilobytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", file.read(), re.M)
    return int(kilobytes) * 1024
