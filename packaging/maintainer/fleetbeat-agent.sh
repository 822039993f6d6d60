name=fleetbeat-agent
user=fleetbeat-agent
state=/var/lib/fleetbeat-agent

# Says what is left to do before the service can be enabled.
hint() {
  cat <<'HINT'
fleetbeat-agent is installed, and not started: it needs a server and a key.
  1. url in /etc/fleetbeat/agent.toml
  2. AGENT_API_KEY in /etc/fleetbeat/agent.env
  3. systemctl enable --now fleetbeat-agent
  4. sudo fleetbeat-agent doctor   says whether all is well for the service, or what to do
HINT
}

# Removes files that an operator or the Ansible role may have put beside the package's own,
# in the places that agent.toml names.
remove_settings() {
  rm -rf /etc/fleetbeat/agent.d /etc/fleetbeat/agent.key /etc/fleetbeat/ca.pem
}
