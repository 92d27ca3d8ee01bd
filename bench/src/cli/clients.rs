//! What commands that simulate clients have in common: the interface, the scenario, and how messages look.

use std::net::Ipv4Addr;

use clap::{Args, ValueEnum};

use super::values::{mac, pool, scale, vlan};
use crate::{
    engine::Plan,
    identity::MAX_CLIENTS,
    scenario::Scenario,
    schedule::{Backoff, Pace},
    template::{Look, Relay, Tags, Templates},
    verdict::Pool,
};

/// Clients when neither a flag nor the scenario says how many.
const DEFAULT_CLIENTS: u32 = 10_000;

/// Which sockets frames go through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SocketKind {
    /// AF_XDP, and where that does not work AF_PACKET, which is said
    #[default]
    Auto,
    /// AF_XDP: fast; takes an XDP program on the interface, which is taken off at the end
    Xdp,
    /// AF_PACKET: works on every interface and leaves XDP alone
    Packet,
}

/// The way to the server.
#[derive(Debug, Args)]
pub struct WireArgs {
    /// Interface to send and receive on
    #[arg(short, long, value_name = "IF")]
    pub interface: String,
    /// Sockets to use
    #[arg(long, value_enum, default_value = "auto", value_name = "KIND")]
    pub socket: SocketKind,
    /// Attach the XDP program in generic mode: slower, for drivers without XDP
    #[arg(long)]
    pub generic: bool,
    /// Keep the generator on this processor
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,
}

/// The clients.
#[derive(Debug, Args)]
pub struct ClientArgs {
    /// What clients do: a name of `dhcp-storm scenarios`, or the path of a file like theirs. Flags override what it says
    #[arg(long, default_value = "dora", value_name = "NAME|FILE")]
    pub scenario: String,
    /// Simulated clients, at most 10 million; each takes at most 72 bytes of memory [default: the scenario's, or 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_CLIENTS)))]
    pub clients: Option<u32>,
    /// Chooses MAC addresses, transaction identifiers, jitter and what the mix draws: the same seed sends the same
    #[arg(long, value_name = "X", default_value_t = 1)]
    pub seed: u64,
    /// Factor on the retransmission times of RFC 2131 4.1 (4, 8, 16, 32, 64 s), for short runs: 0.001 to 10 [default: 1]
    #[arg(long, value_name = "F", value_parser = scale)]
    pub backoff_scale: Option<f64>,
    /// Leave the broadcast flag clear, so that replies come to the client's MAC address: for a veth or a promiscuous interface
    #[arg(long)]
    pub unicast_replies: bool,
    /// Send a client identifier (option 61) and expect it back (RFC 6842)
    #[arg(long)]
    pub client_id: bool,
    /// Send this vendor class (option 60)
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub vendor_class: String,
    /// Tag frames: OUTER or OUTER.INNER, each a VLAN identifier or a range over the clients (100, 100-199, 100-199.1-4000)
    #[arg(long, value_name = "TAGS", value_parser = vlan)]
    pub vlan: Option<Tags>,
    /// Two tags with protocol 0x8100 both, in place of 802.1ad outside
    #[arg(long, requires = "vlan")]
    pub outer_8100: bool,
    /// Play relay agents with these addresses, clients shared out in turn: hops 1, option 82, unicast to --server
    #[arg(long, value_name = "GIADDR,..", requires = "server", value_delimiter = ',')]
    pub relay: Vec<Ipv4Addr>,
    /// The server's address, for --relay
    #[arg(long, value_name = "IP", requires = "relay")]
    pub server: Option<Ipv4Addr>,
    /// The server's (or its router's) MAC address; otherwise what is not for one server goes to the Ethernet broadcast address
    #[arg(long, value_name = "MAC", value_parser = mac)]
    pub server_mac: Option<[u8; 6]>,
    /// Agent circuit identifier for --relay, with {index} (the client's number from 0 on, in 8 digits), {mac}, {vlan}, {cvlan}, {relay}. Empty: none
    #[arg(long, value_name = "PATTERN", requires = "relay", default_value = "dhcp-storm/{index}")]
    pub circuit_id: String,
    /// Agent remote identifier for --relay, with the same variables. Empty: none
    #[arg(long, value_name = "PATTERN", requires = "relay", default_value = "")]
    pub remote_id: String,
    /// Addresses outside this pool are violations: FIRST-LAST or CIDR
    #[arg(long, value_name = "POOL", value_parser = pool)]
    pub expect_pool: Option<Pool>,
    /// Replies with another server identifier are violations
    #[arg(long, value_name = "IP")]
    pub expect_server: Option<Ipv4Addr>,
}

impl ClientArgs {
    /// How messages look, from an interface with this MAC address.
    ///
    /// # Errors
    /// What cannot be said in a message.
    pub fn look(&self, interface_mac: [u8; 6]) -> Result<Look, String> {
        let relay = self.server.filter(|_| !self.relay.is_empty()).map(|server| Relay {
            giaddrs: self.relay.clone(),
            server,
            circuit_id: self.circuit_id.clone(),
            remote_id: self.remote_id.clone(),
        });
        let mut tags = self.vlan.clone();
        if let Some(tags) = tags.as_mut().filter(|_| self.outer_8100) {
            tags.outer_tpid = 0x8100;
        }
        let look = Look {
            destination_mac: self.server_mac.unwrap_or([0xff; 6]),
            source_mac: relay.is_some().then_some(interface_mac),
            broadcast: !self.unicast_replies && relay.is_none(),
            client_id: self.client_id,
            vendor_class: self.vendor_class.clone(),
            tags,
            relay,
        };
        Templates::new(&look)?;
        Ok(look)
    }

    /// A plan with what these arguments say of clients; the run's own part is that of the scenario, and open where it says
    /// nothing.
    ///
    /// # Errors
    /// What does not fit together, in one line: wrong usage.
    pub fn plan(&self, interface_mac: [u8; 6]) -> Result<Plan, String> {
        let scenario = Scenario::find(&self.scenario)?;
        let of = &scenario.defaults;
        let seconds =
            |value: Option<f64>, otherwise: f64| std::time::Duration::from_secs_f64(value.unwrap_or(otherwise));
        Ok(Plan {
            clients: self.clients.or(of.clients).unwrap_or(DEFAULT_CLIENTS),
            pace: match (of.rate, of.window) {
                (Some(rate_per_s), _) => Pace::Open { rate_per_s },
                (None, window) => Pace::Closed { window: window.unwrap_or(super::run::DEFAULT_WINDOW) },
            },
            load: seconds(of.duration_s, 10.0),
            drain: seconds(of.drain_s, 1.0),
            once: of.once.unwrap_or(false),
            backoff: Backoff::new(self.backoff_scale.or(of.backoff_scale).unwrap_or(1.0)),
            look: self.look(interface_mac)?,
            pool: self.expect_pool,
            server: self.expect_server,
            seed: self.seed,
            first_round: 0,
            scenario,
        })
    }
}
