//! The checked form of the configuration: every value is in range and every reference resolves.

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc, time::Duration};

use ipnet::Ipv4Net;

use super::{Access, ClassTable, Definitions, LeaseQuery, Reservations, Subnets, index::both_tags};
use crate::{
    class::Expression,
    journal::CompactionPolicy,
    lease::Space,
    wire::options::{CodePlaces, Codes},
};

/// A whole configuration that has passed every check.
#[derive(Clone, Debug)]
pub struct Config {
    /// Interfaces to serve, at least one.
    pub interfaces: Vec<Interface>,
    /// Subnets in the order of the file; a `u16` index into it names a subnet everywhere else.
    pub subnets: Subnets,
    /// What is kept for single clients.
    pub reservations: Reservations,
    /// The expression whose value is a client's flexible identifier.
    pub flex_id: Option<Expression>,
    /// Classes of clients.
    pub classes: ClassTable,
    /// Directory of the journal and the control socket.
    pub state_dir: PathBuf,
    /// When an ACK may leave, relative to its record's way to stable storage.
    pub durability: Durability,
    /// When the journal is compacted while the server runs.
    pub compaction: CompactionPolicy,
    /// How long an offered address is held for its client, seconds.
    pub offer_hold_s: u32,
    /// How long a declined address stays out of use, seconds.
    pub decline_quarantine_s: u32,
    /// Drop requests whose UDP checksum is neither right, nor absent, nor left to the sender's hardware.
    pub verify_udp_checksum: bool,
    /// Most relay agents that a request may have passed (`hops`).
    pub max_hops: u8,
    /// A client may choose its own subnet (options 118 and 221), not its relay agent alone.
    pub client_subnet_selection: bool,
    /// The clients that this server is to answer; `None` is all.
    pub load_balance: Option<LoadBalance>,
    /// Who may ask about leases; `None`: nobody.
    pub leasequery: Option<LeaseQuery>,
    /// How addresses are probed before they are offered; `None`: no subnet has them probed.
    pub ping_check: Option<PingCheck>,
    /// What is done with lease events.
    pub events: crate::events::Settings,
    /// Settings that are laid over those of a subnet or pool when a request calls for them; see [`Overlay`].
    pub overlays: Vec<Overlay>,
    /// Options that the file defines: for who names them.
    pub definitions: Definitions,
}

/// The share of the clients that this server answers (RFC 3074).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalance {
    /// Which of the 256 hash buckets are this server's.
    pub buckets: Codes,
    /// A client that has waited longer than this (`secs`) is answered whatever its bucket: its own server is down.
    pub after_secs: u16,
}

/// How addresses are probed before they are offered (RFC 2131 3.1 step 2 and 4.4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingCheck {
    /// How long the answer to an echo request is waited for.
    pub timeout: Duration,
    /// Echo requests without an answer after which nobody is there.
    pub requests: u8,
    /// Most addresses probed a second; others are offered unprobed.
    pub max_per_s: u32,
    /// An address at which nobody was found, or whose client was just given it, is not probed again for so long, seconds.
    pub remember_s: u32,
}

/// Settings of a class or a reservation, laid over those of the pool, subnet and network that a client is in. A decision names
/// them by their index in [`Config::overlays`], the most specific first; where several set the same thing the first one counts.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// Options.
    pub options: OptionSet,
    /// `siaddr`.
    pub next_server: Option<Ipv4Addr>,
    /// `sname`.
    pub server_name: Option<Vec<u8>>,
    /// `file`.
    pub boot_file: Option<Vec<u8>>,
}

impl Overlay {
    /// Whether it lays nothing over anything.
    pub fn is_empty(&self) -> bool {
        let Self { options, next_server, server_name, boot_file } = self;
        options.iter().next().is_none() && next_server.is_none() && server_name.is_none() && boot_file.is_none()
    }
}

impl Config {
    /// Number of addresses of all pools, and of the reserved ones outside of them.
    pub fn address_count(&self) -> u64 {
        self.subnets.iter().map(Subnet::address_count).sum::<u64>() + self.reservations.outside_pools()
    }

