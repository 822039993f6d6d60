//! Ids, and other chance, from a generator that is passed in.

/// Random bits: of the system in the server, with a seed in tests.
pub type Random = Box<dyn FnMut() -> u64 + Send>;

/// Makes ids and other chance.
pub(crate) struct Chance(pub(crate) Random);

impl Chance {
    /// A new id: the prefix and 16 hexadecimal digits.
    pub(crate) fn id(&mut self, prefix: &str) -> String {
        show_id(prefix, (self.0)())
    }

    /// A factor from 0.8 to 1.2.
    pub(crate) fn around_one(&mut self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "a share of 1000")]
        let share = ((self.0)() % 1001) as f64 / 1000.0;
        0.8 + 0.4 * share
    }
}

/// The id of the alert of an event: the same whenever the event is looked at again.
pub(crate) fn event_alert_id(rule: &str, event: i64) -> String {
    // FNV-1a: the same in every version of the program.
    let bytes = rule.bytes().chain(event.to_be_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    show_id("alr", hash)
}

fn show_id(prefix: &str, bits: u64) -> String {
    format!("{prefix}-{bits:016x}")
}
