//! The time that leases are kept in, and how it goes on over a restart.
//!
//! While the server runs, time is what passed since its start (`CLOCK_BOOTTIME`, sleep of the machine included): a wall clock
//! that is set meanwhile moves no lease. Over a restart it goes on from the last [`Moment`] that the journal kept:
//!
//! - in the same boot of the machine, by what passed since (`CLOCK_BOOTTIME` again): exact, whatever became of the wall clock;
//! - after a reboot, by how far the wall clock went on since *its own* reading of that moment. So a clock that was wrong while
//!   the server ran and is right at both ends does no harm, nor does one that was wrong at the start and put right before
//!   the last moment. One that went back counts as no time passed: leases last longer by the time that the machine was
//!   down, and none ends early. The same where the wall clock was behind the leases' time already, for then its next
//!   step forward may be a repair.
//!
//! What cannot be told from time that really passed: a wall clock that is ahead at the first start after a reboot, or that was
//! never right before the reboot in a journal's very first run. Such leases end early. Let the time be right before the
//! server starts (`time-sync.target`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// The wall clock may be this much behind the leases' time and still be trusted: rounding, and slewing.
const TOLERANCE_S: u32 = 5;

/// What the clocks said at one moment; the journal keeps one with each group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The leases' time, seconds since 1970-01-01 UTC; 0 is not known.
    pub lease_s: u32,
    /// Milliseconds beyond it: what is cut off here would be lost at each restart.
    pub lease_ms: u16,
    /// The wall clock, seconds since 1970-01-01 UTC.
    pub wall_s: u32,
    /// Milliseconds beyond it.
    pub wall_ms: u16,
    /// `CLOCK_BOOTTIME`, milliseconds.
    pub boot_ms: u64,
    /// Which boot of the machine it was (`/proc/sys/kernel/random/boot_id`); 0 is not known.
    pub boot_id: u128,
}

/// How far a wall clock is from the leases' time, seconds.
impl Moment {
    /// How far the wall clock is ahead of the leases' time, seconds; negative: behind.
    pub fn wall_ahead_s(&self) -> i64 {
        i64::from(self.wall_s) - i64::from(self.lease_s)
    }
}

/// Seconds since 1970-01-01 UTC that only ever go forward, also over restarts.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    lease_at_start: Duration,
    boot_at_start: Duration,
    boot_id: u128,
}

impl Clock {
    /// Starts from the wall clock as it is now.
    pub fn start() -> Self {
        Self::resume(None)
    }

    /// Goes on from the last moment that the journal kept.
    pub fn resume(last: Option<Moment>) -> Self {
        Self::resume_at(last, wall(), since_boot(), boot_id())
    }

    pub(crate) fn resume_at(last: Option<Moment>, wall: Duration, boot: Duration, boot_id: u128) -> Self {
        let lease_at_start = match last.filter(|last| last.lease_s > 0) {
            None => wall,
            Some(last) => whole(last.lease_s, last.lease_ms) + passed_since(&last, wall, boot, boot_id),
        };
        Self { lease_at_start, boot_at_start: boot, boot_id }
    }

    /// The present time, seconds since 1970-01-01 UTC. No system call: the kernel's vDSO answers.
    pub fn now_s(&self) -> u32 {
        self.at(since_boot())
    }

    /// What all clocks say now.
    pub fn moment(&self) -> Moment {
        self.moment_at(wall(), since_boot())
    }

    pub(crate) fn moment_at(&self, wall: Duration, boot: Duration) -> Moment {
        Moment {
            lease_s: self.at(boot),
            lease_ms: self.time_at(boot).subsec_millis() as u16,
            wall_s: seconds(wall),
            wall_ms: wall.subsec_millis() as u16,
            boot_ms: u64::try_from(boot.as_millis()).unwrap_or(u64::MAX),
            boot_id: self.boot_id,
        }
    }

    /// How long ago it was started.
    pub fn elapsed(&self) -> Duration {
        since_boot().saturating_sub(self.boot_at_start)
    }

    pub(crate) fn at(&self, boot: Duration) -> u32 {
        seconds(self.time_at(boot))
    }

    fn time_at(&self, boot: Duration) -> Duration {
        self.lease_at_start + boot.saturating_sub(self.boot_at_start)
    }
}

/// How much time passed since the last moment of a former run, as far as can be told: rather too little than too much.
fn passed_since(last: &Moment, wall: Duration, boot: Duration, boot_id: u128) -> Duration {
    let boot_then = Duration::from_millis(last.boot_ms);
    if boot_id != 0 && last.boot_id == boot_id && boot >= boot_then {
        return boot - boot_then;
    }
    if last.wall_ahead_s() < -i64::from(TOLERANCE_S) {
        return Duration::ZERO;
    }
    wall.saturating_sub(whole(last.wall_s, last.wall_ms))
}

fn whole(seconds: u32, millis: u16) -> Duration {
    Duration::from_secs(seconds.into()) + Duration::from_millis(millis.into())
}

/// Whole seconds; `u32::MAX`, in 2106, means never, and time stops one before it.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).min(u32::MAX - 1)
}

/// A wall clock before 1970 is a machine without one; it then counts from there.
fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

