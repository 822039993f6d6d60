//! What numbers are kept: rounding, and numbers as integers.

/// From here on, and below its negative, a number is kept to the nearest whole number.
const WHOLE_FROM: f64 = 1e13;
/// Whole numbers below this one, times 100, fit into an i64.
const FIXED_BELOW: f64 = 9e16;
/// Whole numbers below this one have each their f64.
const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;

/// The load as it is kept: to the nearest tenth, halves away from zero. `None` for what
/// is not a number, or infinite.
pub(crate) fn rounded_load(load: f64) -> Option<f64> {
    rounded(load, 10.0)
}

/// The metric as it is kept: to the nearest hundredth, halves away from zero; from 1e13
/// on to the nearest whole number. `None` for what is not a number, or infinite.
pub(crate) fn rounded_metric(metric: f64) -> Option<f64> {
    rounded(metric, 100.0)
}

/// The nearest whole number. `None` for what is not a number, or infinite.
pub(crate) fn rounded_count(count: f64) -> Option<f64> {
    rounded(count, 1.0)
}

fn rounded(number: f64, per_unit: f64) -> Option<f64> {
    if !number.is_finite() {
        return None;
    }
    let rounded = if number.abs() < WHOLE_FROM {
        (number * per_unit).round() / per_unit
    } else {
        number.round()
    };
    // There is no negative zero among what is kept.
    Some(rounded + 0.0)
}

/// How a column's numbers become integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Whole,
    Tenths,
    Hundredths,
    /// The number's 64 bits.
    Bits,
}

impl Scale {
    /// From the one whose integers are the smallest.
    pub(crate) const ALL: [Scale; 4] =
        [Scale::Whole, Scale::Tenths, Scale::Hundredths, Scale::Bits];

    /// The integer that stands for `number`; `None` if none does exactly.
    pub(crate) fn to_integer(self, number: f64) -> Option<i64> {
        match self.per_unit() {
            Some(per_unit) => to_fixed(number, per_unit),
            None => Some(number.to_bits().cast_signed()),
        }
    }

    /// The number for which `integer` stands; `None` if it is not a number or infinite.
    pub(crate) fn to_number(self, integer: i64) -> Option<f64> {
        match self.per_unit() {
            Some(per_unit) => Some(to_number(integer, per_unit)),
            None => {
                Some(f64::from_bits(integer.cast_unsigned())).filter(|of| of.is_finite())
            }
        }
    }

    fn per_unit(self) -> Option<i32> {
        match self {
            Scale::Whole => Some(1),
            Scale::Tenths => Some(10),
            Scale::Hundredths => Some(100),
            Scale::Bits => None,
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "both are below their limits"
)]
fn to_fixed(number: f64, per_unit: i32) -> Option<i64> {
    if number.fract() == 0.0 {
        let fits = number.abs() < FIXED_BELOW;
        return fits.then(|| number as i64 * i64::from(per_unit));
    }
    let fixed = (number * f64::from(per_unit)).round();
    let is_exact = fixed / f64::from(per_unit) == number && fixed.abs() < EXACT_BELOW;
    is_exact.then_some(fixed as i64)
}

fn to_number(fixed: i64, per_unit: i32) -> f64 {
    let unit = i64::from(per_unit);
    if fixed % unit == 0 {
        (fixed / unit) as f64
    } else {
        fixed as f64 / f64::from(per_unit)
    }
}
