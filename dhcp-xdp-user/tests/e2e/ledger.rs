//! What clients believe, held against what the server has: `dhcp-storm --ledger` and `dhcp-xdp leases export`.

use std::{
    collections::{HashMap, HashSet},
    fs,
    net::Ipv4Addr,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A lease that a client was told of.
#[derive(Clone, Copy, Debug)]
pub struct Belief {
    /// Its address.
    pub address: Ipv4Addr,
    /// When it ends at the earliest, seconds since 1970.
    pub ends_s: u64,
}

/// The last ACK of each client, by its hardware address.
#[derive(Debug, Default)]
pub struct Ledger {
    clients: HashMap<String, Belief>,
}

/// Seconds by which a lease may end earlier than an ACK's arrival and lease time say: it began when the server decided, and in
/// whole seconds.
const GRACE_S: u64 = 3;

impl Ledger {
    /// Adds what `dhcp-storm --ledger` wrote; returns how many ACKs.
    pub fn add(&mut self, file: &Path) -> Result<usize> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut count = 0;
        for line in text.lines() {
            let ack: Value = serde_json::from_str(line).with_context(|| format!("strange ledger: {line}"))?;
            let address = ack["address"].as_str().context("no address")?.parse()?;
            let (at_s, lease_s) = (ack["at_s"].as_f64().context("no time")?, ack["lease_time_s"].as_u64());
            let ends_s = at_s as u64 + lease_s.context("no lease time")?;
            self.clients.insert(ack["mac"].as_str().context("no mac")?.to_owned(), Belief { address, ends_s });
            count += 1;
        }
        Ok(count)
    }

    /// Clients with an ACK.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Some clients, the same ones for the same number.
    pub fn sample(&self, count: usize, number: u64) -> Vec<(String, Belief)> {
        let mut all: Vec<_> = self.clients.iter().map(|(mac, belief)| (mac.clone(), *belief)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        let step = (all.len() / count.max(1)).max(1);
        all.into_iter().skip(number as usize % step).step_by(step).take(count).collect()
    }

    /// Every belief is true by this export, and no address or client is in it twice.
    pub fn expect_kept(&self, export: &str) -> Result<()> {
        let mut lines = export.lines();
        let header = lines.next().unwrap_or_default();
        ensure!(
            header.starts_with("address,state,hw_address,client_id,started_at,expires_at"),
            "strange header {header}"
        );
        let mut bound: HashMap<&str, (Ipv4Addr, &str)> = HashMap::new();
        let mut addresses = HashSet::new();
        for line in lines {
            let fields: Vec<&str> = line.split(',').collect();
            let [address, state, hw_address, _, _, expires_at, ..] = fields[..] else {
                anyhow::bail!("strange line {line}")
            };
            ensure!(addresses.insert(address), "{address} is listed twice");
            if state == "bound" {
                let before = bound.insert(hw_address, (address.parse()?, expires_at));
                ensure!(before.is_none(), "{hw_address} has {address} and {before:?}");
            }
        }
        let mut owners: HashMap<Ipv4Addr, &str> = HashMap::new();
        for (mac, belief) in &self.clients {
            let other = owners.insert(belief.address, mac);
            ensure!(other.is_none(), "{} was acknowledged to {mac} and to {other:?}", belief.address);
            let Some((address, expires_at)) = bound.get(mac.as_str()) else {
                anyhow::bail!("{mac} was acknowledged {}, and the server has no lease of it", belief.address);
            };
            ensure!(
                *address == belief.address,
                "{mac} was acknowledged {}, and the server has {address}",
                belief.address
            );
            let ends_s = seconds(expires_at).with_context(|| format!("strange time {expires_at}"))?;
            ensure!(
                ends_s + GRACE_S >= belief.ends_s,
                "{mac}: the lease of {address} ends {} s early",
                belief.ends_s - ends_s
            );
        }
        Ok(())
    }
}

/// Seconds since 1970 of a time as `2026-01-31T12:00:00Z`.
fn seconds(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    // Days from a first of March, so that a leap day is the last of its year.
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day - 719_469;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}
