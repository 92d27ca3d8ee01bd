//! The simulated clients: what each remembers, and how it moves from state to state.
//!
//! A client of RFC 2131 4.4 as far as a load needs it. What it remembers fits in 40 bytes; its name is arithmetic
//! ([`Identities`]); with its timer, which is also its place in a line, and the address book, a client takes at most
//! [`BYTES_A_CLIENT`] bytes: 720 MB for ten million.

use crate::{
    identity::Identities,
    scenario::Exchange,
    schedule::{Backoff, MAX_REQUEST_RETRANSMISSIONS},
    template::Message,
    verdict, wheel,
    wheel::{Line, Wheel},
};

/// Most bytes that a client takes, all told: state, timer, address book.
pub const BYTES_A_CLIENT: usize = 72;
const _: () = assert!(size_of::<Client>() + wheel::BYTES_A_CLIENT + verdict::BOOK_BYTES_A_CLIENT <= BYTES_A_CLIENT);

/// Where a client is in its exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Not in an exchange: never began, gave up, was refused, or has left.
    Idle,
    /// Sent DISCOVER, waits for an OFFER.
    Selecting,
    /// Sent REQUEST, waits for ACK or NAK.
    Requesting,
    /// Sent REQUEST of an address that it remembers.
    Rebooting,
    /// Sent REQUEST to its server.
    Renewing,
    /// Sent REQUEST to all servers.
    Rebinding,
    /// Has its lease.
    Bound,
    /// Had an OFFER and wants no more.
    Offered,
    /// Is about to send RELEASE.
    Releasing,
    /// Is about to send DECLINE.
    Declining,
}

/// What a client remembers.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// When the current message was first sent; while it holds a lease for a time, when that is over.
    pub sent_at_ns: u64,
    /// Number of the exchange, from 1; 0 before the first. It gives the transaction identifier.
    pub round: u32,
    /// Address leased to it, or 0.
    pub address: u32,
    /// When that lease ends, in seconds from the begin of the run.
    pub lease_end_s: u32,
    /// Address that it asks for in this exchange.
    pub wanted: u32,
    /// Server whose offer it took.
    pub server_id: u32,
    /// How late the exchange began against the schedule.
    pub lateness_us: u32,
    /// What `secs` says, as of the first message of the exchange.
    pub secs: u16,
    /// Where it is.
    pub phase: Phase,
    /// Retransmissions of the current message.
    pub attempt: u8,
    /// What it is about.
    pub exchange: Exchange,
    flags: u8,
}

const _: () = assert!(size_of::<Client>() == 40);

/// A message of this exchange was sent again.
const RETRANSMITTED: u8 = 1;
/// It has had what its scenario wants.
const DONE: u8 = 2;

impl Client {
    const NEW: Client = Client {
        sent_at_ns: 0,
        round: 0,
        address: 0,
        lease_end_s: 0,
        wanted: 0,
        server_id: 0,
        lateness_us: 0,
        secs: 0,
        phase: Phase::Idle,
        attempt: 0,
        exchange: Exchange::Dora,
        flags: 0,
    };

    /// The message that is next to leave or waits for its answer.
    #[inline]
    pub fn outstanding(&self) -> Option<Message> {
        match self.phase {
            Phase::Selecting => Some(Message::Discover),
            Phase::Requesting => Some(Message::Request),
            Phase::Rebooting => Some(Message::Reboot),
            Phase::Renewing => Some(Message::Renew),
            Phase::Rebinding => Some(Message::Rebind),
            Phase::Releasing => Some(Message::Release),
            Phase::Declining => Some(Message::Decline),
            Phase::Idle | Phase::Bound | Phase::Offered => None,
        }
    }

    /// Whether it waits for an answer.
    #[inline]
    pub fn waits(&self) -> bool {
        self.outstanding().is_some_and(Message::is_answered)
    }

    /// Whether any message of this exchange was sent again: a second answer is then no fault of the server.
    pub fn retransmitted(&self) -> bool {
        self.flags & RETRANSMITTED != 0
    }

    /// Whether it holds a lease that has not ended.
    pub fn holds_lease(&self, now_s: u32) -> bool {
        self.address != 0 && (self.lease_end_s == u32::MAX || self.lease_end_s > now_s)
    }
}

/// What a client does when its timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// Sends its message again.
    Retransmit(Message),
    /// Gives the exchange up.
    Abandon,
    /// Gives up the lease that nobody confirms, and sends DISCOVER.
    Restart,
    /// Has held its lease for as long as it wanted to.
    Leave,
}

/// All clients of a run.
pub struct Clients {
    table: Box<[Client]>,
    /// Idle clients that are to begin with DISCOVER.
    fresh: Line,
    /// Idle clients with a lease.
    leased: Line,
    wheel: Wheel,
    names: Identities,
    backoff: Backoff,
    in_flight: u32,
    overdue: u32,
}

