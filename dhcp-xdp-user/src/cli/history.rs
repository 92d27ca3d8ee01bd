//! `dhcp-xdp history`

use std::{array, iter, net::Ipv4Addr, path::PathBuf};

use clap::{ArgGroup, Args};
use dhcp_xdp::{
    control::rfc3339,
    events::HISTORY_DIR,
    history::{Found, Hold, Missing, Query, Search},
};

use super::{
    failure::{Done, Failure},
    leases::{Bytes, parse_hex, parse_identifier},
    output::Output,
};

/// Say who had which address when, from the lease history that `[history]` in the configuration keeps
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("who").required(true).multiple(true).args(["address", "hw_address", "client_id", "circuit_id", "remote_id"]))]
#[command(after_help = "A time is RFC 3339, or without a zone in the local one, or seconds since 1970: \
2026-01-31T12:00:00Z, \"2026-01-31 12:00\", 2026-01-31, 1769860800.

Exit codes: 0 found; 1 nobody, or the history cannot be read; 2 wrong usage.

Example:
  dhcp-xdp history --address 192.0.2.10 --at 2026-01-31T12:00:00Z
  dhcp-xdp history --address 192.0.2.10 --from 2026-01-01 --to 2026-01-31 --json
  dhcp-xdp history --hw-address 02:00:00:00:00:01
  dhcp-xdp history --circuit-id olt1/0/7 --from 2026-01-01")]
pub(super) struct History {
    /// Who had this address
    #[arg(long, value_name = "IP")]
    address: Option<Ipv4Addr>,
    /// At this time
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with_all = ["from", "to"])]
    at: Option<u32>,
    /// At this time or later
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<u32>,
    /// At this time or earlier
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<u32>,
    /// Only this hardware address; alone, all files are read whole
    #[arg(long, value_name = "MAC", value_parser = parse_hex)]
    hw_address: Option<Bytes>,
    /// Only this client identifier, in hexadecimal; alone, all files are read whole
    #[arg(long, value_name = "HEX", value_parser = parse_hex)]
    client_id: Option<Bytes>,
    /// Only this circuit, which the relay agent named (option 82): a text, or bytes as 0x0004; alone, all files are read whole
    #[arg(long, value_name = "ID", value_parser = parse_identifier)]
    circuit_id: Option<Bytes>,
    /// Only this remote end, which the relay agent named (option 82): a text, or bytes as 0x0004; alone, all files are read whole
    #[arg(long, value_name = "ID", value_parser = parse_identifier)]
    remote_id: Option<Bytes>,
    /// Only in this VPN; global is outside of all
    #[arg(long, value_name = "NAME")]
    vrf: Option<String>,
    /// As a JSON array
    #[arg(long)]
    json: bool,
    /// The server's state directory: the history is in `history` there
    #[arg(long, value_name = "DIR", default_value = dhcp_xdp::config::DEFAULT_STATE_DIR)]
    state_dir: PathBuf,
    /// The directory of the history, where the configuration names one
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

/// So far behind now a history may be that is written, with some to spare, and its server runs.
const A_WRITTEN_HISTORY_IS_BEHIND_S: u32 = 60;

/// The wall clock.
fn now_s() -> u32 {
    u32::try_from(jiff::Timestamp::now().as_second()).unwrap_or(u32::MAX)
}

/// A time with a zone, or in the local one, or as seconds.
fn time(text: &str) -> Result<u32, String> {
    let wrong = || {
        format!(
            "found `{text}`; expected a time from 1970 to 2106 as 2026-01-31T12:00:00Z, \"2026-01-31 12:00\" or 1769860800"
        )
    };
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    let with_zone: Result<jiff::Timestamp, _> = text.parse();
    let time = match with_zone {
        Ok(time) => time,
        Err(_) => {
            let local: jiff::civil::DateTime = text.parse().map_err(|_| wrong())?;
            jiff::tz::TimeZone::system().to_timestamp(local).map_err(|_| wrong())?
        }
    };
    u32::try_from(time.as_second()).map_err(|_| wrong())
}

impl History {
    pub fn run(self) -> Done {
        let span_s = match (self.at, self.from, self.to) {
            (Some(at), _, _) => Some((at, at)),
            (None, None, None) => None,
            (None, from, to) => Some((from.unwrap_or(0), to.unwrap_or(u32::MAX))),
        };
        if let Some((from, to)) = span_s.filter(|(from, to)| from > to) {
            eprintln!("dhcp-xdp: --from {} is after --to {}", rfc3339(from), rfc3339(to));
            return Err(Failure::Told { usage: true });
        }
        let dir = self.directory.clone().unwrap_or_else(|| self.state_dir.join(HISTORY_DIR));
        let of = |bytes: &Option<Bytes>| bytes.as_ref().map(|bytes| bytes.0.clone());
        let query = Query {
            address: self.address,
            span_s,
            hw_address: of(&self.hw_address),
            client_id: of(&self.client_id),
            circuit_id: of(&self.circuit_id),
            remote_id: of(&self.remote_id),
            vrf: self.vrf.clone(),
        };
        let found = Search::open(&dir).and_then(|search| search.find(&query)).map_err(Failure::of)?;
        let mut out = Output::new();
        if self.json {
            out.json(&found.holds)?;
        } else if !found.holds.is_empty() {
            for line in table(&found.holds) {
                out.line(line)?;
            }
        }
        out.flush()?;
        self.warn(&found, span_s);
        if found.holds.is_empty() {
            eprintln!("dhcp-xdp: {}", self.nobody(span_s));
            return Err(Failure::Told { usage: false });
        }
        Ok(())
    }

