//! The command line.

use std::{net::Ipv4Addr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    engine::Plan,
    identity::MAX_CLIENTS,
    scenario::Scenario,
    schedule::{Backoff, Pace},
    template::{Look, Relay, Templates},
    verdict::Pool,
};

/// Packet generator and load tester for DHCPv4 servers, on AF_XDP.
#[derive(Debug, Parser)]
#[command(name = "dhcp-storm", version, subcommand_required = true, arg_required_else_help = true, after_help = HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sends a load of clients to a server and judges its replies
    #[command(after_help = RUN_HELP)]
    Run(Box<RunArgs>),
    /// Sends every DHCP request that comes in straight back: the limit against which a server is held
    #[command(after_help = REFLECT_HELP)]
    Reflect(ReflectArgs),
}

const HELP: &str = "\
Examples:
  dhcp-storm run --interface eth1 --rate max --duration 5
  dhcp-storm reflect --interface eth1";

const RUN_HELP: &str = "\
Examples:
  20,000 new clients a second for ten seconds, good if at most 1 % of their messages are lost; results also as JSON:
    dhcp-storm run --interface eth1 --clients 200000 --rate 20000 --duration 10 --max-loss 1 --json storm.json
  As fast as the server goes, 512 exchanges at a time:
    dhcp-storm run --interface eth1 --rate max --window 512 --duration 5
  A city comes back: each client once, until all are bound, or five minutes are over:
    dhcp-storm run --interface eth1 --clients 1000000 --rate max --once --duration 300
  Through a relay agent that the generator plays:
    dhcp-storm run --interface eth1 --relay 10.9.0.1 --server 10.0.0.1 --circuit-id 'olt-1/{index}'

Exit code: 0 good, 1 a reply was wrong, more was lost than --max-loss allows, no reply came at all or the run failed, 2 wrong
usage.";

const REFLECT_HELP: &str = "\
Example:
  dhcp-storm reflect --interface eth1 --workers 2

Frames come back with MAC addresses, IP addresses and ports swapped, and as BOOTREPLY, so that a generator on the other end
takes them in: `dhcp-storm run --scenario echo` measures round trips. Ctrl-C ends it.";

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Interface to send and receive on
    #[arg(short, long, value_name = "IF")]
    pub interface: String,
    /// What clients do
    #[arg(long, value_enum, default_value = "dora")]
    pub scenario: Scenario,
    /// Simulated clients, at most 10 million; each takes at most 80 bytes of memory
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CLIENTS)))]
    pub clients: u32,
    /// Exchanges begun a second, whether or not the server keeps up (20000, 20k); or max: as many as the window lets through
    #[arg(long, value_name = "R|max", default_value = "max", value_parser = rate)]
    pub rate: Rate,
    /// Exchanges at a time with --rate max [default: 256]
    #[arg(long, value_name = "W", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub window: Option<u32>,
    /// How long exchanges are begun, in seconds
    #[arg(long, value_name = "S", default_value = "10", value_parser = seconds)]
    pub duration: Duration,
    /// How long the last replies are awaited after that, at most, in seconds
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    pub drain: Duration,
    /// Each client takes part once; the run ends when all are done. Otherwise a client that is done begins again in its turn
    #[arg(long)]
    pub once: bool,
    /// Chooses MAC addresses, transaction identifiers and jitter: the same seed sends the same
    #[arg(long, value_name = "X", default_value_t = 1)]
    pub seed: u64,
    /// Factor on the retransmission times of RFC 2131 4.1 (4, 8, 16, 32, 64 s), for short runs: 0.001 to 10
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = scale)]
    pub backoff_scale: f64,
    /// Leave the broadcast flag clear, so that replies come to the client's MAC address: for a veth or a promiscuous interface
    #[arg(long)]
    pub unicast_replies: bool,
    /// Send a client identifier (option 61) and expect it back (RFC 6842)
    #[arg(long)]
    pub client_id: bool,
    /// Play a relay agent with this address: hops 1, option 82, unicast to --server
    #[arg(long, value_name = "GIADDR", requires = "server")]
    pub relay: Option<Ipv4Addr>,
    /// The server's address, for --relay
    #[arg(long, value_name = "IP", requires = "relay")]
    pub server: Option<Ipv4Addr>,
    /// The server's (or its router's) MAC address, for --relay; otherwise frames go to the Ethernet broadcast address
    #[arg(long, value_name = "MAC", requires = "relay", value_parser = mac)]
    pub server_mac: Option<[u8; 6]>,
    /// Agent circuit identifier for --relay; {index} stands for the client's number. Empty: no option 82
    #[arg(long, value_name = "PATTERN", requires = "relay", default_value = "dhcp-storm/{index}")]
    pub circuit_id: String,
    /// Addresses outside this pool are violations: FIRST-LAST or CIDR
    #[arg(long, value_name = "POOL", value_parser = pool)]
    pub expect_pool: Option<Pool>,
    /// Exit with 1 when more than so many percent of the messages are lost
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub max_loss: Option<f64>,
    /// Write the results as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write every ACK that comes in to this file, a line of JSON each: mac, address, lease_time_s, at_s
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// Keep the generator on this processor
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,
    /// Attach the XDP program in generic mode: slower, for drivers without XDP
    #[arg(long)]
    pub generic: bool,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// Arguments of `reflect`.
