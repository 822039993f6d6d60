//! `disk`: how full each mounted file system is, by space and by inodes.
//!
//! Unless the configuration lists mounts, a file system counts if its type has a block
//! device, as the kernel says: a type that /proc/filesystems calls `nodev` is a pseudo
//! file system, a file system in memory, or a file system behind a network or a user's
//! program, and could hang. A type that /proc/filesystems does not have is the kernel's
//! own (nsfs, for a container's network). There are two exceptions: zfs, because zfs
//! manages devices itself, and the file system at `/`. Read-only images do not count,
//! because an image is always full; nor does what a container runtime mounts.
//!
//! A thread asks the system about one mount after the other. A mount that hangs (a dead
//! server across the network) keeps its thread, and the rest is asked about in another
//! one. The mount is asked about again when it has returned.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use fleetbeat_settings::Table;
use rustix::fs::{StatVfs, statvfs};
use wildmatch::WildMatch;

use crate::collector::{Collector, PartError, Roots, Sample};
use crate::error::Error;
use crate::prometheus_text::show_label;
use crate::read::{read_bytes, read_lossy};

/// The types of read-only images.
const IMAGE_TYPES: [&str; 6] = ["squashfs", "erofs", "iso9660", "udf", "cramfs", "romfs"];
/// The types whose inodes have no limit of their own.
const TYPES_WITHOUT_INODES: [&str; 3] = ["zfs", "btrfs", "bcachefs"];
/// What is mounted below these folders belongs to a container or to the kernel. A disk at
/// the folder itself counts.
const FOREIGN_FOLDERS: [&str; 9] = [
    "/dev",
    "/proc",
    "/sys",
    "/run/containerd",
    "/run/docker",
    "/var/lib/containerd",
    "/var/lib/containers/storage",
    "/var/lib/docker",
    "/var/lib/kubelet",
];
/// The files that a container runtime lays over those of the image.
const FOREIGN_FILES: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// How long a mount may take to answer.
const TIMEOUT: Duration = Duration::from_millis(250);
/// How long all mounts together may take. The limit is below the time after which the
/// agent leaves the whole collector behind.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) fn build(
    options: &mut Table<'_>,
    roots: &Roots,
) -> Option<Box<dyn Collector>> {
    let wanted = options.parsed_list("mounts", parse_path);
    let exclude = options
        .parsed_list("exclude", parse_pattern)
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
        read_usage: Arc::new(read_usage),
        hanging: &HANGING,
        part_errors: Vec::new(),
    }))
}

fn is_excluded(point: &str, exclude: &[WildMatch]) -> bool {
    exclude.iter().any(|pattern| pattern.matches(point))
}

/// A pattern of paths, which may begin with anything.
fn parse_pattern(text: &str) -> Result<String, String> {
    if text.starts_with(['*', '?']) && !text.contains('\0') {
        return Ok(text.to_owned());
    }
    parse_path(text)
}

/// A path as /proc/self/mounts has paths: without slashes at the end or in a row.
fn parse_path(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && !text.contains('\0');
    let parts: Vec<_> = text
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    if !is_path || parts.contains(&"..") {
        return Err("must be an absolute path such as \"/srv\"".to_owned());
    }
    Ok(format!("/{}", parts.join("/")))
}

/// Asks the system about a mount; the tests have functions of their own.
type ReadUsage = Arc<dyn Fn(&Path) -> io::Result<Usage> + Send + Sync>;

/// The threads that mounts keep.
type Hanging = Mutex<Vec<(OsString, JoinHandle<()>)>>;

/// Those of all collectors: a reload makes another collector, and the mount still hangs.
static HANGING: Hanging = Mutex::new(Vec::new());

