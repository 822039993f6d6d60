
# dpkg: remove, and later perhaps purge; rpm: none is left. rpm knows no purge: state and user stay.
case $1 in
  remove | 0)
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
    ;;
  purge)
    remove_settings
    rm -rf "$state"
    if getent passwd "$user" >/dev/null; then userdel "$user"; fi
    # It is still there if others were made members of it.
    if getent group "$user" >/dev/null; then groupdel "$user"; fi
    ;;
esac
