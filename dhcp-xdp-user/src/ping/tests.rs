//! Desk and prober together, against a socket and a clock that are the test's.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    io,
    rc::Rc,
    time::Duration,
};

use super::*;
use crate::lease::ClientKey;

const NOW_S: u32 = 1_900_000_000;

fn ip(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, host)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn client(n: u64) -> ClientTag {
    ClientTag::from(&ClientKey([0, n << 8]))
}

/// What is at an address.
#[derive(Clone, Copy)]
enum At {
    Host,
    NoRoute,
    UnreachableSaysRouter,
}

/// A network: what was sent into it, and what comes back.
#[derive(Default)]
struct World {
    hosts: HashMap<Ipv4Addr, At>,
    sent: Vec<(Ipv4Addr, u16)>,
    heard: VecDeque<Heard>,
}

#[derive(Clone, Default)]
struct Net(Rc<RefCell<World>>);

impl Echo for Net {
    fn send(&mut self, to: Ipv4Addr, sequence: u16) -> io::Result<()> {
        let mut world = self.0.borrow_mut();
        match world.hosts.get(&to) {
            Some(At::NoRoute) => return Err(io::ErrorKind::NetworkUnreachable.into()),
            Some(At::Host) => world.heard.push_back(Heard::Answer { from: to, sequence }),
            Some(At::UnreachableSaysRouter) => world.heard.push_back(Heard::Unreachable { to, sequence }),
            None => {}
        }
        world.sent.push((to, sequence));
        Ok(())
    }
    fn hear(&mut self) -> Option<Heard> {
        self.0.borrow_mut().heard.pop_front()
    }
}

struct Bench {
    desk: Desk<u32>,
    prober: Prober<Net>,
    net: Net,
    counters: Arc<PingCounters>,
}

fn check() -> PingCheck {
    PingCheck { timeout: ms(500), requests: 1, max_per_s: 4, remember_s: 60 }
}

impl Bench {
    fn new(check: &PingCheck, places: usize) -> Self {
        let (net, counters) = (Net::default(), Arc::<PingCounters>::default());
        let wake = || Arc::new(Wake::new().unwrap());
        let (desk, link) = desk(check, 1, places, Arc::new(Recent::new(check)), wake(), wake());
        let prober = Prober::new(net.clone(), vec![link], check, 600, Arc::clone(&counters));
        Self { desk, prober, net, counters }
    }

    fn with(self, address: Ipv4Addr, what: At) -> Self {
        self.net.0.borrow_mut().hosts.insert(address, what);
        self
    }

    /// OFFER number `n` of this address; the client is of the same number.
    fn begin(&mut self, n: u32, address: Ipv4Addr, now_s: u32) -> Begun<u32> {
        self.desk.begin(address, client(n.into()), n, 300, now_s)
    }

    fn turn(&mut self, at: u64) {
        self.prober.turn(ms(at));
    }

    fn found(&mut self, now_s: u32) -> Vec<(u32, Ipv4Addr, Outcome)> {
        std::iter::from_fn(|| self.desk.next(now_s))
            .map(|(waiting, outcome)| (waiting.token, waiting.address, outcome))
            .collect()
    }

    fn sent(&self) -> Vec<Ipv4Addr> {
        self.net.0.borrow().sent.iter().map(|(address, _)| *address).collect()
    }
}

#[test]
fn an_address_from_which_no_answer_comes_is_free_after_the_timeout_and_not_before() {
    let mut bench = Bench::new(&check(), 8);
    assert_eq!(bench.begin(1, ip(10), NOW_S), Begun::Waits);
    bench.turn(1000);
    assert_eq!((bench.sent(), bench.prober.next_end()), (vec![ip(10)], Some(ms(1500))));
    bench.turn(1499);
    assert!(!bench.desk.is_ready());
    bench.turn(1500);
    assert_eq!(bench.found(NOW_S), [(1, ip(10), Outcome::Silent)]);
    assert_eq!((bench.desk.waiting(), bench.prober.next_end()), (0, None));
    assert_eq!(bench.counters.snapshot(), PingStats { sent: 1, silent: 1, ..PingStats::default() });
}

