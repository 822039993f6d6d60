//! What /proc tells about a running process.

use std::fs;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The clock tick of /proc/PID/stat: USER_HZ is 100 on every Linux that Fleetbeat runs
/// on.
const TICK: Duration = Duration::from_millis(10);

/// User and system time so far, children not included.
///
/// # Panics
/// If the process is gone.
pub fn cpu_time(pid: u32) -> Duration {
    ticks(pid, 11..=12)
}

/// The same with its children that have ended.
///
/// # Panics
/// If the process is gone.
pub fn cpu_time_with_children(pid: u32) -> Duration {
    ticks(pid, 11..=14)
}

fn ticks(pid: u32, fields: RangeInclusive<usize>) -> Duration {
    let stat = stat(pid).expect("the process runs");
    let ticks: u32 = stat[fields]
        .iter()
        .map(|field| field.parse::<u32>().expect("a number"))
        .sum();
    TICK * ticks
}

/// The processes of a process group that have not ended; those that nobody has waited for
/// have.
///
/// # Panics
/// If /proc cannot be read.
pub fn of_group(group: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("/proc is mounted");
    let pids =
        processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_member =
        |fields: Vec<String>| fields[0] != "Z" && fields[2] == group.to_string();
    pids.filter(|pid| stat(*pid).is_some_and(is_member))
        .collect()
}

/// The fields of /proc/PID/stat from the third, the state, on.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; the fields count from behind it.
    Some(
        stat[stat.rfind(')')? + 1..]
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
    )
}

/// How many file descriptors the process has open.
///
/// # Panics
/// If the process is gone.
pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("the process runs")
        .count()
}

/// Bytes that the process has had written to disks so far.
///
/// # Panics
/// If the process is gone.
pub fn written_bytes(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io"))
        .expect("the process runs, and is ours");
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "))
        .expect("Linux counts them");
    line.parse().expect("a number")
}

/// A line of /proc/PID/status that holds a number, such as `VmRSS` (in KiB) or `Threads`.
///
/// # Panics
/// If the process is gone or there is no such line.
pub fn status(pid: u32, name: &str) -> u64 {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let value = line
        .and_then(|value| value.split_whitespace().next())
        .and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("/proc/{pid}/status has no number {name}"))
}
