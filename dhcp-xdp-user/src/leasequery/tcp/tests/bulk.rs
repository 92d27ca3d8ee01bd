use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use super::*;
use crate::leasequery::{index::Index, keep::keep};

const NOBODY: [u16; 0] = [];

fn addresses(replies: &[Reply]) -> Vec<u16> {
    replies.iter().map(Reply::last).collect()
}

async fn told_of(site: &Site, options: &[(u8, &[u8])]) -> Vec<u16> {
    let mut requestor = site.connect();
    requestor.ask(BULK, 5, options).await;
    let (replies, done) = requestor.all().await;
    assert_eq!(done.status(), None, "{done:?}");
    assert!(replies.iter().all(|reply| reply.kind == LEASE_ACTIVE), "only current bindings");
    addresses(&replies)
}

#[tokio::test]
async fn every_configured_ip_address_must_be_returned_exactly_once() {
    let mut site = Site::new(6);
    let binding = site.bind(Lent { address: 2, client_id: b"\x01me", agent_info: b"\x01\x01c", ..Lent::default() });
    site.bind(Lent { address: 3, ..Lent::default() });
    site.release(3);
    site.bind(Lent { address: 4, ago_s: 500, for_s: 400, ..Lent::default() });
    site.bind(Lent { address: 5, ..Lent::default() });
    let now_s = site.now_s();
    site.leases().decline(&site.leases().key(0, &hw(5), b""), address(5), now_s + 600, now_s).unwrap();
    let mut requestor = site.connect();
    requestor.ask(BULK, 77, &[WANTED]).await;
    let (replies, done) = requestor.all().await;
    assert_eq!(addresses(&replies), [1, 2, 3, 4, 5, 6]);
    let states: Vec<(u8, u32)> = replies.iter().map(|reply| (reply.kind, reply.state())).collect();
    let unassigned = |state| (LEASE_UNASSIGNED, state);
    // Available, active, released, expired, abandoned, available.
    assert_eq!(states, [unassigned(1), (LEASE_ACTIVE, 2), unassigned(4), unassigned(3), unassigned(5), unassigned(1)]);
    assert!(replies.iter().all(|reply| reply.message.xid() == 77) && done.message.xid() == 77);
    assert!(!done.has(151), "SHOULD NOT contain a status-code option status if the termination was successful");

    let active = &replies[1];
    assert_eq!(active.message.chaddr(), hw(2).bytes());
    assert!(active.base_time().abs_diff(site.now_s()) <= 1);
    assert!(active.number(51).unwrap().abs_diff(binding.expires_s - site.now_s()) <= 1);
    assert!(active.number(58).unwrap().abs_diff(1800 - 100) <= 1, "T1");
    assert!(active.number(59).unwrap().abs_diff(3150 - 100) <= 1, "T2");
    // "A dhcp-lease-time option for any state that has a timeout value associated with it": an abandoned address has one.
    assert!(replies[4].number(51).unwrap().abs_diff(600) <= 1);
    assert!([0, 2, 3, 5].iter().all(|other| !replies[*other].has(51)));
    assert!(active.number(91).unwrap().abs_diff(100) <= 1, "client-last-transaction-time");
    assert!(active.number(153).unwrap().abs_diff(100) <= 1, "start-time-of-state");
    assert_eq!(
        active.message.opts().get(OptionCode::ClientIdentifier),
        Some(&DhcpOption::ClientIdentifier(b"\x01me".to_vec()))
    );
    assert!(active.has(82));
    assert!(replies[3].number(153).unwrap().abs_diff(100) <= 1, "it expired 100 s ago");
    assert_eq!(replies[3].message.chaddr(), hw(4).bytes(), "who had it last is told");
    assert!(replies[0].message.chaddr().iter().all(|byte| *byte == 0));
    assert!(replies.iter().all(|reply| !reply.has(92)), "the associated-ip option MUST NOT appear");
    assert_eq!(site.stats().bindings, 6);
}

#[tokio::test]
async fn the_dhcpv4_server_must_include_the_server_identifier_option_in_the_first_message_and_should_not_in_later_ones()
{
    let site = Site::new(3);
    let mut requestor = site.connect();
    requestor.ask(BULK, 1, &[]).await;
    let (replies, done) = requestor.all().await;
    let has: Vec<bool> = replies.iter().chain([&done]).map(|reply| reply.has(54)).collect();
    assert_eq!(has, [true, false, false, false]);
    assert_eq!(
        replies[0].message.opts().get(OptionCode::ServerIdentifier),
        Some(&DhcpOption::ServerIdentifier(SERVER))
    );
    // And where the first message is the only one.
    requestor.ask(BULK, 2, &[(61, b"\x01nobody")]).await;
    assert!(requestor.reply().await.has(54));
}

