//! Failed TLS handshakes in plain words.

use std::error;
use std::net::SocketAddr;

use fleetbeat_daemon::clock;
use fleetbeat_protocol::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, OtherError};

use super::certificate;
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
            "is the port in server.url right? fleetbeat-server speaks TLS if its server.toml \
             has [tls], and otherwise plain HTTP to the proxy before it",
        ),
        Error::AlertReceived(AlertDescription::HandshakeFailure) => Trouble::new(
            format!("{name} and this agent have no algorithm in common"),
            "the agent takes TLS 1.3 and 1.2 with AES-GCM, and keys of RSA (2048 to 8192 \
             bits), ECDSA (P-256, P-384) and Ed25519: is the server's key of another kind?",
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

/// The shortest RSA key that is safe, in bits.
const MIN_RSA_BITS: u64 = 2048;

/// The meaning of a bad signature by a key that is too short; `None` for any other error.
/// The library does not tell the two apart.
pub(super) fn explain_short_key(
    error: &ureq::Error,
    server: &ServerSettings,
    address: Option<SocketAddr>,
) -> Option<Trouble> {
    let Error::InvalidCertificate(CertificateError::BadSignature) = find(error)? else {
        return None;
    };
    // The address of a proxy has another certificate.
    let address = address.filter(|_| server.proxy.is_none())?;
    let bits = certificate::read_rsa_bits(server, address)?;
    (bits < MIN_RSA_BITS).then(|| {
        Trouble::new(
            format!(
                "the key in the certificate of {} is too short: RSA with {bits} bits",
                server.url.host
            ),
            format!(
                "let the server have a certificate with a key of ECDSA (P-256), or of RSA \
                 with at least {MIN_RSA_BITS} bits"
            ),
        )
    })
}

/// The identifiers of signatures with SHA-1, as DER has them: by RSA, ECDSA and DSA.
const SHA1_SIGNATURES: [&[u8]; 3] = [
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 5],
    &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1],
    &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 3],
];

/// An algorithm in the server's certificates that this agent does not have.
fn unknown_signature(name: &str, id: &[u8]) -> Trouble {
    let is_sha1 = |known: &&[u8]| id.windows(known.len()).any(|part| part == *known);
    if SHA1_SIGNATURES.iter().any(is_sha1) {
        return Trouble::new(
            format!("the certificate of {name} is signed with SHA-1, which is not safe"),
            "let the authority sign it anew, with SHA-256",
        );
    }
    Trouble::new(
        format!("the certificate of {name} is signed by an algorithm unknown here"),
        "let the authority sign it with ECDSA (P-256 or P-384) or RSA, and SHA-256",
    )
}

fn explain_certificate(error: &CertificateError, server: &ServerSettings) -> Trouble {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext,
        NotValidYet, NotValidYetContext, UnknownIssuer,
        UnsupportedSignatureAlgorithmContext,
        UnsupportedSignatureAlgorithmForPublicKeyContext,
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
        UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: id,
            ..
        }
        | UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id: id,
            ..
        } => unknown_signature(name, id),
        CertificateError::Other(OtherError(cause)) if is_authority(&**cause) => {
            Trouble::new(
                format!("the certificate of {name} is an authority's own (CA:TRUE)"),
                "let the server have one that is signed by it and is not an authority's: \
             docs/operating.md has the commands",
            )
        }
        error => Trouble::new(
            format!("the certificate of {name} cannot be used: {error}"),
            "let the server have one of X.509 version 3 for its name, signed by an \
             authority, not by itself",
        ),
    }
}

/// Whether a certificate is of no use to a server because it is an authority's.
fn is_authority(cause: &(dyn error::Error + 'static)) -> bool {
    let known = cause.downcast_ref::<webpki::Error>();
    matches!(known, Some(webpki::Error::CaUsedAsEndEntity))
}

fn unknown_authority(server: &ServerSettings) -> Trouble {
    let advice = match server.ca {
        Some(_) => {
            "put the certificate of the authority that signed the server's into \
             server.ca_file; an authority's RSA key must have 2048 bits or more"
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