fn boot_id() -> u128 {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    u128::from_str_radix(&text.trim().replace('-', ""), 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3600;
    /// An hour at which the wall clock is right.
    const NOON: u64 = 1_800_000_000;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_starts_at_the_wall_clock() {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(u64::from(Clock::start().now_s()).abs_diff(wall) <= 1);
        assert_ne!(boot_id(), 0);
    }

    #[test]
    fn it_counts_from_there_and_never_reaches_never() {
        let clock = Clock::resume_at(None, secs(1000), secs(50), 1);
        assert_eq!(clock.at(secs(57)), 1007);
        assert_eq!(clock.at(secs(40)), 1000);
        assert_eq!(clock.at(secs(u64::from(u32::MAX) + 99)), u32::MAX - 1);
    }

    /// A first run that begins with `wall` at boot time 100 s, and its moment `run_s` later, when the wall clock says
    /// `wall_then`.
    fn moment_of_a_run(wall: u64, run_s: u64, wall_then: u64) -> Moment {
        let clock = Clock::resume_at(None, secs(wall), secs(100), 7);
        clock.moment_at(secs(wall_then), secs(100 + run_s))
    }

    #[test]
    fn in_the_same_boot_no_jump_of_the_wall_clock_counts() {
        let last = moment_of_a_run(NOON, 60, NOON + 60);
        for wall in [0, NOON - 9 * HOUR, NOON + 70, NOON + 9 * HOUR] {
            let clock = Clock::resume_at(Some(last), secs(wall), secs(170), 7);
            assert_eq!(u64::from(clock.at(secs(175))), NOON + 75, "wall clock {wall}");
        }
    }

    #[test]
    fn a_hundred_restarts_lose_no_second() {
        let at = |ms: u64| (Duration::from_millis(NOON * 1000 + ms), Duration::from_millis(100_000 + ms));
        let mut last = Clock::resume_at(None, at(0).0, at(0).1, 7).moment_at(at(0).0, at(0).1);
        for restart in 1..=100 {
            let (wall, boot) = at(restart * 1777);
            // Every other one after a reboot, by the wall clock alone.
            last = Clock::resume_at(Some(last), wall, boot, 7 + u128::from(restart / 2)).moment_at(wall, boot);
        }
        assert!(last.wall_ahead_s().abs() <= 1, "{last:?}");
    }

    #[test]
    fn after_a_reboot_the_wall_clock_tells_how_long_it_took() {
        let last = moment_of_a_run(NOON, 60, NOON + 60);
        let clock = Clock::resume_at(Some(last), secs(NOON + 60 + 300), secs(20), 8);
        assert_eq!(u64::from(clock.at(secs(20))), NOON + 360);
    }

    #[test]
    fn a_clock_that_was_put_right_while_the_server_ran_ends_nothing_early_after_a_reboot() {
        // Ten hours behind at the start, right a minute later; five minutes down.
        let last = moment_of_a_run(NOON - 10 * HOUR, 60, NOON + 60);
        let clock = Clock::resume_at(Some(last), secs(NOON + 360), secs(20), 8);
        assert_eq!(u64::from(clock.at(secs(20))), NOON - 10 * HOUR + 360, "the same time as leases were given in");
        // Ten hours ahead at the start, right a minute later: the time down is not counted.
        let last = moment_of_a_run(NOON + 10 * HOUR, 60, NOON + 60);
        let clock = Clock::resume_at(Some(last), secs(NOON + 360), secs(20), 8);
        assert_eq!(u64::from(clock.at(secs(20))), NOON + 10 * HOUR + 60);
    }

    #[test]
    fn a_clock_that_lost_the_time_over_a_reboot_stands_still_and_its_repair_does_not_jump() {
        let first = moment_of_a_run(NOON, 60, NOON + 60);
        // The battery is empty: 1970. Time goes on from what the journal knows.
        let clock = Clock::resume_at(Some(first), secs(5), secs(20), 8);
        assert_eq!(u64::from(clock.at(secs(20))), NOON + 60);
        // Killed before the repair, and rebooted with the right time: what passed is not known, so nothing did.
        let second = clock.moment_at(secs(65), secs(80));
        let again = Clock::resume_at(Some(second), secs(NOON + 9 * HOUR), secs(20), 9);
        assert_eq!(u64::from(again.at(secs(20))), NOON + 120);
    }

    proptest! {
        /// Any number of runs and reboots with a wall clock that is wrong by hours either way, as long as it is no further
        /// ahead at a start than it was at the last moment before: no time passes that did not pass.
        #[test]
        fn time_never_runs_ahead_of_what_really_passed(
            runs in proptest::collection::vec((any::<bool>(), 1..9_000u64, 0..9_000u64, 0..40_000u64, 0..40_000u64), 1..8),
        ) {
            let mut real = NOON;
            let mut boot = (1u128, real - 100);
            let mut error: i64 = 0;
            let mut last: Option<Moment> = None;
            let mut base = None;
            for (reboots, up_s, down_s, back, forward) in runs {
                real += down_s;
                if reboots {
                    boot = (boot.0 + 1, real - 10);
                    // It went back while the machine was down, and not forward.
                    error -= back as i64;
                }
                let wall = |real: u64, error: i64| secs(real.saturating_add_signed(error));
                let clock = Clock::resume_at(last, wall(real, error), secs(real - boot.1), boot.0);
                let now = i64::from(clock.at(secs(real - boot.1)));
                let base = *base.get_or_insert(now - real as i64);
                prop_assert!(now - real as i64 <= base + 1, "ran ahead by {}", now - real as i64 - base);
                prop_assert!(last.is_none_or(|last| now >= i64::from(last.lease_s)), "ran back");
                real += up_s;
                // Set while it ran, either way.
                error += forward as i64 - 20_000;
                last = Some(clock.moment_at(wall(real, error), secs(real - boot.1)));
            }
        }
    }
}