    /// Whether any option is computed.
    pub fn computes_options(&self) -> bool {
        let of_subnet = |subnet: &'_ Subnet| {
            let pools = subnet.pool_options.iter().map(|pool| &pool.options);
            std::iter::once(&subnet.options).chain(pools).any(OptionSet::is_computed)
        };
        self.subnets.iter().any(of_subnet) || self.overlays.iter().any(|overlay| overlay.options.is_computed())
    }
}

impl Subnet {
    /// Number of addresses of its pools.
    pub fn address_count(&self) -> u64 {
        self.pools.iter().map(AddressRange::len).sum()
    }
}

/// One interface and its workers.
#[derive(Clone, Debug)]
pub struct Interface {
    /// The kernel's name of it.
    pub name: String,
    /// Workers (sockets) for each receive queue, at least 1.
    pub workers_per_queue: u32,
    /// Receive queues to serve; `None` is all that the device has.
    pub queues: Option<u32>,
    /// How the XDP program is attached.
    pub xdp_mode: XdpMode,
    /// Spin on the rings with preferred busy polling in place of sleeping in `poll(2)`.
    pub busy_poll: bool,
    /// CPUs to pin workers to, in the order of workers; empty is one after the other from CPU 0.
    pub cpus: Vec<usize>,
    /// UMEM frames of each queue, a power of two.
    pub frames_per_queue: u32,
}

/// How an XDP program is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver, or else generic.
    Auto,
    /// In the driver or not at all.
    Native,
    /// In the kernel's generic (SKB) path.
    Generic,
}

impl XdpMode {
    /// All of them.
    pub const ALL: [XdpMode; 3] = [XdpMode::Auto, XdpMode::Native, XdpMode::Generic];

    /// Its name in configurations and flags.
    pub const fn name(self) -> &'static str {
        match self {
            XdpMode::Auto => "auto",
            XdpMode::Native => "native",
            XdpMode::Generic => "generic",
        }
    }
}

impl std::str::FromStr for XdpMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mode = Self::ALL.into_iter().find(|mode| mode.name() == text);
        mode.ok_or_else(|| format!("found `{text}`; expected auto, native or generic"))
    }
}

/// When an ACK may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After `fdatasync` returned for its record. Nothing that was ACKed is ever lost.
    Sync,
    /// At once; the journal is synced at this interval, which is what a power cut may lose.
    Interval(Duration),
    /// At once; nothing is synced before the server stops. A crash of the machine loses what the kernel had not written.
    Off,
}

/// One subnet with its pools and options.
#[derive(Clone, Debug)]
pub struct Subnet {
    /// The prefix, with host bits zero.
    pub prefix: Ipv4Net,
    /// The name of the network that it shares with other subnets: they are one link, and their clients have one lease there.
    pub network: Option<String>,
    /// Clients that ask directly (without a relay agent) on this interface belong here. `None`: reached through relays only.
    pub interface: Option<String>,
    /// The VLANs of that interface which it is on; `None`: all that no other subnet there names.
    pub vlans: Option<Vlans>,
    /// Server identifier (option 54); `None` is the address of the interface that a request came in on.
    pub server_id: Option<Ipv4Addr>,
    /// Ranges of addresses to lease; inside the prefix, sorted, not overlapping, exclusions already cut out.
    pub pools: Vec<AddressRange>,
    /// Who is served.
    pub access: Access,
    /// Lease times, seconds.
    pub lease: LeaseTimes,
    /// Whether no other server has leases here: NAK in place of silence for clients that boot with an address of which nothing
    /// is known (RFC 2131 4.3.2).
    pub authoritative: bool,
    /// Which renewals of clients without a binding are granted.
    pub unknown_renewals: UnknownRenewals,
    /// The address space that it is in: its VPN's, of [`Subnets::vrfs`].
    pub space: Space,
    /// What makes two requests one client's.
    pub identity: Identity,
    /// A DHCPDISCOVER is answered only once its client has waited this long (`secs`).
    pub min_secs: u16,
    /// Answer a DHCPDISCOVER with a DHCPACK where the client takes one (RFC 4039).
    pub rapid_commit: bool,
    /// Lease time of BOOTP clients, seconds, `u32::MAX` for ever; `None`: they get no answer.
    pub bootp_lease_s: Option<u32>,
    /// Offer no address to clients that can do without (RFC 8925).
    pub ipv6_only: bool,
    /// What a client that asks (option 116) is told when it gets no address: to configure itself or not (RFC 2563).
    pub auto_configure: Option<bool>,
    /// Whether an address is probed before it is offered to a client that does not have it; see [`Config::ping_check`].
    pub ping_check: bool,
    /// Options to hand out, compiled: those of the subnet over those of all levels above it. Without the ones that the
    /// protocol itself sets (51, 53, 54, 58, 59, 61, 82).
    pub options: OptionSet,
    /// The pools with options of their own, sorted; all other addresses have `options`.
    pub pool_options: Vec<PoolOptions>,
    /// The pools that are not for every client of the subnet, sorted.
    pub guarded_pools: Vec<GuardedPool>,
    /// `siaddr`: next server to use in bootstrap.
    pub next_server: Ipv4Addr,
    /// `sname`: name of the next server, at most 63 bytes.
    pub server_name: Vec<u8>,
    /// `file`: boot file name, at most 127 bytes.
    pub boot_file: Vec<u8>,
    /// Boot file names by client architecture (option 93), sorted; for others it is `boot_file`.
    pub boot_files: Vec<(u16, Vec<u8>)>,
}

