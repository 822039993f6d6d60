use std::net::TcpListener;
use std::thread;

use super::*;

/// The answer of a name server of a test to a question of a family.
#[derive(Debug, Clone, Copy)]
enum Says {
    /// One address: 10.77.0.2 or `2001:db8::7`.
    Address,
    /// A response code, and no record.
    Code(u8),
    /// The whole answer, by TCP only.
    TooLong,
    /// The answer is too long for a datagram, and TCP is silent.
    OnlyCut,
    /// The answer is too long for a datagram, and comes by TCP, a byte now and then.
    Dripping,
    Nothing,
}

use Says::{Address, Code, Dripping, Nothing, OnlyCut, TooLong};

const A: u8 = 1;

/// A name server that answers questions for IPv4 and IPv6 addresses so, after `delay`.
fn name_server(v4: Says, v6: Says, delay: Duration) -> SocketAddr {
    let (socket, listener) = loop {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()) {
            break (socket, listener);
        }
    };
    let address = socket.local_addr().unwrap();
    let answer = move |question: &[u8], by_tcp: bool| {
        let kind = question[question.len() - 3];
        match if kind == A { v4 } else { v6 } {
            Nothing => None,
            Address => Some(answer(question, 0, true)),
            Code(code) => Some(answer(question, code, false)),
            TooLong | Dripping if by_tcp => Some(answer(question, 0, true)),
            OnlyCut if by_tcp => None,
            TooLong | OnlyCut | Dripping => {
                let mut bytes = answer(question, 0, false);
                bytes[2] |= 2;
                Some(bytes)
            }
        }
    };

    thread::spawn(move || {
        let mut silent = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut question = [0; 512];
            let length = stream.read(&mut question).unwrap();
            let Some(bytes) = answer(&question[2..length], true) else {
                silent.push(stream);
                continue;
            };
            if matches!(v6, Dripping) {
                let _ = stream.write_all(&60_000_u16.to_be_bytes());
                while stream.write_all(b"x").is_ok() {
                    thread::sleep(Duration::from_millis(100));
                }
                continue;
            }
            let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            stream.write_all(&[&length[..], &bytes].concat()).unwrap();
        }
    });
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            thread::sleep(delay);
            if let Some(bytes) = answer(&question[..length], false) {
                let _ = socket.send_to(&bytes, from);
            }
        }
    });
    address
}

fn answer(question: &[u8], code: u8, has_record: bool) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2..4].copy_from_slice(&[0x81, 0x80 | code]);
    if has_record {
        bytes[7] = 1;
        bytes.extend(b"\xc0\x0c\0");
        let kind = question[question.len() - 3];
        bytes.extend([kind, 0, 1, 0, 0, 0, 5, 0]);
        if kind == A {
            bytes.extend(b"\x04\x0a\x4d\0\x02");
        } else {
            bytes.extend(b"\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07");
        }
    }
    bytes
}

/// What a host with these name servers finds for fleet.test, in sorted text.
fn find(servers: &[SocketAddr]) -> Result<Vec<String>, LookupError> {
    let servers = NameServers {
        addresses: servers.to_vec(),
        ..NameServers::default()
    };
    let deadline = Instant::now() + Duration::from_secs(4);
    let found = ask_for_each(&servers, "fleet.test", deadline)?;
    let mut shown: Vec<_> = found.iter().map(IpAddr::to_string).collect();
    shown.sort();
    Ok(shown)
}

const V4: &str = "10.77.0.2";
const V6: &str = "2001:db8::7";

#[test]
fn an_address_counts_whatever_becomes_of_the_other_family() {
    let at_once = Duration::ZERO;
    assert_eq!(
        find(&[name_server(Address, Address, at_once)]).unwrap(),
        [V4, V6]
    );
    for other in [
        Code(0),
        Code(1),
        Code(2),
        Code(3),
        Code(4),
        Code(5),
        Nothing,
    ] {
        let server = name_server(Address, other, at_once);
        assert_eq!(find(&[server]).unwrap(), [V4], "{other:?}");
        let server = name_server(other, Address, at_once);
        assert_eq!(find(&[server]).unwrap(), [V6], "{other:?}");
    }
}

#[test]
fn name_servers_are_asked_in_their_order() {
    let slow = name_server(Address, Code(0), Duration::from_millis(30));
    let wrong = name_server(Code(3), Code(3), Duration::ZERO);
    assert_eq!(find(&[slow, wrong]).unwrap(), [V4]);
    assert_eq!(
        find(&[wrong, slow]),
        Err(LookupError::NoSuchName("fleet.test".to_owned(), wrong.ip()))
    );

    let good = name_server(Address, Code(0), Duration::ZERO);
    let closed = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for bad in [
        name_server(Code(2), Code(2), Duration::ZERO),
        name_server(Code(5), Code(0), Duration::ZERO),
        name_server(Nothing, Nothing, Duration::ZERO),
        closed,
    ] {
        assert_eq!(find(&[bad, good]).unwrap(), [V4], "{bad}");
    }
}

