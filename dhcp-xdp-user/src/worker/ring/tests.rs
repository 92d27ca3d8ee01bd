//! The loop over rings made of memory: where each frame ends, and the books.

use std::{cell::Cell, os::fd::AsFd as _, rc::Rc, thread};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::*;

mod probing;

/// Rings made of memory. A token is a frame's number and its bytes; the account is kept as the kernel's side would.
#[derive(Debug)]
struct Memory {
    incoming: VecDeque<Token>,
    staged: Vec<(u32, usize)>,
    sent: Vec<(u32, usize)>,
    free: Vec<u32>,
    /// Frames that the transmit ring takes until it is flushed.
    tx_room: usize,
    sleeps: u32,
    broken: bool,
}

#[derive(Debug)]
struct Token {
    number: u32,
    bytes: Vec<u8>,
}

impl Memory {
    fn with(frames: u32) -> Self {
        let incoming = (0..frames).map(|number| Token { number, bytes: vec![0; 64] }).collect();
        Self { incoming, staged: vec![], sent: vec![], free: vec![], tx_room: 1000, sleeps: 0, broken: false }
    }
    fn sent(&self) -> Vec<u32> {
        self.sent.iter().map(|&(number, _)| number).collect()
    }
}

impl Rings for Memory {
    type Token = Token;
    fn receive(&mut self, tokens: &mut ArrayVec<Token, BATCH>) -> usize {
        let count = self.incoming.len().min(tokens.remaining_capacity());
        tokens.extend(self.incoming.drain(..count));
        count
    }
    fn frame<'a>(&'a self, token: &'a mut Token) -> Frame<'a> {
        Frame { len: token.bytes.len(), buffer: &mut token.bytes }
    }
    fn transmit(&mut self, token: Token, len: usize) -> Result<(), Token> {
        if self.staged.len() == self.tx_room {
            return Err(token);
        }
        self.staged.push((token.number, len));
        Ok(())
    }
    fn recycle(&mut self, token: Token) {
        self.free.push(token.number);
    }
    fn flush(&mut self) -> io::Result<()> {
        self.sent.append(&mut self.staged);
        if self.broken { Err(io::ErrorKind::NotConnected.into()) } else { Ok(()) }
    }
    fn service(&mut self) {}
    fn unsent(&mut self) -> u32 {
        self.staged.len() as u32
    }
    fn has_received(&mut self) -> bool {
        !self.incoming.is_empty()
    }
    fn before_sleep(&mut self) -> Option<u16> {
        None
    }
    fn sleep(&mut self, wake: &Wake, at_most: Option<u16>) -> io::Result<()> {
        self.sleeps += 1;
        let timeout = at_most.map_or(PollTimeout::NONE, PollTimeout::from);
        poll(&mut [PollFd::new(wake.as_fd(), PollFlags::POLLIN)], timeout)?;
        Ok(())
    }
    fn busy_poll(&mut self) {}
}

/// Disposes of frame `n` as its first byte's plan says, and knows what is durable.
struct Plan {
    plan: fn(usize) -> Disposition,
    seen: usize,
    durable: Rc<Cell<u64>>,
    counters: Arc<Counters>,
    in_use: Vec<Ipv4Addr>,
}

