//! The values of a packet that are no options.

/// A value that every packet has, or may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    HwAddress,
    Htype,
    Hlen,
    Hops,
    Xid,
    Secs,
    Broadcast,
    Ciaddr,
    Giaddr,
    MessageLength,
    Interface,
    Destination,
    OuterVlan,
    InnerVlan,
    Known,
}

impl Field {
    /// Whether it is a relay agent's word, or says where the message came in.
    pub fn is_of_path(self) -> bool {
        use Field::{Destination, Giaddr, Hops, InnerVlan, Interface, OuterVlan};
        matches!(self, Hops | Giaddr | Interface | Destination | OuterVlan | InnerVlan)
    }
}
