//! HTTP, as far as it is the same for every path.
//!
//! A worker takes a [`Request`] from the [`Listener`] and gives it to the [`Service`],
//! which says how to [`Reply`]: with a [`Response`] now, or later from another thread. An
//! [`Exchange`] is the right and the duty to answer one request. A request that fails is
//! a [`Failure`], which becomes a `problem+json` response.
//!
//! Between the network and all of this stands the guard (`guard/`): it accepts, reads and
//! writes in one thread, and hands whole, sound requests to the workers of the
//! [`Listener`]. `tiny_http` gives the types of a request's head and writes the heads of
//! responses.
//!
//! - Every request gets a response of ours, with a `Content-Length` and `Connection:
//!   close`; one connection carries one request. An [`Observer`] is told of each.
//! - A handler's panic is answered 500, and the worker lives.

mod asked;
mod exchange;
mod failure;
mod forwarded;
mod guard;
mod listener;
pub(crate) mod negotiation;
mod redirect;
mod request;
mod response;
mod sockets;

pub(crate) use self::asked::{Answered, Asked, Identity, Observer, RouteName};
pub(crate) use self::exchange::{Exchange, Reply, Service};
pub(crate) use self::failure::Failure;
pub(crate) use self::forwarded::TrustedProxies;
pub(crate) use self::guard::outgoing::Body;
pub(crate) use self::guard::poll::Progress;
pub(crate) use self::guard::tls::{Certificate, CertificateError, CertificateFiles};
pub(crate) use self::listener::Listener;
pub(crate) use self::request::Request;
pub(crate) use self::response::Response;
pub(crate) use self::sockets::Sockets;
