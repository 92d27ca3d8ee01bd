//! What was measured, said as it comes, and what is claimed of it.

use std::{process::ExitCode, time::Duration};

/// Claims and whether they hold.
#[derive(Default)]
pub struct Report {
    claims: Vec<(String, bool)>,
}

impl Report {
    /// A heading; what follows takes a while.
    pub fn part(&self, name: &str) {
        println!("\n{name}");
    }

    /// A figure.
    pub fn figure(&self, name: &str, value: impl std::fmt::Display) {
        println!("  {name:<66} {value}");
    }

    /// A claim: this value is at most that.
    pub fn at_most(&mut self, name: &str, value: f64, limit: f64, unit: &str) {
        let holds = value <= limit;
        let line = format!("{name}: {value:.2}{unit}, at most {limit}{unit}");
        println!("  {} {line}", if holds { "holds  " } else { "BROKEN " });
        self.claims.push((line, holds));
    }

    /// A claim that is true or not.
    pub fn is_so(&mut self, name: &str, holds: bool) {
        println!("  {} {name}", if holds { "holds  " } else { "BROKEN " });
        self.claims.push((name.to_owned(), holds));
    }

    /// All claims once more; a failing exit code when one does not hold.
    pub fn finish(self) -> ExitCode {
        println!("\nClaims");
        for (line, holds) in &self.claims {
            println!("  {} {line}", if *holds { "holds  " } else { "BROKEN " });
        }
        if self.claims.iter().all(|(_, holds)| *holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Nanoseconds for each of `n`.
pub fn ns_each(time: Duration, n: usize) -> f64 {
    time.as_nanos() as f64 / n.max(1) as f64
}

/// A figure in nanoseconds.
pub fn ns(value: f64) -> String {
    format!("{value:.1} ns")
}

/// Resident memory of this process, bytes.
pub fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// CPU time of this thread: what a step costs, however often the kernel runs something else meanwhile.
pub fn cpu_time() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map_or(Duration::ZERO, Duration::from)
}

/// A small generator (xorshift64*), the same numbers each time.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) * u64::from(end)) >> 32) as u32
    }
}
