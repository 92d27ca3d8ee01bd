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
    /// No server identifier, or another than that of the server asked.
    ServerIdentifier,
    /// No address, another than the one offered, or one in a NAK.
    Address,
    /// An address that another client holds.
    AddressNotUnique,
    /// An address outside the expected pool.
    AddressOutsidePool,
    /// No lease time in an OFFER or ACK, or one in a NAK.
    LeaseTime,
    /// Option 82 is not the one sent (RFC 3046 2.2).
    RelayInformation,
    /// The client identifier is not the one sent (RFC 6842 3).
    ClientIdentifier,
}

impl Violation {
    /// All, in the order of their counters.
    pub const ALL: [Violation; 10] = [
        Violation::Malformed,
        Violation::Xid,
        Violation::MessageType,
        Violation::ServerIdentifier,
        Violation::Address,
        Violation::AddressNotUnique,
        Violation::AddressOutsidePool,
        Violation::LeaseTime,
        Violation::RelayInformation,
        Violation::ClientIdentifier,
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
            Violation::RelayInformation => "relay_information",
            Violation::ClientIdentifier => "client_identifier",
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
    /// What is wrong with a malformed reply; otherwise empty.
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

/// The judge: what is expected of replies, and who holds which address.
pub struct Judge {
    book: HashMap<u32, u32, BuildHasherDefault<MixHasher>>,
    pool: Option<Pool>,
    echo: bool,
}

impl Judge {
    /// A judge for so many clients, who expects addresses from `pool` if there is one; or none at all but `echo`es.
    pub fn new(clients: u32, pool: Option<Pool>, echo: bool) -> Self {
        let book = HashMap::with_capacity_and_hasher(clients as usize, BuildHasherDefault::default());
        Self { book, pool, echo }
    }

    /// Judges a frame that came in at `now_s` seconds from the begin.
    pub fn judge(
        &self,
        frame: &[u8],
        names: &Identities,
        clients: &Clients,
        templates: &Templates,
        now_s: u32,
    ) -> Verdict {
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
        let Some(index) = names.index_of(reply.mac) else { return Verdict::Unmatched };
        let client = clients.get(index);
        if client.round == 0 {
            // It has asked for nothing yet: an earlier run with the same seed may have.
            return Verdict::Unmatched;
        }
        let evidence = Evidence { mac: reply.mac, address: reply.your_address, what: "", holder: None };
        if reply.xid != names.xid(index, client.round) {
            let earlier = client.round.saturating_sub(LATE_ROUNDS).max(1)..client.round;
            if earlier.rev().any(|round| reply.xid == names.xid(index, round)) {
                return Verdict::Late;
            }
            return Verdict::Violation(Violation::Xid, evidence);
        }
        if self.echo {
            let grant = Grant { index, address: 0, server_id: ECHO, lease_time_s: 0, checksum: reply.checksum };
            return if client.phase == Phase::Selecting { Verdict::Offer(grant) } else { Verdict::Duplicate };
        }
        match place(&reply, client) {
            Place::Answer => {}
            Place::Verdict(verdict) => return verdict,
            Place::Unexpected => return Verdict::Violation(Violation::MessageType, evidence),
        }
        if let Err(violation) = self.content(&reply, index, client, templates) {
            return Verdict::Violation(violation, evidence);
        }
        if reply.message_type == NAK {
            return Verdict::Nak { index };
        }
        if let Some(holder) = self.holder(reply.your_address, index, clients, now_s) {
            let evidence = Evidence { holder: Some(names.mac(holder)), ..evidence };
            return Verdict::Violation(Violation::AddressNotUnique, evidence);
        }
        let grant = Grant {
            index,
            address: reply.your_address,
            server_id: reply.server_id.unwrap_or_default(),
            lease_time_s: reply.lease_time_s.unwrap_or_default(),
            checksum: reply.checksum,
        };
        if reply.message_type == OFFER { Verdict::Offer(grant) } else { Verdict::Ack(grant) }
    }

    /// Writes into the book that a client now holds `address` in place of `before` (0: none).
    pub fn bound(&mut self, index: u32, before: u32, address: u32) {
        if before != 0 && before != address && self.book.get(&before) == Some(&index) {
            self.book.remove(&before);
        }
        self.book.insert(address, index);
    }

    /// Another client whose lease of the address has not ended.
    fn holder(&self, address: u32, index: u32, clients: &Clients, now_s: u32) -> Option<u32> {
        let holder = *self.book.get(&address)?;
        let client = clients.get(holder);
        // A second of grace: the server's clock began the lease before the ACK was here.
        let held = client.lease_end_s == u32::MAX || client.lease_end_s > now_s.saturating_add(1);
        (holder != index && client.address == address && held).then_some(holder)
    }

    /// Checks the fields of a reply that answers what its client sent.
    fn content(&self, reply: &Reply<'_>, index: u32, client: &Client, templates: &Templates) -> Result<(), Violation> {
        let nak = reply.message_type == NAK;
        match reply.server_id {
            None | Some(0) => return Err(Violation::ServerIdentifier),
            Some(id) if client.phase == Phase::Requesting && id != client.server_id => {
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
        if !nak && self.pool.is_some_and(|(first, last)| !(first..=last).contains(&address)) {
            return Err(Violation::AddressOutsidePool);
        }
        if !templates.is_relay_info(index, reply.relay_info.unwrap_or_default()) {
            return Err(Violation::RelayInformation);
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
    /// It is something else that is no fault.
    Verdict(Verdict),
    /// It answers nothing.
    Unexpected,
}

fn place(reply: &Reply<'_>, client: &Client) -> Place {
    let again = if client.retransmitted { Verdict::Late } else { Verdict::Duplicate };
    match (reply.message_type, client.phase) {
        (OFFER, Phase::Selecting) | (ACK | NAK, Phase::Requesting) => Place::Answer,
        (OFFER | ACK | NAK, Phase::Idle) => Place::Verdict(Verdict::Late),
        (OFFER, _) if reply.server_id != Some(client.server_id) => Place::Verdict(Verdict::OtherServer),
        (OFFER, _) | (ACK, Phase::Bound) => Place::Verdict(again),
        (NAK, Phase::Bound) if client.retransmitted => Place::Verdict(Verdict::Late),
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
