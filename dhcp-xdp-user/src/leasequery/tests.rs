//! Queries over UDP, as whole frames through a worker: each sentence of RFC 4388 and RFC 6148 that a server must do.

use std::{net::Ipv4Addr, sync::Arc};

use dhcproto::v4::{DhcpOption, MessageType as Kind, OptionCode};
use ipnet::Ipv4Net;

use super::index::{Index, Keeper};
use crate::{
    config::{Config, Gives, IdKind, LeaseQuery, OptionBlob, OptionSet, Overlay, Scope, Subnet, Subnets, Vrf, Vrfs},
    engine::testing::{
        Answer, Bed, Msg, RELAY_MAC, SERVER, SERVER_MAC, discover, far, lan, message, request, selecting,
    },
    lease::{Binding, BindingState, Space},
    wire::{
        dhcp::MessageType,
        options::{Codes, code},
    },
    worker::counters::{DropReason, Message},
};

/// A BNG: its address is in no subnet of ours.
const BNG: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 9);
/// All that a BNG asks for.
const LIST: [u8; 8] = [
    code::LEASE_TIME,
    code::RENEWAL_TIME,
    code::REBINDING_TIME,
    code::CLIENT_ID,
    code::RELAY_AGENT_INFO,
    code::CLIENT_LAST_TRANSACTION_TIME,
    code::ROUTER,
    code::HOST_NAME,
];

/// A server whose BNG may ask.
struct Site {
    bed: Bed,
    index: Arc<Index>,
}

impl Site {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut slots = 0;
        let bed = Bed::with(|config| {
            let allow: Ipv4Net = "198.51.100.8/29".parse().unwrap();
            config.leasequery = Some(LeaseQuery::new([allow], 1000, Codes::of(&[code::ROUTER, code::DOMAIN_NAME])));
            change(config);
            slots = config.lease_table([1, 2]).slots();
        });
        let index = Arc::new(Index::new(slots, [3, 4]));
        // For ever.
        std::mem::forget(index.be_whole());
        let processor = bed.processor.with_leasequery(Arc::clone(&index));
        Self { bed: Bed { processor, ..bed }, index }
    }

    /// What the thread that keeps the index does.
    fn keep(&self) {
        let mut keeper = Keeper::new(&self.index, self.bed.leases.slots());
        for slot in 0..self.bed.leases.slots() {
            keeper.set(slot, self.bed.leases.binding_at(slot, self.bed.now_s).unwrap().as_ref());
        }
    }

    fn ask(&mut self, query: &Msg) -> Result<Answer, DropReason> {
        self.bed.frames(&[query.frame()]).remove(0)
    }

    fn told(&mut self, query: &Msg) -> Answer {
        self.ask(query).expect("an answer")
    }

    fn kind(&mut self, query: &Msg) -> Kind {
        self.told(query).message_type()
    }

    /// Binds client `n` behind the relay agent, as it comes with this message.
    fn bind_relayed(&mut self, n: u8, change: impl Fn(Msg) -> Msg) -> Ipv4Addr {
        let offered = self.bed.reply(&change(discover(n).relayed())).yiaddr();
        let ack = self.bed.reply(&change(selecting(n, SERVER, offered).relayed()));
        assert_eq!(ack.message_type(), Kind::Ack);
        offered
    }
}

/// A query that names nothing yet.
fn query() -> Msg {
    message(MessageType::LeaseQuery, 0).with(|msg| {
        (msg.htype, msg.hlen, msg.chaddr) = (0, 0, [0; 16]);
        (msg.giaddr, msg.source, msg.destination) = (BNG, BNG, SERVER);
        (msg.ethernet_source, msg.ethernet_destination, msg.source_port) = (RELAY_MAC, SERVER_MAC, 67);
    })
}

fn by_address(address: Ipv4Addr) -> Msg {
    query().with(|msg| msg.ciaddr = address)
}

fn by_hw(n: u8) -> Msg {
    let like = discover(n);
    query().with(|msg| (msg.htype, msg.hlen, msg.chaddr) = (like.htype, like.hlen, like.chaddr))
}

fn by_client_id(id: &[u8]) -> Msg {
    query().option(code::CLIENT_ID, id)
}

/// Option 82 with one sub-option.
fn agent(sub: u8, data: &[u8]) -> Vec<u8> {
    [&[sub, data.len() as u8], data].concat()
}

fn by_remote_id(id: &[u8]) -> Msg {
    query().option(code::RELAY_AGENT_INFO, &agent(2, id))
}

