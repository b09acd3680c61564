# Two commands: `make demo` runs the whole experiment at toy size, `make test` passes the tests.
# Everything they need is set up on the way: .venv here, one environment per stage by Snakemake.

SHELL := /bin/bash
CORES ?= $(shell nproc)
SEED ?= 0
ENGINE ?= transformers
$(if $(filter-out transformers vllm,$(ENGINE)),$(error ENGINE is $(ENGINE), expected transformers or vllm))
DEMO := demo$(if $(filter vllm,$(ENGINE)),_vllm)
EXPERIMENT ?= $(if $(filter 0,$(SEED)),$(DEMO),$(DEMO)_seed$(SEED))
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)

BIN := .venv/bin
RUN := $(BIN)/python scripts/run_workflow.py --cores $(CORES)
TRAIN := .snakemake/environments/train/bin/python
COMET := .snakemake/environments/comet/bin/python
VLLM := .snakemake/environments/vllm_cpu/bin/python
# Parts of make test-full.
FULL := other_processor teacher taught rehearsal recipes paper_runs paper_batches judge_runs scale faults real_model images
TRL := .snakemake/environments/trl/bin/python
# What pytest reports of each folder; read when make test ends.
TIMES := .snakemake/times
# Units and dry runs. Some wait for a server or a clock: one process more than cores. None needs schemathesis,
# whose plugin each process would import.
WORKERS = $(shell expr $(CORES) + 1)
# Files by two processes, the longest first (tests/conftest.py).
IN_PAIRS := -q -n 2 --dist loadfile --no-loadscope-reorder -m "not full"
# Some machines forbid it; thousands of short processes would compile the same modules again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-recipes verify smoke environments environments-vllm check test test-full test-trainers test-integration test-slurm bench lint types format lock docs dag clean-results help
.DEFAULT_GOAL := help

help: ## Say what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

demo: .venv/.driver ## Run the whole chain at toy size and print what it found (SEED=1 for another seed, ENGINE=vllm)
	$(RUN) $(if $(filter vllm,$(ENGINE)),--configfile config/vllm.yaml) --config experiment=$(EXPERIMENT) seed=$(SEED)
	@$(BIN)/python scripts/print_summary.py --summary results/$(EXPERIMENT)/summary.json \
		--report results/$(EXPERIMENT)/summary.md results/$(EXPERIMENT)/report/index.html

verify: .venv/.driver ## Compare the demonstration's weights, to the bit, with those of config/digests.yaml (SEED, ENGINE as for demo)
	@$(BIN)/python scripts/verify_digits.py --results results/$(EXPERIMENT) --digests config/digests.yaml

smoke: .venv/.driver ## Run every rule once, a few steps each, on real languages
	$(RUN) --configfile config/smoke.yaml
	@$(BIN)/python scripts/print_summary.py --summary results/smoke/summary.json \
		--report results/smoke/summary.md results/smoke/report/index.html

demo-recipes: .venv/.driver ## Run the published recipes of this field at toy size and put them side by side
	$(BIN)/python scripts/demo_recipes.py --cores $(CORES)

environments: .venv/.driver ## Build the environments of the stages
	$(RUN) environments

environments-vllm: .venv/.driver ## Build them with vLLM's CPU backend beside (Linux, x86-64 with AVX2)
	$(RUN) environments --configfile config/vllm.yaml

check: .venv/.dev ## Lint, types, units, dry runs
	$(MAKE) --no-print-directory -j2 --output-sync=target lint types
	$(BIN)/python -m pytest -q -n $(WORKERS) -p no:schemathesis tests/unit tests/workflow --junitxml=$(TIMES)/check.xml

