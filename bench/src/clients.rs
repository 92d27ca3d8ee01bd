//! The simulated clients: what each remembers, and how it moves from state to state.
//!
//! A client of RFC 2131 4.4 as far as a load needs it. What it remembers fits in 40 bytes; its name is arithmetic
//! ([`Identities`]); with its timer, its place in the queue and the address it holds, a client takes at most
//! [`BYTES_A_CLIENT`] bytes: 800 MB for ten million.

use std::collections::VecDeque;

use crate::{
    identity::Identities,
    schedule::{Backoff, MAX_REQUEST_RETRANSMISSIONS},
    template::Message,
    verdict, wheel,
    wheel::Wheel,
};

/// Most bytes that a client takes, all told: state, timer, place in the queue, address book.
pub const BYTES_A_CLIENT: usize = 80;
const _: () = assert!(
    size_of::<Client>() + wheel::BYTES_A_CLIENT + size_of::<u32>() + verdict::BOOK_BYTES_A_CLIENT <= BYTES_A_CLIENT
);

/// Where a client is in its exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Not in an exchange: never began, gave up, or was refused.
    Idle,
    /// Sent DISCOVER, waits for an OFFER.
    Selecting,
    /// Sent REQUEST, waits for ACK or NAK.
    Requesting,
    /// Has its lease.
    Bound,
    /// Had an OFFER and wants no more.
    Offered,
}

/// What a client remembers.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// When the current message was first sent.
    pub sent_at_ns: u64,
    /// Number of the exchange, from 1; 0 before the first. It gives the transaction identifier.
    pub round: u32,
    /// Address leased to it, or 0.
    pub address: u32,
    /// When that lease ends, in seconds from the begin of the run.
    pub lease_end_s: u32,
    /// Address offered in this exchange.
    pub wanted: u32,
    /// Server whose offer it took.
    pub server_id: u32,
    /// How late the exchange began against the schedule.
    pub lateness_us: u32,
    /// What `secs` says, as of the DISCOVER.
    pub secs: u16,
    /// Where it is.
    pub phase: Phase,
    /// Retransmissions of the current message.
    pub attempt: u8,
    /// Whether any message of this exchange was sent again: a second answer is then no fault of the server.
    pub retransmitted: bool,
}

const _: () = assert!(size_of::<Client>() == 40);

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
        retransmitted: false,
    };

    /// The message that it waits for an answer to.
    pub fn outstanding(&self) -> Option<Message> {
        match self.phase {
            Phase::Selecting => Some(Message::Discover),
            Phase::Requesting => Some(Message::Request),
            Phase::Idle | Phase::Bound | Phase::Offered => None,
        }
    }
}

/// What a client does when its timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// Sends its message again.
    Retransmit(Message),
    /// Gives the exchange up.
    Abandon,
}

/// All clients of a run.
pub struct Clients {
    table: Box<[Client]>,
    idle: VecDeque<u32>,
    wheel: Wheel,
    names: Identities,
    backoff: Backoff,
    in_flight: u32,
    overdue: u32,
}

