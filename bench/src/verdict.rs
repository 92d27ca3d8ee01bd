//! Judging a reply: whose it is, whether it is right, and whether its address is anybody else's.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    net::Ipv4Addr,
};

use crate::{
    clients::{Client, Clients, Phase},
    identity::Identities,
    reply::{ACK, Checksum, NAK, OFFER, Reply, Unread},
    template::Templates,
};

/// Most addresses that are kept of those that attackers took.
pub const MAX_FOREIGN: usize = 1_000_000;

/// Most bytes that the address book takes for each client: an entry and its control byte, at 16 buckets for 7 clients.
pub const BOOK_BYTES_A_CLIENT: usize = 9 * 16 / 7 + 1;

/// How many exchanges back a reply is late rather than wrong.
const LATE_ROUNDS: u32 = 8;

/// Stands for the server identifier that an echo has not.
const ECHO: u32 = u32::MAX;

/// What a reply does that it must not. The index of its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Violation {
    /// Lengths, checksums or options that are wrong.
    Malformed,
    /// To a client of ours, with a transaction identifier that it never used.
    Xid,
    /// A message type that answers nothing that this client sent.
    MessageType,
    /// No server identifier, or another than that of the server asked or expected.
    ServerIdentifier,
    /// No address, another than the one offered or asked for, or one in a NAK.
    Address,
    /// An address that another client holds.
    AddressNotUnique,
    /// An address outside the expected pool.
    AddressOutsidePool,
    /// No lease time in an OFFER or ACK or one of 0, or a lease time in a NAK.
    LeaseTime,
    /// T1 and T2 that do not lie in this order before the end of the lease (RFC 2131 4.4.5).
    RenewalTimes,
    /// Option 82 is not the one sent (RFC 3046 2.2).
    RelayInformation,
    /// The client identifier is not the one sent (RFC 6842 3).
    ClientIdentifier,
    /// `giaddr` is not the one sent (RFC 2131, table 3).
    RelayAddress,
    /// VLAN tags that are not the client's.
    VlanTags,
}

impl Violation {
    /// All, in the order of their counters.
    pub const ALL: [Violation; 13] = [
        Violation::Malformed,
        Violation::Xid,
        Violation::MessageType,
        Violation::ServerIdentifier,
        Violation::Address,
        Violation::AddressNotUnique,
        Violation::AddressOutsidePool,
        Violation::LeaseTime,
        Violation::RenewalTimes,
        Violation::RelayInformation,
        Violation::ClientIdentifier,
        Violation::RelayAddress,
        Violation::VlanTags,
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Violation::Malformed => "malformed",
            Violation::Xid => "xid",
            Violation::MessageType => "message_type",
            Violation::ServerIdentifier => "server_identifier",
            Violation::Address => "address",
            Violation::AddressNotUnique => "address_not_unique",
            Violation::AddressOutsidePool => "address_outside_pool",
            Violation::LeaseTime => "lease_time",
            Violation::RenewalTimes => "renewal_times",
            Violation::RelayInformation => "relay_information",
            Violation::ClientIdentifier => "client_identifier",
            Violation::RelayAddress => "relay_address",
            Violation::VlanTags => "vlan_tags",
        }
    }
}

/// What a reply is to the generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A good OFFER, the first to this DISCOVER.
    Offer(Grant),
    /// A good ACK, the first to this REQUEST.
    Ack(Grant),
    /// A NAK to this REQUEST.
    Nak {
        /// The client.
        index: u32,
    },
    /// A second answer to a message that was sent once.
    Duplicate,
    /// An answer that the client no longer waits for: to an earlier exchange, or after it had to send again.
    Late,
    /// An OFFER of another server than the one taken: good, and not needed.
    OtherServer,
    /// The answer to what came over a client's second path.
    OtherPath,
    /// To an attacker.
    Foreign {
        /// Option 53.
        message_type: u8,
        /// The attacker's hardware address.
        mac: [u8; 6],
        /// Transaction identifier.
        xid: u32,
        /// `yiaddr`.
        address: u32,
        /// Server identifier, or 0.
        server_id: u32,
        /// Seconds of lease, or 0.
        lease_time_s: u32,
    },
    /// Not to a client of ours, or no reply at all.
    Unmatched,
    /// Wrong. The reply is not used.
    Violation(Violation, Evidence),
}