test: check environments-vllm test-trainers ## Everything: check, attacks, the engines' tests, whole small runs, a Slurm, the report in a browser
	$(BIN)/python -m pytest -q -n 2 tests/attacks --junitxml=$(TIMES)/attacks.xml
	PYTHONPATH=scripts OMP_NUM_THREADS=1 $(TRAIN) -m pytest $(IN_PAIRS) tests/engine --junitxml=$(TIMES)/engine.xml
	PYTHONPATH=scripts OMP_NUM_THREADS=1 $(VLLM) -m pytest $(IN_PAIRS) tests/engine_vllm --junitxml=$(TIMES)/engine_vllm.xml
	$(MAKE) --no-print-directory test-integration
	$(MAKE) --no-print-directory test-slurm
	tests/install_browser.sh
	$(BIN)/python -m pytest -q -rs tests/browser --junitxml=$(TIMES)/browser.xml
	@$(BIN)/python tests/slowest.py $(TIMES)/*.xml

test-full: $(FULL:%=test-full-%) ## What does not fit into make test, in parts; their last results: docs/tested.md

test-full-%: .venv/.dev environments-vllm
	@mkdir -p .snakemake/tested
	PYTHONPATH=scripts OMP_NUM_THREADS=1 \
		$(if $(wildcard tests/engine/test_$*.py),$(TRAIN),$(if $(wildcard tests/integration/test_$*.py),$(BIN)/python,$(VLLM))) \
		-m pytest -q -rs -m full $(wildcard tests/engine*/test_$*.py tests/integration/test_$*.py) --junitxml=.snakemake/tested/$*.xml; status=$$?; \
	$(BIN)/python tests/record_tested.py --part $* --report .snakemake/tested/$*.xml && exit $$status

test-trainers: .venv/.dev ## The rewards in TRL and OpenRLHF, in an environment that nothing else needs
	$(RUN) .snakemake/environments/trl.json
	PYTHONPATH=scripts $(TRL) -m pytest -q tests/trainers --junitxml=$(TIMES)/trainers.xml

test-integration: .venv/.dev environments ## Whole small runs of the workflow
	$(BIN)/python -m pytest $(IN_PAIRS) tests/integration --junitxml=$(TIMES)/integration.xml

test-slurm: .venv/.dev environments ## The workflow on a Slurm of its own, with all that goes wrong there (root, Debian)
	$(BIN)/python -m pytest -q -rs tests/slurm --junitxml=$(TIMES)/slurm.xml

bench: .venv/.driver ## What others have published and what is done here, in processor time: functions, sacreBLEU's and COMET's programs
	$(RUN) .snakemake/environments/comet.json
	$(BIN)/python benchmarks/published.py

lint: .venv/.dev
	$(BIN)/ruff check scripts tests benchmarks
	$(BIN)/ruff format --check scripts tests benchmarks
	PYTHONPATH=scripts $(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint
	@! git grep -nE '^(<{7}|>{7}) '

types: .venv/.dev
	$(BIN)/mypy

format: .venv/.dev ## Format the code
	$(BIN)/ruff check --fix scripts tests benchmarks
	$(BIN)/ruff format scripts tests benchmarks
	$(BIN)/snakefmt Snakefile rules

lock: .venv/.dev ## Refresh the hashed locks and the conda files
	$(BIN)/python scripts/lock_environments.py

docs: .venv/.driver ## Write docs/configuration.md from the schema, docs/how_it_works.md from a run that tests keep
	$(BIN)/python scripts/document_config.py
	$(BIN)/python scripts/explain_group.py --results tests/data/explained_run --step 6 --output docs/how_it_works.md

dag: .venv/.driver ## Draw docs/dag.svg (needs graphviz)
	$(BIN)/snakemake --nolock --forceall --rulegraph | $(BIN)/python docs/draw_dag.py | dot -Tsvg > docs/dag.svg

.venv/.driver: envs/driver.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or 3.12 is needed; name one with make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r envs/driver.txt
	@printf '#!%s\nimport sys\nsys.path.insert(0, "%s")\nfrom grrm.cli import entry\nentry()\n' \
		"$(CURDIR)/$(BIN)/python" "$(CURDIR)/scripts" > $(BIN)/grrm && chmod +x $(BIN)/grrm
	touch $@

.venv/.dev: .venv/.driver envs/dev.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes --python $(BIN)/python envs/dev.txt
	touch $@
