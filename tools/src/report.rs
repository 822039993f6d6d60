//! The common lines and units of the measurements.

use std::fs;
use std::thread;
use std::time::Duration;

use fleetbeat_protocol::Timestamp;

/// Date, processor, cores, memory, kernel.
pub fn measured_on() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or(": unknown");
        line.split_once(':')
            .map_or("", |(_, value)| value.trim())
            .to_owned()
    };
    let memory_kib: u64 = field(&read("/proc/meminfo"), "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0);

    format!(
        "Measured {} on {} x {}, {} GiB of memory, Linux {}, load generator on the same machine.",
        &Timestamp::now().to_string()[..10],
        thread::available_parallelism().map_or(1, usize::from),
        field(&read("/proc/cpuinfo"), "model name"),
        memory_kib.div_ceil(1024 * 1024),
        read("/proc/sys/kernel/osrelease").trim(),
    )
}

/// Whole microseconds.
pub fn micros(duration: Duration) -> String {
    format!("{} µs", duration.as_micros())
}

/// Milliseconds.
pub fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// Mebibytes.
pub fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}