fn asking(msg: Msg) -> Msg {
    msg.option(code::PARAMETER_REQUEST_LIST, &LIST)
}

fn associated(answer: &Answer) -> Option<Vec<Ipv4Addr>> {
    match answer.message.opts().get(OptionCode::AssociatedIp) {
        Some(DhcpOption::AssociatedIp(addresses)) => Some(addresses.clone()),
        _ => None,
    }
}

// By IP address

#[test]
fn the_server_must_respond_with_a_dhcpleaseactive_message_when_the_ip_address_returned_in_the_ciaddr_field_is_currently_leased()
 {
    let mut site = Site::new();
    let address = site.bed.bind(1);
    let answer = site.told(&by_address(address));
    assert_eq!((answer.message_type(), answer.message.ciaddr()), (Kind::LeaseActive, address));
    // "The MAC address of the DHCPLEASEACTIVE message MUST be set to the values that identify the client".
    let client = discover(1);
    assert_eq!(answer.payload[1..3], [client.htype, client.hlen]);
    assert_eq!(answer.payload[28..44], client.chaddr);
    assert_eq!(answer.option(code::SERVER_ID), Some(&SERVER.octets()[..]));
    assert_eq!((answer.message.giaddr(), answer.message.yiaddr()), (BNG, Ipv4Addr::UNSPECIFIED));
    assert_eq!(
        (answer.message.xid(), &answer.payload[3..4], &answer.payload[8..12]),
        (0xdead_beef, &[0][..], &[0; 4][..])
    );
    assert!(!answer.parked, "it waits for no disk");
}

#[test]
fn the_server_must_respond_with_a_dhcpleaseunassigned_message_if_there_is_no_active_lease_for_the_ip_address() {
    let reserved = Ipv4Addr::new(192, 0, 2, 200);
    let mut site = Site::with(|config| {
        let gives = Gives { address: Some(reserved), ..Gives::default() };
        config.reservations.add(Scope::Everywhere, IdKind::HwAddress, &[1, 2, 0, 0, 0, 0, 77], gives).unwrap();
        config.reservations.end(|_| false, |_, _, _| unreachable!());
    });
    let offered = site.bed.reply(&discover(1)).yiaddr();
    let released = site.bed.bind(2);
    site.bed.send(&message(MessageType::Release, 2).unicast(released).address(code::SERVER_ID, SERVER)).unwrap_err();
    let declined = site.bed.bind(3);
    site.bed.send(&message(MessageType::Decline, 3).address(code::REQUESTED_ADDRESS, declined)).unwrap_err();
    let expired = site.bed.bind(4);
    let states = |site: &Site| {
        let state = |address| site.bed.leases.get(address, site.bed.now_s).map(|binding| binding.state);
        [offered, released, declined, expired].map(state)
    };
    use BindingState::{Bound, Declined, Offered, Released};
    assert_eq!(states(&site), [Offered, Released, Declined, Bound].map(Some));
    for address in [offered, released, declined, reserved, lan(19)] {
        let answer = site.told(&asking(by_address(address)));
        assert_eq!((answer.message_type(), answer.message.ciaddr()), (Kind::LeaseUnassigned, address));
        assert_eq!(answer.payload[28..44], [0; 16], "nobody's");
        // 6.4.2: "No other options are returned for the DHCPLEASEUNASSIGNED message."
        assert_eq!(answer.codes(), [code::MESSAGE_TYPE], "{address}");
    }
    site.bed.pass(3600);
    assert_eq!(site.kind(&by_address(expired)), Kind::LeaseUnassigned, "its time is over, housekeeping or not");
}

#[test]
fn if_the_ip_address_is_not_managed_by_the_dhcp_server_then_a_dhcpleaseunknown_message_must_be_returned() {
    let mut site = Site::new();
    for address in [lan(9), lan(20), far(99), Ipv4Addr::new(203, 0, 113, 5), Ipv4Addr::BROADCAST] {
        let answer = site.told(&asking(by_address(address)));
        assert_eq!(answer.message_type(), Kind::LeaseUnknown, "{address}");
        // 6.4: "the DHCP server MUST NOT include other DHCP options in the response".
        assert_eq!(answer.codes(), [code::MESSAGE_TYPE]);
    }
}

