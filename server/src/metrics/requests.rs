//! Requests and their answers, by route.

use std::sync::OnceLock;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, Registry};

use super::instruments::{SECONDS, counters, histograms};
use crate::http::{Answered, RouteName};

/// The statuses of one route that are counted by number; further ones are counted together.
const MAX_CODES: usize = 24;

/// Requests by route, and by the status of their answer.
pub(crate) struct Requests {
    counts: IntCounterVec,
    durations: HistogramVec,
    /// Each route at the place of its number.
    routes: Vec<Route>,
    /// Whatever is not a request for a route.
    unknown: Route,
}

/// One route. Its counters are made when they are first needed, and then found without a
/// lock.
struct Route {
    method: &'static str,
    path: &'static str,
    /// The statuses so far, in the order in which they came.
    codes: [OnceLock<(u16, IntCounter)>; MAX_CODES],
    other_codes: OnceLock<IntCounter>,
    duration: OnceLock<Histogram>,
}

impl Requests {
    pub(super) fn new(registry: &Registry, routes: &[RouteName]) -> Requests {
        let routes = routes.iter().map(|name| Route::new(name.method, name.path));
        Requests {
            counts: counters(
                registry,
                "fleetbeat_http_requests_total",
                "Requests that were answered, by route and status.",
                &["method", "route", "code"],
            ),
            durations: histograms(
                registry,
                "fleetbeat_http_request_duration_seconds",
                "The time from a request's head to its answer.",
                &["method", "route"],
                &SECONDS,
            ),
            routes: routes.collect(),
            unknown: Route::new("other", "unknown"),
        }
    }

    /// Counts an answer.
    pub(crate) fn count(&self, answered: &Answered<'_>) {
        let number = answered.asked.route.map(|name| name.number);
        let route = number.and_then(|number| self.routes.get(number));
        let route = route.unwrap_or(&self.unknown);

        self.counter(route, answered.status).inc();
        let durations = || {
            let labels = [route.method, route.path];
            self.durations.with_label_values(&labels)
        };
        let duration = route.duration.get_or_init(durations);
        duration.observe(answered.took.as_secs_f64());
    }

    fn counter<'a>(&'a self, route: &'a Route, status: u16) -> &'a IntCounter {
        let count = |code: &str| {
            let labels = [route.method, route.path, code];
            self.counts.with_label_values(&labels)
        };
        for slot in &route.codes {
            let (code, counter) =
                slot.get_or_init(|| (status, count(&status.to_string())));
            if *code == status {
                return counter;
            }
        }
        route.other_codes.get_or_init(|| count("other"))
    }
}

impl Route {
    fn new(method: &'static str, path: &'static str) -> Route {
        Route {
            method,
            path,
            codes: Default::default(),
            other_codes: OnceLock::new(),
            duration: OnceLock::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http::Asked;

    #[test]
    fn the_series_are_bounded_by_routes_and_statuses() {
        let names = ["/a", "/b"].into_iter().enumerate();
        let names: Vec<RouteName> = names
            .map(|(number, path)| RouteName {
                number,
                method: "GET",
                path,
            })
            .collect();
        let registry = Registry::new();
        let requests = Requests::new(&registry, &names);
        let count = |route, status| {
            requests.count(&Answered {
                asked: &Asked::example(&["x"], route),
                status,
                body_bytes: 0,
                took: Duration::from_millis(2),
            });
        };
        let strange = RouteName {
            number: 7,
            ..names[0]
        };
        for status in 0..600 {
            for route in [None, Some(names[0]), Some(names[1]), Some(strange)] {
                count(route, status);
                count(route, status);
            }
        }

        let families = registry.gather();
        let series = |name: &str| {
            let family = families.iter().find(|family| family.name() == name);
            family.unwrap().get_metric().to_vec()
        };
        let counts = series("fleetbeat_http_requests_total");
        assert_eq!(counts.len(), 3 * (MAX_CODES + 1));
        let sum: f64 = counts.iter().map(|one| one.get_counter().get_value()).sum();
        assert!((sum - 2.0 * 4.0 * 600.0).abs() < 0.5, "{sum}");
        let durations = series("fleetbeat_http_request_duration_seconds");
        let counts = durations
            .iter()
            .map(prometheus::proto::Metric::get_histogram);
        let counts: Vec<u64> = counts
            .map(prometheus::proto::Histogram::get_sample_count)
            .collect();
        assert_eq!(counts.iter().sum::<u64>(), 2 * 4 * 600);
        assert_eq!(counts.len(), 3);
    }
}
