
# The first argument: configure from dpkg; from rpm, how many versions are installed.
case $1 in
  configure | [1-9]*)
    systemd-tmpfiles --create "/usr/lib/tmpfiles.d/$name.conf" || true
    if [ -d /run/systemd/system ]; then
      systemctl daemon-reload
      # On an upgrade, a service that runs is restarted, and a stopped one stays stopped.
      systemctl try-restart "$name.service" ||
        echo "$name does not start again; see: journalctl -u $name" >&2
    fi
    systemctl --quiet is-enabled "$name.service" 2>/dev/null || hint
    ;;
esac