#[test]
fn the_lease_time_is_the_time_remaining_until_lease_expiration_and_times_in_the_past_are_not_returned() {
    let mut site = Site::new();
    let address = site.bed.bind(1);
    let times = |answer: &Answer| {
        [code::LEASE_TIME, code::RENEWAL_TIME, code::REBINDING_TIME, code::CLIENT_LAST_TRANSACTION_TIME]
            .map(|code| answer.seconds(code))
    };
    assert_eq!(times(&site.told(&asking(by_address(address)))), [Some(3600), Some(1800), Some(3150), Some(0)]);
    site.bed.pass(1799);
    assert_eq!(times(&site.told(&asking(by_address(address)))), [Some(1801), Some(1), Some(1351), Some(1799)]);
    site.bed.pass(1);
    assert_eq!(times(&site.told(&asking(by_address(address)))), [Some(1800), None, Some(1350), Some(1800)]);
    site.bed.pass(1799);
    assert_eq!(times(&site.told(&asking(by_address(address)))), [Some(1), None, None, Some(3599)]);
    site.bed.pass(1);
    assert_eq!(times(&site.told(&asking(by_address(address)))), [None; 4], "a lease that is over has none");
}

#[test]
fn a_lease_that_is_kept_longer_than_its_client_was_told_is_told_with_the_clients_own_times() {
    let mut site = Site::with(|config| {
        let mut subnets = config.subnets.to_vec();
        (subnets[0].lease.renewal_slack_permille, subnets[0].lease.jitter_permille) = (500, 300);
        config.subnets = Subnets::new(subnets);
    });
    let offered = site.bed.reply(&discover(1)).yiaddr();
    let ack = site.bed.reply(&selecting(1, SERVER, offered));
    let answer = site.told(&asking(by_address(offered)));
    for time in [code::RENEWAL_TIME, code::REBINDING_TIME] {
        assert_eq!(answer.seconds(time), ack.seconds(time));
    }
    assert_eq!((ack.seconds(code::LEASE_TIME), answer.seconds(code::LEASE_TIME)), (Some(3600), Some(5400)));
}

#[test]
fn the_client_last_transaction_time_must_not_be_an_absolute_time_and_no_query_changes_it() {
    let mut site = Site::new();
    let address = site.bed.bind(1);
    let id = site.bed.bind(2);
    site.keep();
    let before: Vec<Binding> = site.bed.leases.iter(site.bed.now_s).collect();
    let records = site.bed.records().len();
    site.bed.pass(50);
    for query in [by_address(address), by_address(id), by_hw(1), by_client_id(b"\x01x"), by_remote_id(b"r")] {
        let answer = site.told(&asking(query));
        assert!(answer.seconds(code::CLIENT_LAST_TRANSACTION_TIME).is_none_or(|seconds| seconds == 50));
    }
    assert_eq!(site.bed.leases.iter(site.bed.now_s).collect::<Vec<_>>(), before);
    assert_eq!(site.bed.records().len(), records, "and nothing is recorded");
}

// What a query must have

#[test]
fn if_the_giaddr_field_is_zero_then_the_dhcp_server_must_not_reply() {
    let mut site = Site::with(|config| {
        let all: Ipv4Net = "0.0.0.0/0".parse().unwrap();
        config.leasequery = Some(LeaseQuery::new([all], 1000, Codes::default()));
    });
    let address = site.bed.bind(1);
    let without = by_address(address).with(|msg| msg.giaddr = Ipv4Addr::UNSPECIFIED);
    assert_eq!(site.ask(&without).unwrap_err(), DropReason::LeaseQueryMalformed);
    assert_eq!(site.kind(&by_address(address)), Kind::LeaseActive);
}

#[test]
fn a_dhcpleasequery_message_must_have_exactly_one_of_a_ciaddr_a_chaddr_or_a_client_identifier() {
    let mut site = Site::new();
    let address = site.bed.bind(1);
    let with_hw = |msg: Msg| {
        let like = by_hw(1);
        msg.with(|msg| (msg.htype, msg.hlen, msg.chaddr) = (like.htype, like.hlen, like.chaddr))
    };
    for wrong in [
        query(),
        with_hw(by_address(address)),
        by_address(address).option(code::CLIENT_ID, b"\0x"),
        with_hw(by_client_id(b"\0x")),
        with_hw(by_client_id(b"\0x").with(|msg| msg.ciaddr = address)),
        // Option 82 without a remote identifier names nothing.
        query().option(code::RELAY_AGENT_INFO, &agent(1, b"circuit")),
        query().option(code::RELAY_AGENT_INFO, &agent(2, b"")),
    ] {
        assert_eq!(site.ask(&wrong).unwrap_err(), DropReason::LeaseQueryMalformed, "{wrong:?}");
    }
    // An address type without an address is no hardware address.
    let typed = by_address(address).with(|msg| (msg.htype, msg.hlen) = (1, 6));
    assert_eq!(site.kind(&typed), Kind::LeaseActive);
}

