# Two commands for a fresh clone: `make demo` and `make test`. Both install what they need.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
LOW := .venv-lowest
BENCH := .venv-bench
INSTALL := -m pip --disable-pip-version-check install --quiet -c constraints.txt
PIP := $(BIN)/python $(INSTALL)

XVFB_PACKAGES := xvfb xauth libgl1 libegl1 libglib2.0-0 libfontconfig1 libdbus-1-3 \
	libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0

# Test files that depend on the versions of the libraries.
LIBRARY_TESTS := package cli doctor io jobs engine batch stacks hostile security

.PHONY: demo test coverage lowest check bench contact-sheet kernel-model format screenshots figures docs dist audit display clean

demo: $(VENV)/.base
	$(BIN)/blind-deconv demo --out demo

test: $(VENV)/.test display
	$(BIN)/python -m pytest

# The same tests with coverage. They take one and a half times as long.
coverage: $(VENV)/.test display
	$(BIN)/python -m pytest --cov --cov-report=term

# Tests with the oldest version of each library that pyproject.toml allows, first without napari and
# then with it. uv reads the environment variables UV_OVERRIDE and UV_TORCH_BACKEND; with
# UV_TORCH_BACKEND=cpu it does not download gigabytes of CUDA.
lowest: display
	rm -rf $(LOW)
	$(PYTHON) -m venv $(LOW)
	$(LOW)/bin/python -m pip --disable-pip-version-check install --quiet uv
	$(call install_lowest,--extra cluster)
	$(LOW)/bin/python -m pytest $(LIBRARY_TESTS:%=tests/test_%.py)
	$(call install_lowest,--extra cluster --extra gui)
	$(LOW)/bin/python -m pytest $(LIBRARY_TESTS:%=tests/test_%.py) tests/test_widget.py

define install_lowest
	$(LOW)/bin/uv pip compile --quiet --resolution lowest-direct $(1) \
		--python $(LOW)/bin/python --output-file $(LOW)/lowest.txt pyproject.toml
	$(LOW)/bin/uv pip install --quiet --python $(LOW)/bin/python -r $(LOW)/lowest.txt
	$(LOW)/bin/uv pip install --quiet --python $(LOW)/bin/python -c $(LOW)/lowest.txt \
		-e . hypothesis ome-types pytest pytest-xdist $(if $(findstring gui,$(1)),pytest-qt pytest-xvfb)
endef

check: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate src/napari_blind_deconv/napari.yaml
	$(BIN)/zizmor --offline --quiet .github

# Takes a quarter of an hour on two cores. The images are not part of the repository. The other
# packages have an environment of their own, because one of them installs a package named `tests`.
bench: $(BENCH)/.rivals
	$(BENCH)/bin/python -m benchmarks quick speed --jobs 2 --again --results bench
	$(BENCH)/bin/python -m benchmarks.report --results bench

# Pages with every real image and its result, to be looked at, into bench/contact_sheet. Takes six
# minutes on one core. The images are not part of the repository.
contact-sheet: $(VENV)/.test
	$(BIN)/python -m benchmarks.contact_sheet

# The model of the width of the kernel, from made scenes. Takes a quarter of an hour on two cores.
kernel-model: $(VENV)/.test
	$(BIN)/python -m training

format: $(VENV)/.test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

screenshots: $(VENV)/.test display
	xvfb-run -a -s "-screen 0 1400x1000x24" $(BIN)/python docs/make_screenshots.py

figures: $(VENV)/.test
	$(BIN)/python docs/make_method_figures.py

# Any warning is an error. Only the packages are downloaded, the first time.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -q -E -W --keep-going -d build/doctrees docs site

# Build and check the files for PyPI. Each must be smaller than 1 MB.
dist: $(VENV)/.dist
	rm -rf dist
	$(BIN)/validate-pyproject pyproject.toml
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/check-wheel-contents dist/*.whl
	@wc -c dist/*
	@if find dist -type f -size +1000000c | grep .; then echo "is larger than 1 MB."; exit 1; fi

# List known vulnerabilities of the dependencies. This asks the package index.
audit: $(VENV)/.base
	$(PIP) -e '.[audit]'
	$(BIN)/pip-audit --skip-editable

$(VENV)/.base: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) -e '.[test]'
	touch $@

$(BENCH)/.rivals: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python $(INSTALL) -e '.[bench,rivals]'
	touch $@

$(VENV)/.docs: $(VENV)/.base
	$(PIP) -e '.[docs]'
	touch $@

$(VENV)/.dist: $(VENV)/.base
	$(PIP) -e '.[dist]'
	touch $@

# The tests of the widget need a display. As root on Debian and its derivatives, install a virtual one.
display:
	@if [ "$$(uname)" = Linux ] && ! { command -v Xvfb && ldconfig -p | grep libxcb-cursor; } \
		>/dev/null 2>&1; then \
		if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			apt-get install -qq -y --no-install-recommends $(XVFB_PACKAGES); \
		else \
			echo "No virtual display was found. Tests of the widget may be skipped. They need:"; \
			echo "  $(XVFB_PACKAGES)"; \
		fi; \
	fi

clean:
	rm -rf $(VENV) $(LOW) $(BENCH) demo bench dist build site docs/_generated
