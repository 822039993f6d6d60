//! Who a host is to the server, in networks that change: each test is a host in a network
//! namespace of its own. These tests need root.

use std::fs;
use std::path::Path;

use fleetbeat_tools::wait::wait_for;
use serde_json::Value;
use tempfile::TempDir;

use crate::agent::{FAST, away, settings};
use crate::networked_host::Host;
use crate::spool::spooled;

/// The addresses in the spool's heartbeats, each once, in order.
fn addresses(folder: &Path) -> Vec<String> {
    let mut found: Vec<_> = spooled(folder)
        .iter()
        .map(|heartbeat| heartbeat["ip"].as_str().unwrap_or("none").to_owned())
        .collect();
    found.dedup();
    found
}

/// The last `count` heartbeats all say `address`.
fn wait_for_address(settings: &TempDir, address: &str, count: usize) {
    wait_for(&format!("heartbeats of {address}"), || {
        let spooled = spooled(settings.path());
        let last: Vec<_> = spooled.iter().rev().take(count).collect();
        let are_same = last.iter().all(|heartbeat| heartbeat["ip"] == address);
        (last.len() == count && are_same).then_some(())
    });
}

#[test]
fn a_renumbered_host_has_its_new_address_even_if_any_address_can_be_bound() {
    for nonlocal_bind in ["0", "1"] {
        let host = Host::with_address("10.9.0.1/24");
        host.set("net.ipv4.ip_nonlocal_bind", nonlocal_bind);
        let settings = away("http://10.9.0.2:9");
        let _agent = host.run(&settings);
        wait_for_address(&settings, "10.9.0.1", 2);

        host.ip("address add 10.9.0.11/24 dev d0");
        host.ip("address delete 10.9.0.1/24 dev d0");
        host.ip("address replace 10.9.0.11/24 dev d0");
        wait_for_address(&settings, "10.9.0.11", 2);
        assert_eq!(addresses(settings.path()), ["10.9.0.1", "10.9.0.11"]);
    }
}

#[test]
fn a_link_that_flaps_and_a_restart_make_no_other_host() {
    let host = Host::with_address("10.9.0.1/24");
    host.ip("address add 2001:db8:9::1/64 dev d0 nodad");
    host.write("hosts", "10.9.0.2 fleet.test\n2001:db8:9::2 fleet.test\n");
    let settings = away("http://fleet.test:9");
    let id = {
        let mut agent = host.run(&settings);
        wait_for_address(&settings, "10.9.0.1", 2);
        host.ip("link set d0 down");
        host.ip("link set d0 up");
        let before = spooled(settings.path()).len();
        wait_for_address(&settings, "10.9.0.1", before + 3);
        assert!(agent.terminate().success());
        spooled(settings.path())[0]["agent_id"].clone()
    };

    // The name server's answers of another day.
    for hosts in [
        "2001:db8:9::2 fleet.test\n",
        "",
        "2001:db8:9::99 fleet.test\n",
    ] {
        host.write("hosts", hosts);
        let heartbeat = host.once(&settings);
        assert_eq!(heartbeat["ip"], "10.9.0.1", "{hosts}");
        assert_eq!(heartbeat["agent_id"], id);
    }
    assert_eq!(id.as_str().unwrap().len(), 32);

    // The copy of a disk is another host, and so is an image that starts for the first
    // time.
    host.write("machine-id", "00000000000000000000000000000002\n");
    let before = spooled(settings.path()).len();
    let _agent = host.run(&settings);
    wait_for("a heartbeat of the copy", || {
        (spooled(settings.path()).len() > before).then_some(())
    });
    let other = host.once(&settings)["agent_id"].clone();
    assert!(other.is_string() && other != id);
}

