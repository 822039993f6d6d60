//! The result of a step of the doctor.

/// The result of a step: what was found, in a few words, or what stood in the way.
pub(super) type Finding = Result<String, Obstacle>;

/// The reason for a step without success.
pub(super) enum Obstacle {
    /// Heartbeats do not arrive, or say nothing of a whole subject.
    Trouble(Trouble),
    /// Heartbeats arrive, but lack something.
    Warning(Trouble),
    /// The earlier step has not found what this step needs.
    Missing,
}

/// A fault, and advice for the operator.
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