    fn nobody(&self, span_s: Option<(u32, u32)>) -> String {
        let what = match self.address {
            Some(address) => format!("nobody that fits had {address}"),
            None => "nobody that fits had an address".into(),
        };
        match span_s {
            None => what,
            Some((from, to)) if from == to => format!("{what} at {}", rfc3339(from)),
            Some((from, to)) => format!("{what} from {} to {}", rfc3339(from), rfc3339(to)),
        }
    }

    /// What the history cannot know.
    fn warn(&self, found: &Found, span_s: Option<(u32, u32)>) {
        for Missing { from_s, to_s, reason } in &found.missing {
            let from = if *from_s == 0 { "some time".to_owned() } else { rfc3339(*from_s) };
            eprintln!("dhcp-xdp: changes from {from} to {} are missing: {reason}", rfc3339(*to_s));
        }
        if let Some((from, _)) = span_s
            && found.begins_s.is_none_or(|begins_s| from < begins_s)
        {
            let begins = found.begins_s.map_or("has nothing yet".to_owned(), |at| format!("begins at {}", rfc3339(at)));
            eprintln!("dhcp-xdp: the history {begins}: before that it does not know");
        }
        // A question without an end is about now, which a history that is written is always some seconds behind.
        let to = span_s.map_or(u32::MAX, |(_, to)| to);
        let to = if to == u32::MAX { now_s().saturating_sub(A_WRITTEN_HISTORY_IS_BEHIND_S) } else { to };
        if to > found.complete_until_s {
            let until = match found.complete_until_s {
                0 => "not complete up to any time yet".to_owned(),
                at => format!("complete until {}", rfc3339(at)),
            };
            eprintln!("dhcp-xdp: the history is {until}: after that it does not know of all changes");
        }
    }
}

/// The lines of the table, with their heading.
fn table(holds: &[Hold]) -> Vec<String> {
    let heading = ["ADDRESS", "FROM", "TO", "ENDED BY", "HW ADDRESS", "CIRCUIT ID", "CLIENT ID"].map(str::to_owned);
    aligned(&iter::once(heading).chain(holds.iter().map(cells)).collect::<Vec<_>>())
}

/// Lines with columns as wide as the widest cell in them, without spaces at the ends.
fn aligned<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let widths: [usize; N] =
        array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default());
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn cells(hold: &Hold) -> [String; 7] {
    let from = if hold.from_is_known { hold.from.clone() } else { format!("{} or before", hold.from) };
    let expires = hold.lease.expires_at.as_deref().unwrap_or("never");
    let to = hold.to.clone().unwrap_or_else(|| format!("(lease until {expires} or later)"));
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    [
        hold.lease.place(),
        from,
        to,
        or_none(&hold.ended_by),
        or_none(&hold.lease.hw_address),
        or_none(&hold.lease.circuit_id),
        or_none(&hold.lease.client_id),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let rows =
            [["TO", "BY"], ["(lease until noon or later)", "-"], ["noon", "expired"]].map(|row| row.map(str::to_owned));
        let lines = aligned(&rows);
        assert!(lines.iter().zip(["BY", "-", "expired"]).all(|(line, by)| line.find(by) == Some(29)), "{lines:#?}");
    }

    #[test]
    fn a_time_is_rfc_3339_or_local_or_seconds() {
        assert_eq!(time("2026-01-31T12:00:00Z"), Ok(1_769_860_800));
        assert_eq!(time("2026-01-31T13:00:00+01:00"), Ok(1_769_860_800));
        assert_eq!(time("1769860800"), Ok(1_769_860_800));
        let zone = jiff::tz::TimeZone::system();
        let local = |text: &str| zone.to_timestamp(text.parse::<jiff::civil::DateTime>().unwrap()).unwrap().as_second();
        assert_eq!(time("2026-01-31 12:00").map(i64::from), Ok(local("2026-01-31T12:00")));
        assert_eq!(time("2026-01-31").map(i64::from), Ok(local("2026-01-31T00:00")));
        for wrong in ["", "yesterday", "2026-13-01", "1969-01-01T00:00:00Z", "2200-01-01T00:00:00Z", "-5"] {
            assert!(time(wrong).is_err_and(|error| error.contains("expected a time")), "{wrong}");
        }
    }
}
