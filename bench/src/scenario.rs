//! What the clients of a run do: a mix of exchanges, and what is around it, from a TOML file.
//!
//! The files of `bench/scenarios/` are in the program under their names; any other can be named by its path. What a file
//! says, flags override.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    path::Path,
};

use serde::Deserialize;

use crate::run::Failure;

/// Longest scenario file.
const MAX_FILE: u64 = 64 * 1024;

/// What is begun: most of these are a client's way through an exchange, the last three come from attackers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Exchange {
    /// DISCOVER, OFFER, REQUEST, ACK: a client that takes a lease.
    Dora,
    /// DISCOVER, OFFER: a client that only asks.
    Discover,
    /// REQUEST with `ciaddr`, unicast to the server, ACK (RENEWING).
    Renew,
    /// REQUEST with `ciaddr`, broadcast, ACK (REBINDING).
    Rebind,
    /// REQUEST of an address that the client remembers, ACK (INIT-REBOOT).
    InitReboot,
    /// RELEASE, which has no answer.
    Release,
    /// As `dora`, and then DECLINE: the client found its address in use.
    Decline,
    /// Bytes that are no DHCP message, or nearly one.
    Garbage,
    /// DORA with a MAC address that is never used again: the pool is to run dry.
    Starvation,
    /// RELEASE, DECLINE or REQUEST of a good client's address, from a foreign MAC address.
    Spoofing,
}

impl Exchange {
    /// How many there are.
    pub const COUNT: usize = 10;

    /// Whether the client must hold a lease.
    pub fn needs_lease(self) -> bool {
        matches!(self, Exchange::Renew | Exchange::Rebind | Exchange::InitReboot | Exchange::Release)
    }

    /// Whether it is begun by an attacker.
    pub fn is_hostile(self) -> bool {
        matches!(self, Exchange::Garbage | Exchange::Starvation | Exchange::Spoofing)
    }
}

/// Shares of exchanges.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    /// Exchanges, and the sum of shares up to and with each, out of 2^32.
    up_to: Vec<(Exchange, u64)>,
}

impl Mix {
    fn new(shares: &BTreeMap<Exchange, f64>) -> Result<Self, String> {
        let total: f64 = shares.values().sum();
        if shares.values().any(|share| !share.is_finite() || *share < 0.0) || total <= 0.0 {
            return Err("mix: shares are numbers from 0, and not all 0".into());
        }
        let mut sum = 0.0;
        let mut up_to = Vec::new();
        for (&exchange, &share) in shares.iter().filter(|(_, share)| **share > 0.0) {
            sum += share / total;
            up_to.push((exchange, (sum * 4_294_967_296.0) as u64));
        }
        if up_to.iter().all(|(exchange, _)| exchange.is_hostile()) {
            return Err("mix: attackers alone; give good clients a share, so that there is something to judge".into());
        }
        Ok(Self { up_to })
    }

    /// One exchange of the mix, by 32 bits of chance.
    #[inline]
    pub fn draw(&self, chance: u32) -> Exchange {
        let found = self.up_to.iter().find(|(_, up_to)| u64::from(chance) < *up_to);
        found.unwrap_or(&self.up_to[self.up_to.len() - 1]).0
    }

    /// The only exchange, if there is but one.
    pub fn single(&self) -> Option<Exchange> {
        if let [(exchange, _)] = self.up_to[..] { Some(exchange) } else { None }
    }

    /// Whether this exchange has a share.
    pub fn has(&self, exchange: Exchange) -> bool {
        self.up_to.iter().any(|(found, _)| *found == exchange)
    }
}

/// How long clients keep their leases, and how they leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hold {
    /// Shortest, seconds.
    pub least_s: f64,
    /// Longest, seconds.
    pub most_s: f64,
    /// Percent that leave without a RELEASE.
    pub vanish_percent: f64,
}

/// What a scenario says of the run itself; flags say it better.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Simulated clients.
    pub clients: Option<u32>,
    /// Exchanges a second; none: closed by the window.
    pub rate: Option<f64>,
    /// Exchanges at a time.
    pub window: Option<u32>,
    /// How long exchanges begin for.
    pub duration_s: Option<f64>,
    /// How long the last replies are awaited.
    pub drain_s: Option<f64>,
    /// Each client once.
    pub once: Option<bool>,
    /// Factor on retransmission times.
    pub backoff_scale: Option<f64>,
}

