//! The highest rate that a server answers: a search over loads, of which each says yes or no.

use anyhow::Result;

/// Share of the exchanges that may stay without their answer.
pub const MAX_LOSS: f64 = 0.001;
/// The search ends when the rates that were answered and not are this close.
const CLOSE: f64 = 1.04;
/// The least rate that is tried, a second.
const LEAST: f64 = 2.0;

/// How to search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Where to begin.
    pub first: f64,
    /// Factor from one rate to the next while nothing bounds them from above.
    pub step: f64,
    /// Most loads.
    pub loads: usize,
}

impl Search {
    /// The highest rate of which `answers` said yes; none where it never did.
    ///
    /// # Errors
    /// Those of `answers`.
    pub fn run(self, mut answers: impl FnMut(f64) -> Result<bool>) -> Result<Option<f64>> {
        let (mut yes, mut no): (Option<f64>, Option<f64>) = (None, None);
        let mut rate = self.first.max(LEAST);
        for _ in 0..self.loads {
            if answers(rate)? {
                yes = Some(rate);
            } else {
                no = Some(rate);
            }
            rate = match (yes, no) {
                (Some(yes), Some(no)) if no / yes < CLOSE => break,
                (Some(yes), Some(no)) => (yes * no).sqrt(),
                (Some(yes), None) => yes * self.step,
                (None, Some(no)) if no <= LEAST => break,
                // Fewer tries from above than from below: an overloaded server needs a while to recover.
                (None, Some(no)) => (no / self.step.powi(2)).max(LEAST),
                (None, None) => rate,
            };
        }
        Ok(yes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(first: f64, capacity: f64, loads: usize) -> (Option<f64>, usize) {
        let mut tried = 0;
        let found = Search { first, step: 1.4, loads }.run(|rate| {
            tried += 1;
            Ok(rate <= capacity)
        });
        (found.unwrap(), tried)
    }

    #[test]
    fn the_capacity_is_found_from_above_and_from_below() {
        for first in [100.0, 5_000.0, 10_000.0, 12_000.0, 100_000.0] {
            let (found, tried) = find(first, 10_000.0, 30);
            let found = found.unwrap();
            assert!((9_600.0..=10_000.0).contains(&found), "from {first}: {found}");
            assert!(tried < 25, "from {first}: {tried} loads");
        }
        let (found, tried) = find(9_000.0, 10_000.0, 30);
        assert!(found.is_some() && tried <= 6, "{tried} loads");
    }

    #[test]
    fn a_search_is_bounded_and_a_server_that_answers_nothing_has_no_capacity() {
        assert_eq!(find(1000.0, 1e12, 5).1, 5);
        let (found, tried) = find(1000.0, 0.0, 50);
        assert_eq!(found, None);
        assert!(tried < 15, "{tried}");
    }

    #[test]
    fn what_goes_wrong_ends_the_search() {
        let search = Search { first: 10.0, step: 1.4, loads: 5 };
        assert!(search.run(|_| anyhow::bail!("no")).is_err());
    }
}
