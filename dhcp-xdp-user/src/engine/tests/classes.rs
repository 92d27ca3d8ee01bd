//! What classes do to replies.

use super::*;
use crate::{
    config::{Config, Subnets, parse},
    engine::testing::Msg,
};

/// The test's configuration with these classes, read as from a file.
fn with_classes(classes: &str) -> impl FnOnce(&mut Config) {
    let text = format!(
        "[[interface]]\nname = \"lan0\"\n[[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.10-192.0.2.19\"]\n{classes}"
    );
    let read = parse("test", &text, &crate::config::AnyMachine).unwrap_or_else(|rejected| panic!("{rejected}")).config;
    move |config: &mut Config| {
        config.classes = read.classes;
        config.overlays = read.overlays;
        let access = read.subnets[0].access;
        let mut subnets = config.subnets.to_vec();
        subnets[0].access = access;
        config.subnets = Subnets::new(subnets);
    }
}

fn circuit(n: u8) -> Vec<u8> {
    vec![1, 1, n]
}

/// A client behind the relay agent, on a circuit.
fn bind_on(bed: &mut Bed, client: u8, on: u8) -> Option<Ipv4Addr> {
    let offered = bed.send(&discover(client).option(82, &circuit(on)).relayed()).ok()?.yiaddr();
    let taking = selecting(client, lan(1), offered).option(82, &circuit(on)).relayed();
    let answer = bed.reply(&taking);
    (answer.message_type() == Ack).then(|| answer.yiaddr())
}

#[test]
fn a_client_of_an_ignored_class_gets_silence() {
    let mut bed =
        Bed::with(with_classes("[[class]]\nname = \"bad\"\nmatch = \"option[60] == 'bad'\"\nignore = true\n"));
    assert_eq!(bed.dropped(&discover(1).option(60, b"bad")), DropReason::ClassIgnored);
    let offered = bed.reply(&discover(1).option(60, b"good")).yiaddr();
    let takes = |vendor: &[u8]| selecting(1, SERVER, offered).option(60, vendor);
    assert_eq!(bed.dropped(&takes(b"bad")), DropReason::ClassIgnored);
    assert_eq!(bed.reply(&takes(b"good")).message_type(), Ack);
    for kind in [MessageType::Request, MessageType::Inform] {
        let bad = message(kind, 1).option(60, b"bad").unicast(offered);
        assert_eq!(bed.dropped(&bad), DropReason::ClassIgnored, "{kind:?}");
    }
}

#[test]
fn a_subnet_serves_the_classes_that_it_allows_and_none_that_it_denies() {
    let classes = "allow_classes = [\"a\", \"b\"]\ndeny_classes = [\"c\"]\n[[class]]\nname = \"a\"\nmatch = \"option[60] == 'a'\"\n\
                   [[class]]\nname = \"b\"\nmatch = \"option[77].exists\"\n[[class]]\nname = \"c\"\nmatch = \"secs > 100 or option[12].exists\"\n";
    let mut bed = Bed::with(with_classes(classes));
    assert_eq!(bed.dropped(&discover(1)), DropReason::ClassDenied);
    assert_eq!(bed.dropped(&discover(1).option(60, b"a").option(12, b"x")), DropReason::ClassDenied);
    let offered = bed.reply(&discover(1).option(77, b"x")).yiaddr();
    assert_eq!(bed.dropped(&selecting(1, SERVER, offered)), DropReason::ClassDenied, "offered it to the class");
    let offered = bed.reply(&discover(2).option(60, b"a")).yiaddr();
    let taking = selecting(2, SERVER, offered).option(60, b"a");
    assert_eq!(bed.reply(&taking).message_type(), Ack);
    // What it has it may give back, whatever class it is in by now.
    let release = message(MessageType::Release, 2).address(code::SERVER_ID, SERVER).unicast(offered);
    assert_eq!(bed.dropped(&release), DropReason::Released);
}

#[test]
fn a_subnet_for_known_clients_serves_no_other() {
    let mut bed = Bed::with(with_classes("known_clients_only = true\n"));
    assert_eq!(bed.dropped(&discover(1)), DropReason::ClassDenied);
}

#[test]
fn a_class_may_ask_for_what_the_relay_agent_says_of_subscriber_relay_and_flags() {
    // RFC 3993, RFC 6925 and RFC 5010.
    let class = |name: &str, sub_option: &str| {
        let expression = format!("{sub_option} and relay.exists");
        format!("[[class]]\nname = \"{name}\"\nmatch = \"{expression}\"\noptions = {{ domain-name = \"{name}\" }}\n")
    };
    let classes = [
        class("subscriber", "relay.subscriber-id == 'anna'"),
        class("relay", "relay.relay-agent-identifier == 0x000178"),
        class("unicast", "relay.flags == 0x80"),
    ];
    let mut bed = Bed::with(with_classes(&classes.concat()));
    let mut domain = |info: &[u8]| {
        let offer = bed.reply(&discover(1).option(55, &[15]).option(82, info).relayed());
        offer.option(15).map(|data| String::from_utf8(data.to_vec()).unwrap())
    };
    assert_eq!(domain(b"\x06\x04anna").as_deref(), Some("subscriber"));
    assert_eq!(domain(b"\x0c\x03\x00\x01x").as_deref(), Some("relay"));
    assert_eq!(domain(b"\x0a\x01\x80").as_deref(), Some("unicast"));
    assert_eq!(domain(b"\x06\x04berta"), domain(b"\x01\x01c"), "no class");
}