/// A scenario, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Its name, or its file.
    pub name: String,
    /// One line on it.
    pub about: String,
    /// What is begun.
    pub mix: Mix,
    /// Replies are frames that come back from a reflector: nothing to judge.
    pub echo: bool,
    /// Percent of the clients that take a lease before it begins, unmeasured.
    pub prepared_percent: f64,
    /// Percent of the clients that are heard over two relay paths.
    pub duplicate_path_percent: f64,
    /// How long leases are kept.
    pub hold: Option<Hold>,
    /// When clients come: parts (0 to 1) of the duration and of the clients, both rising.
    pub curve: Vec<(f64, f64)>,
    /// For the run.
    pub defaults: Defaults,
}

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    about: String,
    mix: BTreeMap<Exchange, f64>,
    #[serde(default)]
    echo: bool,
    #[serde(default)]
    prepared_percent: f64,
    #[serde(default)]
    duplicate_path_percent: f64,
    hold_s: Option<(f64, f64)>,
    vanish_percent: Option<f64>,
    #[serde(default)]
    curve: Vec<(f64, f64)>,
    clients: Option<u32>,
    rate: Option<f64>,
    window: Option<u32>,
    duration_s: Option<f64>,
    drain_s: Option<f64>,
    once: Option<bool>,
    backoff_scale: Option<f64>,
}

/// The scenarios that the program has inside.
const BUILT_IN: [(&str, &str); 12] = [
    ("dora", include_str!("../scenarios/dora.toml")),
    ("discover-only", include_str!("../scenarios/discover-only.toml")),
    ("renew", include_str!("../scenarios/renew.toml")),
    ("rebind", include_str!("../scenarios/rebind.toml")),
    ("init-reboot", include_str!("../scenarios/init-reboot.toml")),
    ("release", include_str!("../scenarios/release.toml")),
    ("decline", include_str!("../scenarios/decline.toml")),
    ("mixed", include_str!("../scenarios/mixed.toml")),
    ("power-return", include_str!("../scenarios/power-return.toml")),
    ("hostile", include_str!("../scenarios/hostile.toml")),
    ("churn", include_str!("../scenarios/churn.toml")),
    ("echo", include_str!("../scenarios/echo.toml")),
];

impl Scenario {
    /// The names of those inside.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// The text of one inside, as its file has it.
    pub fn text_of(name: &str) -> Option<&'static str> {
        BUILT_IN.iter().find(|(found, _)| *found == name).map(|(_, text)| *text)
    }

    /// The scenario of this name, or else in the file of this path.
    ///
    /// # Errors
    /// There is none; or what is wrong with it, with the line.
    pub fn find(name: &str) -> Result<Self, String> {
        if let Some(text) = Self::text_of(name) {
            return Self::parse(name, text);
        }
        let path = Path::new(name);
        if !name.contains(['/', '.']) && !path.exists() {
            let names: Vec<&str> = Self::names().collect();
            return Err(format!("there is no scenario `{name}`: {}, or the path of a file", names.join(", ")));
        }
        let mut text = String::new();
        let file = fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
        file.map_err(|error| format!("scenario {name}: {error}"))?;
        if text.len() as u64 > MAX_FILE {
            return Err(format!("scenario {name}: longer than {MAX_FILE} bytes"));
        }
        Self::parse(name, &text)
    }

    /// Reads the text of a scenario file.
    ///
    /// # Errors
    /// What is wrong with it, with the line where TOML knows it.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let written: Written = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.as_bytes().get(..span.start)).unwrap_or_default();
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            format!("scenario {name}:{line}: {}", error.message())
        })?;
        Self::check(name, written).map_err(|error| format!("scenario {name}: {error}"))
    }

    fn check(name: &str, written: Written) -> Result<Self, String> {
        let percent = |field: &str, value: f64| match value {
            0.0..=100.0 => Ok(value),
            _ => Err(format!("{field}: {value} is no percentage from 0 to 100")),
        };
        let mix = Mix::new(&written.mix)?;
        let hold = match (written.hold_s, written.vanish_percent) {
            (None, None) => None,
            (None, Some(_)) => return Err("vanish_percent: only with hold_s".into()),
            (Some((least_s, most_s)), vanish) if 0.0 <= least_s && least_s <= most_s && most_s <= 86_400.0 => {
                Some(Hold { least_s, most_s, vanish_percent: percent("vanish_percent", vanish.unwrap_or(0.0))? })
            }
            _ => return Err("hold_s: two numbers of seconds, the shorter first, at most a day".into()),
        };
        let within = |field: &str, value: Option<f64>, least: f64, most: f64| match value {
            Some(value) if !(least..=most).contains(&value) => {
                Err(format!("{field}: {value} is not from {least} to {most}"))
            }
            _ => Ok(value),
        };
        if written.clients.is_some_and(|n| n == 0 || n > crate::identity::MAX_CLIENTS) {
            return Err(format!("clients: from 1 to {}", crate::identity::MAX_CLIENTS));
        }
        if written.window.is_some_and(|n| n == 0 || n > 1_000_000) {
            return Err("window: from 1 to 1000000".into());
        }
        Ok(Self {
            name: name.to_owned(),
            about: written.about,
            mix,
            echo: written.echo,
            prepared_percent: percent("prepared_percent", written.prepared_percent)?,
            duplicate_path_percent: percent("duplicate_path_percent", written.duplicate_path_percent)?,
            hold,
            curve: check_curve(&written.curve)?,
            defaults: Defaults {
                clients: written.clients,
                rate: within("rate", written.rate, 0.001, 1e9)?,
                window: written.window,
                duration_s: within("duration_s", written.duration_s, 0.0, 86_400.0)?,
                drain_s: within("drain_s", written.drain_s, 0.0, 86_400.0)?,
                once: written.once,
                backoff_scale: within("backoff_scale", written.backoff_scale, 0.001, 10.0)?,
            },
        })
    }

    /// The name on the command line and in reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a client is after, in the plural.
    pub fn aim(&self) -> &'static str {
        match self.mix.single() {
            _ if self.echo => "echoes",
            Some(Exchange::Dora) => "bindings",
            Some(Exchange::Discover) => "offers",
            Some(Exchange::Renew | Exchange::Rebind) => "renewals",
            _ => "exchanges",
        }
    }
}