#[derive(Debug, Args)]
pub struct ReflectArgs {
    /// Interface to reflect on
    #[arg(short, long, value_name = "IF")]
    pub interface: String,
    /// Sockets and threads on each receive queue
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// Attach the XDP program in generic mode: slower, for drivers without XDP
    #[arg(long)]
    pub generic: bool,
    /// Spin instead of sleeping
    #[arg(long)]
    pub busy_poll: bool,
}

/// `--rate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// So many a second.
    PerSecond(f64),
    /// As many as go.
    Max,
}

/// Exchanges at a time when `--window` says nothing.
const DEFAULT_WINDOW: u32 = 256;

impl RunArgs {
    /// The plan that these arguments ask for, with the interface's own MAC address where it is needed.
    ///
    /// # Errors
    /// What does not fit together, in one line: wrong usage.
    pub fn plan(&self, interface_mac: [u8; 6]) -> Result<Plan, String> {
        let pace = match (self.rate, self.window) {
            (Rate::PerSecond(_), Some(_)) => return Err("--window is for --rate max".into()),
            (Rate::PerSecond(rate_per_s), None) => Pace::Open { rate_per_s },
            (Rate::Max, window) => Pace::Closed { window: window.unwrap_or(DEFAULT_WINDOW) },
        };
        let relay = match (self.relay, self.server) {
            (Some(giaddr), Some(server)) => Some(Relay { giaddr, server, circuit_id: self.circuit_id.clone() }),
            _ => None,
        };
        let look = Look {
            destination_mac: self.server_mac.unwrap_or([0xff; 6]),
            source_mac: relay.is_some().then_some(interface_mac),
            broadcast: !self.unicast_replies && relay.is_none(),
            client_id: self.client_id,
            relay,
        };
        Templates::new(&look).map_err(|error| format!("--circuit-id: {error}"))?;
        Ok(Plan {
            scenario: self.scenario,
            clients: self.clients,
            pace,
            load: self.duration,
            drain: self.drain,
            once: self.once,
            backoff: Backoff::new(self.backoff_scale),
            look,
            pool: self.expect_pool,
            seed: self.seed,
        })
    }
}

fn rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    let (digits, factor) = match text.strip_suffix(['k', 'M']) {
        Some(digits) if text.ends_with('k') => (digits, 1e3),
        Some(digits) => (digits, 1e6),
        None => (text, 1.0),
    };
    match digits.parse::<f64>() {
        Ok(number) if number > 0.0 && number * factor <= 1e9 => Ok(Rate::PerSecond(number * factor)),
        _ => Err("a number of exchanges a second (20000, 20k) or max".into()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>();
    number.ok().filter(|number| (0.0..=100.0).contains(number)).ok_or_else(|| "a percentage from 0 to 100".into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text).parse::<f64>();
    match number {
        Ok(number) if (0.0..=86_400.0).contains(&number) => Ok(Duration::from_secs_f64(number)),
        _ => Err("a number of seconds, at most a day".into()),
    }
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if Backoff::SCALES.contains(&number) => Ok(number),
        _ => Err(format!("a factor from {} to {}", Backoff::SCALES.start(), Backoff::SCALES.end())),
    }
}

fn mac(text: &str) -> Result<[u8; 6], String> {
    let octets: Option<Vec<u8>> =
        text.split(':').map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2)).collect();
    octets.and_then(|octets| octets.try_into().ok()).ok_or_else(|| "six octets, as 02:00:5e:00:53:01".into())
}

