name=fleetbeat-agent
user=fleetbeat-agent
state=/var/lib/fleetbeat-agent

# Says what is left to do before the service can be enabled.
hint() {
  cat <<'HINT'
fleetbeat-agent is installed, and not started: it needs a server and a key.
  1. on the server: sudo fleetbeat-server enroll-code
  2. sudo fleetbeat-agent enroll --server https://SERVER --code CODE
  3. sudo systemctl enable --now fleetbeat-agent
  4. sudo fleetbeat-agent doctor   says whether all is well for the service, or what to do
HINT
}

# Removes files that an operator or the Ansible role may have put beside the package's own,
# in the places that agent.toml names.
remove_settings() {
  rm -rf /etc/fleetbeat/agent.d /etc/fleetbeat/agent.key /etc/fleetbeat/ca.pem
}
