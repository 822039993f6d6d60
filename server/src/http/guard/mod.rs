//! The guard: what stands between the network and the handlers.
//!
//! One thread, the poll loop (`poll.rs`), accepts connections, reads heads (`head.rs`) and
//! bodies (`chunked.rs`), and sends what a socket has not taken at once. Whole requests
//! wait in a queue for the workers (`queues.rs`). `steps.rs` has the steps of one
//! connection, `limits.rs` what each peer may take. So no thread ever waits for a peer, and
//! a connection costs a seat (`seats.rs`), its socket and its buffers, each with a limit.
//!
//! A connection's way:
//!
//! ```text
//!            head            whole request           response
//! accept ──► Head ──────────► Arrivals ──► worker ──► Exchange ──┬──► Close ──► closed
//!              │                 ▲            │                  │      ▲
//!              │ refused         │ body       │ wants the body   │ left │
//!              │                 └── Body ◄───┘                  ▼      │
//!              └───────────────────────────────────────────────► Send ──┘
//! ```
//!
//! A worker sees a request as soon as its head is there. It judges route, method, key and
//! length, and only then does the poll loop read a body that has not come with its head.

pub(super) mod body;
pub(super) mod budget;
pub(super) mod chunked;
pub(super) mod connection;
pub(super) mod doors;
pub(super) mod head;
pub(super) mod limits;
pub(super) mod outgoing;
pub(super) mod poll;
pub(super) mod queues;
pub(super) mod seats;
pub(super) mod steps;
pub(super) mod tls;
pub(super) mod unread;
