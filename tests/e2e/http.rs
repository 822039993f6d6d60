//! The HTTP front against hostile and broken peers.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_tools::client::{connect, encode, exchange, read_answer};
use fleetbeat_tools::process;
use fleetbeat_tools::server::{AGENT_KEY, FleetbeatServer};
use fleetbeat_tools::wait::wait_for;

const HEARTBEAT: &str = include_str!("../../protocol/golden/heartbeat-minimal.json");

/// The head of a heartbeat with the headers given.
fn head(headers: &str) -> String {
    format!(
        "POST /heartbeat HTTP/1.1\r\nHost: x\r\nX-API-Key: {AGENT_KEY}\r\n{headers}\r\n"
    )
}

fn send(server: &FleetbeatServer, bytes: &[u8]) -> TcpStream {
    let mut stream = connect(server.address()).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

#[track_caller]
fn assert_alive(server: &mut FleetbeatServer) {
    assert!(server.is_running(), "{}", server.log());
    assert_eq!(
        server
            .post_heartbeat("/heartbeat", HEARTBEAT.as_bytes())
            .status,
        200
    );
}

#[test]
fn absurd_lengths_are_answered_and_survived() {
    let mut server = FleetbeatServer::start();
    for (length, status) in [
        ("9223372036854775807", 413),
        ("9223372036854775806", 413),
        ("18446744073709551615", 413),
        ("18446744073709551616", 400),
        ("-1", 400),
        ("+5", 400),
        ("5, 5", 400),
        ("0x10", 400),
        ("3000000", 413),
        ("65537", 413),
    ] {
        let mut stream = send(
            &server,
            (head(&format!("Content-Length: {length}\r\n")) + "hello").as_bytes(),
        );
        stream.shutdown(Shutdown::Write).unwrap();
        let answer =
            read_answer(&mut stream).unwrap_or_else(|error| panic!("{length}: {error}"));
        assert_eq!(answer.status, status, "{length}");
        assert_alive(&mut server);
    }
}

#[test]
fn an_absurd_length_is_answered_while_the_peer_waits() {
    let mut server = FleetbeatServer::start();
    let mut stream = send(
        &server,
        head("Content-Length: 9223372036854775807\r\n").as_bytes(),
    );
    assert_eq!(read_answer(&mut stream).unwrap().status, 413);
    assert_alive(&mut server);
}

#[test]
fn contradictory_lengths_are_refused() {
    let mut server = FleetbeatServer::start();
    for headers in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
    ] {
        let mut stream = send(&server, (head(headers) + "hello").as_bytes());
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_answer(&mut stream).unwrap().status, 400, "{headers}");
        assert_alive(&mut server);
    }
}

#[test]
fn a_body_that_is_not_read_is_not_the_next_request() {
    let server = FleetbeatServer::start();
    let smuggled = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let chunk = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    let padding = " ".repeat(2000);
    let requests = [
        // The key is wrong, so the body is never looked at.
        format!(
            "POST /heartbeat HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
        ),
        format!(
            "POST /heartbeat HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{smuggled}{padding}",
            smuggled.len() + padding.len()
        ),
        format!(
            "GET /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{smuggled}",
            smuggled.len()
        ),
    ];
    for request in requests {
        let mut stream = send(&server, request.as_bytes());
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        assert_eq!(
            answers.matches("HTTP/1.1 ").count(),
            1,
            "{request}\n{answers}"
        );
        assert!(
            answers.contains("Connection: close\r\n")
                && answers.contains("Content-Length: "),
            "{answers}"
        );
    }
}

#[test]
fn chunked_bodies_are_read_up_to_the_limit() {
    let mut server = FleetbeatServer::start();
    let chunked = |body: &str| {
        let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        read_answer(&mut send(
            &server,
            (head("Transfer-Encoding: chunked\r\n") + &chunk).as_bytes(),
        ))
        .unwrap()
        .status
    };
    assert_eq!(chunked(HEARTBEAT), 200);
    assert_eq!(
        chunked(&format!("{HEARTBEAT}{}", " ".repeat(64 * 1024))),
        413
    );

    let broken = head("Transfer-Encoding: chunked\r\n") + "zz\r\nnonsense";
    assert_eq!(
        read_answer(&mut send(&server, broken.as_bytes()))
            .unwrap()
            .status,
        400
    );
    assert_alive(&mut server);
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it() {
    let server = FleetbeatServer::start();
    let body = format!("{HEARTBEAT}{}", " ".repeat(2000));
    let mut stream = send(
        &server,
        head(&format!(
            "Expect: 100-continue\r\nContent-Length: {}\r\n",
            body.len()
        ))
        .as_bytes(),
    );
    let mut interim = Vec::new();
    while !interim.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        interim.push(byte[0]);
    }
    assert!(interim.starts_with(b"HTTP/1.1 100 "), "{interim:?}");
    stream.write_all(body.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).unwrap().status, 200);
}

