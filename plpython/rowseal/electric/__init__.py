"""Follows shapes of Electric (https://electric.ax), the HTTP sync service, into declared tables.

    cards = shape("http://oslo:3000", "user_cards", **await declared(connection, "user_cards"))
    async with Follower(dsn, [cards]) as follower:
        await follower.run()

With ``replica=full`` every insert and update carries a whole row, and every row carries its owner's
signature.  So this is no replica that obeys the server, but one more carrier of rows to
``rowseal.apply``.

The server is not trusted.  Whatever it sends, memory stays bounded; a bad row ends in the
quarantine; nonsense is answered by asking again, ever more slowly.  It can withhold rows, and no
more.

A shape's offset is stored in the transaction of the rows before it.  So nothing is lost, however
this ends; a row that comes twice is known already, and costs no signature check.
"""

from .follow import Follower, Report
from .shapes import Metrics, Shape, Target, clean, declared, shape
from .wire import MESSAGE_LIMIT, Refetch, Refusal, Trouble, elements, events

__all__ = [
    "MESSAGE_LIMIT",
    "Follower",
    "Metrics",
    "Refetch",
    "Refusal",
    "Report",
    "Shape",
    "Target",
    "Trouble",
    "clean",
    "declared",
    "elements",
    "events",
    "shape",
]
