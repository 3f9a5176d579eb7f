"""ML-DSA by cryptography; without it the tests that ask for it are skipped."""

from __future__ import annotations

import pytest

from rowseal.form.signature import ALGORITHMS

mldsa = pytest.importorskip(
    "cryptography.hazmat.primitives.asymmetric.mldsa",
    reason="ML-DSA needs cryptography 47 or later: tests/setup.sh installs it",
)


PRIVATE = {"ml-dsa-65": mldsa.MLDSA65PrivateKey, "ml-dsa-87": mldsa.MLDSA87PrivateKey}


every = pytest.mark.parametrize(
    "algorithm", [ALGORITHMS[name] for name in PRIVATE], ids=list(PRIVATE)
)


def flipped(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]
