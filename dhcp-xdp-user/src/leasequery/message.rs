//! A binding as leasequery's replies tell it (RFC 4388 6.4, RFC 6148 4), the same over UDP and TCP.
//!
//! [`ReplyWriter`] writes a reply: [`begin`](ReplyWriter::begin), options, [`lease`](ReplyWriter::lease),
//! [`finish`](ReplyWriter::finish). It allocates nothing.

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;

use crate::{
    lease::{Binding, BindingState, HwAddress},
    wire::{
        dhcp::{BOOTREPLY, HeaderMut, MessageType},
        options::{OptionWriter, code},
    },
};

/// Addresses of one part of an option.
const PART: usize = 63;

/// The fixed part of a reply.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// DHCPLEASEACTIVE, DHCPLEASEUNASSIGNED, DHCPLEASEUNKNOWN, or one of TCP's.
    pub message_type: MessageType,
    /// The query's.
    pub xid: u32,
    /// The query's.
    pub giaddr: Ipv4Addr,
    /// The address that is told of; zero when none is.
    pub ciaddr: Ipv4Addr,
    /// Its client's hardware address; all zero when there is none.
    pub hw: HwAddress,
}

/// A binding and what else is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The binding.
    pub binding: &'a Binding,
    /// The present, seconds since 1970-01-01 UTC.
    pub now_s: u32,
    /// When the client was told to renew (T1) and to rebind (T2), seconds since 1970-01-01 UTC.
    pub renewal_s: Option<(u32, u32)>,
    /// All addresses of its client; told when there are several.
    pub associated: &'a [Ipv4Addr],
    /// Option 82 as it last came with the client's messages.
    pub relay_agent_info: Option<&'a [u8]>,
}

/// Writes a reply in place.
#[derive(Debug)]
pub struct ReplyWriter<'m, 'a> {
    options: OptionWriter<'m>,
    last: Option<&'a [u8]>,
}

impl<'m, 'a> ReplyWriter<'m, 'a> {
    /// Writes the fixed part and the message type; the message may become as long as `message` is. `None`: that is less than 300
    /// bytes.
    pub fn begin(message: &'m mut [u8], head: &Head) -> Option<Self> {
        HeaderMut::new_cleared(message)?
            .set_op(BOOTREPLY)
            .set_hardware(head.hw.htype, head.hw.hlen, &head.hw.chaddr)
            .set_xid(head.xid)
            .set_ciaddr(head.ciaddr)
            .set_giaddr(head.giaddr);
        // Few who ask read on in `file` and `sname`: what does not fit is left out.
        let mut options = OptionWriter::new(message, false, false)?;
        options.push(code::MESSAGE_TYPE, &[head.message_type.into()]).then_some(Self { options, last: None })
    }

    /// Adds an option, where there is room for it.
    pub fn option(&mut self, code: u8, data: &[u8]) -> bool {
        self.options.push(code, data)
    }

    /// Adds an option of one address.
    pub fn address(&mut self, code: u8, address: Ipv4Addr) -> bool {
        self.option(code, &address.octets())
    }

    /// Adds an option of 32 bits: seconds, mostly.
    pub fn number(&mut self, code: u8, number: u32) -> bool {
        self.option(code, &number.to_be_bytes())
    }

    /// Option 82, written last (RFC 3046 2.2). False: it does not fit. Before options that may be left out rather.
    pub fn relay_agent_info(&mut self, data: &'a [u8]) -> bool {
        let fits = self.last.is_none() && self.options.reserve(data.len());
        if fits {
            self.last = Some(data);
        }
        fits
    }

