#!/usr/bin/env bash
# Measures what `make release static-agents` has built, with the databases that the production backend needs.
set -euo pipefail
cd "$(dirname "$0")/.."

# What the agent is compared with. Nothing of it is started.
for program in prometheus-node-exporter collectd; do
  PATH=$PATH:/usr/sbin command -v "$program" >/dev/null && continue
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    prometheus-node-exporter collectd-core >/dev/null
done

trap 'scripts/services.sh down' EXIT
scripts/services.sh up
eval "$(scripts/services.sh env)"
target/release/bench --agent "target/static/$(scripts/arch.sh)/fleetbeat-agent"