/// Reads /proc/self/mounts and asks the system about each mount that counts.
struct Disk {
    proc: PathBuf,
    /// The mounts to measure; `None` for all that have a disk.
    wanted: Option<Vec<String>>,
    exclude: Vec<WildMatch>,
    read_usage: ReadUsage,
    /// The threads that mounts keep, with the mounts' paths.
    hanging: &'static Hanging,
    part_errors: Vec<PartError>,
}

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    device: OsString,
    /// The path, of any bytes.
    path: OsString,
    /// The path as text, for people.
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
        let mut mounts = self.read_mounts()?;
        for point in self.wanted.clone().unwrap_or_default() {
            if mounts.iter().all(|mount| mount.point != point) {
                self.fail(&point, Error::Unknown("is not mounted".to_owned()));
            }
        }

        // The host's own disk first: it must not wait for any other.
        mounts.sort_by_key(|mount| mount.point != "/");
        let usages = self.read_usages(&mounts);

        let mut metrics = Vec::new();
        for (mount, usage) in mounts.iter().zip(usages) {
            match usage {
                Ok(usage) => metrics.extend(name_usage(mount, usage)),
                Err(error) => self.fail(&mount.point, error),
            }
        }
        metrics.sort_by_key(|(rank, _)| *rank);
        let metrics = metrics.into_iter().map(|(_, metric)| metric).collect();
        Ok(Some(Sample::Metrics(metrics)))
    }

    fn part_errors(&mut self) -> Vec<PartError> {
        std::mem::take(&mut self.part_errors)
    }
}

impl Disk {
    /// The mounts to measure.
    fn read_mounts(&self) -> Result<Vec<Mount>, Error> {
        let mounts = parse_mounts(&read_bytes(&self.proc.join("self/mounts"))?);

        let Some(wanted) = &self.wanted else {
            let kinds = read_lossy(&self.proc.join("filesystems"))?;
            let with_device = parse_kinds_with_device(&kinds);
            return Ok(select(mounts, &with_device, &self.exclude));
        };
        Ok(mounts
            .into_iter()
            .filter(|mount| wanted.contains(&mount.point))
            .collect())
    }

    /// The usage of each mount, in the mounts' order.
    fn read_usages(&mut self, mounts: &[Mount]) -> Vec<Result<Usage, Error>> {
        self.hanging().retain(|(_, thread)| !thread.is_finished());
        let deadline = Instant::now() + TOTAL_TIMEOUT;
        let mut usages = Vec::new();

        while usages.len() < mounts.len() {
            // A mount that hangs since an earlier sample is not asked about again.
            let is_free = |mount: &&Mount| {
                self.hanging().iter().all(|(path, _)| *path != mount.path)
            };
            let rest = &mounts[usages.len()..];
            let batch: Vec<_> = rest.iter().take_while(is_free).cloned().collect();
            let Some(next) = rest.get(batch.len()) else {
                usages.extend(self.ask(&batch, deadline));
                continue;
            };

            let asked = self.ask(&batch, deadline);
            let is_whole = asked.len() == batch.len();
            usages.extend(asked);
            if is_whole {
                usages.push(Err(Error::Unknown(hangs(next))));
            }
        }
        usages
    }

    /// The usage of each mount up to the first that hangs, in a thread.
    fn ask(&mut self, mounts: &[Mount], deadline: Instant) -> Vec<Result<Usage, Error>> {
        if mounts.is_empty() {
            return Vec::new();
        }
        let all_fail = |text: String| {
            let fail = |_: &Mount| Err(Error::Unknown(text.clone()));
            mounts.iter().map(fail).collect()
        };
        if Instant::now() >= deadline {
            return all_fail("was not asked, because others do not answer".to_owned());
        }
        let (thread, answers) = match start(mounts, Arc::clone(&self.read_usage)) {
            Ok(started) => started,
            Err(error) => return all_fail(format!("cannot start a thread: {error}")),
        };

        let mut usages = Vec::new();
        for mount in mounts {
            let left = deadline.saturating_duration_since(Instant::now());
            match answers.recv_timeout(left.min(TIMEOUT)) {
                Ok(usage) => {
                    usages.push(usage.map_err(|source| Error::read(&mount.path, source)));
                }
                Err(_) => {
                    self.hanging().push((mount.path.clone(), thread));
                    usages.push(Err(Error::Unknown(hangs(mount))));
                    break;
                }
            }
        }
        usages
    }

