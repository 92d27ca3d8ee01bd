//! Options at their levels, and lease times by how full a subnet is.

use super::*;
use crate::{
    config::{AddressRange, Overlay, PoolOptions},
    engine::{
        Computed, Overlays, Reply, Request,
        testing::{START_S, config},
        write_reply,
    },
    wire::options::Scratch,
};

fn text(code: u8, text: &str) -> OptionBlob {
    OptionBlob { code, data: text.into(), always: false, ..OptionBlob::default() }
}

// Pools

#[test]
fn a_pools_options_count_more_than_its_subnets() {
    let mut bed = Bed::with(|config| {
        let options = OptionSet::new([text(15, "pool"), text(17, "subnet")]);
        config.subnets[0].pool_options =
            vec![PoolOptions { range: AddressRange { first: lan(14), last: lan(19) }, options }];
        config.subnets[0].options = OptionSet::new([text(15, "subnet"), text(17, "subnet")]);
    });
    let mut domain = |n: u8, host| {
        let msg = discover(n).address(code::REQUESTED_ADDRESS, lan(host)).option(55, &[15]);
        let offer = bed.reply(&msg);
        assert_eq!(offer.yiaddr(), lan(host));
        offer.option(15).unwrap().to_vec()
    };
    assert_eq!(domain(1, 13), b"subnet");
    assert_eq!(domain(2, 14), b"pool");
    assert_eq!(domain(3, 19), b"pool");
    let inform = |host| message(MessageType::Inform, 9).unicast(lan(host)).option(55, &[15]);
    assert_eq!(bed.reply(&inform(13)).option(15), Some(&b"subnet"[..]));
    assert_eq!(bed.reply(&inform(15)).option(15), Some(&b"pool"[..]), "the pool of the address that it has");
}

// Overlays: the seam for classes and reservations

/// The codes and texts that a reply to a client with this list has when these overlays are on it, the first the most specific.
fn with_overlays(list: &[u8], overlays: Vec<Overlay>) -> Vec<(u8, String)> {
    let mut config = config();
    config.subnets[0].options = OptionSet::new([text(15, "subnet"), text(17, "subnet"), text(40, "subnet")]);
    config.overlays = overlays;
    let mut chosen = Overlays::default();
    for index in 0..config.overlays.len() as u32 {
        assert!(chosen.push(index));
    }
    let payload = discover(1).option(55, list).payload();
    let mut memory = [];
    let request = Request::parse(&payload, SERVER, &mut Scratch::new(&mut memory)).unwrap();
    let reply = Reply {
        lease_time_from: Default::default(),
        message_type: MessageType::Offer,
        subnet: 0,
        your_address: lan(10),
        server_id: SERVER,
        source: SERVER,
        lease_time_s: Some(60),
        renewal_times_s: None,
        rapid_commit: false,
        auto_configure: None,
        overlays: chosen,
        reserved_in_use: false,
        probe: false,
        note: "",
    };
    let mut message = vec![0; 1400];
    let len = write_reply(&request, &reply, Computed::default(), &config, &mut message).unwrap();
    let text = |data: Vec<u8>| String::from_utf8_lossy(&data).into_owned();
    let options = read_options(&message[240..len]).into_iter();
    options.filter(|(code, _)| ![53, 54, 51].contains(code)).map(|(code, data)| (code, text(data))).collect()
}

fn overlay(options: impl IntoIterator<Item = OptionBlob>) -> Overlay {
    Overlay { options: OptionSet::new(options), ..Overlay::default() }
}

#[test]
fn the_most_specific_level_that_sets_an_option_counts() {
    let reservation = overlay([text(15, "reservation")]);
    let class = overlay([text(15, "class"), text(17, "class")]);
    let found = with_overlays(&[15, 17, 40], vec![reservation, class]);
    let expected = [(15, "reservation"), (17, "class"), (40, "subnet")];
    assert_eq!(found, expected.map(|(code, text)| (code, text.to_owned())));
}

/// A file that sets the domain name at all levels from the global one to this one.
fn set_up_to(level: usize) -> String {
    let name = |at: usize, table: &str| {
        let names = ["global", "network", "subnet", "pool", "class", "reservation"];
        if at <= level { format!("{table}options = {{ domain-name = \"{}\" }}\n", names[at]) } else { table.to_owned() }
    };
    [
        name(0, "[defaults]\n"),
        // Written before the other one, which the client is in as well: of two classes it counts.
        name(4, "[[class]]\nname = \"a\"\nmatch = \"htype == 1\"\n"),
        "[[class]]\nname = \"b\"\nmatch = \"hlen == 6\"\noptions = { root-path = \"b\" }\n".to_owned(),
        name(1, "[[network]]\nname = \"n\"\ninterface = \"lan0\"\n"),
        name(2, "[[subnet]]\nprefix = \"192.0.2.0/24\"\nnetwork = \"n\"\n"),
        name(3, "[[subnet.pool]]\nrange = \"192.0.2.10-192.0.2.19\"\n"),
        name(5, "[[reservation]]\nhw_address = \"02:00:00:00:00:01\"\naddress = \"192.0.2.15\"\n"),
    ]
    .concat()
}

