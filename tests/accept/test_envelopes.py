"""What an envelope says beside the row: server and client read it alike."""

from __future__ import annotations

from typing import Any

import pytest

from kit.db import Db
from kit.example import Owner
from rowseal.client import verify

OTHER_FORM = [("rejected", "RS001: not an envelope of form rowseal/1")]


@pytest.mark.parametrize("version", [2, "2", 1.5, None, [1], {}])
def test_an_envelope_of_another_form_is_refused(version: Any, example: Db, ann: Owner) -> None:
    envelope = ann.envelope(example.form("user_storage"), ann.value())
    other = {**envelope, "rowseal": version}
    assert example.apply("user_storage", [other]) == OTHER_FORM
    assert not verify(other, ann.public_key)
    del other["rowseal"]
    assert example.apply("user_storage", [other]) == OTHER_FORM
    assert not verify(other, ann.public_key)
    assert example.apply("user_storage", [envelope]) == [("inserted", None)]


def test_members_that_say_nothing_are_ignored(example: Db, ann: Owner) -> None:
    envelope = ann.envelope(example.form("user_storage"), ann.value())
    more = {**envelope, "sent": "by a relay", "comment": {"row": 1}}
    assert verify(more, ann.public_key)
    assert example.apply("user_storage", [more]) == [("inserted", None)]