#[test]
fn an_address_that_answers_is_in_use_and_that_is_told_at_once() {
    let mut bench = Bench::new(&check(), 8).with(ip(10), At::Host);
    for n in [1, 2] {
        assert_eq!(bench.begin(n, ip(9 + n as u8), NOW_S), Begun::Waits);
    }
    bench.turn(0);
    assert_eq!(bench.found(NOW_S), [(1, ip(10), Outcome::InUse)]);
    bench.turn(500);
    assert_eq!(bench.found(NOW_S), [(2, ip(11), Outcome::Silent)], "the other one's own");
    // It is not remembered as free.
    assert_eq!(bench.begin(1, ip(10), NOW_S + 1), Begun::Waits);
    assert_eq!(bench.counters.snapshot().answered, 1);
}

#[test]
fn an_unreachable_address_is_free_at_once() {
    let mut bench = Bench::new(&check(), 8).with(ip(10), At::UnreachableSaysRouter);
    bench.begin(1, ip(10), NOW_S);
    bench.turn(0);
    assert_eq!(bench.found(NOW_S), [(1, ip(10), Outcome::Silent)]);
    assert_eq!(bench.counters.snapshot().unreachable, 1);
}

#[test]
fn an_address_to_which_nothing_can_be_sent_is_told_at_once() {
    let mut bench = Bench::new(&check(), 8).with(ip(10), At::NoRoute);
    bench.begin(1, ip(10), NOW_S);
    bench.turn(0);
    assert_eq!(bench.found(NOW_S), [(1, ip(10), Outcome::Unsent)]);
    assert_eq!(bench.counters.snapshot(), PingStats { unsent: 1, ..PingStats::default() });
}

#[test]
fn as_many_requests_are_sent_as_configured_one_after_the_other() {
    let mut bench = Bench::new(&PingCheck { requests: 3, ..check() }, 8);
    bench.begin(1, ip(10), NOW_S);
    for (at, sent) in [(0, 1), (499, 1), (500, 2), (999, 2), (1000, 3)] {
        bench.turn(at);
        assert_eq!((bench.sent().len(), bench.desk.is_ready()), (sent, false), "at {at}");
    }
    bench.turn(1500);
    assert_eq!(bench.found(NOW_S), [(1, ip(10), Outcome::Silent)]);
}

#[test]
fn an_answer_that_is_late_of_another_or_comes_twice_changes_nothing() {
    let mut bench = Bench::new(&check(), 8);
    bench.begin(1, ip(10), NOW_S);
    bench.turn(0);
    let say = |bench: &Bench, from, sequence| {
        bench.net.0.borrow_mut().heard.push_back(Heard::Answer { from, sequence });
    };
    say(&bench, ip(11), 0);
    say(&bench, ip(10), 7);
    bench.turn(1);
    assert!(!bench.desk.is_ready(), "from another address, or of a number that was not sent");
    say(&bench, ip(10), 0);
    say(&bench, ip(10), 0);
    bench.turn(2);
    assert_eq!(bench.found(NOW_S).len(), 1);
    bench.begin(2, ip(12), NOW_S);
    bench.turn(10);
    bench.turn(510);
    say(&bench, ip(12), 1);
    bench.turn(511);
    assert_eq!(bench.found(NOW_S), [(2, ip(12), Outcome::Silent)], "the answer was late");
}

#[test]
fn numbers_of_requests_go_round() {
    let mut bench = Bench::new(&PingCheck { max_per_s: 2000, remember_s: 0, ..check() }, 1000);
    for round in 0..70u64 {
        for n in 0..1000 {
            let address = Ipv4Addr::from_bits(0x0a00_0000 + round as u32 * 1000 + n);
            assert_eq!(bench.begin(n, address, NOW_S + round as u32), Begun::Waits);
        }
        bench.turn(round * 1000);
        let last = Ipv4Addr::from_bits(0x0a00_0000 + round as u32 * 1000 + 999);
        let number = bench.net.0.borrow().sent.last().unwrap().1;
        bench.net.0.borrow_mut().heard.push_back(Heard::Answer { from: last, sequence: number });
        bench.turn(round * 1000 + 500);
        let found = bench.found(NOW_S);
        assert_eq!(found.len(), 1000);
        assert_eq!(found.iter().filter(|(.., outcome)| *outcome == Outcome::InUse).count(), 1, "round {round}");
    }
    assert!(bench.sent().len() > usize::from(u16::MAX));
}