impl Clients {
    /// Clients that have not begun. All memory that they ever take is taken here.
    pub fn new(names: Identities, backoff: Backoff) -> Self {
        let count = names.count();
        Self {
            table: vec![Client::NEW; count as usize].into(),
            idle: (0..count).collect(),
            wheel: Wheel::new(count, backoff.tick_ns()),
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
        !self.idle.is_empty()
    }

    /// The client that has been idle for longest begins an exchange, `lateness_ns` after it should have.
    pub fn begin(&mut self, now_ns: u64, lateness_ns: u64) -> Option<u32> {
        let index = self.idle.pop_front()?;
        let client = &mut self.table[index as usize];
        client.round = client.round.wrapping_add(1).max(1);
        client.lateness_us = u32::try_from(lateness_ns / 1000).unwrap_or(u32::MAX);
        client.secs = 0;
        client.retransmitted = false;
        self.in_flight += 1;
        self.send(index, Phase::Selecting, now_ns);
        Some(index)
    }

    /// A client takes an offer and asks for its address.
    pub fn request(&mut self, index: u32, now_ns: u64, address: u32, server_id: u32) {
        let client = &mut self.table[index as usize];
        client.wanted = address;
        client.server_id = server_id;
        self.send(index, Phase::Requesting, now_ns);
    }

    /// A client has its lease. Returns whether it is its first.
    pub fn bind(&mut self, index: u32, address: u32, lease_end_s: u32) -> bool {
        let client = &mut self.table[index as usize];
        let first = client.address == 0;
        client.address = address;
        client.lease_end_s = lease_end_s;
        self.end(index, Phase::Bound);
        first
    }

    /// A client has had its offer.
    pub fn offered(&mut self, index: u32, server_id: u32) {
        self.table[index as usize].server_id = server_id;
        self.end(index, Phase::Offered);
    }

    /// A client gives up or was refused, and will begin anew in its turn.
    pub fn fail(&mut self, index: u32) {
        self.end(index, Phase::Idle);
        self.idle.push_back(index);
    }

    /// A client that is done may begin again.
    pub fn again(&mut self, index: u32) {
        self.idle.push_back(index);
    }

    /// The next client whose timer has fired, and what it does. One that gives up is idle then.
    pub fn expire(&mut self, now_ns: u64) -> Option<(u32, Expired)> {
        let index = self.wheel.pop(now_ns)?;
        let client = &mut self.table[index as usize];
        // A timer is only set with a message, and cancelled when its answer comes.
        let message = client.outstanding()?;
        if message == Message::Request && client.attempt >= MAX_REQUEST_RETRANSMISSIONS {
            self.fail(index);
            return Some((index, Expired::Abandon));
        }
        client.attempt = client.attempt.saturating_add(1);
        if !client.retransmitted {
            client.retransmitted = true;
            self.overdue += 1;
        }
        if message == Message::Discover {
            let waited_s = now_ns.saturating_sub(client.sent_at_ns) / 1_000_000_000;
            client.secs = u16::try_from(waited_s).unwrap_or(u16::MAX);
        }
        self.arm(index, now_ns);
        Some((index, Expired::Retransmit(message)))
    }

    fn send(&mut self, index: u32, phase: Phase, now_ns: u64) {
        let client = &mut self.table[index as usize];
        client.phase = phase;
        client.attempt = 0;
        client.sent_at_ns = now_ns;
        self.arm(index, now_ns);
    }

    fn arm(&mut self, index: u32, now_ns: u64) {
        let Client { round, attempt, .. } = self.table[index as usize];
        self.wheel.set(index, now_ns, self.backoff.delay_ns(&self.names, index, round, attempt));
    }

    fn end(&mut self, index: u32, phase: Phase) {
        self.wheel.cancel(index);
        let client = &mut self.table[index as usize];
        if client.outstanding().is_some() {
            self.in_flight -= 1;
            self.overdue -= u32::from(client.retransmitted);
        }
        client.phase = phase;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn clients(count: u32) -> Clients {
        Clients::new(Identities::new(1, count), Backoff::new(1.0))
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
        clients.begin(0, 0);
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
        clients.begin(0, 0);
        let first = clients.get(0).round;
        clients.request(0, 0, 5, 6);
        let fired = firings(&mut clients, 0, 200);
        let retransmissions = vec![Expired::Retransmit(Message::Request); 4];
        assert_eq!(fired.iter().map(|f| f.1).collect::<Vec<_>>(), [retransmissions, vec![Expired::Abandon]].concat());
        assert_eq!((clients.in_flight(), clients.in_window()), (0, 0));
        assert_eq!(clients.begin(200 * SECOND, 0), Some(0));
        assert_ne!(clients.get(0).round, first);
    }

    #[test]
    fn a_client_that_had_to_send_again_leaves_the_window_but_stays_in_flight() {
        let mut clients = clients(2);
        clients.begin(0, 0);
        clients.begin(4 * SECOND, 0);
        firings(&mut clients, 0, 6);
        assert_eq!((clients.in_flight(), clients.in_window()), (2, 1));
        clients.offered(0, 1);
        assert_eq!((clients.in_flight(), clients.in_window()), (1, 1));
        assert!(clients.bind(1, 9, 100));
        assert_eq!((clients.in_flight(), clients.in_window()), (0, 0));
    }

    #[test]
    fn an_answer_stops_the_timer() {
        let mut clients = clients(1);
        clients.begin(0, 0);
        clients.request(0, SECOND, 5, 6);
        clients.bind(0, 5, 100);
        assert_eq!(firings(&mut clients, 0, 300), []);
    }
}
