"""Names of versions: a column holds the hash of the signature, and parents are named so.

One older system works like this.
"""

from __future__ import annotations

from ..feature import Feature
from ..subject import Row
from ..words import literal


class Names(Feature):
    """A version that comes without its name gets it; the verdict compares one that was given."""

    def prepare(self, new: Row) -> str:
        wish = self.subject.wish
        assert wish.name_column is not None
        name = new.ref(wish.name_column)
        value = f"rowseal._hash({literal(wish.name_hash)}, {new.signature})"
        if self.subject.column(wish.name_column).base != "bytea":
            value = f"{literal(wish.name_prefix)} || encode({value}, 'hex')"
        return f"IF {name} IS NULL THEN\n  {name} := {value};\nEND IF;"