#[test]
fn more_addresses_a_second_than_allowed_are_offered_unprobed() {
    let mut bench = Bench::new(&check(), 8);
    let begun: Vec<_> = (0..6).map(|n| bench.begin(n, ip(10 + n as u8), NOW_S)).collect();
    assert!(begun[..4].iter().all(|begun| *begun == Begun::Waits), "{begun:?}");
    assert_eq!(begun[4..], [Begun::TooMany(4), Begun::TooMany(5)]);
    assert_eq!(bench.begin(6, ip(20), NOW_S + 1), Begun::Waits, "the next second's");
}

#[test]
fn more_offers_than_there_are_places_are_sent_unprobed() {
    let mut bench = Bench::new(&check(), 2);
    for n in 0..2 {
        assert_eq!(bench.begin(n, ip(10 + n as u8), NOW_S), Begun::Waits);
    }
    assert_eq!(bench.begin(2, ip(12), NOW_S), Begun::TooMany(2));
    bench.turn(0);
    bench.turn(500);
    assert_eq!(bench.found(NOW_S).len(), 2);
    assert_eq!(bench.begin(3, ip(13), NOW_S), Begun::Waits, "places are free again");
}

#[test]
fn a_second_offer_of_an_address_that_is_being_probed_is_dropped() {
    let mut bench = Bench::new(&check(), 8);
    bench.begin(1, ip(10), NOW_S);
    assert_eq!(bench.begin(1, ip(10), NOW_S), Begun::Twice(1));
    bench.turn(0);
    assert_eq!(bench.sent().len(), 1);
    // Should its end never be told, it is probed again.
    assert_eq!(bench.begin(1, ip(10), NOW_S + 5), Begun::Waits);
}

#[test]
fn what_was_found_is_remembered_for_the_configured_time() {
    let mut bench = Bench::new(&check(), 8);
    bench.begin(1, ip(10), NOW_S);
    bench.turn(0);
    bench.turn(500);
    bench.found(NOW_S);
    assert_eq!(bench.begin(2, ip(10), NOW_S + 59), Begun::Known(2), "whoever asks");
    assert_eq!(bench.begin(2, ip(10), NOW_S + 60), Begun::Waits);
}

#[test]
fn a_client_that_just_had_the_address_is_offered_it_unprobed_and_others_are_not() {
    let mut bench = Bench::new(&check(), 8);
    bench.desk.recent().given(ip(10), client(1), NOW_S);
    assert_eq!(bench.begin(1, ip(10), NOW_S + 59), Begun::Known(1));
    assert_eq!(bench.begin(2, ip(10), NOW_S + 59), Begun::Waits);
    bench.desk.recent().given(ip(11), client(1), NOW_S);
    assert_eq!(bench.begin(1, ip(11), NOW_S + 60), Begun::Waits, "too long ago");
}

#[test]
fn addresses_that_share_a_place_in_memory_are_not_taken_for_each_other() {
    let recent = Recent::new(&check());
    // 200,000 addresses in 65,536 places.
    for bits in 0..200_000u32 {
        let address = Ipv4Addr::from_bits(0x0a00_0000 + bits);
        assert_eq!(recent.look_up(address, client(1), NOW_S), recent::Memory::None, "{address}");
        recent.silent(address, NOW_S);
        assert_eq!(recent.look_up(address, client(1), NOW_S), recent::Memory::Free);
    }
}

#[test]
fn offers_are_not_kept_back_by_a_prober_that_has_ended() {
    let mut bench = Bench::new(&check(), 8);
    bench.begin(1, ip(10), NOW_S);
    let Bench { mut desk, prober, .. } = bench;
    assert!(!desk.is_ready());
    drop(prober);
    assert!(desk.is_ready());
    let (waiting, outcome) = desk.next(NOW_S).unwrap();
    assert_eq!((waiting.token, outcome), (1, Outcome::Unsent));
    assert!(!desk.is_ready() && desk.next(NOW_S).is_none());
    assert_eq!(desk.begin(ip(11), client(2), 2, 300, NOW_S), Begun::TooMany(2));
}

#[test]
fn the_desks_of_all_workers_together_have_room_for_what_is_asked_for_while_a_probe_lasts() {
    let check = PingCheck { max_per_s: 200, ..check() };
    assert_eq!((places(&check, 1), places(&check, 3), share(&check, 3)), (300, 101, 67));
    assert_eq!(places(&PingCheck { requests: 2, ..check }, 1), 400);
}
