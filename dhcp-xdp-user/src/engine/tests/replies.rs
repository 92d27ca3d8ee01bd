//! What a reply holds and where it goes (RFC 2131 4.1 and table 3).

use super::*;

// Where replies go (4.1)

#[test]
fn a_reply_goes_to_the_offered_address_at_chaddr_with_no_arp() {
    let offer = Bed::new().reply(&discover(1));
    assert_eq!((offer.destination, offer.port), (offer.yiaddr(), 68));
    assert_eq!(offer.ethernet_destination, [2, 0, 0, 0, 0, 1]);
    assert!(!offer.message.flags().broadcast());
}

#[test]
fn the_broadcast_flag_asks_for_a_broadcast_reply_and_is_mirrored() {
    let offer = Bed::new().reply(&discover(1).with(|msg| msg.flags = BROADCAST_FLAG | 0x1234));
    assert_eq!((offer.ethernet_destination, offer.destination), ([0xff; 6], Ipv4Addr::BROADCAST));
    assert_eq!(offer.payload[10..12], [0x80, 0], "the other flags are zero");
}

#[test]
fn a_client_that_is_not_on_ethernet_is_answered_by_broadcast() {
    for (htype, hlen) in [(32, 16), (6, 6), (1, 16), (1, 5)] {
        let offer = Bed::new().reply(&discover(1).with(|msg| (msg.htype, msg.hlen) = (htype, hlen)));
        assert_eq!((offer.ethernet_destination, offer.destination), ([0xff; 6], Ipv4Addr::BROADCAST), "{htype} {hlen}");
    }
}

#[test]
fn a_relay_agent_counts_more_than_ciaddr_and_the_broadcast_flag() {
    let mut bed = Bed::new();
    let offered = bed.reply(&discover(1).relayed()).yiaddr();
    bed.reply(&selecting(1, SERVER, offered).relayed());
    let rebinding = request(1).relayed().with(|msg| {
        msg.ciaddr = offered;
        msg.flags = BROADCAST_FLAG;
    });
    let ack = bed.reply(&rebinding);
    assert_eq!((ack.message_type(), ack.destination, ack.port), (Ack, RELAY, 67));
    assert!(ack.message.flags().broadcast(), "for the relay agent to act on");
}

// What a reply holds

#[test]
fn the_parameter_request_list_is_honoured_in_its_order() {
    let offer =
        Bed::new().reply(&discover(1).option(code::PARAMETER_REQUEST_LIST, &[15, 6, 42, 3, 15, 53, 82, 255, 0]));
    assert_eq!(offer.codes(), [53, 54, 51, 58, 59, 15, 6, 3], "no option twice, none that is not configured");
    assert_eq!(offer.option(code::DOMAIN_NAME), Some(&b"example.net"[..]));
}

#[test]
fn the_subnet_mask_comes_before_the_routers_whatever_the_list_says() {
    let offer = Bed::new().reply(&discover(1).option(code::PARAMETER_REQUEST_LIST, &[3, 1]));
    assert_eq!(offer.codes(), [53, 54, 51, 58, 59, 1, 3]);
}

#[test]
fn a_client_without_a_list_is_sent_everything() {
    assert_eq!(Bed::new().reply(&discover(1)).codes(), [53, 54, 51, 58, 59, 1, 3, 6, 15]);
}

#[test]
fn options_marked_always_are_sent_unasked() {
    let mut bed = Bed::with(|config| {
        let always = OptionBlob { code: 43, data: vec![1, 2, 3], always: true, ..OptionBlob::default() };
        let asked = OptionBlob { code: 42, data: vec![192, 0, 2, 3], always: false, ..OptionBlob::default() };
        config.subnets[0].options = OptionSet::new([always, asked]);
    });
    let offer = bed.reply(&discover(1).option(code::PARAMETER_REQUEST_LIST, &[3]));
    assert_eq!(offer.codes(), [53, 54, 51, 58, 59, 43]);
}

