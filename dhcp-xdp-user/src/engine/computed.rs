//! Options that are computed for each reply. They are evaluated while the request still lies in its frame, and kept until the
//! reply is written over it.

use std::net::Ipv4Addr;

use super::{Reply, Request, layers::Layers, reply::Due};
use crate::{
    class::{ClassSet, Packet},
    config::Config,
    wire::{
        dhcp::MessageType,
        options::{Area, MAX_OPTION_DATA},
    },
};

/// Most bytes that the computed options of a reply have together, their codes and lengths included; what does not fit is
/// left out.
pub const MAX_COMPUTED: usize = 512;

/// The computed options of a reply: code, length and data, one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Computed<'a>(&'a [u8]);

impl<'a> Computed<'a> {
    /// What [`compute`] has put together.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The data of an option; `None`: its expression has no value for this reply.
    pub(super) fn get(self, code: u8) -> Option<&'a [u8]> {
        Area::new(self.0).flatten().find(|option| option.code == code).map(|option| option.data)
    }
}

/// Computes the options of a reply that are computed and that its client is to have, and adds them to `out`; at most
/// [`MAX_COMPUTED`] bytes. `your_address` of the expressions is the address that the reply gives, or in the answer to an INFORM
/// the client's own.
pub fn compute(
    request: &Request<'_>,
    reply: &Reply,
    packet: &Packet<'_>,
    members: &ClassSet,
    config: &Config,
    out: &mut Vec<u8>,
) {
    let Some(subnet) = config.subnets.get(usize::from(reply.subnet)) else { return };
    if reply.message_type == MessageType::Nak {
        return;
    }
    let layers = Layers::new(reply, request.ciaddr, subnet, config);
    let due = Due::new(request.parameter_request_list);
    let address = if reply.your_address.is_unspecified() { request.ciaddr } else { reply.your_address };
    let address = Some(address).filter(|address: &Ipv4Addr| !address.is_unspecified());
    let start = out.len();
    for blob in layers.all() {
        let Some(expression) = blob.computed.as_ref().filter(|_| due.has(blob.code, blob.always)) else { continue };
        // Of a code that is set in several layers the first one counts.
        let counts = layers.get(blob.code).is_some_and(|first| std::ptr::eq(first, blob));
        if !counts {
            continue;
        }
        expression.value(packet, members, address, |data| {
            let room = MAX_COMPUTED - (out.len() - start);
            if data.len() <= MAX_OPTION_DATA && data.len() + 2 <= room {
                // At most 255.
                out.extend([blob.code, data.len() as u8]);
                out.extend_from_slice(data);
            }
        });
    }
}