#[test]
fn the_giaddr_must_not_be_used_to_restrict_the_processing_of_the_query_in_any_way() {
    let mut site = Site::with(|config| config.max_hops = 3);
    let (near, relayed) = (site.bed.bind(1), site.bind_relayed(2, |msg| msg));
    for address in [near, relayed] {
        let from_far = by_address(address).with(|msg| msg.hops = 200);
        assert_eq!(site.kind(&from_far), Kind::LeaseActive, "giaddr {BNG} is in no subnet");
    }
}

// By hardware address and client identifier

#[test]
fn the_dhcp_server_must_return_the_ip_address_returned_to_the_client_in_the_most_recent_transaction() {
    let mut site = Site::new();
    let first = site.bed.bind(1);
    site.bed.pass(10);
    let second = site.bind_relayed(1, |msg| msg);
    site.keep();
    let answer = site.told(&by_hw(1));
    assert_eq!((answer.message_type(), answer.message.ciaddr()), (Kind::LeaseActive, second));
    // "the list of all of the IP addresses MUST be returned in the associated-ip option, whether or not that option was
    // requested".
    assert_eq!(associated(&answer), Some(vec![second, first]));
    site.bed.pass(10);
    site.bed.reply(&request(1).unicast(first));
    assert_eq!(site.told(&by_hw(1)).message.ciaddr(), first, "it renewed");
}

#[test]
fn if_there_is_only_a_single_ip_address_then_it_must_be_placed_in_the_ciaddr_field() {
    let mut site = Site::new();
    let address = site.bed.bind(1);
    site.bed.bind(2);
    site.keep();
    let answer = site.told(&by_hw(1));
    assert_eq!((answer.message.ciaddr(), associated(&answer)), (address, None));
}

#[test]
fn a_hardware_address_of_another_type_or_length_is_another_one() {
    let mut site = Site::new();
    site.bed.bind(1);
    site.keep();
    assert_eq!(site.kind(&by_hw(1)), Kind::LeaseActive);
    assert_eq!(site.kind(&by_hw(1).with(|msg| msg.htype = 6)), Kind::LeaseUnknown);
    assert_eq!(site.kind(&by_hw(1).with(|msg| msg.hlen = 5)), Kind::LeaseUnknown);
    // What follows its length does not count.
    assert_eq!(site.kind(&by_hw(1).with(|msg| msg.chaddr[9] = 7)), Kind::LeaseActive);
}

#[test]
fn the_clients_identity_is_any_client_that_has_proffered_an_identical_client_identifier_option() {
    let mut site = Site::new();
    let id = |msg: Msg| msg.option(code::CLIENT_ID, b"\0modem-7");
    let near = site.bed.reply(&id(discover(1))).yiaddr();
    site.bed.reply(&id(selecting(1, SERVER, near)));
    site.bed.pass(1);
    // In another network, with another network card.
    let relayed = site.bind_relayed(2, id);
    site.keep();
    let answer = site.told(&asking(by_client_id(b"\0modem-7")));
    assert_eq!((answer.message_type(), answer.message.ciaddr()), (Kind::LeaseActive, relayed));
    assert_eq!(associated(&answer), Some(vec![relayed, near]));
    assert_eq!(answer.option(code::CLIENT_ID), Some(&b"\0modem-7"[..]));
    assert_eq!(answer.payload[28..44], discover(2).chaddr);
    // A client that sends one is found by its hardware address too.
    assert_eq!(site.told(&by_hw(1)).message.ciaddr(), near);
    assert_eq!(site.kind(&by_client_id(b"\0modem-")), Kind::LeaseUnknown);
}

#[test]
fn a_client_that_does_not_currently_have_a_lease_is_unknown() {
    let mut site = Site::new();
    let address = site.bed.bind(1);
    site.keep();
    assert_eq!(site.kind(&by_hw(1)), Kind::LeaseActive);
    site.bed.send(&message(MessageType::Release, 1).unicast(address)).unwrap_err();
    let answer = site.told(&asking(by_hw(1)));
    assert_eq!((answer.message_type(), answer.codes()), (Kind::LeaseUnknown, vec![code::MESSAGE_TYPE]));
    assert_eq!(answer.payload[28..44], discover(1).chaddr, "who was asked for");
    assert_eq!(site.kind(&by_hw(99)), Kind::LeaseUnknown);
}