/// What an OFFER or an ACK grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The client.
    pub index: u32,
    /// Its address.
    pub address: u32,
    /// The server.
    pub server_id: u32,
    /// Where its frame came from.
    pub server_mac: [u8; 6],
    /// Seconds of lease; `u32::MAX` for ever.
    pub lease_time_s: u32,
    /// Whether the UDP checksum had been left to hardware.
    pub checksum: Checksum,
}

/// What a report says about a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The client's hardware address.
    pub mac: [u8; 6],
    /// `yiaddr`, where the reply could be read.
    pub address: u32,
    /// What is wrong with a malformed reply, or whose it is; otherwise empty.
    pub what: &'static str,
    /// Who holds the address, if that is the matter.
    pub holder: Option<[u8; 6]>,
}

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "reply to {} with address {}", mac(self.mac), Ipv4Addr::from(self.address))?;
        if !self.what.is_empty() {
            write!(f, ": {}", self.what)?;
        }
        if let Some(holder) = self.holder {
            write!(f, ", which {} holds", mac(holder))?;
        }
        Ok(())
    }
}

/// A hardware address as people write it.
pub fn mac([a, b, c, d, e, f]: [u8; 6]) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

/// First and last address of a pool.
pub type Pool = (u32, u32);

/// What is expected of replies, alike for all clients.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected {
    /// Addresses are from here.
    pub pool: Option<Pool>,
    /// Replies are from this server.
    pub server: Option<u32>,
    /// Replies are frames that come back: nothing of them is judged.
    pub echo: bool,
    /// Percent of the clients that are heard over two paths, and so answered twice.
    pub duplicate_path_percent: f64,
    /// Number of the exchange before the first: more than 0 when an earlier run had the same clients.
    pub first_round: u32,
}

/// The judge: what is expected of replies, and who holds which address.
pub struct Judge {
    book: HashMap<u32, u32, BuildHasherDefault<MixHasher>>,
    /// Addresses that attackers took, with the second in which their leases end; at most [`MAX_FOREIGN`].
    foreign: HashMap<u32, u32, BuildHasherDefault<MixHasher>>,
    expected: Expected,
    /// Chances below this make a client one with two paths.
    two_paths_below: u64,
}

/// What a judge looks at besides the reply.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// Who the clients are.
    pub names: &'a Identities,
    /// Where they are.
    pub clients: &'a Clients,
    /// What they sent.
    pub templates: &'a Templates,
    /// Seconds from the begin.
    pub now_s: u32,
}

impl Judge {
    /// A judge for so many clients.
    pub fn new(clients: u32, expected: Expected) -> Self {
        let book = HashMap::with_capacity_and_hasher(clients as usize, BuildHasherDefault::default());
        let two_paths_below = (expected.duplicate_path_percent / 100.0 * 4_294_967_296.0) as u64;
        Self { book, foreign: HashMap::default(), expected, two_paths_below }
    }

    /// Whether a client is heard over two paths.
    #[inline]
    pub fn has_two_paths(&self, names: &Identities, index: u32) -> bool {
        self.two_paths_below > 0 && u64::from(names.chance_of(index.into(), 3)) < self.two_paths_below
    }