#[test]
fn the_lease_time_is_the_classs_that_is_written_first() {
    let classes = "[[class]]\nname = \"short\"\nmatch = \"option[60] == 'phone'\"\nlease_time_s = 120\n\
                   [[class]]\nname = \"long\"\nmatch = \"option[60].exists\"\nlease_time_s = 9000\nmax_lease_time_s = 20000\n";
    let mut bed = Bed::with(with_classes(classes));
    let granted = |bed: &mut Bed, vendor: &[u8], asked: Option<u32>| {
        let mut discover = discover(1).option(60, vendor);
        if let Some(asked) = asked {
            discover = discover.option(51, &asked.to_be_bytes());
        }
        bed.reply(&discover).seconds(51).unwrap()
    };
    assert_eq!(granted(&mut bed, b"phone", None), 120);
    assert_eq!(granted(&mut bed, b"phone", Some(7000)), 120);
    assert_eq!(granted(&mut bed, b"router", None), 9000);
    assert_eq!(granted(&mut bed, b"router", Some(15_000)), 15_000);
    assert_eq!(bed.reply(&discover(2)).seconds(51), Some(3600));
}

#[test]
fn the_least_default_and_greatest_lease_time_of_a_class_come_before_those_of_the_subnet() {
    let classes = "[[class]]\nname = \"all\"\nmatch = \"option[60].exists\"\nmin_lease_time_s = 300\nlease_time_s = 600\nmax_lease_time_s = 900\n";
    let mut bed = Bed::with(with_classes(classes));
    for (asked, granted, of_subnet) in
        [(None, 600, 3600), (Some(1), 300, 60), (Some(700), 700, 700), (Some(9000), 900, 7200)]
    {
        let asking = |msg: Msg| asked.into_iter().fold(msg, |msg, s: u32| msg.option(51, &s.to_be_bytes()));
        assert_eq!(bed.reply(&asking(discover(1).option(60, b"x"))).seconds(51), Some(granted), "{asked:?}");
        assert_eq!(bed.reply(&asking(discover(2))).seconds(51), Some(of_subnet), "{asked:?}");
    }
}

#[test]
fn options_and_boot_files_of_classes_lie_over_those_of_the_subnet_the_first_written_first() {
    let classes = "[[class]]\nname = \"a\"\nmatch = \"option[60] == 'a'\"\nboot_file = \"a.bin\"\nserver_name = \"a.example\"\noptions = { dns-servers = \"198.51.100.1\" }\n\
                   [[class]]\nname = \"b\"\nmatch = \"option[60].exists\"\nnext_server = \"192.0.2.9\"\n\
                   options = { dns-servers = \"198.51.100.2\", domain-name = \"b.example\" }\n";
    let mut bed = Bed::with(with_classes(classes));
    let asked = |vendor: &[u8]| discover(1).option(60, vendor).option(55, &[6, 15, 3]);
    let of_a = bed.reply(&asked(b"a"));
    assert_eq!(of_a.option(6), Some(&[198, 51, 100, 1][..]));
    assert_eq!(of_a.option(15), Some(&b"b.example"[..]));
    assert_eq!(of_a.option(3), Some(&[192, 0, 2, 254][..]), "the subnet's");
    assert_eq!((&of_a.payload[108..113], &of_a.payload[20..24]), (&b"a.bin"[..], &[192, 0, 2, 9][..]));
    assert_eq!(of_a.payload[44..54], *b"a.example\0");
    assert_eq!(bed.reply(&asked(b"other")).option(6), Some(&[198, 51, 100, 2][..]));
    let of_none = bed.reply(&discover(2).option(55, &[6, 15]));
    assert_eq!(of_none.option(6), Some(&[192, 0, 2, 53, 192, 0, 2, 54][..]));
}

const LIMIT: &str = "[[class]]\nname = \"circuit\"\nspawn = \"relay.circuit-id\"\nlease_limit = 1\n";

#[test]
fn a_circuit_that_has_as_many_leases_as_allowed_is_offered_no_more() {
    let mut bed = Bed::with(with_classes(LIMIT));
    assert!(bind_on(&mut bed, 1, 7).is_some());
    assert_eq!(bed.dropped(&discover(2).option(82, &circuit(7)).relayed()), DropReason::LeaseLimit);
    assert!(bind_on(&mut bed, 2, 8).is_some(), "another circuit");
    assert!(bind_on(&mut bed, 1, 7).is_some(), "who has one keeps it");
}

