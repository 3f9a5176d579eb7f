# rowseal: build, install, test.  The version stands in META.json alone.
EXTENSION    = extension/rowseal
RELEASE     := $(shell sed -n 's/^  "version": "\(.*\)",/\1/p' META.json)
PYTHON3     ?= /usr/bin/python3
PG_CONFIG   ?= pg_config

SCRIPT      := extension/rowseal--$(RELEASE).sql
DATA_built   = $(SCRIPT)
EXTRA_CLEAN  = extension/rowseal--*.sql extension/rowseal.control
SOURCES      = $(wildcard sql/*.sql) $(wildcard plpython/rowseal/*.py) sql/build.py META.json

all: $(SCRIPT) extension/rowseal.control

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(PGXS),)
include $(PGXS)
endif

$(SCRIPT): $(SOURCES)
	$(PYTHON3) sql/build.py $(RELEASE) > $@.tmp && mv $@.tmp $@

extension/rowseal.control: extension/rowseal.control.in META.json
	sed 's/@VERSION@/$(RELEASE)/' $< > $@
