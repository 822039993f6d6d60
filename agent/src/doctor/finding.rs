//! What a step of the doctor finds.

/// What a step found, in a few words, or why it did not.
pub(super) type Finding = Result<String, Obstacle>;

/// Why all is not well with a step.
pub(super) enum Obstacle {
    Trouble(Trouble),
    /// The step that this one needs has not found what it needs.
    Missing,
}

/// What is wrong, and what the operator can do about it.
pub(super) struct Trouble {
    pub(super) what: String,
    pub(super) advice: String,
}

impl Trouble {
    pub(super) fn new(what: impl Into<String>, advice: impl Into<String>) -> Trouble {
        Trouble {
            what: what.into(),
            advice: advice.into(),
        }
    }
}

impl From<Trouble> for Obstacle {
    fn from(trouble: Trouble) -> Obstacle {
        Obstacle::Trouble(trouble)
    }
}