#[test]
fn classless_routes_make_routers_and_static_routes_superfluous() {
    let mut bed = Bed::with(|config| {
        let blob = |code, data: &[u8]| OptionBlob { code, data: data.to_vec(), always: false, ..OptionBlob::default() };
        let routes = blob(code::CLASSLESS_ROUTE, &[0, 192, 0, 2, 254]);
        let old = blob(code::STATIC_ROUTE, &[10, 0, 0, 0, 192, 0, 2, 254]);
        config.subnets[0].options = OptionSet::new([blob(code::ROUTER, &[192, 0, 2, 254]), old, routes]);
    });
    let codes = |bed: &mut Bed, list: &[u8]| bed.reply(&discover(1).option(code::PARAMETER_REQUEST_LIST, list)).codes();
    assert_eq!(codes(&mut bed, &[3, 33, 121])[5..], [121]);
    assert_eq!(codes(&mut bed, &[3, 33])[5..], [3, 33], "a client that cannot read them gets routers");
    assert_eq!(codes(&mut bed, &[]), [53, 54, 51, 58, 59, 3, 33, 121], "nor can it be known of one without a list");
}

#[test]
fn where_classless_routes_do_not_fit_there_are_routers() {
    let mut bed = Bed::with(|config| {
        let blob = |code, data: &[u8]| OptionBlob { code, data: data.to_vec(), always: false, ..OptionBlob::default() };
        let routes = blob(code::CLASSLESS_ROUTE, &[0, 192, 0, 2, 254].repeat(120));
        config.subnets[0].options = OptionSet::new([blob(code::ROUTER, &[192, 0, 2, 254]), routes]);
    });
    let msg = discover(1).option(code::PARAMETER_REQUEST_LIST, &[121, 3]);
    assert_eq!(bed.reply(&msg).codes()[5..], [3]);
    let roomy = bed.reply(&msg.option(code::MAX_MESSAGE_SIZE, &1400u16.to_be_bytes()));
    assert_eq!(roomy.codes()[5..], [121, 121, 121]);
}

#[test]
fn the_client_identifier_is_echoed_in_every_reply() {
    let mut bed = Bed::new();
    let id = b"\x01\x02\x03";
    let offer = bed.reply(&discover(1).option(code::CLIENT_ID, id));
    assert_eq!(offer.option(code::CLIENT_ID), Some(&id[..]));
    let ack = bed.reply(&selecting(1, SERVER, offer.yiaddr()).option(code::CLIENT_ID, id));
    assert_eq!(ack.option(code::CLIENT_ID), Some(&id[..]));
    assert_eq!(bed.records()[0].2, id);
    let nak = bed.reply(&selecting(1, SERVER, lan(99)).option(code::CLIENT_ID, id));
    assert_eq!(nak.option(code::CLIENT_ID), Some(&id[..]));
    let inform = message(MessageType::Inform, 1).unicast(lan(99)).option(code::CLIENT_ID, id);
    assert_eq!(bed.reply(&inform).option(code::CLIENT_ID), Some(&id[..]));
    let longest = [7; 255];
    assert_eq!(bed.reply(&discover(1).option(code::CLIENT_ID, &longest)).option(code::CLIENT_ID), Some(&longest[..]));
}

#[test]
fn option_82_is_echoed_whole_and_last_in_every_reply() {
    let mut bed = Bed::new();
    let info = b"\x01\x05port7\x02\x04modm\xfe\x01\x00";
    let relayed = |msg: super::super::testing::Msg| msg.option(code::RELAY_AGENT_INFO, info).relayed();
    let offer = bed.reply(&relayed(discover(1)));
    let ack = bed.reply(&relayed(selecting(1, SERVER, offer.yiaddr())));
    let nak = bed.reply(&relayed(selecting(1, SERVER, far(99))));
    assert_eq!(nak.message_type(), Nak);
    let inform = bed.reply(&relayed(message(MessageType::Inform, 1).with(|msg| msg.ciaddr = far(99))));
    for reply in [offer, ack, nak, inform] {
        assert_eq!(reply.options.last(), Some(&(code::RELAY_AGENT_INFO, info.to_vec())));
    }
}

