//! The grid of a chart: equal steps, which begin at a multiple of the step since 1970.

use crate::day::DAY_SECONDS;

/// Steps that people read easily, in seconds. Longer ones are whole days.
const STEPS: [i64; 19] = [
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1200,
    1800,
    3600,
    7200,
    10_800,
    21_600,
    43_200,
    DAY_SECONDS,
];

/// Equal steps over a range of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) step: i64,
    first: i64,
    pub(crate) points: usize,
}

impl Grid {
    /// The finest grid over `from` to `to` that has at most `points` points. A
    /// single point begins where the range does.
    pub(crate) fn new(from: i64, to: i64, points: usize) -> Grid {
        let whole = Grid {
            step: to - from,
            first: from,
            points: 1,
        };
        if points == 1 {
            return whole;
        }
        let days = (1..).map(|days| days * DAY_SECONDS);
        let steps = STEPS.into_iter().chain(days);
        let mut grids = steps.map(|step| Grid::with_step(from, to, step));
        grids.find(|grid| grid.points <= points).unwrap_or(whole)
    }

    fn with_step(from: i64, to: i64, step: i64) -> Grid {
        let first = from.div_euclid(step) * step;
        let points = (to - first + step - 1) / step;
        Grid {
            step,
            first,
            points: usize::try_from(points).unwrap_or(0),
        }
    }

    /// The point of a time in the range.
    pub(crate) fn place(&self, at: i64) -> usize {
        let place = usize::try_from((at - self.first) / self.step).unwrap_or(0);
        place.min(self.points - 1)
    }

    /// When each step begins.
    pub(crate) fn times(&self) -> Vec<i64> {
        let steps = (0_i64..).take(self.points);
        steps.map(|place| self.first + place * self.step).collect()
    }
}
