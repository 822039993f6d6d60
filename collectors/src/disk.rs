//! `disk`: how full each mounted file system is, by space and by inodes.
//!
//! Unless the configuration lists mounts, a file system counts if its type has a block
//! device, as the kernel says: a type that /proc/filesystems calls `nodev` is a pseudo
//! file system, a file system in memory, or a file system behind a network or a user's
//! program, and could hang. There are two exceptions: zfs, because zfs manages devices
//! itself, and the file system at `/`. Read-only images do not count, because an image is
//! always full.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use fleetbeat_settings::Table;
use rustix::fs::{StatVfs, statvfs};
use wildmatch::WildMatch;

use crate::collector::{Collector, PartError, Roots, Sample};
use crate::error::Error;
use crate::prometheus_text::show_label;
use crate::read::read_lossy;

/// The types of read-only images.
const IMAGE_TYPES: [&str; 4] = ["squashfs", "erofs", "iso9660", "udf"];

pub(crate) fn build(
    options: &mut Table<'_>,
    roots: &Roots,
) -> Option<Box<dyn Collector>> {
    let wanted = options.parsed_list("mounts", parse_path);
    let exclude = options
        .parsed_list("exclude", parse_path)
        .unwrap_or_default();
    if wanted.as_ref().is_some_and(Vec::is_empty) {
        options.problem(
            "mounts",
            "must have an element; left out, all disks are measured",
        );
    }

    let exclude: Vec<_> = exclude
        .iter()
        .map(|pattern| WildMatch::new(pattern))
        .collect();
    let wanted = wanted.map(|points| {
        points
            .into_iter()
            .filter(|point| !is_excluded(point, &exclude))
            .collect()
    });

    Some(Box::new(Disk {
        proc: roots.proc.clone(),
        wanted,
        exclude,
        read_usage,
        part_errors: Vec::new(),
    }))
}

fn is_excluded(point: &str, exclude: &[WildMatch]) -> bool {
    exclude.iter().any(|pattern| pattern.matches(point))
}

fn parse_path(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && !text.contains('\0');
    is_path
        .then(|| text.to_owned())
        .ok_or_else(|| "must be an absolute path such as \"/srv\"".to_owned())
}

/// Reads /proc/self/mounts and asks the system about each mount that counts.
struct Disk {
    proc: PathBuf,
    /// The mounts to measure; `None` for all that have a disk.
    wanted: Option<Vec<String>>,
    exclude: Vec<WildMatch>,
    /// Asks the system about a mount; the tests have a function of their own.
    read_usage: fn(&Path) -> io::Result<Usage>,
    part_errors: Vec<PartError>,
}

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    device: String,
    point: String,
    kind: String,
}

/// The used share of a file system, in percent; `None` where the file system has no such
/// limit.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Usage {
    space: Option<f64>,
    inodes: Option<f64>,
}

impl Collector for Disk {
    fn collect(&mut self, _now: Instant) -> Result<Option<Sample>, Error> {
        let mounts = self.read_mounts()?;

        let mut metrics = BTreeMap::new();
        for Mount { point, .. } in &mounts {
            match (self.read_usage)(Path::new(point)) {
                Ok(usage) => metrics.extend(name_usage(point, usage)),
                Err(source) => self.fail(point, Error::read(point, source)),
            }
        }

        for point in self.wanted.clone().unwrap_or_default() {
            if mounts.iter().all(|mount| mount.point != point) {
                self.fail(&point, Error::Unknown("is not mounted".to_owned()));
            }
        }

        Ok(Some(Sample::Metrics(metrics)))
    }

    fn part_errors(&mut self) -> Vec<PartError> {
        std::mem::take(&mut self.part_errors)
    }
}

impl Disk {
    /// The mounts to measure.
    fn read_mounts(&self) -> Result<Vec<Mount>, Error> {
        let mounts = parse_mounts(&read_lossy(&self.proc.join("self/mounts"))?);

        let Some(wanted) = &self.wanted else {
            let kinds = read_lossy(&self.proc.join("filesystems"))?;
            let without_device = parse_kinds_without_device(&kinds);
            return Ok(select(mounts, &without_device, &self.exclude));
        };
        Ok(mounts
            .into_iter()
            .filter(|mount| wanted.contains(&mount.point))
            .collect())
    }

    fn fail(&mut self, point: &str, error: Error) {
        self.part_errors.push(PartError {
            part: point.to_owned(),
            error,
        });
    }
}