#[tokio::test]
async fn if_the_server_does_not_find_any_bindings_satisfying_a_query_it_must_send_a_dhcpleasequerydone() {
    let site = Site::new(3);
    assert_eq!(told_of(&site, &[(61, b"\x01nobody")]).await, NOBODY);
}

#[tokio::test]
async fn every_ip_address_that_has_a_current_binding_to_the_client_must_be_returned_in_a_dhcpleaseactive_message() {
    let mut site = Site::new(20);
    for (address, client_id, agent_info) in [
        (1, &b"\x01ab"[..], &b"\x01\x01a\x02\x02r1\x0c\x02x1"[..]),
        (2, b"\x01cd", b"\x01\x01b\x02\x02r1\x0c\x02x2"),
        (3, b"", b"\x01\x01c\x02\x02r2\x0c\x02x1"),
        (4, b"\x01ef", b"\x02\x02r1\x0c\x02x1"),
    ] {
        site.bind(Lent { address, client_id, agent_info, ..Lent::default() });
    }
    site.release(4);
    assert_eq!(told_of(&site, &[(61, b"\x01cd")]).await, [2]);
    assert_eq!(told_of(&site, &[(61, b"\x01c")]).await, NOBODY, "an identical identifier");
    assert_eq!(told_of(&site, &[(82, b"\x02\x02r1")]).await, [1, 2], "the released one is current no more");
    assert_eq!(told_of(&site, &[(82, b"\x0c\x02x1")]).await, [1, 3]);
    assert_eq!(told_of(&site, &[(82, b"\x02\x01r")]).await, NOBODY);

    let mut requestor = site.connect();
    let mut by_hw = message(BULK, 9, &[]);
    by_hw[1..3].copy_from_slice(&[1, 6]);
    by_hw[28..44].copy_from_slice(&hw(3).chaddr);
    requestor.send(&by_hw).await;
    assert_eq!(addresses(&requestor.all().await.0), [3]);
    by_hw[1] = 6;
    requestor.send(&by_hw).await;
    assert_eq!(addresses(&requestor.all().await.0), NOBODY, "another hardware type is another client");
}

#[tokio::test]
async fn only_ip_address_bindings_that_have_changed_within_the_window_should_be_returned() {
    let mut site = Site::new(9);
    let began_s = [(1, 1000), (2, 500), (3, 100)]
        .map(|(address, ago_s)| site.bind(Lent { address, ago_s, ..Lent::default() }).started_s)[1];
    // Bound long ago, ended within the window.
    site.bind(Lent { address: 4, ago_s: 9000, for_s: 8600, ..Lent::default() });
    // By the second one's clock: the others' may be a second ahead.
    let ago = |seconds: u32| (began_s + 500 - seconds).to_be_bytes();
    let query = async |options: &[(u8, &[u8])]| {
        let mut requestor = site.connect();
        requestor.ask(BULK, 5, options).await;
        addresses(&requestor.all().await.0)
    };
    assert_eq!(query(&[(154, &ago(500))]).await, [2, 3, 4], "on or after");
    assert_eq!(query(&[(154, &ago(499))]).await, [3, 4]);
    assert_eq!(query(&[(155, &ago(500))]).await, [1, 2, 4], "on or before: the fourth was bound then");
    assert_eq!(query(&[(155, &ago(501))]).await, [1, 4]);
    assert_eq!(query(&[(154, &ago(600)), (155, &ago(300))]).await, [2, 4]);
    assert_eq!(query(&[(154, &ago(8000)), (155, &ago(2000))]).await, NOBODY);
    assert_eq!(query(&[(154, &ago(9500)), (155, &ago(8500))]).await, [4], "its last transaction was then");
    assert_eq!(query(&[(154, &ago(600)), (61, b"\x01x")]).await, NOBODY, "it is one more condition");
}

#[tokio::test]
async fn a_dhcp_parameter_request_list_is_used_for_all_of_the_replies() {
    let mut site = Site::new(1);
    site.bind(Lent { client_id: b"\x01me", agent_info: b"\x01\x01c", ..Lent::default() });
    let told = async |options: &[(u8, &[u8])]| {
        let mut requestor = site.connect();
        requestor.ask(BULK, 5, options).await;
        let (replies, _) = requestor.all().await;
        let mut codes: Vec<u8> = replies[0].message.opts().iter().map(|(code, _)| u8::from(*code)).collect();
        codes.sort_unstable();
        codes
    };
    assert_eq!(
        told(&[(55, &[51, 61])]).await,
        [51, 53, 54, 61, 152],
        "and base-time, which the others are relative to"
    );
    assert_eq!(told(&[(55, &[2, 3, 51])]).await, [3, 51, 53, 54, 152], "of the configuration what may be told");
    assert_eq!(told(&[(55, &[82, 91, 153, 156])]).await, [53, 54, 82, 91, 152, 153, 156]);
    assert_eq!(told(&[]).await, [51, 53, 54, 58, 59, 61, 82, 91, 152, 153, 156], "who asks for nothing is told all");
}

