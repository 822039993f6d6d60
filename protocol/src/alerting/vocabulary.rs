//! What rules and mutes name, and this crate does not know.

/// Knows selectors and time zones. The crate of alerts has the one that counts; this
/// crate leans on neither the language of selectors nor a database of zones, because the
/// agent would carry both.
pub trait Vocabulary {
    /// The canonical form of a selector.
    ///
    /// # Errors
    /// What is wrong with the text, and where.
    fn selector(&self, text: &str) -> Result<String, String>;

    /// Whether there is a time zone of this IANA name.
    fn has_zone(&self, name: &str) -> bool;
}
