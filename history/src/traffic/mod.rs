//! Traffic: the bytes that flowed over a host's interfaces, from the counters that the
//! host sends.
//!
//! A day's traffic follows from the day's chunk alone, which is the same however its
//! samples came. It has the first and the last reading of each counter, and what flowed
//! between the two. What flowed between two days follows from the readings at their edges
//! when days are added up. So neither the order in which days are merged matters, nor how
//! late or how often a sample comes.

mod counter;
mod day;
mod flow;
mod sum;

pub use counter::{Counter, Direction};
pub use day::DayTraffic;
pub use sum::{LOOK_BACK_DAYS, Traffic, TrafficSum};
