//! BOOTP, rapid commit, clients that can do without an address, and what they boot.

use super::*;
use crate::{
    config::Config,
    engine::testing::{FakeLane, Msg, START_S},
};

fn with_full_journal(change: impl FnOnce(&mut Config)) -> Bed {
    Bed::with_lane(change, FakeLane { full: true, ..FakeLane::default() })
}

// BOOTP (RFC 951, RFC 1534)

/// A BOOTP request: no message type.
fn bootp(n: u8) -> Msg {
    discover(n).with(|msg| msg.options.clear())
}

fn with_bootp(lease_s: u32) -> Bed {
    Bed::with(|config| config.subnets.iter_mut().for_each(|subnet| subnet.bootp_lease_s = Some(lease_s)))
}

#[test]
fn a_bootp_client_has_an_address_from_one_request_on_and_for_ever() {
    let mut bed = with_bootp(u32::MAX);
    let reply = bed.bootp(&bootp(1));
    assert!((lan(10)..=lan(19)).contains(&reply.yiaddr()));
    assert!(reply.parked, "it waits for the journal as an ACK does");
    assert_eq!((bed.records()[0].0.state, bed.records()[0].0.expires_s), (BindingState::Bound, u32::MAX));
    assert_eq!(bed.bootp(&bootp(1)).yiaddr(), reply.yiaddr(), "and keeps it when it asks again");
    assert_ne!(bed.bootp(&bootp(2)).yiaddr(), reply.yiaddr());
}

#[test]
fn a_bootp_client_that_knows_its_address_keeps_it_where_nobody_else_has_it() {
    // RFC 951 3: `ciaddr` is "filled in by client in bootrequest if known".
    let mut bed = with_bootp(u32::MAX);
    let knows = |n: u8, address| bootp(n).with(|msg| msg.ciaddr = address);
    assert_eq!(bed.bootp(&knows(1, lan(17))).yiaddr(), lan(17));
    assert_ne!(bed.bootp(&knows(2, lan(17))).yiaddr(), lan(17));
    assert_eq!(bed.bootp(&bootp(1)).yiaddr(), lan(17));
}

#[test]
fn a_bootp_lease_ends_where_the_subnet_says_so() {
    let mut bed = with_bootp(600);
    bed.bootp(&bootp(1));
    assert_eq!(bed.records()[0].0.expires_s, START_S + 600);
}

#[test]
fn a_bootp_reply_has_no_option_that_only_dhcp_knows_and_fits_the_vendor_area() {
    let mut bed = with_bootp(u32::MAX);
    let reply = bed.bootp(&bootp(1));
    assert_eq!(reply.codes(), [1, 3, 6, 15]);
    assert_eq!(reply.payload.len(), 300);
    let mut bed = Bed::with(|config| {
        config.subnets[0].bootp_lease_s = Some(u32::MAX);
        let blob = |code| OptionBlob { code, data: vec![code; 30], always: false, ..OptionBlob::default() };
        config.subnets[0].options = OptionSet::new([blob(224), blob(225), blob(226)]);
    });
    assert_eq!(bed.bootp(&bootp(1)).codes(), [224], "no overload, no more than 64 bytes");
    let roomy = bootp(1).option(code::MAX_MESSAGE_SIZE, &576u16.to_be_bytes());
    assert_eq!(bed.bootp(&roomy).codes(), [224, 225, 226], "RFC 1534 2: unless it says that it takes more");
}

#[test]
fn a_bootp_client_without_the_magic_cookie_gets_no_options() {
    let mut bed = with_bootp(u32::MAX);
    let msg = bootp(1).with(|msg| {
        msg.cookie = [0; 4];
        msg.tail = vec![0; 60];
    });
    let reply = bed.bootp(&msg);
    assert!((lan(10)..=lan(19)).contains(&reply.yiaddr()));
    assert!(reply.payload[236..].iter().all(|&byte| byte == 0));
    assert_eq!(Bed::new().dropped(&msg), DropReason::BadCookie, "where BOOTP is not served");
}

#[test]
fn a_relayed_bootp_client_is_answered_through_its_relay_agent_with_option_82() {
    let mut bed = with_bootp(u32::MAX);
    let reply = bed.bootp(&bootp(1).relayed().option(82, &[1, 1, 7]));
    assert_eq!((reply.destination, reply.port), (RELAY, 67));
    assert_eq!(reply.options.last(), Some(&(82, vec![1, 1, 7])));
    assert!((far(10)..=far(13)).contains(&reply.yiaddr()));
}

#[test]
fn bootp_never_runs_ahead_of_a_full_journal() {
    let mut bed = with_full_journal(|config| config.subnets[0].bootp_lease_s = Some(u32::MAX));
    assert_eq!(bed.dropped(&bootp(1)), DropReason::JournalFull);
    assert_eq!(bed.leases.counts().bound, 0);
}

// Rapid commit (RFC 4039)