/// The usage as metrics.
fn name_usage(point: &str, usage: Usage) -> impl Iterator<Item = (String, f64)> {
    let label = show_label("mount", point);
    let percents = [
        ("disk_used_percent", usage.space),
        ("disk_inodes_percent", usage.inodes),
    ];
    percents.into_iter().filter_map(move |(name, percent)| {
        percent.map(|percent| (format!("{name}{{{label}}}"), percent))
    })
}

/// The mounted file systems in the text of /proc/self/mounts. Of two mounts at the same
/// point, the later hides the earlier.
fn parse_mounts(text: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in text.lines() {
        let mut fields = line.split(' ').map(unescape);
        let (Some(device), Some(point), Some(kind)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };

        mounts.retain(|mount| mount.point != point);
        mounts.push(Mount {
            device,
            point,
            kind,
        });
    }
    mounts
}

/// The text behind the kernel's escapes: /proc/self/mounts has white space, `#` and `\`
/// as a backslash and three octal digits.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();

    for part in parts {
        let digits = part
            .get(..3)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let code = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(u8::is_ascii) {
            Some(code) => {
                text.extend([char::from(code).encode_utf8(&mut [0]), &part[3..]]);
            }
            None => text.extend(["\\", part]),
        }
    }
    text
}

/// The types without a block device in the text of /proc/filesystems.
fn parse_kinds_without_device(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("nodev\t"))
        .collect()
}

/// The mounts that count. A device that is mounted several times counts once, at the
/// shortest path.
fn select(
    mounts: Vec<Mount>,
    without_device: &[&str],
    exclude: &[WildMatch],
) -> Vec<Mount> {
    let counts = |Mount { kind, point, .. }: &Mount| {
        let is_disk =
            !without_device.contains(&kind.as_str()) || kind == "zfs" || point == "/";
        is_disk && !IMAGE_TYPES.contains(&kind.as_str()) && !is_excluded(point, exclude)
    };

    let mut selected: Vec<Mount> = Vec::new();
    for mount in mounts.into_iter().filter(counts) {
        let known = selected
            .iter_mut()
            .find(|other| other.device == mount.device);
        match known {
            Some(other) if mount.point.len() < other.point.len() => *other = mount,
            Some(_) => {}
            None => selected.push(mount),
        }
    }
    selected
}

fn read_usage(point: &Path) -> io::Result<Usage> {
    Ok(usage(&statvfs(point)?))
}

/// As df shows the usage: of the space that only root may use, the free part counts
/// neither as used nor as available.
fn usage(stat: &StatVfs) -> Usage {
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    Usage {
        space: percent(used, used.saturating_add(stat.f_bavail)),
        inodes: percent(stat.f_files.saturating_sub(stat.f_ffree), stat.f_files),
    }
}

