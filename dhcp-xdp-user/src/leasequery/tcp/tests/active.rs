use std::time::Instant;

use super::*;
use crate::{
    journal::FollowError,
    leasequery::tcp::{
        Origin,
        active::{Active, Ending},
        reply::Replies,
        world::Spaces,
    },
};

async fn next_status(requestor: &mut Requestor) -> (Vec<Reply>, Reply) {
    let mut replies = Vec::new();
    loop {
        let reply = requestor.reply().await;
        if reply.kind == STATUS {
            return (replies, reply);
        }
        replies.push(reply);
    }
}

/// Waits until the active query is under way: what changes from then on is told.
async fn under_way(site: &Site) {
    until(|| site.stats().active > 0).await;
}

#[tokio::test]
async fn changes_to_the_lease_state_database_are_returned_to_the_requestor_essentially_as_they_happen() {
    let mut site = Site::new(9);
    site.bind(Lent { address: 1, ..Lent::default() });
    let mut requestor = site.connect();
    requestor.ask(ACTIVE, 8, &[WANTED]).await;
    under_way(&site).await;
    let start = Instant::now();
    let binding = site.bind(Lent { address: 2, ago_s: 0, client_id: b"\x01me", ..Lent::default() });
    let reply = requestor.reply().await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!((reply.kind, reply.last(), reply.message.xid(), reply.state()), (LEASE_ACTIVE, 2, 8, 2));
    assert!(reply.has(54), "the first reply has the server identifier");
    assert_eq!(reply.base_time() + reply.number(51).unwrap(), binding.expires_s);
    site.release(2);
    let reply = requestor.reply().await;
    assert_eq!((reply.kind, reply.last(), reply.state()), (LEASE_UNASSIGNED, 2, 4));
    assert!(!reply.has(54));
    let now_s = site.now_s();
    let declined = site.bind(Lent { address: 3, ago_s: 0, ..Lent::default() });
    assert_eq!(requestor.reply().await.last(), 3);
    site.leases().decline(&site.leases().key(0, &declined.hw, b""), address(3), now_s + 600, now_s).unwrap();
    let declined = site.leases().get(address(3), now_s).unwrap();
    site.record(&declined);
    let reply = requestor.reply().await;
    assert_eq!((reply.kind, reply.last(), reply.state()), (LEASE_UNASSIGNED, 3, 5), "abandoned");
    assert_eq!((site.stats().active, site.stats().active_queries), (1, 1));
}

#[tokio::test]
async fn it_is_important_to_tell_the_requestor_that_a_binding_has_transitioned_away_from_the_leased_state() {
    let mut site = Site::new(9);
    site.bind(Lent { address: 1, ago_s: 10, for_s: 5, ..Lent::default() });
    site.bind(Lent { address: 2, ago_s: 0, for_s: 2, ..Lent::default() });
    let mut requestor = site.connect();
    requestor.ask(ACTIVE, 8, &[WANTED]).await;
    under_way(&site).await;
    let reply = requestor.reply().await;
    assert_eq!(
        (reply.kind, reply.last(), reply.state()),
        (LEASE_UNASSIGNED, 2, 3),
        "expired; the other one was before"
    );
    assert_eq!(reply.message.chaddr(), hw(2).bytes());
}

#[tokio::test]
async fn an_expired_lease_that_was_offered_on_before_it_was_looked_at_is_told_of_too() {
    let mut site = Site::new(1);
    site.bind(Lent { address: 1, ago_s: 0, for_s: 1, ..Lent::default() });
    let mut requestor = site.connect();
    requestor.ask(ACTIVE, 8, &[WANTED]).await;
    under_way(&site).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let (other, now_s) = (hw(77), site.now_s());
    let key = site.leases().key(0, &other, b"");
    let client = Client { key, subnet: 0, hw: &other, client_id: b"", limits: &[], agent_info: &[] };
    site.leases().offer(&client, None, now_s + 30, now_s).unwrap();
    site.leases().withdraw(&key, now_s);
    let reply = requestor.reply().await;
    assert_eq!((reply.kind, reply.last()), (LEASE_UNASSIGNED, 1));
}