#[test]
fn a_hint_of_the_index_is_not_believed_before_the_lease_itself_was_looked_at() {
    let mut site = Site::with(|config| {
        let mut subnets = config.subnets.to_vec();
        subnets[0].pools[0].last = lan(10);
        config.subnets = Subnets::new(subnets);
    });
    let address = site.bed.bind(1);
    site.keep();
    site.bed.send(&message(MessageType::Release, 1).unicast(address)).unwrap_err();
    assert_eq!(site.bed.bind(2), address, "the only one");
    // The index knows nothing of it yet.
    assert_eq!(site.kind(&by_hw(1)), Kind::LeaseUnknown);
}

// By remote identifier (RFC 6148), and option 82

#[test]
fn the_dhcp_server_must_reply_with_a_dhcpleaseactive_message_if_there_is_an_active_lease_corresponding_to_the_remote_id()
 {
    let mut site = Site::new();
    let info = [agent(1, b"port 1"), agent(2, b"modem 1")].concat();
    let first = site.bind_relayed(1, |msg| msg.option(code::RELAY_AGENT_INFO, &info));
    site.bed.pass(5);
    let second = site.bind_relayed(2, |msg| msg.option(code::RELAY_AGENT_INFO, &info));
    site.bind_relayed(3, |msg| msg.option(code::RELAY_AGENT_INFO, &agent(2, b"modem 2")));
    site.keep();
    let answer = site.told(&asking(by_remote_id(b"modem 1")));
    assert_eq!((answer.message_type(), answer.message.ciaddr()), (Kind::LeaseActive, second));
    assert_eq!(associated(&answer), Some(vec![first, second]));
    assert_eq!(answer.option(code::RELAY_AGENT_INFO), Some(&info[..]));
    assert_eq!(answer.options.last().unwrap().0, code::RELAY_AGENT_INFO, "the last one");
}

#[test]
fn in_a_dhcpleaseunknown_response_message_the_dhcp_server_must_echo_the_option_82() {
    let mut site = Site::new();
    let answer = site.told(&asking(by_remote_id(b"modem 1")));
    assert_eq!(answer.message_type(), Kind::LeaseUnknown);
    assert_eq!(answer.codes(), [code::MESSAGE_TYPE, code::RELAY_AGENT_INFO], "no other option");
    assert_eq!(answer.option(code::RELAY_AGENT_INFO), Some(&agent(2, b"modem 1")[..]));
}

#[test]
fn a_query_by_ip_address_with_a_remote_id_will_still_be_recognized_as_a_query_by_ip_address() {
    let mut site = Site::new();
    let address = site.bed.bind(1);
    site.keep();
    let remote = agent(2, b"whoever");
    for query in [by_address(address), by_hw(1)] {
        let query = query.option(code::RELAY_AGENT_INFO, &remote);
        assert_eq!(site.told(&query).message.ciaddr(), address);
    }
    let unknown = site.told(&by_address(lan(200)).option(code::RELAY_AGENT_INFO, &remote));
    assert_eq!(unknown.codes(), [code::MESSAGE_TYPE], "which echoes nothing");
}

#[test]
fn the_most_recent_relay_agent_information_option_must_be_included() {
    let mut site = Site::new();
    let from = |port: &'static [u8]| move |msg: Msg| msg.option(code::RELAY_AGENT_INFO, &agent(1, port));
    let address = site.bind_relayed(1, from(b"port 1"));
    let told = |site: &mut Site| {
        let answer = site.told(&asking(by_address(address)));
        answer.option(code::RELAY_AGENT_INFO).map(<[u8]>::to_vec)
    };
    assert_eq!(told(&mut site), Some(agent(1, b"port 1")));
    site.bed.reply(&from(b"port 2")(selecting(1, SERVER, address).relayed()));
    assert_eq!(told(&mut site), Some(agent(1, b"port 2")));
    // A renewal that came past the relay agent says nothing of it.
    site.bed.reply(&request(1).unicast(address));
    assert_eq!(told(&mut site), Some(agent(1, b"port 2")));
    let unasked = site.told(&by_address(address).option(code::PARAMETER_REQUEST_LIST, &[code::LEASE_TIME]));
    assert_eq!(unasked.codes(), [code::MESSAGE_TYPE, code::SERVER_ID, code::LEASE_TIME]);
}