#[test]
fn peers_that_promise_a_body_hold_up_nobody() {
    let mut server = FleetbeatServer::start();
    let large = format!("{HEARTBEAT}{}", " ".repeat(2000));
    let address = server.address();
    let stop = Arc::new(AtomicBool::new(false));
    // tiny_http may leave a connection lying until another connection ends; in a fleet
    // there always is another.
    let traffic = thread::spawn({
        let stop = stop.clone();
        move || {
            while !stop.load(Ordering::Relaxed) {
                exchange(address, &encode("GET", "/healthz", &[], b"")).unwrap();
            }
        }
    });

    let stalled: Vec<TcpStream> = (0..64)
        .map(|_| {
            let stream = send(&server, head("Content-Length: 60000\r\n").as_bytes());
            // Each request is waited for before the next comes.
            assert_eq!(
                server.post_heartbeat("/heartbeat", large.as_bytes()).status,
                200
            );
            stream
        })
        .collect();
    stop.store(true, Ordering::Relaxed);
    traffic.join().unwrap();
    let half_open: Vec<TcpStream> = (0..64)
        .map(|_| send(&server, b"POST /heartbeat HT"))
        .collect();
    let idle: Vec<TcpStream> = (0..64)
        .map(|_| connect(server.address()).unwrap())
        .collect();
    let started = Instant::now();
    for _ in 0..20 {
        assert_alive(&mut server);
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    drop((stalled, half_open, idle));
    // With the peers gone their threads go, too.
    wait_for("the threads to end", || {
        (process::status(server.pid(), "Threads") < 60).then_some(())
    });
}

#[test]
fn many_connections_that_are_kept_open_do_not_starve_each_other() {
    let server = FleetbeatServer::start();
    let request = encode("GET", "/healthz", &[], b"");
    let keep_alive = String::from_utf8(request)
        .unwrap()
        .replace("Connection: close\r\n", "");
    let kept: Vec<TcpStream> = (0..32)
        .map(|_| {
            let mut stream = send(&server, keep_alive.as_bytes());
            let answer = read_answer(&mut stream).unwrap();
            assert_eq!(
                (answer.status, answer.header("connection")),
                (200, Some("close"))
            );
            stream
        })
        .collect();
    let started = Instant::now();
    assert_eq!(server.request("GET", "/healthz", &[], b"").status, 200);
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    drop(kept);
}

#[test]
fn a_server_out_of_file_descriptors_goes_on_when_it_has_some_again() {
    let mut server = FleetbeatServer::start();
    let limit = Command::new("prlimit")
        .args(["--pid", &server.pid().to_string(), "--nofile=64:64"])
        .status();
    assert!(limit.unwrap().success());
    // In the middle of a body: who has sent nothing makes room.
    let half = format!(
        "POST /heartbeat HTTP/1.1\r\nHost: x\r\nX-API-Key: {AGENT_KEY}\r\n\
         Content-Length: 9000\r\n\r\n{{"
    );
    // One whose bytes the server has not read yet makes room, too: then another one comes.
    let mut slow: Vec<TcpStream> = Vec::new();
    wait_for("a line in the log", || {
        let more = if slow.is_empty() { 80 } else { 1 };
        for _ in 0..more {
            if let Ok(mut stream) = connect(server.address()) {
                let _ = stream.write_all(half.as_bytes());
                slow.push(stream);
            }
        }
        server
            .log()
            .contains("no connection can be accepted")
            .then_some(())
    });
    // Who is silent in the middle of a body makes room, too, if not at once.
    assert_eq!(server.request("GET", "/healthz", &[], b"").status, 200);
    drop(slow);
    wait_for("the end of the trouble", || {
        assert_alive(&mut server);
        server
            .log()
            .contains("connections are accepted again")
            .then_some(())
    });
}

#[test]
fn a_stop_answers_what_is_in_flight() {
    let mut server = FleetbeatServer::start();
    let address = server.address();
    let answered = Arc::new(AtomicUsize::new(0));
    let beating: Vec<_> = (0..8)
        .map(|_| {
            let answered = answered.clone();
            thread::spawn(move || {
                let headers = [("X-API-Key", AGENT_KEY)];
                loop {
                    let Ok(mut stream) = connect(address) else {
                        return;
                    };
                    let sent = stream.write_all(&encode(
                        "POST",
                        "/heartbeat",
                        &headers,
                        HEARTBEAT.as_bytes(),
                    ));
                    match sent.and_then(|()| read_answer(&mut stream)) {
                        Ok(answer) if answer.status == 200 => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(answer) if answer.status == 503 => return,
                        Ok(answer) => panic!("{answer:?}"),
                        // Accepted by the kernel, but never by us: nothing was promised.
                        Err(_) => return,
                    }
                }
            })
        })
        .collect();
    let stalled = send(&server, head("Content-Length: 60000\r\n").as_bytes());
    wait_for("some heartbeats", || {
        (answered.load(Ordering::Relaxed) > 50).then_some(())
    });
    let started = Instant::now();
    let status = server.stop();
    assert!(status.success(), "{status}\n{}", server.log());
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    drop(stalled);
    // No client has seen anything but 200, 503, or an end.
    beating
        .into_iter()
        .for_each(|client| client.join().unwrap());
}

#[test]
fn an_upgrade_is_not_a_body() {
    let mut server = FleetbeatServer::start();
    let upgrades: Vec<TcpStream> = ["/token", "/heartbeat", "/heartbeats"]
        .iter()
        .cycle()
        .take(12)
        .map(|target| {
            let head = format!(
                "POST {target} HTTP/1.1\r\nHost: x\r\nX-API-Key: {AGENT_KEY}\r\nConnection: upgrade\r\n\r\n"
            );
            let mut stream = send(&server, head.as_bytes());
            let answer = read_answer(&mut stream).unwrap();
            assert!(matches!(answer.status, 400 | 422), "{target}: {answer:?}");
            stream
        })
        .collect();
    assert_alive(&mut server);
    drop(upgrades);
}

#[test]
fn peers_that_do_not_read_hold_up_nobody_for_long() {
    let mut server = FleetbeatServer::start();
    let request = encode("GET", "/openapi.json", &[], b"");
    let pipelined = String::from_utf8(request)
        .unwrap()
        .replace("Connection: close\r\n", "")
        .repeat(500);
    let mut unread = connect(server.address()).unwrap();
    unread
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    // The server stops reading when nobody takes its answers.
    let _ = unread.write_all(pipelined.as_bytes());

    let started = Instant::now();
    assert_alive(&mut server);
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
    drop(unread);
}