/// The share in percent, rounded to hundredths; `None` if the whole is nothing.
fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (10_000.0 * part as f64 / whole as f64).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: &str = "nodev\tsysfs\nnodev\ttmpfs\nnodev\tnfs4\nnodev\tfuse\nnodev\toverlay\nnodev\tzfs\n\
                         \text4\n\txfs\n\tsquashfs\n\tvfat\n";
    const MOUNTS: &str = "rootfs / rootfs rw 0 0\n\
        sysfs /sys sysfs rw 0 0\n\
        /dev/sda2 / ext4 rw,relatime 0 0\n\
        /dev/sda1 /boot/efi vfat rw 0 0\n\
        /dev/sda2 /var/lib/chroot/home ext4 rw 0 0\n\
        /dev/sdb1 /a/long/way xfs rw 0 0\n\
        /dev/sdb1 /srv xfs rw 0 0\n\
        /dev/sdc1 /mnt/with\\040space\\011\\134x ext4 rw 0 0\n\
        /dev/loop1 /snap/core/1 squashfs ro 0 0\n\
        tank/data /tank zfs rw 0 0\n\
        nas:/x /nas nfs4 rw 0 0\n\
        someone /home/someone/m fuse rw 0 0\n\
        tmpfs /tmp tmpfs rw 0 0\n";

    fn points(mounts: &[Mount]) -> Vec<&str> {
        mounts.iter().map(|mount| mount.point.as_str()).collect()
    }

    #[test]
    fn disks_count_once_and_nothing_else_does() {
        let selected = select(
            parse_mounts(MOUNTS),
            &parse_kinds_without_device(KINDS),
            &[],
        );
        assert_eq!(
            points(&selected),
            ["/", "/boot/efi", "/srv", "/mnt/with space\t\\x", "/tank"]
        );
        let exclude = ["/boot/*", "/srv"].map(WildMatch::new);
        let selected = select(
            parse_mounts(MOUNTS),
            &parse_kinds_without_device(KINDS),
            &exclude,
        );
        assert_eq!(
            points(&selected),
            ["/", "/a/long/way", "/mnt/with space\t\\x", "/tank"]
        );
        let container =
            parse_mounts("overlay / overlay rw 0 0\ntmpfs /dev tmpfs rw 0 0\n");
        assert_eq!(
            points(&select(container, &parse_kinds_without_device(KINDS), &[])),
            ["/"]
        );
    }

    #[test]
    fn what_is_mounted_over_another_hides_it() {
        let mounts =
            parse_mounts("/dev/a /srv ext4 rw 0 0\ntmpfs /srv tmpfs rw 0 0\nhalf a\n");
        assert_eq!(
            mounts
                .iter()
                .map(|mount| mount.kind.as_str())
                .collect::<Vec<_>>(),
            ["tmpfs"]
        );
    }

    #[test]
    fn what_is_no_escape_stays() {
        for (field, text) in [
            ("a\\040b", "a b"),
            ("\\134134", "\\134"),
            ("a\\", "a\\"),
            ("\\04", "\\04"),
            ("\\999", "\\999"),
            ("\\377", "\\377"),
            ("\\0é", "\\0é"),
            ("\\+40", "\\+40"),
        ] {
            assert_eq!(unescape(field), text, "{field}");
        }
    }

    #[test]
    fn percents_are_those_of_df() {
        // 1000 blocks of which root keeps 50: 550 used, 400 available.
        assert_eq!(percent(550, 950), Some(57.89));
        assert_eq!(percent(0, 7), Some(0.0));
        assert_eq!(percent(7, 7), Some(100.0));
        assert_eq!(percent(0, 0), None);
    }

    /// The metrics and the part errors of a collector over [`MOUNTS`], where some mounts
    /// fail or have no inodes.
    fn collect(options: &str) -> (Vec<String>, Vec<String>) {
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir(proc.path().join("self")).unwrap();
        std::fs::write(proc.path().join("self/mounts"), MOUNTS).unwrap();
        std::fs::write(proc.path().join("filesystems"), KINDS).unwrap();
        let mut problems = fleetbeat_settings::Problems::default();
        let document =
            fleetbeat_settings::Document::parse("a.toml", options, &mut problems);
        let wanted = document.read(&mut problems, |table| table.strings("mounts"));
        problems.into_result().unwrap();
        let read_usage = |point: &Path| match point.to_str().unwrap() {
            "/srv" => Err(io::ErrorKind::PermissionDenied.into()),
            "/boot/efi" => Ok(Usage {
                space: Some(7.0),
                inodes: None,
            }),
            _ => Ok(Usage {
                space: Some(42.5),
                inodes: Some(3.0),
            }),
        };
        let (proc, exclude) = (proc.path().to_owned(), vec![WildMatch::new("/mnt/*")]);
        let mut disk = Disk {
            proc,
            wanted,
            exclude,
            read_usage,
            part_errors: Vec::new(),
        };
        let Some(Sample::Metrics(metrics)) = disk.collect(Instant::now()).unwrap() else {
            panic!()
        };
        let told = metrics
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let failed = disk
            .part_errors()
            .into_iter()
            .map(|failed| format!("{}: {}", failed.part, failed.error));
        (told, failed.collect())
    }

    #[test]
    fn each_mount_has_its_metrics_and_its_failure() {
        let (told, failed) = collect("");
        let expected = [
            r#"disk_inodes_percent{mount="/"} 3"#,
            r#"disk_inodes_percent{mount="/tank"} 3"#,
            r#"disk_used_percent{mount="/"} 42.5"#,
            r#"disk_used_percent{mount="/boot/efi"} 7"#,
            r#"disk_used_percent{mount="/tank"} 42.5"#,
        ];
        assert_eq!(told, expected);
        assert_eq!(failed, ["/srv: cannot read /srv"]);
    }

    #[test]
    fn what_is_wished_for_is_measured_whatever_it_is_and_missed() {
        let (told, failed) = collect("mounts = ['/nas', '/nowhere']");
        let expected = [
            r#"disk_inodes_percent{mount="/nas"} 3"#,
            r#"disk_used_percent{mount="/nas"} 42.5"#,
        ];
        assert_eq!(told, expected);
        assert_eq!(failed, ["/nowhere: is not mounted"]);
    }
}
