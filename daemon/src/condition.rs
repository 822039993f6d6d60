//! Troubles that last: said when they begin and when they are over, not at each attempt.

/// Whether something is in trouble, and why, as far as the log knows.
///
/// An attempt that is repeated for hours must not fill the log: one line tells the
/// trouble's beginning, one tells each change of its cause, and one tells its end.
/// A condition decides whether a line is due; its owner chooses level and words.
///
/// ```
/// let mut spool = fleetbeat_daemon::condition::Condition::default();
/// assert!(spool.begins("the disk is full"), "the log does not know that yet");
/// assert!(!spool.begins("the disk is full"), "it does now");
/// assert!(spool.ends(), "and this is the end");
/// assert!(!spool.ends());
/// ```
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Condition {
    cause: Option<String>,
}

impl Condition {
    /// The trouble is there, because of `cause`. True if the log should say so: the
    /// trouble is new, or has another cause than before.
    pub fn begins(&mut self, cause: impl Into<String>) -> bool {
        let cause = Some(cause.into());
        let is_news = self.cause != cause;
        self.cause = cause;
        is_news
    }

    /// All is well. True if the log should say so: there was trouble before.
    pub fn ends(&mut self) -> bool {
        self.cause.take().is_some()
    }

    /// The cause of the trouble; `None` while all is well.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_cause_is_news_and_the_same_one_is_not() {
        let mut condition = Condition::default();
        assert!(!condition.ends(), "nothing was wrong");
        let told: Vec<bool> = ["a", "a", "b", "a", "a"]
            .map(|cause| condition.begins(cause))
            .into();
        assert_eq!(told, [true, false, true, true, false]);
        assert_eq!(condition.cause(), Some("a"));
        assert!(condition.ends() && !condition.ends());
        assert_eq!(condition, Condition::default());
    }
}
