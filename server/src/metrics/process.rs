//! The process itself, under the names that all of Prometheus's libraries give it.

use std::fs;
use std::path::Path;

use fleetbeat_protocol::Timestamp;
use prometheus::Registry;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::instruments::{fraction_counter, gauge};
use super::readings::seconds;

/// The kernel's account of this process.
const ACCOUNT: &str = "/proc/self";

/// Enters what the kernel tells of this process, which has `started` then.
pub(super) fn enter(registry: &Registry, started: Timestamp) {
    let enter = |name, help, value: f64| gauge(registry, name, help).set(value);

    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let spent = spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9;
    fraction_counter(
        registry,
        "process_cpu_seconds_total",
        "User and system time of the process.",
    )
    .inc_by(spent);
    enter(
        "process_start_time_seconds",
        "When the process has started.",
        seconds(started),
    );
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        enter(
            "process_max_fds",
            "The descriptors that the process may have open.",
            limit as f64,
        );
    }

    // What cannot be read is left out.
    let account = Path::new(ACCOUNT);
    if let Some(fds) = count_entries(&account.join("fd")) {
        // Less the one that counts.
        enter(
            "process_open_fds",
            "The descriptors that the process has open.",
            fds.saturating_sub(1) as f64,
        );
    }
    if let Some(threads) = count_entries(&account.join("task")) {
        enter(
            "process_threads",
            "The threads of the process.",
            threads as f64,
        );
    }
    let memory = fs::read_to_string(account.join("statm")).ok();
    if let Some(pages) = memory.as_deref().and_then(parse_memory) {
        let bytes = |pages: u64| pages as f64 * rustix::param::page_size() as f64;
        enter(
            "process_virtual_memory_bytes",
            "The address space of the process.",
            bytes(pages.all),
        );
        enter(
            "process_resident_memory_bytes",
            "The memory of the process that is in RAM.",
            bytes(pages.resident),
        );
    }
}

fn count_entries(folder: &Path) -> Option<usize> {
    fs::read_dir(folder).ok().map(Iterator::count)
}

/// A process's memory in pages.
#[derive(Debug, PartialEq, Eq)]
struct Memory {
    all: u64,
    resident: u64,
}

/// The content of `statm`.
fn parse_memory(statm: &str) -> Option<Memory> {
    let mut numbers = statm.split_whitespace().map(str::parse);
    Some(Memory {
        all: numbers.next()?.ok()?,
        resident: numbers.next()?.ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_the_kernel_says() {
        let memory = Memory {
            all: 43_000,
            resident: 4_100,
        };
        assert_eq!(parse_memory("43000 4100 1200 900 0 5000 0\n"), Some(memory));
        for wrong in ["", "1", "a b", "-1 2"] {
            assert_eq!(parse_memory(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn this_process_has_sound_values() {
        let registry = Registry::new();
        enter(&registry, Timestamp::UNIX_EPOCH);
        let value = |name: &str| {
            let families = registry.gather();
            let family = families.into_iter().find(|family| family.name() == name);
            let metric = family.unwrap().get_metric()[0].clone();
            metric.get_gauge().get_value() + metric.get_counter().get_value()
        };
        for (name, least, most) in [
            ("process_cpu_seconds_total", 1e-6, 1e6),
            ("process_start_time_seconds", 0.0, 0.0),
            ("process_open_fds", 3.0, 1e5),
            ("process_max_fds", 16.0, 1e10),
            ("process_threads", 2.0, 1e4),
            ("process_resident_memory_bytes", 1e6, 1e11),
            ("process_virtual_memory_bytes", 1e6, 1e15),
        ] {
            let value = value(name);
            assert!((least..=most).contains(&value), "{name}: {value}");
        }
    }
}