impl Subnet {
    /// The options of a client with this address: those of its pool, else of the subnet.
    pub fn options_at(&self, address: Ipv4Addr) -> &OptionSet {
        let after = self.pool_options.partition_point(|pool| pool.range.first <= address);
        let pool = after.checked_sub(1).map(|at| &self.pool_options[at]).filter(|pool| pool.range.contains(address));
        pool.map_or(&self.options, |pool| &pool.options)
    }

    /// The pool with this address, if it is not for every client.
    pub fn guarded_pool_at(&self, address: Ipv4Addr) -> Option<&GuardedPool> {
        let after = self.guarded_pools.partition_point(|pool| pool.range.first <= address);
        after.checked_sub(1).map(|at| &self.guarded_pools[at]).filter(|pool| pool.range.contains(address))
    }

    /// The boot file of a client of these architectures: that of the first that has one.
    pub fn boot_file_of(&self, mut architectures: impl Iterator<Item = u16>) -> &[u8] {
        let of = |wanted: u16| self.boot_files.iter().find(|(architecture, _)| *architecture == wanted);
        architectures.find_map(of).map_or(&self.boot_file, |(_, file)| file)
    }
}

/// A pool that is for some clients only.
#[derive(Clone, Copy, Debug)]
pub struct GuardedPool {
    /// Its addresses.
    pub range: AddressRange,
    /// Who gets one.
    pub access: Access,
    /// Its number in the lease table, where it is as a subnet of its own in the same network; given by [`Subnets::new`].
    pub group: u16,
}

/// VLAN identifiers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanRange {
    /// First.
    pub first: u16,
    /// Last, not below the first.
    pub last: u16,
}

impl VlanRange {
    /// Whether it has this one.
    pub fn contains(self, id: u16) -> bool {
        self.first <= id && id <= self.last
    }
}

/// The VLAN tags of frames: the outer one, and the inner one where that counts (IEEE 802.1ad). Where there is an inner one, one
/// of the two is a single VLAN or the inner one is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlans {
    /// The first tag of a frame.
    pub outer: VlanRange,
    /// Its second; `None`: whatever follows the first.
    pub inner: Option<VlanRange>,
}

impl std::fmt::Display for VlanRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl std::fmt::Display for Vlans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.outer)?;
        self.inner.map_or(Ok(()), |inner| write!(f, ".{inner}"))
    }
}

impl Vlans {
    /// The tags as a range of numbers, and whether of both.
    pub(super) fn tags(&self) -> (u32, u32, bool) {
        match self.inner {
            None => (self.outer.first.into(), self.outer.last.into(), false),
            Some(inner) => (both_tags(self.outer.first, inner.first), both_tags(self.outer.last, inner.last), true),
        }
    }
}

/// A pool with options of its own.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// Its addresses.
    pub range: AddressRange,
    /// Its options over those of all levels above it.
    pub options: OptionSet,
}

/// What makes two requests one client's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// The client identifier, else the hardware address (RFC 2131 4.2, RFC 4361).
    #[default]
    ClientId,
    /// The hardware address, whatever the client identifier.
    HwAddress,
}

