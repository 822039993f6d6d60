//! This host's clock beside the server's.

use std::time::{Duration, SystemTime};

use super::connection::Answer;
use super::{Finding, Trouble};

/// What does no harm: the server counts with its own clock, and spooled heartbeats with
/// this host's.
const TOLERANCE: Duration = Duration::from_secs(30);

/// Compares the answer's date with this host's clock in the middle of the call.
pub(super) fn compare(answer: &Answer) -> Finding {
    let Some(date) = answer.date else {
        return Err(Trouble::new(
            "the answer has no date to compare with",
            "let the proxy before fleetbeat-server pass its Date header on",
        ));
    };
    // A date has whole seconds: on average, half of one is missing.
    let (ours, theirs) = (
        answer.asked_at + answer.took / 2,
        date + Duration::from_millis(500),
    );
    tell(ours, theirs)
}

fn tell(ours: SystemTime, theirs: SystemTime) -> Finding {
    let (offset, side) = match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if offset <= TOLERANCE {
        return Ok(format!("within {} s of the server's", offset.as_secs() + 1));
    }
    Err(Trouble::new(
        format!("this host's is {} {side} the server's", show(offset)),
        "set the wrong one of the two, and let it be kept right (timedatectl set-ntp true, or chrony): what waits \
         in the spool counts with this host's time",
    ))
}

/// A duration in the unit that says most.
fn show(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (unit, name) = match seconds {
        0..120 => (1, "seconds"),
        120..7200 => (60, "minutes"),
        7200..172_800 => (3600, "hours"),
        _ => (86_400, "days"),
    };
    format!("{} {name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_minute_is_no_trouble_on_either_side() {
        let now = SystemTime::now();
        for (offset_ms, expected) in [
            (0, Ok("within 1 s of the server's")),
            (-29_900, Ok("within 30 s of the server's")),
            (
                31_000,
                Err("this host's is 31 seconds ahead of the server's"),
            ),
            (
                -252_000,
                Err("this host's is 4 minutes behind the server's"),
            ),
            (
                10_000_000,
                Err("this host's is 2 hours ahead of the server's"),
            ),
            (
                -1_000_000_000,
                Err("this host's is 11 days behind the server's"),
            ),
        ] {
            let offset = Duration::from_millis(i64::unsigned_abs(offset_ms));
            let ours = if offset_ms > 0 {
                now + offset
            } else {
                now - offset
            };
            let told = tell(ours, now).map_err(|trouble| trouble.what);
            assert_eq!(told.as_deref().map_err(String::as_str), expected);
        }
    }
}