#[test]
fn option_82_that_says_nothing_or_what_nobody_knows_is_echoed_all_the_same() {
    // "without regard to its contents" is how RFC 3046 2.2 has it echoed.
    for info in [&b""[..], b"\x01", b"\x01\x09cut", b"\xfe\x01x", &[7; 200]] {
        let offer = Bed::new().reply(&discover(1).relayed().option(code::RELAY_AGENT_INFO, info));
        assert_eq!(offer.options.last(), Some(&(code::RELAY_AGENT_INFO, info.to_vec())));
    }
}

/// A message of an odd sender, each field of which says something.
fn odd(msg: super::super::testing::Msg) -> super::super::testing::Msg {
    msg.relayed().with(|msg| {
        (msg.htype, msg.hlen, msg.hops, msg.secs, msg.flags) = (32, 8, 3, 0x1234, BROADCAST_FLAG);
        msg.chaddr = std::array::from_fn(|at| at as u8 + 2);
        msg.ciaddr = far(12);
    })
}

#[test]
fn each_field_of_the_header_is_what_table_3_says() {
    let mut bed = authoritative();
    let offer = bed.reply(&odd(discover(1)));
    let ack = bed.reply(&odd(request(1)));
    let renewed = bed.reply(&odd(request(1)).with(|msg| msg.flags = 0));
    let nak = bed.reply(&odd(request(2)).with(|msg| msg.hlen = 7));
    let inform = bed.reply(&odd(message(MessageType::Inform, 1)).with(|msg| msg.destination = SERVER));
    let none = Ipv4Addr::UNSPECIFIED;
    for (reply, kind, hlen, flags, ciaddr, yiaddr) in [
        (&offer, Offer, 8, BROADCAST_FLAG, none, offer.yiaddr()),
        (&ack, Ack, 8, BROADCAST_FLAG, far(12), far(12)),
        (&renewed, Ack, 8, 0, far(12), far(12)),
        (&nak, Nak, 7, BROADCAST_FLAG, none, none),
        (&inform, Ack, 8, BROADCAST_FLAG, far(12), none),
    ] {
        let [head, addresses] = [&reply.payload[..12], &reply.payload[12..44]];
        let flags = flags.to_be_bytes();
        let expected = [2, 32, hlen, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, flags[0], flags[1]];
        assert_eq!((reply.message_type(), head), (kind, &expected[..]), "op, htype, hlen, hops, xid, secs, flags");
        let expected = [ciaddr, yiaddr, none, RELAY].map(|address| address.octets()).concat();
        assert_eq!(addresses[..16], expected, "{kind:?}: ciaddr, yiaddr, siaddr, giaddr");
        assert_eq!(addresses[16..], std::array::from_fn::<u8, 16, _>(|at| at as u8 + 2), "chaddr, whole");
    }
}

#[test]
fn a_nak_must_not_use_the_file_and_sname_fields() {
    // Table 3. There is room for what it must have, and for its words no more.
    let msg = selecting(1, SERVER, far(99)).relayed().option(code::CLIENT_ID, &[9; 200]);
    let nak = Bed::new().reply(&msg.option(code::RELAY_AGENT_INFO, &[7; 85]));
    assert_eq!(nak.codes(), [code::MESSAGE_TYPE, code::SERVER_ID, code::CLIENT_ID, code::RELAY_AGENT_INFO]);
    assert!(nak.payload[44..236].iter().all(|&byte| byte == 0));
}

