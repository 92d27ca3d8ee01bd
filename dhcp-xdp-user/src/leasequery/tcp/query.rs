//! What a message over TCP asks for (RFC 6926 7.2 and 8.2, RFC 7724 7.3).

use std::net::Ipv4Addr;

use super::reply::{Origin, Status};
use crate::{
    lease::HwAddress,
    leasequery::index::Value,
    wire::{
        dhcp::{BOOTREQUEST, Header, MessageType},
        options::{Codes, Joined, Options, Scratch, code},
        relay::{RelayAgentInfo, sub},
    },
};

/// Type of a virtual subnet selection: all VPNs (RFC 6926 6.2.9).
const ALL_VPNS: u8 = 254;
/// Type of a virtual subnet selection: the global, default VPN (RFC 6607 3.5).
const GLOBAL_VPN: u8 = 255;

/// A message of a requestor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// What replies repeat of it.
    pub origin: Origin,
    /// What it asks for.
    pub ask: Ask,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// DHCPBULKLEASEQUERY.
    Bulk(Selection),
    /// DHCPACTIVELEASEQUERY, of a VPN; with changes since then, seconds since 1970-01-01 UTC.
    Active(Vpn, Option<u32>),
    /// DHCPTLS.
    Tls,
}

/// Whose addresses are asked for (RFC 6607, RFC 6926 7.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Vpn {
    /// Those outside of all VPNs.
    #[default]
    Global,
    /// Those of one VPN: type and identifier.
    One(Box<[u8]>),
    /// All.
    All,
}

/// Which bindings a bulk query is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Its primary query.
    pub of: Primary,
    /// Whose addresses.
    pub vpn: Vpn,
    /// Those that changed then or later, seconds since 1970-01-01 UTC.
    pub start_s: Option<u32>,
    /// Those that changed then or before, seconds since 1970-01-01 UTC.
    pub end_s: Option<u32>,
}

/// The primary queries (RFC 6926 7.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Primary {
    /// All configured addresses.
    #[default]
    All,
    /// Those bound to a hardware address.
    Hw(HwAddress),
    /// Those bound to a client identifier.
    ClientId(Box<[u8]>),
    /// Those whose relay agent sent this remote identifier (RFC 3046 3.2).
    RemoteId(Box<[u8]>),
    /// Those that this relay agent relayed (RFC 6925).
    RelayId(Box<[u8]>),
}

impl Primary {
    /// What the index knows such bindings by, if it does.
    pub(super) fn value(&self) -> Option<Value<'_>> {
        match self {
            Self::All | Self::RelayId(_) => None,
            Self::Hw(hw) => Some(Value::HwAddress(hw)),
            Self::ClientId(id) => Some(Value::ClientId(id)),
            Self::RemoteId(id) => Some(Value::RemoteId(id)),
        }
    }
}

