//! Queries about leases, through a worker's processor (RFC 4388, RFC 6148).
//!
//! Input: a byte of settings, then a UDP payload. The settings: 1 is a server that is asked by broadcast, 2 one whose index is not
//! whole yet.

use std::{
    net::Ipv4Addr,
    sync::{Arc, OnceLock},
};

use arrayvec::ArrayVec;
use dhcp_xdp::{
    config::{self, AnyMachine, Config},
    engine::Request,
    journal::{LaneFull, Ticket},
    lease::{Binding, BindingState, Client, HwAddress, Kept, Lease, LeaseTable},
    leasequery::index::{Index, Keeper},
    wire::{dhcp::MessageType, options::Scratch},
    worker::{
        batch::{BATCH, Disposition, Frame, Processor, Recorder},
        counters::Counters,
        port::{Port, SharedPort},
    },
};
use dhcproto::{
    Decodable as _,
    v4::{self, DhcpOption, MessageType as Kind, OptionCode},
};

use crate::{
    Seed,
    input::Input,
    message::{self, Message},
};

const CHUNK: usize = 2048;
const NOW_S: u32 = 1_900_000_000;
/// Who may ask.
const BNG: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

const SITE: &str = r#"
[leasequery]
allow = ["10.0.0.1"]
options = ["routers", "domain-name", "host-name"]
[[interface]]
name = "lan0"
[[subnet]]
prefix = "192.0.2.0/24"
interface = "lan0"
pools = ["192.0.2.10-192.0.2.40"]
options = { routers = ["192.0.2.254"], domain-name = { value = "example.net", always = true } }
[[subnet]]
prefix = "192.0.2.0/24"
vrf = "red"
server_id = "192.0.2.1"
pools = ["192.0.2.10-192.0.2.14"]
[[reservation]]
hw_address = "02:00:00:00:00:02"
address = "192.0.2.50"
vrf = "global"
hostname = "two"
"#;

/// No query changes a binding.
struct Never;

impl Recorder for Never {
    fn submit(&mut self, lease: &Lease, _: &HwAddress, _: &[u8], _: Kept<'_>) -> Result<Ticket, LaneFull> {
        panic!("a query changed {lease:?}");
    }
}

/// What all inputs ask about: nothing of it changes.
struct Site {
    config: Arc<Config>,
    leases: Arc<LeaseTable>,
    index: Arc<Index>,
}

fn hw(n: u8) -> HwAddress {
    let mut chaddr = [0; 16];
    chaddr[..6].copy_from_slice(&[2, 0, 0, 0, 0, n]);
    HwAddress { htype: 1, hlen: 6, chaddr }
}

fn site() -> &'static Site {
    static SITE_MADE: OnceLock<Site> = OnceLock::new();
    SITE_MADE.get_or_init(|| {
        let config = config::parse("site", SITE, &AnyMachine).unwrap_or_else(|why| panic!("{why}")).config;
        let leases = config.lease_table([1, 2]);
        // Clients 1 to 20 behind three modems, the first of them once more in the VPN; 2 is released, 3 is over.
        for (subnet, n) in (1..=20u8).map(|n| (0, n)).chain([(1, 1)]) {
            let (hw, id) = (hw(n), [0, b'c', n]);
            let client_id = if n % 2 == 0 { &id[..] } else { &[] };
            let agent_info = [2, 2, b'm', n % 3];
            let key = leases.key(subnet, &hw, client_id);
            let client = Client { key, subnet, hw: &hw, client_id, limits: &[], agent_info: &agent_info };
            let address = Ipv4Addr::new(192, 0, 2, if subnet == 0 { 9 + n } else { 10 });
            let until_s = if n == 3 { NOW_S - 10 } else { NOW_S + 1800 };
            leases.bind(&client, address, until_s, NOW_S - 1800 - u32::from(n)).expect("a free address");
            if n == 2 {
                let at = dhcp_xdp::lease::SpacedAddress::from(address);
                leases.release(&key, at, NOW_S - 5).expect("its lease");
            }
        }
        let index = Index::new(leases.slots(), [3, 4]);
        let mut keeper = Keeper::new(&index);
        for slot in 0..leases.slots() {
            keeper.set(slot, leases.binding_at(slot, NOW_S).expect("nobody else").as_ref());
        }
        Site { config: Arc::new(config), leases: Arc::new(leases), index: Arc::new(index) }
    })
}