    fn hanging(&self) -> MutexGuard<'static, Vec<(OsString, JoinHandle<()>)>> {
        self.hanging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&mut self, point: &str, error: Error) {
        self.part_errors.push(PartError {
            part: point.to_owned(),
            error,
        });
    }
}

/// Starts a thread that sends the usage of each mount. The thread ends early when nobody
/// takes the usages any more.
fn start(
    mounts: &[Mount],
    read_usage: ReadUsage,
) -> io::Result<(JoinHandle<()>, Receiver<io::Result<Usage>>)> {
    let (tell, answers) = mpsc::channel();
    let paths: Vec<_> = mounts.iter().map(|mount| mount.path.clone()).collect();
    let ask = move || {
        for path in paths {
            if tell.send(read_usage(Path::new(&path))).is_err() {
                break;
            }
        }
    };
    let thread = Builder::new().name("disk".to_owned()).spawn(ask)?;
    Ok((thread, answers))
}

fn hangs(mount: &Mount) -> String {
    format!(
        "{} does not answer: is what it is mounted from away?",
        mount.kind
    )
}

/// How much a metric matters where a heartbeat has no place for all: less is more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Space,
    Inodes,
    /// Inodes of a file system that makes as many as it has space for.
    UnlimitedInodes,
}

/// The usage as metrics.
fn name_usage(
    mount: &Mount,
    usage: Usage,
) -> impl Iterator<Item = (Rank, (String, f64))> {
    let label = show_label("mount", &mount.point);
    let inodes = if TYPES_WITHOUT_INODES.contains(&mount.kind.as_str()) {
        Rank::UnlimitedInodes
    } else {
        Rank::Inodes
    };
    let percents = [
        (Rank::Space, "disk_used_percent", usage.space),
        (inodes, "disk_inodes_percent", usage.inodes),
    ];
    percents
        .into_iter()
        .filter_map(move |(rank, name, percent)| {
            percent.map(|percent| (rank, (format!("{name}{{{label}}}"), percent)))
        })
}

/// The mounted file systems in the text of /proc/self/mounts. Of two mounts at the same
/// point, the later hides the earlier.
fn parse_mounts(text: &[u8]) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ').map(unescape);
        let (Some(device), Some(path), Some(kind)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };

        mounts.retain(|mount| mount.path != path);
        mounts.push(Mount {
            device,
            point: path.to_string_lossy().into_owned(),
            path,
            kind: kind.to_string_lossy().into_owned(),
        });
    }
    mounts
}

