//! Why a text is not a selector.

/// The first fault of a text that should be a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at character {place}: {message}")]
pub struct SelectorError {
    /// Where the fault begins, in characters, the first one being 1. One more than there
    /// are characters if something is missing at the end.
    pub place: usize,
    /// The fault, and what would be right.
    pub message: String,
}

impl SelectorError {
    /// A fault at the character `place`.
    pub(crate) fn new(place: usize, message: impl Into<String>) -> SelectorError {
        SelectorError {
            place,
            message: message.into(),
        }
    }
}