#[test]
fn a_reservations_option_comes_before_a_classs_a_pools_a_subnets_a_networks_and_the_global_one() {
    for (level, name) in ["global", "network", "subnet", "pool", "class", "reservation"].into_iter().enumerate() {
        let mut bed = bed_of(&set_up_to(level));
        let offer = bed.reply(&discover(1).option(55, &[15, 17]));
        assert_eq!((offer.yiaddr(), offer.option(17)), (lan(15), Some(&b"b"[..])));
        assert_eq!(offer.option(15), Some(name.as_bytes()));
        let renewal = bed.reply(&message(MessageType::Request, 1).unicast(lan(15)).option(55, &[15]));
        assert_eq!((renewal.message_type(), renewal.option(15)), (Ack, Some(name.as_bytes())));
        let others = bed.reply(&discover(2).option(55, &[15]));
        assert_eq!(others.option(15), Some(if level == 5 { "class" } else { name }.as_bytes()));
    }
}

#[test]
fn an_option_that_a_more_specific_level_sends_on_demand_alone_is_not_sent_by_a_wider_one() {
    let always = OptionBlob { always: true, ..text(15, "class") };
    assert_eq!(with_overlays(&[3], vec![overlay([text(15, "reservation")]), overlay([always.clone()])]), []);
    assert_eq!(with_overlays(&[3], vec![overlay([always])]), [(15, "class".to_owned())]);
}

#[test]
fn a_client_without_a_list_gets_the_options_of_all_levels_once() {
    let found = with_overlays(&[], vec![overlay([text(17, "class"), text(224, "class")])]);
    let expected = [(17, "class"), (224, "class"), (15, "subnet"), (40, "subnet")];
    assert_eq!(found, expected.map(|(code, text)| (code, text.to_owned())));
}

// Renewal times (4.4.5)

#[test]
fn renewal_times_are_fuzzed_by_the_client_within_the_jitter_and_the_same_each_time() {
    let mut bed = Bed::with(|config| {
        config.subnets[0].lease.jitter_permille = 100;
        config.subnets[0].pools[0].last = lan(109);
    });
    let mut times = Vec::new();
    for n in 1..=100 {
        let offer = bed.reply(&discover(n));
        let (t1, t2) = (offer.seconds(58).unwrap(), offer.seconds(59).unwrap());
        assert!((1620..=1800).contains(&t1) && (2835..=3150).contains(&t2), "{t1} {t2}");
        let ack = bed.reply(&selecting(n, SERVER, offer.yiaddr()));
        assert_eq!((ack.seconds(58), ack.seconds(59)), (Some(t1), Some(t2)));
        times.push(t1);
    }
    let early = times.iter().filter(|&&t1| t1 < 1710).count();
    assert!((25..=75).contains(&early), "{early} of 100 in the earlier half");
    times.sort_unstable();
    times.dedup();
    assert!(times.len() > 60, "{} different times", times.len());
}

#[test]
fn without_jitter_t1_and_t2_are_the_configured_parts() {
    for n in 1..=9 {
        let offer = Bed::new().reply(&discover(n));
        assert_eq!((offer.seconds(58), offer.seconds(59)), (Some(1800), Some(3150)));
    }
}

// Adaptive lease times

#[test]
fn while_addresses_are_scarce_clients_are_given_the_least_lease_time() {
    let mut bed = Bed::with(|config| config.subnets[0].lease.scarce_permille = 500);
    for n in 1..=4 {
        let offer = bed.reply(&discover(n));
        let ack = bed.reply(&selecting(n, SERVER, offer.yiaddr()));
        assert_eq!(ack.seconds(51), Some(3600), "client {n} of ten addresses");
    }
    let fifth = bed.reply(&discover(5));
    assert_eq!(fifth.seconds(51), Some(60), "with the fifth, half of them are in use");
    assert_eq!(bed.reply(&selecting(5, SERVER, fifth.yiaddr())).seconds(51), Some(60));
    let first = bed.leases.iter(START_S).next().unwrap().address;
    bed.dropped(&message(MessageType::Release, 1).unicast(first));
    assert_eq!(bed.reply(&discover(5)).seconds(51), Some(3600), "one was given back");
}

#[test]
fn addresses_of_a_pool_for_some_clients_are_scarce_when_that_pool_is_nearly_full() {
    let text = "[[class]]\nname = \"modem\"\nmatch = \"option[60] == 'modem'\"\n\
                [[subnet]]\nprefix = \"192.0.2.0/24\"\ninterface = \"lan0\"\npools = [\"192.0.2.10-192.0.2.19\"]\n\
                lease_time_s = 3600\nmin_lease_time_s = 60\nscarce_above = 0.5\n\
                [[subnet.pool]]\nrange = \"192.0.2.20-192.0.2.23\"\nallow_classes = [\"modem\"]\n";
    let mut bed = bed_of(text);
    let mut granted = |n: u8, vendor: &[u8]| {
        let offer = bed.reply(&discover(n).option(60, vendor));
        (offer.yiaddr() >= lan(20), offer.seconds(51).unwrap())
    };
    assert_eq!([1, 2, 3].map(|n| granted(n, b"modem")), [(true, 3600), (true, 60), (true, 60)]);
    assert_eq!(granted(4, b"other"), (false, 3600), "of the others one of ten is in use");
}
