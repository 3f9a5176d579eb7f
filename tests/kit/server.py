"""The server process of the tests: how it is started, and with what settings."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from kit import ROOT

for _name in [n for n in os.environ if n.startswith("PG") and n != "PG_CONFIG"]:
    del os.environ[_name]  # nobody's server but our own
os.environ["PYTHONNOUSERSITE"] = "1"  # the server's Python must not look into somebody's home
SERVER_PACKAGES = ROOT / ".venv/server"  # what tests/setup.sh adds to the server's Python: cryptography with ML-DSA
os.environ["PYTHONPATH"] = str(SERVER_PACKAGES)


def _pg_ctl() -> str:
    """pg_ctl, behind a wrapper that hands the data directory to the user postgres when root runs the tests."""
    bindir = subprocess.run([os.environ.get("PG_CONFIG", "pg_config"), "--bindir"], capture_output=True, text=True, check=True)
    pg_ctl = Path(bindir.stdout.strip()) / "pg_ctl"
    if os.geteuid() != 0:
        return str(pg_ctl)
    wrapper = Path("/tmp") / f"rowseal-pg_ctl-{os.getpid()}" / "pg_ctl"
    wrapper.parent.mkdir(mode=0o755, exist_ok=True)
    # pytest-postgresql makes its folders as root: give them away before each call, parents readable
    wrapper.write_text(
        "#!/bin/bash\n"
        'previous=\nfor arg; do\n  if [ "$previous" = -D ] || [ "$previous" = --pgdata ]; then dir=$arg; fi\n'
        '  case $arg in --pgdata=*) dir=${arg#--pgdata=};; esac\n  previous=$arg\ndone\n'
        'if [ -n "$dir" ]; then\n  mkdir -p "$dir"; chown -R postgres "$(dirname "$dir")"\n'
        '  up=$dir; while [ "$up" != / ] && [ "$up" != /tmp ]; do up=$(dirname "$up"); chmod a+x "$up"; done\nfi\n'
        f'cd /tmp && exec setpriv --reuid postgres --regid postgres --init-groups {pg_ctl} "$@"\n'
    )
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return str(wrapper)


PG_CTL = _pg_ctl()
SETTINGS = (
    "-c fsync=off -c wal_level=logical -c max_replication_slots=40 -c max_wal_senders=40 -c max_logical_replication_workers=40"
    " -c max_worker_processes=60 -c wal_retrieve_retry_interval=200ms -c log_min_messages=warning -c max_connections=150"
)
