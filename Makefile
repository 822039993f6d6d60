# Thin: what takes more than a line is a script. `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help demo test check build release dashboard setup bench fleet-outage static-agents static dist repo man measure-code images deny clean test-packages test-ansible-fleet capacity

HOSTS ?= 0
ARCHS ?= amd64 arm64
# The scripts look for what was built in this folder.
export CARGO_TARGET_DIR := $(CURDIR)/target
node_modules := dashboard/node_modules/.package-lock.json
dist := dashboard/dist/index.html

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 20

demo: release ## run server, agent and dashboard on this machine; HOSTS=200 adds a simulated fleet
	@HOSTS=$(HOSTS) scripts/demo.sh target/release

test: setup ## install what the tests need and run every test
	scripts/test.sh

test-packages: setup build man ## of the tests, those of packages, repositories, the Ansible role, and what they do to a host
	$(MAKE) --no-print-directory static
	cargo test --package fleetbeat-tests --test e2e -- packages:: ansible:: images::

test-ansible-fleet: setup build man ## of the tests, the one of the Ansible role, with HOSTS=100 machines at once; takes a quarter of an hour
	$(MAKE) --no-print-directory static
	scripts/test-ansible-fleet.sh $(or $(filter-out 0,$(HOSTS)),100)

check: dashboard ## the inner loop: format, lints, unit tests but those that need a database
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
	scripts/bench.sh

fleet-outage: release ## a thousand agents whose server dies for a minute; takes about eight minutes
	target/release/fleet-outage

capacity: release static ## measure what fleets of each size cost, for docs/capacity.md; takes about twenty minutes
	scripts/services.sh up
	eval "$$(scripts/services.sh env)" && scripts/capacity.sh; status=$$?; scripts/services.sh down; exit $$status

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

setup: ## install what the tests need beyond Rust, Node and make
	scripts/setup.sh

deny: ## check licences, bans and sources of the dependencies
	scripts/deny.sh

clean: ## remove everything that was built
	cargo clean
	rm -rf dashboard/dist dashboard/node_modules

$(node_modules): dashboard/package.json dashboard/package-lock.json
	scripts/check-node.sh
	cd dashboard && npm ci --no-fund --no-audit
	@touch $@

$(dist): $(node_modules) $(shell find dashboard/src dashboard/index.html dashboard/*.ts dashboard/public -type f 2>/dev/null)
	cd dashboard && npm run --silent build
	@touch $@
