//! The name of the server, as name servers of all kinds answer for it. These tests need
//! root.

use std::fs;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fleetbeat_tools::wait::wait_for;

use crate::agent::away;
use crate::networked_host::Host;

/// The server's address, where nobody listens.
const ADDRESS: [u8; 4] = [10, 77, 0, 2];
const NXDOMAIN: u8 = 3;
/// Types of questions, RFC 1035 and RFC 3596.
const A: u16 = 1;
const AAAA: u16 = 28;

/// A name server that knows one address.
struct NameServer {
    is_over: Arc<AtomicBool>,
    answering: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Answers `A` with the address and `AAAA` with nothing, each after `delay`; or with
    /// this code, where one is given.
    fn start(
        host: &Host,
        at: &str,
        [a, aaaa]: [Option<u8>; 2],
        delay: Duration,
    ) -> NameServer {
        // The port of the name server before may still be held, by the child of another
        // test's thread that has forked and not yet executed its program.
        let bind = || UdpSocket::bind((at, 53)).ok();
        let socket = host.open(|| wait_for("the name server's port", bind));
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = is_over.clone();
        let answering = thread::spawn(move || {
            let mut question = [0; 512];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, peer)) = socket.recv_from(&mut question) else {
                    continue;
                };
                thread::sleep(delay);
                let answer = answer(&question[..length], a, aaaa);
                socket.send_to(&answer, peer).unwrap();
            }
        });
        NameServer {
            is_over,
            answering: Some(answering),
        }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let answering = self.answering.take();
        let _ = answering.map(JoinHandle::join);
    }
}

/// The answer to a message with one question.
fn answer(question: &[u8], a: Option<u8>, aaaa: Option<u8>) -> Vec<u8> {
    let name = question[12..].iter().position(|byte| *byte == 0).unwrap();
    let asked = &question[12..12 + name + 5];
    let kind = u16::from_be_bytes([asked[name + 1], asked[name + 2]]);
    let code = match kind {
        A => a,
        AAAA => aaaa,
        _ => None,
    };
    let has_address = kind == A && code.is_none();

    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80 | code.unwrap_or(0)]);
    answer.extend([0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
    answer.extend(asked);
    if has_address {
        // A pointer to the question's name, A, IN, five seconds, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
        answer.extend(ADDRESS);
    }
    answer
}

/// The agent tries the address: it is told there that nobody listens.
#[track_caller]
fn finds_the_server(host: &Host, case: &str) {
    let settings = away("http://fleet.test:9");
    let _agent = host.run(&settings);
    let log = || fs::read_to_string(settings.path().join("log")).unwrap();
    wait_for(&format!("a connection: {case}"), || {
        log().contains("Connection refused").then_some(())
    });
    assert!(!log().contains("no name server"), "{case}: {}", log());
}

fn host_of_name_servers() -> Host {
    let host = Host::with_address("10.9.0.1/24");
    for address in ["10.77.0.2", "10.77.0.3"] {
        host.ip(&format!("address add {address}/32 dev lo"));
    }
    host
}

#[test]
fn an_address_counts_whatever_the_other_familys_answer_is() {
    let host = host_of_name_servers();
    host.write("resolv.conf", "nameserver 10.77.0.2\n");
    // No error, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED.
    for code in [None, Some(1), Some(2), Some(NXDOMAIN), Some(4), Some(5)] {
        let _server = NameServer::start(&host, "10.77.0.2", [None, code], Duration::ZERO);
        finds_the_server(&host, &format!("AAAA with {code:?}"));
    }
}

#[test]
fn the_name_servers_are_asked_in_their_order() {
    let host = host_of_name_servers();
    host.write(
        "resolv.conf",
        "nameserver 10.77.0.2\nnameserver 10.77.0.3\n",
    );
    let knows = [None, None];
    let denies = [Some(NXDOMAIN), Some(NXDOMAIN)];
    let slow = Duration::from_millis(30);
    let _first = NameServer::start(&host, "10.77.0.2", knows, slow);
    let _second = NameServer::start(&host, "10.77.0.3", denies, Duration::ZERO);
    finds_the_server(&host, "the second denies sooner");
}