#[test]
fn next_server_and_boot_file_are_sent_with_addresses_only() {
    let mut bed = Bed::with(|config| {
        config.subnets[0].next_server = lan(5);
        config.subnets[0].boot_file = b"pxelinux.0".to_vec();
    });
    let offer = bed.reply(&discover(1));
    assert_eq!(offer.message.siaddr(), lan(5));
    assert!(offer.payload[108..236].starts_with(b"pxelinux.0\0\0"));
    let nak = bed.reply(&selecting(1, SERVER, lan(99)));
    assert_eq!((nak.message.siaddr(), nak.message.fname()), (Ipv4Addr::UNSPECIFIED, None));
}

// Message size (4.1, RFC 2132 9.3 and 9.10)

/// A subnet with options 224 to 230 of `len` bytes each.
fn with_long_options(len: usize) -> Bed {
    Bed::with(|config| {
        let blob = |code| OptionBlob { code, data: vec![code; len], always: false, ..OptionBlob::default() };
        config.subnets[0].options = OptionSet::new((224..231).map(blob));
    })
}

const LONG_LIST: [u8; 6] = [224, 225, 226, 227, 228, 229];

#[test]
fn a_reply_stays_within_576_bytes_unless_the_client_takes_more() {
    for (asked, limit) in [(None, 576), (Some(0u16), 576), (Some(577), 577), (Some(1400), 1400), (Some(u16::MAX), 1500)]
    {
        let mut msg = discover(1).option(code::PARAMETER_REQUEST_LIST, &LONG_LIST);
        if let Some(asked) = asked {
            msg = msg.option(code::MAX_MESSAGE_SIZE, &asked.to_be_bytes());
        }
        let offer = with_long_options(255).reply(&msg);
        let datagram = offer.frame.len() - 14;
        assert!(datagram <= limit, "{datagram} bytes for a client that takes {limit}");
        assert!(limit - datagram < 257 + 4, "an option that fits is sent: {datagram} of {limit}");
    }
}

#[test]
fn the_minimum_legal_value_of_the_maximum_message_size_is_576() {
    let codes = |asked: &[u16]| {
        let msg = discover(1).option(code::PARAMETER_REQUEST_LIST, &LONG_LIST);
        let msg = asked.iter().fold(msg, |msg, asked| msg.option(code::MAX_MESSAGE_SIZE, &asked.to_be_bytes()));
        with_long_options(60).reply(&msg).payload
    };
    for illegal in [0, 1, 28, 300, 328, 575] {
        assert_eq!(codes(&[illegal]), codes(&[]), "{illegal}");
    }
}

#[test]
fn options_that_do_not_fit_go_to_file_and_sname() {
    let offer = with_long_options(60).reply(&discover(1).option(code::PARAMETER_REQUEST_LIST, &LONG_LIST));
    assert_eq!(offer.codes(), [53, 54, 51, 58, 59, 224, 225, 226, 227, 52]);
    assert_eq!(offer.option(code::OVERLOAD), Some(&[1][..]));
    assert_eq!(read_options(&offer.payload[108..236]), [(228, vec![228; 60]), (229, vec![229; 60])]);

    let mut bed = with_long_options(61);
    let offer = bed.reply(&discover(1).option(code::PARAMETER_REQUEST_LIST, &[&LONG_LIST[..], &[230]].concat()));
    assert_eq!(offer.option(code::OVERLOAD), Some(&[3][..]));
    assert_eq!(read_options(&offer.payload[108..236]), [(228, vec![228; 61]), (229, vec![229; 61])]);
    assert_eq!(read_options(&offer.payload[44..108]), [(230, vec![230; 61])]);
}

#[test]
fn a_boot_file_keeps_its_field() {
    let mut bed = Bed::with(|config| {
        let blob = |code| OptionBlob { code, data: vec![code; 60], always: false, ..OptionBlob::default() };
        config.subnets[0].options = OptionSet::new((224..231).map(blob));
        config.subnets[0].boot_file = b"boot".to_vec();
    });
    let offer = bed.reply(&discover(1).option(code::PARAMETER_REQUEST_LIST, &LONG_LIST));
    assert_eq!(offer.option(code::OVERLOAD), Some(&[2][..]));
    assert!(offer.payload[108..236].starts_with(b"boot\0\0"));
    assert_eq!(read_options(&offer.payload[44..108]), [(228, vec![228; 60])]);
}