// Options

#[test]
fn any_option_not_on_the_list_of_non_sensitive_options_should_not_be_returned() {
    let mut site = Site::with(|config| {
        config.overlays.push(Overlay {
            options: OptionSet::new([
                OptionBlob { code: code::HOST_NAME, data: b"secret".to_vec(), always: false, ..OptionBlob::default() },
                OptionBlob {
                    code: code::DOMAIN_NAME,
                    data: b"reserved.example".to_vec(),
                    always: false,
                    ..OptionBlob::default()
                },
            ]),
            ..Overlay::default()
        });
        let gives = Gives { overlay: Some(config.overlays.len() as u32 - 1), ..Gives::default() };
        config.reservations.add(Scope::Everywhere, IdKind::CircuitId, b"port 1", gives).unwrap();
    });
    let info = agent(1, b"port 1");
    let address = site.bind_relayed(1, |msg| msg.option(code::RELAY_AGENT_INFO, &info));
    let list = [code::HOST_NAME, code::DOMAIN_NAME, code::ROUTER, code::DOMAIN_NAME_SERVER, code::ROUTER];
    let answer = site.told(&by_address(address).option(code::PARAMETER_REQUEST_LIST, &list));
    let codes = [code::MESSAGE_TYPE, code::SERVER_ID, code::DOMAIN_NAME, code::ROUTER];
    assert_eq!(answer.codes(), codes, "in the order of the list, each once");
    // "the DHCP server MUST use the saved Relay Agent Information option just like it did when responding to the DHCP client".
    assert_eq!(answer.option(code::DOMAIN_NAME), Some(&b"reserved.example"[..]));
}

#[test]
fn in_the_absence_of_a_parameter_request_list_option_the_server_should_return_what_a_dhcpack_has() {
    let mut site = Site::with(|config| {
        let mut subnets = config.subnets.to_vec();
        let always =
            OptionBlob { code: code::ROUTER, data: vec![192, 0, 2, 254], always: true, ..OptionBlob::default() };
        let hidden = OptionBlob { code: code::HOST_NAME, data: vec![b'x'], always: true, ..OptionBlob::default() };
        subnets[0].options = OptionSet::new(subnets[0].options.iter().cloned().chain([always, hidden]));
        config.subnets = Subnets::new(subnets);
    });
    let address = site.bed.bind(1);
    let codes = [
        code::MESSAGE_TYPE,
        code::SERVER_ID,
        code::LEASE_TIME,
        code::RENEWAL_TIME,
        code::REBINDING_TIME,
        // Sent always, and not sensitive.
        code::ROUTER,
    ];
    assert_eq!(site.told(&by_address(address)).codes(), codes);
}

#[test]
fn a_server_identifier_that_the_subnet_sets_is_the_answers_too() {
    let id = Ipv4Addr::new(203, 0, 113, 1);
    let mut site = Site::with(|config| {
        let mut subnets = config.subnets.to_vec();
        subnets[0].server_id = Some(id);
        config.subnets = Subnets::new(subnets);
    });
    let offered = site.bed.reply(&discover(1)).yiaddr();
    site.bed.reply(&selecting(1, id, offered));
    let to_it = by_address(offered).with(|msg| msg.destination = id);
    let answer = site.told(&to_it);
    assert_eq!((answer.option(code::SERVER_ID), answer.source), (Some(&id.octets()[..]), id));
}

#[test]
fn addresses_beyond_the_message_size_are_left_out_and_none_is_cut() {
    let mut site = Site::with(|config| {
        let mut subnets = config.subnets.to_vec();
        subnets[1].pools[0].last = far(250);
        config.subnets = Subnets::new(subnets);
    });
    let info = agent(2, b"a crowd");
    for n in 10..=250 {
        site.bind_relayed(n, |msg| msg.option(code::RELAY_AGENT_INFO, &info));
    }
    site.keep();
    let told = |site: &mut Site, size: u16| {
        let query = by_remote_id(b"a crowd").option(code::MAX_MESSAGE_SIZE, &size.to_be_bytes());
        let answer = site.told(&query);
        (answer.payload.len() + 28, associated(&answer).map_or(0, |addresses| addresses.len()))
    };
    let (len, few) = told(&mut site, 576);
    assert!(len <= 576 && few >= 60, "{few} in {len} bytes");
    let (len, many) = told(&mut site, 1400);
    assert!(len <= 1400 && many == super::index::MOST_FOUND, "{many} in {len} bytes");
}

