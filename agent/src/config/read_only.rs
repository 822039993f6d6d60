//! Files that somebody has given read-only, as container runtimes give secrets, and whose
//! mode nobody here can change.
//!
//! That a file cannot be written says nothing: inside the agent's unit all of /etc is
//! read-only (`ProtectSystem=strict`), and root outside can change each mode there. So the
//! table of mounts decides.

use std::fs;
use std::path::Path;

/// Whether the file at `path` was given read-only.
pub(super) fn is_given(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    fs::canonicalize(path).is_ok_and(|path| is_given_in(&table, &path))
}

/// Whether a file is on a read-only file system, or on a read-only mount that is none of
/// this system's own: a part of another file system, or a file system in memory.
fn is_given_in(table: &str, path: &Path) -> bool {
    let mounts = table.lines().filter_map(parse);
    // Of two mounts at the same place, the later one hides the other.
    let around = mounts.filter(|mount| path.starts_with(mount.point));
    let Some(mount) = around.max_by_key(|mount| mount.point.len()) else {
        return false;
    };
    let is_in_memory = matches!(mount.kind, "tmpfs" | "ramfs");
    let is_part = mount.root != "/" && mount.root != mount.point;
    mount.is_system_read_only
        || (mount.is_read_only && mount.point != "/" && (is_in_memory || is_part))
}

/// A line of the table.
struct Mount<'a> {
    /// What of its file system is mounted.
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    /// The mount is read-only; its file system may be mounted elsewhere to write.
    is_read_only: bool,
    is_system_read_only: bool,
}

fn parse(line: &str) -> Option<Mount<'_>> {
    let (of_mount, of_system) = line.split_once(" - ")?;
    let mut words = of_mount.split(' ').skip(3);
    let (root, point) = (words.next()?, words.next()?);
    let is_read_only = has_ro(words.next()?);
    let mut words = of_system.split(' ');
    Some(Mount {
        root,
        point,
        kind: words.next()?,
        is_read_only,
        is_system_read_only: has_ro(words.nth(1)?),
    })
}

fn has_ro(options: &str) -> bool {
    options.split(',').any(|option| option == "ro")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_containers_are_given_and_the_units_own_walls_are_not() {
        let unit = "21 1 8:2 / / ro,relatime shared:1 - ext4 /dev/sda2 rw\n\
            22 21 8:2 /home /home ro - ext4 /dev/sda2 rw\n\
            23 21 8:3 / /srv ro shared:2 - xfs /dev/sda3 rw\n";
        let container = "31 30 0:40 / / rw - overlay overlay rw,lowerdir=/a\n\
            32 31 0:41 / /run/secrets/key ro - tmpfs tmpfs rw,mode=755\n\
            33 31 8:2 /opt/app/key /run/key ro,relatime - ext4 /dev/sda2 rw\n\
            34 31 8:2 /opt/app/k2 /run/k2 rw,relatime - ext4 /dev/sda2 rw\n\
            35 31 0:42 / /etc/keys ro,relatime - tmpfs tmpfs rw,size=1k\n\
            36 31 7:0 / /image rw - squashfs /dev/loop0 ro\n";
        for (table, path, is_given) in [
            (unit, "/etc/fleetbeat/agent.env", false),
            (unit, "/home/me/key", false),
            (unit, "/srv/key", false),
            (container, "/etc/fleetbeat/agent.env", false),
            (container, "/run/secrets/key", true),
            (container, "/run/secrets/key2", false),
            (container, "/run/key", true),
            (container, "/run/k2", false),
            (container, "/etc/keys/..2026/key", true),
            (container, "/image/key", true),
            ("", "/run/key", false),
            ("nonsense - x\n", "/run/key", false),
        ] {
            assert_eq!(is_given_in(table, Path::new(path)), is_given, "{path}");
        }
    }
}
