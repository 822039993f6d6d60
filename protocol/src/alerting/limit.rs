//! From which value on something is wrong, and from which on it is right again.

use serde::{Deserialize, Serialize};

use crate::field::{self, Errors, Object};

/// The names of a limit's members.
pub(super) const MEMBERS: [&str; 3] = ["above", "below", "clear"];

/// A limit of a value, with the value at which it is kept again.
///
/// In JSON a limit is flat: `"above": 90, "clear": 85`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "Flat", into = "Flat")]
pub struct Limit {
    /// On which side of the bound values are wrong.
    pub side: Side,
    /// The bound. The bound itself is wrong, too.
    pub bound: f64,
    /// The value at which all is right again, itself included. `None`: everything on the
    /// other side of the bound is.
    pub clear: Option<f64>,
}

/// On which side of a bound values are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The bound and more.
    Above,
    /// The bound and less.
    Below,
}

impl Limit {
    /// Whether the value breaks the limit.
    pub fn is_broken_by(&self, value: f64) -> bool {
        match self.side {
            Side::Above => value >= self.bound,
            Side::Below => value <= self.bound,
        }
    }

    /// Whether the value is right again after one that broke the limit.
    pub fn is_cleared_by(&self, value: f64) -> bool {
        match (self.side, self.clear) {
            (_, None) => !self.is_broken_by(value),
            (Side::Above, Some(clear)) => value <= clear,
            (Side::Below, Some(clear)) => value >= clear,
        }
    }

    pub(super) fn read(object: &Object<'_>, errors: &mut Errors) -> Option<Limit> {
        let mut number = |name| {
            let json = object.optional(name)?;
            Some(field::number(name, json, errors))
        };
        let (above, below, clear) = (number("above"), number("below"), number("clear"));

        let (side, bound) = match (above, below) {
            (Some(above), None) => (Side::Above, above),
            (None, Some(below)) => (Side::Below, below),
            (None, None) => {
                errors.add("above", "is missing: above or below");
                return None;
            }
            (Some(_), Some(_)) => {
                errors.add("below", "does not go with above: use two rules");
                return None;
            }
        };
        let limit = Limit {
            side,
            bound: bound?,
            clear: match clear {
                Some(clear) => Some(clear?),
                None => None,
            },
        };
        limit.check(errors).then_some(limit)
    }

    /// A limit that is broken and kept by one value would neither fire nor clear.
    fn check(&self, errors: &mut Errors) -> bool {
        let is_wrong = self.clear.is_some_and(|clear| self.is_broken_by(clear));
        if is_wrong {
            let message = match self.side {
                Side::Above => "must be less than above",
                Side::Below => "must be more than below",
            };
            errors.add("clear", message);
        }
        !is_wrong
    }
}

/// A limit in JSON.
#[derive(Serialize, Deserialize)]
struct Flat {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    above: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    below: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clear: Option<f64>,
}

impl From<Limit> for Flat {
    fn from(limit: Limit) -> Flat {
        Flat {
            above: (limit.side == Side::Above).then_some(limit.bound),
            below: (limit.side == Side::Below).then_some(limit.bound),
            clear: limit.clear,
        }
    }
}

impl From<Flat> for Limit {
    fn from(flat: Flat) -> Limit {
        let (side, bound) = match (flat.above, flat.below) {
            (None, Some(below)) => (Side::Below, below),
            (above, _) => (Side::Above, above.unwrap_or(f64::INFINITY)),
        };
        Limit {
            side,
            bound,
            clear: flat.clear,
        }
    }
}
