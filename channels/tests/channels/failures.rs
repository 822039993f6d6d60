//! Peers that fail in every way there is.

use std::thread;
use std::time::{Duration, Instant};

use fleetbeat_channels::{ErrorClass, Remark, SendError};
use fleetbeat_tools::fake_http::{FakeHttp, Reply};
use fleetbeat_tools::stand_in::Authority;
use serde_json::json;

use crate::sample::{channel, channels, down, message, sender};

fn send_to(peer: &FakeHttp) -> Result<(), SendError> {
    let channel = channel("webhook", &json!({"url": peer.url("/hook")}));
    let sent = channel.send(&message(vec![down(1)]), &sender(None, None));
    sent.map(|_| ())
}

fn error_of(reply: Reply) -> SendError {
    send_to(&FakeHttp::start([reply])).unwrap_err()
}

#[test]
fn a_status_says_whether_another_try_makes_sense() {
    let cases = [
        (200, None),
        (204, None),
        (301, Some((ErrorClass::Status, true))),
        (400, Some((ErrorClass::Refused, true))),
        (401, Some((ErrorClass::Refused, true))),
        (404, Some((ErrorClass::Refused, true))),
        (408, Some((ErrorClass::Refused, false))),
        (410, Some((ErrorClass::Refused, true))),
        (425, Some((ErrorClass::Refused, false))),
        (429, Some((ErrorClass::Rate, false))),
        (500, Some((ErrorClass::Refused, false))),
        (503, Some((ErrorClass::Refused, false))),
    ];
    let peer = FakeHttp::start([]);
    for (status, expected) in cases {
        peer.push(Reply::status(
            status,
            "<html>the secret of the intranet</html>",
        ));
        let error = send_to(&peer).err();
        let found = error
            .as_ref()
            .map(|error| (error.class, error.is_permanent));
        assert_eq!(found, expected, "{status}");
        if let Some(error) = error {
            assert_eq!(error.status, Some(status));
            assert!(!format!("{error:?} {error}").contains("secret"));
        }
    }
}

#[test]
fn a_peer_says_how_long_it_wants_peace() {
    let cases = [
        ("7", Some(7)),
        ("0.5", Some(0)),
        ("99999999", Some(86_400)),
        ("-1", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None),
    ];
    for (value, expected) in cases {
        let error = error_of(Reply::status(429, "").with("Retry-After", value));
        let seconds = error.retry_after.map(|wait| wait.as_secs());
        assert_eq!(seconds, expected, "{value}");
    }
    let in_an_hour = std::time::SystemTime::now() + Duration::from_hours(1);
    let date = httpdate::fmt_http_date(in_an_hour);
    let error = error_of(Reply::status(503, "").with("Retry-After", &date));
    assert!(error.retry_after.unwrap() > Duration::from_mins(59));
}

#[test]
fn a_redirect_is_not_followed() {
    let inside = FakeHttp::start([]);
    for status in [301, 302, 303, 307, 308] {
        let reply = Reply::status(status, "").with("Location", &inside.url("/latest"));
        let error = error_of(reply);
        assert_eq!(
            (error.class, error.is_permanent),
            (ErrorClass::Status, true)
        );
    }
    assert_eq!(inside.received().len(), 0);
}

#[test]
fn a_peer_that_drips_is_given_up_in_time() {
    let started = Instant::now();
    let error = error_of(Reply::Drip);
    assert_eq!(error.class, ErrorClass::Timeout);
    assert!(started.elapsed() < Duration::from_secs(18));
}

#[test]
fn a_long_answer_is_not_read() {
    let started = Instant::now();
    let peer = FakeHttp::start([Reply::Huge(200), Reply::Huge(500)]);
    assert_eq!(send_to(&peer), Ok(()));
    assert_eq!(send_to(&peer).unwrap_err().status, Some(500));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_peer_that_hangs_up_or_is_not_there_is_tried_again() {
    let error = error_of(Reply::HangUp);
    assert!(!error.is_permanent, "{error:?}");

    let address = FakeHttp::start([]).address();
    let gone = json!({"url": format!("http://{address}/")});
    let sent = channel("webhook", &gone).send(&message(vec![]), &sender(None, None));
    let error = sent.unwrap_err();
    assert_eq!(
        (error.class, error.is_permanent),
        (ErrorClass::Connect, false)
    );

    let nobody = json!({"url": "https://nobody.invalid/"});
    let sent = channel("webhook", &nobody).send(&message(vec![]), &sender(None, None));
    assert_eq!(sent.unwrap_err().class, ErrorClass::Dns);
}

#[test]
fn a_certificate_must_be_trusted_and_be_the_peers() {
    let authority = Authority::new();
    let years = 2020..2040;
    let right = authority.certify("127.0.0.1", years.clone());
    let other = authority.certify("other.example", years.clone());
    let expired = authority.certify("127.0.0.1", 2020..2021);

    let send = |certificate, authorities: Option<String>| {
        let peer = FakeHttp::start_with_tls(certificate, []);
        let channel = channel("webhook", &json!({"url": peer.url("/")}));
        let sent = channel.send(&message(vec![down(1)]), &sender(authorities, None));
        let count = peer.received().len();
        (sent.map(|_| ()).map_err(|error| error.class), count)
    };
    let trusted = Some(authority.pem());
    assert_eq!(send(&right, trusted.clone()), (Ok(()), 1));
    for (certificate, authorities) in [
        (&right, None),
        (&other, trusted.clone()),
        (&expired, trusted),
    ] {
        assert_eq!(send(certificate, authorities), (Err(ErrorClass::Tls), 0));
    }
}

#[test]
fn a_template_that_fails_does_not_hold_the_message_up() {
    let peer = FakeHttp::start([]);
    for template in [
        "{{ nothing.at.all }}",
        "not json",
        "{{ text|tojson|upper }}x",
    ] {
        let settings = json!({"url": peer.url("/"), "format": "template",
                              "template": template});
        let sent = channel("webhook", &settings)
            .send(&message(vec![down(1)]), &sender(None, None));
        let remarks = sent.unwrap().remarks;
        assert!(
            matches!(remarks.as_slice(), [Remark::Template(_)]),
            "{remarks:?}"
        );
        let body = peer.received().pop().unwrap().json();
        assert_eq!(body["title"], "[critical] vpn-de-01: down");
    }
}

#[test]
fn no_secret_is_in_an_error() {
    let peer = FakeHttp::start([]);
    for (name, channel) in channels(&peer.url("")) {
        peer.push(Reply::status(400, "123:abc"));
        let error = channel.send(&message(vec![down(1)]), &sender(None, None));
        let error = error.unwrap_err();
        assert!(
            !format!("{error} {error:?} {channel:?}").contains("abc"),
            "{name}"
        );
    }
}

#[test]
fn many_threads_share_a_sender() {
    let peer = FakeHttp::start([]);
    let (sender, url) = (sender(None, None), peer.url("/"));
    thread::scope(|scope| {
        for _ in 0..8 {
            let (sender, url) = (&sender, &url);
            scope.spawn(move || {
                let channel = channel("webhook", &json!({"url": url}));
                channel.send(&message(vec![down(1)]), sender).unwrap();
            });
        }
    });
    assert_eq!(peer.received().len(), 8);
}
