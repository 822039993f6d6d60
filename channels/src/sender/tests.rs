//! Which addresses are connected to, whatever the name servers say.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fleetbeat_tools::fake_http::FakeHttp;

use super::http::DEADLINE;
use super::resolver::Lookup;
use super::{Request, Sender, SenderOptions};
use crate::error::{ErrorClass, SendError};
use crate::guard::Guard;

/// Name servers with an answer for each look-up; the last one is given again and again.
#[derive(Debug)]
struct Answers {
    answers: Mutex<Vec<&'static [&'static str]>>,
    asked: AtomicUsize,
}

impl Lookup for Answers {
    fn look_up(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().unwrap();
        let answer = match answers.as_slice() {
            [_, _, ..] => answers.remove(0),
            _ => answers[0],
        };
        Ok(answer.iter().map(|ip| ip.parse().unwrap()).collect())
    }
}

fn sender(allowed: &str, answers: &[&'static [&'static str]]) -> (Sender, Arc<Answers>) {
    let answers = Arc::new(Answers {
        answers: Mutex::new(answers.to_vec()),
        asked: AtomicUsize::new(0),
    });
    let options = SenderOptions {
        guard: Guard::new(vec![allowed.parse().unwrap()]),
        ..SenderOptions::default()
    };
    let lookup: Arc<dyn Lookup> = answers.clone();
    (Sender::with_lookup(options, &lookup).unwrap(), answers)
}

fn call(sender: &Sender, url: &str) -> Result<u16, SendError> {
    let answer = sender.call(&Request::json(url, "{}"));
    answer.map(|answer| answer.status)
}

#[test]
fn what_was_checked_is_what_is_connected_to() {
    let peer = FakeHttp::start([]);
    let url = format!("http://peer.example:{}/", peer.address().port());
    let (sender, answers) =
        sender("127.0.0.1/32", &[&["127.0.0.1"], &["169.254.169.254"]]);

    assert_eq!(call(&sender, &url), Ok(200));
    assert_eq!(answers.asked.load(Ordering::Relaxed), 1, "asked again");
    let refused = Err(SendError::permanent(ErrorClass::Address));
    assert_eq!(call(&sender, &url), refused);
    assert_eq!(peer.received().len(), 1);
}

#[test]
fn of_several_addresses_only_the_allowed_ones_are_tried() {
    let peer = FakeHttp::start([]);
    let url = format!("http://peer.example:{}/", peer.address().port());
    let (sender, _) = sender(
        "127.0.0.1/32",
        &[
            &["10.0.0.1", "::1", "127.0.0.1"],
            &["10.0.0.1", "::ffff:10.0.0.1"],
        ],
    );
    assert_eq!(call(&sender, &url), Ok(200));
    let refused = Err(SendError::permanent(ErrorClass::Address));
    assert_eq!(call(&sender, &url), refused);
}

/// What people have used to get past guards.
const SPELLINGS: [&str; 20] = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7F.1",
    "017700000001",
    "0177.0.0.1",
    "0177.0x0.0.01",
    "0",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "localhost",
    "localhost.",
];

#[test]
fn every_spelling_of_loopback_is_refused_before_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let sender = Sender::new(SenderOptions::default()).unwrap();

    for host in SPELLINGS {
        let error = call(&sender, &format!("https://{host}:{port}/")).unwrap_err();
        // A resolver may not know a spelling at all; that is as good.
        let is_refused = [ErrorClass::Address, ErrorClass::Dns].contains(&error.class);
        assert!(is_refused, "{host}: {error:?}");
        assert!(listener.accept().is_err(), "{host} was connected to");
    }
    let error = call(&sender, &format!("https://127.1:{port}/")).unwrap_err();
    assert_eq!(error, SendError::permanent(ErrorClass::Address));
}

/// Name servers that never answer.
#[derive(Debug)]
struct Silence;

impl Lookup for Silence {
    fn look_up(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        std::thread::sleep(DEADLINE * 2);
        Ok(Vec::new())
    }
}

#[test]
fn silent_name_servers_are_given_up() {
    let lookup: Arc<dyn Lookup> = Arc::new(Silence);
    let sender = Sender::with_lookup(SenderOptions::default(), &lookup).unwrap();
    let started = Instant::now();
    let error = call(&sender, "https://peer.example/").unwrap_err();
    assert_eq!(error, SendError::passing(ErrorClass::Timeout));
    assert!(started.elapsed() < DEADLINE + Duration::from_secs(3));
}
