
# The first argument: remove from dpkg; from rpm, 0 when no version will be left. On an
# upgrade the service runs on until the new version is there.
case $1 in
  remove | 0)
    if [ -d /run/systemd/system ]; then
      # A masked service cannot be disabled; removing its package must work all the same.
      systemctl --no-reload --quiet disable --now "$name.service" || true
    else
      systemctl --quiet disable "$name.service" 2>/dev/null || true
    fi
    ;;
esac
