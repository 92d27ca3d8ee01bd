//! What attackers send beside the good clients: garbage, starvation and spoofing.
//!
//! Their MAC addresses are no client's, so that a server that follows them is at fault: nothing that they say about a good
//! client's lease may change it. (A forger who takes over the client's own MAC address cannot be told from it by a server;
//! that is left out.)

use dhcp_xdp_ebpf::walk::{ETHERNET_LEN, UDP_LEN, VLAN_TAG_LEN};

use crate::{
    identity::{Identities, mix},
    template::{Fields, Message, Templates},
};

/// A frame of an attacker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Number `n` of what is hardly a DHCP message.
    Garbage {
        /// Which.
        n: u32,
    },
    /// A new identity asks.
    Discover {
        /// Which.
        n: u32,
    },
    /// It takes what it was offered.
    Request {
        /// Its MAC address.
        mac: [u8; 6],
        /// Its transaction.
        xid: u32,
        /// The address.
        address: u32,
        /// The server.
        server_id: u32,
    },
    /// RELEASE, DECLINE or REQUEST of an address that a good client holds.
    Spoof {
        /// Which.
        n: u32,
        /// What it says.
        message: Message,
        /// The address.
        address: u32,
        /// The server.
        server_id: u32,
    },
}

impl Attack {
    /// Writes the frame and returns its length.
    pub fn write(self, templates: &Templates, names: &Identities, buffer: &mut [u8]) -> usize {
        let fields = |n: u32, mac, xid, address, server_id| Fields {
            person: templates.look().person(n, mac, 0),
            xid,
            secs: 0,
            address,
            server_id,
            server_mac: None,
        };
        let of = |n: u32, address, server_id| {
            fields(n, names.foreign_mac(n), names.chance_of(n.into(), 4), address, server_id)
        };
        match self {
            Attack::Discover { n } => templates.write(Message::Discover, &of(n, 0, 0), buffer),
            Attack::Request { mac, xid, address, server_id } => {
                let n = u32::from_be_bytes([0, mac[3], mac[4], mac[5]]);
                templates.write(Message::Request, &fields(n, mac, xid, address, server_id), buffer)
            }
            Attack::Spoof { n, message, address, server_id } => {
                templates.write(message, &of(n, address, server_id), buffer)
            }
            Attack::Garbage { n } => {
                let len = templates.write(Message::Discover, &of(n, 0, 0), buffer);
                let ip = ETHERNET_LEN + VLAN_TAG_LEN * templates.look().tag_count();
                spoil(&mut buffer[..len], ip, mix(u64::from(names.chance_of(n.into(), 5)) << 32 | u64::from(n)))
            }
        }
    }
}

/// Makes garbage of a good frame, in one of six ways; returns the length of what is left.
fn spoil(frame: &mut [u8], ip: usize, mut chance: u64) -> usize {
    let udp = ip + 20;
    let bootp = udp + UDP_LEN;
    if frame.len() < bootp + 300 {
        return frame.len();
    }
    let mut next = || {
        chance = mix(chance);
        chance as usize
    };
    // Without a checksum (RFC 768), so that the damage gets as far as the parser.
    frame[udp + 6..udp + 8].fill(0);
    match next() % 6 {
        // Options that are noise.
        0 => frame[bootp + 240..].iter_mut().for_each(|byte| *byte = next() as u8),
        // Cut off anywhere behind the Ethernet header, whatever the lengths say.
        1 => return ip + 1 + next() % (frame.len() - ip - 1),
        // An option that claims to be longer than the message.
        2 => frame[bootp + 240..bootp + 242].copy_from_slice(&[53, 255]),
        // Some bytes anywhere but in the hardware address.
        3 => {
            for _ in 0..=next() % 8 {
                let at = ip + next() % (frame.len() - ip);
                if !(bootp + 28..bootp + 34).contains(&at) {
                    frame[at] = next() as u8;
                }
            }
        }
        // No magic cookie.
        4 => frame[bootp + 236..bootp + 240].fill(next() as u8),
        // A hardware address of an impossible length.
        _ => frame[bootp + 1..bootp + 3].copy_from_slice(&[next() as u8, 17 + (next() % 239) as u8]),
    }
    frame.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{Look, MAX_FRAME};

    #[test]
    fn garbage_differs_and_is_the_same_for_the_same_seed() {
        let templates = Templates::new(&Look::default()).unwrap();
        let frames = |seed| {
            let names = Identities::new(seed, 1);
            let garbage = |n| {
                let mut buffer = [0; MAX_FRAME];
                let len = Attack::Garbage { n }.write(&templates, &names, &mut buffer);
                buffer[..len].to_vec()
            };
            (0..1000).map(garbage).collect::<Vec<_>>()
        };
        let first = frames(1);
        assert!(first == frames(1) && first != frames(2));
        let lengths: std::collections::BTreeSet<usize> = first.iter().map(Vec::len).collect();
        assert!(lengths.len() > 50 && *lengths.first().unwrap() > ETHERNET_LEN, "{lengths:?}");
    }
}
