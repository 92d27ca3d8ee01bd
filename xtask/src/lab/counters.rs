//! What the kernel of a namespace counts, to tell whose loss a lost packet is.

use std::fmt;

use anyhow::{Context, Result, anyhow};

use super::Namespace;

/// UDP of a namespace, from `/proc/net/snmp`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Udp {
    /// Delivered to a socket.
    pub received: u64,
    /// Nobody listened.
    pub no_ports: u64,
    /// Not delivered, for whatever reason.
    pub errors: u64,
    /// Not delivered because the socket's buffer was full: the reader was too slow.
    pub buffer_full: u64,
    /// Not delivered because the checksum was wrong.
    pub bad_checksum: u64,
}

impl fmt::Display for Udp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, no_ports, errors, buffer_full, bad_checksum } = self;
        write!(
            f,
            "UDP received {received}, no port {no_ports}, errors {errors} (buffer full {buffer_full}, bad checksum \
             {bad_checksum})"
        )
    }
}

/// UDP counters of a namespace.
///
/// # Errors
/// `/proc/net/snmp` cannot be read or understood.
pub fn udp(namespace: &Namespace) -> Result<Udp> {
    parse_udp(&namespace.read("/proc/net/snmp")?)
}

fn parse_udp(snmp: &str) -> Result<Udp> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = lines.next().zip(lines.next()).context("no Udp lines in /proc/net/snmp")?;
    let get = |wanted: &str| {
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        let value = pairs.find(|(name, _)| *name == wanted).and_then(|(_, value)| value.parse().ok());
        value.ok_or_else(|| anyhow!("no {wanted} in /proc/net/snmp"))
    };
    Ok(Udp {
        received: get("InDatagrams")?,
        no_ports: get("NoPorts")?,
        errors: get("InErrors")?,
        buffer_full: get("RcvbufErrors")?,
        bad_checksum: get("InCsumErrors")?,
    })
}

/// An interface, from `/proc/net/dev`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Frames received.
    pub rx_packets: u64,
    /// Frames received and dropped by the driver or the stack.
    pub rx_dropped: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Frames that could not be sent.
    pub tx_dropped: u64,
}

/// Counters of an interface.
///
/// # Errors
/// There is no such interface.
pub fn interface(namespace: &Namespace, name: &str) -> Result<Interface> {
    parse_interface(&namespace.read("/proc/net/dev")?, name)
}

fn parse_interface(dev: &str, name: &str) -> Result<Interface> {
    let line = dev.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
    let values: Vec<u64> =
        line.with_context(|| format!("no interface {name}"))?.split_whitespace().flat_map(str::parse).collect();
    let get = |i: usize| values.get(i).copied().unwrap_or(0);
    Ok(Interface { rx_packets: get(1), rx_dropped: get(3), tx_packets: get(9), tx_dropped: get(11) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_counters_are_found_by_name() {
        let snmp = "Ip: Forwarding\nIp: 1\nUdp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors \
                    InCsumErrors IgnoredMulti\nUdp: 10 1 5 20 3 0 2 0\nUdpLite: InDatagrams\nUdpLite: 0\n";
        let expected = Udp { received: 10, no_ports: 1, errors: 5, buffer_full: 3, bad_checksum: 2 };
        assert_eq!(parse_udp(snmp).unwrap(), expected);
        assert!(parse_udp("Ip: 1\n").is_err());
    }

    #[test]
    fn an_interface_is_not_found_by_the_start_of_its_name() {
        let dev =
            "Inter-|  Receive\n  eth10: 9 9 9 9 0 0 0 0 9 9 9 9 0 0 0 0\n  eth1: 100 2 0 3 0 0 0 0 200 4 0 5 0 0 0 0\n";
        let expected = Interface { rx_packets: 2, rx_dropped: 3, tx_packets: 4, tx_dropped: 5 };
        assert_eq!(parse_interface(dev, "eth1").unwrap(), expected);
        assert!(parse_interface(dev, "eth").is_err());
    }
}
