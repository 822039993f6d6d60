//! The fleet and its countries, as hosts of their own in history: how many of their hosts
//! are active and down, their mean loads, and their clients, once a minute.

use std::collections::BTreeMap;

use fleetbeat_history::{Arrival, Host, HostSamples, Identity, Sample};
use fleetbeat_protocol::{Server, Status};

use super::load;
use super::shown::Shown;

/// The metrics of a group.
pub(crate) const ACTIVE: &str = "active";
pub(crate) const DOWN: &str = "down";
pub(crate) const CLIENTS: &str = "clients";

/// The hosts of a group, as they are counted.
#[derive(Debug, Default)]
struct Tally {
    active: u32,
    down: u32,
    cpu: Mean,
    ram: Mean,
    net: Mean,
    /// `None` if no host tells of any.
    clients: Option<f64>,
}

/// A mean of those who have a value.
#[derive(Debug, Default)]
struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, value: Option<f64>) {
        if let Some(value) = value {
            self.sum += value;
            self.count += 1;
        }
    }

    fn value(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }
}

impl Tally {
    /// Counts a host. What a host that is down has said last is old, and counts no more.
    fn add(&mut self, server: &Server) {
        if server.status == Status::Down {
            self.down += 1;
            return;
        }
        self.active += 1;
        self.cpu.add(server.load.cpu);
        self.ram.add(server.load.ram);
        self.net.add(server.load.net);
        if let Some(clients) = load::clients(server) {
            *self.clients.get_or_insert(0.0) += clients;
        }
    }

    fn sample(&self, at: i64) -> Sample {
        let mut sample = Sample::new(at, Identity::Unknown, Arrival::Live);
        sample.set_loads(self.cpu.value(), self.ram.value(), self.net.value());
        sample.set_metric(ACTIVE, self.active.into());
        sample.set_metric(DOWN, self.down.into());
        if let Some(clients) = self.clients {
            sample.set_metric(CLIENTS, clients);
        }
        sample
    }
}

/// A sample of the fleet, and one of each country that has hosts, at `at` in seconds since
/// 1970.
pub(crate) fn samples(servers: &[Shown], at: i64) -> Vec<HostSamples> {
    let mut groups = BTreeMap::from([(Host::fleet(), Tally::default())]);
    for server in servers {
        let country = Host::country(&server.country_code);
        for group in [Host::fleet(), country] {
            groups.entry(group).or_default().add(server);
        }
    }
    let sample = |(host, tally): (Host, Tally)| HostSamples {
        host,
        samples: vec![tally.sample(at)],
    };
    groups.into_iter().map(sample).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fleetbeat_history::Series;
    use fleetbeat_protocol::Timestamp;

    use super::*;

    fn server(
        country: &str,
        status: Status,
        cpu: Option<f64>,
        clients: Option<f64>,
    ) -> Shown {
        let golden = include_str!("../../../protocol/golden/server.json");
        let mut server: Server = serde_json::from_str(golden).unwrap();
        server.settings = fleetbeat_protocol::Settings::default();
        server.country_code = country.to_owned();
        server.status = status;
        server.load.cpu = cpu;
        server.metrics.clear();
        if let Some(clients) = clients {
            server.metrics.insert("vpn_clients".to_owned(), clients);
        }
        Shown::new(Arc::new(server), Timestamp::UNIX_EPOCH, None)
    }

    fn values(groups: &[HostSamples], name: &str) -> Vec<Option<f64>> {
        let group = groups.iter().find(|group| group.host.as_str() == name);
        let sample = &group.unwrap().samples[0];
        let names = ["cpu", "metrics.active", "metrics.down", "metrics.clients"];
        let series = names.map(|name| Series::parse(name).unwrap());
        series.iter().map(|series| sample.get(series)).collect()
    }

    #[test]
    fn the_fleet_and_each_country_are_counted() {
        use Status::{Active, Down};
        let servers = [
            server("DE", Active, Some(10.0), Some(3.0)),
            server("DE", Active, None, Some(4.0)),
            server("DE", Down, Some(99.0), Some(100.0)),
            server("JP", Down, Some(50.0), None),
            server("jp", Active, Some(20.0), None),
            server("", Active, Some(30.0), None),
        ];
        let groups = samples(&servers, 60);
        let names: Vec<&str> = groups.iter().map(|group| group.host.as_str()).collect();
        assert_eq!(
            names,
            ["country:DE", "country:JP", "country:other", "fleet"]
        );
        let some = |values: [f64; 4]| values.map(Some).to_vec();
        assert_eq!(values(&groups, "fleet"), some([20.0, 4.0, 2.0, 7.0]));
        assert_eq!(values(&groups, "country:DE"), some([10.0, 2.0, 1.0, 7.0]));
        let unknown = [None, Some(0.0), Some(1.0), None];
        assert_eq!(values(&groups, "country:JP"), unknown);
        assert_eq!(samples(&[], 0).len(), 1, "the fleet without hosts");
    }
}