impl Clients {
    /// Clients that have not begun; their exchanges are numbered from `first_round`. All memory that they ever take is taken
    /// here.
    pub fn new(names: Identities, backoff: Backoff, first_round: u32) -> Self {
        let count = names.count();
        let mut wheel = Wheel::new(count, backoff.tick_ns());
        let fresh = wheel.line_up_all();
        Self {
            table: vec![Client { round: first_round, ..Client::NEW }; count as usize].into(),
            fresh,
            leased: Line::EMPTY,
            wheel,
            names,
            backoff,
            in_flight: 0,
            overdue: 0,
        }
    }

    /// A client.
    #[inline]
    pub fn get(&self, index: u32) -> &Client {
        &self.table[index as usize]
    }

    /// Clients that wait for an answer.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Those of them that have not had to send again.
    pub fn in_window(&self) -> u32 {
        self.in_flight - self.overdue
    }

    /// Whether a client could begin.
    pub fn any_idle(&self) -> bool {
        !(self.fresh.is_empty() && self.leased.is_empty())
    }

    /// The client that has been idle for longest begins an exchange, `lateness_ns` after it should have: one with a lease if
    /// the exchange needs it, otherwise one without, and if there is none, another. One that has no lease begins with
    /// DISCOVER. Returns its first message too.
    pub fn begin(&mut self, exchange: Exchange, now_ns: u64, lateness_ns: u64) -> Option<(u32, Message)> {
        let Self { wheel, fresh, leased, .. } = self;
        let index = if exchange.needs_lease() {
            wheel.call_up(leased).or_else(|| wheel.call_up(fresh))
        } else {
            wheel.call_up(fresh).or_else(|| wheel.call_up(leased))
        }?;
        let client = &mut self.table[index as usize];
        let (exchange, phase) = match exchange {
            Exchange::Discover | Exchange::Decline => (exchange, Phase::Selecting),
            _ if !exchange.needs_lease() || !client.holds_lease((now_ns / 1_000_000_000) as u32) => {
                (Exchange::Dora, Phase::Selecting)
            }
            Exchange::Renew => (exchange, Phase::Renewing),
            Exchange::Rebind => (exchange, Phase::Rebinding),
            Exchange::Release => (exchange, Phase::Releasing),
            _ => (exchange, Phase::Rebooting),
        };
        client.round = client.round.wrapping_add(1).max(1);
        client.lateness_us = u32::try_from(lateness_ns / 1000).unwrap_or(u32::MAX);
        client.secs = 0;
        client.exchange = exchange;
        client.wanted = client.address;
        client.flags &= !RETRANSMITTED;
        self.send(index, phase, now_ns);
        let message = self.table[index as usize].outstanding()?;
        Some((index, message))
    }

    /// A client takes an offer and asks for its address.
    pub fn request(&mut self, index: u32, now_ns: u64, address: u32, server_id: u32) {
        let client = &mut self.table[index as usize];
        client.wanted = address;
        client.server_id = server_id;
        self.send(index, Phase::Requesting, now_ns);
    }

    /// A client has its lease, from this server. Returns whether it is its first.
    pub fn bind(&mut self, index: u32, address: u32, server_id: u32, lease_end_s: u32) -> bool {
        let client = &mut self.table[index as usize];
        let first = client.address == 0;
        client.address = address;
        client.server_id = server_id;
        client.lease_end_s = lease_end_s;
        self.end(index, Phase::Bound);
        first
    }

    /// A client has had its offer.
    pub fn offered(&mut self, index: u32, server_id: u32) {
        self.table[index as usize].server_id = server_id;
        self.end(index, Phase::Offered);
    }

    /// A client with a lease is to send RELEASE or DECLINE, which nobody answers.
    pub fn depart(&mut self, index: u32, phase: Phase, now_ns: u64) {
        let client = &mut self.table[index as usize];
        client.round = client.round.wrapping_add(1).max(1);
        client.wanted = client.address;
        client.secs = 0;
        client.flags &= !RETRANSMITTED;
        self.send(index, phase, now_ns);
    }

    /// A client has no lease any more.
    pub fn forget(&mut self, index: u32) {
        self.table[index as usize].address = 0;
        self.end(index, Phase::Idle);
    }

    /// A client gives up or was refused, and will begin anew in its turn, with DISCOVER.
    pub fn fail(&mut self, index: u32) {
        self.end(index, Phase::Idle);
        self.wheel.line_up(&mut self.fresh, index);
    }

    /// A client whose lease was refused, or confirmed by nobody, is to send DISCOVER at once (RFC 2131 3.2 and 4.4.5).
    pub fn restart(&mut self, index: u32, now_ns: u64) {
        self.end(index, Phase::Idle);
        let client = &mut self.table[index as usize];
        client.round = client.round.wrapping_add(1).max(1);
        client.lateness_us = 0;
        client.secs = 0;
        client.exchange = Exchange::Dora;
        client.flags &= !RETRANSMITTED;
        self.send(index, Phase::Selecting, now_ns);
    }

