//! What all channels send with: HTTP to checked addresses, and the operator's mail
//! server.
//! Each call has a total deadline of its own, because the libraries' timeouts hold for a
//! single read, which a peer that sends a byte now and then never exceeds.

mod deadlines;
mod error;
mod http;
mod mail;
mod resolver;
mod smtp;

use std::sync::Arc;

use fleetbeat_protocol::Timestamp;
use ureq::tls::{Certificate, PemItem, parse_pem};

use crate::guard::Guard;
pub use error::SenderError;
use http::Http;
pub(crate) use http::{Answer, Method, Request, at_most_a_day};
pub(crate) use mail::Mail;
use mail::MailServer;
pub use mail::{Smtp, SmtpLogin, SmtpTls};
use resolver::{Lookup, SystemLookup};

/// What a [`Sender`] is made of.
#[derive(Debug, Default)]
pub struct SenderOptions {
    /// Which addresses channels may use.
    pub guard: Guard,
    /// Certificates of authorities in PEM that are trusted besides those of Mozilla's
    /// list, which comes with the program.
    pub authorities: Option<Vec<u8>>,
    /// The mail server; without one, channels of mail fail.
    pub smtp: Option<Smtp>,
}

/// Sends for all channels; may be used by many threads at once.
#[derive(Debug)]
pub struct Sender {
    http: Http,
    mail: Option<MailServer>,
}

impl Sender {
    /// # Errors
    /// An option is wrong.
    pub fn new(options: SenderOptions) -> Result<Sender, SenderError> {
        let lookup: Arc<dyn Lookup> = Arc::new(SystemLookup);
        Sender::with_lookup(options, &lookup)
    }

    fn with_lookup(
        options: SenderOptions,
        lookup: &Arc<dyn Lookup>,
    ) -> Result<Sender, SenderError> {
        let authorities = options.authorities.as_deref();
        let certificates = authorities.map(read_authorities).transpose()?;
        let mail = options.smtp.map(|smtp| {
            MailServer::new(smtp, Arc::clone(lookup), certificates.as_deref())
        });
        Ok(Sender {
            http: Http::new(&options.guard, lookup, certificates.as_deref()),
            mail: mail.transpose()?,
        })
    }

    /// One HTTP request; an answer of any status is a success here.
    ///
    /// # Errors
    /// There is no answer.
    pub(crate) fn call(&self, request: &Request) -> Result<Answer, crate::SendError> {
        self.http.call(request)
    }

    /// Fetches a URL of the operator's own, which is not a channel's: a dead man's switch.
    ///
    /// # Errors
    /// There is no answer of success.
    pub fn fetch(&self, url: &str) -> Result<(), crate::SendError> {
        let request = Request {
            method: Method::Get,
            url: url.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        self.call(&request)?.judge().map(drop)
    }

    /// One mail.
    ///
    /// # Errors
    /// The mail server has not taken the mail for any recipient.
    pub(crate) fn mail(&self, mail: &Mail) -> Result<crate::Sent, crate::SendError> {
        match &self.mail {
            Some(server) => server.send(mail),
            None => Err(crate::SendError::passing(crate::ErrorClass::Settings)),
        }
    }

    /// Now. Only for what has to be true when a message is sent, such as the time in a
    /// signature; texts use the time at which the message was made.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

fn read_authorities(pem: &[u8]) -> Result<Vec<Certificate<'static>>, SenderError> {
    let mut certificates = Vec::new();
    for item in parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(_) => return Err(SenderError::Authorities),
        }
    }
    if certificates.is_empty() {
        return Err(SenderError::Authorities);
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests;