/// The bytes behind the kernel's escapes: /proc/self/mounts has white space, `#` and `\`
/// as a backslash and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::new();
    let mut rest = field;
    while let Some((byte, behind)) = rest.split_first() {
        match behind.split_at_checked(3) {
            Some((digits, after)) if *byte == b'\\' && is_code(digits) => {
                let value = |code, digit: &u8| code * 8 + (digit - b'0');
                bytes.push(digits.iter().fold(0, value));
                rest = after;
            }
            _ => {
                bytes.push(*byte);
                rest = behind;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// Whether these are the octal digits of an ASCII character.
fn is_code(digits: &[u8]) -> bool {
    matches!(digits, [b'0' | b'1', rest @ ..]
        if rest.iter().all(|digit| (b'0'..=b'7').contains(digit)))
}

/// The types with a block device in the text of /proc/filesystems.
fn parse_kinds_with_device(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix('\t'))
        .collect()
}

/// The mounts that count. A device that is mounted several times counts once, at the
/// shortest path.
fn select(mounts: Vec<Mount>, with_device: &[&str], exclude: &[WildMatch]) -> Vec<Mount> {
    let counts = |Mount { kind, point, .. }: &Mount| {
        // The type of a user's program may have the program's name behind a dot.
        let family = kind.split('.').next().unwrap_or_default();
        let is_disk = with_device.contains(&family) || kind == "zfs" || point == "/";
        is_disk
            && !IMAGE_TYPES.contains(&kind.as_str())
            && !is_foreign(point)
            && !is_excluded(point, exclude)
    };

    let mut selected: Vec<Mount> = Vec::new();
    for mount in mounts.into_iter().filter(counts) {
        let known = selected
            .iter_mut()
            .find(|other| other.device == mount.device);
        match known {
            Some(other) if mount.path.len() < other.path.len() => *other = mount,
            Some(_) => {}
            None => selected.push(mount),
        }
    }
    selected
}

/// Whether a container runtime or the kernel has mounted what is at `point`.
fn is_foreign(point: &str) -> bool {
    let is_below = |folder: &&str| {
        point
            .strip_prefix(*folder)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    FOREIGN_FILES.contains(&point) || FOREIGN_FOLDERS.iter().any(is_below)
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
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    const KINDS: &str = "nodev\tfusectl\n\tfuseblk\nnodev\tsysfs\nnodev\ttmpfs\nnodev\tnfs4\nnodev\tfuse\nnodev\toverlay\nnodev\tzfs\n\
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

    fn select_of(mounts: &str, exclude: &[WildMatch]) -> Vec<Mount> {
        let kinds = parse_kinds_with_device(KINDS);
        select(parse_mounts(mounts.as_bytes()), &kinds, exclude)
    }

    fn points(mounts: &[Mount]) -> Vec<&str> {
        mounts.iter().map(|mount| mount.point.as_str()).collect()
    }

    #[test]
    fn disks_count_once_and_nothing_else_does() {
        let selected = select_of(MOUNTS, &[]);
        assert_eq!(
            points(&selected),
            ["/", "/boot/efi", "/srv", "/mnt/with space\t\\x", "/tank"]
        );
        let exclude = ["/boot/*", "/srv"].map(WildMatch::new);
        let selected = select_of(MOUNTS, &exclude);
        assert_eq!(
            points(&selected),
            ["/", "/a/long/way", "/mnt/with space\t\\x", "/tank"]
        );
        let container = "overlay / overlay rw 0 0\ntmpfs /dev tmpfs rw 0 0\n\
            /dev/sda2 /etc/hosts ext4 rw 0 0\n/dev/sda2 /var/lib/data ext4 rw 0 0\n";
        assert_eq!(points(&select_of(container, &[])), ["/", "/var/lib/data"]);
    }

    #[test]
    fn what_the_kernel_or_a_container_runtime_mounts_is_no_disk() {
        let mounts = "/dev/sda2 / ext4 rw 0 0\n\
            nsfs /run/docker/netns/1c2d3e4f5a6b nsfs rw 0 0\n\
            nsfs /run/netns/blue nsfs rw 0 0\n\
            someone@host:/x /home/someone/m fuse.sshfs rw 0 0\n\
            /dev/sdd1 /mnt/win fuseblk.ntfs rw 0 0\n\
            /dev/sde /var/lib/docker ext4 rw 0 0\n\
            /dev/dm-3 /var/lib/docker/devicemapper/mnt/1c ext4 rw 0 0\n\
            tank/docker/1c /var/lib/docker/zfs/graph/1c zfs rw 0 0\n\
            /dev/sdf /var/lib/kubelet/pods/1/volumes/x/mount xfs rw 0 0\n\
            /dev/sdg /var/lib/docker-data ext4 rw 0 0\n";
        assert_eq!(
            points(&select_of(mounts, &[])),
            ["/", "/mnt/win", "/var/lib/docker", "/var/lib/docker-data"]
        );
    }

    #[test]
    fn a_path_is_written_as_the_kernel_does() {
        for (text, path) in [
            ("/", Some("/")),
            ("/tmp", Some("/tmp")),
            ("/tmp/", Some("/tmp")),
            ("//srv//data/./", Some("/srv/data")),
            ("/boot/*", Some("/boot/*")),
            ("", None),
            ("srv", None),
            ("/srv/../etc", None),
            ("/a\0", None),
        ] {
            assert_eq!(parse_path(text).ok().as_deref(), path, "{text:?}");
        }
    }

    #[test]
    fn a_pattern_may_begin_with_anything() {
        for pattern in ["*", "*/docker/*", "?srv", "/boot/*"] {
            assert_eq!(parse_pattern(pattern).as_deref(), Ok(pattern));
        }
        for bad in ["docker", "", "*\0"] {
            parse_pattern(bad).unwrap_err();
        }
    }

    #[test]
    fn what_is_mounted_over_another_hides_it() {
        let mounts =
            parse_mounts(b"/dev/a /srv ext4 rw 0 0\ntmpfs /srv tmpfs rw 0 0\nhalf a\n");
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
            assert_eq!(unescape(field.as_bytes()), text, "{field}");
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

    /// A collector of the mounts in `text` that asks `read_usage` about them.
    fn disk(
        text: &[u8],
        options: &str,
        read_usage: impl Fn(&Path) -> io::Result<Usage> + Send + Sync + 'static,
    ) -> (tempfile::TempDir, Disk) {
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir(proc.path().join("self")).unwrap();
        std::fs::write(proc.path().join("self/mounts"), text).unwrap();
        std::fs::write(proc.path().join("filesystems"), KINDS).unwrap();
        let mut problems = fleetbeat_settings::Problems::default();
        let document =
            fleetbeat_settings::Document::parse("a.toml", options, &mut problems);
        let wanted = document.read(&mut problems, |table| table.strings("mounts"));
        problems.into_result().unwrap();
        let disk = Disk {
            proc: proc.path().to_owned(),
            wanted,
            exclude: vec![WildMatch::new("/mnt/*")],
            read_usage: Arc::new(read_usage),
            hanging: Box::leak(Box::default()),
            part_errors: Vec::new(),
        };
        (proc, disk)
    }

    /// The metrics and the part errors of a window.
    fn collect(disk: &mut Disk) -> (Vec<String>, Vec<String>) {
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

    const USAGE: Usage = Usage {
        space: Some(42.5),
        inodes: Some(3.0),
    };

    /// [`MOUNTS`], where some mounts fail or have no inodes.
    fn collect_mounts(options: &str) -> (Vec<String>, Vec<String>) {
        let read_usage = |point: &Path| match point.to_str().unwrap() {
            "/srv" => Err(io::ErrorKind::PermissionDenied.into()),
            "/boot/efi" => Ok(Usage {
                space: Some(7.0),
                inodes: None,
            }),
            _ => Ok(USAGE),
        };
        collect(&mut disk(MOUNTS.as_bytes(), options, read_usage).1)
    }

    #[test]
    fn each_mount_has_its_metrics_and_its_failure() {
        let (told, failed) = collect_mounts("");
        let expected = [
            r#"disk_used_percent{mount="/"} 42.5"#,
            r#"disk_used_percent{mount="/boot/efi"} 7"#,
            r#"disk_used_percent{mount="/tank"} 42.5"#,
            r#"disk_inodes_percent{mount="/"} 3"#,
            r#"disk_inodes_percent{mount="/tank"} 3"#,
        ];
        assert_eq!(told, expected);
        assert_eq!(failed, ["/srv: cannot read /srv"]);
    }

    #[test]
    fn what_is_wished_for_is_measured_whatever_it_is_and_missed() {
        let (told, failed) = collect_mounts("mounts = ['/nas', '/nowhere']");
        let expected = [
            r#"disk_used_percent{mount="/nas"} 42.5"#,
            r#"disk_inodes_percent{mount="/nas"} 3"#,
        ];
        assert_eq!(told, expected);
        assert_eq!(failed, ["/nowhere: is not mounted"]);
    }

    #[test]
    fn a_path_that_is_not_utf8_is_asked_about_as_it_is() {
        let mounts = b"/dev/a /caf\xe9 ext4 rw 0 0\n/dev/b / ext4 rw 0 0\n";
        let read_usage = |point: &Path| {
            let bytes = point.as_os_str().as_bytes();
            assert!(matches!(bytes, b"/" | b"/caf\xe9"), "{point:?}");
            Ok(USAGE)
        };
        let (told, failed) = collect(&mut disk(mounts, "", read_usage).1);
        assert_eq!(told[0], r#"disk_used_percent{mount="/"} 42.5"#);
        assert_eq!(told[1], "disk_used_percent{mount=\"/caf\u{fffd}\"} 42.5");
        assert!(failed.is_empty(), "{failed:?}");
    }

    #[test]
    fn a_mount_that_hangs_takes_no_other_with_it_and_is_asked_once() {
        let (release, hold) = mpsc::channel::<()>();
        let (asked, asks) = mpsc::channel();
        let hold = Mutex::new((hold, asked));
        let read_usage = move |point: &Path| {
            if point.ends_with("nas") {
                let (hold, asked) = &*hold.lock().unwrap();
                asked.send(()).unwrap();
                let _ = hold.recv();
            }
            Ok(USAGE)
        };
        let mounts = b"nas:/x /nas nfs4 rw 0 0\n/dev/a / ext4 rw 0 0\n\
            /dev/b /srv xfs rw 0 0\n";
        let options = "mounts = ['/nas', '/', '/srv']";
        let (_proc, mut disk) = disk(mounts, options, read_usage);

        for _ in 0..2 {
            // As a reload does: another collector.
            disk = Disk {
                proc: disk.proc.clone(),
                wanted: disk.wanted.clone(),
                exclude: Vec::new(),
                read_usage: Arc::clone(&disk.read_usage),
                hanging: disk.hanging,
                part_errors: Vec::new(),
            };
            let (told, failed) = collect(&mut disk);
            assert_eq!(told.len(), 4, "{told:?}");
            assert!(
                told[0].contains("\"/\"") && told[1].contains("/srv"),
                "{told:?}"
            );
            assert_eq!(
                failed,
                ["/nas: nfs4 does not answer: is what it is mounted from away?"]
            );
        }
        assert_eq!(
            asks.try_iter().count(),
            1,
            "a second thread would hang, too"
        );

        drop(release);
        let began = Instant::now();
        while !disk
            .hanging()
            .iter()
            .all(|(_, thread)| thread.is_finished())
        {
            assert!(began.elapsed() < Duration::from_secs(10), "it still hangs");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(collect(&mut disk).0.len(), 6);
    }

    #[test]
    fn the_space_used_comes_first_and_inodes_without_a_limit_last() {
        let mounts =
            b"tank/a /a zfs rw 0 0\n/dev/b /b ext4 rw 0 0\n/dev/a / xfs rw 0 0\n";
        let (told, _) = collect(&mut disk(mounts, "", |_| Ok(USAGE)).1);
        let names: Vec<_> = told.iter().map(|line| &line[..line.len() - 2]).collect();
        let order = ["used_percent{mount=\"/\"", "used_percent{mount=\"/a\""];
        assert!(
            names[0].contains(order[0]) && names[1].contains(order[1]),
            "{told:?}"
        );
        assert!(
            told[3].starts_with(r#"disk_inodes_percent{mount="/"}"#),
            "{told:?}"
        );
        assert!(
            told[5].starts_with(r#"disk_inodes_percent{mount="/a"}"#),
            "{told:?}"
        );
    }
}
