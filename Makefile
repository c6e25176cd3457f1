# Two commands: `make demo` and `make test`. Each sets up all it needs in .venv; a second call
# reuses it.
# STACK=keras3 does the same with TensorFlow 2.21 and Keras 3, in .venv-keras3.
STACK ?= keras2
ifeq ($(STACK),keras3)
VENV := .venv-keras3
PINS := constraints-keras3.txt
VERSIONS := 3.12 3.13 3.11
# tests/conftest.py says which tests these are.
ALL_TESTS := -m "not one_stack"
TESTS := -m "not one_stack and not slow"
else ifeq ($(STACK),keras2)
VENV := .venv
PINS := constraints.txt
VERSIONS := 3.11 3.10 3.9
ALL_TESTS :=
TESTS := -m "not slow"
else
$(error STACK=$(STACK) is unknown. It is keras2 or keras3)
endif
# The first of these Pythons that runs: by name, or of pyenv, whose names answer only for the
# version chosen.
PYTHON ?= $(shell for v in $(VERSIONS); do for p in python$$v python3 $$HOME/.pyenv/versions/$$v.*/bin/python; do \
	test "$$($$p -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = $$v && { command -v $$p; exit; }; done; done)
STAMP := $(VENV)/installed
# UV is the path of a uv that installs instead.
ifdef UV
PIP := $(UV) pip install --quiet --python $(VENV)/bin/python
else
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check
endif

.PHONY: demo paper rehearsal models leaderboard style test test-all docs tensorboard setup clean

demo: $(STAMP)
	TF_CPP_MIN_LOG_LEVEL=3 $(VENV)/bin/python -m tfvn.paper.demo

paper: $(STAMP)
	@test -n "$(DATA)" || { echo "make paper needs the knee data: make paper DATA=/path/to/folder"; exit 1; }
	$(VENV)/bin/python -m tfvn.paper "$(DATA)"

rehearsal: $(STAMP)
	$(VENV)/bin/python -m tfvn.paper --rehearse

# The table of the models in docs/howto/models.md.
models: $(STAMP)
	TF_CPP_MIN_LOG_LEVEL=3 $(VENV)/bin/python -m tfvn.paper.models

# Four models, ranked by what attacks do to them: docs/howto/leaderboard.md.
leaderboard: $(STAMP)
	TF_CPP_MIN_LOG_LEVEL=3 $(VENV)/bin/python -m tfvn leaderboard configs/leaderboard/quick.yaml

# The layout and what ruff finds, as pyproject.toml says.
style: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

test: $(STAMP)
	$(VENV)/bin/python -m pytest $(TESTS)

# With the slow ones: one test in sixty, and two fifths of the time.
test-all: $(STAMP)
	$(VENV)/bin/python -m pytest $(ALL_TESTS)

# Warnings are errors.
docs: $(STAMP)
	@test $(STACK) = keras2 || { echo "make docs: Sphinx is in the default environment only; leave STACK out."; exit 1; }
	$(VENV)/bin/python -m sphinx -q -W --keep-going -n -b html docs docs/_build/html

# On this machine only. What TensorBoard's own libraries warn of is not its user's.
tensorboard: $(STAMP)
	TF_CPP_MIN_LOG_LEVEL=3 PYTHONWARNINGS=ignore $(VENV)/bin/tensorboard --logdir runs --host 127.0.0.1

setup: $(STAMP)

$(STAMP): setup.py $(PINS)
	@test -n "$(PYTHON)" || { echo "STACK=$(STACK) needs Python $(VERSIONS): make PYTHON=/path/to/python $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
ifeq ($(STACK),keras3)
	# By itself, as setup.py asks for the other stack on Python 3.11.
	$(PIP) -r $(PINS)
	$(PIP) --no-deps -e .
else
	$(PIP) -c $(PINS) -e '.[test,docs]'
endif
	touch $(STAMP)

clean:
	rm -rf .venv .venv-keras3 build docs/_build *.egg-info