#[tokio::test]
async fn once_the_messages_associated_with_the_query_start_time_are_complete_catch_up_complete_must_be_sent() {
    let mut site = Site::new(9);
    site.bind(Lent { address: 1, ago_s: 1000, ..Lent::default() });
    site.bind(Lent { address: 2, ago_s: 100, ..Lent::default() });
    site.bind(Lent { address: 3, ago_s: 2000, for_s: 1900, ..Lent::default() });
    let start = (site.now_s() - 200).to_be_bytes();
    let mut requestor = site.connect();
    requestor.ask(ACTIVE, 8, &[WANTED, (154, &start)]).await;
    let (replies, status) = next_status(&mut requestor).await;
    let told: Vec<_> = replies.iter().map(|reply| (reply.last(), reply.kind)).collect();
    assert_eq!(
        told,
        [(2, LEASE_ACTIVE), (3, LEASE_UNASSIGNED)],
        "what changed since then, and the current state of it"
    );
    assert_eq!(status.status(), Some(7), "CatchUpComplete");
    assert!(status.base_time().abs_diff(site.now_s()) <= 2);
    site.bind(Lent { address: 4, ago_s: 0, ..Lent::default() });
    assert_eq!(requestor.reply().await.last(), 4, "and it goes on");
}

#[tokio::test]
async fn what_changes_during_the_catch_up_phase_is_told_as_well() {
    let mut site = Site::with(3000, |settings| settings.bindings_per_s = Some(20_000));
    for address in 1..=3000 {
        let (hw, then_s) = (hw(address), site.now_s() - 100);
        let key = site.leases().key(0, &hw, b"");
        let client = Client { key, subnet: 0, hw: &hw, client_id: b"", limits: &[], agent_info: &[] };
        site.leases().bind(&client, super::address(address), then_s + 3600, then_s).unwrap();
    }
    let start = (site.now_s() - 200).to_be_bytes();
    let mut requestor = site.connect();
    requestor.ask(ACTIVE, 8, &[WANTED, (154, &start)]).await;
    requestor.reply().await;
    // Behind the walk by now.
    site.release(1);
    let (replies, status) = next_status(&mut requestor).await;
    assert_eq!((replies.len(), status.status()), (2999, Some(7)));
    let reply = requestor.reply().await;
    assert_eq!((reply.last(), reply.state()), (1, 4));
}

#[tokio::test]
async fn when_there_is_not_enough_data_saved_the_server_will_reply_immediately_with_data_missing() {
    let mut site = Site::new(9);
    site.bind(Lent::default());
    let known = site.now_s() - 50;
    Arc::get_mut(&mut site.shared).unwrap().world.known_since_s = known;
    for start_s in [known - 1, site.now_s() + 1000] {
        let mut requestor = site.connect();
        requestor.ask(ACTIVE, 8, &[WANTED, (154, &start_s.to_be_bytes())]).await;
        let status = requestor.reply().await;
        assert_eq!((status.kind, status.status(), status.message.xid()), (STATUS, Some(5), 8));
        assert!(status.base_time().abs_diff(site.now_s()) <= 1, "a base-time option of the current time");
        site.bind(Lent { address: 2, ago_s: 0, ..Lent::default() });
        assert_eq!(requestor.reply().await.last(), 2, "the only updates that will be received are the real-time ones");
        site.release(2);
    }
}

#[tokio::test]
async fn the_server_should_send_a_connection_active_message_when_the_connection_is_idle() {
    let site = Site::with(9, |settings| {
        settings.data_timeout = Duration::from_millis(300);
        settings.active.as_mut().unwrap().idle = Duration::from_millis(400);
    });
    let mut requestor = site.connect();
    requestor.ask(ACTIVE, 8, &[]).await;
    let start = Instant::now();
    for _ in 0..3 {
        let status = requestor.reply().await;
        assert_eq!((status.kind, status.status()), (STATUS, Some(6)));
        assert!(status.base_time().abs_diff(site.now_s()) <= 1);
    }
    let took = start.elapsed();
    assert!(took > Duration::from_millis(1100) && took < Duration::from_secs(4), "{took:?}");
}

