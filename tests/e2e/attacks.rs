//! The attack list: hostile and broken peers against each way to the server, while a
//! well-behaved host goes on and is served throughout.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fleetbeat_tools::client::{encode, read_answer};
use fleetbeat_tools::front::{Front, Stream};
use fleetbeat_tools::nginx::{Nginx, free_address};
use fleetbeat_tools::process::{self, program};
use fleetbeat_tools::server::{ADMIN_PASSWORD, AGENT_KEY, FleetbeatServer};
use fleetbeat_tools::stand_in::Authority;
use fleetbeat_tools::wait::wait_for;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use crate::compose::TwoInstances;

const HEARTBEAT: &str = include_str!("../../protocol/golden/heartbeat-minimal.json");
/// No heartbeat of the host beside the attacks takes longer.
const MAX_HEARTBEAT: Duration = Duration::from_secs(3);

/// What stands before the server, if anything does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing: every answer is the server's own.
    Nothing,
    /// nginx, which has answers and limits of its own.
    Nginx,
}

/// Heads that no server may understand, and how this server answers.
const REFUSED: [(&str, &[u8], u16); 20] = [
    ("not ASCII", b"GET / HTTP/1.1\r\nHost: x\r\ncf-region: S\xc3\xa3o Paulo\r\n\r\n", 400),
    ("not ASCII in the target", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("NUL", b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", 400),
    ("LF alone", b"GET / HTTP/1.1\nHost: x\n\n", 400),
    ("CR alone", b"GET / HTTP/1.1\r\nHost: x\r\nX: a\rY: b\r\n\r\n", 400),
    ("a continued line", b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", 400),
    ("a blank before the colon", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("HTTP/1.7", b"GET / HTTP/1.7\r\nHost: x\r\n\r\n", 505),
    ("HTTP/0.9", b"GET /\r\n\r\n", 400),
    ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("an unknown Expect", b"POST /heartbeat HTTP/1.1\r\nHost: x\r\nExpect: a\r\n\r\n", 417),
    (
        "both framings",
        b"POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    (
        "two lengths",
        b"POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        400,
    ),
    (
        "a hexadecimal length",
        b"POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 0x10\r\n\r\nhello",
        400,
    ),
    (
        "an absurd length without a key",
        b"POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775807\r\n\r\nhello",
        401,
    ),
    (
        "an unknown coding",
        b"POST /heartbeat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\nhello",
        400,
    ),
    ("a target that is no path", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("no host", b"GET / HTTP/1.1\r\n\r\n", 400),
    ("two hosts", b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
];

/// A host that sends a heartbeat again and again, until it is dropped.
struct Beating {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Beating {
    fn start(front: &Front) -> Beating {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let thread = thread::spawn({
            let (front, stop, count) = (front.clone(), stop.clone(), count.clone());
            // Too long to come with its head through any buffer.
            let body = format!("{HEARTBEAT}{}", " ".repeat(20_000));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let started = Instant::now();
                    let key = [("X-API-Key", AGENT_KEY)];
                    let answer = front
                        .request("POST", "/heartbeat", &key, body.as_bytes())
                        .unwrap();
                    assert_eq!(answer.status, 200, "{answer:?}");
                    assert!(started.elapsed() < MAX_HEARTBEAT, "{:?}", started.elapsed());
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Beating {
            stop,
            count,
            thread: Some(thread),
        }
    }

    /// Waits until so many further heartbeats have been answered.
    #[track_caller]
    fn go_on(&self, times: usize) {
        let target = self.count.load(Ordering::Relaxed) + times;
        wait_for("further heartbeats", || {
            let thread = self.thread.as_ref().unwrap();
            assert!(!thread.is_finished(), "the host was not served");
            (self.count.load(Ordering::Relaxed) >= target).then_some(())
        });
    }

    fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A connection on which `bytes` have been sent, as far as the other side takes them.
fn send(front: &Front, bytes: &[u8]) -> Box<dyn Stream> {
    let mut stream = front.connect().unwrap();
    let _ = stream.write_all(bytes).and_then(|()| stream.flush());
    stream
}

/// Everything that comes until the other side closes the connection.
fn read_all(stream: &mut dyn Stream) -> String {
    let mut answer = Vec::new();
    // A reset behind the answer is an end, too.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request for a heartbeat with these fields besides, and without its body.
fn head(fields: &str) -> Vec<u8> {
    format!("POST /heartbeat HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n").into_bytes()
}

/// Every attack of the list, one after the other.
fn attack(front: &Front, before: Before) {
    let beating = Beating::start(front);
    beating.go_on(3);

    refused_heads_get_one_answer(front, before);
    beating.go_on(3);
    nothing_is_smuggled(front);
    beating.go_on(3);
    a_crowd_that_says_nothing(front, before, &beating);
    peers_that_go_at_once(front);
    beating.go_on(3);
    heads_without_end(front, before);
    beating.go_on(3);
    answers_that_nobody_reads(front, &beating);
    bodies_for_nobody(front);
    beating.go_on(3);

    beating.end();
}

fn refused_heads_get_one_answer(front: &Front, before: Before) {
    for (what, request, status) in REFUSED {
        let answer = read_all(&mut *send(front, request));
        if before == Before::Nginx {
            // nginx refuses some itself, some without a word, and puts others right.
            continue;
        }

        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer}");
        assert!(
            answer.contains("\r\nConnection: close\r\n"),
            "{what}: {answer}"
        );
        assert!(
            answer.contains("application/problem+json"),
            "{what}: {answer}"
        );
    }
}

fn nothing_is_smuggled(front: &Front) {
    let inner = String::from_utf8(encode("GET", "/healthz", &[], b"")).unwrap();
    let chunk = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
    for fields in [
        format!("Connection: close\r\nContent-Length: {}\r\n", inner.len()),
        "Connection: close\r\nTransfer-Encoding: chunked\r\n".to_owned(),
    ] {
        let body = if fields.contains("chunked") {
            &chunk
        } else {
            &inner
        };
        let request = [&head(&fields), body.as_bytes()].concat();
        let answer = read_all(&mut *send(front, &request));
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{fields}: {answer}");
        assert!(answer.starts_with("HTTP/1.1 401 "), "{fields}: {answer}");
    }
}

/// Peers that connect and say nothing, say a little, or promise a body.
fn a_crowd_that_says_nothing(front: &Front, before: Before, beating: &Beating) {
    // nginx's site has a limit of its own for each address.
    let crowd = match before {
        Before::Nothing => 400,
        Before::Nginx => 60,
    };
    let key = format!("X-API-Key: {AGENT_KEY}\r\n");
    let starts: [Vec<u8>; 4] = [
        Vec::new(),
        b"POST /heartbeat HT".to_vec(),
        head("Content-Length: 5000\r\n"),
        head(&format!("{key}Content-Length: 60000\r\n")),
    ];
    let peers: Vec<Box<dyn Stream>> = (0..crowd)
        .map(|n| send(front, &starts[n % starts.len()]))
        .collect();
    beating.go_on(10);
    drop(peers);
}

fn peers_that_go_at_once(front: &Front) {
    for n in 0..100 {
        drop(send(front, REFUSED[n % REFUSED.len()].1));
    }
}

fn heads_without_end(front: &Front, before: Before) {
    for _ in 0..8 {
        let mut stream = send(front, b"GET / HTTP/1.1\r\nX: ");
        let piece = vec![b'a'; 64 * 1024];
        // Until the other side takes no more.
        let taken = (0..256).take_while(|_| stream.write_all(&piece).is_ok());
        let taken = taken.count();
        // nginx reads on for a while, to throw it away.
        let is_ended = taken < 256 || before == Before::Nginx;
        assert!(is_ended, "16 MiB of a head were taken");
    }
}

/// The token of the admin.
fn log_in(front: &Front) -> String {
    let login = format!(
        "username=admin&password={}",
        ADMIN_PASSWORD.replace(' ', "+")
    );
    let token = front
        .request("POST", "/token", &[], login.as_bytes())
        .unwrap();
    token.json()["access_token"].as_str().unwrap().to_owned()
}

/// Readers that ask for the whole fleet and read nothing of it.
fn answers_that_nobody_reads(front: &Front, beating: &Beating) {
    let bearer = format!("Bearer {}", log_in(front));
    let authorization = [("Authorization", bearer.as_str())];

    let list = encode("GET", "/servers?all_servers=true", &authorization, b"");
    let unread: Vec<Box<dyn Stream>> = (0..16).map(|_| send(front, &list)).collect();
    beating.go_on(10);
    let answer = front
        .request("GET", "/servers?limit=1", &authorization, b"")
        .unwrap();
    assert_eq!(answer.status, 200);
    drop(unread);

    // Who reads slowly gets all of it.
    let mut slow = send(front, &list);
    let answer = read_answer(&mut slow).unwrap();
    let fleet: Vec<Value> = serde_json::from_slice(&answer.body).unwrap();
    assert!(fleet.len() > 1000, "{} hosts", fleet.len());
}

/// Long bodies of strangers are refused before they are read.
fn bodies_for_nobody(front: &Front) {
    let body = vec![b' '; 60_000];
    for expect in ["", "Expect: 100-continue\r\n"] {
        let mut request = head(&format!("{expect}Content-Length: 60000\r\n"));
        if expect.is_empty() {
            request.extend_from_slice(&body);
        }
        let answer = read_all(&mut *send(front, &request));
        let answer = answer.replace("HTTP/1.1 100 Continue\r\n\r\n", "");
        // nginx asks for the body itself, and gives up in time.
        let is_refused = answer.starts_with("HTTP/1.1 401 ")
            || answer.starts_with("HTTP/1.1 408 ")
            || answer.is_empty();
        assert!(is_refused, "{expect}: {answer}");
    }
}

/// A fleet whose list fits into no socket's buffer.
fn fill(front: &Front) {
    for batch in 0..3 {
        let hosts = (0..500).map(|n| {
            let mut host: Value = serde_json::from_str(HEARTBEAT).unwrap();
            host["ip"] = json!(format!("10.{batch}.{}.{}", n / 250, n % 250 + 1));
            host["city"] = json!("x".repeat(253));
            host["country"] = json!("y".repeat(253));
            host["collected_at"] = json!("2026-01-31T12:00:00Z");
            host
        });
        let body = serde_json::to_vec(&hosts.collect::<Vec<_>>()).unwrap();
        let key = [("X-API-Key", AGENT_KEY)];
        let answer = front.request("POST", "/heartbeats", &key, &body).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// The threads of the process, and what it has open. As many connections to the database
/// stay as there were readers at once, whoever they were: these are not counted.
fn held(server: &FleetbeatServer) -> (u64, usize) {
    let threads = process::status(server.pid(), "Threads");
    let (mut open, data) = (process::open_files(server.pid()), server.data());
    open.retain(|path| !path.starts_with(&data));
    (threads, open.len())
}

/// Attacks a server through `front`, and asserts that nothing of it stays.
fn attack_bare(server: &mut FleetbeatServer, front: &Front) {
    fill(front);
    Beating::start(front).end();
    let before = held(server);

    attack(front, Before::Nothing);
    assert!(server.is_running(), "{}", server.log());
    wait_for("the connections to end", || {
        let now = held(server);
        (now.0 <= before.0 && now.1 <= before.1 + 2).then_some(())
    });
    let memory = process::status(server.pid(), "VmHWM");
    assert!(memory < 150_000, "{memory} kB");
    assert!(server.stop().success());
}

#[test]
fn a_bare_socket_stands_the_attack_list() {
    let mut server = FleetbeatServer::start();
    let front = Front::Tcp(server.address());
    attack_bare(&mut server, &front);
}

#[test]
fn a_unix_socket_stands_the_attack_list() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.sock");
    let listen = format!("unix:{}", path.display());
    let mut server = FleetbeatServer::start_with("", &[("FLEETBEAT_LISTEN", &listen)]);
    attack_bare(&mut server, &Front::Unix(path));
}

#[test]
fn tls_stands_the_attack_list() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let settings = tls_settings(folder.path(), &authority, "");
    let mut server = FleetbeatServer::start_with(&settings, &[]);
    let front = Front::with_tls(server.address(), &authority.pem());
    attack_bare(&mut server, &front);
}

#[test]
fn handshakes_that_do_not_go_on_hold_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let settings = tls_settings(folder.path(), &authority, "");
    let mut server = FleetbeatServer::start_with(&settings, &[]);
    let front = Front::with_tls(server.address(), &authority.pem());
    let beating = Beating::start(&front);

    let plain = Front::Tcp(server.address());
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let peers: Vec<Box<dyn Stream>> = (0..300)
        .map(|n| send(&plain, &hello[..n % hello.len()]))
        .collect();
    beating.go_on(20);
    for mut peer in peers {
        // Each has five seconds.
        read_all(&mut *peer);
    }
    beating.end();
    assert!(server.is_running(), "{}", server.log());
}

#[test]
fn nginx_with_our_site_stands_the_attack_list() {
    let server = FleetbeatServer::start_with("trusted_proxies = [\"127.0.0.1\"]\n", &[]);
    let address = free_address();
    let listen = address.to_string();
    let arguments = ["proxy-config", "nginx", "--domain", "localhost", "--plain"];
    let output = server.command(&[&arguments[..], &["--listen", &listen]].concat(), "");
    assert!(output.status.success(), "{output:?}");
    let site = String::from_utf8(output.stdout).unwrap();
    let site = point_to(&site, &server);

    let nginx = Nginx::start(&site, address);
    let front = Front::Tcp(address);
    fill(&front);
    attack(&front, Before::Nginx);
    nginx.stop();
}

/// The site before this server, whatever port the configuration names.
fn point_to(site: &str, server: &FleetbeatServer) -> String {
    let lines = site.lines().map(|line| {
        if line.trim_start().starts_with("server ") && line.contains("max_fails") {
            format!("    server {} max_fails=0;", server.address())
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn two_instances_behind_nginx_stand_the_attack_list() {
    let mut instances = TwoInstances::start();
    let front = Front::Tcp(instances.address);
    fill(&front);
    attack(&front, Before::Nginx);
    assert!(instances.first.is_running() && instances.second.is_running());
    instances.nginx.stop();
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    // The buffers of a TCP connection over loopback would take the whole list.
    let path = folder.path().join("http.sock");
    let listen = format!("unix:{}", path.display());
    let _server = FleetbeatServer::start_with("", &[("FLEETBEAT_LISTEN", &listen)]);
    let front = Front::Unix(path.clone());
    fill(&front);

    let bearer = format!("Bearer {}", log_in(&front));
    let authorization = [("Authorization", bearer.as_str())];
    let list = encode("GET", "/servers?all_servers=true", &authorization, b"");
    let asked = Instant::now();
    let mut unread = UnixStream::connect(&path).unwrap();
    unread.write_all(&list).unwrap();
    wait_for("the server to give the peer up", || {
        let mut watched = [PollFd::new(&unread, PollFlags::empty())];
        poll(&mut watched, Some(&Timespec::default())).unwrap();
        watched[0].revents().contains(PollFlags::HUP).then_some(())
    });

    let waited = asked.elapsed().as_secs();
    assert!((9..15).contains(&waited), "{waited} s");
    let error = read_answer(&mut unread).unwrap_err();
    assert_eq!(error.to_string(), "the answer breaks off");
}

#[test]
fn a_body_that_does_not_come_is_answered_in_time() {
    let server = FleetbeatServer::start();
    let front = Front::Tcp(server.address());
    let key = format!("X-API-Key: {AGENT_KEY}\r\nContent-Length: 65536\r\n");
    let started = Instant::now();
    let mut idle: Vec<Box<dyn Stream>> = [&b"GET / HT"[..], b"", &head(&key)]
        .map(|start| send(&front, start))
        .into();
    for stream in &mut idle {
        let answer = read_all(&mut **stream);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    // Ten seconds for the heads, and one more for 64 KiB of a body.
    let waited = started.elapsed().as_secs();
    assert!((10..15).contains(&waited), "{waited} s");
}

/// A request of `length` bytes that was told to go on, and has sent all but the last.
fn nearly_whole(address: SocketAddr, target: &str, length: usize) -> TcpStream {
    let mut stream = promised(address, target, length);
    // The server may have refused it before all was sent.
    let _ = stream.write_all(&vec![b' '; length - 1]);
    stream
}

/// A request with the right key that was told to go on with its body of `length` bytes.
fn promised(address: SocketAddr, target: &str, length: usize) -> TcpStream {
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\nX-API-Key: {AGENT_KEY}\r\n\
         Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut start = [0; 25];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start[..12], b"HTTP/1.1 100");
    stream
}

/// Waits until one of the peers is answered, and gives the answer's first line: which one
/// it is depends on whom the server has read last.
fn first_answer(peers: &mut [TcpStream]) -> String {
    let answered = wait_for("an answer", || {
        let mut watched: Vec<_> = peers
            .iter()
            .map(|peer| PollFd::new(peer, PollFlags::IN))
            .collect();
        poll(&mut watched, Some(&Timespec::default())).unwrap();
        watched.iter().position(|peer| !peer.revents().is_empty())
    });
    let mut start = [0; 12];
    peers[answered].read_exact(&mut start).unwrap();
    String::from_utf8_lossy(&start).into_owned()
}

#[test]
fn bodies_have_a_limit_all_together() {
    let server = FleetbeatServer::start();
    let address = server.address();
    let front = Front::Tcp(address);

    // Promises alone take nothing.
    let _promised: Vec<_> = (0..64)
        .map(|_| promised(address, "/heartbeats", 1 << 20))
        .collect();
    let mut long: Vec<_> = (0..49)
        .map(|_| nearly_whole(address, "/heartbeats", 1 << 20))
        .collect();
    assert_eq!(first_answer(&mut long), "HTTP/1.1 503", "48 MiB are there");

    // Single heartbeats have room of their own.
    let body = format!("{HEARTBEAT}{}", " ".repeat(20_000));
    let key = [("X-API-Key", AGENT_KEY)];
    let answer = front.request("POST", "/heartbeat", &key, body.as_bytes());
    assert_eq!(answer.unwrap().status, 200);
    let mut short: Vec<_> = (0..257)
        .map(|_| nearly_whole(address, "/heartbeat", 1 << 16))
        .collect();
    assert_eq!(first_answer(&mut short), "HTTP/1.1 503", "16 MiB are there");

    short.clear();
    long.clear();
    let batch = format!("[{HEARTBEAT}{}]", " ".repeat(900_000));
    wait_for("room for another batch", || {
        let answer = front.request("POST", "/heartbeats", &key, batch.as_bytes());
        answer
            .is_ok_and(|answer| answer.status == 200)
            .then_some(())
    });
}

#[test]
fn a_peer_that_sends_nothing_but_empty_lines_holds_up_nobody() {
    let server = FleetbeatServer::start();
    let front = Front::Tcp(server.address());
    let beating = Beating::start(&front);
    let mut stream = send(&front, b"");
    let lines = b"\r\n".repeat(32 * 1024);
    // The server has enough of it after 16 KiB, and does not read the rest.
    let written = (0..64).try_for_each(|_| stream.write_all(&lines));
    assert!(written.is_err());
    beating.end();

    let mut stream = send(&front, &b"\r\n".repeat(8 * 1024));
    let answer = read_all(&mut *stream);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[test]
fn who_has_nothing_to_say_makes_room_when_descriptors_are_short() {
    let server = FleetbeatServer::start();
    let limit = ["--pid", &server.pid().to_string(), "--nofile=64:64"];
    let limited = Command::new("prlimit").args(limit).status().unwrap();
    assert!(limited.success(), "prlimit comes with util-linux");

    let front = Front::Tcp(server.address());
    let _idle: Vec<_> = (0..200).map(|_| send(&front, b"")).collect();
    for _ in 0..20 {
        let key = [("X-API-Key", AGENT_KEY)];
        let answer = front.request("POST", "/heartbeat", &key, HEARTBEAT.as_bytes());
        assert_eq!(answer.unwrap().status, 200);
    }
    let told = server
        .log()
        .matches("no connection can be accepted")
        .count();
    assert!(told <= 1, "{}", server.log());
}

#[test]
fn a_server_that_stops_leaves_its_successor_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("http.sock");
    let listen = format!("unix:{}", path.display());
    let start = || FleetbeatServer::start_with("", &[("FLEETBEAT_LISTEN", &listen)]);
    let mut first = start();
    let front = Front::Unix(path.clone());
    // A stop waits for this body for a second.
    let _half = send(
        &front,
        &head(&format!(
            "X-API-Key: {AGENT_KEY}\r\nContent-Length: 65536\r\n"
        )),
    );
    first.signal("TERM");
    wait_for("the socket to go", || (!path.exists()).then_some(()));

    let _second = start();
    assert!(first.wait().success());
    let answer = front.request("GET", "/healthz", &[], b"").unwrap();
    assert_eq!(answer.status, 200);
}

/// Settings for TLS, with a certificate for `localhost` in `folder`.
fn tls_settings(folder: &Path, authority: &Authority, further: &str) -> String {
    let certificate = authority.certify("localhost", 2020..2100);
    let (pem, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    fs::write(&pem, &certificate.pem).unwrap();
    fs::write(&key, &certificate.key_pem).unwrap();
    format!("[tls]\ncertificate = {pem:?}\nkey = {key:?}\n{further}\n")
}

#[test]
fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (Authority::new(), Authority::new());
    let settings = tls_settings(folder.path(), &first, "");
    let server = FleetbeatServer::start_with(&settings, &[]);
    let health = |authority: &Authority| {
        let front = Front::with_tls(server.address(), &authority.pem());
        front
            .request("GET", "/healthz", &[], b"")
            .map(|answer| answer.status)
    };
    assert_eq!(health(&first).unwrap(), 200);
    assert!(health(&second).is_err());

    fs::write(folder.path().join("cert.pem"), "half a certif").unwrap();
    server.signal("HUP");
    wait_for("the refusal", || {
        server
            .log()
            .contains("the certificate so far stays")
            .then_some(())
    });
    assert_eq!(health(&first).unwrap(), 200);

    // The files alone are enough: nobody has to send a signal.
    tls_settings(folder.path(), &second, "");
    wait_for("the new certificate", || health(&second).ok());
    assert!(health(&first).is_err());
}

#[test]
fn plain_http_is_told_the_way_to_https() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let redirect: SocketAddr = free_address();
    let further = format!("redirect_listen = \"{redirect}\"");
    let settings = tls_settings(folder.path(), &authority, &further);
    let server = FleetbeatServer::start_with(&settings, &[]);

    let key = [("X-API-Key", AGENT_KEY)];
    let front = Front::Tcp(redirect);
    let answer = front.request("GET", "/servers?sort=cpu", &[], b"").unwrap();
    let port = server.address().port();
    let location = format!("https://fleetbeat:{port}/servers?sort=cpu");
    assert_eq!(answer.status, 308);
    assert_eq!(answer.header("location"), Some(location.as_str()));
    let answer = front.request("POST", "/heartbeat", &key, HEARTBEAT.as_bytes());
    assert_eq!(answer.unwrap().status, 400);

    // On the port of HTTPS itself, only the sign of life is for everybody.
    let front = Front::Tcp(server.address());
    for (target, status) in [("/healthz", 200), ("/servers", 400), ("/", 400)] {
        let answer = front.request("GET", target, &[], b"").unwrap();
        assert_eq!(answer.status, status, "{target}: {answer:?}");
    }
    let output = program("fleetbeat-server")
        .arg("-c")
        .arg(server.config())
        .arg("health")
        .env("FLEETBEAT_LISTEN", server.address().to_string())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
