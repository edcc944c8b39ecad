# Two commands are enough: `make demo` and `make test`. Everything lives in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
SEED   ?= 1
MINUTES ?= 10
PEERS  := .venv-bench

.PHONY: help demo test test-all check bench bench-full faults fuzz kafka mutants setup format clean constraints
help:           ## show this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## make .venv with everything in it
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "headrace needs Python 3.11 or newer; set PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $(READY)

demo: $(READY)  ## the whole story, from nothing, in about a minute
	@$(BIN)/python -m compileall -q pipelines schemas jobs flows headrace/__init__.py
	$(BIN)/headrace demo

# Three tests at once on two cores, because a part of the time is waiting.
PYTEST := $(BIN)/python -m pytest -n 3 --dist loadgroup --durations 25

test: $(READY)  ## a test of every promise, in minutes
	@$(BIN)/python -m compileall -q pipelines schemas jobs flows headrace/__init__.py
	$(PYTEST) -m "not thorough"

test-all: $(READY) ## the tests that `make test` leaves out: more crashes, engines, services
	@$(BIN)/python -m compileall -q pipelines schemas jobs flows headrace/__init__.py
	$(PYTEST) -m thorough

faults: $(READY) ## the long attacks: kills, power loss, broken disks, damage, load, a day (hours)
	$(BIN)/python -m tests.faults.kills --kills 500 --seed $(SEED)
	$(BIN)/python -m tests.faults.powerloss --seed $(SEED) --rounds 60
	$(BIN)/python -m tests.faults.resources --seed $(SEED) --each 2
	$(BIN)/python -m tests.faults.damage --seed $(SEED) --rounds 60
	$(BIN)/python -m tests.faults.load --publishes 100 --queries 20000 --seed $(SEED)
	$(BIN)/python -m tests.faults.longrun --hours 24 --seeds 2
	$(BIN)/python -m tests.fuzz --seed $(SEED) --minutes $(MINUTES)
	$(BIN)/python -m tests.faults.kafka_storm --events 200000 --seed $(SEED)

fuzz: $(READY)  ## attack the seam at random: make fuzz SEED=7 MINUTES=10
	$(BIN)/python -m tests.fuzz --seed $(SEED) --minutes $(MINUTES)

mutants: $(READY) ## small changes of the fold: does a test notice each of them?
	$(BIN)/python -m tests.guards.mutate_sql

kafka: $(READY) ## a Kafka broker on localhost:9092, until you stop it
	$(BIN)/python -m tests.kafka.broker

check: $(READY) ## lint, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## figures, as ratios inside one run
	$(BIN)/python -m bench
	$(BIN)/python -m bench.kafka --spark

# A peer that cannot be installed is named in the report; the others are measured.
$(PEERS)/.ready: bench/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	@grep -v '^#' bench/requirements.txt | while read -r one; do \
	  $(PEERS)/bin/python -m pip install --quiet "$$one" || echo "not installed: $$one"; done
	@touch $@

bench-full: $(READY) $(PEERS)/.ready ## ours and the peers on the same events; writes docs/benchmarks.md
	$(BIN)/python -m bench.full $(ARGS)

format: $(READY) ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

constraints: $(READY) ## pin what is installed now
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt

clean:          ## remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