#[tokio::test]
async fn a_shut_down_is_told_with_query_terminated_and_a_base_time_as_the_last_message() {
    let site = Site::new(9);
    let mut requestor = site.connect();
    requestor.ask(ACTIVE, 8, &[]).await;
    under_way(&site).await;
    site.stop.send_replace(true);
    let status = requestor.reply().await;
    assert_eq!((status.kind, status.status()), (STATUS, Some(2)));
    assert!(status.has(152));
    assert!(requestor.closes().await);
    assert_eq!((site.stats().active, site.ended("stopped")), (0, 1));
}

#[tokio::test]
async fn a_journal_that_ends_ends_the_query() {
    let mut site = Site::new(9);
    let mut requestor = site.connect();
    requestor.ask(ACTIVE, 8, &[]).await;
    under_way(&site).await;
    site.journal.take().unwrap().stop().unwrap();
    let status = requestor.reply().await;
    assert_eq!((status.kind, status.status()), (STATUS, Some(2)));
    assert!(requestor.closes().await);
    assert_eq!(site.ended("failed"), 1);
}

#[tokio::test]
async fn support_for_active_leasequery_must_not_be_enabled_by_default_and_the_message_closes_the_connection() {
    let site = Site::with(9, |settings| settings.active = None);
    let mut requestor = site.connect();
    requestor.ask(ACTIVE, 8, &[]).await;
    assert!(requestor.closes().await);
    assert_eq!(site.ended("malformed"), 1);
}

#[tokio::test]
async fn every_active_leasequery_must_be_made_on_a_connection_where_there_is_no_other_request_active() {
    let site = Site::with(2000, |settings| settings.bindings_per_s = Some(500));
    let mut requestor = site.connect();
    requestor.ask(BULK, 1, &[]).await;
    requestor.ask(ACTIVE, 2, &[]).await;
    let (_, status) = next_status(&mut requestor).await;
    assert_eq!((status.status(), status.message.xid()), (Some(4), 2), "NotAllowed");
    let (_, done) = requestor.all().await;
    assert_eq!((done.status(), done.message.xid()), (Some(2), 1), "QueryTerminated: the connection goes with it");
    assert!(requestor.closes().await);

    let mut site = Site::new(9);
    let mut requestor = site.connect();
    requestor.ask(ACTIVE, 1, &[]).await;
    requestor.ask(BULK, 2, &[]).await;
    let done = requestor.reply().await;
    assert_eq!((done.kind, done.status(), done.message.xid()), (DONE, Some(4), 2));
    site.bind(Lent { ago_s: 0, ..Lent::default() });
    let reply = requestor.reply().await;
    assert_eq!((reply.kind, reply.message.xid()), (LEASE_ACTIVE, 1), "the active one goes on");
    requestor.ask(ACTIVE, 3, &[]).await;
    let (_, status) = next_status(&mut requestor).await;
    assert_eq!((status.status(), status.message.xid()), (Some(4), 3));
    let (_, ended) = next_status(&mut requestor).await;
    assert_eq!((ended.status(), ended.message.xid()), (Some(2), 1), "QueryTerminated");
    assert!(requestor.closes().await);
    assert_eq!((site.stats().active, site.ended("refused")), (0, 1));
}

#[tokio::test]
async fn a_malformed_active_query_is_told_so_and_the_connection_is_closed() {
    let site = Site::new(9);
    let mut requestor = site.connect();
    requestor.ask(ACTIVE, 8, &[(155, &[0, 0, 1, 0])]).await;
    let status = requestor.reply().await;
    assert_eq!((status.kind, status.status()), (STATUS, Some(3)));
    assert!(requestor.closes().await);
}

