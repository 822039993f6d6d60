
# dpkg: remove; rpm: none will be left. On an upgrade it runs on until the new one is there.
case $1 in
  remove | 0)
    if [ -d /run/systemd/system ]; then
      # One that is masked cannot be disabled, and shall be removable all the same.
      systemctl --no-reload --quiet disable --now "$name.service" || true
    else
      systemctl --quiet disable "$name.service" 2>/dev/null || true
    fi
    ;;
esac
