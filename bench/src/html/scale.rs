//! Axes: where a value lies, and which values are written beside it.

/// How values are laid out along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Evenly, from 0 to `to`.
    Linear {
        /// The largest value.
        to: f64,
        /// Distance of the marks.
        step: f64,
    },
    /// By magnitude, from `from` to `to`, both powers of ten.
    Log {
        /// The smallest value; more than 0.
        from: f64,
        /// The largest value.
        to: f64,
    },
}

/// Marks that an axis has about.
const MARKS: f64 = 5.0;

impl Scale {
    /// From 0 to a round value at or above `most`.
    pub fn linear(most: f64) -> Self {
        let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        let step = round_step(most / MARKS);
        Self::Linear { to: (most / step - 1e-9).ceil().max(1.0) * step, step }
    }

    /// From 0 to exactly `to`: for time, where room after the end would look like a run that stood still.
    pub fn exact(to: f64) -> Self {
        let to = if to.is_finite() && to > 0.0 { to } else { 1.0 };
        Self::Linear { to, step: round_step(to / 8.0) }
    }

    /// Over the powers of ten around these values, those not above 0 left out.
    pub fn log(values: impl Iterator<Item = f64>) -> Self {
        let (mut least, mut most) = (f64::INFINITY, 0.0f64);
        for value in values.filter(|v| v.is_finite() && *v > 0.0) {
            (least, most) = (least.min(value), most.max(value));
        }
        if most == 0.0 {
            (least, most) = (1.0, 10.0);
        }
        let (from, mut to) = (least.log10().floor(), most.log10().ceil());
        if to - from < 1.0 {
            to = from + 1.0;
        }
        Self::Log { from: 10f64.powf(from), to: 10f64.powf(to) }
    }

    /// Where a value lies, from 0 to 1; values beyond the ends lie at them.
    pub fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { to, .. } => value / to,
            Self::Log { from, to } => {
                if value <= from {
                    0.0
                } else {
                    (value / from).log10() / (to / from).log10()
                }
            }
        };
        place.clamp(0.0, 1.0)
    }

    /// Values to write beside the axis.
    pub fn marks(self) -> Vec<f64> {
        match self {
            Self::Linear { to, step } => (0..=(to / step + 1e-9).floor() as usize).map(|i| i as f64 * step).collect(),
            Self::Log { from, to } => {
                let decades = (to / from).log10().round() as i32;
                let within: &[f64] = if decades <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                let all = (0..=decades).flat_map(|d| within.iter().map(move |w| from * 10f64.powi(d) * w));
                all.filter(|v| *v <= to * (1.0 + 1e-9)).collect()
            }
        }
    }

    /// Finer lines without a value, of a logarithmic axis over several decades.
    pub fn minor(self) -> Vec<f64> {
        match self {
            Self::Linear { .. } => Vec::new(),
            Self::Log { from, to } => {
                let decades = (to / from).log10().round() as i32;
                (0..decades).flat_map(|d| (2..10).map(move |w| from * 10f64.powi(d) * f64::from(w))).collect()
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, at or above `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|s| s * power >= least * (1.0 - 1e-9));
    step.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_ends_at_a_round_value_and_is_marked_in_round_steps() {
        assert_eq!(Scale::linear(93_000.0), Scale::Linear { to: 100_000.0, step: 20_000.0 });
        assert_eq!(Scale::linear(93_000.0).marks(), [0.0, 20e3, 40e3, 60e3, 80e3, 100e3]);
        assert_eq!(Scale::linear(0.0).marks().len(), 6);
        assert_eq!(Scale::linear(f64::NAN), Scale::linear(1.0));
        assert_eq!(Scale::exact(3.2).marks().last(), Some(&3.0));
    }

    #[test]
    fn a_logarithmic_axis_covers_its_values_with_powers_of_ten() {
        let scale = Scale::log([35.0, 150_000.0, 0.0].into_iter());
        assert_eq!(scale, Scale::Log { from: 10.0, to: 1e6 });
        assert_eq!(scale.marks(), [10.0, 100.0, 1e3, 1e4, 1e5, 1e6]);
        assert!((scale.place(1000.0) - 0.4).abs() < 1e-9);
        assert_eq!((scale.place(0.0), scale.place(1e9)), (0.0, 1.0));
        assert_eq!(Scale::log(std::iter::empty()).marks(), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(Scale::log([10.0].into_iter()), Scale::Log { from: 10.0, to: 100.0 });
    }
}
