//! Mail, against a mail server that behaves as a test has written down.

use std::time::{Duration, Instant};

use fleetbeat_channels::{
    ErrorClass, Message, Remark, SendError, Sender, SenderError, SenderOptions, Sent,
    Smtp, SmtpLogin, SmtpTls,
};
use fleetbeat_tools::fake_smtp::{Behaviour, FakeSmtp, ReceivedMail};
use fleetbeat_tools::stand_in::Authority;
use serde_json::json;

use crate::sample::{channel, down, message, over, sender};

const LIMIT: Duration = Duration::from_secs(5);

fn smtp(server: &FakeSmtp, tls: SmtpTls) -> Smtp {
    Smtp {
        host: "127.0.0.1".to_owned(),
        port: server.address().port(),
        tls,
        login: None,
        from: "Fleetbeat <fleetbeat@fleet.example>".to_owned(),
    }
}

fn send(sender: &Sender, message: &Message) -> Result<Sent, SendError> {
    let to = json!({"to": ["ops@a.example", "boss@b.example"]});
    channel("email", &to).send(message, sender)
}

fn deliver(
    behaviour: Behaviour,
    message: &Message,
) -> (Result<Sent, SendError>, Vec<ReceivedMail>) {
    let server = FakeSmtp::start(behaviour);
    let sender = sender(None, Some(smtp(&server, SmtpTls::None)));
    let sent = send(&sender, message);
    (sent, server.mails())
}

fn replying(replies: &[(&'static str, &'static str)]) -> Behaviour {
    Behaviour {
        replies: replies.iter().copied().collect(),
        ..Behaviour::default()
    }
}

#[test]
fn a_mail_says_all_that_is_to_be_said() {
    let (sent, mails) = deliver(Behaviour::default(), &message(vec![down(1)]));
    assert_eq!(sent.unwrap().remarks, []);
    let [mail] = mails.as_slice() else {
        panic!("{mails:#?}");
    };
    assert_eq!(mail.from, "fleetbeat@fleet.example");
    assert_eq!(mail.to, ["ops@a.example", "boss@b.example"]);

    let lines = [
        "From: Fleetbeat <fleetbeat@fleet.example>",
        "To: ops@a.example, boss@b.example",
        "Subject: [critical] vpn-de-01: down",
        "Message-ID: <dlv-00000000000000a1@fleet.example>",
        "Auto-Submitted: auto-generated",
        "X-Auto-Response-Suppress: All",
        "Content-Type: text/plain; charset=utf-8",
        "Firing: vpn-de-01 (203.0.113.7, Frankfurt, DE): down since 03:02 UTC (4 min)",
        "Rule: Host down. Runbook: wiki/vpn, call the hoster first",
        "Acknowledge: https://fleet.example/a/abc_def",
    ];
    for line in lines {
        assert!(
            mail.data.lines().any(|of| of == line),
            "{line}\n{}",
            mail.data
        );
    }
    assert!(!mail.data.contains("In-Reply-To"));
}

#[test]
fn a_recovery_answers_the_mail_of_the_firing() {
    let mut message = message(vec![over(down(1))]);
    message.reply_to = Some("dlv-0000000000000090".to_owned());
    let (sent, mails) = deliver(Behaviour::default(), &message);
    sent.unwrap();
    // Long lines are folded.
    let data = mails[0].data.replace("=\n", "");
    for name in ["In-Reply-To", "References"] {
        let line = format!("{name}: <dlv-0000000000000090@fleet.example>");
        assert!(data.lines().any(|of| of == line), "{line}\n{data}");
    }
    assert!(
        data.contains("down, for 3 min (03:02 to 03:05 UTC)"),
        "{data}"
    );
}

#[test]
fn names_make_no_headers() {
    let mut item = down(1);
    item.what = "x\r\nBcc: evil@example.com\r\n\r\n.\r\nDATA".to_owned();
    let (sent, mails) = deliver(Behaviour::default(), &message(vec![item]));
    sent.unwrap();
    assert_eq!(mails.len(), 1);
    assert!(!mails[0].data.contains("\nBcc"), "{}", mails[0].data);
}

#[test]
fn a_long_mail_arrives_whole_and_its_lines_are_short() {
    let items = (0..500).map(|number| {
        let mut item = down(number);
        item.what = "🦊".repeat(100);
        item
    });
    let (sent, mails) = deliver(Behaviour::default(), &message(items.collect()));
    sent.unwrap();
    assert!(mails[0].data.lines().all(|line| line.len() < 998));
}

#[test]
fn replies_of_the_mail_server_decide() {
    let is_permanent = |replies: &[(&'static str, &'static str)]| {
        let (sent, mails) = deliver(replying(replies), &message(vec![down(1)]));
        let error = sent.unwrap_err();
        assert_eq!(error.class, ErrorClass::Refused);
        assert_eq!(mails, []);
        (error.status.unwrap(), error.is_permanent)
    };
    assert_eq!(is_permanent(&[("MAIL", "550 no")]), (550, true));
    assert_eq!(is_permanent(&[("MAIL", "421 later")]), (421, false));
    assert_eq!(is_permanent(&[("DATA", "451 later")]), (451, false));
    assert_eq!(is_permanent(&[(".", "554 spam")]), (554, true));
    // One recipient that has to wait makes all wait: nobody gets the mail twice.
    assert_eq!(
        is_permanent(&[("RCPT TO:<BOSS", "450 greylisted")]),
        (450, false)
    );
    let both = [("RCPT", "550 nobody"), ("RCPT", "551 nobody")];
    assert_eq!(is_permanent(&both), (551, true));
}

