#!/usr/bin/env bash
# Runs the whole loop on this machine: a server on the embedded store in a temporary
# folder, the real agent, and with HOSTS=N a simulated fleet. Ctrl-C ends all of it.
#   scripts/demo.sh FOLDER_OF_THE_BINARIES        PORT=N for another port than 8080
set -euo pipefail

(($# == 1)) || { echo "usage: scripts/demo.sh FOLDER_OF_THE_BINARIES" >&2; exit 64; }
bin=$(cd "$1" && pwd)
hosts=${HOSTS:-0}
[[ $hosts =~ ^[0-9]+$ ]] || { echo "demo: HOSTS must be a number, not $hosts" >&2; exit 64; }
hosts=$((10#$hosts))
folder=$(mktemp -d -t fleetbeat-demo.XXXXXX)

# Ends everything that the script has started by then.
# shellcheck disable=SC2317 # the traps call it
stop() {
  trap '' INT TERM
  local signal
  for signal in TERM KILL; do
    # shellcheck disable=SC2046 # one process id or several
    kill -"$signal" $(jobs -rp) 2>/dev/null || true
    for _ in $(seq 60); do
      [[ -n $(jobs -rp) ]] || break 2
      sleep 0.1
    done
  done
  rm -rf "$folder"
}
trap stop EXIT
trap 'exit 0' INT TERM

# The caller's environment is for another server than the demo's.
for name in AGENT_API_KEY SECRET_KEY SECRET_KEY_PREVIOUS FLEETBEAT_ADMIN_PASSWORD MONGODB_URL REDIS_URL; do
  unset "$name" "${name}_FILE"
done
unset FLEETBEAT_LISTEN NOTIFY_SOCKET

random() { od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'; }
AGENT_API_KEY=$(random 16)
FLEETBEAT_ADMIN_PASSWORD=$(random 6)
export AGENT_API_KEY FLEETBEAT_ADMIN_PASSWORD

# A fleet that beats every ten seconds is livelier to watch than a beat in two minutes.
cat >"$folder/server.toml" <<TOML
[storage]
path = "$folder/data"
[sweep]
interval = "5s"
down_after = "30s"
TOML

# Starts the server on port $1, and sets `url` once the server listens.
start_server() {
  FLEETBEAT_LISTEN=127.0.0.1:$1 "$bin/fleetbeat-server" -c "$folder/server.toml" run >"$folder/server.log" 2>&1 &
  for _ in $(seq 300); do
    url=$(sed -n 's/.*listening on //p' "$folder/server.log")
    [[ -z $url ]] || return 0
    [[ -n $(jobs -rp) ]] || break
    sleep 0.1
  done
  # Waited for here, because the wait at the end of the script would find the server.
  # shellcheck disable=SC2046 # one process id or several
  kill -KILL $(jobs -rp) 2>/dev/null || true
  wait
  return 1
}

if ! start_server "${PORT:-8080}"; then
  # Somebody else has the usual port: any other will do, unless PORT has asked for one.
  if [[ -n ${PORT:-} ]] || ! start_server 0; then
    cat "$folder/server.log" >&2
    exit 1
  fi
fi

# The agent's table of services, with those that this machine has: the first name of each.
services_of_this_machine() {
  local names unit entries=()
  [[ -d /run/systemd/system ]] || return 0
  for names in "ssh sshd" "cron crond" "dbus dbus-broker" "wg-quick@wg0"; do
    for unit in $names; do
      if systemctl is-active --quiet "$unit" || systemctl is-enabled --quiet "$unit" 2>/dev/null; then
        entries+=("{name = \"${names%% *}\", unit = \"$unit\"}")
        break
      fi
    done
  done
  ((${#entries[@]} > 0)) || return 0
  printf '[collectors.services]\nunits = [ %s ]\n' "$(IFS=,; echo "${entries[*]}")"
}

cat >"$folder/agent.toml" <<TOML
[server]
url = "$url"
[host]
city = "This machine"
[schedule]
sample_every = "2s"
samples_per_heartbeat = 2
[collectors.cpu]
[collectors.ram]
[collectors.net]
speed_mbps = 1000
[collectors.disk]
[collectors.uptime]
$(services_of_this_machine)
[spool]
path = "$folder"
TOML
"$bin/fleetbeat-agent" -c "$folder/agent.toml" run >"$folder/agent.log" 2>&1 &

if ((hosts > 0)); then
  "$bin/fleetsim" --url "$url" --hosts "$hosts" --interval 10 --duration 0 >"$folder/fleetsim.log" 2>&1 &
fi

cat <<TEXT

Fleetbeat runs.

  Open       $url
  User       admin
  Password   $FLEETBEAT_ADMIN_PASSWORD

What to look at:
  - this machine, $(hostname), measured by the real agent every few seconds: give it something to do
  - the switches set flags; reload, and they are still set
TEXT
((hosts == 0)) || cat <<TEXT
  - $hosts simulated hosts; some fall silent and are marked down after half a minute, some services fail
TEXT
cat <<TEXT

Logs are in $folder. Ctrl-C ends everything and removes it.
TEXT

# The wait ends only when a program dies.
wait -n || true
echo "demo: something ended by itself; the last of its log:" >&2
tail -n 5 "$folder"/*.log >&2
exit 1
