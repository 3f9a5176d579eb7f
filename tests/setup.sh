#!/bin/bash
# Run a command when everything is there that rowseal's tests, demo and benchmarks need:
#
#   tests/setup.sh COMMAND [ARGUMENT …]
#
# PostgreSQL with PL/Python and its development files, PyNaCl for the server's Python (Debian and Ubuntu packages,
# with sudo when need be), a Python environment in .venv, the extension in PostgreSQL's extension folder.  When all is
# there it says nothing, asks nobody and needs no network.  No database server of the machine is used or changed.
#
# PG_CONFIG chooses the PostgreSQL; by default the highest version that is complete, else the highest that is
# installed, else the distribution's.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022
export LC_ALL=C.UTF-8 PYTHONNOUSERSITE=1
unset PYTHONPATH PYTHONHOME MAKEFLAGS MAKELEVEL MFLAGS

say() { printf 'rowseal: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo > /dev/null; then sudo "$@"
  else die "this needs root, and there is no sudo: $*"
  fi
}
apt() { # quiet, but for what went wrong
  local log
  log=$(mktemp)
  if ! as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a \
      apt-get -qq -o DPkg::Lock::Timeout=300 "$@" < /dev/null > "$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    die "apt-get $* failed"
  fi
  rm -f "$log"
}

exec 9< Makefile
flock 9 # two of us at a time would install twice

# ------------------------------------------------------------------------------------------------ which PostgreSQL
debian=/usr/lib/postgresql
oldest=15
new_enough() { [ "${1%%.*}" -ge $oldest ] || die "PostgreSQL $1 is too old: rowseal needs $oldest or later ($2)"; }

lacks() { # the parts that the PostgreSQL of this pg_config lacks
  local bin share
  bin=$("$1" --bindir 2> /dev/null) && share=$("$1" --sharedir) || { echo server plpython3 server-dev; return; }
  [ -x "$bin/postgres" ] && [ -x "$bin/initdb" ] && [ -x "$bin/psql" ] || echo server
  [ -f "$share/extension/plpython3u.control" ] || echo plpython3
  [ -f "$("$1" --pgxs)" ] || echo server-dev
}

choose() {
  local found version
  if [ -n "${PG_CONFIG:-}" ]; then
    found=$(command -v "$PG_CONFIG" || true)
    case ${found:-$PG_CONFIG} in $debian/*) PG_CONFIG=${found:-$PG_CONFIG}; return ;; esac
    [ -n "$found" ] || die "PG_CONFIG=$PG_CONFIG is not there"
  else
    found=$(command -v pg_config || true)
  fi
  if [ -n "$found" ]; then
    case $("$found" --bindir) in
      $debian/*) [ -z "${PG_CONFIG:-}" ] || { PG_CONFIG=$("$found" --bindir)/pg_config; return; } ;;
      *) if [ -n "${PG_CONFIG:-}" ] || [ -x "$("$found" --bindir)/postgres" ]; then PG_CONFIG=$found; return; fi ;;
    esac
  fi
  PG_CONFIG=
  for version in $(ls "$debian" 2> /dev/null | sort -rV); do
    found=$debian/$version/bin/pg_config
    [ -x "$debian/$version/bin/postgres" ] && [ "${version%%.*}" -ge $oldest ] || continue
    PG_CONFIG=${PG_CONFIG:-$found}
    if [ -z "$(lacks "$found")" ]; then PG_CONFIG=$found; return; fi
  done
}

# -------------------------------------------------------------------------------------------------------- packages
python() { # a Python that can make .venv; the system's first, so that there is a wheel for it
  local candidate
  for candidate in /usr/bin/python3 python3; do
    if "$candidate" -I -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))' 2> /dev/null; then
      echo "$candidate"
      return
    fi
  done
}

# The hash covers the place, too: a moved environment does not run.
wanted=$({ pwd; cat plpython/pyproject.toml; } | sha256sum)
venv_is_there() { [ "$(cat .venv/rowseal.sha256 2> /dev/null)" = "$wanted" ] && .venv/bin/python -c '' 2> /dev/null; }

packages() { # what apt must install; the version may still be unknown: N
  local major part
  major=N
  case ${PG_CONFIG:-} in $debian/*) major=${PG_CONFIG#"$debian"/} major=${major%%/*} ;; esac
  for part in $(lacks "${PG_CONFIG:-none}"); do
    case $part in
      server) echo "postgresql-$major" ;;
      plpython3) echo "postgresql-plpython3-$major" ;;
      server-dev) echo "postgresql-server-dev-$major" ;;
    esac
  done
  case ${PG_CONFIG:-$debian} in
    $debian*) /usr/bin/python3 -I -c 'import nacl.bindings' 2> /dev/null || echo python3-nacl ;;
  esac
  command -v make > /dev/null || echo make
  # for the tests of examples/javascript, which are skipped where that cannot be had
  [ -z "${WITH_NODE:-}" ] || command -v npm > /dev/null || ! command -v apt-get > /dev/null || echo nodejs npm
  venv_is_there || [ -n "$(python)" ] || echo python3-venv
}

choose
missing=$(packages)
if [ -n "$missing" ]; then
  command -v apt-get > /dev/null || die "please install what these Debian packages contain:" $missing
  case ${PG_CONFIG:-$debian} in
    $debian*) ;;
    *) [[ $missing != *-N* ]] || die "$PG_CONFIG belongs to a PostgreSQL without:" $(lacks "$PG_CONFIG") ;;
  esac
  say "updating the package lists (apt-get update)"
  apt update
  if [ -z "$PG_CONFIG" ]; then
    major=$(apt-cache depends postgresql | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
    [ -n "$major" ] || die "apt knows no package postgresql"
    new_enough "$major" "apt.postgresql.org has newer packages for this distribution"
    PG_CONFIG=$debian/$major/bin/pg_config
    missing=$(packages)
  fi
  say "installing:" $missing
  if [[ " "$missing" " =~ postgresql-[0-9]+[[:space:]] ]]; then
    say "(with a new PostgreSQL the system creates a database cluster of its own; rowseal does not use it)"
  fi
  apt install --no-install-recommends -y $missing
  missing=$(packages)
  [ -z "$missing" ] || die "still missing:" $missing
fi
new_enough "$("$PG_CONFIG" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')" "PG_CONFIG=$PG_CONFIG"
export PG_CONFIG

# ----------------------------------------------------------------------------------------------------------- .venv
if ! venv_is_there; then
  python=$(python)
  say "installing the Python packages of plpython/pyproject.toml into .venv ($("$python" --version))"
  "$python" -m venv --clear .venv
  .venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check --no-cache-dir --editable 'plpython[cli,test,lint]'
  # for the server's Python: Debian's cryptography has no ML-DSA
  .venv/bin/python -m pip install --quiet --quiet --disable-pip-version-check --no-cache-dir --target .venv/server 'cryptography>=47'
  printf '%s\n' "$wanted" > .venv/rowseal.sha256
fi

# ------------------------------------------------------------------------------------------------------- extension
make -s all PG_CONFIG="$PG_CONFIG"
target=$("$PG_CONFIG" --sharedir)/extension
for file in extension/rowseal.control extension/rowseal--*.sql; do
  if ! cmp -s "$file" "$target/${file##*/}"; then
    say "installing the extension into $target"
    if [ -w "$target" ]; then make -s install PG_CONFIG="$PG_CONFIG" > /dev/null
    else as_root make -s install PG_CONFIG="$PG_CONFIG" > /dev/null
    fi
    break
  fi
done

exec 9<&-
exec "$@"
