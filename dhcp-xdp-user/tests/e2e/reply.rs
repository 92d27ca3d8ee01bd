//! A reply of leasequery over TCP, as `dhcproto` reads it. The unit tests of `leasequery::tcp` read theirs with it too.

use dhcproto::{
    Decodable as _, Decoder,
    v4::{DhcpOption, Message, Opcode, OptionCode},
};

#[derive(Debug)]
pub struct Reply {
    pub kind: u8,
    pub message: Message,
}

impl Reply {
    /// `None`: it is no DHCP reply.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let message =
            Message::decode(&mut Decoder::new(bytes)).ok().filter(|read| read.opcode() == Opcode::BootReply)?;
        Some(Self { kind: message.opts().msg_type()?.into(), message })
    }

    /// An option that is a number.
    pub fn number(&self, code: u8) -> Option<u32> {
        use DhcpOption as O;
        match self.message.opts().get(OptionCode::from(code))? {
            O::AddressLeaseTime(n) | O::Renewal(n) | O::Rebinding(n) | O::ClientLastTransactionTime(n) => Some(*n),
            O::BulkLeaseQueryBaseTime(n) | O::BulkLeasQueryStartTimeOfState(n) => Some(*n),
            O::BulkLeaseQueryDhcpState(state) => Some(u8::from(*state).into()),
            O::BulkLeaseQueryStatusCode(status, _) => Some(u8::from(*status).into()),
            _ => None,
        }
    }
}
