//! The examples of typical sites, served: who is given what.

use super::*;
use crate::engine::testing::{Answer, Msg};

const LIST: [u8; 9] = [1, 3, 4, 6, 7, 12, 15, 42, 114];

/// A server of an example, whose interface is the bed's.
fn site(example: &str) -> Bed {
    let text = example.replace("\"eth1\"", "\"lan0\"");
    let read = config::parse("example", &text, &AnyMachine).unwrap_or_else(|rejected| panic!("{rejected}")).config;
    Bed::with(|config| *config = read)
}

/// Client `n` as the relay agent with this address sends its message on.
fn via(giaddr: [u8; 4], msg: Msg) -> Msg {
    msg.option(code::PARAMETER_REQUEST_LIST, &LIST).relayed().with(|msg| {
        (msg.giaddr, msg.source) = (giaddr.into(), giaddr.into());
    })
}

/// The ACK to a client that takes what it was offered; `as_is` is how its messages come.
fn taken(bed: &mut Bed, server: [u8; 4], n: u8, as_is: &dyn Fn(Msg) -> Msg) -> Result<Answer, DropReason> {
    let offer = bed.send(&as_is(discover(n)))?;
    let ack = bed.reply(&as_is(selecting(n, server.into(), offer.yiaddr())));
    assert_eq!((ack.message_type(), ack.yiaddr()), (Ack, offer.yiaddr()));
    Ok(ack)
}

fn file(answer: &Answer) -> &[u8] {
    answer.payload[108..236].split(|byte| *byte == 0).next().unwrap()
}

const FTTH_SERVER: [u8; 4] = [192, 0, 2, 1];

#[test]
fn ftth_customers_have_the_address_of_their_circuit_or_one_of_all() {
    let mut bed = site(include_str!("../../../../examples/ftth.toml"));
    let on = |giaddr: [u8; 4], info: &'static [u8]| move |msg: Msg| via(giaddr, msg.option(82, info));
    let bng = [203, 0, 113, 1];
    let business = taken(&mut bed, FTTH_SERVER, 1, &on(bng, b"\x01\x12olt7 xpon 0/1/0:16")).unwrap();
    assert_eq!(business.yiaddr(), Ipv4Addr::new(203, 0, 113, 250));
    assert_eq!((business.option(12), business.seconds(51)), (Some(&b"branch-office"[..]), Some(86_400)));
    assert_eq!(business.option(3), Some(&[203, 0, 113, 1][..]));
    assert_eq!(business.option(6), Some(&[192, 0, 2, 53, 198, 51, 100, 53][..]));
    let renewed = bed.reply(&request(1).unicast(business.yiaddr()));
    assert_eq!((renewed.message_type(), renewed.yiaddr()), (Ack, business.yiaddr()), "past the BNG");
    let by_remote = taken(&mut bed, FTTH_SERVER, 2, &on(bng, b"\x02\x08\0\0ont1AB")).unwrap();
    assert_eq!(by_remote.yiaddr(), Ipv4Addr::new(203, 0, 113, 251));
    assert_eq!(by_remote.option(42), Some(&[203, 0, 113, 1][..]));
    // Whichever of its addresses the BNG says, the first subnet's addresses go first.
    for (n, giaddr) in [(3, bng), (4, [100, 64, 0, 1])] {
        let ack = taken(&mut bed, FTTH_SERVER, n, &on(giaddr, b"\x01\x12olt7 xpon 0/1/0:17")).unwrap();
        let pool = Ipv4Addr::new(203, 0, 113, 10)..=Ipv4Addr::new(203, 0, 113, 190);
        assert!(pool.contains(&ack.yiaddr()), "{}", ack.yiaddr());
        assert_eq!(ack.option(42), None);
    }
    let unknown = request(9).address(code::REQUESTED_ADDRESS, Ipv4Addr::new(203, 0, 113, 99));
    assert_eq!(bed.reply(&via(bng, unknown)).message_type(), Nak, "authoritative");
}