// VPNs (RFC 6607)

#[test]
fn a_query_is_about_the_vpn_that_it_names_else_about_no_vpn() {
    let red = b"\x00red";
    let mut site = Site::with(|config| {
        let mut subnets = config.subnets.to_vec();
        // The same addresses once more.
        subnets.push(Subnet { space: Space(7), interface: None, ..subnets[0].clone() });
        subnets[2].server_id = Some(SERVER);
        let vrf = Vrf { space: Space(7), name: "red".into(), id: red.to_vec() };
        config.subnets = Subnets::new(subnets).with_vrfs(Vrfs::new(vec![vrf]));
    });
    let info = [agent(5, &lan(0).octets()), agent(151, red)].concat();
    let inside = site.bind_relayed(1, |msg| msg.option(code::RELAY_AGENT_INFO, &info));
    let outside = site.bed.bind(1);
    assert_eq!((inside, outside), (lan(10), lan(10)), "one address, two clients");
    site.bed.pass(9);
    site.bed.reply(&selecting(1, SERVER, inside).relayed().option(code::RELAY_AGENT_INFO, &info));
    site.keep();
    let since = |site: &mut Site, query: Msg| site.told(&asking(query)).seconds(code::CLIENT_LAST_TRANSACTION_TIME);
    for query in [by_address(inside), by_hw(1)] {
        assert_eq!(since(&mut site, query.clone()), Some(9), "outside");
        let of_red = query.clone().option(code::VIRTUAL_SUBNET_SELECTION, red);
        assert_eq!(since(&mut site, of_red.clone()), Some(0), "inside");
        assert_eq!(site.told(&of_red).option(code::VIRTUAL_SUBNET_SELECTION), Some(&red[..]));
        assert_eq!(associated(&site.told(&of_red)), None, "the other address is another VPN's");
        let by_agent = query.clone().option(code::RELAY_AGENT_INFO, &agent(151, red));
        assert_eq!(since(&mut site, by_agent), Some(0));
        let other = query.option(code::VIRTUAL_SUBNET_SELECTION, b"\x00blue");
        assert_eq!(site.kind(&other), Kind::LeaseUnknown, "no such VPN here");
    }
}

// The way back

#[test]
fn the_server_unicasts_the_message_to_the_giaddr() {
    let mut site = Site::new();
    let address = site.bed.bind(1);
    let from = Ipv4Addr::new(198, 51, 100, 10);
    let answer = site.told(&by_address(address).with(|msg| msg.source = from));
    assert_eq!((answer.destination, answer.port, answer.ethernet_destination), (BNG, 67, RELAY_MAC));
    assert_eq!(answer.source, SERVER, "from where it was asked");
    // RFC 8357: a relay agent that listens on another port says so.
    let elsewhere = by_address(address).with(|msg| msg.source_port = 6767);
    assert_eq!(site.told(&elsewhere).port, 67);
    assert_eq!(site.told(&elsewhere.option(code::RELAY_AGENT_INFO, &agent(19, b""))).port, 6767);
    let broadcast = by_address(address).with(|msg| msg.destination = Ipv4Addr::BROADCAST);
    assert_eq!(site.told(&broadcast).source, Ipv4Addr::new(198, 51, 100, 1), "an address of the interface");
}

// Who may ask, and how often

#[test]
fn who_is_not_allowed_gets_no_answer_whether_by_source_or_by_giaddr() {
    let mut site = Site::new();
    let address = site.bed.bind(1);
    let stranger = Ipv4Addr::new(198, 51, 100, 16);
    for query in
        [by_address(address).with(|msg| msg.source = stranger), by_address(address).with(|msg| msg.giaddr = stranger)]
    {
        assert_eq!(site.ask(&query).unwrap_err(), DropReason::LeaseQueryNotAllowed);
    }
    assert_eq!(site.kind(&by_address(address)), Kind::LeaseActive);
}

#[test]
fn where_nobody_may_ask_a_query_is_a_message_type_that_is_not_expected() {
    let mut bed = Bed::new();
    let address = bed.bind(1);
    let answer = bed.frames(&[by_address(address).frame()]).remove(0);
    assert_eq!(answer.unwrap_err(), DropReason::UnexpectedMessageType);
}

