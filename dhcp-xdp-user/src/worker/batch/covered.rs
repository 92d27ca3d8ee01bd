//! Renewals that an earlier record covers (`renewal_slack`): nothing is written for them, and no client is told of more than the
//! disk has.

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use dhcproto::v4::MessageType::{Ack, Nak};
use proptest::prelude::*;

use crate::{
    config::{Durability, Subnets},
    engine::testing::{Answer, Bed, Msg, SERVER, discover, lan, message, request, selecting},
    journal::Journal,
    lease::{BindingState, Client, HwAddress, Kept, Lease, LeaseTable, PoolRange, Space},
    wake::Wake,
    wire::{dhcp::MessageType, options::code},
    worker::{batch::Recorder, counters::DropReason},
};

/// Seconds; the bed's usual lease.
const LEASE_S: u32 = 3600;

fn bed(renewal_slack_permille: u16) -> Bed {
    Bed::with(|config| {
        let mut subnets = config.subnets.to_vec();
        subnets[0].lease.renewal_slack_permille = renewal_slack_permille;
        config.subnets = Subnets::new(subnets);
    })
}

fn settle(bed: &mut Bed) {
    let records = bed.records().len() as u64;
    bed.processor.recorder.durable = records;
}

fn renew(bed: &mut Bed, n: u8, address: Ipv4Addr) -> Answer {
    let ack = bed.reply(&request(n).unicast(address));
    assert_eq!((ack.message_type(), ack.seconds(code::LEASE_TIME)), (Ack, Some(LEASE_S)));
    ack
}

#[test]
fn a_renewal_within_the_slack_is_answered_at_once_and_not_recorded() {
    let mut bed = bed(100);
    let address = bed.bind(1);
    settle(&mut bed);
    let recorded = bed.records()[0].0;
    assert_eq!(recorded.expires_s, bed.now_s + LEASE_S + 360, "more than the client was told");
    bed.pass(360);
    assert!(!renew(&mut bed, 1, address).parked);
    assert_eq!(bed.records().len(), 1);
    bed.pass(1);
    assert!(renew(&mut bed, 1, address).parked, "beyond the slack");
    assert_eq!(bed.records().len(), 2);
    assert_eq!(bed.records()[1].0.expires_s, bed.now_s + LEASE_S + 360);
}

#[test]
fn without_slack_each_renewal_is_recorded() {
    let mut bed = bed(0);
    let address = bed.bind(1);
    settle(&mut bed);
    assert!(renew(&mut bed, 1, address).parked);
    assert_eq!(bed.records().len(), 2);
}

#[test]
fn a_renewal_whose_covering_record_is_still_on_its_way_waits_for_one_of_its_own() {
    let mut bed = bed(100);
    let address = bed.bind(1);
    assert!(renew(&mut bed, 1, address).parked, "the client asks again before the disk is done");
    assert_eq!(bed.records().len(), 2);
    assert_eq!(bed.records()[0].0, bed.records()[1].0, "the same once more");
    settle(&mut bed);
    assert!(!renew(&mut bed, 1, address).parked);
    assert_eq!(bed.records().len(), 2);
}

#[test]
fn what_changes_more_than_the_time_is_recorded() {
    let mut bed = bed(500);
    let named = |msg: Msg| msg.option(code::CLIENT_ID, b"\0one");
    let offered = bed.reply(&named(discover(1))).yiaddr();
    bed.reply(&named(selecting(1, SERVER, offered)));
    settle(&mut bed);
    // The same client with another network card.
    assert!(bed.reply(&named(request(2)).unicast(offered)).parked);
    assert_eq!(bed.records().len(), 2);
    settle(&mut bed);
    bed.reply(&named(request(2)).unicast(offered));
    assert_eq!(bed.records().len(), 2);
    assert_eq!(bed.leases.get(offered, bed.now_s).unwrap().hw.chaddr[5], 2);
}

