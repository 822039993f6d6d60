//! Traffic: the bytes that flowed over a host's interfaces, from the counters that the
//! host sends.
//!
//! A day's traffic follows from the day's chunk alone, which is the same however its
//! samples came. It has the first and the last reading of each counter in each boot, and
//! what flowed between the two. What flowed between two days follows from the readings at
//! their edges when days are added up. So neither the order in which days are merged
//! matters, nor how late or how often a sample comes.
//!
//! Within a boot the order is that of the samples' numbers, because a clock may be set
//! back; a counter that falls in this order has begun anew. A boot that comes for the
//! first time has begun at 0 since the host was heard last. A boot that was read before has
//! not, and neither has one during which an older boot is still read: these are two
//! machines with one name, whose counters each go on from their own last reading.

pub(crate) mod counter;
mod day;
mod flow;
mod line;
mod sum;

pub use counter::{Counter, Direction};
pub use day::DayTraffic;
pub use sum::{Flow, LOOK_BACK_DAYS, Traffic};
