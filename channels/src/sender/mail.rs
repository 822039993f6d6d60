//! Mail, by the operator's own mail server, whose name and password are in the server's
//! settings file: no API can read or redirect them.
//!
//! lettre writes the mail. It does not send it, because its timeouts hold for a single
//! read and its connection cannot be closed from outside: a server that sends a byte now
//! and then would hold a thread for ever.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lettre::message::header::{ContentType, HeaderName, HeaderValue, To};
use lettre::message::{Mailbox, Mailboxes};
use lettre::{Address, Message};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use ureq::tls::Certificate;

use crate::error::{ErrorClass, Remark, SendError, Sent};
use crate::sender::error::SenderError;
use crate::sender::resolver::Lookup;
use crate::sender::smtp::{Connection, Tls};

/// Longest dialogue with the mail server.
const DEADLINE: Duration = Duration::from_secs(30);

/// The mail server, and who we are there.
#[derive(Clone)]
pub struct Smtp {
    /// Its name or address.
    pub host: String,
    /// Usually 465 for [`SmtpTls::Implicit`], 587 for [`SmtpTls::Starttls`].
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: SmtpTls,
    /// Name and password.
    pub login: Option<SmtpLogin>,
    /// The sender: `Fleetbeat <fleetbeat@example.com>`.
    pub from: String,
}

/// Name and password at the mail server.
#[derive(Clone)]
pub struct SmtpLogin {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// How the connection to the mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// From the first byte.
    Implicit,
    /// By STARTTLS; a server that does not offer it gets nothing.
    Starttls,
    /// Not at all; only for a mail server on this machine.
    None,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Smtp({}:{}, {:?})", self.host, self.port, self.tls)
    }
}

impl fmt::Debug for SmtpLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmtpLogin({})", self.user)
    }
}

/// A mail to be sent.
pub(crate) struct Mail {
    pub(crate) to: Vec<Address>,
    pub(crate) subject: String,
    pub(crate) text: String,
    /// The delivery's id.
    pub(crate) id: String,
    /// The id of the delivery that this mail answers.
    pub(crate) reply_to: Option<String>,
}

/// The mail server with all that was checked of its settings.
pub(super) struct MailServer {
    smtp: Smtp,
    from: Mailbox,
    lookup: Arc<dyn Lookup>,
    tls: Tls,
}

impl fmt::Debug for MailServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.smtp.fmt(f)
    }
}

impl MailServer {
    pub(super) fn new(
        smtp: Smtp,
        lookup: Arc<dyn Lookup>,
        authorities: Option<&[Certificate<'static>]>,
    ) -> Result<MailServer, SenderError> {
        let from = smtp.from.parse::<Mailbox>().ok();
        let from = from.filter(|from| from.email.to_string().is_ascii());
        let from = from.ok_or_else(|| SenderError::From(smtp.from.clone()))?;

        let address = smtp.host.parse::<IpAddr>();
        let is_here =
            smtp.host == "localhost" || address.is_ok_and(|ip| ip.is_loopback());
        if smtp.tls == SmtpTls::None && !is_here {
            return Err(SenderError::NeedsTls(smtp.host));
        }
        let name = ServerName::try_from(smtp.host.clone());
        let name = name.map_err(|_| SenderError::Host(smtp.host.clone()))?;
        let config = trusting(authorities).ok_or(SenderError::Authorities)?;
        Ok(MailServer {
            smtp,
            from,
            lookup,
            tls: Tls {
                config: Arc::new(config),
                name,
            },
        })
    }

    pub(super) fn send(&self, mail: &Mail) -> Result<Sent, SendError> {
        let message = self.write(mail);
        let message = message.map_err(|_| SendError::permanent(ErrorClass::Settings))?;

        let mut connection = self.connect()?;
        if let Some(SmtpLogin { user, password }) = &self.smtp.login {
            // A wrong password can be set right in the file: the mail waits for that.
            let taken = connection.log_in(user, password);
            taken.map_err(|error| SendError {
                is_permanent: false,
                ..error
            })?;
        }
        connection.command(&format!("MAIL FROM:<{}>", self.from.email))?;
        let refused = invite(&mut connection, &mail.to)?;
        connection.data(&message.formatted())?;
        connection.quit();

        let remark = (refused > 0).then_some(Remark::Recipients(refused));
        Ok(Sent {
            remarks: remark.into_iter().collect(),
        })
    }

    /// A connection that is encrypted, if it has to be.
    fn connect(&self) -> Result<Connection, SendError> {
        let ends_at = Instant::now() + DEADLINE;
        let Smtp { host, port, .. } = &self.smtp;
        let mut connection = Connection::open(&self.lookup, host, *port, ends_at)?;
        match self.smtp.tls {
            SmtpTls::None => connection.greet()?,
            SmtpTls::Implicit => {
                connection.encrypt(&self.tls)?;
                connection.greet()?;
            }
            SmtpTls::Starttls => {
                connection.greet()?;
                connection.start_tls(&self.tls)?;
            }
        }
        Ok(connection)
    }

    fn write(&self, mail: &Mail) -> Result<Message, lettre::error::Error> {
        let domain = self.from.email.domain();
        let message_id = |delivery: &str| format!("<{delivery}@{domain}>");
        let header = |name, value: &str| {
            let name = HeaderName::new_from_ascii_str(name);
            HeaderValue::new(name, value.to_owned())
        };
        let to: Mailboxes = mail
            .to
            .iter()
            .map(|address| Mailbox::new(None, address.clone()))
            .collect();

        let mut builder = Message::builder()
            .from(self.from.clone())
            .mailbox(To::from(to))
            .subject(mail.subject.clone())
            .message_id(Some(message_id(&mail.id)))
            .date_now()
            // No answering machine answers, so that no two of them talk for ever.
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .raw_header(header("X-Auto-Response-Suppress", "All"))
            .header(ContentType::TEXT_PLAIN);
        if let Some(delivery) = &mail.reply_to {
            let id = message_id(delivery);
            builder = builder.in_reply_to(id.clone()).references(id);
        }
        builder.body(mail.text.clone())
    }
}

/// Names the recipients, and counts those that are refused for good. A recipient that is
/// refused for now makes the whole mail wait, so that nobody gets it twice.
fn invite(connection: &mut Connection, to: &[Address]) -> Result<usize, SendError> {
    let mut refused = Vec::new();
    for to in to {
        match connection.command(&format!("RCPT TO:<{to}>")) {
            Ok(()) => {}
            Err(error) if error.is_permanent => refused.push(error),
            Err(error) => return Err(error),
        }
    }

    let count = refused.len();
    match refused.pop() {
        Some(error) if count == to.len() => Err(error),
        _ => Ok(count),
    }
}

/// A configuration of TLS with Mozilla's list and the operator's own authorities.
fn trusting(authorities: Option<&[Certificate<'static>]>) -> Option<ClientConfig> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let own = authorities.into_iter().flatten();
    let own = own.map(|certificate| CertificateDer::from(certificate.der().to_vec()));
    let (_, ignored) = roots.add_parsable_certificates(own);
    if ignored > 0 {
        return None;
    }

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?;
    Some(config.with_root_certificates(roots).with_no_client_auth())
}