fn rapid() -> Bed {
    Bed::with(|config| config.subnets[0].rapid_commit = true)
}

#[test]
fn a_discover_with_rapid_commit_is_answered_with_an_ack_that_has_it_too() {
    let mut bed = rapid();
    let ack = bed.reply(&discover(1).option(code::RAPID_COMMIT, &[]));
    assert_eq!((ack.message_type(), ack.option(code::RAPID_COMMIT)), (Ack, Some(&[][..])));
    assert_eq!(ack.seconds(code::LEASE_TIME), Some(3600));
    assert!(ack.parked, "not before its record is durable");
    let lease = bed.records()[0].0;
    assert_eq!((lease.address, lease.state), (ack.yiaddr(), BindingState::Bound));
}

#[test]
fn without_the_option_or_where_it_is_not_configured_there_is_an_offer() {
    assert_eq!(rapid().reply(&discover(1)).message_type(), Offer);
    let offer = Bed::new().reply(&discover(1).option(code::RAPID_COMMIT, &[]));
    assert_eq!((offer.message_type(), offer.option(code::RAPID_COMMIT)), (Offer, None));
    let in_parts = discover(1).option(code::RAPID_COMMIT, &[1]).option(code::RAPID_COMMIT, &[]);
    assert_eq!(rapid().reply(&in_parts).message_type(), Offer, "joined it has data, which it must not have");
    let odd = rapid().reply(&discover(1).option(code::RAPID_COMMIT, &[1]));
    assert_eq!(odd.message_type(), Offer, "the option has no data");
}

#[test]
fn rapid_commit_never_runs_ahead_of_a_full_journal() {
    let mut bed = with_full_journal(|config| config.subnets[0].rapid_commit = true);
    assert_eq!(bed.dropped(&discover(1).option(code::RAPID_COMMIT, &[])), DropReason::JournalFull);
    assert_eq!(bed.leases.counts().bound, 0);
    assert_eq!(bed.reply(&discover(1)).message_type(), Offer);
}

// IPv6-only preferred (RFC 8925)

/// A subnet with option 108.
fn with_v6only(ipv6_only: bool) -> Bed {
    Bed::with(|config| {
        config.subnets[0].ipv6_only = ipv6_only;
        let wait =
            OptionBlob { code: 108, data: 1800u32.to_be_bytes().to_vec(), always: true, ..OptionBlob::default() };
        config.subnets[0].options = OptionSet::new([wait]);
    })
}

#[test]
fn ipv6_only_preferred_is_never_sent_to_a_client_that_does_not_ask_for_it() {
    let mut bed = with_v6only(true);
    for msg in [discover(1), discover(1).option(55, &[1, 3])] {
        let offer = bed.reply(&msg);
        assert_eq!(offer.option(108), None);
        assert!(!offer.yiaddr().is_unspecified(), "and it gets an address as ever");
    }
}

#[test]
fn a_client_that_asks_for_it_is_offered_0_0_0_0_and_no_address_is_held() {
    let mut bed = with_v6only(true);
    let offer = bed.reply(&discover(1).option(55, &[1, 3, 108]));
    assert_eq!((offer.message_type(), offer.yiaddr()), (Offer, Ipv4Addr::UNSPECIFIED));
    assert_eq!(offer.seconds(108), Some(1800));
    assert_eq!(offer.option(code::LEASE_TIME), None);
    assert_eq!((offer.ethernet_destination, offer.destination), ([0xff; 6], Ipv4Addr::BROADCAST));
    assert_eq!(bed.leases.counts().offered, 0);
}

#[test]
fn if_the_pool_is_not_configured_with_a_v6only_wait_timer_the_server_sets_the_field_to_zero() {
    for (option, seconds) in [("", 0), ("ipv6-only-preferred = 900", 900)] {
        let text = format!(
            "[[interface]]\nname = \"lan0\"\n[[subnet]]\nprefix = \"192.0.2.0/24\"\ninterface = \"lan0\"\n\
             pools = [\"192.0.2.10-192.0.2.30\"]\nipv6_only = true\n[subnet.options]\n{option}\n"
        );
        let read = crate::config::parse("f", &text, &crate::config::AnyMachine).unwrap().config;
        let mut bed = Bed::with(|config| *config = read);
        let offer = bed.reply(&discover(1).option(55, &[1, 108]));
        assert_eq!((offer.yiaddr(), offer.seconds(108)), (Ipv4Addr::UNSPECIFIED, Some(seconds)));
        assert_eq!(bed.reply(&discover(1).option(55, &[1])).option(108), None, "only to those that ask");
    }
}