#[test]
fn an_unchanged_option_82_needs_no_record_and_a_changed_one_does() {
    let mut bed = bed(500);
    let from = |line: &[u8], msg: Msg| msg.option(code::RELAY_AGENT_INFO, line);
    let address = bed.reply(&from(b"\x01\x01a", discover(1))).yiaddr();
    bed.reply(&from(b"\x01\x01a", selecting(1, SERVER, address)));
    let renewal = || request(1).unicast(address);
    settle(&mut bed);
    let rebinding = || request(1).with(|msg| msg.ciaddr = address);
    assert!(!bed.reply(&from(b"\x01\x01a", rebinding())).parked);
    assert!(!bed.reply(&renewal()).parked, "past the relay agent");
    assert!(!bed.reply(&from(b"\x01\x01b", renewal())).parked, "its client may have written that itself");
    assert!(bed.reply(&from(b"\x01\x01b", rebinding())).parked);
    settle(&mut bed);
    assert!(!bed.reply(&renewal()).parked);
    assert!(!bed.reply(&from(b"\x01\x01b", rebinding())).parked);
    assert_eq!(bed.processor.recorder().agent_info, [b"\x01\x01a", b"\x01\x01b"]);
}

/// A table made of what is on the disk.
fn restarted(bed: &Bed) -> LeaseTable {
    let pool = PoolRange { subnet: 0, first: lan(10), last: lan(19) };
    let table = LeaseTable::new(&[pool], [5, 6]);
    let durable = bed.processor.recorder().durable as usize;
    for (lease, hw, client_id) in &bed.records()[..durable] {
        table.restore(&lease.of(hw, client_id), 0, bed.now_s).unwrap();
    }
    table
}

#[test]
fn after_a_restart_nobody_else_gets_an_address_before_its_client_was_told_that_it_ends() {
    let mut bed = bed(300);
    let address = bed.bind(1);
    settle(&mut bed);
    bed.pass(1000);
    assert!(!renew(&mut bed, 1, address).parked, "not recorded");
    let told_s = bed.now_s + LEASE_S;
    let table = restarted(&bed);
    let other = HwAddress { htype: 1, hlen: 6, chaddr: [9; 16] };
    let thief =
        Client { key: table.key(0, &other, &[]), subnet: 0, hw: &other, client_id: &[], limits: &[], agent_info: &[] };
    assert_eq!(table.get(address, told_s - 1).unwrap().state, BindingState::Bound);
    assert!(table.bind(&thief, address, told_s + 100, told_s - 1).is_err());
    assert!(
        table.bind(&thief, address, told_s + 1000, told_s + 80).is_ok(),
        "and then for a share of the lease time at most"
    );
}

/// What a restart reads may have come from the kernel's memory, and not be on the disk yet.
#[test]
fn a_restored_lease_covers_nothing_before_it_is_recorded_once_more() {
    let mut bed = bed(300);
    let address = bed.bind(1);
    let records = bed.records().to_vec();
    let mut bed = self::bed(300);
    let (lease, hw, id) = &records[0];
    bed.leases.restore(&lease.of(hw, id), 0, bed.now_s).unwrap();
    assert!(renew(&mut bed, 1, address).parked);
    assert_eq!(bed.records()[0].0, *lease);
    settle(&mut bed);
    assert!(!renew(&mut bed, 1, address).parked);
    assert_eq!(bed.records().len(), 1);
}

#[test]
fn a_released_or_declined_lease_covers_nothing() {
    let mut bed = bed(1000);
    let address = bed.bind(1);
    settle(&mut bed);
    let release = message(MessageType::Release, 1).unicast(address);
    assert_eq!(bed.dropped(&release), DropReason::Released);
    settle(&mut bed);
    let before = bed.records().len();
    assert!(renew(&mut bed, 1, address).parked);
    assert_eq!(bed.records().len(), before + 1);
}

