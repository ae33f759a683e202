# Everything runs in .venv of this checkout; PYTHON chooses what it is made from: make test PYTHON=python3.12
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A stamp says that an installation was finished for this pyproject.toml; what is there already is not fetched again.
DEV := $(VENV)/.installed-dev
DEMO := $(VENV)/.installed-demo

# Pinned and installed first: an unpinned torch may bring gigabytes of CUDA along.
TORCH ?= torch==2.13.0
# Without what it asks for: see pyproject.toml.
SAM2 ?= sam2==1.1.0
# llama-cpp-python is built from source, and pip keeps the wheel: without GGML_NATIVE=OFF it would run on no other CPU.
PORTABLE := -DGGML_NATIVE=OFF $(if $(filter x86_64,$(shell uname -m)),-DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON)
PIP := CMAKE_ARGS="$${CMAKE_ARGS-$(PORTABLE)}" $(BIN)/python -m pip install --disable-pip-version-check -q
# Said before a silence that looks like a fault.
BUILDS := $(BIN)/python -c 'import llama_cpp' 2>/dev/null || \
	echo "installing; llama.cpp is built from source the first time, 6 to 11 minutes on two cores (needs g++ and cmake)"

PYTEST_ARGS ?=
BENCH_ARGS ?=

.DELETE_ON_ERROR:
.PHONY: help demo test lint types bench clean

help:
	@echo "make demo    make a synthetic room, ask three questions about it, compare with the truth (demo_out/)"
	@echo "make test    run the tests            (PYTEST_ARGS='-k doctor' runs some)"
	@echo "make lint    ruff: rules and layout"
	@echo "make types   mypy --strict"
	@echo "make bench   run every benchmark      (BENCH_ARGS=--quick shows only that they run)"
	@echo "make clean   remove what the above have made, but not .venv and results"

demo: $(DEMO)
	$(BIN)/scene-r1 warmup
	rm -rf demo_out
	$(BIN)/scene-r1 demo --out demo_out

# A file's tests stay in one process, so that what they share is made once; two processes share two cores.
test: $(DEV)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy -p scene_r1 -p scene_r1_engines -p scene_r1_export -p benchmarks

bench: $(DEV)
	@set -e; for name in kernels readers keyframes lift reasoner query sam2 grounding; do $(BIN)/python -m "benchmarks.$$name" $(BENCH_ARGS); done

clean:
	rm -rf build dist demo_out .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find runtime engines export benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(DEV): pyproject.toml $(BIN)/python
	@$(BUILDS)
	$(PIP) '$(TORCH)'
	$(PIP) -e '.[dev]'
	SAM2_BUILD_CUDA=0 $(PIP) --no-deps --no-build-isolation '$(SAM2)'
	@touch $@

# dev holds what demo asks for.
$(DEMO): pyproject.toml $(BIN)/python
	@if [ "$(DEV)" -nt pyproject.toml ]; then :; else \
		$(BUILDS); $(PIP) -e '.[demo]'; fi
	@touch $@

# Made beside its place would not do (a venv knows its path), so a half-made one is removed.
$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "make: $(PYTHON) is not there; Python 3.10 to 3.13 is needed: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "make: Python 3.10 to 3.13 is needed, $(PYTHON) is $$("$(PYTHON)" -V 2>&1):" \
			"make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "make: $(PYTHON) cannot make environments: apt-get install python3-venv" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
