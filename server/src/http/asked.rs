//! What is known of a request besides its content, and who is told of its answer.
//!
//! Metrics and the access log count and name every request, also those that no handler
//! gets to see. Neither may take a peer's word for a name: a route is named by the table
//! of routes, and a method only if it is a usual one.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::forwarded::Peer;
use super::response::{Extent, Response};

/// The methods that are told by name.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE",
];

/// A route as metrics and the access log name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RouteName {
    /// The route's place among all routes, from 0.
    pub(crate) number: usize,
    /// In upper case.
    pub(crate) method: &'static str,
    /// As OpenAPI writes it: `{name}` stands for one segment.
    pub(crate) path: &'static str,
}

/// Whose request a request was, once a check has told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The user of this name.
    User(String),
    /// The API token of this id, of the user of this name.
    ApiToken {
        /// The user's name.
        username: String,
        /// The part of the token that may be seen.
        id: String,
    },
    /// Whoever has the agents' key of this name.
    Key(String),
}

/// What is known of a request besides its content.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Sixteen hexadecimal digits that name the request.
    pub(crate) id: String,
    /// Who is at the other end.
    pub(crate) peer: Peer,
    /// When the request began: its head was there, or nothing was.
    pub(crate) began: Instant,
    /// The method, if it is one of [`METHODS`].
    pub(crate) method: Option<&'static str>,
    /// The path's segments, percent-decoded; none if there was no sound head.
    pub(crate) path: Vec<String>,
    /// The route, once it is found.
    pub(crate) route: Option<RouteName>,
    /// Whose request it is, once that is known.
    pub(crate) identity: Option<Identity>,
}

/// A request with its answer.
pub(crate) struct Answered<'a> {
    /// The request.
    pub(crate) asked: &'a Asked,
    /// The answer's status.
    pub(crate) status: u16,
    /// The bytes of the answer behind its head.
    pub(crate) body_bytes: usize,
    /// How long the answer took, until it was ready to be sent.
    pub(crate) took: Duration,
}

/// Is told of every answer, from many threads, just before the answer is sent.
#[derive(Clone)]
pub(crate) struct Observer(Arc<dyn Fn(&Answered<'_>) + Send + Sync>);

impl Asked {
    /// A request that begins now, and of which only the peer is known.
    pub(super) fn now(peer: Peer) -> Asked {
        Asked {
            id: new_id(),
            peer,
            began: Instant::now(),
            method: None,
            path: Vec::new(),
            route: None,
            identity: None,
        }
    }

    /// The same request with its method.
    pub(super) fn by_method(self, method: &str) -> Asked {
        let method = METHODS.into_iter().find(|known| *known == method);
        Asked { method, ..self }
    }

    /// The address that the request came from, as far as it can be believed.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.peer.ip()
    }
}

impl Observer {
    /// Calls `tell` for each answer.
    pub(crate) fn new(tell: impl Fn(&Answered<'_>) + Send + Sync + 'static) -> Observer {
        Observer(Arc::new(tell))
    }

    /// Tells of an answer, of which the peer gets so much.
    pub(super) fn tell(&self, asked: &Asked, response: &Response, extent: Extent) {
        (self.0)(&Answered {
            asked,
            status: response.status,
            body_bytes: response.body_bytes(extent),
            took: asked.began.elapsed(),
        });
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// A name for a request.
fn new_id() -> String {
    let id = getrandom::u64().unwrap_or_default();
    format!("{id:016x}")
}

#[cfg(test)]
impl Asked {
    /// A request of nobody in particular, for this path and route.
    pub(crate) fn example(path: &[&str], route: Option<RouteName>) -> Asked {
        let trusted = super::forwarded::TrustedProxies::default();
        let peer = trusted.find_peer(Some([192, 0, 2, 1].into()), std::iter::empty());
        Asked {
            path: path.iter().map(|segment| (*segment).to_owned()).collect(),
            route,
            ..Asked::now(peer)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_method_has_a_name_only_if_it_is_a_usual_one() {
        let name = |method| Asked::example(&[], None).by_method(method).method;
        assert_eq!(name("PATCH"), Some("PATCH"));
        for unusual in ["get", "BREW", "", "GET\n", "fbt_secret"] {
            assert_eq!(name(unusual), None, "{unusual:?}");
        }
    }
}
