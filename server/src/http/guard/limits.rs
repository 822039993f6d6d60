//! What a peer may take: connections, time, memory.

use std::time::Duration;

/// The most connections at once.
pub(super) const MAX_CONNECTIONS: usize = 4096;
/// How long a head may take.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a body may take, besides [`BODY_TIME_PER_STEP`].
pub(super) const BODY_TIME: Duration = Duration::from_secs(10);
/// How long each [`BODY_STEP_BYTES`] of a body may take besides.
pub(super) const BODY_TIME_PER_STEP: Duration = Duration::from_secs(1);
/// See [`BODY_TIME_PER_STEP`].
pub(super) const BODY_STEP_BYTES: usize = 64 * 1024;
/// All bodies together that do not come with their heads, but for short ones.
pub(super) const MAX_BODY_BYTES: usize = 48 * 1024 * 1024;
/// The longest body that is short. Short ones have a limit of their own, so that batches
/// leave room for heartbeats.
pub(super) const SHORT_BODY_BYTES: usize = 64 * 1024;
/// All short bodies together that do not come with their heads.
pub(super) const MAX_SHORT_BODY_BYTES: usize = 16 * 1024 * 1024;
/// When all seats are taken, a peer that has been silent within its body for so long may
/// lose its seat.
pub(super) const BODY_SILENCE: Duration = Duration::from_secs(2);
/// What one connection may send before others have their turn, in reads.
pub(super) const MAX_READS: usize = 16;
/// A peer takes its response at 16 KiB a second, looked at after so long.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(10);
/// What a peer has to take within [`ANSWER_TIME`].
pub(super) const ANSWER_STEP_BYTES: usize = 160 * 1024;
/// All responses together that peers have not taken; what they share counts once.
pub(super) const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// What a peer still sends after its response is thrown away, up to so many bytes and for
/// so long.
pub(super) const DRAIN_BYTES: usize = 64 * 1024;
/// See [`DRAIN_BYTES`].
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(2);
/// How long a stop waits for requests that have not come whole.
pub(super) const STOP_TIME: Duration = Duration::from_secs(1);

/// How long a TLS handshake may take.
pub(super) const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
