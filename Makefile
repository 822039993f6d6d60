# Everything longer than a few lines is a script. `make` alone lists the targets.
SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help demo test check build release dashboard setup bench fleet-cut fleet-outage static-agents static dist repo man \
  measure-code images deny shellcheck clean test-packages test-ansible-fleet capacity soak

HOSTS ?= 0
ARCHS ?= amd64 arm64
# The scripts look for the programs in this folder.
export CARGO_TARGET_DIR := $(CURDIR)/target
fleetsim := $(if $(filter-out 0,$(HOSTS)),--package fleetbeat-tools)
node_modules := dashboard/node_modules/.package-lock.json
dist := dashboard/dist/index.html

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 20

# With the embedded store alone, and the simulator only for a fleet. The profile waits for
# no optimization across crates, and leaves target/release alone.
demo: ## run server, agent and dashboard on this machine; HOSTS=200 adds a simulated fleet
	@echo "The first time this compiles everything, for some minutes. Ended by Ctrl-C, it goes on from there next time."
	@source scripts/lib.sh; stage "dashboard" $(MAKE) --no-print-directory dashboard
	@source scripts/lib.sh; stage "server and agent$(if $(fleetsim), and simulator)" cargo build --profile demo \
	  --no-default-features --package fleetbeat-server --package fleetbeat-agent $(fleetsim)
	@HOSTS=$(HOSTS) scripts/demo.sh $(CARGO_TARGET_DIR)/demo

test: setup ## run every test; installs what they need, after saying what (SETUP=no: installs nothing)
	scripts/test.sh

test-packages: setup build man ## run the tests of packages, repositories, images and the Ansible role
	$(MAKE) --no-print-directory static
	cargo test --package fleetbeat-tests --test e2e -- packages:: ansible:: images::

test-ansible-fleet: setup build man ## run the Ansible role's test with HOSTS=100 machines at once: a quarter of an hour
	$(MAKE) --no-print-directory static
	scripts/test.sh ansible-fleet $(or $(filter-out 0,$(HOSTS)),100)

check: dashboard ## the inner loop: format, lints, and the unit tests that need no database
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo test --quiet --workspace --exclude fleetbeat-tests -- --skip conformance::mongodb
	cd dashboard && npm run --silent check

build: dashboard ## build everything for the tests
	cargo build --workspace

release: dashboard ## build everything as it is meant to run
	cargo build --release --workspace

dashboard: $(dist) ## build the dashboard, which the server embeds

bench: release static-agents ## measure, and print the tables of the README
	scripts/measure.sh bench

fleet-cut: release ## cut a country off from a fleet of ten thousand hosts, and count the messages: about half an hour
	target/release/fleet-cut

fleet-outage: release ## play a thousand agents whose server dies for a minute: about eight minutes
	target/release/fleet-outage

soak: release ## play ten thousand hosts for an hour, with what happens in an hour
	scripts/measure.sh soak

capacity: release static ## measure what fleets of each size cost, for docs/capacity.md: about twenty minutes
	scripts/measure.sh capacity

static-agents: ## build the agent as it is shipped, small and static, for amd64 and arm64
	scripts/static.sh fleetbeat-agent amd64
	scripts/static.sh fleetbeat-agent arm64

static: dashboard ## build the static binaries; ARCHS="amd64 arm64" says for which machines
	for arch in $(ARCHS); do \
	  for package in fleetbeat-agent fleetbeat-server; do scripts/static.sh $$package $$arch || exit; done; \
	done

dist: static man ## build packages and tarballs into dist/
	ARCHS="$(ARCHS)" scripts/package.sh

images: static ## build container images of the static binaries; ARCHS="amd64 arm64" says for which machines
	scripts/images.sh $(ARCHS)

repo: ## make signed apt and yum repositories of dist/ in target/repository
	scripts/repository.sh

man: ## write manual pages and shell completions to target/man and target/completions
	cargo run --quiet --package fleetbeat-xtask -- manual target

measure-code: ## print measurements of the code; CODE="--rev REV" or CODE=FOLDER for another revision
	cargo run --quiet --package fleetbeat-xtask -- measure-code $(CODE)

setup: ## install what the tests need beyond Rust, Node, Go and make; SETUP=no only says what is missing
	scripts/setup.sh

deny: ## check licences, bans and sources of the dependencies
	PATH="$$PATH:$$(scripts/tools.sh cargo-deny)" cargo deny --all-features check licenses bans sources

# The maintainer scripts are checked as packages have them: assembled. Few of them use
# every variable and function of their package.
shellcheck: ## check the shell scripts
	shellcheck --external-sources scripts/*.sh .ci/run
	@source scripts/lib.sh; set -e -o pipefail; \
	for package in fleetbeat-agent fleetbeat-server; do \
	  for step in preinstall postinstall preremove postremove; do \
	    maintainer_script $$package $$step | shellcheck --exclude=SC2034,SC2317 -; \
	  done; \
	done

clean: ## remove everything that was built
	cargo clean
	rm -rf dashboard/dist dashboard/node_modules

$(node_modules): dashboard/package.json dashboard/package-lock.json
	source scripts/lib.sh && need_node
	cd dashboard && npm ci --no-fund --no-audit
	@touch $@

$(dist): $(node_modules) $(shell find dashboard/src dashboard/index.html dashboard/*.ts dashboard/public -type f 2>/dev/null)
	cd dashboard && npm run --silent build
	@touch $@
