//! The values of a chart.

use crate::number::rounded_metric;

/// The points of one series; `None` where there is no value.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// A measure.
    Numbers {
        /// The means, to the nearest hundredth.
        avg: Vec<Option<f64>>,
        /// The smallest values.
        min: Vec<Option<f64>>,
        /// The largest values.
        max: Vec<Option<f64>>,
    },
    /// A service.
    States {
        /// The share of the samples in which the service ran, from 0 to 1, to the nearest
        /// hundredth.
        up: Vec<Option<f64>>,
    },
}

/// What is known of the samples of one point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    sum: f64,
    count: u32,
    min: f64,
    max: f64,
}

impl Point {
    pub(crate) const EMPTY: Point = Point {
        sum: 0.0,
        count: 0,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
    };

    /// Takes a value, or NaN for none.
    pub(crate) fn add(&mut self, value: f64) {
        if !value.is_nan() {
            self.sum += value;
            self.count += 1;
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn mean(&self) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        // A sum of huge numbers may be infinite; their mean is not.
        let mean = (self.sum / f64::from(self.count)).clamp(self.min, self.max);
        rounded_metric(mean).map(|mean| mean.clamp(self.min, self.max))
    }

    fn of(&self, value: f64) -> Option<f64> {
        (self.count > 0).then_some(value)
    }
}

impl Column {
    pub(crate) fn new(points: &[Point], is_service: bool) -> Column {
        let column =
            |value: fn(&Point) -> Option<f64>| points.iter().map(value).collect();
        let avg = column(Point::mean);
        if is_service {
            return Column::States { up: avg };
        }
        Column::Numbers {
            avg,
            min: column(|point| point.of(point.min)),
            max: column(|point| point.of(point.max)),
        }
    }
}
