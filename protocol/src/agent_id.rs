//! The name that an agent gives itself, and keeps.

use std::fmt;

use serde::{Serialize, Serializer};

/// How many hexadecimal digits are enough for people to tell agents apart.
const SHOWN_DIGITS: usize = 8;

/// The 128 random bits by which an agent names itself in every heartbeat, so that the
/// server knows a host again after its address has changed.
///
/// The whole id is half a secret: who knows it can speak for the host. So `Display` and
/// `Debug` show its first eight digits alone; only [`AgentId::expose`] and `Serialize`
/// give all of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(u128);

impl AgentId {
    /// The id with these bits.
    #[must_use]
    pub fn from_bits(bits: u128) -> AgentId {
        AgentId(bits)
    }

    /// The id that `text` spells: 32 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<AgentId> {
        let is_hex =
            text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let bits = u128::from_str_radix(text, 16).ok().filter(|_| is_hex)?;
        Some(AgentId(bits))
    }

    /// All 32 digits, in lower case: for heartbeats and stores, never for a log, a list
    /// or an error.
    #[must_use]
    pub fn expose(self) -> String {
        format!("{:032x}", self.0)
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.expose()[..SHOWN_DIGITS])
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentId({self}…)")
    }
}

impl Serialize for AgentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.expose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_32_hexadecimal_digits_of_which_people_see_eight() {
        let id = AgentId::parse("00C0FFEE00112233445566778899aAbB").unwrap();
        assert_eq!(id.expose(), "00c0ffee00112233445566778899aabb");
        assert_eq!(id.to_string(), "00c0ffee");
        assert_eq!(format!("{id:?}"), "AgentId(00c0ffee…)");

        for wrong in [
            "",
            "0",
            "+0c0ffee00112233445566778899aabb",
            "00c0ffee00112233445566778899aabbc",
            "00c0ffee-011-2233-4455-66778899a",
            "00c0ffee00112233445566778899aabé",
        ] {
            assert_eq!(AgentId::parse(wrong), None, "{wrong}");
        }
    }
}