/// Prints all scenarios inside, or the file of one.
///
/// # Errors
/// There is none of that name.
pub fn list(name: Option<&str>) -> Result<bool, Failure> {
    let mut text = String::new();
    match name {
        Some(name) => {
            let known = Scenario::text_of(name);
            text.push_str(known.ok_or_else(|| Failure::Usage(format!("there is no scenario `{name}`")))?);
        }
        None => {
            for name in Scenario::names() {
                let scenario = Scenario::find(name).map_err(Failure::Usage)?;
                text.push_str(&format!("{name:<14} {}\n", scenario.about));
            }
        }
    }
    // Who reads it may have had enough: that is no failure.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(true)
}

/// Percentages to parts, and whether they rise from (0, 0) to (100, 100).
fn check_curve(points: &[(f64, f64)]) -> Result<Vec<(f64, f64)>, String> {
    let rises = points.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1);
    match points {
        [] => Ok(Vec::new()),
        [(0.0, 0.0), .., (100.0, 100.0)] if rises && points.len() <= 64 => {
            Ok(points.iter().map(|(time, clients)| (time / 100.0, clients / 100.0)).collect())
        }
        _ => {
            Err("curve: at most 64 pairs of percentages, of the duration and of the clients, that rise from [0, 0] to \
                  [100, 100]"
                .into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_inside_is_sound_and_says_what_it_is() {
        for name in Scenario::names() {
            let scenario = Scenario::find(name).unwrap();
            assert!(!scenario.about.is_empty() && scenario.about.len() < 120, "{name}");
        }
    }

    #[test]
    fn shares_are_what_the_mix_says() {
        let mix = Scenario::find("mixed").unwrap().mix;
        let mut counts = [0u32; Exchange::COUNT];
        for i in 0..100_000u32 {
            counts[mix.draw(i.wrapping_mul(0x9e37_79b9)) as usize] += 1;
        }
        assert!(counts[Exchange::Renew as usize].abs_diff(70_000) < 500, "{counts:?}");
        assert!(counts[Exchange::Dora as usize].abs_diff(10_000) < 500, "{counts:?}");
        assert_eq!(counts[Exchange::Garbage as usize], 0);
        assert_eq!(mix.draw(u32::MAX), Exchange::Release);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, expected) in [
            ("about = \"x\"\nmix = { dora = 1 }\nfoo = 1", "scenario t:3: unknown field `foo`"),
            ("about = \"x\"\nmix = { dorra = 1 }", "scenario t:2: unknown variant `dorra`"),
            ("mix = { dora = 1 }", "missing field `about`"),
            ("about = \"x\"\nmix = { dora = 0 }", "not all 0"),
            ("about = \"x\"\nmix = { dora = -1 }", "numbers from 0"),
            ("about = \"x\"\nmix = { dora = nan }", "numbers from 0"),
            ("about = \"x\"\nmix = { garbage = 1 }", "attackers alone"),
            ("about = \"x\"\nprepared_percent = 101\nmix = { dora = 1 }", "101 is no percentage"),
            ("about = \"x\"\nhold_s = [5, 1]\nmix = { dora = 1 }", "hold_s"),
            ("about = \"x\"\nclients = 0\nmix = { dora = 1 }", "clients"),
            ("about = \"x\"\nrate = inf\nmix = { dora = 1 }", "rate"),
            ("about = \"x\"\ncurve = [[0, 0], [50, 60], [40, 70], [100, 100]]\nmix = { dora = 1 }", "curve"),
            ("about = ", "scenario t:1"),
        ] {
            let error = Scenario::parse("t", text).unwrap_err();
            assert!(error.contains(expected) && !error.contains('\n'), "{text}: {error}");
        }
        assert!(Scenario::find("nonsense").unwrap_err().contains("power-return"));
        assert!(Scenario::find("./nonsense.toml").unwrap_err().contains("No such file"));
    }
}
