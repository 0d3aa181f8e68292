# A few verbs; each installs what it needs first (tools/setup), and CI runs the same ones.
#
#   make demo     build, run, push, edit and rebuild a real Java service
#   make test     the whole test suite
#   make test-faults  the long versions of what tries to break caches: hundreds of kills and rounds of damage, large volumes
#   make check    lint, types, import contracts
#   make bench    speed against docker build; ARGS="--quick", ARGS="--rows copy-cold,push"
#   make bench-farm  strategies on a farm of machines behind slow links; options: FARM_COMMITS= or FARM_KINDS=edit:7,dependency:3,
#                 FARM_STRATEGIES= (names, or all), FARM_SCHEDULES=, FARM_LINK=, FARM_RTT=; FARM_DOCS=1 writes docs/bench-farm, of earlier runs with FARM_RESULTS="FILE ..."
#   make clean    remove what these made in the checkout (not the store)

PYTHON = .venv/bin/python
CODE = src tests bench tools/demo

.PHONY: demo test test-faults check bench bench-farm clean

demo:
	@tools/setup demo
	@$(PYTHON) tools/demo $(ARGS)

test:
	@tools/setup test
	$(PYTHON) -m pytest $(ARGS)

test-faults:
	@tools/setup test
	CHANDLERY_FAULT_ROUNDS=200 $(PYTHON) -m pytest --timeout 3600 tests/race/test_shared_volume_kills.py tests/registry/test_damaged_caches.py tests/kernel/volume/test_odd_volumes.py $(ARGS)

check:
	@tools/setup check
	$(PYTHON) -m ruff check $(CODE)
	$(PYTHON) -m ruff format --check $(CODE)
	$(PYTHON) -m mypy
	.venv/bin/lint-imports

bench:
	@tools/setup bench
	@$(PYTHON) -m bench $(ARGS)

bench-farm:
	@tools/setup bench-farm
	@$(PYTHON) -m bench.farm

clean:
	rm -rf .venv .cache build dist src/*.egg-info bench/results .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
