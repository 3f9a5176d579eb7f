# rowseal: build, install, test.
#
#   make demo        a short session on a server of its own; installs what is missing
#   make test        all tests on a server of their own; installs what is missing.  ARGS="-k merge" passes on
#   make lint        ruff, mypy, pgspot, the house rules (.ci/house.py)
#   make all install the extension alone, for the PostgreSQL of PG_CONFIG
#   make golden      the committed triggers of some tables, written anew
#   make installcheck  tests against what is installed, changing nothing
#   make bench       measure, in less than a minute; bench-full: all, in less than twenty; bench-pages: write README and docs/performance.md from it
#   make soak        servers in trouble, then combinations, fuzz and states of tables, at random for long.  ARGS="MINUTES --seed N"
#   make dist clean
EXTENSION    = extension/rowseal
# The version stands in META.json alone.  (VERSION is PostgreSQL's own, in Makefile.global.)
RELEASE     := $(shell sed -n 's/^  "version": "\(.*\)",/\1/p' META.json)
# The server's Python builds the script; nothing but the standard library is needed.
PYTHON3     ?= /usr/bin/python3
PG_CONFIG   ?= pg_config
ARGS        ?=

SCRIPT      := extension/rowseal--$(RELEASE).sql
DATA_built   = $(SCRIPT)
EXTRA_CLEAN  = extension/rowseal--*.sql extension/rowseal--*.sql.tmp extension/rowseal.control
SOURCES      = $(shell find sql -type f) $(shell find plpython/rowseal -name '*.py') META.json

all: $(SCRIPT) extension/rowseal.control

# Without PostgreSQL's development files only the extension's files can be built; test and demo install them.
NO_INSTALLCHECK = 1
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(wildcard $(PGXS)),)
include $(PGXS)
else
install:
	@echo "rowseal: no development files of PostgreSQL behind PG_CONFIG=$(PG_CONFIG);" \
	      "on Debian and Ubuntu: apt install postgresql-server-dev-all" >&2; exit 1
clean:
	rm -f $(EXTRA_CLEAN)
endif

$(SCRIPT): $(SOURCES)
	$(PYTHON3) sql/build.py $(RELEASE) > $@.tmp && mv $@.tmp $@

extension/rowseal.control: extension/rowseal.control.in META.json
	sed 's/@VERSION@/$(RELEASE)/' $< > $@

# ---------------------------------------------------------------------------------------------------------------------
# tests/setup.sh runs its arguments when packages, .venv and the installed extension are in place.
PYTEST = .venv/bin/python -m pytest --rootdir . -ra -n 2 --dist worksteal

demo:
	@tests/setup.sh .venv/bin/python examples/demo.py $(ARGS)

# Without ARGS the whole suite, with the coverage of the Python package, commands in subprocesses included.
COVERAGE = --cov --cov-config plpython/pyproject.toml --cov-report term:skip-covered
NOT_COVERED = Coverage is of what clients and tests run.  What PL/Python runs inside the server is not counted.

test:
	@WITH_NODE=1 tests/setup.sh $(PYTEST) $(or $(ARGS),$(COVERAGE) tests); \
	  status=$$?; $(if $(ARGS),,echo "$(NOT_COVERED)";) exit $$status

# The committed functions of some tables (tests/lifecycle/golden), written anew.
golden:
	@UPDATE_GOLDEN=1 tests/setup.sh $(PYTEST) -q tests/lifecycle/test_golden_triggers.py

installcheck:
	PG_CONFIG=$(PG_CONFIG) $(PYTEST) $(or $(ARGS),tests)

