//! A heartbeat of one's own is judged as the server judges the heartbeat's JSON.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr};

use fleetbeat_protocol::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// One more than the greatest number that JSON readers hold exactly.
const LIMIT: u64 = 1 << 53;

/// Texts around the limits, and with every kind of character.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "\\PC{0,8}",
        1 => Just("a\0b".to_owned()),
        1 => vec(any::<char>(), 60..70)
            .prop_map(|chars| chars.into_iter().collect()),
        1 => (250_usize..257).prop_map(|count| "ü".repeat(count)),
    ]
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (-100..10_100).prop_map(|hundredths| f64::from(hundredths) / 100.0),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(-1.5e300),
        1 => Just(100.0),
    ]
}

fn few_or_too_many<T: Debug + 'static>(
    item: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Vec<T>> {
    let item = item.boxed();
    prop_oneof![4 => vec(item.clone(), 0..5), 1 => vec(item, 63..66)]
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        2 => any::<IpAddr>(),
        1 => any::<Ipv4Addr>().prop_map(|ip| ip.to_ipv6_mapped().into()),
        1 => Just(Ipv4Addr::BROADCAST.into()),
    ]
}

fn tag_key() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z0-9._/-]{0,64}", 1 => text()]
}

prop_compose! {
    fn heartbeat()(
        ip in proptest::option::of(address()),
        texts in proptest::array::uniform5(text()),
        optional in proptest::array::uniform3(proptest::option::of(text())),
        services in few_or_too_many((text(), any::<bool>())),
        load in proptest::array::uniform3(proptest::option::of(number())),
        metrics in few_or_too_many((text(), number())),
        tags in few_or_too_many((tag_key(), text())),
        seq in proptest::option::of(prop_oneof![0_u64..9, LIMIT - 3..LIMIT + 3, any::<u64>()]),
    ) -> Heartbeat {
        let [country_code, country, city, hostname, _] = texts;
        let [region, boot_id, agent_version] = optional;
        let [cpu, ram, net] = load;
        Heartbeat {
            ip,
            country_code,
            country,
            region,
            city,
            hostname,
            services: services
                .into_iter()
                .map(|(name, active)| Service { name, active })
                .collect(),
            load: Load { cpu, ram, net },
            metrics: metrics.into_iter().collect::<BTreeMap<_, _>>(),
            agent_tags: tags.into_iter().collect(),
            collected_at: None,
            boot_id,
            seq,
            agent_version,
            agent_id: None,
        }
    }
}

proptest! {
    #[test]
    fn the_server_and_the_check_find_the_same_faults(heartbeat in heartbeat()) {
        let body = serde_json::to_string(&heartbeat).unwrap();
        let judged = Heartbeat::from_json(&serde_json::from_str(&body).unwrap());
        prop_assert_eq!(heartbeat.check(), judged.map(drop));
    }
}