/// A frame around a query.
fn frame(payload: &[u8], is_broadcast: bool) -> Option<Vec<u8>> {
    let to = if is_broadcast { Ipv4Addr::BROADCAST } else { message::SERVER };
    let head = Message::new(message::DISCOVER, 1).with(|m| (m.giaddr, m.ip) = (BNG, (BNG, to)));
    let mut frame = head.frame();
    frame.truncate(42);
    let udp_len = u16::try_from(payload.len() + 8).ok().filter(|len| *len < 1480)?;
    frame[16..18].copy_from_slice(&(20 + udp_len).to_be_bytes());
    frame[38..40].copy_from_slice(&udp_len.to_be_bytes());
    frame.extend(payload);
    message::mend(&mut frame);
    Some(frame)
}

/// Any query: at most one answer, which is what the table says, in the form that RFC 4388 gives it.
pub fn run(data: &[u8]) {
    ask(data);
}

/// The type of the answer, if there is one.
fn ask(data: &[u8]) -> Option<Kind> {
    let mut input = Input::new(data);
    let (settings, payload) = (input.byte(), input.rest());
    let mut memory = vec![0; payload.len()];
    let Ok(query) = Request::parse(payload, message::SERVER, &mut Scratch::new(&mut memory)) else { return None };
    let is_query = query.message_type == MessageType::LeaseQuery;
    let frame = frame(payload, settings & 1 != 0).filter(|_| is_query)?;
    let Site { config, leases, index } = site();
    let _whole = (settings & 2 == 0).then(|| index.be_whole());
    let port = Port {
        interface: 0,
        name: "lan0".to_owned(),
        addresses: vec![message::SERVER],
        mac: [2, 0, 0, 0, 0xff, 1],
        mtu: 1500,
    };
    let counters = Arc::new(Counters::default());
    let port = Arc::new(SharedPort::new(port));
    let processor = Processor::new(Arc::clone(config), Arc::clone(leases), Never, port, counters);
    let mut processor = processor.with_leasequery(Arc::clone(index));
    let before: Vec<Binding> = leases.iter(NOW_S).collect();
    let mut chunk = frame.clone();
    chunk.resize(CHUNK.max(frame.len()), 0xa5);
    let mut out: ArrayVec<Disposition, BATCH> = ArrayVec::new();
    processor.process(NOW_S, &mut [Frame { buffer: &mut chunk, len: frame.len() }], &mut out);
    assert!(leases.iter(NOW_S).eq(before), "no query changes a binding");
    match out[..] {
        [Disposition::Send { len }] => Some(judge(&query, &chunk[42..len])),
        [Disposition::Drop(_)] => None,
        ref other => panic!("{other:?}"),
    }
}

/// An answer, read by a parser that is not ours.
fn judge(query: &Request<'_>, payload: &[u8]) -> Kind {
    let Site { leases, .. } = site();
    assert_eq!(query.giaddr, BNG, "nobody else may ask");
    let limit = usize::from(query.max_message_size.unwrap_or(0).max(576)).min(1500) - 28;
    assert!((300..=limit).contains(&payload.len()), "{} bytes of {limit}", payload.len());
    let answer = v4::Message::decode(&mut v4::Decoder::new(payload)).expect("dhcproto reads it");
    assert_eq!((answer.opcode(), answer.xid(), answer.giaddr()), (v4::Opcode::BootReply, query.xid, BNG));
    assert!(answer.yiaddr().is_unspecified());
    let address = answer.ciaddr();
    let of_space = |binding: &Binding| binding.address == address;
    let bound = |binding: &Binding| of_space(binding) && binding.state == BindingState::Bound;
    let codes: Vec<OptionCode> = answer.opts().iter().map(|(code, _)| *code).collect();
    let others = || {
        let of_any = [OptionCode::MessageType, OptionCode::RelayAgentInformation, OptionCode::Unknown(221)];
        codes.iter().filter(move |code| !of_any.contains(code)).count()
    };
    let kind = answer.opts().msg_type().expect("a type");
    match kind {
        Kind::LeaseActive => {
            let it = leases.iter(NOW_S).find(|one| bound(one) && one.hw.chaddr == payload[28..44]);
            let it = it.unwrap_or_else(|| panic!("{address} is not leased to that client"));
            assert!(query.ciaddr.is_unspecified() || query.ciaddr == address);
            assert!(query.ciaddr == address || query.client_id.is_none_or(|id| it.client_id[..] == *id));
            let has_hw = query.hw.bytes().iter().any(|byte| *byte != 0);
            assert!(!has_hw || query.hw.bytes() == it.hw.bytes());
            assert!(codes.contains(&OptionCode::ServerIdentifier));
            if let Some(DhcpOption::AssociatedIp(all)) = answer.opts().get(OptionCode::AssociatedIp) {
                assert!(all.len() > 1 && query.ciaddr.is_unspecified());
            }
        }
        Kind::LeaseUnassigned => {
            assert_eq!((address, payload[28..44].iter().max()), (query.ciaddr, Some(&0)));
            assert!(leases.slot_of(address).is_some(), "not one of ours");
            assert_eq!(others(), 0, "{codes:?}");
        }
        Kind::LeaseUnknown => {
            assert_eq!((address, &payload[28..44]), (query.ciaddr, &query.hw.chaddr[..]));
            assert_eq!(others(), 0, "{codes:?}");
        }
        other => panic!("{other:?}"),
    }
    kind
}

