//! What is told of a message: one type for the text and for JSON.

use std::net::Ipv4Addr;

use serde::Serialize;

use crate::worker::counters::DropReason;

/// What becomes of one message, and why. What is not known, or does not concern it, is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Story {
    /// What the client, and the relay agent, say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// Which subnet it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<Subnet>,
    /// All classes of the configuration, in its order.
    pub classes: Vec<Class>,
    /// What is reserved for the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Reservation>,
    /// The pools of its network in the order in which they are tried, where an address is sought.
    pub pools: Vec<Pool>,
    /// The reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<Dropped>,
    /// What the journal would record, in words.
    pub changes: Vec<String>,
}

/// What a message says.
#[derive(Clone, Debug, Serialize)]
pub struct Asked {
    /// DISCOVER, REQUEST and so on.
    pub message_type: String,
    /// The client's hardware address; without a type where that is Ethernet.
    pub hw_address: String,
    /// Transaction identifier, in hexadecimal.
    pub xid: String,
    /// Names and values of what it says beside that.
    pub fields: Vec<(&'static str, String)>,
}

/// The subnet.
#[derive(Clone, Debug, Serialize)]
pub struct Subnet {
    /// Its prefix; none when it belongs to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The VPN that it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpn: Option<String>,
    /// The network that it shares with others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// What decided on it.
    pub why: String,
    /// What makes two requests one client's there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// A class.
#[derive(Clone, Debug, Serialize)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Whether the client is in it.
    pub member: bool,
    /// Its condition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    /// What the condition looks at, with its values.
    pub values: Vec<(String, String)>,
    /// What it is spawned by, and the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spawned: Option<(String, String)>,
    /// Leases that count against its limit now, and the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leases: Option<(u32, u32)>,
    /// What else there is to say: that a reservation put the client into it, that it is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A client's reservation, or where one was looked for.
#[derive(Clone, Debug, Serialize)]
pub struct Reservation {
    /// Whether there is one.
    pub found: bool,
    /// What it is found by, and the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<(String, String)>,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    /// The identifiers that were looked for, in order, with what the message says.
    pub looked_for: Vec<(String, String)>,
    /// What else there is to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A pool.
#[derive(Clone, Debug, Serialize)]
pub struct Pool {
    /// Its addresses.
    pub range: String,
    /// Its subnet.
    pub subnet: String,
    /// Whether it is for the client.
    pub admits: bool,
    /// Who it is for, and why the client is or is not.
    pub why: String,
}

/// A reply.
#[derive(Clone, Debug, Serialize)]
pub struct Reply {
    /// OFFER, ACK, NAK.
    pub message_type: String,
    /// Why, of a NAK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The address that it gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// The lease time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_time: Option<LeaseTime>,
    /// Seconds until the client renews (T1) and rebinds (T2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_times_s: Option<(u32, u32)>,
    /// How those are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_why: Option<String>,
    /// Server identifier (option 54).
    pub server_id: Ipv4Addr,
    /// Where it goes, and why.
    pub sent_to: String,
    /// `siaddr`, `sname` and `file`, those that are set.
    pub header: Vec<Setting>,
    /// All options in the order of their codes.
    pub options: Vec<OptionSent>,
    /// What was configured, wanted, and left out: it did not fit.
    pub left_out: Vec<String>,
}

/// An address and why it is that one.
#[derive(Clone, Debug, Serialize)]
pub struct Address {
    /// It.
    pub address: Ipv4Addr,
    /// Its subnet.
    pub subnet: String,
    /// Why.
    pub why: String,
}

/// A lease time and where it is from.
#[derive(Clone, Debug, Serialize)]
pub struct LeaseTime {
    /// Seconds; `u32::MAX` is for ever.
    pub seconds: u32,
    /// Where it is from.
    pub why: String,
}

/// A field of a reply's header.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// Where it is set.
    pub from: String,
}

/// An option of a reply.
#[derive(Clone, Debug, Serialize)]
pub struct OptionSent {
    /// Its code.
    pub code: u8,
    /// Its name and code.
    pub name: String,
    /// Its value, by its type.
    pub value: String,
    /// Its data in hexadecimal.
    pub data: String,
    /// Where it is set.
    pub from: String,
}

/// Why there is no reply.
#[derive(Clone, Debug, Serialize)]
pub struct Dropped {
    /// The counter's name (docs/counters.md).
    pub reason: &'static str,
    /// What it means.
    pub words: &'static str,
    /// What would have to be otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<String>,
}

impl Dropped {
    pub(super) fn new(reason: DropReason, otherwise: Option<String>) -> Self {
        Self { reason: reason.name(), words: reason.words(), otherwise }
    }
}
