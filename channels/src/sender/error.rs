//! What may be wrong with what a sender is made of.

/// Why there is no [`Sender`](crate::Sender) of these options.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// The authorities' certificates cannot be read.
    #[error("the authorities' certificates are not in PEM, or there are none")]
    Authorities,
    /// The sender of mail is not an address.
    #[error("{0:?} is not an address such as \"Fleetbeat <fleetbeat@example.com>\"")]
    From(String),
    /// Passwords and alerts would cross the network without encryption.
    #[error("tls = \"none\" is for a mail server on this machine only, not for {0}")]
    NeedsTls(String),
    /// The mail server's name cannot stand in a certificate.
    #[error("{0:?} is not the name of a mail server")]
    Host(String),
}
