"""Timestamps for rows: a clock that never says the same twice."""

from __future__ import annotations

import threading
import time

_lock = threading.Lock()
_latest = 0  # µs since 1970


def next_timestamp(last_known: int = 0) -> int:
    """The clock in microseconds since 1970, never the same twice in a process.

    ``last_known`` is the highest owner_timestamp seen for the row's key; where the clock is behind
    it, the answer is ``last_known + 1``, so that a device with a slow clock still writes the newest
    version.

    OverflowError when nothing is above it (2**63 - 1): that key can get no newer version.
    """
    global _latest
    with _lock:
        # last_known stays out of this: one key dated in the far future must not take all others
        # along
        _latest = max(time.time_ns() // 1000, _latest + 1)
        timestamp = max(_latest, last_known + 1)
    if timestamp >= 2**63:
        raise OverflowError(f"no timestamp is above {last_known}")
    return timestamp
