//! Values of flags: what is written to what is meant.

use std::{net::Ipv4Addr, time::Duration};

use crate::{look::Tags, schedule::Backoff, verdict::Pool};

/// `--rate`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// So many a second.
    PerSecond(f64),
    /// As many as go.
    Max,
}

/// A number of exchanges a second, `k` for thousands, or `max`.
///
/// # Errors
/// What would be right.
pub fn rate(text: &str) -> Result<Rate, String> {
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

/// A number of exchanges a second, `k` and `M` for thousands and millions.
///
/// # Errors
/// What would be right.
pub fn per_second(text: &str) -> Result<f64, String> {
    match rate(text) {
        Ok(Rate::PerSecond(number)) => Ok(number),
        _ => Err("a number of exchanges a second (20000, 20k)".into()),
    }
}

/// A factor on the speed of a capture.
///
/// # Errors
/// What would be right.
pub fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.001..=1e6).contains(&number) => Ok(number),
        _ => Err("a factor from 0.001 to 1000000".into()),
    }
}

/// A percentage.
///
/// # Errors
/// What would be right.
pub fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>();
    number.ok().filter(|number| (0.0..=100.0).contains(number)).ok_or_else(|| "a percentage from 0 to 100".into())
}

/// A number of seconds.
///
/// # Errors
/// What would be right.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text).parse::<f64>();
    match number {
        Ok(number) if (0.0..=86_400.0).contains(&number) => Ok(Duration::from_secs_f64(number)),
        _ => Err("a number of seconds, at most a day".into()),
    }
}

/// A factor on retransmission times.
///
/// # Errors
/// What would be right.
pub fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if Backoff::SCALES.contains(&number) => Ok(number),
        _ => Err(format!("a factor from {} to {}", Backoff::SCALES.start(), Backoff::SCALES.end())),
    }
}

/// A MAC address.
///
/// # Errors
/// What would be right.
pub fn mac(text: &str) -> Result<[u8; 6], String> {
    let octets: Option<Vec<u8>> =
        text.split(':').map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2)).collect();
    octets.and_then(|octets| octets.try_into().ok()).ok_or_else(|| "six octets, as 02:00:5e:00:53:01".into())
}

/// VLAN tags.
///
/// # Errors
/// What would be right.
pub fn vlan(text: &str) -> Result<Tags, String> {
    text.parse()
}

/// A range of addresses, a prefix, or one address.
///
/// # Errors
/// What would be right.
pub fn pool(text: &str) -> Result<Pool, String> {
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

    #[test]
    fn a_pool_is_a_range_or_a_prefix() {
        assert_eq!(pool("10.0.0.0/30"), Ok((0x0a00_0000, 0x0a00_0003)));
        assert_eq!(pool("10.0.0.1-10.0.0.2"), Ok((0x0a00_0001, 0x0a00_0002)));
        assert_eq!(pool("0.0.0.0/0"), Ok((0, u32::MAX)));
        assert_eq!(pool("10.0.0.1/32"), Ok((0x0a00_0001, 0x0a00_0001)));
    }
}
