
# The first argument: remove from dpkg, and later perhaps purge; from rpm, 0 when no
# version is left. rpm has no purge, so state and user stay.
case $1 in
  remove | 0)
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
    ;;
  purge)
    # What is in use stays, and the purge succeeds: it would meet the same the next time.
    remove_settings || echo "$name: not all settings in /etc/fleetbeat can be removed" >&2
    rm -rf "$state" || echo "$name: $state cannot be removed as a whole" >&2
    # The folder of both packages, unless something of the operator's or the other
    # package's is in it.
    rmdir /etc/fleetbeat 2>/dev/null || true
    if getent passwd "$user" >/dev/null; then
      userdel "$user" || echo "$name: the user $user is in use and stays; later: userdel $user" >&2
    fi
    # userdel keeps the group where it has other members.
    if ! getent passwd "$user" >/dev/null && getent group "$user" >/dev/null; then
      groupdel "$user" || echo "$name: the group $user is in use and stays; later: groupdel $user" >&2
    fi
    ;;
esac
