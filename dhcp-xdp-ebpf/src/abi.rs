//! The map ABI: names, sizes and indices that the XDP program and the loader must agree on.

/// Names of the program, its maps and its read-only globals, as they appear in the object file.
pub mod map {
    /// The XDP program.
    pub const PROGRAM: &str = "dhcp_xdp";
    /// `XSKMAP`: index `queue * WORKERS + worker` to an AF_XDP socket.
    pub const SOCKETS: &str = "SOCKETS";
    /// Per-CPU array of `u64`, one an entry of [`Verdict`](super::Verdict).
    pub const VERDICTS: &str = "VERDICTS";
    /// Hash of IPv4 destination addresses (network byte order, as in the frame) that are ours. Limited broadcast needs no entry.
    pub const DESTINATIONS: &str = "DESTINATIONS";
    /// `u32`: workers a queue.
    pub const WORKERS: &str = "WORKERS";
    /// `u8`: a [`Role`](crate::Role), as its discriminant.
    pub const ROLE: &str = "ROLE";
    /// `u8`: 1 when only destinations in [`DESTINATIONS`] and the limited broadcast are ours, 0 when any destination is.
    pub const FILTER_DESTINATION: &str = "FILTER_DESTINATION";
}

/// Entries of the socket map: the most sockets an interface can have.
pub const MAX_SOCKETS: u32 = 1024;
/// Entries of the destination map.
pub const MAX_DESTINATIONS: u32 = 4096;

/// Whether the program logs an event of which `before` came before it on the same CPU: the first, and then one in 65,536.
///
/// The log's switch is the global `AYA_LOG_LEVEL` that `aya-log` brings (`aya_log::LEVEL`, all levels by default).
#[inline(always)]
pub const fn is_logged(before: u64) -> bool {
    before & 0xffff == 0
}

/// What the XDP program did with a frame; the index of its counter and the label of its metric.
///
/// Each frame that the program sees counts in exactly one of these, so that their sum is what the program saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Verdict {
    /// Handed to an AF_XDP socket.
    Redirected = 0,
    /// Not IPv4, or more than two VLAN tags.
    PassNotIpv4,
    /// IPv4 but not UDP.
    PassNotUdp,
    /// A fragment of a datagram, the first one included.
    PassFragment,
    /// UDP to another port.
    PassOtherPort,
    /// To a port of ours, but the BOOTP `op` is not the one that this role reads.
    PassOtherOp,
    /// A header runs past the end of the frame, or its length field is too small.
    PassTruncated,
    /// To a unicast address that is not ours.
    PassOtherDestination,
    /// Ours, but no socket is open for its queue.
    PassNoSocket,
}

impl Verdict {
    /// Number of verdicts: the size of the counter map.
    pub const COUNT: u32 = 9;

    /// All verdicts, in the order of their counters.
    pub const ALL: [Verdict; Self::COUNT as usize] = [
        Verdict::Redirected,
        Verdict::PassNotIpv4,
        Verdict::PassNotUdp,
        Verdict::PassFragment,
        Verdict::PassOtherPort,
        Verdict::PassOtherOp,
        Verdict::PassTruncated,
        Verdict::PassOtherDestination,
        Verdict::PassNoSocket,
    ];

    /// The name of the verdict in statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Redirected => "redirected",
            Verdict::PassNotIpv4 => "pass_not_ipv4",
            Verdict::PassNotUdp => "pass_not_udp",
            Verdict::PassFragment => "pass_fragment",
            Verdict::PassOtherPort => "pass_other_port",
            Verdict::PassOtherOp => "pass_other_op",
            Verdict::PassTruncated => "pass_truncated",
            Verdict::PassOtherDestination => "pass_other_destination",
            Verdict::PassNoSocket => "pass_no_socket",
        }
    }
}

const _: () = {
    let mut i = 0;
    while i < Verdict::ALL.len() {
        assert!(Verdict::ALL[i] as usize == i, "counters are in the order of the discriminants");
        i += 1;
    }
};
