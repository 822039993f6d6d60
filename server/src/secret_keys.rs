//! The values of `SECRET_KEY`: the one that counts, and the one before while it is
//! exchanged. The one that counts signs and seals; what either has signed or sealed is
//! good.
//!
//! The former value is a setting of its own, `SECRET_KEY_PREVIOUS`, and not a second one
//! behind a comma as with `AGENT_API_KEY`: a `SECRET_KEY` may be any text, so a comma in
//! one that is in use would change what it means.

use std::iter;

use fleetbeat_settings::Secret;

/// The values of `SECRET_KEY`.
#[derive(Debug, Clone)]
pub(crate) struct SecretKeys {
    current: Secret,
    previous: Option<Secret>,
}

impl SecretKeys {
    /// The value that counts, and the one before it.
    pub(crate) fn new(current: Secret, previous: Option<Secret>) -> SecretKeys {
        SecretKeys { current, previous }
    }

    /// The value that signs and seals.
    pub(crate) fn current(&self) -> &str {
        self.current.expose()
    }

    /// The values that are good besides.
    pub(crate) fn older(&self) -> Vec<&str> {
        self.previous.iter().map(Secret::expose).collect()
    }

    /// All values, the one that signs first.
    pub(crate) fn bytes(&self) -> Vec<&[u8]> {
        let all = iter::once(self.current()).chain(self.older());
        all.map(str::as_bytes).collect()
    }
}