#[tokio::test]
async fn if_it_receives_a_dhcptls_message_it_will_respond_with_tls_connection_refused_in_a_dhcptls_message() {
    let site = Site::new(2);
    let mut requestor = site.connect();
    // "Any options appearing in a DHCPTLS message SHOULD be ignored".
    requestor.ask(TLS, 8, &[(154, &[1])]).await;
    let reply = requestor.reply().await;
    assert_eq!((reply.kind, reply.status(), reply.message.xid()), (TLS, Some(8), 8));
    requestor.ask(BULK, 9, &[]).await;
    assert_eq!(requestor.all().await.0.len(), 2, "whether to go on without is for the requestor to say");
    assert_eq!(site.stats().tls_refused, 1);
}

#[tokio::test]
async fn specific_data_items_can_be_kept_from_the_requestor_even_if_they_were_requested() {
    let mut site = Site::with(9, |settings| settings.active.as_mut().unwrap().withhold = Codes::of(&[61, 82]));
    let mut requestor = site.connect();
    requestor.ask(ACTIVE, 8, &[WANTED]).await;
    under_way(&site).await;
    site.bind(Lent { ago_s: 0, client_id: b"\x01me", agent_info: b"\x01\x01c", ..Lent::default() });
    let reply = requestor.reply().await;
    assert!(!reply.has(61) && !reply.has(82) && reply.has(51), "{reply:?}");
}

#[tokio::test]
async fn several_requestors_are_told_each_at_its_own_pace() {
    let mut site = Site::new(200);
    let mut quick = site.connect();
    quick.ask(ACTIVE, 1, &[]).await;
    // Room for less than one reply, and nobody reads.
    let mut slow = site.connect_narrow(400);
    slow.ask(ACTIVE, 2, &[]).await;
    until(|| site.stats().active == 2).await;
    for address in 1..=200 {
        site.bind(Lent { address, ago_s: 0, ..Lent::default() });
    }
    for last in 1..=200 {
        assert_eq!(quick.reply().await.last(), last);
    }
    for last in 1..=200 {
        let reply = slow.reply().await;
        assert_eq!((reply.last(), reply.message.xid()), (last, 2));
    }
}

#[tokio::test]
async fn the_server_should_terminate_the_tcp_connection_after_active_lq_send_timeout() {
    let mut site = Site::with(9, |settings| {
        settings.active.as_mut().unwrap().send_timeout = Duration::from_millis(300);
    });
    let mut requestor = site.connect_narrow(400);
    requestor.ask(ACTIVE, 1, &[]).await;
    under_way(&site).await;
    for address in 1..=9 {
        site.bind(Lent { address, ago_s: 0, ..Lent::default() });
    }
    until(|| site.ended("blocked") > 0).await;
    assert_eq!(site.stats().active, 0);
}

#[tokio::test]
async fn updates_are_of_the_vpn_that_was_asked_for() {
    let mut site = Site::new(3);
    let mut global = site.connect();
    global.ask(ACTIVE, 1, &[]).await;
    let mut red = site.connect();
    red.ask(ACTIVE, 2, &[(221, b"\x00red"), (154, &site.now_s().to_be_bytes())]).await;
    let (replies, status) = next_status(&mut red).await;
    assert_eq!((replies.len(), status.status()), (0, Some(7)));
    until(|| site.stats().active == 2).await;
    site.bind(Lent { subnet: 1, address: 1, ago_s: 0, client_id: b"\x01red", ..Lent::default() });
    site.bind(Lent { address: 2, ago_s: 0, ..Lent::default() });
    let reply = red.reply().await;
    assert_eq!((reply.last(), reply.has(221)), (1, true));
    let reply = global.reply().await;
    assert_eq!((reply.last(), reply.has(221)), (2, false));
    let mut blue = site.connect();
    blue.ask(ACTIVE, 3, &[(221, b"\x00blue")]).await;
    assert_eq!(blue.reply().await.status(), Some(4));
}

