# Everything a person or the CI does here, by name. Needs Python 3.11+, git and make; the rest comes from PyPI into .venv,
# each file checked against the hashes in requirements/.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.ready
NOT_RUN := $(VENV)/.not-run
AGAIN   := $(VENV)/.again
CODE   := $(wildcard src tests bench examples)

DIR   ?=
DB    ?= sqlite
KILLS ?= 300
JOBS  ?= 2
SEEDS ?= 2000
START ?= 0
N     ?= 20
EPISODES ?= 500
CASES ?= 5000
EXAMPLES ?= 20000
ARGS  ?=

.PHONY: help
help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## make .venv from the locks (done again only when they change)

$(STAMP): requirements/dev.lock pyproject.toml
	@echo "== setting up $(VENV)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name it with PYTHON=..."; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

.PHONY: lock
lock: ## make the locks anew from pyproject.toml (needs uv)
	@set -e; compile() { uv pip compile -q --universal --generate-hashes --no-annotate --no-header --no-emit-index-url \
	    --python-version 3.11 pyproject.toml --extra postgres "$$@"; }; \
	compile -o requirements/runtime.lock; \
	compile -o requirements/dev.lock -c requirements/runtime.lock --extra uvloop --extra pydantic --group dev

.PHONY: fmt
fmt: setup ## format the code and repair what the linter can repair
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

.PHONY: check
check: setup ## format, lint, types, layers, tests: exactly what the CI runs
	@echo "== 1/5 format"
	@$(BIN)/ruff format --check $(CODE)
	@echo "== 2/5 lint"
	@$(BIN)/ruff check $(CODE)
	@echo "== 3/5 types"
	@$(BIN)/mypy $(CODE)
	@echo "== 4/5 layers"
	@$(BIN)/lint-imports
	@echo "== 5/5 tests"
	@rm -f $(NOT_RUN) $(AGAIN)
	@$(BIN)/pytest -q -n $(JOBS) --dist worksteal --maxfail 20 -m "not serial" --not-run=$(NOT_RUN) $(ARGS) || { \
	    [ $$? -eq 1 ] || exit 1; echo "== what failed beside others, once more alone"; \
	    $(BIN)/pytest --last-failed --last-failed-no-failures none --maxfail 1 -rA --show-capture no -q -m "not serial" | tee $(AGAIN); \
	    [ $${PIPESTATUS[0]} -eq 0 ]; }
	@$(BIN)/pytest -q -m serial --not-run=$(NOT_RUN) $(ARGS) || [ $$? -eq 5 ]
	@if [ -s $(AGAIN) ]; then echo "== failed beside others and passed alone: each is a bug of its test or of the product"; grep ^PASSED $(AGAIN); fi
	@echo "== all checks passed; could not be run here:"
	@sed 's/^/   /' $(NOT_RUN) 2>/dev/null || echo "   nothing"

.PHONY: demo
demo: setup ## index a folder, one worker killed half way; then three schedules through a crash  [DIR=path] [DB=postgres]
	@$(BIN)/python -m examples.index_tree $(if $(DIR),"$(DIR)") --db $(DB)
	@$(BIN)/python -m examples.above_cron

.PHONY: bench
bench: setup ## the tables of speeds: bare SQL, us, and the peers that are installed  [ARGS="--quick --only postgres.drain"] [ARGS=--page]
	@$(BIN)/python -m bench $(ARGS)
	@$(if $(ARGS),:,$(BIN)/python -m bench.shares)

.PHONY: bench-shares
bench-shares: setup ## what keys, limits, backlogs and idle runs cost, as shares of the same work without  [ARGS="--only keys --rounds 1"]
	@$(BIN)/python -m bench.shares $(ARGS)

.PHONY: bench-peers
bench-peers: setup ## install the other job systems that bench measures beside us, each below .bench/  [ARGS="NAME ..."]
	@$(BIN)/python -m bench.peers install $(ARGS)

.PHONY: bench-growth
bench-growth: setup ## does it stay as fast: history, backlog, queues, keys; a held snapshot, a soak  [ARGS="--large --only soak --minutes 60"]
	@$(BIN)/python -m bench.growth $(ARGS)

.PHONY: bench-schedules
bench-schedules: setup ## a thousand schedules due each second, and ten among 100,000 idle ones  [ARGS=install] [ARGS="--only fires"]
	@$(BIN)/python -m bench.schedules $(ARGS)

.PHONY: bench-occurrences
bench-occurrences: setup ## the next occurrence of a cron expression, beside other implementations  [ARGS=install]
	@$(BIN)/python -m bench.occurrences $(ARGS)

.PHONY: budgets
budgets: setup ## count statements, waits, SQLite's steps and WAL bytes of the hot path beside their budgets  [ARGS=--write]
	@$(BIN)/python -m tests.budgets $(ARGS)

# --- proofs: each has a sample in `make check`; these are the long campaigns ------------------------------------------

.PHONY: sim
sim: setup ## simulate fleets by seed; a failing one is shrunk and kept  [SEEDS=2000] [START=0] [SEED=n, to see one again]
	@$(BIN)/python -m mainspring.testing.simulator --keep tests/simulation/corpus \
	    $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --start $(START)) $(ARGS)

.PHONY: mutants
mutants: setup ## plant bugs in the protocol and see the simulator catch each  [ARGS="name ..."]
	@$(BIN)/python -m tests.mutants $(ARGS)

.PHONY: crash-schedules
crash-schedules: setup ## the same with ten schedules due every second: each instant has one fate  [KILLS=300] [DB=sqlite|postgres|both]
	@$(BIN)/python -m tests.crash --schedules 10 --kills $(KILLS) --db $(DB) $(ARGS)

.PHONY: crash
crash: setup ## kill real workers with -9 and check what they left  [KILLS=300] [PG_KILLS=n] [DB=sqlite|postgres|both]
	@$(BIN)/python -m tests.crash $(if $(PG_KILLS),--db postgres --pg-kills $(PG_KILLS),--kills $(KILLS) --db $(DB)) $(ARGS)

.PHONY: failover
failover: setup ## kill the primary under work and promote its synchronous standby  [N=20]
	@$(BIN)/python -m tests.failover --n $(N) $(ARGS)

.PHONY: interleavings
interleavings: setup ## two transactions of every pair of operations, statement by statement, on PostgreSQL
	@$(BIN)/python -m tests.interleavings --orders 100 $(ARGS)

.PHONY: differential
differential: setup ## one random sequence of operations on every database, and equal answers  [ARGS="--examples 20000"]
	@$(BIN)/python -m tests.differential $(ARGS)

.PHONY: oracle
oracle: setup ## cron, zones and clock changes against looking at every wall time  [EXAMPLES=20000] [ARGS="--seed 7"]
	@$(BIN)/python -m tests.oracle --examples $(EXAMPLES) $(ARGS)

.PHONY: disk
disk: setup ## fail every write and every sync, fill the disk, cut the power  [ARGS="--most 1000"]
	@$(BIN)/python -m tests.disk --most 1100 $(ARGS)

.PHONY: network
network: setup ## cut, stall and reset the connections to PostgreSQL under work  [EPISODES=500]
	@$(BIN)/python -m tests.network --episodes $(EPISODES) $(ARGS)

.PHONY: api
api: setup ## ask the HTTP API everything its document can mean, right and wrong  [CASES=5000] [ARGS="--seed 7"]
	@$(BIN)/python -m tests.web --cases $(CASES) $(ARGS)
