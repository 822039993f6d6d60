//! What a host measures, by name.

use std::fmt;
use std::sync::Arc;

/// Longest name of a service or metric that is kept, in bytes: 64 characters of at most
/// four bytes.
pub(crate) const MAX_NAME_BYTES: usize = 256;
/// Metrics that are not kept, because events have the host's boots.
const NOT_KEPT: [&str; 2] = ["uptime_seconds", "boot_time_seconds"];

/// One measure of a host over time.
///
/// The order is the one in which series are kept if there are too many: a host's loads,
/// its interfaces' counters, which are always kept, its services, its other metrics, each
/// by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Series {
    /// The load of the CPUs, in percent.
    Cpu,
    /// The share of memory that is in use, in percent.
    Ram,
    /// The load of the network interface, in percent.
    Net,
    /// A metric `interface_…_bytes_total`: bytes since the interface came up.
    Counter(Arc<str>),
    /// Whether a service runs.
    Service(Arc<str>),
    /// Any other metric.
    Metric(Arc<str>),
}

impl Series {
    /// The series of a metric with this name; `None` for metrics that are not kept.
    #[must_use]
    pub fn metric(name: &str) -> Option<Series> {
        if NOT_KEPT.contains(&name) || name.len() > MAX_NAME_BYTES {
            return None;
        }
        Some(if is_interface_counter(name) {
            Series::Counter(name.into())
        } else {
            Series::Metric(name.into())
        })
    }

    /// The series of a service with this name; `None` for a name that is too long.
    #[must_use]
    pub fn service(name: &str) -> Option<Series> {
        (name.len() <= MAX_NAME_BYTES).then(|| Series::Service(name.into()))
    }

    /// The series that the API calls `text`: `cpu`, `ram`, `net`, `services.NAME` or
    /// `metrics.NAME`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Series> {
        match text {
            "cpu" => Some(Series::Cpu),
            "ram" => Some(Series::Ram),
            "net" => Some(Series::Net),
            _ => {
                let service = text.strip_prefix("services.").map(Series::service);
                let metric = || text.strip_prefix("metrics.").map(Series::metric);
                service.or_else(metric).flatten()
            }
        }
    }

    /// Whether the series has two states.
    #[must_use]
    pub fn is_service(&self) -> bool {
        matches!(self, Series::Service(_))
    }

    /// The kind as a number, and the name, by which files name the series.
    pub(crate) fn to_parts(&self) -> (u8, &str) {
        match self {
            Series::Cpu => (0, ""),
            Series::Ram => (1, ""),
            Series::Net => (2, ""),
            Series::Counter(name) => (3, name),
            Series::Service(name) => (4, name),
            Series::Metric(name) => (5, name),
        }
    }

    /// The series with these parts.
    pub(crate) fn from_parts(kind: u8, name: &str) -> Option<Series> {
        match (kind, name) {
            (0, "") => Some(Series::Cpu),
            (1, "") => Some(Series::Ram),
            (2, "") => Some(Series::Net),
            (3, name) => Some(Series::Counter(name.into())),
            (4, name) => Some(Series::Service(name.into())),
            (5, name) => Some(Series::Metric(name.into())),
            _ => None,
        }
    }
}

/// Whether a metric counts the bytes of an interface: `interface_…_bytes_total`, with or
/// without labels.
fn is_interface_counter(name: &str) -> bool {
    let base = name.split_once('{').map_or(name, |(base, _)| base);
    base.starts_with("interface_") && base.ends_with("_bytes_total")
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Series::Cpu => f.write_str("cpu"),
            Series::Ram => f.write_str("ram"),
            Series::Net => f.write_str("net"),
            Series::Service(name) => write!(f, "services.{name}"),
            Series::Counter(name) | Series::Metric(name) => write!(f, "metrics.{name}"),
        }
    }
}
