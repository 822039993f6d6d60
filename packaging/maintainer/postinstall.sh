
# dpkg: configure; rpm: how many there are.
case $1 in
  configure | [1-9]*)
    systemd-tmpfiles --create "/usr/lib/tmpfiles.d/$name.conf" || true
    if [ -d /run/systemd/system ]; then
      systemctl daemon-reload
      # An upgrade: what ran before runs the new one, what did not is left alone.
      systemctl try-restart "$name.service" ||
        echo "$name does not start again; see: journalctl -u $name" >&2
    fi
    systemctl --quiet is-enabled "$name.service" 2>/dev/null || hint
    ;;
esac