#[test]
fn an_answer_too_long_for_a_datagram_comes_by_tcp() {
    let server = name_server(TooLong, Code(0), Duration::ZERO);
    assert_eq!(find(&[server]).unwrap(), [V4]);
}

#[test]
fn tcp_that_is_silent_or_drips_costs_neither_time_nor_the_other_family() {
    for v6 in [OnlyCut, Dripping] {
        let server = name_server(Address, v6, Duration::ZERO);
        assert_eq!(find(&[server]).unwrap(), [V4], "{v6:?}");
    }
    let started = Instant::now();
    find(&[name_server(Dripping, Dripping, Duration::ZERO)]).unwrap_err();
    let took = started.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
}

/// A name server that answers those questions for IPv4 addresses that `hears` lets
/// through, and says that there are no IPv6 addresses.
fn hard_of_hearing(
    mut hears: impl FnMut(&[u8], SocketAddr) -> bool + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut question) {
            let question = &question[..length];
            if hears(question, from) {
                let has_record = question[length - 3] == A;
                let _ = socket.send_to(&answer(question, 0, has_record), from);
            }
        }
    });
    address
}

#[test]
fn a_firewall_that_lets_one_question_through_is_asked_one_at_a_time() {
    let mut last = None;
    let server = hard_of_hearing(move |_, from| last.replace(from) != Some(from));
    assert_eq!(find(&[server]).unwrap(), [V4]);
}

#[test]
fn a_search_domain_whose_server_is_silent_leaves_time_for_the_name() {
    let is_of = |question: &[u8]| question.windows(6).any(|part| part == b"silent");
    let servers = NameServers {
        addresses: vec![hard_of_hearing(move |question, _| !is_of(question))],
        search: vec!["a.silent.test".to_owned(), "silent.test".to_owned()],
        min_dots: 5,
        ..NameServers::default()
    };
    let deadline = Instant::now() + Duration::from_secs(4);
    let found = ask_for_each(&servers, "fleet.test", deadline).unwrap();
    assert_eq!(found, [IpAddr::from([10, 77, 0, 2])]);
}

#[test]
fn what_went_wrong_is_told_with_the_name_server() {
    let told = |v4, v6| {
        let error = find(&[name_server(v4, v6, Duration::ZERO)]).unwrap_err();
        error.to_string()
    };
    let refused = "the name server 127.0.0.1 does not tell the address of fleet.test: ";
    assert_eq!(
        told(Code(5), Code(5)),
        format!("{refused}it answers REFUSED")
    );
    assert_eq!(
        told(Code(0), Code(2)),
        format!("{refused}it answers SERVFAIL")
    );
    assert_eq!(
        told(Code(3), Code(3)),
        "there is no such name as fleet.test, says the name server 127.0.0.1"
    );
    assert_eq!(
        told(Code(0), Code(0)),
        "fleet.test has no address, says the name server 127.0.0.1"
    );
}

#[test]
fn a_silent_name_server_takes_no_longer_than_allowed() {
    let silent = name_server(Nothing, Nothing, Duration::ZERO);
    let servers = NameServers {
        addresses: vec![silent, silent],
        ..NameServers::default()
    };
    let started = Instant::now();
    let told = ask_for_each(&servers, "fleet.test", started + Duration::from_millis(200));
    assert!(
        told.unwrap_err()
            .to_string()
            .ends_with(": it does not answer")
    );
    let took = started.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn the_hosts_file_goes_before_name_servers() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files {
        hosts: folder.path().join("hosts"),
        resolv_conf: folder.path().join("resolv.conf"),
    };
    std::fs::write(&files.hosts, "127.0.0.5 fleet.test\n").unwrap();
    let resolver = Resolver { files };
    let deadline = Instant::now() + Duration::from_millis(100);
    for (name, address) in [
        ("fleet.test", "127.0.0.5"),
        ("localhost", "127.0.0.1"),
        ("a.LocalHost.", "127.0.0.1"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::1"),
    ] {
        let found = resolver.look_up(name, deadline).unwrap();
        assert!(
            found.contains(&address.parse().unwrap()),
            "{name}: {found:?}"
        );
    }
    assert_eq!(
        resolver.look_up("not a..name", deadline),
        Err(LookupError::NotAName("not a..name".to_owned()))
    );
}