/// From where a client of which nothing is known may renew the lease of a free address: it is bound to it then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownRenewals {
    /// From nowhere.
    None,
    /// From where the subnet's clients are: through a relay agent, or from its own link.
    #[default]
    Attached,
    /// From anywhere, as a unicast that routers carry has no relay agent's word on where its client is.
    All,
}

impl UnknownRenewals {
    /// Each with its name in configurations.
    pub(super) const NAMES: [(&str, Self); 3] =
        [("none", Self::None), ("attached", Self::Attached), ("all", Self::All)];
}

impl Identity {
    /// Each with its name in configurations.
    pub(super) const NAMES: [(&str, Self); 2] = [("client-id", Self::ClientId), ("hw-address", Self::HwAddress)];
}

/// A range of addresses, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// First address.
    pub first: Ipv4Addr,
    /// Last address, not below the first.
    pub last: Ipv4Addr,
}

impl AddressRange {
    /// Number of addresses, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a range has at least one address")]
    pub fn len(&self) -> u64 {
        u64::from(u32::from(self.last) - u32::from(self.first)) + 1
    }

    /// Whether `address` is one of them.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        self.first <= address && address <= self.last
    }

    /// Whether the two have an address in common.
    pub fn overlaps(&self, other: &AddressRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl std::fmt::Display for AddressRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// Lease times of a subnet, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// The least that a client which asks for less is given.
    pub min_s: u32,
    /// What a client that asks for nothing is given.
    pub default_s: u32,
    /// The most that a client which asks for more is given.
    pub max_s: u32,
    /// T1, thousandths of the lease time (RFC 2131 4.4.5: 500).
    pub t1_permille: u16,
    /// T2, thousandths of the lease time (RFC 2131 4.4.5: 875).
    pub t2_permille: u16,
    /// T1 and T2 of a client are shortened by up to so many thousandths (RFC 2131 4.4.5: "random fuzz").
    pub jitter_permille: u16,
    /// Once so many thousandths of the subnet's addresses are in use, clients are given `min_s`; above 1000 is never.
    pub scarce_permille: u16,
    /// How much longer than its client is told a lease is kept and recorded, thousandths of the lease time: a renewal that
    /// does not go beyond that needs no record of its own. Zero: each renewal is recorded.
    pub renewal_slack_permille: u16,
}

/// Options of a subnet, encoded once so that a reply copies bytes and looks nothing up by name.
#[derive(Clone, Debug, Default)]
pub struct OptionSet {
    /// In the order of their codes.
    blobs: Vec<OptionBlob>,
    places: CodePlaces,
}

/// Where an option of a configuration is set; the later ones over the earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// It follows from the subnet's prefix.
    Prefix,
    /// `[defaults.options]`
    Global,
    /// A network.
    Network,
    /// A subnet.
    #[default]
    Subnet,
    /// A pool.
    Pool,
    /// A class or a reservation.
    Overlay,
}

/// One option's encoded value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionBlob {
    /// Option code, 1 to 254.
    pub code: u8,
    /// Its data; of more than 255 bytes it is split (RFC 3396).
    pub data: Vec<u8>,
    /// Send it even to a client that did not ask for it.
    pub always: bool,
    /// Where it is set.
    pub level: Level,
    /// What its data is computed by for each reply, in place of `data`.
    pub computed: Option<Arc<Expression>>,
}

impl OptionSet {
    /// A set of options, one of a code; the last of several with the same code wins.
    pub fn new(blobs: impl IntoIterator<Item = OptionBlob>) -> Self {
        let mut set: Vec<OptionBlob> = Vec::new();
        let mut codes = Codes::default();
        for blob in blobs {
            codes.insert(blob.code);
            match set.binary_search_by_key(&blob.code, |b| b.code) {
                Ok(at) => set[at] = blob,
                Err(at) => set.insert(at, blob),
            }
        }
        Self { blobs: set, places: CodePlaces::of(codes) }
    }

    /// The option with this code.
    pub fn get(&self, code: u8) -> Option<&OptionBlob> {
        self.blobs.get(self.places.get(code)?)
    }

    fn is_computed(&self) -> bool {
        self.blobs.iter().any(|blob| blob.computed.is_some())
    }

    /// All options, in the order of their codes.
    pub fn iter(&self) -> impl Iterator<Item = &OptionBlob> {
        self.blobs.iter()
    }
}