/// Why a message is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is no message of this protocol: the connection is closed.
    Close(&'static str),
    /// Its sender is told.
    Tell(Origin, Status, &'static str),
}

impl Query {
    /// Reads a message.
    ///
    /// # Errors
    /// What becomes of a bad one.
    pub fn parse(message: &[u8]) -> Result<Self, Refusal> {
        let header = Header::new_checked(message).map_err(|_| Refusal::Close("not a DHCP message"))?;
        if header.op() != BOOTREQUEST {
            return Err(Refusal::Close("not a request"));
        }
        let mut memory = vec![0; message.len()];
        let options = Options::new(header);
        let joined = Joined::new(options.clone(), &mut Scratch::new(&mut memory));
        // What came before a malformed option may tell whom to answer.
        let kind = match &joined {
            Ok(options) => options.get(code::MESSAGE_TYPE),
            Err(_) => options.flatten().find(|option| option.code == code::MESSAGE_TYPE).map(|option| option.data),
        };
        let Some(&[kind]) = kind else { return Err(Refusal::Close("no DHCP message type")) };
        let kind = MessageType::from(kind);
        let origin = Origin { xid: header.xid(), giaddr: header.giaddr(), wanted: None, asked: kind };
        let Ok(options) = joined else { return Err(origin.malformed("an option is malformed")) };
        let origin = Origin { wanted: options.get(code::PARAMETER_REQUEST_LIST).map(Codes::of), ..origin };
        let ask = match kind {
            MessageType::BulkLeaseQuery => Ask::Bulk(bulk(&origin, header, &options)?),
            MessageType::ActiveLeaseQuery => {
                let start_s = active(&origin, header, &options)?;
                Ask::Active(vpn(&options), start_s)
            }
            // "Any options appearing in a DHCPTLS message received by a DHCPv4 server SHOULD be ignored" (RFC 7724 8.1).
            MessageType::Tls => Ask::Tls,
            _ => return Err(Refusal::Close("a message type that is not for TCP")),
        };
        Ok(Self { origin, ask })
    }
}

impl Origin {
    fn malformed(self, why: &'static str) -> Refusal {
        match self.asked {
            MessageType::BulkLeaseQuery | MessageType::ActiveLeaseQuery => {
                Refusal::Tell(self, Status::MalformedQuery, why)
            }
            _ => Refusal::Close(why),
        }
    }

    fn not_allowed(self, why: &'static str) -> Refusal {
        Refusal::Tell(self, Status::NotAllowed, why)
    }
}

fn bulk(origin: &Origin, header: Header<'_>, options: &Joined<'_>) -> Result<Selection, Refusal> {
    if [header.ciaddr(), header.yiaddr(), header.siaddr()].iter().any(|address| !address.is_unspecified()) {
        return Err(origin.malformed("ciaddr, yiaddr and siaddr must be zero"));
    }
    let agent = options.get(code::RELAY_AGENT_INFO).map(RelayAgentInfo::new);
    let identifier = |sub| agent.and_then(|agent| agent.get(sub)).map(Box::<[u8]>::from);
    let primaries = [
        hardware(origin, header)?.map(Primary::Hw),
        options.get(code::CLIENT_ID).map(|id| Primary::ClientId(id.into())),
        identifier(sub::REMOTE_ID).map(Primary::RemoteId),
        identifier(sub::RELAY_ID).map(Primary::RelayId),
    ];
    let mut primaries = primaries.into_iter().flatten();
    let of = primaries.next().unwrap_or_default();
    if primaries.next().is_some() {
        return Err(origin.not_allowed("more than one primary query"));
    }
    let is_empty = match &of {
        Primary::ClientId(id) | Primary::RemoteId(id) | Primary::RelayId(id) => id.is_empty(),
        Primary::All | Primary::Hw(_) => false,
    };
    if is_empty {
        return Err(origin.malformed("the identifier that is asked for is empty"));
    }
    let (start_s, end_s) =
        (time(origin, options, code::QUERY_START_TIME)?, time(origin, options, code::QUERY_END_TIME)?);
    if start_s.zip(end_s).is_some_and(|(start, end)| start > end) {
        return Err(origin.malformed("query-start-time is after query-end-time"));
    }
    Ok(Selection { of, vpn: vpn(options), start_s, end_s })
}

fn active(origin: &Origin, header: Header<'_>, options: &Joined<'_>) -> Result<Option<u32>, Refusal> {
    let has_address = !header.ciaddr().is_unspecified();
    if has_address || hardware(origin, header)?.is_some() || options.get(code::CLIENT_ID).is_some() {
        return Err(origin.malformed("an active query must not have a ciaddr, a chaddr or a client identifier"));
    }
    if options.get(code::QUERY_END_TIME).is_some() {
        return Err(origin.malformed("an active query has no query-end-time"));
    }
    time(origin, options, code::QUERY_START_TIME)
}

/// A query by hardware address is one that has any of `htype`, `hlen` and `chaddr`.
fn hardware(origin: &Origin, header: Header<'_>) -> Result<Option<HwAddress>, Refusal> {
    let hw = HwAddress { htype: header.htype(), hlen: header.hlen(), chaddr: header.chaddr() };
    if hw == HwAddress::default() {
        return Ok(None);
    }
    if hw.hlen == 0 {
        return Err(origin.malformed("htype or chaddr without hlen"));
    }
    Ok(Some(hw))
}

fn time(origin: &Origin, options: &Joined<'_>, code: u8) -> Result<Option<u32>, Refusal> {
    let Some(data) = options.get(code) else { return Ok(None) };
    // Twice joins to eight bytes: "only one of each can appear".
    let four = data.try_into().map_err(|_| origin.malformed("query-start-time or query-end-time is not of 4 bytes"))?;
    Ok(Some(u32::from_be_bytes(four)))
}

/// The option, or else the sub-option; without both it is about what is outside of all VPNs.
fn vpn(options: &Joined<'_>) -> Vpn {
    let agent = options.get(code::RELAY_AGENT_INFO).map(RelayAgentInfo::new);
    let selection = options.get(code::VIRTUAL_SUBNET_SELECTION);
    match selection.or_else(|| agent.and_then(|agent| agent.get(sub::VIRTUAL_SUBNET))) {
        None | Some([GLOBAL_VPN, ..]) => Vpn::Global,
        Some([ALL_VPNS, ..]) => Vpn::All,
        Some(selection) => Vpn::One(selection.into()),
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self { xid: 0, giaddr: Ipv4Addr::UNSPECIFIED, wanted: None, asked: MessageType::BulkLeaseQuery }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// A message of a requestor: its type, then these options.
    pub fn message(kind: u8, xid: u32, options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut message = vec![0; 240];
        message[0] = 1;
        message[4..8].copy_from_slice(&xid.to_be_bytes());
        message[236..240].copy_from_slice(&[99, 130, 83, 99]);
        for (code, data) in [(53, &[kind][..])].iter().chain(options) {
            message.extend([*code, data.len() as u8]);
            message.extend(*data);
        }
        message.push(255);
        message
    }

    fn selection(options: &[(u8, &[u8])]) -> Selection {
        match Query::parse(&message(14, 7, options)).unwrap().ask {
            Ask::Bulk(selection) => selection,
            other => panic!("{other:?}"),
        }
    }

    fn told(message: &[u8]) -> Status {
        match Query::parse(message) {
            Err(Refusal::Tell(origin, status, _)) => {
                assert_eq!(origin.xid, 7);
                status
            }
            other => panic!("{other:?}"),
        }
    }

    fn closes(message: &[u8]) -> bool {
        matches!(Query::parse(message), Err(Refusal::Close(_)))
    }

    #[test]
    fn a_query_for_all_configured_ip_addresses_is_signaled_by_the_absence_of_any_other_primary_query() {
        assert_eq!(selection(&[(55, &[152, 51])]), Selection::default());
        let query = Query::parse(&message(14, 7, &[(55, &[152, 51])])).unwrap();
        assert_eq!(query.origin.wanted, Some(Codes::of(&[152, 51])));
        assert_eq!(Query::parse(&message(14, 7, &[])).unwrap().origin.wanted, None);
    }

    #[test]
    fn each_primary_query_is_known_by_where_its_value_is() {
        assert_eq!(selection(&[(61, b"\x01me")]).of, Primary::ClientId(b"\x01me"[..].into()));
        assert_eq!(selection(&[(82, b"\x01\x01c\x02\x02r1")]).of, Primary::RemoteId(b"r1"[..].into()));
        assert_eq!(selection(&[(82, b"\x0c\x02r9")]).of, Primary::RelayId(b"r9"[..].into()));
        let mut by_hw = message(14, 7, &[]);
        by_hw[1..3].copy_from_slice(&[1, 6]);
        by_hw[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        let Ask::Bulk(Selection { of: Primary::Hw(hw), .. }) = Query::parse(&by_hw).unwrap().ask else { panic!() };
        assert_eq!((hw.htype, hw.bytes()), (1, &[2, 0, 0, 0, 0, 9][..]));
    }

    #[test]
    fn the_qualifiers_are_read_and_only_one_of_each_can_appear() {
        let (early, late): (&[u8], &[u8]) = (&[0, 0, 1, 0], &[0, 0, 2, 0]);
        let window = selection(&[(154, early), (155, late)]);
        assert_eq!((window.start_s, window.end_s), (Some(256), Some(512)));
        assert_eq!(told(&message(14, 7, &[(154, early), (154, early)])), Status::MalformedQuery);
        assert_eq!(told(&message(14, 7, &[(155, &[1, 2, 3])])), Status::MalformedQuery);
        assert_eq!(told(&message(14, 7, &[(154, late), (155, early)])), Status::MalformedQuery);
    }

    #[test]
    fn if_the_ciaddr_yiaddr_or_siaddr_is_non_zero_the_request_is_terminated_with_malformed_query() {
        for at in [12, 16, 20] {
            let mut bad = message(14, 7, &[]);
            bad[at] = 192;
            assert_eq!(told(&bad), Status::MalformedQuery);
        }
    }

    #[test]
    fn any_dhcpbulkleasequery_that_has_more_than_one_primary_query_type_is_not_allowed() {
        assert_eq!(told(&message(14, 7, &[(61, b"\x01me"), (82, b"\x02\x01r")])), Status::NotAllowed);
        assert_eq!(told(&message(14, 7, &[(82, b"\x02\x01r\x0c\x01r")])), Status::NotAllowed);
    }

    #[test]
    fn an_empty_identifier_and_half_a_hardware_address_are_malformed() {
        for options in [&[(61, &[][..])][..], &[(82, b"\x02\x00")], &[(82, b"\x0c\x00")]] {
            assert_eq!(told(&message(14, 7, options)), Status::MalformedQuery);
        }
        let mut half = message(14, 7, &[]);
        half[1] = 1;
        assert_eq!(told(&half), Status::MalformedQuery);
    }

    #[test]
    fn the_vpn_id_option_specifies_a_single_vpn_other_than_the_default_or_that_all_be_searched() {
        let vpn = |options: &[(u8, &[u8])]| selection(options).vpn;
        assert_eq!((vpn(&[]), vpn(&[(221, &[255])]), vpn(&[(221, &[254])])), (Vpn::Global, Vpn::Global, Vpn::All));
        let red = Vpn::One(b"\x00red"[..].into());
        assert_eq!((vpn(&[(221, b"\x00red")]), vpn(&[(82, b"\x97\x04\x00red")])), (red.clone(), red.clone()));
        assert_eq!(Query::parse(&message(16, 7, &[(221, b"\x00red")])).unwrap().ask, Ask::Active(red, None));
    }

    #[test]
    fn a_message_type_that_is_not_supported_over_a_tcp_connection_closes_it() {
        for kind in [0, 1, 3, 8, 10, 13, 15, 17, 19, 255] {
            assert!(closes(&message(kind, 7, &[])), "{kind}");
        }
        assert!(matches!(Query::parse(&message(18, 7, &[])).unwrap().ask, Ask::Tls));
    }

    #[test]
    fn what_is_no_dhcp_request_closes_the_connection_and_a_query_with_a_broken_option_is_malformed() {
        let good = message(14, 7, &[]);
        assert!(closes(&good[..239]));
        for (at, value) in [(0, 2), (2, 17), (237, 0)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(closes(&bad), "byte {at}");
        }
        let mut cut = message(14, 7, &[(61, b"\x01me")]);
        cut.truncate(cut.len() - 3);
        assert_eq!(told(&cut), Status::MalformedQuery);
        let mut cut = message(1, 7, &[(61, b"\x01me")]);
        cut.truncate(cut.len() - 3);
        assert!(closes(&cut));
        assert!(closes(&good[..240]), "no message type");
    }

    #[test]
    fn the_dhcpv4_request_must_not_have_a_ciaddr_a_chaddr_or_a_dhcp_client_identifier() {
        let start: &[u8] = &[0, 0, 1, 0];
        assert_eq!(Query::parse(&message(16, 7, &[])).unwrap().ask, Ask::Active(Vpn::Global, None));
        assert_eq!(Query::parse(&message(16, 7, &[(154, start)])).unwrap().ask, Ask::Active(Vpn::Global, Some(256)));
        for at in [12, 1, 2, 28] {
            let mut bad = message(16, 7, &[]);
            bad[at] = 1;
            assert_eq!(told(&bad), Status::MalformedQuery, "byte {at}");
        }
        assert_eq!(told(&message(16, 7, &[(61, b"me")])), Status::MalformedQuery);
    }

    #[test]
    fn if_a_query_end_time_option_appears_in_a_dhcpactiveleasequery_it_is_malformed() {
        assert_eq!(told(&message(16, 7, &[(155, &[0, 0, 1, 0])])), Status::MalformedQuery);
    }

    proptest! {
        #[test]
        fn any_message_is_read_without_panic(kind in any::<u8>(), fixed in vec(any::<u8>(), 44), rest in vec(any::<u8>(), 0..400)) {
            let mut any = message(kind, 7, &[]);
            any[..44].copy_from_slice(&fixed);
            any[0] = 1;
            any[2] %= 17;
            any.pop();
            any.extend(rest);
            let _ = Query::parse(&any);
        }
    }
}