    /// Adds what a binding itself says of the options that are asked for (RFC 4388 6.4.2): 61, 51, 58, 59, 82 and 91; and 92,
    /// asked for or not, when its client has several addresses. Times are from `now_s` on (or back), and those that are over are
    /// not told; so is the lease time of what has none.
    pub fn lease(&mut self, facts: &Facts<'a>, asks_for: impl Fn(u8) -> bool) {
        let Facts { binding, now_s, .. } = *facts;
        if let Some(data) = facts.relay_agent_info.filter(|_| asks_for(code::RELAY_AGENT_INFO)) {
            self.relay_agent_info(data);
        }
        if asks_for(code::CLIENT_ID) && !binding.client_id.is_empty() {
            self.option(code::CLIENT_ID, &binding.client_id);
        }
        let left = |until_s: u32| if until_s == u32::MAX { Some(until_s) } else { until_s.checked_sub(now_s) };
        let (is_bound, is_declined) = (binding.state == BindingState::Bound, binding.state == BindingState::Declined);
        let (t1_s, t2_s) = facts.renewal_s.unzip();
        let ends =
            [(code::LEASE_TIME, Some(binding.expires_s)), (code::RENEWAL_TIME, t1_s), (code::REBINDING_TIME, t2_s)];
        // "For any state that has a timeout value associated with it" (RFC 6926 8.3); over UDP all are bound.
        let has_end = |code: u8| is_bound || (is_declined && code == code::LEASE_TIME);
        for (code, until_s) in ends.into_iter().filter(|(code, _)| has_end(*code) && asks_for(*code)) {
            if let Some(left_s) = until_s.and_then(left).filter(|left_s| *left_s > 0) {
                self.number(code, left_s);
            }
        }
        if asks_for(code::CLIENT_LAST_TRANSACTION_TIME) {
            self.number(code::CLIENT_LAST_TRANSACTION_TIME, now_s.saturating_sub(binding.started_s));
        }
        self.associated(facts.associated);
    }

    /// The addresses of a client, as many as there is room for.
    fn associated(&mut self, addresses: &[Ipv4Addr]) {
        if addresses.len() < 2 {
            return;
        }
        // Above 255 bytes an option comes in parts, which a reader joins (RFC 3396); for one that does not, each part has whole
        // addresses.
        for part in addresses.chunks(PART) {
            let data: ArrayVec<u8, { 4 * PART }> = part.iter().flat_map(|address| address.octets()).collect();
            let fits = (4..=data.len()).rev().step_by(4).find(|len| self.option(code::ASSOCIATED_IP, &data[..*len]));
            if fits != Some(data.len()) {
                return;
            }
        }
    }

    /// Ends the message; its length.
    pub fn finish(self) -> usize {
        self.options.finish(self.last.map(|data| (code::RELAY_AGENT_INFO, data)))
    }
}

#[cfg(test)]
mod tests {
    use dhcproto::{
        Decodable as _,
        v4::{self, DhcpOption, OptionCode},
    };

    use super::*;
    use crate::lease::{Lease, Space};

    const NOW_S: u32 = 1_900_000_000;
    const ALL: fn(u8) -> bool = |_| true;

    fn hw() -> HwAddress {
        let mut chaddr = [0; 16];
        chaddr[..6].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        HwAddress { htype: 1, hlen: 6, chaddr }
    }

    fn binding() -> Binding {
        let lease = Lease {
            space: Space::GLOBAL,
            address: Ipv4Addr::new(192, 0, 2, 9),
            state: BindingState::Bound,
            generation: 3,
            started_s: NOW_S - 100,
            expires_s: NOW_S + 500,
        };
        lease.of(&hw(), b"\x01modem")
    }