/// A query of each kind, and what is wrong with some.
pub fn seeds() -> Vec<Seed> {
    let query = || Message::new(message::LEASEQUERY, 1).with(|m| m.giaddr = BNG);
    let list = |m: Message| m.option(55, &[51, 58, 59, 61, 82, 91, 92, 3, 12, 15]);
    // Without a hardware address.
    let put = |settings: u8, message: &Message| {
        let mut input = vec![settings];
        let mut payload = message.payload();
        payload[1..3].fill(0);
        payload[28..34].fill(0);
        input.extend(payload);
        input
    };
    let with_hw = |message: &Message| [vec![0], message.payload()].concat();
    let by_address = |host| query().with(|m| m.ciaddr = Ipv4Addr::new(192, 0, 2, host));
    let by_modem = || query().option(82, b"\x02\x02m\x01");
    vec![
        ("by-address", put(0, &list(by_address(10)))),
        ("by-address-by-broadcast", put(1, &by_address(10))),
        ("by-address-released", put(0, &list(by_address(11)))),
        ("by-address-expired", put(0, &by_address(12))),
        ("by-address-reserved", put(0, &by_address(50))),
        ("by-address-of-nobody", put(0, &list(by_address(99)))),
        ("by-address-in-a-vpn", put(0, &by_address(10).option(221, b"\x00red"))),
        ("by-address-in-a-vpn-of-option-82", put(0, &by_address(10).option(82, b"\x97\x04\x00red"))),
        ("by-address-in-another-vpn", put(0, &by_address(10).option(221, b"\x00blue"))),
        ("by-hardware-address", with_hw(&list(query()))),
        ("by-hardware-address-of-nobody", with_hw(&query().with(|m| m.client = 99))),
        ("by-client-identifier", put(0, &list(query().option(61, &[0, b'c', 4])))),
        ("by-remote-identifier", put(0, &list(by_modem()))),
        ("by-remote-identifier-long", put(0, &list(by_modem()).option(57, &[5, 220]))),
        ("by-remote-identifier-of-nobody", put(0, &list(query().option(82, b"\x02\x01x")))),
        ("by-remote-identifier-too-early", put(2, &by_modem())),
        ("by-nothing", put(0, &query())),
        ("by-several", with_hw(&by_address(10).option(61, b"\0c"))),
        ("without-giaddr", put(0, &by_address(10).with(|m| m.giaddr = Ipv4Addr::UNSPECIFIED))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_answered_each_in_its_way() {
        let names = |kind: Option<Kind>| -> Vec<&str> {
            seeds().iter().filter(|(_, data)| ask(data) == kind).map(|(name, _)| *name).collect()
        };
        let silent = ["by-remote-identifier-too-early", "by-nothing", "by-several", "without-giaddr"];
        assert_eq!(names(None), silent);
        assert_eq!(
            names(Some(Kind::LeaseUnassigned)),
            ["by-address-released", "by-address-expired", "by-address-reserved"]
        );
        let unknown = names(Some(Kind::LeaseUnknown));
        assert_eq!(unknown.len(), 4, "{unknown:?}");
        let is_nobodys = |name: &&str| name.ends_with("-of-nobody") || name.ends_with("-in-another-vpn");
        assert!(unknown.iter().all(is_nobodys), "{unknown:?}");
        assert_eq!(names(Some(Kind::LeaseActive)).len(), seeds().len() - 4 - 3 - 4);
    }
}
