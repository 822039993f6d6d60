//! HTTP, as far as it is the same for every path.
//!
//! A worker takes a [`Request`] from the [`Listener`] and gives it to the [`Handler`],
//! which says how to [`Reply`]: with a [`Response`] now, or later from another thread. An
//! [`Exchange`] is the right and the duty to answer one request. A request that fails is
//! a [`Failure`], which becomes a `problem+json` response.
//!
//! Below all of this is `tiny_http`, which only `listener.rs` and `request.rs` know. It is
//! small and trusts its peer. What `tiny_http` would do wrong is put right in this folder
//! and stays here:
//!
//! - Every response is written by us (`response.rs`), with a `Content-Length` and
//!   `Connection: close`. `tiny_http` drops the latter, and the connections that it keeps
//!   open starve each other.
//! - A body of up to [`framing::PREBUFFERED_BYTES`] has been read before a worker sees the
//!   request. A request that might still block on its peer goes to the slow lane
//!   (`slow_lane.rs`), which has threads of its own. So a peer that promises a body and
//!   sends nothing can never hold up a heartbeat.
//! - A body that no handler has read to its end is drained before the connection goes on
//!   (`exchange.rs`); otherwise `tiny_http` would take the rest of the body for the next
//!   request. A body that is too long to drain is answered and its connection abandoned,
//!   because dropping `tiny_http`'s reader allocates as many bytes as the peer has
//!   promised and not sent.
//! - A peer that does not read its response loses its TCP connection after
//!   [`listener::UNREAD_TIMEOUT`].
//! - A handler's panic is answered 500, and the worker lives.
//! - `tiny_http`'s accept thread ends in silence when the process runs out of file
//!   descriptors; `watchdog.rs` sees that from outside.

mod exchange;
mod failure;
mod forwarded;
mod framing;
mod listener;
pub(crate) mod negotiation;
mod request;
mod response;
mod slow_lane;

pub(crate) use self::exchange::{Exchange, Handler, Reply};
pub(crate) use self::failure::Failure;
pub(crate) use self::forwarded::TrustedProxies;
pub(crate) use self::listener::Listener;
pub(crate) use self::request::Request;
pub(crate) use self::response::{Body, Response};
