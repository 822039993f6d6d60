//! A request, as handlers see it.

use std::net::IpAddr;

use super::asked::{Asked, Identity, RouteName};
use super::failure::Failure;
use super::forwarded::{FORWARDING_FIELDS, Peer, TrustedProxies, names_loopback};
use super::guard::budget::Permit;
use super::guard::head::{Framing, Head};

/// A request, with everything that a handler may ask of it.
#[derive(Debug)]
pub(crate) struct Request {
    head: Head,
    query: String,
    asked: Asked,
    body: Body,
    /// Counts the body among all bodies, while the request lives.
    permit: Option<Permit>,
    /// Why no handler may see this request.
    broken: Option<Failure>,
}

/// A request's body, as far as it has come.
#[derive(Debug)]
pub(super) enum Body {
    /// All of it.
    Whole(Vec<u8>),
    /// Its start; the rest is read once a handler wants it.
    ToCome(Vec<u8>),
}

impl Request {
    /// The method in upper case, `HEAD` included.
    pub(crate) fn method(&self) -> &str {
        self.head.method.as_str()
    }

    /// The path's segments, percent-decoded: `/server/::1/config` is `["server", "::1",
    /// "config"]`, `/` is `[""]`.
    pub(crate) fn path(&self) -> Vec<&str> {
        self.asked.path.iter().map(String::as_str).collect()
    }

    /// The raw query, without `?`.
    pub(crate) fn query(&self) -> &str {
        &self.query
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> Peer {
        self.asked.peer
    }

    /// Whether a program of this machine asks for itself: over loopback, by a name of this
    /// machine, and without a word of a proxy. A proxy on this machine that says nothing of
    /// its clients and names no host of theirs cannot be told from such a program.
    pub(crate) fn is_local(&self) -> bool {
        let is_sent = |name: &&'static str| self.headers(name).next().is_some();
        self.asked.peer.is_direct_loopback()
            && self.header("Host").is_some_and(names_loopback)
            && !FORWARDING_FIELDS.iter().any(is_sent)
    }

    /// Notes the route that the request has found.
    pub(crate) fn note_route(&mut self, route: RouteName) {
        self.asked.route = Some(route);
    }

    /// Notes whose request this is.
    pub(crate) fn note_identity(&mut self, identity: Identity) {
        self.asked.identity = Some(identity);
    }

    /// The header's value, if it was sent exactly once.
    pub(crate) fn header(&self, name: &'static str) -> Option<&str> {
        let mut values = self.headers(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Every value that was sent for a header that is a list.
    pub(crate) fn headers(&self, name: &'static str) -> impl Iterator<Item = &str> {
        header_values(&self.head, name)
    }

    /// Every value that was sent for a header whose name is a setting.
    pub(crate) fn headers_named(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.head.headers.iter().filter(move |header| {
            header.field.as_str().as_str().eq_ignore_ascii_case(name)
        });
        named.map(|header| header.value.as_str().trim())
    }

    /// The body, of at most `limit` bytes; a second call gives nothing.
    ///
    /// # Errors
    /// 413 when the body is longer. Or the body has not come whole: the handler passes
    /// this error on like any other, and is called again once the body is there. So a
    /// handler asks for the body after it has checked who is asking, and before it
    /// changes anything.
    pub(crate) fn body(&mut self, limit: usize) -> Result<Vec<u8>, Failure> {
        let declared = match self.head.framing {
            Framing::Length(length) => length,
            Framing::None | Framing::Chunked => 0,
        };
        if declared > limit {
            return Err(Failure::too_large(limit));
        }

        match &mut self.body {
            Body::Whole(body) => Ok(std::mem::take(body)),
            Body::ToCome(_) => Err(Failure::body_to_come(limit)),
        }
    }
}

/// What the guard and [`super::exchange`] do with a request.
impl Request {
    /// The request of this head.
    pub(super) fn new(head: Head, asked: Asked, body: Body) -> Request {
        let target = head.target.as_str();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (decode_path(path), query.to_owned());

        Request {
            broken: path.as_ref().err().copied().map(Failure::bad_request),
            asked: Asked {
                path: path.unwrap_or_default(),
                ..asked
            },
            query,
            body,
            permit: None,
            head,
        }
    }

    /// What is known of the request besides its content, which is dropped.
    pub(super) fn into_asked(self) -> Asked {
        self.asked
    }

    /// Where the body ends.
    pub(super) fn framing(&self) -> Framing {
        self.head.framing
    }

    /// Whether the peer waits with its body for a "100 Continue".
    pub(super) fn waits_for_continue(&self) -> bool {
        self.head.waits_for_continue
    }

    /// What has come of a body that is still to come.
    pub(super) fn take_body_start(&mut self) -> Vec<u8> {
        match &mut self.body {
            Body::Whole(bytes) | Body::ToCome(bytes) => std::mem::take(bytes),
        }
    }

    /// The body has come.
    pub(super) fn complete(&mut self, body: Vec<u8>, permit: Permit) {
        self.body = Body::Whole(body);
        self.permit = Some(permit);
    }

    /// Why no handler may see this request, told once.
    pub(super) fn take_broken(&mut self) -> Option<Failure> {
        self.broken.take()
    }
}

fn header_values<'a>(
    head: &'a Head,
    name: &'static str,
) -> impl DoubleEndedIterator<Item = &'a str> {
    let named = head
        .headers
        .iter()
        .filter(move |header| header.field.equiv(name));
    named.map(|header| header.value.as_str().trim())
}

/// A request that begins now with this head, over a connection from `connected`.
pub(super) fn begin(
    head: &Head,
    connected: Option<IpAddr>,
    trusted: &TrustedProxies,
) -> Asked {
    let forwarded = header_values(head, "X-Forwarded-For");
    let peer = trusted.find_peer(connected, forwarded);
    Asked::now(peer).by_method(head.method.as_str())
}

/// The path's segments, percent-decoded.
fn decode_path(path: &str) -> Result<Vec<String>, &'static str> {
    const NOT_A_PATH: &str = "the request's target must be a path in UTF-8";

    let path = path.strip_prefix('/').ok_or(NOT_A_PATH)?;
    path.split('/')
        .map(|segment| {
            percent_encoding::percent_decode_str(segment)
                .decode_utf8()
                .map(Into::into)
        })
        .collect::<Result<_, _>>()
        .map_err(|_| NOT_A_PATH)
}