    /// A client that is done may begin again.
    pub fn again(&mut self, index: u32) {
        let line = if self.table[index as usize].address == 0 { &mut self.fresh } else { &mut self.leased };
        self.wheel.line_up(line, index);
    }

    /// A client keeps its lease for a time, and then [leaves](Expired::Leave).
    pub fn hold(&mut self, index: u32, now_ns: u64, for_ns: u64) {
        self.table[index as usize].sent_at_ns = now_ns.saturating_add(for_ns);
        self.wheel.set(index, now_ns, for_ns);
    }

    /// Marks a client as one that has had what it wants; returns whether that is new.
    pub fn mark_done(&mut self, index: u32) -> bool {
        let client = &mut self.table[index as usize];
        let new = client.flags & DONE == 0;
        client.flags |= DONE;
        new
    }

    /// Forgets who is done and gives up all exchanges: what comes now begins from here. Returns how many hold a lease.
    pub fn settle(&mut self, now_s: u32) -> u32 {
        let mut leased = 0;
        for index in 0..self.names.count() {
            if self.table[index as usize].outstanding().is_some() {
                self.fail(index);
            }
            let client = &mut self.table[index as usize];
            client.flags = 0;
            leased += u32::from(client.holds_lease(now_s));
        }
        leased
    }

    /// The next client whose timer has fired, and what it does. One that gives up is idle then.
    pub fn expire(&mut self, now_ns: u64) -> Option<(u32, Expired)> {
        loop {
            let index = self.wheel.pop(now_ns)?;
            let client = &mut self.table[index as usize];
            let Some(message) = client.outstanding() else {
                let left_ns = client.sent_at_ns.saturating_sub(now_ns);
                if left_ns == 0 {
                    return Some((index, Expired::Leave));
                }
                // Beyond the wheel's horizon: some more of it.
                self.wheel.set(index, now_ns, left_ns);
                continue;
            };
            if message != Message::Discover && client.attempt >= MAX_REQUEST_RETRANSMISSIONS {
                if message == Message::Request {
                    self.fail(index);
                    return Some((index, Expired::Abandon));
                }
                self.restart(index, now_ns);
                return Some((index, Expired::Restart));
            }
            client.attempt = client.attempt.saturating_add(1);
            if client.flags & RETRANSMITTED == 0 {
                client.flags |= RETRANSMITTED;
                self.overdue += 1;
            }
            if message != Message::Request {
                let waited_s = now_ns.saturating_sub(client.sent_at_ns) / 1_000_000_000;
                client.secs = u16::try_from(waited_s).unwrap_or(u16::MAX);
            }
            self.arm(index, now_ns);
            return Some((index, Expired::Retransmit(message)));
        }
    }

    fn send(&mut self, index: u32, phase: Phase, now_ns: u64) {
        let client = &mut self.table[index as usize];
        let waited = client.waits();
        client.phase = phase;
        client.attempt = 0;
        client.sent_at_ns = now_ns;
        if client.waits() {
            self.in_flight += u32::from(!waited);
            self.arm(index, now_ns);
        }
    }

    fn arm(&mut self, index: u32, now_ns: u64) {
        let Client { round, attempt, .. } = self.table[index as usize];
        self.wheel.set(index, now_ns, self.backoff.delay_ns(&self.names, index, round, attempt));
    }