#[test]
fn a_long_option_82_displaces_the_subnets_options_and_is_never_overloaded() {
    let info = [7; 255];
    let msg = discover(1).option(code::PARAMETER_REQUEST_LIST, &[1, 3, 6, 15]);
    let offer = Bed::new().reply(&msg.relayed().option(code::RELAY_AGENT_INFO, &info));
    assert_eq!(offer.options.last(), Some(&(code::RELAY_AGENT_INFO, info.to_vec())));
    assert!(offer.frame.len() - 14 <= 576);
}

#[test]
fn option_82_is_left_out_when_the_client_identifier_leaves_it_no_room() {
    let msg = discover(1).relayed().option(code::CLIENT_ID, &[9; 255]).option(code::RELAY_AGENT_INFO, &[7; 255]);
    let offer = Bed::new().reply(&msg);
    assert_eq!(offer.option(code::CLIENT_ID), Some(&[9; 255][..]));
    assert_eq!(offer.option(code::RELAY_AGENT_INFO), None);
    assert_eq!(offer.seconds(code::LEASE_TIME), Some(3600));
}

// Whom nobody should answer

#[test]
fn a_hardware_address_that_no_host_has_gets_no_answer() {
    for mac in [[0x01, 0x80, 0xc2, 0, 0, 0], [0x01, 0, 0x5e, 0, 0, 1], [0xff; 6], [0; 6]] {
        let msg = discover(1).with(|msg| msg.chaddr[..6].copy_from_slice(&mac));
        assert_eq!(Bed::new().dropped(&msg), DropReason::BadHwAddress, "{mac:02x?}");
        assert_eq!(Bed::new().dropped(&msg.relayed()), DropReason::BadHwAddress, "{mac:02x?} relayed");
    }
}

#[test]
fn what_a_server_says_is_no_request() {
    let msg = discover(1).with(|msg| msg.op = 2);
    assert_eq!(Bed::new().dropped(&msg), DropReason::NotOurs);
    let payload = msg.payload();
    let read = crate::engine::Request::parse(&payload, SERVER, &mut crate::wire::options::Scratch::new(&mut []));
    assert_eq!(read.err(), Some(DropReason::NotOurs), "nor for who reads a message without its frame");
}

#[test]
fn a_frame_from_a_group_address_gets_no_answer() {
    let msg = discover(1).relayed().with(|msg| msg.ethernet_source = [0x01, 0, 0x5e, 0, 0, 1]);
    assert_eq!(Bed::new().dropped(&msg), DropReason::NotOurs);
}

#[test]
fn inform_from_an_address_that_is_no_host_of_the_subnet_gets_no_answer() {
    let group = Ipv4Addr::new(224, 0, 0, 1);
    for ciaddr in [group, Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST, Ipv4Addr::new(8, 8, 8, 8), lan(0), lan(255)] {
        let msg = message(MessageType::Inform, 1).with(|msg| msg.ciaddr = ciaddr);
        assert_eq!(Bed::new().dropped(&msg), DropReason::BadRequest, "{ciaddr}");
    }
}

#[test]
fn an_offer_is_not_sent_to_a_ciaddr_off_the_subnet() {
    let offer = Bed::new().reply(&discover(1).with(|msg| msg.ciaddr = Ipv4Addr::new(8, 8, 8, 8)));
    assert_eq!(offer.destination, offer.yiaddr());
}

#[test]
fn a_giaddr_that_is_no_hosts_address_is_no_relay_agents() {
    for giaddr in [far(0), far(255)] {
        let msg = discover(1).relayed().with(|msg| msg.giaddr = giaddr);
        assert_eq!(Bed::new().dropped(&msg), DropReason::NoSubnet, "{giaddr}");
    }
}
