"""The usual write path of an app: its client signs and POSTs, this API writes SQL.

    python examples/api.py 8080 "dbname=app"
    curl --data @envelope.json http://127.0.0.1:8080/

The API holds no key and checks no signature: PostgreSQL does, whatever the API writes.  What its
answers mean to a client stands in docs/client.md.  The standard library, psycopg and rowseal are
enough; a real one would use its framework and a connection pool.
"""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg

from rowseal.client import Form, decode

CARD = [
    "user_hash",
    "sign_pkey",
    "contact_pkey",
    "contact_cert",
    "crypt_pkey",
    "crypt_cert",
    "name",
    "deleted_flag",
    "owner_timestamp",
]
NOTE = ["user_hash", "uuid", "value_b64", "deleted_flag", "owner_timestamp", "parent_sign_b64"]
# what clients may write, and its key
TABLES = {"user_cards": (CARD, ["user_hash"]), "user_storage": (NOTE, ["user_hash", "uuid"])}
STATUS = {
    "RS001": 403, "RS002": 424, "RS003": 409, "RS005": 403, "RS006": 422, "RS009": 409, "22": 422,
    "23": 422, "RS014": 503, "23505": 503, "08": 503, "40": 503, "53": 503, "55": 503, "57": 503,
}  # fmt: skip


def store(connection: psycopg.Connection[Any], sealed: dict[str, Any]) -> dict[str, Any]:
    """Write one envelope.  Whether it is the current version of its key now,
    and the timestamp of the one that is.
    """
    table = sealed["table"]
    columns, key = TABLES[table]
    (fields,) = connection.execute(
        "SELECT spec -> 'fields' FROM rowseal.declarations WHERE tag = %s", [table]
    ).fetchall()[0]
    row = {
        **dict.fromkeys(columns),
        **decode(Form(table, fields), sealed["row"]),
        "sign_b64": b64decode(sealed["sign_b64"], validate=True),
    }
    connection.execute(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(f'%({c})s' for c in row)})"
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET"
        f" {', '.join(f'{c} = EXCLUDED.{c}' for c in row)}",
        row,
    )
    query = (
        f"SELECT sign_b64, owner_timestamp FROM {table}"
        f" WHERE {' AND '.join(f'{k} = %({k})s' for k in key)}"
    )
    (current, timestamp) = connection.execute(query, row).fetchall()[0]
    return {"current": current == row["sign_b64"], "owner_timestamp": str(timestamp)}


class Api(BaseHTTPRequestHandler):
    conninfo = ""

    def do_POST(self) -> None:
        try:
            sealed = json.loads(
                self.rfile.read(max(0, min(int(self.headers["Content-Length"]), 1_000_000)))
            )
            with psycopg.connect(self.conninfo, autocommit=True) as connection:
                self.answer(200, store(connection, sealed))
        except psycopg.Error as e:
            # the driver's own: U+0000; no connection
            code = e.sqlstate or ("22000" if isinstance(e, psycopg.DataError) else "08000")
            status = STATUS.get(code) or STATUS.get(code[:2], 500)
            self.answer(
                status,
                {
                    "sqlstate": code,
                    "error": e.diag.message_primary or str(e),
                    "hint": e.diag.message_hint,
                },
            )
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
        ) as e:  # no envelope, or of a table that is not written here
            self.answer(400, {"error": f"not an envelope for this API: {e}"})

    def answer(self, status: int, body: dict[str, Any]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


if __name__ == "__main__":
    Api.conninfo = sys.argv[2]
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Api) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
        server.serve_forever()
