//! `dhcp-xdp load --interface IF`

use std::time::{Duration, Instant};

use clap::Args;
use dhcp_xdp::{
    config::XdpMode,
    xsk::{Device, OBJECT, Program, ProgramConfig},
};
use dhcp_xdp_ebpf::{Role, Verdict};

use super::{
    failure::{Done, Failure},
    output::Output,
    signals::Stop,
};

/// Load and attach the XDP program alone, show its counters every second, take it off at Ctrl-C
///
/// No socket is open, so every frame goes on to the kernel: this is safe on an interface that is in use.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dhcp-xdp load --interface eth1")]
pub(super) struct Load {
    /// The interface
    #[arg(long, value_name = "IF")]
    interface: String,
    /// How to attach: in the driver (native), in the kernel's generic path, or the first that works
    #[arg(long, value_name = "auto|native|generic", default_value = XdpMode::Auto.name())]
    mode: XdpMode,
}

impl Load {
    pub fn run(self) -> Done {
        let stop = Stop::listen()?;
        let device = Device::find(&self.interface).map_err(Failure::of)?;
        let config = ProgramConfig { workers: 1, role: Role::Server, filter_destination: false };
        let mut program = Program::attach(OBJECT, &device, self.mode, config).map_err(Failure::of)?;
        let mut out = Output::new();
        out.line(format!("{}: attached ({}); Ctrl-C takes it off", device.name, program.mode().name()))?;
        let shown = show_counters(&program, &stop, &mut out);
        program.detach();
        shown?;
        out.line(format!("{}: taken off", device.name))?;
        out.flush()
    }
}

fn show_counters(program: &Program, stop: &Stop, out: &mut Output) -> Done {
    let started = Instant::now();
    let mut before = [0; Verdict::COUNT as usize];
    loop {
        let counts = program.verdicts().map_err(Failure::of)?;
        out.line(counters_line(started.elapsed(), &counts, &before))?;
        out.flush()?;
        before = counts;
        if stop.wait(Duration::from_secs(1)).is_some() {
            return Ok(());
        }
    }
}

/// All verdicts that ever were, each with how many came since the line before.
fn counters_line(since: Duration, counts: &[u64], before: &[u64]) -> String {
    let seen: u64 = counts.iter().sum();
    let mut line = format!("{:>6} s  seen {seen}", since.as_secs());
    for ((verdict, count), before) in Verdict::ALL.iter().zip(counts).zip(before).filter(|((_, count), _)| **count > 0)
    {
        line.push_str(&format!("  {} {count} (+{})", verdict.name(), count.saturating_sub(*before)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_verdicts_that_were() {
        let (mut counts, mut before) = ([0; Verdict::COUNT as usize], [0; Verdict::COUNT as usize]);
        assert_eq!(counters_line(Duration::from_secs(1), &counts, &before), "     1 s  seen 0");
        counts[Verdict::PassNotUdp as usize] = 5;
        before[Verdict::PassNotUdp as usize] = 3;
        assert_eq!(counters_line(Duration::from_secs(2), &counts, &before), "     2 s  seen 5  pass_not_udp 5 (+2)");
    }
}
