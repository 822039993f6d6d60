//! Failed TLS handshakes in plain words.

use fleetbeat_daemon::clock;
use fleetbeat_protocol::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, Error};

use super::finding::Trouble;
use crate::config::ServerSettings;

/// The error of the TLS library inside the error of a call.
pub(super) fn find(error: &ureq::Error) -> Option<&Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// The meaning of the error, and advice.
pub(super) fn explain(error: &Error, server: &ServerSettings) -> Trouble {
    let (name, port) = (&server.url.host, server.url.port);
    match error {
        Error::InvalidCertificate(error) => explain_certificate(error, server),
        Error::InvalidMessage(_) => Trouble::new(
            format!("what listens on port {port} of {name} does not speak TLS"),
            "is the port in server.url right? fleetbeat-server itself speaks plain HTTP: \
             TLS is its proxy's",
        ),
        Error::AlertReceived(alert) => Trouble::new(
            format!("{name} breaks off the handshake: {alert:?}"),
            "is it set up for this name, and for TLS 1.2 or 1.3? Its log tells",
        ),
        error => Trouble::new(
            format!("the handshake with {name} fails: {error}"),
            format!("look closer with: openssl s_client -connect {name}:{port}"),
        ),
    }
}

fn explain_certificate(error: &CertificateError, server: &ServerSettings) -> Trouble {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext,
        NotValidYet, NotValidYetContext, UnknownIssuer,
    };
    let name = &server.url.host;
    match error {
        // A bad signature is by an authority with the name of a trusted authority, but
        // with another key.
        UnknownIssuer | BadSignature => unknown_authority(server),
        NotValidForName => wrong_name(name, &[]),
        NotValidForNameContext { presented, .. } => wrong_name(name, presented),
        Expired => out_of_time(format!("the certificate of {name} has expired")),
        ExpiredContext { not_after, .. } => out_of_time(format!(
            "the certificate of {name} has expired on {}",
            show_date(*not_after)
        )),
        NotValidYet => out_of_time(format!("the certificate of {name} is not valid yet")),
        NotValidYetContext { not_before, .. } => out_of_time(format!(
            "the certificate of {name} is not valid before {}",
            show_date(*not_before)
        )),
        error => Trouble::new(
            format!("the certificate of {name} cannot be used: {error}"),
            "let the server have one of X.509 version 3 for its name, signed by an \
             authority, not by itself",
        ),
    }
}

fn unknown_authority(server: &ServerSettings) -> Trouble {
    let advice = match server.ca {
        Some(_) => {
            "put the certificate of the authority that signed the server's into \
             server.ca_file"
        }
        None => {
            "if the authority is your own, name its certificate in server.ca_file; if it \
             is a public one, let the server send the whole chain (fullchain.pem)"
        }
    };
    let name = &server.url.host;
    Trouble::new(
        format!(
            "the certificate of {name} is from an authority that this agent does not know"
        ),
        advice,
    )
}

fn wrong_name(name: &str, presented: &[String]) -> Trouble {
    // The library writes DnsName("fleet.example.com").
    let names = presented.iter().map(|name| {
        name.split('"')
            .nth(1)
            .unwrap_or(name)
            .escape_debug()
            .to_string()
    });

    let names = if presented.is_empty() {
        "other names".to_owned()
    } else {
        names.collect::<Vec<_>>().join(", ")
    };

    Trouble::new(
        format!("the certificate is for {names}, not for {name}"),
        "name the server in server.url as its certificate does, or get one for this name",
    )
}

fn out_of_time(what: String) -> Trouble {
    let now = clock::now_in_seconds();
    Trouble::new(
        what,
        format!(
            "renew it; unless this host's clock is wrong, which says {now}: then set \
             that first"
        ),
    )
}

fn show_date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok();
    let time = seconds.and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(|| "a date out of range".to_owned(), |time| time.to_string())
}
