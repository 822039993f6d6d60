//! Charts: a time range of a host, in as many points as fit.
//!
//! [`Builder`] takes the days of the range one after the other. As long as there are no
//! more samples than points, each sample is a point of its own. Then the points are those
//! of a grid of equal steps, and each has the mean, the smallest and the largest value of
//! its samples. Nothing is made up: a point without samples has no values.

mod builder;
mod grid;
mod points;
mod query;
mod reached;
mod selection;

pub use builder::{Builder, Chart};
pub use points::Column;
pub use query::{ChartQuery, QueryError};
pub use reached::TimeRange;
pub use selection::{MAX_CHART_SERIES, Wanted};
