use std::sync::mpsc;

use super::*;

fn way(next: &str) -> Way {
    Way {
        next: next.to_owned(),
        is_proxied: false,
        is_loopback: next.starts_with("127."),
    }
}

fn own_address(next: &str, kept: Option<&str>) -> OwnAddress {
    let kernel = Kernel {
        proc: "/proc".into(),
    };
    let kept = kept.map(|ip| ip.parse().unwrap());
    OwnAddress::new(way(next), kernel, [kept, None], false)
}

/// What is told of a route from `from` to `to`, directly and behind a proxy.
fn told(from: &str, to: &str) -> [Option<String>; 2] {
    [false, true].map(|is_proxied| {
        let mut own = own_address("fleet.test", None);
        own.search.way.is_proxied = is_proxied;
        let route = Route {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
        };
        own.search.identity(route).map(|ip| ip.to_string())
    })
}

#[test]
fn an_address_that_others_may_have_is_left_out() {
    for (from, to, is_told, is_told_behind_proxy) in [
        ("203.0.113.5", "198.51.100.7", true, true),
        ("10.0.0.4", "10.9.0.1", true, true),
        ("10.0.0.4", "192.168.0.1", true, true),
        ("10.0.0.4", "127.0.0.1", true, true),
        ("10.0.0.4", "198.51.100.7", false, true),
        ("100.64.0.1", "198.51.100.7", false, true),
        ("100.127.9.9", "198.51.100.7", false, true),
        ("100.128.0.1", "198.51.100.7", true, true),
        ("2001:db8::5", "2001:db8:1::1", true, true),
        ("fd00::5", "fd01::1", true, true),
        ("fd00::5", "2001:db8::1", false, true),
    ] {
        let expected = [is_told, is_told_behind_proxy];
        assert_eq!(
            told(from, to).map(|ip| ip.is_some()),
            expected,
            "{from} to {to}"
        );
    }
}

#[test]
fn an_address_that_many_have_is_never_told() {
    for from in [
        "0.0.0.1",
        "127.0.0.1",
        "127.0.1.1",
        "169.254.3.4",
        "192.0.0.1",
        "192.0.0.8",
        "198.18.0.1",
        "198.19.255.9",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::5",
        "fec0::5",
        "feff::5",
        "ff02::1",
        "64:ff9b:1::7",
    ] {
        for to in ["198.51.100.7", "10.0.0.1", "127.0.0.1", "fd00::1", "::1"] {
            assert_eq!(told(from, to), [None, None], "{from} to {to}");
        }
        assert_eq!(own_address("fleet.test", Some(from)).kept, None, "{from}");
    }
    for near in ["192.0.1.1", "198.17.0.1", "198.20.0.1", "64:ff9b:2::7"] {
        assert!(told(near, "198.51.100.7")[0].is_some(), "{near}");
    }
}

#[test]
fn a_server_that_is_called_loopback_knows_this_host_as_loopback() {
    let found = own_address("127.0.0.9", None).find();
    assert_eq!(found, Some([127, 0, 0, 1].into()));
    // The same machine under another name has an address of the network, or none.
    let mut own = own_address("localhost", None);
    assert!(own.find().is_none_or(|ip| !ip.is_loopback()));
}

#[test]
fn a_kept_address_outlives_names_and_restarts() {
    // There is no such name, and nothing is asked for one.
    let mut own = own_address("not a name", Some("203.0.113.5"));
    own.search.kernel.proc = "/no such folder".into();
    own.watch();
    assert_eq!(own.find(), Some([203, 0, 113, 5].into()));
    assert!(own.lookup.is_none());

    // Another server, another way: the host is the same.
    own.set_way(way("other.test"), own.search.kernel.clone());
    assert_eq!(own.find(), Some([203, 0, 113, 5].into()));
    let mut private = own_address("10.0.0.1", Some("10.0.0.4"));
    private.set_way(way("10.0.0.1"), private.search.kernel.clone());
    assert_eq!(private.kept, Some([10, 0, 0, 4].into()));
    private.set_way(way("198.51.100.7"), private.search.kernel.clone());
    assert_eq!(private.kept, None, "others may have it there");
}

#[test]
fn another_address_is_chosen_when_three_heartbeats_were_without_the_kept_one() {
    let mut own = own_address("127.0.0.9", Some("203.0.113.5"));
    let told: Vec<_> = (0..5)
        .map(|_| {
            own.watch();
            own.find().map(|ip| ip.to_string()).unwrap()
        })
        .collect();
    let (old, new) = ("203.0.113.5", "127.0.0.1");
    assert_eq!(told, [old, old, new, new, new]);
}

#[test]
fn an_address_of_the_other_family_gives_way_when_the_lost_one_is_back() {
    let proc = tempfile::tempdir().unwrap();
    std::fs::create_dir(proc.path().join("net")).unwrap();
    let table = proc.path().join("net/if_inet6");
    std::fs::write(&table, "").unwrap();

    let (old, new): (IpAddr, _) =
        ("2001:db8::5".parse().unwrap(), IpAddr::from([127, 0, 0, 1]));
    let mut own = own_address("127.0.0.9", Some("2001:db8::5"));
    own.search.kernel.proc = proc.path().to_owned();
    let mut next = || {
        own.watch();
        (own.find(), own.former())
    };
    let told: Vec<_> = (0..4).map(|_| next()).collect();
    let [was, is] = [(Some(old), None), (Some(new), Some(old))];
    assert_eq!(told, [was, was, is, is]);

    let line = "20010db8000000000000000000000005 02 40 00 80     eth0\n";
    std::fs::write(&table, line).unwrap();
    assert_eq!([next(), next()], [was, was]);
}

#[test]
fn a_silent_name_server_holds_up_nothing() {
    let (answer, asked) = mpsc::channel();
    let mut own = own_address("not a name", None);
    own.lookup = Lookup::start(Instant::now(), move || asked.recv().unwrap());
    assert_eq!(own.find(), None);
    // An address that the host has lost stays until there is another one.
    own.kept = Some([203, 0, 113, 5].into());
    own.lost_for = MAX_LOST_INTERVALS;
    assert_eq!(own.find(), Some([203, 0, 113, 5].into()));

    answer.send(Some([203, 0, 113, 9].into())).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while own.find() != Some([203, 0, 113, 9].into()) {
        assert!(
            own.lookup.is_some() && Instant::now() < deadline,
            "the answer is lost"
        );
        std::thread::yield_now();
    }
    assert!(own.lookup.is_none());
}