#[test]
fn the_server_cannot_be_attacked_by_being_flooded_with_large_quantities_of_queries_in_a_short_time() {
    let mut site = Site::with(|config| {
        let all: Ipv4Net = "198.51.100.0/24".parse().unwrap();
        config.leasequery = Some(LeaseQuery::new([all], 10, Codes::default()));
    });
    let address = site.bed.bind(1);
    let stranger = by_address(address).with(|msg| msg.source = Ipv4Addr::new(10, 9, 9, 9));
    for _ in 0..20 {
        assert_eq!(site.ask(&stranger).unwrap_err(), DropReason::LeaseQueryNotAllowed);
        assert_eq!(site.ask(&query()).unwrap_err(), DropReason::LeaseQueryMalformed);
    }
    let flood: Vec<_> = (0..30).map(|_| by_address(address).frame()).chain([discover(2).frame()]).collect();
    let answers = site.bed.frames(&flood);
    assert!(answers[..10].iter().all(Result::is_ok), "who may not ask took nothing from who may");
    assert!(answers[10..30].iter().all(|answer| answer.as_ref().err() == Some(&DropReason::LeaseQueryRate)));
    assert_eq!(answers[30].as_ref().unwrap().message_type(), Kind::Offer, "clients are served on");
    site.bed.pass(1);
    assert_eq!(site.kind(&by_address(address)), Kind::LeaseActive);
}

#[test]
fn a_query_that_has_many_leases_looked_at_counts_as_several() {
    let mut site = Site::with(|config| {
        let all: Ipv4Net = "198.51.100.0/24".parse().unwrap();
        config.leasequery = Some(LeaseQuery::new([all], 10, Codes::default()));
        let mut subnets = config.subnets.to_vec();
        subnets[1].pools[0].last = far(60);
        config.subnets = Subnets::new(subnets);
    });
    for n in 10..50 {
        site.bind_relayed(n, |msg| msg.option(code::RELAY_AGENT_INFO, &agent(2, b"a crowd")));
    }
    site.keep();
    let answered = (0..10).filter(|_| site.ask(&by_remote_id(b"a crowd")).is_ok()).count();
    assert_eq!(answered, 2, "1 and 40 leases / 8 each");
}

#[test]
fn before_the_index_is_whole_a_client_is_not_called_unknown() {
    let mut site = Site::new();
    let address = site.bed.bind(1);
    // What ends it.
    drop(site.index.be_whole());
    for query in [by_hw(1), by_client_id(b"\0x"), by_remote_id(b"r")] {
        assert_eq!(site.ask(&query).unwrap_err(), DropReason::LeaseQueryNotReady);
    }
    assert_eq!(site.kind(&by_address(address)), Kind::LeaseActive, "this one needs no index");
}

#[test]
fn nobody_is_called_unknown_for_a_crowd_that_hides_him() {
    let mut site = Site::new();
    let address = site.bind_relayed(1, |msg| msg.option(code::RELAY_AGENT_INFO, &agent(2, b"a crowd")));
    let binding = site.bed.leases.get(address, site.bed.now_s).unwrap();
    let slot = site.bed.leases.slot_of(address).unwrap();
    let index = Arc::clone(&site.index);
    let mut keeper = Keeper::new(&index, 1000);
    // Others, as leases of other VPNs are, and those that ran out a moment ago.
    let enter = |keeper: &mut Keeper<'_>, slots: std::ops::Range<u32>| {
        slots.filter(|one| *one != slot).for_each(|one| keeper.set(one, Some(&binding)));
    };
    enter(&mut keeper, 0..100);
    assert_eq!(site.kind(&by_remote_id(b"a crowd")), Kind::LeaseUnknown, "all of them were looked at");
    enter(&mut keeper, 100..1000);
    assert_eq!(site.ask(&by_remote_id(b"a crowd")).unwrap_err(), DropReason::LeaseQueryTooMany);
}

#[test]
fn queries_and_answers_are_counted_by_their_types() {
    let mut site = Site::new();
    let address = site.bed.bind(1);
    for address in [address, lan(19), lan(200)] {
        site.told(&by_address(address));
    }
    site.ask(&query()).unwrap_err();
    let counts = site.bed.snapshot();
    let of = |message: Message| counts.messages[message as usize];
    assert_eq!(of(Message::LeaseQuery), 4);
    let answers = [Message::LeaseActive, Message::LeaseUnassigned, Message::LeaseUnknown];
    assert_eq!(answers.map(of), [1, 1, 1]);
    assert_eq!(counts.drops[DropReason::LeaseQueryMalformed as usize], 1);
}
