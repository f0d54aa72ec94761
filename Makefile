# SPDX-License-Identifier: Apache-2.0
# `make help` lists the targets. Everything made lies in .venv, .venv-oldest, .venv-openvino, build, install, log, demo_output and trial_output.

PYTHON ?= python3
SETUP := $(PYTHON) tools/without_ros/setup_env.py
IN_ENV := . .venv/env.sh &&
SOURCES := setup.py setup.cfg package.xml $(shell find ashtkd_ros launch config models resource \
	-type f -not -name '*.pyc' 2>/dev/null)
BENCHES := $(subst /,.,$(basename $(filter-out %/__init__.py,$(wildcard tools/bench/*.py))))
# a ROS domain of each run's own, unless the user has set one: nothing else's nodes are met
export ROS_DOMAIN_ID ?= $(shell echo $$((1 + $$PPID % 100)))

build: install/.stamp  ## environment, and the package built with colcon (the default)

env: .venv/env.sh  ## the environment in .venv alone; `. .venv/env.sh` uses it by hand

# setup_env.py touches the file only when the environment changes
.venv/env.sh: FORCE
	@$(SETUP)

install/.stamp: .venv/env.sh $(SOURCES)
	@$(IN_ENV) PYTHONDONTWRITEBYTECODE= PYTHONWARNINGS=ignore python -m colcon build --packages-select ashtkd_ros
	@touch $@

demo: build  ## map of one walk, node, second walk over ROS 2, figures and report; DATA=dir: own photos
	@$(IN_ENV) python -m tools.demo $(if $(DATA),--data '$(DATA)')

trial: build  ## outdoor trials of a simulated robot in a rendered town, faults and all; one report over them
	@$(SETUP) render
	@$(IN_ENV) python -m tools.trial

test: training  ## ruff (rules and format) and all tests (installs torch)
	@$(SETUP) doc
	@$(IN_ENV) ruff check . && ruff format --check --quiet .
	@# two files at a time; those of nodes, in a ROS domain for each worker, not beside the busiest others
	@$(IN_ENV) python -m pytest -n 2 --dist loadfile -m 'not ros'
	@$(IN_ENV) python -m pytest -n 2 --dist loadfile -m ros

openvino: training  ## tests of the network with OpenVINO's ONNX Runtime, in .venv-openvino
	@.ci/openvino

oldest:  ## tests of the core with the oldest packages that are supported, in .venv-oldest
	@.ci/oldest

lint: build  ## ruff: rules and format
	@$(SETUP) test
	@$(IN_ENV) ruff check . && ruff format --check .

bench: build  ## every benchmark of tools/bench
	@$(IN_ENV) for bench in $(BENCHES); do echo "== $$bench"; python -m $$bench || exit 1; done

doc: .venv/env.sh  ## generated parts of doc/, and doc/ as a site in build/doc
	@$(SETUP) doc
	@$(IN_ENV) python -m tools.documentation
	@$(IN_ENV) NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict --quiet
	@echo 'site: build/doc/index.html'

training: build  ## adds torch and the test tools to the environment
	@$(SETUP) training test render

clean:  ## removes everything made, the environment too
	rm -rf .venv .venv-oldest .venv-openvino build install log demo_output trial_output .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

FORCE:
.PHONY: build env demo trial test openvino oldest lint bench doc training clean help FORCE
