//! Which subnet a request belongs to, and who its client is there.

use std::net::Ipv4Addr;

use super::{DropReason, Ingress, Request, decide::is_host};
use crate::{
    config::{Config, Subnet, Subnets},
    lease::{ClientKey, LeaseTable},
};

/// A request's subnet, client and server identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index into `Config::subnets`.
    pub subnet: u16,
    /// The client's key in that subnet.
    pub key: ClientKey,
    /// Our server identifier there.
    pub server_id: Ipv4Addr,
}

/// Finds a request's subnet, key and server identifier.
///
/// # Errors
/// [`DropReason::NoSubnet`] and [`DropReason::NoServerId`].
pub fn locate(
    request: &Request<'_>,
    ingress: &Ingress<'_>,
    config: &Config,
    leases: &LeaseTable,
) -> Result<Place, DropReason> {
    let subnet = subnet_of(request, ingress, &config.subnets).ok_or(DropReason::NoSubnet)?;
    let found = config.subnets.get(usize::from(subnet)).ok_or(DropReason::NoSubnet)?;
    let server_id = server_id(found, ingress).ok_or(DropReason::NoServerId)?;
    let key = leases.key(subnet, &request.hw, request.client_id_bytes());
    Ok(Place { subnet, key, server_id })
}

/// The subnet of a request, as an index (RFC 2131 4.3.1 and 4.3.2).
///
/// - Relayed: the one that the relay agent's address is in.
/// - Unicast (RENEWING, RELEASE, INFORM): the one that `ciaddr` is in; the client may be behind routers, which leave no
///   `giaddr`, and "the DHCP server will trust the value in 'ciaddr'".
/// - Otherwise one of the interface's own. Of several the one that the client claims an address of, else the first. A
///   broadcast never leads to a subnet elsewhere, whatever `ciaddr` says: the client is on this link now.
fn subnet_of(request: &Request<'_>, ingress: &Ingress<'_>, subnets: &Subnets) -> Option<u16> {
    if request.is_relayed() {
        let relay = |index: &u16| is_host(&subnets[usize::from(*index)].prefix, request.giaddr);
        return subnets.index_of(request.giaddr).filter(relay);
    }
    if !request.destination.is_broadcast()
        && !request.ciaddr.is_unspecified()
        && let Some(index) = subnets.index_of(request.ciaddr)
    {
        return Some(index);
    }
    let claimed = request.claimed_address();
    let is_claimed = |subnet: &Subnet| claimed.is_some_and(|address| subnet.prefix.contains(&address));
    let on_link = || subnets.on_link(ingress.name);
    let claimed = on_link().find(|(_, subnet)| is_claimed(subnet));
    claimed.or_else(|| on_link().next()).map(|(index, _)| index)
}

/// The server identifier in a subnet: the configured one, else an address of the interface, best one inside the subnet.
fn server_id(subnet: &Subnet, ingress: &Ingress<'_>) -> Option<Ipv4Addr> {
    let inside = || ingress.addresses.iter().find(|&address| subnet.prefix.contains(address));
    subnet.server_id.or_else(|| inside().or(ingress.addresses.first()).copied())
}