#[tokio::test]
async fn replies_for_multiple_queries_may_be_interleaved_and_none_is_blocked_by_another() {
    let site = Site::new(5000);
    let mut requestor = site.connect();
    requestor.ask(BULK, 1, &[]).await;
    requestor.ask(BULK, 2, &[(61, b"\x01nobody")]).await;
    requestor.ask(BULK, 3, &[]).await;
    let (mut told, mut done) = ([0; 4], Vec::new());
    let mut switches = 0;
    let mut before = 0;
    while done.len() < 3 {
        let reply = requestor.reply().await;
        let xid = reply.message.xid();
        switches += usize::from(xid != before);
        before = xid;
        if reply.kind == DONE { done.push(xid) } else { told[xid as usize] += 1 }
    }
    assert_eq!((told, done[0]), ([0, 5000, 0, 5000], 2), "the short one did not wait for the long one: {done:?}");
    assert!(switches > 10, "{switches}");
}

#[tokio::test]
async fn a_server_must_not_read_more_query_messages_from_a_connection_than_it_is_prepared_to_process_simultaneously() {
    let site = Site::with(2000, |settings| {
        settings.max_queries = 1;
        settings.bindings_per_s = Some(20_000);
    });
    let mut requestor = site.connect();
    requestor.ask(BULK, 1, &[]).await;
    requestor.ask(BULK, 2, &[]).await;
    let (first, done) = requestor.all().await;
    assert_eq!((first.len(), done.message.xid()), (2000, 1));
    assert!(first.iter().all(|reply| reply.message.xid() == 1), "one after the other");
    let (second, done) = requestor.all().await;
    assert_eq!((second.len(), done.message.xid()), (2000, 2));
}

#[tokio::test]
async fn what_is_refused_is_told_why_and_the_connection_goes_on() {
    let site = Site::new(2);
    let mut requestor = site.connect();
    let mut malformed = message(BULK, 1, &[]);
    malformed[12] = 10;
    requestor.send(&malformed).await;
    let done = requestor.reply().await;
    assert_eq!((done.kind, done.status(), done.message.xid()), (DONE, Some(3), 1));
    assert!(done.has(54));
    requestor.ask(BULK, 2, &[(61, b"\x01a"), (82, b"\x02\x01r")]).await;
    let done = requestor.reply().await;
    assert_eq!((done.kind, done.status()), (DONE, Some(4)), "NotAllowed");
    let Some(DhcpOption::BulkLeaseQueryStatusCode(_, text)) = done.message.opts().get(OptionCode::from(151)) else {
        panic!("{done:?}")
    };
    assert!(!text.contains('\0') && text.contains("primary query"), "{text}");
    requestor.ask(BULK, 3, &[]).await;
    assert_eq!(requestor.all().await.0.len(), 2);
    let stats = site.stats();
    assert_eq!((stats.malformed_queries, stats.queries_not_allowed, stats.bulk_queries), (1, 1, 1));
}

#[tokio::test]
async fn all_requestors_together_are_told_of_no_more_bindings_a_second_than_configured() {
    let site = Site::with(2000, |settings| settings.bindings_per_s = Some(4000));
    let start = Instant::now();
    let mut requestors: Vec<Requestor> = (0..3).map(|_| site.connect()).collect();
    for requestor in &mut requestors {
        requestor.ask(BULK, 1, &[]).await;
    }
    for requestor in &mut requestors {
        assert_eq!(requestor.all().await.0.len(), 2000);
    }
    let took = start.elapsed();
    // 6000 bindings, but for the last step of each.
    assert!(took > Duration::from_millis(1200) && took < Duration::from_secs(8), "{took:?}");
}

#[tokio::test]
async fn when_the_server_stops_each_outstanding_query_is_told_so_and_the_connection_is_closed() {
    let site = Site::with(2000, |settings| settings.bindings_per_s = Some(500));
    let mut requestor = site.connect();
    requestor.ask(BULK, 1, &[]).await;
    requestor.ask(BULK, 2, &[]).await;
    requestor.reply().await;
    site.stop.send_replace(true);
    let (_, first) = requestor.all().await;
    let (_, second) = requestor.all().await;
    assert_eq!((first.status(), second.status()), (Some(2), Some(2)), "QueryTerminated");
    assert_ne!(first.message.xid(), second.message.xid());
    assert!(requestor.closes().await);
    assert_eq!(site.ended("stopped"), 1);
}

