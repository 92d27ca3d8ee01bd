//! One server's turn.

use std::{fs, time::Duration};

use anyhow::{Context, Result};

use super::{
    load::Generator,
    result::{AtHalf, Outcome, Witness},
    subject::Subject,
};
use crate::lab::{End, Lab, Process};

/// What a server that cannot sync quickly can do in a load of some seconds is too little to tell: it is given longer.
const FEW_PER_S: f64 = 200.0;

/// Starts a server, finds what it can do, and ends it.
///
/// # Errors
/// It does not start, does not answer, or the generator fails; or it is time to stop.
pub fn measure(
    lab: &Lab,
    end: End<'_>,
    generator: &Generator<'_>,
    subject: Subject,
    round: u32,
    known: Option<f64>,
) -> Result<Outcome> {
    let mut server = subject.start(lab, end, round)?;
    generator.wait_for_answer(subject, &mut server)?;
    let found = turn(generator, subject, &mut server, known).with_context(|| server.last_words());
    // dhcpd and dnsmasq have nothing to say for themselves; all end at SIGTERM.
    let ended = server.terminate(Duration::from_secs(20));
    let found = found?;
    ended.context("at its end")?;
    Ok(found)
}

fn turn(generator: &Generator<'_>, subject: Subject, server: &mut Process, known: Option<f64>) -> Result<Outcome> {
    let load_s = generator.load_s();
    let searched = generator.capacity(subject, known)?;
    server.expect_running()?;
    // Whole numbers, because perfdhcp takes no others, and both are to be asked for the same.
    let capacity = searched.capacity_per_s.map(|capacity| capacity.floor().max(1.0));
    let half_of = |capacity: f64| (capacity / 2.0).round().max(1.0);
    let at_half = capacity.map(|capacity| half(generator, subject, server, half_of(capacity))).transpose()?;
    let witnesses = match (capacity, &at_half) {
        (Some(capacity), Some((half, _))) if subject != Subject::Reflector => vec![
            witness(generator, half.rate_per_s, half.done_per_s, load_s)?,
            // That is what makes it the capacity: all but a thousandth of it was completed.
            witness(generator, capacity, capacity, load_s)?,
        ],
        _ => Vec::new(),
    };
    let (at_half, cpu_s_per_million) = at_half.unzip();
    Ok(Outcome {
        capacity_per_s: searched.capacity_per_s,
        confirmed: searched.confirmed,
        limited_by: searched.limited_by,
        trials: searched.trials,
        at_half,
        cpu_s_per_million,
        memory_bytes: peak_memory(server)?,
        witnesses,
    })
}

/// A load takes longer where little happens in a second.
fn length_s(rate: f64, load_s: f64) -> f64 {
    if rate < FEW_PER_S { load_s * 2.0 } else { load_s }
}

/// Latency and processor time at a rate that is no trouble.
fn half(generator: &Generator<'_>, subject: Subject, server: &Process, rate: f64) -> Result<(AtHalf, f64)> {
    let before = cpu_ns(server)?;
    let loaded = generator.open(subject, rate, length_s(rate, generator.load_s()))?;
    let cpu_s = cpu_ns(server)?.saturating_sub(before) as f64 / 1e9;
    let slowest = loaded.latency.iter().map(|(_, latency)| latency.p99).fold(0.0, f64::max);
    println!("        {rate:9.0}/s: p99 {slowest:.0} us, {:.2} s of processor time", cpu_s);
    let at_half = AtHalf {
        rate_per_s: rate,
        done_per_s: loaded.done_per_s,
        loss: loaded.loss(),
        violations: loaded.violations,
        latency_us: loaded.latency.into_iter().collect(),
    };
    Ok((at_half, cpu_s * 1e6 / loaded.done.max(1) as f64))
}

/// The second witness, beside what dhcp-storm saw at the same rate.
fn witness(generator: &Generator<'_>, rate: f64, storm_per_s: f64, load_s: f64) -> Result<Witness> {
    let seen = generator.witness(rate, length_s(rate, load_s))?;
    println!("        {rate:9.0}/s: perfdhcp sent {:.0}/s and completed {:.0}/s", seen.sent_per_s, seen.done_per_s);
    Ok(Witness {
        offered_per_s: rate,
        storm_per_s,
        sent_per_s: seen.sent_per_s,
        done_per_s: seen.done_per_s,
        mean_us: seen.mean_us,
        own_losses: seen.own_losses,
    })
}

/// Most memory that a process ever had (`VmHWM` of proc_pid_status(5)), in bytes.
fn peak_memory(process: &Process) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).context("cannot read its memory")?;
    parse_peak_memory(&status).context("no VmHWM in /proc/PID/status")
}

fn parse_peak_memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Time that the threads of a process have run, in nanoseconds (`schedstat`, Documentation/scheduler/sched-stats.rst): a
/// clock tick of /proc/PID/stat would be a whole exchange of a slow server.
fn cpu_ns(process: &Process) -> Result<u64> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.pid())).context("cannot read its threads")?;
    let of_task = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    let times: Vec<u64> = tasks.flatten().filter_map(of_task).collect();
    times.iter().copied().reduce(|a, b| a + b).context("the kernel does not say how long its threads ran")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_memory_is_in_bytes() {
        assert_eq!(parse_peak_memory("Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t  2048 kB\n"), Some(2_097_152));
        assert_eq!(parse_peak_memory("Name:\tx\n"), None);
    }

    #[test]
    fn little_a_second_is_looked_at_for_longer() {
        assert_eq!((length_s(40.0, 2.0), length_s(20_000.0, 2.0)), (4.0, 2.0));
    }
}