    /// Judges a frame.
    pub fn judge(&self, frame: &[u8], scene: Scene<'_>) -> Verdict {
        let Scene { names, clients, .. } = scene;
        let reply = match Reply::parse(frame) {
            Ok(reply) => reply,
            Err(Unread::NotAReply) => return Verdict::Unmatched,
            Err(Unread::Malformed { mac, what }) => {
                if names.index_of(mac).is_none() {
                    return Verdict::Unmatched;
                }
                let evidence = Evidence { mac, address: 0, what, holder: None };
                return Verdict::Violation(Violation::Malformed, evidence);
            }
        };
        let Some(index) = names.index_of(reply.mac) else { return self.foreign(&reply, scene) };
        let client = clients.get(index);
        if client.round == self.expected.first_round {
            // It has asked for nothing yet: an earlier run with the same seed may have.
            return Verdict::Unmatched;
        }
        let evidence = Evidence { mac: reply.mac, address: reply.your_address, what: "", holder: None };
        if reply.xid != names.xid(index, client.round) {
            let earlier = client.round.saturating_sub(LATE_ROUNDS).max(1)..client.round;
            // An answer to an earlier run's exchange may still be on its way.
            if self.expected.first_round > 0 || earlier.rev().any(|round| reply.xid == names.xid(index, round)) {
                return Verdict::Late;
            }
            return Verdict::Violation(Violation::Xid, evidence);
        }
        let grant = Grant {
            index,
            address: reply.your_address,
            server_id: reply.server_id.unwrap_or_default(),
            server_mac: reply.source_mac,
            lease_time_s: reply.lease_time_s.unwrap_or_default(),
            checksum: reply.checksum,
        };
        if self.expected.echo {
            let grant = Grant { address: 0, server_id: ECHO, ..grant };
            return if client.phase == Phase::Selecting { Verdict::Offer(grant) } else { Verdict::Duplicate };
        }
        match place(&reply, client) {
            Place::Answer => {}
            // Over its second path a client that is served can be refused, and one that was refused can be served.
            Place::Again | Place::Late | Place::Refused if self.has_two_paths(names, index) => {
                return Verdict::OtherPath;
            }
            Place::Again if client.retransmitted() => return Verdict::Late,
            Place::Again => return Verdict::Duplicate,
            Place::Late => return Verdict::Late,
            Place::OtherServer => return Verdict::OtherServer,
            Place::Refused | Place::Unexpected => return Verdict::Violation(Violation::MessageType, evidence),
        }
        if let Err(violation) = self.content(&reply, index, client, scene) {
            return Verdict::Violation(violation, evidence);
        }
        if reply.message_type == NAK {
            return Verdict::Nak { index };
        }
        if let Some(holder) = self.holder(reply.your_address, Some(index), scene) {
            return Verdict::Violation(Violation::AddressNotUnique, Evidence { holder: Some(holder), ..evidence });
        }
        if reply.message_type == OFFER { Verdict::Offer(grant) } else { Verdict::Ack(grant) }
    }

    /// Writes into the book that a client now holds `address` in place of `before` (0: none).
    pub fn bound(&mut self, index: u32, before: u32, address: u32) {
        if before != address {
            self.left(index, before);
        }
        self.book.insert(address, index);
    }

    /// Writes into the book that a client no longer holds `address`.
    pub fn left(&mut self, index: u32, address: u32) {
        if address != 0 && self.book.get(&address) == Some(&index) {
            self.book.remove(&address);
        }
    }

    /// Writes down that an attacker took an address until `end_s`.
    pub fn taken_by_foreigner(&mut self, address: u32, end_s: u32) {
        if self.foreign.len() < MAX_FOREIGN || self.foreign.contains_key(&address) {
            self.foreign.insert(address, end_s);
        }
    }

    /// The client that holds an address.
    pub fn client_at(&self, address: u32) -> Option<u32> {
        self.book.get(&address).copied()
    }

    /// Another client, or an attacker, whose lease of the address has not ended.
    fn holder(&self, address: u32, index: Option<u32>, scene: Scene<'_>) -> Option<[u8; 6]> {
        // A second of grace: the server's clock began the lease before the ACK was here.
        let now_s = scene.now_s.saturating_add(1);
        if index.is_some() && self.foreign.get(&address).is_some_and(|end_s| *end_s > now_s) {
            return Some(scene.names.foreign_mac(0));
        }
        let holder = *self.book.get(&address)?;
        let client = scene.clients.get(holder);
        let held = client.address == address && client.holds_lease(now_s);
        (Some(holder) != index && held).then(|| scene.names.mac(holder))
    }

    /// Judges a reply to one who is no client: an attacker's must not give away what a client holds.
    fn foreign(&self, reply: &Reply<'_>, scene: Scene<'_>) -> Verdict {
        if !scene.names.is_foreign(reply.mac) {
            return Verdict::Unmatched;
        }
        if matches!(reply.message_type, OFFER | ACK)
            && let Some(holder) = self.holder(reply.your_address, None, scene)
        {
            let what = "an attacker's";
            let evidence = Evidence { mac: reply.mac, address: reply.your_address, what, holder: Some(holder) };
            return Verdict::Violation(Violation::AddressNotUnique, evidence);
        }
        Verdict::Foreign {
            message_type: reply.message_type,
            mac: reply.mac,
            xid: reply.xid,
            address: reply.your_address,
            server_id: reply.server_id.unwrap_or_default(),
            lease_time_s: reply.lease_time_s.unwrap_or_default(),
        }
    }