impl Step for Plan {
    fn process(&mut self, _now_s: u32, frames: &mut [Frame<'_>], out: &mut ArrayVec<Disposition, BATCH>) {
        out.clear();
        self.counters.received(frames.len() as u64);
        for _ in frames {
            let disposition = (self.plan)(self.seen);
            if let Disposition::Drop(reason) = disposition {
                self.counters.dropped(reason);
            }
            out.push(disposition);
            self.seen += 1;
        }
    }
    fn durable(&self) -> Ticket {
        Ticket(self.durable.get())
    }
    fn found_in_use(&mut self, _now_s: u32, address: Ipv4Addr) -> DropReason {
        self.in_use.push(address);
        DropReason::AddressInUse
    }
}

const OPTIONS: Options = Options { busy_poll: false, stop_within: Duration::from_millis(50) };

fn worker(memory: Memory, parking: usize, plan: fn(usize) -> Disposition) -> (Worker<Memory, Plan>, Rc<Cell<u64>>) {
    let counters = Arc::new(Counters::default());
    let durable = Rc::new(Cell::new(0));
    let step = Plan { plan, seen: 0, durable: Rc::clone(&durable), counters: Arc::clone(&counters), in_use: vec![] };
    (Worker::new(memory, step, counters, parking), durable)
}

fn park(n: usize) -> Disposition {
    Disposition::Park { len: 300, ticket: Ticket(n as u64 + 1), until_s: 10 }
}

#[test]
fn what_waited_for_the_disk_too_long_is_never_sent() {
    let (mut worker, durable) = worker(Memory::with(3), 8, park);
    worker.turn(0).unwrap();
    durable.set(2);
    worker.turn(9).unwrap();
    assert_eq!(worker.rings.sent(), [0, 1], "still good");
    durable.set(3);
    worker.turn(10).unwrap();
    assert_eq!((worker.rings.sent(), &worker.rings.free[..]), (vec![0, 1], &[2][..]));
    let counters = worker.counters.snapshot();
    assert_eq!(counters.drops[DropReason::NotDurable as usize], 1);
    assert!(counters.closes());
}

#[test]
fn a_long_backlog_is_sent_a_batch_a_turn() {
    let (mut worker, durable) = worker(Memory::with(3 * BATCH as u32), 1000, park);
    while worker.turn(0).unwrap() > 0 {}
    durable.set(1000);
    assert_eq!(worker.turn(0).unwrap(), BATCH);
    while worker.turn(0).unwrap() > 0 {}
    assert_eq!(worker.rings.sent().len(), 3 * BATCH);
}

#[test]
fn each_disposition_takes_its_frame_where_it_belongs() {
    let (mut worker, _) = worker(Memory::with(3), 8, |n| match n {
        0 => Disposition::Send { len: 342 },
        1 => Disposition::Drop(DropReason::NoSubnet),
        _ => park(n),
    });
    assert_eq!(worker.turn(0).unwrap(), 3);
    assert_eq!((&worker.rings.sent, &worker.rings.free), (&vec![(0, 342)], &vec![1]));
    let counters = worker.counters.snapshot();
    assert_eq!((counters.sent, counters.parked, counters.dropped()), (1, 1, 1));
    assert!(counters.closes());
}

#[test]
fn parked_frames_leave_in_order_once_they_are_durable_and_not_before() {
    let (mut worker, durable) = worker(Memory::with(3), 8, park);
    worker.turn(0).unwrap();
    assert_eq!(worker.turn(0).unwrap(), 0);
    assert!(worker.rings.sent.is_empty());
    durable.set(2);
    assert_eq!(worker.turn(0).unwrap(), 2);
    assert_eq!(worker.rings.sent(), [0, 1]);
    durable.set(3);
    worker.turn(0).unwrap();
    assert_eq!(worker.rings.sent(), [0, 1, 2]);
    let counters = worker.counters.snapshot();
    assert_eq!((counters.sent, counters.parked), (3, 0));
    assert!(counters.closes());
}

#[test]
fn a_full_parking_lot_drops_the_newcomer_and_keeps_its_size() {
    let (mut worker, durable) = worker(Memory::with(5), 2, park);
    worker.turn(0).unwrap();
    assert_eq!(worker.rings.free, [2, 3, 4]);
    assert_eq!(worker.counters.snapshot().drops[DropReason::ParkingFull as usize], 3);
    durable.set(5);
    worker.turn(0).unwrap();
    assert_eq!(worker.rings.sent(), [0, 1]);
    assert!(worker.counters.snapshot().closes());
}

#[test]
fn a_full_transmit_ring_drops_a_fresh_reply() {
    let memory = Memory { tx_room: 1, ..Memory::with(3) };
    let (mut worker, _) = worker(memory, 8, |_| Disposition::Send { len: 300 });
    worker.turn(0).unwrap();
    assert_eq!(worker.rings.free, [1, 2]);
    assert_eq!(worker.counters.snapshot().drops[DropReason::TxFull as usize], 2);
    assert!(worker.counters.snapshot().closes());
}

#[test]
fn a_full_transmit_ring_keeps_parked_replies_in_line() {
    let memory = Memory { tx_room: 1, ..Memory::with(3) };
    let (mut worker, durable) = worker(memory, 8, park);
    worker.turn(0).unwrap();
    durable.set(3);
    for _ in 0..3 {
        assert_eq!(worker.turn(0).unwrap(), 1);
    }
    assert_eq!(worker.rings.sent(), [0, 1, 2]);
    assert!(worker.counters.snapshot().closes());
}

#[test]
fn stopping_empties_the_ring_and_sends_what_becomes_durable() {
    let (mut worker, durable) = worker(Memory::with(200), 200, park);
    durable.set(200);
    let (wake, stop) = (Wake::new().unwrap(), AtomicBool::new(true));
    worker.run(|| 0, &wake, &stop, &OPTIONS).unwrap();
    assert_eq!(worker.rings.sent.len(), 200);
    assert!(worker.counters.snapshot().closes());
}

#[test]
fn stopping_gives_up_what_the_disk_does_not_take_and_never_sends_it() {
    let (mut worker, durable) = worker(Memory::with(3), 8, park);
    durable.set(1);
    let (wake, stop) = (Wake::new().unwrap(), AtomicBool::new(true));
    let start = Instant::now();
    worker.run(|| 0, &wake, &stop, &OPTIONS).unwrap();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!((worker.rings.sent(), &worker.rings.free), (vec![0], &vec![1, 2]));
    let counters = worker.counters.snapshot();
    assert_eq!(counters.drops[DropReason::NotDurable as usize], 2);
    assert!(counters.closes() && counters.parked == 0);
}

#[test]
fn a_broken_socket_ends_the_loop_and_gives_parked_frames_back() {
    let memory = Memory { broken: true, ..Memory::with(2) };
    let (mut worker, _) = worker(memory, 8, park);
    let (wake, stop) = (Wake::new().unwrap(), AtomicBool::new(false));
    assert!(worker.run(|| 0, &wake, &stop, &OPTIONS).is_err());
    assert_eq!(worker.rings.free, [0, 1]);
}

#[test]
fn an_idle_loop_sleeps_until_it_is_woken_to_stop() {
    let wake = Arc::new(Wake::new().unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let (their_wake, their_stop) = (Arc::clone(&wake), Arc::clone(&stop));
    let thread = thread::spawn(move || {
        let (mut worker, _) = worker(Memory::with(1), 8, |_| Disposition::Send { len: 300 });
        worker.run(|| 0, &their_wake, &their_stop, &OPTIONS).unwrap();
        (worker.rings.sent.len(), worker.rings.sleeps)
    });
    thread::sleep(Duration::from_millis(100));
    stop.store(true, Ordering::Relaxed);
    wake.wake();
    let (sent, sleeps) = thread.join().unwrap();
    // One sleep while idle; then a few of a millisecond while it makes sure that nothing comes any more.
    assert!(sent == 1 && (1..60).contains(&sleeps), "{sleeps} sleeps");
}
