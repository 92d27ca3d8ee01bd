//! When exchanges start, and when an unanswered message is sent again.

use crate::identity::Identities;

/// How exchanges are started.
#[derive(Clone, Debug, PartialEq)]
pub enum Pace {
    /// Open loop: so many starts a second, whether or not the server keeps up.
    Open {
        /// Exchanges a second; more than 0.
        rate_per_s: f64,
    },
    /// Closed loop: a new exchange as soon as fewer than `window` wait for an answer.
    Closed {
        /// Exchanges at a time; at least 1.
        window: u32,
    },
    /// Open loop along a curve: each client once, when the curve says that it is back.
    Curve(Curve),
}

/// When a number of clients come, over a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Parts of the time and of the clients, both rising from (0, 0) to (1, 1); straight lines between.
    pub points: Vec<(f64, f64)>,
    /// How many come.
    pub clients: u32,
    /// Over how long, in nanoseconds.
    pub over_ns: u64,
}

impl Curve {
    /// When client number `n` comes.
    fn due_ns(&self, n: u64) -> u64 {
        let part = (n as f64 / f64::from(self.clients.max(1))).min(1.0);
        let after = self.points.partition_point(|(_, clients)| *clients <= part).min(self.points.len() - 1).max(1);
        let ((t0, c0), (t1, c1)) = (self.points[after - 1], self.points[after]);
        let time = if c1 > c0 { t0 + (t1 - t0) * ((part - c0) / (c1 - c0)) } else { t1 };
        (time.clamp(0.0, 1.0) * self.over_ns as f64) as u64
    }

    /// How many have come before a time.
    fn due_before(&self, time_ns: u64) -> u64 {
        let time = (time_ns as f64 / self.over_ns.max(1) as f64).min(1.0);
        let after = self.points.partition_point(|(t, _)| *t <= time).min(self.points.len() - 1).max(1);
        let ((t0, c0), (t1, c1)) = (self.points[after - 1], self.points[after]);
        let part = if t1 > t0 { c0 + (c1 - c0) * ((time - t0) / (t1 - t0)) } else { c1 };
        (part.clamp(0.0, 1.0) * f64::from(self.clients)).ceil() as u64
    }
}

impl Pace {
    /// When start number `n` is due, in nanoseconds from the begin; at once in a closed loop.
    #[inline]
    pub fn due_ns(&self, n: u64) -> u64 {
        match self {
            Pace::Open { rate_per_s } => (n as f64 * 1e9 / rate_per_s) as u64,
            Pace::Closed { .. } => 0,
            // Those that begin anew after a failure have no place on the curve.
            Pace::Curve(curve) if n < u64::from(curve.clients) => curve.due_ns(n),
            Pace::Curve(_) => 0,
        }
    }

    /// How many starts are due before `time_ns`.
    pub fn due_before(&self, time_ns: u64) -> u64 {
        match self {
            Pace::Open { rate_per_s } => (time_ns as f64 * rate_per_s / 1e9).ceil() as u64,
            Pace::Closed { .. } => u64::MAX,
            Pace::Curve(curve) => curve.due_before(time_ns),
        }
    }
}

/// Retransmissions of a REQUEST before the client gives up: 4 + 8 + 16 + 32 = 60 s (RFC 2131 3.1, step 5).
pub const MAX_REQUEST_RETRANSMISSIONS: u8 = 4;

/// Randomised exponential back-off of RFC 2131 4.1: 4, 8, 16, 32, then 64 s, each give or take a second.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    scale: f64,
}

impl Backoff {
    /// The smallest and largest scale.
    pub const SCALES: std::ops::RangeInclusive<f64> = 0.001..=10.0;

    /// All times multiplied by `scale`, which is brought into [`Backoff::SCALES`]; 1 is the RFC's.
    pub fn new(scale: f64) -> Self {
        Self { scale: scale.clamp(*Self::SCALES.start(), *Self::SCALES.end()) }
    }

    /// The factor.
    pub fn scale(self) -> f64 {
        self.scale
    }

    /// A tick of the timer wheel that fits: a thousandth of the RFC's second.
    pub fn tick_ns(self) -> u64 {
        ((1e6 * self.scale) as u64).max(10_000)
    }

    /// How long to wait for an answer to transmission number `attempt` (the first is 0).
    #[inline]
    pub fn delay_ns(self, names: &Identities, index: u32, round: u32, attempt: u8) -> u64 {
        let seconds = 4u64 << attempt.min(4);
        // -1 s to +1 s, uniform, as the RFC has it.
        let jitter = f64::from(names.chance(index, round, attempt)) / f64::from(u32::MAX) * 2.0 - 1.0;
        ((seconds as f64 + jitter) * 1e9 * self.scale) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_64_seconds_with_a_second_of_jitter() {
        let names = Identities::new(1, 1000);
        let backoff = Backoff::new(1.0);
        for (attempt, seconds) in [(0u8, 4.0), (1, 8.0), (2, 16.0), (3, 32.0), (4, 64.0), (5, 64.0), (200, 64.0)] {
            let waits: Vec<f64> = (0..1000).map(|i| backoff.delay_ns(&names, i, 0, attempt) as f64 / 1e9).collect();
            assert!(waits.iter().all(|w| (w - seconds).abs() <= 1.0), "attempt {attempt}");
            let mean = waits.iter().sum::<f64>() / 1000.0;
            assert!((mean - seconds).abs() < 0.1, "attempt {attempt}: mean {mean}");
            assert!(waits.iter().any(|w| (w - seconds).abs() > 0.8), "jitter uses its range");
        }
    }

    #[test]
    fn the_wheel_reaches_beyond_the_longest_wait_at_any_scale() {
        for scale in [0.001, 0.01, 0.5, 1.0, 10.0] {
            let backoff = Backoff::new(scale);
            let horizon = crate::wheel::Wheel::new(1, backoff.tick_ns()).horizon_ns();
            assert!(horizon as f64 >= 65e9 * scale, "scale {scale}");
        }
    }

    #[test]
    fn an_open_loop_spreads_its_starts_evenly() {
        let pace = Pace::Open { rate_per_s: 1000.0 };
        assert_eq!((pace.due_ns(0), pace.due_ns(1), pace.due_ns(1000)), (0, 1_000_000, 1_000_000_000));
        assert_eq!(pace.due_before(1_000_000_000), 1000);
    }

    #[test]
    fn a_curve_brings_its_clients_when_it_says() {
        let points = vec![(0.0, 0.0), (0.2, 0.0), (0.2, 0.5), (0.6, 0.5), (1.0, 1.0)];
        let pace = Pace::Curve(Curve { points, clients: 100, over_ns: 1_000_000_000 });
        // Half of them at 0.2 s, none before; the others from 0.6 s on.
        assert_eq!((pace.due_ns(0), pace.due_ns(49)), (200_000_000, 200_000_000));
        assert!((600_000_000..=610_000_000).contains(&pace.due_ns(50)), "{}", pace.due_ns(50));
        assert!((980_000_000..=1_000_000_000).contains(&pace.due_ns(99)));
        assert_eq!((pace.due_before(100_000_000), pace.due_before(300_000_000)), (0, 50));
        assert_eq!((pace.due_before(800_000_000), pace.due_before(2_000_000_000)), (75, 100));
        assert!((0..99).all(|n| pace.due_ns(n) <= pace.due_ns(n + 1)));
    }
}