#[test]
fn one_value_of_two_classes_is_counted_for_each_class_apart() {
    let class = |name: &str| {
        format!(
            "[[class]]\nname = \"{name}\"\nmatch = \"option[60] == '{name}'\"\nspawn = \"relay.circuit-id\"\nlease_limit = 1\n"
        )
    };
    let mut bed = Bed::with(with_classes(&(class("phone") + &class("tv"))));
    let on_seven = |msg: Msg, vendor: &[u8]| msg.option(60, vendor).option(82, &circuit(7)).relayed();
    for (client, vendor) in [(1, b"phone".as_slice()), (2, b"tv")] {
        let offered = bed.reply(&on_seven(discover(client), vendor)).yiaddr();
        assert_eq!(bed.reply(&on_seven(selecting(client, lan(1), offered), vendor)).message_type(), Ack);
        assert_eq!(bed.dropped(&on_seven(discover(client + 10), vendor)), DropReason::LeaseLimit);
    }
}

#[test]
fn of_two_offers_on_a_circuit_for_one_lease_the_first_taken_counts_and_the_other_is_refused() {
    let mut bed = Bed::with(with_classes(LIMIT));
    let offers: Vec<Ipv4Addr> =
        (1..3).map(|n| bed.reply(&discover(n).option(82, &circuit(7)).relayed()).yiaddr()).collect();
    let take = |bed: &mut Bed, n: u8| {
        bed.reply(&selecting(n, lan(1), offers[usize::from(n) - 1]).option(82, &circuit(7)).relayed()).message_type()
    };
    assert_eq!(take(&mut bed, 2), Ack);
    assert_eq!(take(&mut bed, 1), Nak);
    assert_eq!(bed.records().len(), 1, "only what was granted is recorded");
}

#[test]
fn a_place_that_is_given_up_is_free_once_the_record_that_says_so_is_on_the_disk() {
    let end = |message_type| {
        let mut bed = Bed::with(with_classes(LIMIT));
        let address = bind_on(&mut bed, 2, 7).unwrap();
        let msg = message(message_type, 2).address(code::SERVER_ID, lan(1));
        let msg = match message_type {
            MessageType::Decline => msg.address(code::REQUESTED_ADDRESS, address).relayed(),
            _ => msg.unicast(address),
        };
        assert!(matches!(bed.dropped(&msg), DropReason::Released | DropReason::Declined));
        bed
    };
    for mut bed in [end(MessageType::Release), end(MessageType::Decline)] {
        let asks = discover(1).option(82, &circuit(7)).relayed();
        assert_eq!(bed.dropped(&asks), DropReason::LeaseLimit, "its record may be lost still");
        bed.free_places();
        assert!(bind_on(&mut bed, 1, 7).is_some());
    }
}

#[test]
fn a_client_that_moves_to_another_circuit_leaves_its_place_once_that_is_on_the_disk() {
    let mut bed = Bed::with(with_classes(LIMIT));
    bind_on(&mut bed, 1, 7).unwrap();
    assert!(bind_on(&mut bed, 1, 8).is_some(), "the same address, on another circuit");
    let asks = discover(2).option(82, &circuit(7)).relayed();
    assert_eq!(bed.dropped(&asks), DropReason::LeaseLimit);
    bed.free_places();
    assert!(bind_on(&mut bed, 2, 7).is_some());
}

#[test]
fn a_renewal_without_option_82_counts_on_where_it_did() {
    let mut bed = Bed::with(with_classes(LIMIT));
    let address = bind_on(&mut bed, 1, 7).unwrap();
    bed.pass(1800);
    assert_eq!(bed.reply(&request(1).unicast(address)).message_type(), Ack);
    let last = bed.limits().last().unwrap().clone();
    assert_eq!(last.len(), 1, "and its record says so");
    assert_eq!(bed.dropped(&discover(2).option(82, &circuit(7)).relayed()), DropReason::LeaseLimit);
    bed.pass(3600);
    assert!(bind_on(&mut bed, 2, 7).is_some(), "it is over");
}

#[test]
fn vlan_tags_and_the_interface_are_what_the_frame_came_with() {
    let classes = "[[class]]\nname = \"a\"\nmatch = \"interface == 'lan0' and vlan.outer == 100 and vlan.inner == 7\"\nignore = true\n";
    let mut bed = Bed::with(with_classes(classes));
    let tagged = discover(1).with(|msg| msg.tags = vec![(0x88a8, 0xe064), (0x8100, 7)]);
    assert_eq!(bed.dropped(&tagged), DropReason::ClassIgnored);
    assert!(bed.send(&discover(1).with(|msg| msg.tags = vec![(0x8100, 100)])).is_ok());
}
