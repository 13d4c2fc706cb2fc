# Two commands are enough: `make demo` and `make test`. Each sets everything up first (once, in .venv).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Or each process would compile torch anew: uv leaves that to the first import.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test quick test-slow map lessons readme docs docs-serve chromium clean
help:
	@echo 'make demo     the main job, from nothing to a trained model and its results, on the built-in phantom'
	@echo 'make test     every test: export, notebooks, saved outputs, tests/'
	@echo 'make quick    the tests that need no notebook executed, no browser and no training: about 2 minutes'
	@echo 'make test-slow  10,000 damaged scans; rows of the tables; the kernel with the versions of Kaggle, and every test with torch 2.7.1 (P100): two new environments of 6 GB'
	@echo 'make lessons  after editing nbs/: export, run every notebook and save its outputs, clean; the sidebar, the map, README.md'
	@echo 'make map      the modules by floor, with lines and imports'
	@echo 'make docs     the site, into _docs/: by Quarto where that is installed, else by packages from PyPI alone'
	@echo 'make docs-serve  make docs, then show it on localhost'
	@echo 'make clean    remove .venv and the built site; your runs are kept'

setup: $(READY)

# Made again whenever what is to be installed changes. uv installs in half a minute what takes pip three; where it can't (it
# doesn't know pip's settings), pip does.
$(READY): settings.ini pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "covid_nbdev needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv && $(BIN)/uv pip install --python $(BIN)/python --editable '.[dev]' \
	  || $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(READY)
	$(BIN)/covid_demo

# Two processes, one thread each: CI has two cores. More: make test JOBS=8
JOBS ?= 2
test: $(READY) chromium
	$(BIN)/python -m pytest -n $(JOBS)

quick: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) -m 'not notebook and not browser and not slow'

test-slow: $(READY)
	$(BIN)/python tools/slow.py

# The tests of the site look at it in a browser. Without root they are skipped where there is none (tests/skips.txt).
chromium:
	@if [ ! -e /usr/bin/chromium ] && [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	  { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium > /dev/null; } \
	  || echo 'chromium could not be installed: the tests of the site are skipped'; fi

lessons: $(READY)
	$(BIN)/python tools/badges.py --write
	$(BIN)/nbdev_export
	$(BIN)/python tools/lessons.py --write
	$(BIN)/nbdev_clean
	$(BIN)/python tools/docs.py --names
	$(BIN)/python tools/map.py --write
	$(BIN)/python tools/readme.py --write

map: $(READY)
	@$(BIN)/python tools/map.py

readme: $(READY)
	$(BIN)/python tools/readme.py --write

docs: $(READY)
	$(BIN)/python tools/docs.py

docs-serve: $(READY)
	$(BIN)/python tools/docs.py --serve

clean:
	rm -rf $(VENV) _docs _proc
