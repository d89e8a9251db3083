# Only python3 with pip and venv is assumed; everything else is installed into .venv by these targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= out

.PHONY: help setup demo test lint types imports unit wheel frameworks clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F':.*?## ' '{printf "  make %-9s %s\n", $$1, $$2}'

$(VENV)/.run: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[zoo,images]'
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

setup: $(VENV)/.dev ## Make .venv with everything that development needs

demo: $(VENV)/.run ## Fetch a real OCR model, compress it from sample images, show what came of it
	$(BIN)/python -m tools.demo --out $(OUT)

test: lint types imports unit wheel ## Run every check: ruff, mypy, import-linter, pytest, wheel

lint: $(VENV)/.dev ## ruff: style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy

imports: $(VENV)/.dev ## import-linter: who may import whom
	$(BIN)/lint-imports

unit: $(VENV)/.dev ## pytest, a process for each CPU
	$(BIN)/python -m pytest -q -n auto --dist worksteal

wheel: $(VENV)/.dev ## Build sdist and wheel, install the wheel elsewhere and run a pass from it
	$(BIN)/python -m tools.check_wheel

# One environment for each framework: they do not agree on versions. torch first, by number: its index has CPU builds.
frameworks: ## Make .frameworks/*: what tests/converters -m frameworks and tools.bench_convert convert from
	$(call framework,torch,torch==2.13.0 'onnx>=1.21' onnxscript)
	$(call framework,sklearn,scikit-learn skl2onnx onnxmltools lightgbm xgboost catboost skops pandas onnx)
	$(call framework,tensorflow,tensorflow-cpu tf2onnx)
	$(call framework,jax,jax jax2onnx flax keras)
	$(call framework,paddle,paddlepaddle paddle2onnx packaging)
	$(call framework,huggingface,torch==2.13.0)
	$(call framework,huggingface,torch==2.13.0 transformers optimum-onnx onnxruntime onnxscript)

define framework
test -x .frameworks/$(1)/bin/python || $(PYTHON) -m venv .frameworks/$(1)
.frameworks/$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2)
endef

clean: ## Remove what these targets made
	rm -rf $(VENV) $(OUT) build dist *.egg-info .mypy_cache .ruff_cache