#[test]
fn devices_on_the_cable_are_told_apart_and_four_behind_a_modem_are_served() {
    let mut bed = site(include_str!("../../../../examples/cable.toml"));
    let server = [192, 0, 2, 1];
    let device = |remote: &'static [u8], vendor: Option<&'static [u8]>| {
        move |msg: Msg| {
            let msg = vendor.into_iter().fold(msg, |msg, vendor| msg.option(60, vendor));
            via([10, 128, 0, 1], msg.option(82, &[&[2, remote.len() as u8], remote].concat()))
        }
    };
    let modem = taken(&mut bed, server, 1, &device(b"modem1", Some(b"docsis3.1:"))).unwrap();
    assert_eq!((modem.yiaddr().octets()[1], file(&modem)), (128, &b"modem-default.cfg"[..]));
    assert_eq!((modem.message.siaddr(), modem.seconds(51)), (Ipv4Addr::new(192, 0, 2, 5), Some(604_800)));
    assert_eq!((modem.option(4), modem.option(7)), (Some(&[192, 0, 2, 5][..]), Some(&[192, 0, 2, 6][..])));
    let own = |msg: Msg| {
        device(b"modem2", Some(b"docsis3.0:"))(msg).with(|msg| msg.chaddr[..6].copy_from_slice(b"\x02\0\0\xaa\xbb\x01"))
    };
    assert_eq!(file(&taken(&mut bed, server, 2, &own).unwrap()), b"modem-business.cfg");
    let adapter = taken(&mut bed, server, 3, &device(b"modem1", Some(b"pktc1.5"))).unwrap();
    assert_eq!((adapter.yiaddr().octets()[..2].to_vec(), file(&adapter)), (vec![10, 64], &b"mta-default.cfg"[..]));
    for n in 10..14 {
        let ack = taken(&mut bed, server, n, &device(b"modem1", None)).unwrap();
        let pool = Ipv4Addr::new(203, 0, 113, 10)..=Ipv4Addr::new(203, 0, 113, 239);
        assert!(pool.contains(&ack.yiaddr()) && ack.seconds(51) == Some(21_600), "{}", ack.yiaddr());
        assert_eq!((file(&ack), ack.option(4)), (&b""[..], None));
    }
    assert_eq!(taken(&mut bed, server, 14, &device(b"modem1", None)).map(|_| ()), Err(DropReason::LeaseLimit));
    taken(&mut bed, server, 14, &device(b"modem2", None)).unwrap();
    let known =
        |msg: Msg| device(b"modem3", None)(msg).with(|msg| msg.chaddr[..6].copy_from_slice(b"\x02\0\0\xcc\xdd\x01"));
    let ack = taken(&mut bed, server, 15, &known).unwrap();
    assert_eq!((ack.yiaddr(), ack.option(12)), (Ipv4Addr::new(203, 0, 113, 251), Some(&b"mail"[..])));
}

#[test]
fn hotel_guests_have_short_leases_the_house_its_own_addresses_and_who_needs_none_takes_none() {
    let mut bed = site(include_str!("../../../../examples/hotel.toml"));
    let on = |vlan: u16| move |msg: Msg| msg.option(55, &LIST).with(|msg| msg.tags = vec![(0x8100, vlan)]);
    let guest = taken(&mut bed, [10, 20, 0, 1], 1, &on(20)).unwrap();
    assert_eq!((guest.yiaddr().octets()[..2].to_vec(), guest.seconds(51)), (vec![10, 20], Some(1800)));
    assert_eq!(guest.option(114), Some(&b"https://portal.hotel.example/api"[..]));
    let again = on(20)(discover(1)).option(61, b"\x01another identifier");
    assert_eq!(bed.reply(&again).yiaddr(), guest.yiaddr(), "known by its hardware address");
    assert!(bed.reply(&on(20)(discover(2))).probed, "asked before it is offered");
    let phone = discover(3).option(55, &[1, 3, 108]).with(|msg| msg.tags = vec![(0x8100, 20)]);
    let offer = bed.reply(&phone);
    assert_eq!((offer.yiaddr(), offer.seconds(108)), (Ipv4Addr::UNSPECIFIED, Some(1800)));
    let printer = |msg: Msg| on(30)(msg).with(|msg| msg.chaddr[..6].copy_from_slice(b"\x02\0\0\0\x30\x01"));
    let ack = taken(&mut bed, [10, 30, 0, 1], 4, &printer).unwrap();
    assert_eq!((ack.yiaddr(), ack.option(12)), (Ipv4Addr::new(10, 30, 0, 10), Some(&b"printer-reception"[..])));
    let house = taken(&mut bed, [10, 30, 0, 1], 5, &on(30)).unwrap();
    assert_eq!((house.yiaddr().octets()[..3].to_vec(), house.seconds(51)), (vec![10, 30, 0], Some(43_200)));
    assert_eq!(bed.dropped(&on(40)(discover(6))), DropReason::NoSubnet);
}

#[test]
fn each_customer_on_a_vlan_of_its_own_is_served_out_of_its_own_subnet() {
    let mut bed = site(include_str!("../../../../examples/qinq.toml"));
    let on = |outer: u16, inner: u16| {
        move |msg: Msg| msg.option(55, &LIST).with(|msg| msg.tags = vec![(0x88a8, outer), (0x8100, inner)])
    };
    for (n, (outer, inner), server, net) in [
        (1, (100, 1), [198, 51, 100, 1], "198.51.100.0/24"),
        (2, (100, 4094), [198, 51, 100, 1], "198.51.100.0/24"),
        (3, (101, 7), [192, 0, 2, 9], "192.0.2.8/29"),
        (4, (101, 8), [192, 0, 2, 17], "192.0.2.16/29"),
        (5, (101, 9), [100, 64, 0, 1], "100.64.0.0/20"),
    ] {
        let ack = taken(&mut bed, server, n, &on(outer, inner)).unwrap();
        let prefix: ipnet::Ipv4Net = net.parse().unwrap();
        assert!(prefix.contains(&ack.yiaddr()), "{outer}.{inner}: {}", ack.yiaddr());
        assert_eq!((ack.option(3), ack.seconds(51)), (Some(&server[..]), Some(7200)));
        assert_eq!(ack.frame.len() - 42 - ack.payload.len(), 8, "a reply has the tags of its request");
    }
    assert_eq!(bed.dropped(&on(102, 1)(discover(6))), DropReason::NoSubnet);
}
