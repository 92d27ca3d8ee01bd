//! What all requestors together may take of the server's time.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Slots that are looked at for what one binding that is told costs.
const SLOTS_A_BINDING: u32 = 64;

/// What may be made up for: a wait ends at the timer's next tick, and work takes its time.
const BURST: Duration = Duration::from_millis(20);

/// A token bucket: work is paid for after it is done, in small steps, and whoever did it waits until its turn is paid.
#[derive(Debug)]
pub(super) struct Throttle {
    /// What a binding costs.
    binding: Duration,
    /// All work until then is paid for.
    paid: Mutex<Option<Instant>>,
}

impl Throttle {
    /// So many bindings a second; `None`: as fast as it goes.
    pub fn new(bindings_per_s: Option<u32>) -> Self {
        let binding = bindings_per_s.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.max(1));
        Self { binding, paid: Mutex::new(None) }
    }

    /// Work was done: until when the one who did it waits.
    pub fn pay(&self, bindings: u32, slots: u32, now: Instant) -> Instant {
        let cost = self.binding * bindings + self.binding * slots / SLOTS_A_BINDING;
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let until = paid.map_or(now, |paid| paid.max(earliest)) + cost;
        *paid = Some(until);
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_requestors_share_one_rate() {
        let (throttle, start) = (Throttle::new(Some(1000)), Instant::now());
        let mut until = [start; 10];
        for _ in 0..5 {
            for one in &mut until {
                *one = throttle.pay(100, 0, *one);
            }
        }
        let took = *until.iter().max().unwrap() - start;
        assert!(
            took <= Duration::from_secs(5) && took >= Duration::from_secs(5) - BURST,
            "5000 at 1000 a second: {took:?}"
        );
    }

    #[test]
    fn to_look_at_slots_costs_too_and_an_idle_time_is_not_saved_up() {
        let (throttle, start) = (Throttle::new(Some(1000)), Instant::now());
        assert_eq!(throttle.pay(0, 64_000, start) - start, Duration::from_secs(1));
        let later = start + Duration::from_secs(60);
        assert_eq!(throttle.pay(1000, 0, later) - later, Duration::from_secs(1) - BURST);
        assert_eq!(Throttle::new(None).pay(1_000_000, 1_000_000, later), later, "without a rate nobody waits");
    }

    #[test]
    fn waits_that_are_too_long_are_made_up_for() {
        let (throttle, start) = (Throttle::new(Some(40_000)), Instant::now());
        let (mut now, mut told) = (start, 0);
        while now < start + Duration::from_secs(10) {
            told += 100;
            // A tick late, and half a millisecond of work.
            now = now.max(throttle.pay(100, 0, now)) + Duration::from_micros(1500);
        }
        assert!((395_000..=405_000).contains(&told), "{told} in 10 s");
    }
}
