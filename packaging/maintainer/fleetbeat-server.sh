name=fleetbeat-server
user=fleetbeat
state=/var/lib/fleetbeat

# Says what is left to do.
hint() {
  cat <<'HINT'
fleetbeat-server is installed, and not started. Look into /etc/fleetbeat/server.toml if you like, then:
  systemctl enable --now fleetbeat-server
  journalctl -u fleetbeat-server            has the password of the user admin, once
  cat /var/lib/fleetbeat/agent_api_key      is the key for the agents, unless server.env has AGENT_API_KEY
  fleetbeat-server proxy-config nginx --domain NAME >/etc/nginx/conf.d/fleetbeat.conf
HINT
}

# Removes files that an operator may have put beside the package's own.
remove_settings() {
  rm -rf /etc/fleetbeat/server.d
}
