# Every target sets up what it needs: a machine with Python 3.11-3.13 and `make` is enough.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-quick test-random chaos simulation ops-test deploy-test lint bench bench-quick bench-peers bench-churn soak docs sbom clean

# Processes start by the dozen in tests and demo: let them share compiled modules.
unexport PYTHONDONTWRITEBYTECODE

TOOLS := .tools
UV := $(shell command -v uv 2>/dev/null || echo $(TOOLS)/bin/uv)
RUN := $(UV) run --frozen --all-extras
DEPLOY := $(RUN) --group deploy
SBOM := out/engage.cdx.json
# Each process has servers of its own; one that has run out of tests takes some over.
PYTEST := pytest -n auto --maxprocesses 4 --dist worksteal

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(TOOLS)/bin/uv:
	python3 -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet "uv>=0.8"

setup: $(UV) ## install the locked dependencies into .venv
	@UV_COMPILE_BYTECODE=1 $(UV) sync --frozen --all-extras --quiet

demo: setup ## replay 18 months of real purchases, live in the terminal (ARGS="--customers 2000")
	@$(RUN) engage demo $(ARGS)

test: setup lint ## every check: lint, types, contracts, unit and fault tests on real servers
	@$(RUN) python tests/prepare.py
	@$(RUN) $(PYTEST)

# What issue after issue asked of operating it; those not marked `ops` are part of `make test`, too.
OPERATING := tests/monitoring tests/deployment tests/top tests/test_metrics.py $(addprefix tests/streams/, \
	test_health.py test_watch.py test_widen.py test_production.py test_tracing.py test_logs.py test_secure_kafka.py \
	store/test_secure_redis.py)

ops-test: setup ## operating it: tasks typed in under load, widening, alerts by real faults, dashboards, security; minutes
	@$(RUN) python tests/prepare.py
	@$(RUN) pytest -m "ops or not ops" tests/ops $(OPERATING)

test-quick: setup ## the tests that need no JVM and no Prometheus, and kill nothing
	@$(RUN) $(PYTEST) -m "not kafka and not prometheus and not faults" -q

test-random: setup ## the property tests on examples never tried before (ARGS="tests/rules")
	@$(RUN) $(PYTEST) --hypothesis-profile=random -m "not kafka and not prometheus and not faults" -q $(ARGS)

chaos: setup ## 200 real faults on Apache Kafka and Valkey, within an hour (ARGS="--faults 20 --seed 7")
	@$(RUN) python tests/prepare.py
	@$(RUN) python -m tests.chaos $(ARGS)

deploy-test: setup ## container file, chart, units and compose file, by the real tools (as root; needs Go, Node.js)
	@$(DEPLOY) python -m tests.deployment.prepare
	@$(DEPLOY) pytest --timeout=1800 tests/deployment/check_*.py $(ARGS)

sbom: $(UV) ## what is in the image, as CycloneDX, from the lock file (SBOM=FILE)
	@mkdir -p $(dir $(SBOM))
	@$(UV) export --frozen --no-dev --extra otel --format cyclonedx1.5 --quiet --output-file $(SBOM)

simulation: setup ## 10,000 seeds of simulated faults against the reference model (ARGS="--seed 7")
	@$(RUN) python -m tests.simulation --seeds 10000 --processes 2 $(ARGS)

lint: setup ## ruff, mypy, import directions
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy
	@$(RUN) lint-imports

bench: setup ## everything in less than half an hour: out/bench.html, out/bench.json
	@$(RUN) python tests/prepare.py
	@$(RUN) python -m loadtest.curve
	@$(RUN) python -m loadtest
	@$(RUN) python -m loadtest.peers
	@$(RUN) python -m loadtest.ported

bench-quick: setup ## open-loop latency and throughput beside the relay and stock Faust, three minutes
	@$(RUN) python tests/prepare.py
	@$(RUN) python -m loadtest --quick

bench-peers: setup ## the engine beside Quix Streams, Bytewax and stock Faust (ARGS=--quick)
	@$(RUN) python tests/prepare.py
	@$(RUN) python -m loadtest.peers $(ARGS)

soak: setup ## half an hour of load; memory, file descriptors, threads and Redis keys stay flat (ARGS="--minutes 5")
	@$(RUN) python tests/prepare.py
	@$(RUN) python -m loadtest.soak $(ARGS)

bench-churn: setup ## the churn model on real purchases, beside LightGBM and BG/NBD (ARGS="--tune --html churn.html")
	@$(RUN) python -m loadtest.churn $(ARGS)

docs: setup ## regenerate the reference pages under docs/, the dashboards and parts of the chart from the code
	@$(RUN) python -m engine.docs
	@$(RUN) python deploy/grafana/dashboards.py
	@$(RUN) python deploy/helm/generate.py

clean: ## remove caches and the environment
	rm -rf .venv $(TOOLS) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
