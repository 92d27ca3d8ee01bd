//! ISC's `perfdhcp` (Debian: kea-admin) as load, and its report.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Namespace;
use crate::command;

/// One exchange of a report: `DISCOVER-OFFER` or `REQUEST-ACK`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exchange {
    /// Requests sent.
    pub sent: u64,
    /// Replies received.
    pub received: u64,
    /// Requests without a reply.
    pub drops: u64,
    /// The same, in percent of those sent.
    pub drops_percent: f64,
    /// Replies to no request of its own.
    pub orphans: u64,
    /// Addresses that came twice: must be 0.
    pub non_unique_addresses: u64,
    /// Mean time from request to reply, in milliseconds.
    pub mean_delay_ms: f64,
    /// Longest time from request to reply, in milliseconds.
    pub max_delay_ms: f64,
}

/// What perfdhcp printed at its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Exchanges a second that it reached.
    pub rate_per_s: f64,
    /// DISCOVER and OFFER.
    pub discover_offer: Exchange,
    /// REQUEST and ACK.
    pub request_ack: Exchange,
    /// All that it printed.
    pub text: String,
}

/// Runs `perfdhcp -4` with these words in a namespace. It takes the relay agent's part, so that its interface needs an address.
///
/// # Errors
/// It is not installed, was used wrongly, or printed no report. Losses are no error: exit status 3 means them (perfdhcp(8)).
pub fn run(namespace: &Namespace, words: &[&str], limit: Duration) -> Result<Report> {
    let program = command::find("perfdhcp").context("`perfdhcp` is not installed: run `cargo xtask setup`")?;
    let mut perfdhcp = namespace.command("timeout")?;
    perfdhcp.args(["--signal=KILL", &limit.as_secs().to_string()]).arg(program).arg("-4").args(words);
    let output = command::finish(&mut perfdhcp)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.code() {
        Some(0 | 3) => parse(&text).with_context(|| text.clone()),
        _ => bail!("perfdhcp ended with {}: {text}{}", output.status, String::from_utf8_lossy(&output.stderr)),
    }
}

/// Reads a report.
///
/// # Errors
/// A figure is missing.
pub fn parse(text: &str) -> Result<Report> {
    let rate = value(text, "Rate:")?;
    let section = |title: &str| {
        let start = text.find(&format!("***Statistics for: {title}***"));
        let rest = &text[start.with_context(|| format!("no statistics for {title}"))?..];
        let end = rest[3..].find("***Statistics for").map_or(rest.len(), |end| end + 3);
        exchange(&rest[..end])
    };
    Ok(Report {
        rate_per_s: rate,
        discover_offer: section("DISCOVER-OFFER")?,
        request_ack: section("REQUEST-ACK")?,
        text: text.to_owned(),
    })
}

fn exchange(section: &str) -> Result<Exchange> {
    let count = |label: &str| value(section, label).map(|value| value as u64);
    Ok(Exchange {
        sent: count("sent packets:")?,
        received: count("received packets:")?,
        drops: count("drops:")?,
        drops_percent: value(section, "drops ratio:")?,
        orphans: count("orphans:")?,
        non_unique_addresses: count("non unique addresses:")?,
        mean_delay_ms: value(section, "avg delay:").unwrap_or(0.0),
        max_delay_ms: value(section, "max delay:").unwrap_or(0.0),
    })
}

/// The number after a label at the start of a line.
fn value(text: &str, label: &str) -> Result<f64> {
    let rest = text.lines().find_map(|line| line.trim_start().strip_prefix(label));
    let word = rest.and_then(|rest| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).with_context(|| format!("no figure for \"{label}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
Running: perfdhcp -4 -l veth0 -r 100 -p 1
Scenario: basic.
***Rate statistics***
Rate: 99.5 4-way exchanges/second, expected rate: 100

***Statistics for: DISCOVER-OFFER***
sent packets: 100
received packets: 99
drops: 1
drops ratio: 1 %
orphans: 2
rejected leases: 0
non unique addresses: 3

min delay: 0.05 ms
avg delay: 0.11 ms
max delay: 1.25 ms
std deviation: 0.2 ms
collected packets: 0

***Statistics for: REQUEST-ACK***
sent packets: 99
received packets: 99
drops: 0
drops ratio: 0 %
orphans: 0
rejected leases: 0
non unique addresses: 0

min delay: inf ms
avg delay: min delay: n/a
max delay: n/a
";

    #[test]
    fn a_report_is_read_section_by_section() {
        let report = parse(REPORT).unwrap();
        assert_eq!(report.rate_per_s, 99.5);
        assert_eq!(
            report.discover_offer,
            Exchange {
                sent: 100,
                received: 99,
                drops: 1,
                drops_percent: 1.0,
                orphans: 2,
                non_unique_addresses: 3,
                mean_delay_ms: 0.11,
                max_delay_ms: 1.25,
            }
        );
        assert_eq!(report.request_ack.sent, 99);
        assert_eq!(report.request_ack.drops, 0);
    }

    #[test]
    fn a_report_without_a_section_is_an_error() {
        let cut = REPORT.split("***Statistics for: REQUEST-ACK***").next().unwrap();
        assert!(parse(cut).is_err());
        assert!(parse("").is_err());
    }
}