#[tokio::test]
async fn an_address_that_is_offered_is_between_states_and_its_client_is_not_told() {
    let site = Site::new(1);
    let (hw, now_s) = (hw(1), site.now_s());
    let client = Client {
        key: site.leases().key(0, &hw, b""),
        subnet: 0,
        hw: &hw,
        client_id: b"",
        limits: &[],
        agent_info: &[],
    };
    site.leases().offer(&client, None, now_s + 30, now_s).unwrap();
    let mut requestor = site.connect();
    requestor.ask(BULK, 1, &[]).await;
    let (replies, _) = requestor.all().await;
    assert_eq!((replies[0].kind, replies[0].state()), (LEASE_UNASSIGNED, 8));
    assert!(replies[0].number(51).unwrap().abs_diff(30) <= 1, "the offer's end");
    assert!(replies[0].message.chaddr().iter().all(|byte| *byte == 0));
}

#[tokio::test]
async fn a_query_by_what_the_index_knows_looks_at_no_other_slots() {
    let mut site = Site::with(20_000, |settings| settings.bindings_per_s = Some(50));
    for address in [3, 15_000] {
        site.bind(Lent { address, agent_info: b"\x02\x02r1\x0c\x01x", ..Lent::default() });
    }
    site.bind(Lent { address: 7, client_id: b"\x01me", ..Lent::default() });
    site.bind(Lent { subnet: 1, address: 2, client_id: b"\x01red", agent_info: b"\x02\x02r1", ..Lent::default() });
    let index = Arc::new(Index::new(site.leases().slots(), [3, 4]));
    let stop = Arc::new(AtomicBool::new(false));
    let keeper = std::thread::spawn({
        let (index, world, stop) = (Arc::clone(&index), site.shared.world.clone(), Arc::clone(&stop));
        move || keep(&index, &world.leases, &world.followers, world.clock, &stop)
    });
    until(|| index.is_whole()).await;
    Arc::get_mut(&mut site.shared).unwrap().world.index = Some(index);
    let start = Instant::now();
    assert_eq!(told_of(&site, &[(82, b"\x02\x02r1")]).await, [3, 15_000]);
    assert_eq!(told_of(&site, &[(82, b"\x02\x02r1"), (221, &[254])]).await, [3, 15_000, 2], "of all VPNs");
    assert_eq!(told_of(&site, &[(61, b"\x01me")]).await, [7]);
    assert_eq!(told_of(&site, &[(61, b"\x01nobody")]).await, NOBODY);
    // A walk over all of them would be paid for as 312 bindings.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(told_of(&site, &[(82, b"\x0c\x01x")]).await, [3, 15_000], "which the index does not know");
    stop.store(true, Ordering::Relaxed);
    keeper.join().unwrap();
}

#[tokio::test]
async fn a_vpn_id_option_must_appear_where_the_information_is_for_a_vpn_other_than_the_default() {
    let mut site = Site::new(3);
    site.bind(Lent { address: 1, ..Lent::default() });
    site.bind(Lent { subnet: 1, address: 1, client_id: b"\x01red", ..Lent::default() });
    let query = async |options: &[(u8, &[u8])]| {
        let mut requestor = site.connect();
        requestor.ask(BULK, 5, options).await;
        let (replies, done) = requestor.all().await;
        let told: Vec<_> =
            replies.iter().map(|reply| (reply.last(), reply.kind == LEASE_ACTIVE, reply.has(221))).collect();
        (told, done.status())
    };
    let (global, red) = ([(1, true, false), (2, false, false), (3, false, false)], [(1, true, true), (2, false, true)]);
    assert_eq!(query(&[]).await, (global.to_vec(), None), "in the absence of any VPN-ID option the default");
    assert_eq!(query(&[(221, b"\x00red")]).await, (red.to_vec(), None));
    assert_eq!(query(&[(221, &[254])]).await, ([&global[..], &red].concat(), None), "all configured VPNs");
    assert_eq!(query(&[(221, b"\x00red"), (61, b"\x01red")]).await, (vec![(1, true, true)], None));
    assert_eq!(query(&[(61, b"\x01red")]).await, (vec![], None));
    assert_eq!(query(&[(221, b"\x00blue")]).await, (vec![], Some(4)), "there is no such VPN");
}