fn active(site: &Site) -> Active {
    let replies = Replies::new(Origin::default(), SERVER, &Codes::default(), &Codes::default());
    let idle = Duration::from_secs(60);
    Active::begin(&site.shared.world, replies, Spaces::All, None, idle, &mut Vec::new()).unwrap()
}

/// What it says when its requestor has lagged: types, statuses and base-times.
fn last_words(active: Active) -> Vec<(u8, u8, u32)> {
    let mut out = Vec::new();
    active.end(&Ending::from(FollowError::Lagged), &mut out);
    read(&out).iter().map(|reply| (reply.kind, reply.status().unwrap(), reply.base_time())).collect()
}

fn read(out: &[u8]) -> Vec<Reply> {
    let mut reader = StreamReader::default();
    reader.push(out);
    let next = || reader.message().unwrap().map(|message| Reply::read(message).unwrap());
    std::iter::from_fn(next).collect()
}

#[tokio::test]
async fn a_base_time_goes_on_with_the_last_of_the_changes_that_were_read_together() {
    let mut site = Site::new(3);
    let mut active = active(&site);
    let begun_s = site.now_s();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let mut last = Ticket::default();
    for address in 1..=3 {
        let binding = site.lend(Lent { address, ago_s: 0, ..Lent::default() });
        last = site.lane.push(&binding.lease(), &binding.hw, b"", binding.kept()).unwrap();
    }
    site.lane.ring();
    while site.lane.durable() < last {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (world, mut out) = (site.shared.world.clone(), Vec::new());
    while !active.has_work() {
        active.changes(&world).await.map_err(|ending| ending.to_string()).unwrap();
    }
    active.step(&world, &mut out);
    let replies = read(&out);
    let ahead: Vec<bool> = replies.iter().map(|reply| reply.base_time() > begun_s).collect();
    assert_eq!((replies.len(), ahead), (3, vec![false, false, true]));
}

#[tokio::test]
async fn a_requestor_that_lagged_is_told_data_missing_up_to_when_it_knows_and_then_that_it_is_over() {
    let site = Site::new(3);
    let words = last_words(active(&site));
    assert_eq!(words.iter().map(|(kind, status, _)| (*kind, *status)).collect::<Vec<_>>(), [(STATUS, 5), (STATUS, 2)]);
    assert!(words.iter().all(|(_, _, base_s)| base_s.abs_diff(site.now_s()) <= 1), "{words:?}");
}

#[tokio::test]
async fn a_base_time_is_not_ahead_of_what_was_told_of_leases_that_ran_out() {
    let site = Site::new(3);
    let mut active = active(&site);
    // A walk over a large table for those, which is paid for slowly.
    active.looked_s = site.now_s() - 1000;
    let expected = active.looked_s + 60;
    assert!(last_words(active).iter().all(|(_, _, base_s)| *base_s == expected));
}

#[tokio::test]
async fn while_the_disk_stalls_a_base_time_is_not_ahead_of_what_waits_for_it() {
    let mut site = Site::with(9, |settings| settings.active.as_mut().unwrap().idle = Duration::from_millis(200));
    let mut requestor = site.connect();
    requestor.ask(ACTIVE, 8, &[]).await;
    let (_, status) = next_status(&mut requestor).await;
    assert!(status.base_time().abs_diff(site.now_s()) <= 1);
    // No file can be made in what is not there.
    std::fs::remove_dir_all(site.dir.path()).unwrap();
    let changed_s = site.now_s();
    let binding = site.lend(Lent { ago_s: 0, ..Lent::default() });
    let ticket = site.submit(&binding);
    let mut told = 0;
    while site.now_s() < changed_s + 4 {
        let (replies, status) = next_status(&mut requestor).await;
        assert!(replies.is_empty() && site.lane.durable() < ticket);
        assert!(status.base_time() <= changed_s, "{} s after it", status.base_time() - changed_s);
        told += 1;
    }
    assert!(told > 5, "{told}");
}
