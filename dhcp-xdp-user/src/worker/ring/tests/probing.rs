//! OFFERs that wait until their addresses are probed.

use std::net::Ipv4Addr;

use super::*;
use crate::{
    config::PingCheck,
    lease::ClientKey,
    ping::{ClientTag, Desk, Echo, Heard, Prober, Recent, desk},
};

/// A network in which some addresses answer.
struct Net {
    answers: fn(Ipv4Addr) -> bool,
    heard: VecDeque<Heard>,
}

impl Echo for Net {
    fn send(&mut self, to: Ipv4Addr, sequence: u16) -> io::Result<()> {
        if (self.answers)(to) {
            self.heard.push_back(Heard::Answer { from: to, sequence });
        }
        Ok(())
    }
    fn hear(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }
}

fn probe(n: usize) -> Disposition {
    let client = ClientTag::from(&ClientKey([0, n as u64 + 9]));
    Disposition::Probe { len: 300, address: Ipv4Addr::new(192, 0, 2, n as u8), client }
}

struct Bench {
    worker: Worker<Memory, Plan>,
    prober: Prober<Net>,
}

fn bench(memory: Memory, places: usize, plan: fn(usize) -> Disposition, answers: fn(Ipv4Addr) -> bool) -> Bench {
    let check = PingCheck { timeout: Duration::from_millis(500), requests: 1, max_per_s: 1000, remember_s: 60 };
    let wake = || Arc::new(Wake::new().unwrap());
    let recent = Arc::new(Recent::new(&check));
    let (desk, link): (Desk<Token>, _) = desk(&check, 1, places, recent, wake(), wake());
    let prober = Prober::new(Net { answers, heard: VecDeque::new() }, vec![link], &check, 600, Arc::default());
    Bench { worker: worker(memory, 8, plan).0.with_desk(Some(desk)), prober }
}

impl Bench {
    fn turn(&mut self) -> usize {
        let moved = self.worker.turn(5).unwrap();
        assert!(self.worker.counters.snapshot().closes(), "{:?}", self.worker.counters.snapshot());
        moved
    }

    fn parked_and_sent(&self) -> (u64, Vec<u32>) {
        (self.worker.counters.snapshot().parked, self.worker.rings.sent())
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.worker.counters.snapshot().drops[reason as usize]
    }
}

#[test]
fn an_offer_waits_until_its_probe_has_ended_and_then_leaves() {
    let mut bench = bench(Memory::with(2), 8, probe, |_| false);
    bench.turn();
    assert_eq!(bench.parked_and_sent(), (2, vec![]));
    bench.prober.turn(Duration::ZERO);
    assert_eq!((bench.turn(), bench.worker.has_work()), (0, false), "nothing is known yet");
    bench.prober.turn(Duration::from_millis(500));
    assert!(bench.worker.has_work(), "a worker does not fall asleep over what was found");
    assert_eq!(bench.turn(), 2);
    assert_eq!(bench.parked_and_sent(), (0, vec![0, 1]));
}

#[test]
fn the_offer_of_an_address_that_answers_is_never_sent() {
    let mut bench = bench(Memory::with(3), 8, probe, |address| address.octets()[3] == 1);
    bench.turn();
    bench.prober.turn(Duration::ZERO);
    bench.turn();
    assert_eq!(bench.worker.step.in_use, [Ipv4Addr::new(192, 0, 2, 1)], "the step is told, to quarantine it");
    assert_eq!((bench.dropped(DropReason::AddressInUse), &bench.worker.rings.free[..]), (1, &[1][..]));
    bench.prober.turn(Duration::from_millis(500));
    bench.turn();
    assert_eq!(bench.parked_and_sent(), (0, vec![0, 2]));
}

#[test]
fn acks_do_not_wait_for_probes() {
    let (plan, answers): (fn(usize) -> _, fn(_) -> _) = (|n| if n == 0 { probe(n) } else { park(n) }, |_| false);
    let mut bench = bench(Memory::with(3), 8, plan, answers);
    bench.worker.step.durable.set(3);
    bench.turn();
    bench.turn();
    assert_eq!(bench.parked_and_sent(), (1, vec![1, 2]));
}

#[test]
fn offers_that_find_no_place_are_sent_unprobed_and_counted() {
    let mut bench = bench(Memory::with(5), 2, probe, |_| false);
    bench.turn();
    assert_eq!(bench.parked_and_sent(), (2, vec![2, 3, 4]));
    assert_eq!(bench.worker.counters.snapshot().notices[Notice::OfferedUnprobed as usize], 3);
}

#[test]
fn without_a_desk_an_offer_is_sent_unprobed() {
    let (mut worker, _) = worker(Memory::with(1), 8, probe);
    worker.turn(0).unwrap();
    assert_eq!(worker.rings.sent(), [0]);
    assert!(worker.counters.snapshot().closes());
}

#[test]
fn a_second_offer_of_the_same_address_is_dropped_while_the_first_waits_and_sent_at_once_afterwards() {
    let mut memory = Memory::with(3);
    let later = memory.incoming.split_off(2);
    let mut bench = bench(memory, 8, |_| probe(7), |_| false);
    bench.turn();
    assert_eq!((bench.parked_and_sent(), bench.dropped(DropReason::ProbeUnderWay)), ((1, vec![]), 1));
    bench.prober.turn(Duration::ZERO);
    bench.prober.turn(Duration::from_millis(500));
    bench.turn();
    bench.worker.rings.incoming.extend(later);
    bench.turn();
    assert_eq!(bench.parked_and_sent(), (0, vec![0, 2]));
}

#[test]
fn a_full_transmit_ring_drops_a_probed_offer_whose_client_need_not_wait_again() {
    let mut bench = bench(Memory { tx_room: 0, ..Memory::with(1) }, 8, probe, |_| false);
    bench.turn();
    bench.prober.turn(Duration::ZERO);
    bench.prober.turn(Duration::from_millis(500));
    bench.turn();
    assert_eq!((bench.parked_and_sent(), bench.dropped(DropReason::TxFull)), ((0, vec![]), 1));
    assert_eq!(bench.worker.rings.free, [0]);
}

#[test]
fn stopping_does_not_wait_for_probes_and_leaks_no_frame() {
    let mut bench = bench(Memory::with(3), 8, probe, |_| false);
    bench.turn();
    bench.prober.turn(Duration::ZERO);
    let (wake, stop) = (Wake::new().unwrap(), AtomicBool::new(true));
    let start = Instant::now();
    bench.worker.run(|| 0, &wake, &stop, &Options { stop_within: Duration::from_secs(9), ..OPTIONS }).unwrap();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!((bench.parked_and_sent(), bench.dropped(DropReason::ProbeUnderWay)), ((0, vec![]), 3));
    assert_eq!(bench.worker.rings.free, [0, 1, 2]);
    // What is found afterwards finds nobody.
    bench.prober.turn(Duration::from_millis(500));
}