    /// Checks the fields of a reply that answers what its client sent.
    fn content(&self, reply: &Reply<'_>, index: u32, client: &Client, scene: Scene<'_>) -> Result<(), Violation> {
        let nak = reply.message_type == NAK;
        // A client rebinding or restarting asks whoever is there.
        let asked = matches!(client.phase, Phase::Requesting | Phase::Renewing).then_some(client.server_id);
        match reply.server_id {
            None | Some(0) => return Err(Violation::ServerIdentifier),
            Some(id) if asked.or(Some(id)) != Some(id) || self.expected.server.is_some_and(|server| server != id) => {
                return Err(Violation::ServerIdentifier);
            }
            Some(_) => {}
        }
        let address = reply.your_address;
        let changed = reply.message_type == ACK && address != client.wanted;
        if nak != (address == 0) || changed {
            return Err(Violation::Address);
        }
        if nak == reply.lease_time_s.is_some_and(|s| s != 0) {
            return Err(Violation::LeaseTime);
        }
        if !nak {
            let lease_time_s = reply.lease_time_s.unwrap_or_default();
            let t2 = reply.rebinding_time_s.unwrap_or(lease_time_s);
            let for_ever = lease_time_s == u32::MAX;
            let in_order = t2 <= lease_time_s && reply.rebinding_time_s != Some(lease_time_s) || for_ever;
            if !in_order || reply.renewal_time_s.is_some_and(|t1| t1 >= t2 && !for_ever) {
                return Err(Violation::RenewalTimes);
            }
            if self.expected.pool.is_some_and(|(first, last)| !(first..=last).contains(&address)) {
                return Err(Violation::AddressOutsidePool);
            }
        }
        self.echoes(reply, index, client, scene)
    }

    /// Checks what a server is to send back as it came.
    fn echoes(&self, reply: &Reply<'_>, index: u32, client: &Client, scene: Scene<'_>) -> Result<(), Violation> {
        let templates = scene.templates;
        let look = templates.look();
        let mut person = look.person(index, reply.mac, 0);
        if reply.relay_address != person.giaddr && look.paths_differ() && self.has_two_paths(scene.names, index) {
            person = look.person(index, reply.mac, 1);
        }
        // A renewal comes past the relay agent.
        let relayed = client.phase != Phase::Renewing;
        if reply.relay_address != if relayed { person.giaddr } else { 0 } {
            return Err(Violation::RelayAddress);
        }
        let relay_info = reply.relay_info.unwrap_or_default();
        if if relayed { !templates.is_relay_info(&person, relay_info) } else { !relay_info.is_empty() } {
            return Err(Violation::RelayInformation);
        }
        let tags = [person.outer, person.inner].map(|id| (id != 0).then_some(id));
        // A kernel or card that takes tags off does so with the outer one.
        if reply.vlans != tags && reply.vlans != [tags[1], None] && reply.vlans != [None, None] {
            return Err(Violation::VlanTags);
        }
        let echoed = match reply.client_id {
            None => !templates.sends_client_id(),
            Some([1, id @ ..]) => templates.sends_client_id() && id == reply.mac,
            Some(_) => false,
        };
        if echoed { Ok(()) } else { Err(Violation::ClientIdentifier) }
    }
}

/// Where a reply of the current exchange belongs.
enum Place {
    /// It answers the message that the client waits for.
    Answer,
    /// It answers what was answered already.
    Again,
    /// The client gave the exchange up.
    Late,
    /// An OFFER of a server not chosen.
    OtherServer,
    /// It refuses what was granted.
    Refused,
    /// It answers nothing.
    Unexpected,
}

fn place(reply: &Reply<'_>, client: &Client) -> Place {
    use Phase::{Bound, Declining, Idle, Offered, Rebinding, Rebooting, Releasing, Renewing, Requesting, Selecting};
    match (reply.message_type, client.phase) {
        (OFFER, Selecting) | (ACK | NAK, Requesting | Rebooting | Renewing | Rebinding) => Place::Answer,
        (OFFER | ACK | NAK, Idle | Releasing | Declining) => Place::Late,
        (OFFER, Requesting | Bound | Offered) if reply.server_id != Some(client.server_id) => Place::OtherServer,
        (OFFER, Requesting | Bound | Offered) | (ACK, Bound) => Place::Again,
        // A retransmission may have crossed with the answer.
        (NAK, Bound) if client.retransmitted() => Place::Late,
        (NAK, Bound) => Place::Refused,
        _ => Place::Unexpected,
    }
}

/// A multiplicative hash of one `u32`: addresses come from the server under test, which has better ways to be slow.
#[derive(Default)]
struct MixHasher(u64);

impl Hasher for MixHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(byte.into());
        }
    }
    fn write_u32(&mut self, value: u32) {
        self.0 = (self.0 ^ u64::from(value)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The table takes its group from the low bits and its tag from the top seven.
        self.0 ^= self.0 >> 32;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}
