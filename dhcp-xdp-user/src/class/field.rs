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