    fn end(&mut self, index: u32, phase: Phase) {
        self.wheel.cancel(index);
        let client = &mut self.table[index as usize];
        if client.waits() {
            self.in_flight -= 1;
            self.overdue -= u32::from(client.flags & RETRANSMITTED != 0);
        }
        client.phase = phase;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn clients(count: u32) -> Clients {
        Clients::new(Identities::new(1, count), Backoff::new(1.0), 0)
    }

    /// Times, in seconds, at which the only client's timer fires, and what it does then.
    fn firings(clients: &mut Clients, from_s: u64, to_s: u64) -> Vec<(u64, Expired)> {
        let mut fired = Vec::new();
        for tenth in from_s * 10..to_s * 10 {
            while let Some((_, what)) = clients.expire(tenth * SECOND / 10) {
                fired.push((tenth / 10, what));
            }
        }
        fired
    }

    #[test]
    fn a_discover_is_sent_again_with_the_back_off_of_rfc_2131_for_ever() {
        let mut clients = clients(1);
        clients.begin(Exchange::Dora, 0, 0);
        let fired = firings(&mut clients, 0, 400);
        assert!(fired.iter().all(|(_, what)| *what == Expired::Retransmit(Message::Discover)));
        let gaps: Vec<u64> = fired.iter().scan(0, |last, (at, _)| Some(at - std::mem::replace(last, *at))).collect();
        for (gap, expected) in gaps.iter().zip([4, 8, 16, 32, 64, 64, 64]) {
            assert!(gap.abs_diff(expected) <= 2, "{gaps:?}");
        }
        assert!(gaps.len() >= 7);
        assert!(clients.get(0).secs >= 300);
    }

    #[test]
    fn a_request_is_given_up_after_four_retransmissions_and_the_client_begins_anew() {
        let mut clients = clients(1);
        clients.begin(Exchange::Dora, 0, 0);
        let first = clients.get(0).round;
        clients.request(0, 0, 5, 6);
        let fired = firings(&mut clients, 0, 200);
        let retransmissions = vec![Expired::Retransmit(Message::Request); 4];
        assert_eq!(fired.iter().map(|f| f.1).collect::<Vec<_>>(), [retransmissions, vec![Expired::Abandon]].concat());
        assert_eq!((clients.in_flight(), clients.in_window()), (0, 0));
        assert_eq!(clients.begin(Exchange::Dora, 200 * SECOND, 0), Some((0, Message::Discover)));
        assert_ne!(clients.get(0).round, first);
    }

    #[test]
    fn a_client_that_had_to_send_again_leaves_the_window_but_stays_in_flight() {
        let mut clients = clients(2);
        clients.begin(Exchange::Dora, 0, 0);
        clients.begin(Exchange::Dora, 4 * SECOND, 0);
        firings(&mut clients, 0, 6);
        assert_eq!((clients.in_flight(), clients.in_window()), (2, 1));
        clients.offered(0, 1);
        assert_eq!((clients.in_flight(), clients.in_window()), (1, 1));
        assert!(clients.bind(1, 9, 1, 100));
        assert_eq!((clients.in_flight(), clients.in_window()), (0, 0));
    }

    #[test]
    fn an_answer_stops_the_timer() {
        let mut clients = clients(1);
        clients.begin(Exchange::Dora, 0, 0);
        clients.request(0, SECOND, 5, 6);
        clients.bind(0, 5, 6, 100);
        assert_eq!(firings(&mut clients, 0, 300), []);
    }

    #[test]
    fn what_needs_a_lease_is_done_by_those_who_have_one_and_others_take_one_first() {
        let mut clients = clients(2);
        assert_eq!(clients.begin(Exchange::Renew, 0, 0), Some((0, Message::Discover)));
        clients.request(0, 0, 5, 6);
        clients.bind(0, 5, 6, 100);
        clients.again(0);
        assert_eq!(clients.begin(Exchange::Renew, SECOND, 0), Some((0, Message::Renew)));
        assert_eq!(clients.get(0).wanted, 5);
        clients.bind(0, 5, 6, 200);
        clients.again(0);
        assert_eq!(clients.begin(Exchange::InitReboot, 300 * SECOND, 0), Some((0, Message::Discover)), "it has ended");
    }

    #[test]
    fn a_release_waits_for_nothing_and_the_client_is_as_new() {
        let mut clients = clients(1);
        clients.begin(Exchange::Dora, 0, 0);
        clients.bind(0, 5, 6, 100);
        clients.again(0);
        assert_eq!(clients.begin(Exchange::Release, SECOND, 0), Some((0, Message::Release)));
        assert_eq!(clients.in_flight(), 0);
        clients.forget(0);
        clients.again(0);
        assert_eq!(clients.begin(Exchange::Renew, SECOND, 0), Some((0, Message::Discover)));
        assert_eq!(clients.in_flight(), 1);
    }

    #[test]
    fn a_lease_is_held_for_as_long_as_asked_also_beyond_the_wheels_horizon() {
        let mut clients = clients(1);
        clients.begin(Exchange::Dora, 0, 0);
        clients.bind(0, 5, 6, 1000);
        clients.hold(0, SECOND, 300 * SECOND);
        assert_eq!(firings(&mut clients, 0, 400), [(301, Expired::Leave)]);
    }

    #[test]
    fn settling_gives_up_what_is_open() {
        let mut clients = clients(3);
        clients.begin(Exchange::Dora, 0, 0);
        clients.begin(Exchange::Dora, 0, 0);
        clients.bind(0, 5, 6, 1000);
        clients.again(0);
        assert_eq!(clients.settle(1), 1);
        assert_eq!(clients.in_flight(), 0);
        assert_eq!(firings(&mut clients, 0, 300), []);
        assert_eq!(clients.begin(Exchange::Renew, SECOND, 0), Some((0, Message::Renew)));
        assert_eq!(clients.begin(Exchange::Dora, SECOND, 0), Some((2, Message::Discover)));
        assert_eq!(clients.begin(Exchange::Dora, SECOND, 0), Some((1, Message::Discover)));
    }
}
