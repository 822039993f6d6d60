//! Random numbers that spread agents over time. No secret depends on them.

use std::hash::{BuildHasher, RandomState};

/// A number from 0 to just under 1, a different one each time.
pub(crate) fn fraction() -> f64 {
    // The keys of a fresh hasher come from the system's random numbers. An f64 holds 53
    // bits.
    let bits = RandomState::new().hash_one(()) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    #[test]
    fn fractions_spread_over_the_range() {
        let mut tenths = [0; 10];
        for _ in 0..10_000 {
            let fraction = super::fraction();
            assert!((0.0..1.0).contains(&fraction));
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "from 0 to 9"
            )]
            let tenth = (fraction * 10.0) as usize;
            tenths[tenth] += 1;
        }
        assert!(
            tenths.iter().all(|count| (800..1200).contains(count)),
            "{tenths:?}"
        );
    }
}