#[test]
fn a_client_that_is_offered_no_address_for_ipv6_is_told_about_auto_configuration_where_it_asks() {
    let asks = |msg: Msg| msg.option(55, &[108]).option(code::AUTO_CONFIGURE, &[1]);
    let told = |bed: &mut Bed| bed.reply(&asks(discover(1))).option(code::AUTO_CONFIGURE).map(<[u8]>::to_vec);
    let mut bed = with_v6only(true);
    assert_eq!(told(&mut bed), Some(vec![0]), "DoNotAutoConfigure");
    assert_eq!(bed.reply(&discover(1).option(55, &[108])).option(code::AUTO_CONFIGURE), None);
    let mut may =
        Bed::with(|config| (config.subnets[0].ipv6_only, config.subnets[0].auto_configure) = (true, Some(true)));
    assert_eq!(told(&mut may), Some(vec![1]), "as the subnet has it");
}

#[test]
fn a_request_is_processed_as_usual_with_the_option_in_its_ack() {
    let mut bed = with_v6only(true);
    let offered = bed.reply(&discover(1)).yiaddr();
    let ack = bed.reply(&selecting(1, SERVER, offered).option(55, &[108]));
    assert_eq!((ack.message_type(), ack.yiaddr(), ack.seconds(108)), (Ack, offered, Some(1800)));
}

#[test]
fn without_ipv6_only_the_option_is_sent_beside_an_address() {
    let offer = with_v6only(false).reply(&discover(1).option(55, &[108]));
    assert_eq!(offer.seconds(108), Some(1800));
    assert!(!offer.yiaddr().is_unspecified());
}

// Auto-configure (RFC 2563)

#[test]
fn a_client_that_gets_no_address_is_told_whether_to_configure_itself() {
    for may in [false, true] {
        let mut bed = Bed::with(|config| {
            config.subnets[0].auto_configure = Some(may);
            config.subnets[0].pools[0].last = lan(10);
        });
        bed.bind(1);
        let offer = bed.reply(&discover(2).option(code::AUTO_CONFIGURE, &[1]));
        assert_eq!((offer.message_type(), offer.yiaddr()), (Offer, Ipv4Addr::UNSPECIFIED));
        assert_eq!(offer.option(code::AUTO_CONFIGURE), Some(&[u8::from(may)][..]));
        assert_eq!(offer.option(code::LEASE_TIME), None);
        assert_eq!(bed.dropped(&discover(3)), DropReason::NoFreeAddress, "one that knows nothing of it gets silence");
    }
}

#[test]
fn a_client_that_gets_an_address_is_not_told_and_without_the_setting_nobody_is() {
    let mut bed = Bed::with(|config| config.subnets[0].auto_configure = Some(false));
    let offer = bed.reply(&discover(1).option(code::AUTO_CONFIGURE, &[1]));
    assert_eq!((offer.yiaddr(), offer.option(code::AUTO_CONFIGURE)), (lan(10), None));
    let mut bed = Bed::with(|config| config.subnets[0].pools[0].last = lan(10));
    bed.bind(1);
    assert_eq!(bed.dropped(&discover(2).option(code::AUTO_CONFIGURE, &[1])), DropReason::NoFreeAddress);
}

// What a client boots (RFC 2131 table 3, RFC 4578)

#[test]
fn the_boot_file_is_the_one_of_the_clients_architecture() {
    let mut bed = Bed::with(|config| {
        config.subnets[0].boot_file = b"pxelinux.0".to_vec();
        config.subnets[0].boot_files = vec![(7, b"ipxe.efi".to_vec()), (11, b"ipxe-arm64.efi".to_vec())];
    });
    let mut file = |msg: &Msg| bed.reply(msg).message.fname().map(|name| name.to_vec());
    assert_eq!(file(&discover(1)).as_deref(), Some(&b"pxelinux.0\0"[..]));
    assert_eq!(file(&discover(1).option(93, &[0, 0])).as_deref(), Some(&b"pxelinux.0\0"[..]), "BIOS");
    assert_eq!(file(&discover(1).option(93, &[0, 7])).as_deref(), Some(&b"ipxe.efi\0"[..]), "UEFI");
    assert_eq!(file(&discover(1).option(93, &[0, 11, 0, 7])).as_deref(), Some(&b"ipxe-arm64.efi\0"[..]), "the first");
}

#[test]
fn the_server_name_keeps_its_field_from_options() {
    let mut bed = Bed::with(|config| {
        let blob = |code| OptionBlob { code, data: vec![code; 60], always: false, ..OptionBlob::default() };
        config.subnets[0].options = OptionSet::new((224..231).map(blob));
        config.subnets[0].server_name = b"boot.example.net".to_vec();
    });
    let offer = bed.reply(&discover(1).option(55, &[224, 225, 226, 227, 228, 229, 230]));
    assert_eq!(offer.message.sname(), Some(&b"boot.example.net\0"[..]));
    assert_eq!(offer.option(code::OVERLOAD), Some(&[1][..]));
    let nak = bed.reply(&selecting(1, SERVER, lan(99)));
    assert_eq!(nak.message.sname(), None, "table 3: a NAK has none");
}
