# Two commands: `make demo` and `make test`. Each sets up all it needs in .venv; a second call reuses it.
PYTHON ?= $(shell for p in python3.11 python3.10 python3.9 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 9) <= sys.version_info < (3, 12))' 2>/dev/null && { command -v $$p; break; }; done)
VENV := .venv
STAMP := $(VENV)/installed

.PHONY: demo paper rehearsal test setup clean

demo: $(STAMP)
	TF_CPP_MIN_LOG_LEVEL=3 $(VENV)/bin/python -m tfvn.demo

paper: $(STAMP)
	@test -n "$(DATA)" || { echo "make paper needs the knee data: make paper DATA=/path/to/folder"; exit 1; }
	$(VENV)/bin/python -m tfvn.paper "$(DATA)"

rehearsal: $(STAMP)
	$(VENV)/bin/python -m tfvn.paper --rehearse

test: $(STAMP)
	$(VENV)/bin/python -m pytest

setup: $(STAMP)

$(STAMP): setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.9, 3.10 or 3.11 is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) build *.egg-info