#[test]
fn greylisting_is_over_at_the_second_try() {
    let server = FakeSmtp::start(replying(&[("RCPT", "450 greylisted")]));
    let sender = sender(None, Some(smtp(&server, SmtpTls::None)));
    let message = message(vec![down(1)]);
    assert!(!send(&sender, &message).unwrap_err().is_permanent);
    assert_eq!(send(&sender, &message).unwrap().remarks, []);
    assert_eq!(server.wait_for(1, LIMIT).len(), 1);
}

#[test]
fn a_recipient_that_is_refused_does_not_cost_the_others_the_mail() {
    let replies = replying(&[("RCPT TO:<OPS", "550 nobody")]);
    let (sent, mails) = deliver(replies, &message(vec![down(1)]));
    assert_eq!(sent.unwrap().remarks, [Remark::Recipients(1)]);
    assert_eq!(mails[0].to, ["boss@b.example"]);
}

#[test]
fn a_mail_server_that_drips_is_given_up_in_time() {
    let behaviour = Behaviour {
        drips: true,
        ..Behaviour::default()
    };
    let started = Instant::now();
    let (sent, _) = deliver(behaviour, &message(vec![down(1)]));
    assert_eq!(sent.unwrap_err().class, ErrorClass::Timeout);
    assert!(started.elapsed() < Duration::from_secs(33));
}

#[test]
fn mail_is_encrypted_with_a_certificate_that_is_checked() {
    let authority = Authority::new();
    let right = authority.certify("127.0.0.1", 2020..2040);
    let other = authority.certify("other.example", 2020..2040);

    let deliver = |certificate, tls, is_trusted| {
        let certificate = Some(certificate);
        let behaviour = Behaviour {
            implicit: certificate.clone().filter(|_| tls == SmtpTls::Implicit),
            starttls: certificate.filter(|_| tls == SmtpTls::Starttls),
            has_login: true,
            ..Behaviour::default()
        };
        let server = FakeSmtp::start(behaviour);
        let mut smtp = smtp(&server, tls);
        smtp.login = Some(SmtpLogin {
            user: "fleetbeat".to_owned(),
            password: "hush".to_owned(),
        });
        let sender = sender(Some(authority.pem()).filter(|_| is_trusted), Some(smtp));
        let sent = send(&sender, &message(vec![down(1)]));
        (
            sent.map(|_| ()).map_err(|error| error.class),
            server.mails(),
        )
    };

    for tls in [SmtpTls::Implicit, SmtpTls::Starttls] {
        let (sent, mails) = deliver(right.clone(), tls, true);
        assert_eq!(sent, Ok(()));
        assert!(mails[0].is_encrypted);
        assert!(mails[0].login.is_some());
        for (certificate, is_trusted) in [(&right, false), (&other, true)] {
            let (sent, mails) = deliver(certificate.clone(), tls, is_trusted);
            assert_eq!((sent, mails), (Err(ErrorClass::Tls), Vec::new()));
        }
    }
}

#[test]
fn without_the_starttls_that_is_asked_for_nothing_is_sent() {
    let server = FakeSmtp::start(Behaviour::default());
    let sender = sender(None, Some(smtp(&server, SmtpTls::Starttls)));
    let error = send(&sender, &message(vec![down(1)])).unwrap_err();
    assert_eq!((error.class, error.is_permanent), (ErrorClass::Tls, false));
    assert_eq!(server.mails(), []);
}

#[test]
fn a_wrong_password_is_tried_again() {
    let behaviour = Behaviour {
        has_login: true,
        ..replying(&[("AUTH", "535 wrong")])
    };
    let server = FakeSmtp::start(behaviour);
    let mut smtp = smtp(&server, SmtpTls::None);
    smtp.login = Some(SmtpLogin {
        user: "fleetbeat".to_owned(),
        password: "hush".to_owned(),
    });
    let error = send(&sender(None, Some(smtp)), &message(vec![down(1)])).unwrap_err();
    assert_eq!((error.status, error.is_permanent), (Some(535), false));
    assert!(!format!("{error} {error:?}").contains("hush"));
}

#[test]
fn settings_of_the_mail_server_are_checked() {
    let server = FakeSmtp::start(Behaviour::default());
    let new = |change: fn(&mut Smtp)| {
        let mut smtp = smtp(&server, SmtpTls::None);
        change(&mut smtp);
        let options = SenderOptions {
            smtp: Some(smtp),
            ..SenderOptions::default()
        };
        Sender::new(options).map(|_| ())
    };
    assert_eq!(new(|_| ()), Ok(()));
    let error = new(|smtp| smtp.from = "nobody".to_owned());
    assert_eq!(error, Err(SenderError::From("nobody".to_owned())));
    let error = new(|smtp| smtp.host = "mail.example".to_owned());
    assert_eq!(error, Err(SenderError::NeedsTls("mail.example".to_owned())));

    let error = send(&sender(None, None), &message(vec![])).unwrap_err();
    assert_eq!(error.class, ErrorClass::Settings);
}