/// The journal's own lanes: what one worker recorded another one may rely on, once it is on the disk.
#[test]
fn a_record_of_one_lane_is_settled_for_all_once_it_is_durable_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let wakes = (0..2).map(|_| Arc::new(Wake::new().unwrap())).collect();
    let (journal, mut lanes) = Journal::start(dir.path(), Durability::Sync, wakes).unwrap();
    let bed = bed(0);
    let lease = Lease {
        space: Space::GLOBAL,
        address: SERVER,
        state: BindingState::Bound,
        generation: 1,
        started_s: bed.now_s,
        expires_s: bed.now_s,
    };
    for _ in 0..200 {
        let ticket = lanes[0].submit(&lease, &HwAddress::default(), &[], Kept::default()).unwrap();
        let stamp = Recorder::stamp(&lanes[0], ticket);
        let start = Instant::now();
        loop {
            // In this order: what is settled was durable.
            let is_settled = [Recorder::is_settled(&lanes[0], stamp), Recorder::is_settled(&lanes[1], stamp)];
            let is_durable = lanes[0].durable() >= ticket;
            assert!(is_durable || is_settled == [false; 2]);
            if is_settled == [true; 2] {
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "waited in vain for the disk");
            std::thread::yield_now();
        }
    }
    drop(lanes);
    journal.stop().unwrap();
}

#[derive(Clone, Debug)]
enum Op {
    Discover(u8),
    Request(u8),
    Renew(u8),
    Release(u8),
    Pass(u32),
    /// The disk gets on by this many records.
    Disk(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let client = || 1u8..16;
    prop_oneof![
        3 => client().prop_map(Op::Discover),
        3 => client().prop_map(Op::Request),
        8 => client().prop_map(Op::Renew),
        1 => client().prop_map(Op::Release),
        4 => (1u32..2000).prop_map(Op::Pass),
        4 => (1u64..6).prop_map(Op::Disk),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever clients do: the newest record of an address that an ACK waited for, or that was on the disk when it left at
    /// once, binds it to that client for as long as the ACK says.
    #[test]
    fn no_ack_says_more_than_what_is_on_the_disk_when_it_leaves(
        slack in 0u16..=1000, ops in proptest::collection::vec(op(), 1..150)
    ) {
        let mut bed = bed(slack);
        let mut at = [None; 16];
        for op in ops {
            let answer = match op {
                Op::Pass(seconds) => { bed.pass(seconds); continue }
                Op::Disk(records) => {
                    let most = bed.records().len() as u64;
                    let recorder = &mut bed.processor.recorder;
                    recorder.durable = (recorder.durable + records).min(most);
                    continue
                }
                Op::Release(n) => {
                    let message = message(MessageType::Release, n);
                    if let Some(address) = at[usize::from(n)] { let _ = bed.send(&message.unicast(address)); }
                    continue
                }
                Op::Discover(n) => {
                    let offer = bed.send(&discover(n));
                    at[usize::from(n)] = offer.ok().map(|offer| offer.yiaddr());
                    continue
                }
                Op::Request(n) => at[usize::from(n)].and_then(|address| bed.send(&selecting(n, SERVER, address)).ok().map(|answer| (n, answer))),
                Op::Renew(n) => at[usize::from(n)].and_then(|address| bed.send(&request(n).unicast(address)).ok().map(|answer| (n, answer))),
            };
            let Some((n, answer)) = answer else { continue };
            if answer.message_type() == Nak {
                continue;
            }
            let told_s = bed.now_s + answer.seconds(code::LEASE_TIME).unwrap();
            let durable = if answer.parked { bed.records().len() } else { bed.processor.recorder().durable as usize };
            let newest = bed.records()[..durable].iter().rev().find(|(lease, ..)| lease.address == answer.yiaddr());
            let (lease, hw, _) = newest.expect("a record");
            prop_assert_eq!((lease.state, hw.chaddr[5]), (BindingState::Bound, n));
            prop_assert!(lease.expires_s >= told_s, "{} < {}", lease.expires_s, told_s);
        }
        prop_assert!(bed.processor.recorder().has_room());
    }
}