#[test]
fn the_family_does_not_depend_on_the_name_servers_answer() {
    let host = Host::with_address("10.9.0.1/24");
    host.ip("address add 2001:db8:9::1/64 dev d0 nodad");
    let settings = away("http://fleet.test:9");
    for hosts in [
        "10.9.0.2 fleet.test\n",
        "10.9.0.2 fleet.test\n2001:db8:9::2 fleet.test\n",
        "2001:db8:9::99 fleet.test\n10.9.0.2 fleet.test\n",
    ] {
        host.write("hosts", hosts);
        assert_eq!(host.once(&settings)["ip"], "10.9.0.1", "{hosts}");
    }
}

#[test]
fn a_temporary_address_is_never_the_hosts() {
    let host = Host::new();
    host.set("net.ipv6.conf.d0.use_tempaddr", "2");
    host.ip(
        "address add 2001:db8:9:0:5054:ff:fe12:3456/64 dev d0 mngtmpaddr \
         valid_lft 3600 preferred_lft 1800 nodad",
    );
    let listed = || host.ip("address show dev d0");
    wait_for("a temporary address", || {
        let listed = listed();
        (listed.contains("temporary") && !listed.contains("tentative")).then_some(())
    });
    let settings = away("http://[2001:db8:9::2]:9");
    assert_eq!(host.once(&settings)["ip"], "2001:db8:9:0:5054:ff:fe12:3456");
}

#[test]
fn the_servers_own_machine_is_not_known_as_loopback() {
    let hosts = "127.0.0.1 localhost\n127.0.1.1 fleet.example.com fleet\n";
    let alone = Host::new();
    alone.write("hosts", hosts);
    let settings = away("http://fleet.example.com:9");
    assert_eq!(alone.once(&settings)["ip"], Value::Null);

    let host = Host::with_address("10.9.0.1/24");
    host.write("hosts", hosts);
    assert_eq!(host.once(&settings)["ip"], "10.9.0.1");
    // The operator who writes a loopback address means this machine alone.
    let own = away("http://127.0.0.1:9");
    assert_eq!(host.once(&own)["ip"], "127.0.0.1");
}

#[test]
fn an_address_that_every_host_has_is_left_out() {
    for (address, told) in [
        ("203.0.113.5", Some("203.0.113.5")),
        ("10.99.0.1", None),
        ("100.64.0.1", None),
        ("192.0.0.1", None),
        ("198.18.0.1", None),
    ] {
        let host = Host::with_address(&format!("{address}/32"));
        let told = told.map_or(Value::Null, Value::from);
        assert_eq!(
            host.once(&away("http://9.9.9.9:9"))["ip"],
            told,
            "{address}"
        );
    }
}

#[test]
fn without_a_state_folder_the_host_has_an_identity_all_the_same() {
    let host = Host::with_address("10.9.0.1/24");
    let settings = settings(
        "http://10.9.0.2:9",
        &format!(
            "allow_insecure = true\n{FAST}[spool]\npath = \"/proc/no-such-folder\"\n"
        ),
    );
    let _agent = host.run(&settings);
    let log = || fs::read_to_string(settings.path().join("log")).unwrap();
    wait_for("a heartbeat that fails", || {
        log().contains("heartbeat dropped").then_some(())
    });
    let said = log().matches("the host's identity is not kept").count();
    assert_eq!(said, 1, "{}", log());
}

#[test]
fn behind_a_proxy_nothing_is_sent_without_an_address() {
    let proxied = |host: &str| {
        let lines = format!("proxy = \"http://127.0.0.1:9\"\n{FAST}{host}");
        settings("https://fleet.example.com", &lines)
    };
    // The proxy is on the host itself, and the host has no other address.
    let host = Host::new();
    for (settings, told) in [
        (proxied(""), "this host's own address is not known yet"),
        (
            proxied("[host]\nip = \"203.0.113.5\"\n"),
            "Connection refused",
        ),
    ] {
        let _agent = host.run(&settings);
        wait_for(told, || {
            let log = fs::read_to_string(settings.path().join("log")).unwrap();
            log.contains(told).then_some(())
        });
    }

    let host = Host::with_address("10.9.0.1/24");
    assert_eq!(host.once(&proxied(""))["ip"], "10.9.0.1");
}