    fn facts(binding: &Binding) -> Facts<'_> {
        Facts {
            binding,
            now_s: NOW_S,
            renewal_s: Some((NOW_S + 200, NOW_S + 425)),
            associated: &[],
            relay_agent_info: Some(b"\x01\x02c1\x02\x02r1"),
        }
    }

    fn written(facts: &Facts<'_>, asks_for: impl Fn(u8) -> bool) -> v4::Message {
        let mut buffer = [0xa5; 576];
        let head = Head {
            message_type: MessageType::LeaseActive,
            xid: 7,
            giaddr: Ipv4Addr::new(198, 51, 100, 1),
            ciaddr: facts.binding.address,
            hw: facts.binding.hw,
        };
        let mut reply = ReplyWriter::begin(&mut buffer, &head).unwrap();
        reply.address(code::SERVER_ID, Ipv4Addr::new(192, 0, 2, 1));
        reply.lease(facts, asks_for);
        let len = reply.finish();
        v4::Message::decode(&mut v4::Decoder::new(&buffer[..len])).unwrap()
    }

    #[test]
    fn a_binding_is_told_as_dhcproto_reads_it() {
        let binding = binding();
        let reply = written(&facts(&binding), ALL);
        assert_eq!(
            (reply.opcode(), reply.xid(), reply.giaddr()),
            (v4::Opcode::BootReply, 7, Ipv4Addr::new(198, 51, 100, 1))
        );
        assert_eq!((reply.ciaddr(), reply.chaddr()), (binding.address, &hw().chaddr[..6]));
        let get = |code: OptionCode| reply.opts().get(code).cloned();
        assert_eq!(get(OptionCode::MessageType), Some(DhcpOption::MessageType(v4::MessageType::LeaseActive)));
        assert_eq!(get(OptionCode::ServerIdentifier), Some(DhcpOption::ServerIdentifier(Ipv4Addr::new(192, 0, 2, 1))));
        assert_eq!(get(OptionCode::AddressLeaseTime), Some(DhcpOption::AddressLeaseTime(500)));
        assert_eq!(get(OptionCode::Renewal), Some(DhcpOption::Renewal(200)));
        assert_eq!(get(OptionCode::Rebinding), Some(DhcpOption::Rebinding(425)));
        assert_eq!(get(OptionCode::ClientLastTransactionTime), Some(DhcpOption::ClientLastTransactionTime(100)));
        assert_eq!(get(OptionCode::ClientIdentifier), Some(DhcpOption::ClientIdentifier(b"\x01modem".to_vec())));
        assert!(matches!(get(OptionCode::RelayAgentInformation), Some(DhcpOption::RelayAgentInformation(_))));
        assert_eq!(get(OptionCode::AssociatedIp), None, "there is but one");
    }

    #[test]
    fn if_these_times_are_already_in_the_past_the_server_must_not_return_these_options() {
        let (binding, all) = (binding(), ALL);
        let reply = written(&Facts { renewal_s: Some((NOW_S, NOW_S - 1)), ..facts(&binding) }, all);
        assert!(reply.opts().get(OptionCode::Renewal).is_none());
        assert!(reply.opts().get(OptionCode::Rebinding).is_none());
        assert!(reply.opts().get(OptionCode::AddressLeaseTime).is_some());
    }

    #[test]
    fn what_is_not_asked_for_is_not_told_but_the_list_of_all_addresses() {
        let binding = binding();
        let many: Vec<Ipv4Addr> = (0..70).map(|n| Ipv4Addr::new(10, 0, 0, n)).collect();
        let reply = written(&Facts { associated: &many, ..facts(&binding) }, |_| false);
        let told: Vec<OptionCode> = reply.opts().iter().map(|(code, _)| *code).collect();
        assert_eq!(told, [OptionCode::MessageType, OptionCode::ServerIdentifier, OptionCode::AssociatedIp]);
        assert_eq!(reply.opts().get(OptionCode::AssociatedIp), Some(&DhcpOption::AssociatedIp(many)));
    }

    #[test]
    fn a_lease_for_ever_has_no_end() {
        let binding = Binding { expires_s: u32::MAX, ..binding() };
        let reply = written(&Facts { renewal_s: None, ..facts(&binding) }, ALL);
        let time = reply.opts().get(OptionCode::AddressLeaseTime);
        assert_eq!(time, Some(&DhcpOption::AddressLeaseTime(u32::MAX)));
    }
}
