//! The time that leases are kept in.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

/// Seconds since 1970-01-01 UTC that only ever go forward: the wall clock when it was made, and from then on the time that
/// passed, sleep of the machine included (`CLOCK_BOOTTIME`). A wall clock that is set later ends no lease early.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall_at_start: Duration,
    boot_at_start: Duration,
}

impl Clock {
    /// Starts from the wall clock as it is now.
    pub fn start() -> Self {
        // A wall clock before 1970 is a machine without one; it then counts from there.
        let wall_at_start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { wall_at_start, boot_at_start: since_boot() }
    }

    /// The present time, seconds since 1970-01-01 UTC. No system call: the kernel's vDSO answers.
    pub fn now_s(&self) -> u32 {
        self.at(since_boot())
    }

    /// How long ago it was started.
    pub fn elapsed(&self) -> Duration {
        since_boot().saturating_sub(self.boot_at_start)
    }

    fn at(&self, boot: Duration) -> u32 {
        let now = self.wall_at_start + boot.saturating_sub(self.boot_at_start);
        // u32::MAX, in 2106, means never; time stops one before it.
        u32::try_from(now.as_secs()).unwrap_or(u32::MAX).min(u32::MAX - 1)
    }
}

fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_at_the_wall_clock() {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(u64::from(Clock::start().now_s()).abs_diff(wall) <= 1);
    }

    #[test]
    fn it_counts_from_there_and_never_reaches_never() {
        let clock = Clock { wall_at_start: Duration::from_secs(1000), boot_at_start: Duration::from_secs(50) };
        assert_eq!(clock.at(Duration::from_secs(57)), 1007);
        assert_eq!(clock.at(Duration::from_secs(40)), 1000);
        assert_eq!(clock.at(Duration::from_secs(u64::from(u32::MAX) + 99)), u32::MAX - 1);
    }
}
