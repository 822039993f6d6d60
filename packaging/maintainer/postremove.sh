
# The first argument: remove from dpkg, and later perhaps purge; from rpm, 0 when no
# version is left. rpm has no purge, so state and user stay.
case $1 in
  remove | 0)
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
    ;;
  purge)
    remove_settings
    rm -rf "$state"
    if getent passwd "$user" >/dev/null; then userdel "$user"; fi
    # userdel keeps the group where it has other members.
    if getent group "$user" >/dev/null; then groupdel "$user"; fi
    ;;
esac
