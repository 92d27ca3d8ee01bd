//! What became of each frame: one cache-padded set of counters a worker, written by it alone, read by statistics.

use std::{
    sync::atomic::{AtomicU64, Ordering, fence},
    time::{Duration, Instant},
};

use crossbeam_utils::CachePadded;

macro_rules! named {
    ($(#[$outer:meta])* $enum:ident { $($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(usize)]
        pub enum $enum { $($(#[doc = $doc])+ $variant,)* }

        impl $enum {
            /// All of them, in the order of their counters.
            pub const ALL: &'static [$enum] = &[$($enum::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();
            /// The name in statistics; a metric's label.
            pub const fn name(self) -> &'static str {
                match self { $($enum::$variant => $name,)* }
            }
            /// What it counts, in words: its documentation.
            pub fn words(self) -> &'static str {
                match self { $($enum::$variant => concat!($($doc),+).trim(),)* }
            }
        }
    };
}

named! {
    /// Why a frame got no reply.
    DropReason {
        // What the frame is.
        /// A header or a length field runs past the end of the frame.
        Truncated = "truncated",
        /// The IPv4 header checksum is wrong.
        BadIpChecksum = "bad_ip_checksum",
        /// The UDP checksum is wrong, and not one left for hardware to fill in.
        BadUdpChecksum = "bad_udp_checksum",
        /// The UDP length does not fit its datagram.
        BadUdpLength = "bad_udp_length",
        /// A fragment, another protocol, another port or another op, which XDP should have passed, or a group address as
        /// Ethernet source.
        NotOurs = "not_ours",
        /// Shorter than a BOOTP header and the magic cookie.
        BootpTooShort = "bootp_too_short",
        /// `hlen` is over 16.
        BadHlen = "bad_hlen",
        /// The magic cookie is not 99.130.83.99: plain BOOTP, in a subnet without `bootp`.
        BadCookie = "bad_cookie",
        /// An option runs past the end of its field, or has a length that its type forbids.
        BadOption = "bad_option",
        /// No DHCP message type: plain BOOTP, in a subnet without `bootp`.
        NoMessageType = "no_message_type",
        /// A message type that only servers send, or one that is unknown; a leasequery where there is no `[leasequery]`.
        UnexpectedMessageType = "unexpected_message_type",
        /// Neither a client identifier nor a hardware address: nobody to lease to.
        NoClientIdentity = "no_client_identity",
        /// An Ethernet `chaddr` that is a group address or zero: nobody can be answered there.
        BadHwAddress = "bad_hw_address",
        /// It passed more relay agents than `max_hops` allows.
        TooManyHops = "too_many_hops",
        // What the engine decided.
        /// Its hash bucket is another server's (RFC 3074), and its client has not waited long.
        OtherServersBucket = "other_servers_bucket",
        /// A DHCPDISCOVER whose client has waited for less than the subnet's `min_secs`.
        TooEarly = "too_early",
        /// No subnet of ours for this relay agent or interface, or its VPN; or a unicast from an address that several VPNs have, or
        /// one that a router brought and that has no address of ours.
        NoSubnet = "no_subnet",
        /// Neither the subnet nor the interface has an address to answer with.
        NoServerId = "no_server_id",
        /// The client chose another server; an offer held for it is free again.
        OtherServerChosen = "other_server_chosen",
        /// Every address of the subnet is in use.
        NoFreeAddress = "no_free_address",
        /// Nothing is known of this client, and silence is the answer (RFC 2131 4.3.2), as to a renewal that `unknown_renewals` does not
        /// grant.
        UnknownClient = "unknown_client",
        /// A request whose fields fit no state of RFC 2131 4.3.2.
        BadRequest = "bad_request",
        /// A RELEASE that was carried out: it has no reply.
        Released = "released",
        /// A DECLINE that was carried out: it has no reply.
        Declined = "declined",
        /// A RELEASE or DECLINE of an address that this client does not have.
        NotOwner = "not_owner",
        /// Another worker was changing the same slot; the client asks again.
        Contended = "contended",
        /// The pool of memory for client identifiers of more than 30 bytes is used up; other clients are served on.
        ClientIdRoom = "client_id_room",
        /// As many leases as `lease_limit` allows count against a value of the client's class; no further one is bound.
        LeaseLimit = "lease_limit",
        /// The address that was to be offered answered to the ping check: it is quarantined, and its client is offered another
        /// one when it asks again.
        AddressInUse = "address_in_use",
        /// The address to offer is being probed already, for an earlier DHCPDISCOVER that is still to be answered; or the server
        /// stopped meanwhile.
        ProbeUnderWay = "probe_under_way",
        /// The subnet is not for the client: see `allow_classes`, `deny_classes` and `known_clients_only`.
        ClassDenied = "class_denied",
        /// The client is in a class that is ignored.
        ClassIgnored = "class_ignored",
        /// A leasequery from an address, or with a `giaddr`, that is not in `allow` of `[leasequery]`.
        LeaseQueryNotAllowed = "leasequery_not_allowed",
        /// A leasequery that came in on an interface that is not in `interfaces` of `[leasequery]`.
        LeaseQueryInterface = "leasequery_interface",
        /// A leasequery without a `giaddr`, or one that does not name exactly one thing (RFC 4388 6.3).
        LeaseQueryMalformed = "leasequery_malformed",
        /// A leasequery beyond the worker's `queries_per_s`; the requester asks again.
        LeaseQueryRate = "leasequery_rate",
        /// A leasequery by something else than an address, whose index is still being made; the requester asks again.
        LeaseQueryNotReady = "leasequery_not_ready",
        /// A leasequery by something that more than 128 leases have, the newest of which are all over, which their index has not
        /// learned of yet; the requester asks again.
        LeaseQueryTooMany = "leasequery_too_many",
        // What stood in the way.
        /// The journal takes no more at the moment; the client asks again.
        JournalFull = "journal_full",
        /// Too many ACKs wait for the disk; the client asks again.
        ParkingFull = "parking_full",
        /// The reply does not fit into the client's maximum message size or the frame.
        ReplyTooLong = "reply_too_long",
        /// The transmit ring is full.
        TxFull = "tx_full",
        /// Parked for too long, or still when the server stopped, because the disk would not take its record: never sent.
        NotDurable = "not_durable",
    }
}

named! {
    /// What was received or sent, by message type.
    Message {
        /// Received DHCPDISCOVER.
        Discover = "discover",
        /// Received DHCPREQUEST.
        Request = "request",
        /// Received DHCPDECLINE.
        Decline = "decline",
        /// Received DHCPRELEASE.
        Release = "release",
        /// Received DHCPINFORM.
        Inform = "inform",
        /// Received a request of BOOTP: no DHCP message type.
        Bootp = "bootp",
        /// Received DHCPLEASEQUERY.
        LeaseQuery = "leasequery",
        /// Sent DHCPOFFER.
        Offer = "offer",
        /// Sent DHCPACK.
        Ack = "ack",
        /// Sent DHCPNAK.
        Nak = "nak",
        /// Sent a reply of BOOTP.
        BootpReply = "bootp_reply",
        /// Sent DHCPLEASEACTIVE.
        LeaseActive = "lease_active",
        /// Sent DHCPLEASEUNASSIGNED.
        LeaseUnassigned = "lease_unassigned",
        /// Sent DHCPLEASEUNKNOWN.
        LeaseUnknown = "lease_unknown",
    }
}

named! {
    /// What an operator should know of beside what becomes of frames.
    Notice {
        /// A client was offered another address than the one that is reserved for it, which somebody else has still, or which is quarantined after a DECLINE.
        ReservedInUse = "reserved_in_use",
        /// An address was offered without being probed although its subnet has `ping_check`: more were asked for than
        /// `max_per_s` allows, or no echo request could be sent.
        OfferedUnprobed = "offered_unprobed",
    }
}

/// How long a snapshot looks for a moment between two turns: longer than a worker is off its CPU on a busy machine.
const LOOK_FOR: Duration = Duration::from_millis(200);

/// Counters of one worker.
///
/// `received = sent + parked + the sum of drops` in every snapshot: a turn of the worker is counted as a whole or not at all.
#[derive(Debug)]
pub struct Counters {
    /// Odd while the worker is within a turn.
    turn: AtomicU64,
    received: CachePadded<AtomicU64>,
    sent: AtomicU64,
    parked: AtomicU64,
    drops: [AtomicU64; DropReason::COUNT],
    messages: [AtomicU64; Message::COUNT],
    notices: [AtomicU64; Notice::COUNT],
}

impl Default for Counters {
    fn default() -> Self {
        let zero = |_| AtomicU64::default();
        Self {
            turn: AtomicU64::default(),
            received: CachePadded::default(),
            sent: AtomicU64::default(),
            parked: AtomicU64::default(),
            drops: std::array::from_fn(zero),
            messages: std::array::from_fn(zero),
            notices: std::array::from_fn(zero),
        }
    }
}

/// Adds without a locked instruction: only the owner writes.
#[inline]
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

impl Counters {
    /// A turn begins: what is counted until [`end`](Self::end) belongs together.
    #[inline]
    pub fn begin(&self) {
        add(&self.turn, 1);
        // No count of the turn may be seen before the turn is.
        fence(Ordering::Release);
    }
    /// The turn is over.
    #[inline]
    pub fn end(&self) {
        self.turn.store(self.turn.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
    }
    /// Frames taken from the receive ring.
    #[inline]
    pub fn received(&self, n: u64) {
        add(&self.received, n);
    }
    /// Replies put on the transmit ring.
    #[inline]
    pub fn sent(&self, n: u64) {
        add(&self.sent, n);
    }
    /// Replies that wait for the disk, or for a probe, at this moment.
    #[inline]
    pub fn set_parked(&self, n: u64) {
        self.parked.store(n, Ordering::Relaxed);
    }
    /// A frame that gets no reply.
    #[inline]
    pub fn dropped(&self, reason: DropReason) {
        add(&self.drops[reason as usize], 1);
    }
    /// A message received or sent.
    #[inline]
    pub fn message(&self, message: Message) {
        add(&self.messages[message as usize], 1);
    }
    /// Something to be noticed.
    #[inline]
    pub fn notice(&self, notice: Notice) {
        add(&self.notices[notice as usize], 1);
    }
    /// A copy for statistics, as it is between two turns. A turn takes some microseconds; should the worker be off its CPU in
    /// the middle of one for long, the copy is taken all the same.
    pub fn snapshot(&self) -> Snapshot {
        let start = Instant::now();
        while start.elapsed() < LOOK_FOR {
            let before = self.turn.load(Ordering::Acquire);
            if before & 1 == 0 {
                let snapshot = self.copy();
                fence(Ordering::Acquire);
                if self.turn.load(Ordering::Relaxed) == before {
                    return snapshot;
                }
            }
            std::thread::yield_now();
        }
        self.copy()
    }

    fn copy(&self) -> Snapshot {
        let load = |c: &AtomicU64| c.load(Ordering::Relaxed);
        Snapshot {
            received: load(&self.received),
            sent: load(&self.sent),
            parked: load(&self.parked),
            drops: std::array::from_fn(|i| load(&self.drops[i])),
            messages: std::array::from_fn(|i| load(&self.messages[i])),
            notices: std::array::from_fn(|i| load(&self.notices[i])),
        }
    }
}

/// A worker's counters at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Frames taken from the receive ring.
    pub received: u64,
    /// Replies put on the transmit ring.
    pub sent: u64,
    /// Replies that wait for the disk, or for a probe.
    pub parked: u64,
    /// Frames without a reply, by [`DropReason`].
    pub drops: [u64; DropReason::COUNT],
    /// Messages, by [`Message`].
    pub messages: [u64; Message::COUNT],
    /// What is to be noticed, by [`Notice`].
    pub notices: [u64; Notice::COUNT],
}

impl Snapshot {
    /// Frames without a reply.
    pub fn dropped(&self) -> u64 {
        self.drops.iter().sum()
    }
    /// Whether each frame received is accounted for (invariant 3, the worker's part).
    pub fn closes(&self) -> bool {
        self.received == self.sent + self.parked + self.dropped()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn a_snapshot_taken_in_the_middle_of_work_closes() {
        let (counters, stop) = (Counters::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    counters.begin();
                    counters.received(3);
                    counters.dropped(DropReason::NoSubnet);
                    counters.sent(1);
                    counters.set_parked(0);
                    counters.dropped(DropReason::Contended);
                    counters.end();
                    // Between two turns a worker flushes and services its rings.
                    (0..500).for_each(|_| std::hint::spin_loop());
                }
            });
            while counters.snapshot().received == 0 {
                std::thread::yield_now();
            }
            let closed = (0..2_000).filter(|_| counters.snapshot().closes()).count();
            stop.store(true, Ordering::Relaxed);
            assert_eq!(closed, 2_000);
        });
    }
}
