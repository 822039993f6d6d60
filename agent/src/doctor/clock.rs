//! The host's clock beside the server's.

use std::time::{Duration, SystemTime};

use super::finding::{Finding, Obstacle, Trouble};
use super::found::Found;

/// From this difference on the server refuses what waits in the spool.
const MAX_AHEAD: Duration = Duration::from_secs(24 * 3600);
/// Largest harmless difference. The server times a fresh heartbeat by the server's clock,
/// but a heartbeat from the spool by the host's clock.
const TOLERANCE: Duration = Duration::from_secs(30);

/// The step "clock": compares the reply's date with the host's clock in the middle of the
/// call.
pub(super) fn compare(found: &mut Found) -> Finding {
    let reply = found.reply.as_ref().ok_or(Obstacle::Missing)?;
    let date = reply.date.ok_or_else(|| {
        Trouble::new(
            "the answer has no date to compare with",
            "let the proxy before fleetbeat-server pass its Date header on",
        )
    })?;

    let of_host = reply.asked_at + reply.took / 2;
    // A date has whole seconds: on average, half of a second is missing.
    let of_server = date + Duration::from_millis(500);
    judge(of_host, of_server)
}

fn judge(of_host: SystemTime, of_server: SystemTime) -> Finding {
    let (offset, side) = match of_host.duration_since(of_server) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if offset <= TOLERANCE {
        return Ok(format!("within {} s of the server's", offset.as_secs() + 1));
    }
    let trouble = Trouble::new(
        format!("this host's is {} {side} the server's", show_offset(offset)),
        "set the wrong one of the two, and let it be kept right (timedatectl set-ntp \
         true, or chrony): what waits in the spool counts with this host's time",
    );
    // The server takes live heartbeats all the same.
    Err(if of_host > of_server && offset >= MAX_AHEAD {
        Obstacle::Trouble(trouble)
    } else {
        Obstacle::Warning(trouble)
    })
}

/// A duration as a whole number, in a suitable unit.
fn show_offset(duration: Duration) -> String {
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
        let late = judge(now + MAX_AHEAD, now);
        assert!(matches!(late, Err(Obstacle::Trouble(_))));
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
            let told = judge(ours, now).map_err(|obstacle| match obstacle {
                Obstacle::Warning(trouble) => trouble.what,
                _ => panic!("{offset_ms}"),
            });
            assert_eq!(told.as_deref().map_err(String::as_str), expected);
        }
    }
}
