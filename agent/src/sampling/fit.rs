//! What of the samples fits in a heartbeat.

use std::collections::BTreeMap;

use fleetbeat_protocol::{MAX_METRICS, MAX_NAME_CHARS, MAX_SERVICES, Service};

/// Names of left out services and metrics, by the reason.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct LeftOut(Vec<(&'static str, Vec<String>)>);

impl LeftOut {
    fn add(&mut self, reason: &'static str, name: &str) {
        let name = name.to_owned();
        match self.0.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(name),
            None => self.0.push((reason, vec![name])),
        }
    }

    pub(super) fn reasons(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(reason, _)| *reason)
    }

    /// The reasons, each with a sentence that has the first `most` of the names.
    pub(crate) fn sentences(
        &self,
        most: usize,
    ) -> impl Iterator<Item = (&'static str, String)> {
        self.0.iter().map(move |(reason, names)| {
            let names = show_names(names, most);
            (*reason, format!("{reason} are left out: {names}"))
        })
    }
}

/// The first `most` of the names, for people.
fn show_names(names: &[String], most: usize) -> String {
    let shown: Vec<_> = names
        .iter()
        .take(most)
        .map(|name| name.escape_debug().to_string())
        .collect();
    let mut text = shown.join(", ");
    if names.len() > shown.len() {
        text.push_str(&format!(" and {} more", names.len() - shown.len()));
    }
    text
}

/// The services, as many as a heartbeat may carry.
pub(super) fn fit_services(services: &[Service], left_out: &mut LeftOut) -> Vec<Service> {
    let mut fitting = Vec::new();
    for service in services {
        let reason = if service.name.chars().count() > MAX_NAME_CHARS {
            "services whose names are longer than a heartbeat may carry"
        } else if fitting.len() == MAX_SERVICES {
            "more services than a heartbeat may carry"
        } else {
            fitting.push(service.clone());
            continue;
        };
        left_out.add(reason, &service.name);
    }
    fitting
}

/// The metrics of all collectors, as many as a heartbeat may carry. `groups` has the
/// metrics of each collector, the most important first.
///
/// Each collector has the same share of the room. What a collector does not need of its
/// share goes to the others, in their order.
pub(super) fn fit_metrics(
    groups: &[&[(String, f64)]],
    left_out: &mut LeftOut,
) -> BTreeMap<String, f64> {
    let mut known = BTreeMap::new();
    let mut usable = Vec::new();
    for metrics in groups {
        let mut group = Vec::new();
        for (name, value) in *metrics {
            if name.chars().count() > MAX_NAME_CHARS {
                let reason = "metrics whose names are longer than a heartbeat may carry";
                left_out.add(reason, name);
            } else if known.insert(name.clone(), *value).is_some() {
                let reason =
                    "metrics of which another collector has one of the same name";
                left_out.add(reason, name);
            } else {
                group.push((name, *value));
            }
        }
        usable.push(group);
    }

    let lengths: Vec<usize> = usable.iter().map(Vec::len).collect();
    let mut fitting = BTreeMap::new();
    for (metrics, count) in usable.into_iter().zip(share(&lengths)) {
        let (kept, beyond) = metrics.split_at(count);
        fitting.extend(kept.iter().map(|(name, value)| ((*name).clone(), *value)));
        for (name, _) in beyond {
            left_out.add("more metrics than a heartbeat may carry", name);
        }
    }
    fitting
}

/// How many metrics each collector may have that wants so many.
fn share(wanted: &[usize]) -> Vec<usize> {
    let collectors = wanted.iter().filter(|count| **count > 0).count();
    let equal = MAX_METRICS / collectors.max(1);
    let mut granted: Vec<usize> = wanted.iter().map(|count| equal.min(*count)).collect();

    let mut left = MAX_METRICS - granted.iter().sum::<usize>();
    for (granted, wanted) in granted.iter_mut().zip(wanted) {
        let more = (wanted - *granted).min(left);
        *granted += more;
        left -= more;
    }
    granted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_collector_has_its_share_and_the_first_have_the_rest() {
        for (wanted, granted) in [
            (&[][..], &[][..]),
            (&[0], &[0]),
            (&[200], &[64]),
            (&[5, 0, 3], &[5, 0, 3]),
            (&[5, 128, 1, 80], &[5, 42, 1, 16]),
            (&[5, 2, 1, 80], &[5, 2, 1, 56]),
            (&[80, 80, 80], &[22, 21, 21]),
        ] {
            assert_eq!(share(wanted), granted, "{wanted:?}");
        }
    }

    #[test]
    fn the_first_metrics_of_each_collector_stay() {
        let metrics = |name: &str, count: usize| -> Vec<(String, f64)> {
            (0..count).map(|n| (format!("{name}{n}"), 1.0)).collect()
        };
        let (disk, exec, text) = (metrics("d", 100), metrics("e", 2), metrics("t", 100));
        let mut left_out = LeftOut::default();
        let fitting = fit_metrics(&[&disk, &exec, &text], &mut left_out);
        assert_eq!(fitting.len(), MAX_METRICS);
        let count = |name: &str| fitting.keys().filter(|k| k.starts_with(name)).count();
        assert_eq!((count("d"), count("e"), count("t")), (41, 2, 21));
        assert!(fitting.contains_key("d0") && fitting.contains_key("t20"));
        let told: Vec<_> = left_out.sentences(3).map(|(_, text)| text).collect();
        assert_eq!(
            told,
            [
                "more metrics than a heartbeat may carry are left out: d41, d42, d43 and \
                 135 more"
            ]
        );
    }

    #[test]
    fn the_log_shows_some_of_many_names() {
        let show = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            show_names(&names, 3)
        };
        assert_eq!(show(&["a", "b\u{1b}"]), "a, b\\u{1b}");
        assert_eq!(show(&["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }

    #[test]
    fn a_service_with_a_long_name_is_left_out_and_no_other() {
        let service = |name: String| Service { name, active: true };
        let services = [
            service("x".repeat(MAX_NAME_CHARS + 1)),
            service("é".repeat(MAX_NAME_CHARS)),
        ];
        let mut left_out = LeftOut::default();
        assert_eq!(fit_services(&services, &mut left_out), services[1..]);
        assert_eq!(left_out.sentences(3).count(), 1);
    }

    #[test]
    fn names_that_are_too_long_or_taken_make_room_for_others() {
        let long = "x".repeat(MAX_NAME_CHARS + 1);
        let first = vec![(long, 1.0), ("é".repeat(MAX_NAME_CHARS), 2.0)];
        let second = vec![first[1].clone(), ("b".to_owned(), 3.0)];
        let mut left_out = LeftOut::default();
        let fitting = fit_metrics(&[&first, &second], &mut left_out);
        assert_eq!(fitting.len(), 2);
        assert_eq!(left_out.sentences(3).count(), 2);
    }
}