# One configuration: plpython/pyproject.toml.  pgspot reads the script as it is installed, but for what its parser cannot:
# it forgets the quotes of a parameter called "row", and knows no fields of a variable of a table's row type.  Functions without a
# search path: tests/attacks/test_sql_user.py reads them, it knows no OPERATOR() either.
lint:
	@tests/setup.sh .venv/bin/ruff check --config plpython/pyproject.toml .
	@.venv/bin/ruff format --check --quiet --config plpython/pyproject.toml .
	@.venv/bin/mypy --config-file plpython/pyproject.toml
	@sed -e 's/"row"/row_/g' -e 's/^\( *\(d\|old\)\) rowseal\.\(declarations\|quarantine\);/\1 record;/' $(SCRIPT) | .venv/bin/pgspot --ignore-lang plpython3u \
	  --proc-without-search-path 'rowseal._verified(signature bytea,message bytea,public_key bytea)' \
	  --proc-without-search-path 'rowseal._settled(outcome text)' --proc-without-search-path 'rowseal._trusted_owner(owner oid)' \
	  --proc-without-search-path 'rowseal._results(outcomes text[],ordinal integer,outcome text,reason text)' \
	  --proc-without-search-path 'rowseal._arrive()' --proc-without-search-path 'rowseal._room(levels integer)' \
	  --proc-without-search-path 'rowseal._few(value anyarray,most integer)' \
	  --proc-without-search-path 'rowseal._one_based(value anyarray)' --proc-without-search-path 'rowseal._sparse(value text)' \
	  --proc-without-search-path 'rowseal._written(relation regclass,relation regclass,versions regclass,identity regclass,kept boolean)' \
	  --proc-without-search-path 'rowseal._names_of(owner oid,namespace oid)' \
	  --proc-without-search-path 'rowseal._elements(rows pg_catalog.json)' --proc-without-search-path 'rowseal._may_write(relation regclass)' \
	  --proc-without-search-path 'rowseal._bounded(element pg_catalog.json,format text)' \
	  --proc-without-search-path 'rowseal._before(authority integer,writer bytea,seq bigint,prev bytea)' \
	  --proc-without-search-path 'rowseal._outside(chain bigint[],tag text,key jsonb)' \
	  --proc-without-search-path 'rowseal._envelope(payload text,signature bytea,content pg_catalog.json)' \
	  --proc-without-search-path 'rowseal._encoded(bytea)' --proc-without-search-path 'rowseal._string(name text,value text)' \
	  --proc-without-search-path 'rowseal.unsubscribe(subscription name)' --proc-without-search-path \
	    'rowseal.subscribe(subscription name,conninfo text,publication name,batch integer,replace_slot boolean,parallel integer,INOUT outcomes jsonb)' \
  --proc-without-search-path \
    'rowseal._subscribe(subscription name,conninfo text,publication name,batch integer,replace_slot boolean,INOUT outcomes jsonb)' \
	  --proc-without-search-path 'rowseal._text(name text,value text)' --proc-without-search-path 'rowseal._flag(name text,value boolean)'
	@.venv/bin/python .ci/house.py

# The plot needs matplotlib.
bench bench-full:
	@tests/setup.sh true
	@.venv/bin/python -c 'import matplotlib' 2> /dev/null || .venv/bin/pip install --quiet --disable-pip-version-check --editable 'plpython[bench]'
	@tests/setup.sh .venv/bin/python bench/run.py $(if $(filter bench-full,$@),--full) $(ARGS)
	@$(if $(filter bench-full,$@),.venv/bin/python bench/writers.py && .venv/bin/python bench/signatures.py,true)

bench-pages:
	@tests/setup.sh .venv/bin/python bench/run.py --pages $(ARGS)

soak:
	@tests/setup.sh .venv/bin/python tests/kit/soak.py $(ARGS)
	@tests/setup.sh .venv/bin/python tests/kit/soak_combinations.py $(ARGS)

# What PGXN wants: one zip of what is committed.
dist:
	mkdir -p dist
	git archive --format zip --prefix rowseal-$(RELEASE)/ --output dist/rowseal-$(RELEASE).zip HEAD

.PHONY: all install clean demo test golden installcheck lint bench bench-full bench-pages soak dist