fn pool(text: &str) -> Result<Pool, String> {
    const EXPECTED: &str = "10.0.0.10-10.0.0.99, or 10.0.0.0/24";
    let address = |text: &str| text.parse::<Ipv4Addr>().map(u32::from).map_err(|_| EXPECTED.to_owned());
    let (first, last) = match (text.split_once('-'), text.split_once('/')) {
        (Some((first, last)), _) => (address(first)?, address(last)?),
        (None, Some((network, length))) => {
            let length = length.parse::<u32>().ok().filter(|length| *length <= 32).ok_or(EXPECTED)?;
            let hosts = u32::MAX.checked_shr(length).unwrap_or(0);
            (address(network)? & !hosts, address(network)? | hosts)
        }
        (None, None) => (address(text)?, address(text)?),
    };
    if first <= last { Ok((first, last)) } else { Err("the first address is above the last".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(words: &str) -> Result<Plan, String> {
        let cli = Cli::try_parse_from(words.split_whitespace()).map_err(|e| e.to_string())?;
        match cli.command {
            Command::Run(args) => args.plan([2, 0, 0, 0, 0, 1]),
            Command::Reflect(_) => Err("not a run".into()),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_has_examples_that_the_command_line_takes() {
        let root = Cli::command();
        for command in root.get_subcommands().filter(|sub| sub.get_name() != "help").chain([&root]) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> = help.lines().map(str::trim).filter(|l| l.starts_with("dhcp-storm ")).collect();
            assert!(help.starts_with("Example") && !examples.is_empty(), "{}: {help}", command.get_name());
            for example in examples {
                let words = example.split_whitespace().map(|word| word.trim_matches('\''));
                let cli = Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{example}: {error}"));
                if let Command::Run(args) = cli.command {
                    args.plan([2; 6]).unwrap_or_else(|error| panic!("{example}: {error}"));
                    if let (Rate::PerSecond(rate), false) = (args.rate, args.once) {
                        let needed = rate * args.duration.as_secs_f64();
                        assert!(f64::from(args.clients) >= needed, "{example}: clients would run out or come again");
                    }
                }
            }
        }
    }

    #[test]
    fn the_usage_of_the_design_is_understood() {
        let plan = parse("dhcp-storm run --interface e --scenario dora --clients 5 --rate 20k --duration 2").unwrap();
        assert_eq!(plan.pace, Pace::Open { rate_per_s: 20_000.0 });
        assert_eq!((plan.clients, plan.load), (5, Duration::from_secs(2)));
        assert!(plan.look.broadcast);
        let plan = parse("dhcp-storm run --interface e --scenario discover-only --rate max --window 7").unwrap();
        assert_eq!((plan.pace, plan.scenario), (Pace::Closed { window: 7 }, Scenario::DiscoverOnly));
    }

    #[test]
    fn a_relay_sends_from_the_interface_and_unicast() {
        let plan =
            parse("dhcp-storm run -i e --relay 10.0.0.2 --server 10.0.0.1 --server-mac 02:00:00:00:00:09").unwrap();
        assert_eq!(plan.look.source_mac, Some([2, 0, 0, 0, 0, 1]));
        assert_eq!(plan.look.destination_mac, [2, 0, 0, 0, 0, 9]);
        assert!(!plan.look.broadcast);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for words in [
            "run",
            "run -i e --rate 0",
            "run -i e --rate -5",
            "run -i e --rate nan",
            "run -i e --rate 100 --window 5",
            "run -i e --clients 0",
            "run -i e --clients 10000001",
            "run -i e --duration inf",
            "run -i e --relay 10.0.0.2",
            "run -i e --server-mac 02:00:00:00:00:09",
            "run -i e --backoff-scale 0",
            "run -i e --max-loss 101",
            "run -i e --max-loss -1",
            "run -i e --max-loss nan",
            "run -i e --expect-pool 10.0.0.9-10.0.0.1",
            "run -i e --expect-pool 10.0.0.0/33",
            "run -i e --relay 10.0.0.2 --server 10.0.0.1 --server-mac 1:2:3",
        ] {
            assert!(parse(&format!("dhcp-storm {words}")).is_err(), "{words}");
        }
    }

    #[test]
    fn a_pool_is_a_range_or_a_prefix() {
        assert_eq!(pool("10.0.0.0/30"), Ok((0x0a00_0000, 0x0a00_0003)));
        assert_eq!(pool("10.0.0.1-10.0.0.2"), Ok((0x0a00_0001, 0x0a00_0002)));
        assert_eq!(pool("0.0.0.0/0"), Ok((0, u32::MAX)));
        assert_eq!(pool("10.0.0.1/32"), Ok((0x0a00_0001, 0x0a00_0001)));
    }
}
