//! What each address was last, so that a change of it can be told from the one before: a record of the journal says what is, an
//! event says what happened.
//!
//! 28 bytes an address, in blocks of 256 that are made when one of them has its first record. All of it follows from the journal
//! up to a position and the time up to which expiries were told: a restart makes it anew, and no event comes twice.

use std::{collections::HashMap, hash::Hasher as _};

use siphasher::sip::SipHasher13;

use super::{Event, EventKind};
use crate::lease::{Binding, BindingState, HwAddress, SpacedAddress, is_current};

/// Addresses of a block.
const BLOCK: usize = 256;
/// Former generations of which it is known whether they came.
const SEEN: u32 = 8;

/// A lease that goes on is told so often, spread over the addresses: a long one leaves a trace in every day's history.
pub(super) const RETOLD_EVERY_S: u32 = 24 * 3600;

#[derive(Clone, Copy, Debug)]
struct Entry {
    generation: u32,
    started_s: u32,
    expires_s: u32,
    /// Of all that is known of its client, in two halves: eight bytes that want no alignment of eight.
    client: [u32; 2],
    mac: [u8; 6],
    /// As [`BindingState`]; 0: no record came yet.
    state: u8,
    /// Bit n: generation less n + 1 came as well.
    seen: u8,
}

const _: () = assert!(size_of::<Entry>() == 28, "as the module says");

const NONE: Entry = Entry { generation: 0, started_s: 0, expires_s: 0, client: [0; 2], mac: [0; 6], state: 0, seen: 0 };
/// A binding whose end was told.
const ENDED: u8 = BindingState::Expired as u8;
const BOUND: u8 = BindingState::Bound as u8;

struct Block {
    entries: Box<[Entry; BLOCK]>,
    /// Nothing in it expires before.
    earliest_s: u32,
}

/// See the module.
#[derive(Default)]
pub(super) struct Tracker {
    blocks: HashMap<u64, Block>,
}

/// An address as a number, its address space included.
fn number(binding: &Binding) -> u64 {
    binding.at().number()
}

/// The other way round: what a binding is of.
fn unnumbered(number: u64) -> Binding {
    let SpacedAddress { space, address } = SpacedAddress::of_number(number);
    Binding {
        space,
        address,
        state: BindingState::Expired,
        generation: 0,
        started_s: 0,
        expires_s: 0,
        hw: HwAddress::default(),
        client_id: Default::default(),
        limits: Default::default(),
        agent_info: Default::default(),
    }
}

/// All that is known of a client: when it differs, the address has changed hands or is used from elsewhere.
fn client(binding: &Binding) -> [u32; 2] {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write_u8(binding.hw.htype);
    hasher.write_u8(binding.hw.hlen);
    hasher.write(binding.hw.bytes());
    hasher.write_usize(binding.client_id.len());
    hasher.write(&binding.client_id);
    hasher.write(&binding.agent_info);
    let hash = hasher.finish();
    [hash as u32, (hash >> 32) as u32]
}

fn mac(hw: &HwAddress) -> [u8; 6] {
    match (hw.htype, hw.bytes().first_chunk()) {
        (1, Some(mac)) if hw.hlen == 6 => *mac,
        _ => [0; 6],
    }
}

impl Entry {
    fn of(binding: &Binding, before: &Entry) -> Self {
        let ahead = binding.generation.wrapping_sub(before.generation);
        let seen = match (before.state, ahead) {
            (0, _) => 0,
            // Those in between, and the former one.
            (_, 1..=SEEN) => ((u32::from(before.seen) << ahead) | 1 << (ahead - 1)) as u8,
            _ => 0,
        };
        let Binding { generation, started_s, expires_s, hw, state, .. } = binding;
        Self {
            generation: *generation,
            started_s: *started_s,
            expires_s: *expires_s,
            client: client(binding),
            mac: mac(hw),
            state: *state as u8,
            seen,
        }
    }

    /// Marks a former generation; whether it had come.
    fn saw(&mut self, generation: u32) -> bool {
        let behind = self.generation.wrapping_sub(generation);
        if behind == 0 || behind > SEEN {
            return true;
        }
        let bit = 1 << (behind - 1);
        let had = self.seen & bit != 0;
        self.seen |= bit;
        had
    }

    fn is_over(&self, at_s: u32) -> bool {
        self.state == BOUND && self.expires_s != u32::MAX && self.expires_s <= at_s
    }

    /// The end of a binding's time, as far as it is known whose it was.
    fn expired(&self, number: u64) -> Event {
        let mut binding = unnumbered(number);
        if self.mac != [0; 6] {
            binding.hw.htype = 1;
            binding.hw.hlen = 6;
            binding.hw.chaddr[..6].copy_from_slice(&self.mac);
        }
        binding.generation = self.generation;
        (binding.started_s, binding.expires_s) = (self.started_s, self.expires_s);
        Event { kind: EventKind::Expired, at_s: self.expires_s, is_news: true, binding }
    }
}

impl Tracker {
    fn entry(&mut self, number: u64) -> (&mut Entry, &mut u32) {
        let made = || Block { entries: Box::new([NONE; BLOCK]), earliest_s: u32::MAX };
        let block = self.blocks.entry(number / BLOCK as u64).or_insert_with(made);
        (&mut block.entries[(number % BLOCK as u64) as usize], &mut block.earliest_s)
    }

    /// Puts back what came before the place where events go on. Bindings that ended by `ended_s` were told of.
    pub fn restore(&mut self, binding: &Binding, ended_s: u32) {
        let (entry, earliest_s) = self.entry(number(binding));
        if entry.state != 0 && !is_current(binding.generation, entry.generation) {
            entry.saw(binding.generation);
            return;
        }
        if entry.state != 0 && entry.generation == binding.generation {
            return;
        }
        *entry = Entry::of(binding, entry);
        if entry.is_over(ended_s) {
            entry.state = ENDED;
        } else if entry.state == BOUND {
            *earliest_s = (*earliest_s).min(entry.expires_s);
        }
    }

    /// What a change of the journal means. `each` gets at most two events.
    pub fn take(&mut self, binding: Binding, mut each: impl FnMut(Event)) {
        let number = number(&binding);
        let (entry, earliest_s) = self.entry(number);
        let at_s = binding.started_s;
        let kind = match binding.state {
            BindingState::Bound => EventKind::Bound,
            BindingState::Released => EventKind::Released,
            BindingState::Declined => EventKind::Declined,
            BindingState::Expired => EventKind::Expired,
            // Never journaled.
            BindingState::Free | BindingState::Offered => return,
        };
        let event = |kind, is_news, binding| Event { kind, at_s, is_news, binding };
        if entry.state == 0 {
            *entry = Entry::of(&binding, &NONE);
            if entry.state == BOUND {
                *earliest_s = (*earliest_s).min(entry.expires_s);
            }
            match kind {
                // Of an address's first record nothing is missing.
                _ if binding.generation == 1 => each(event(kind, true, binding)),
                // It goes on; since when, nobody knows.
                EventKind::Bound => each(event(EventKind::Renewed, true, binding)),
                // What ended before anybody looked.
                _ => {}
            }
            return;
        }
        if binding.generation == entry.generation {
            // Recorded once more: it was not known to be durable.
            return;
        }
        if !is_current(binding.generation, entry.generation) {
            // Two workers' records may come the wrong way round.
            if !entry.saw(binding.generation) {
                each(event(kind, true, binding));
            }
            return;
        }
        let before = *entry;
        *entry = Entry::of(&binding, &before);
        if entry.state == BOUND {
            *earliest_s = (*earliest_s).min(entry.expires_s);
        }
        if before.is_over(at_s) {
            each(before.expired(number));
        }
        let goes_on = before.state == BOUND && !before.is_over(at_s);
        if kind == EventKind::Bound && goes_on && (before.client == entry.client || before.mac == entry.mac) {
            let day = |at_s: u32| {
                (u64::from(at_s) + number.wrapping_mul(2_654_435_761) % u64::from(RETOLD_EVERY_S))
                    / u64::from(RETOLD_EVERY_S)
            };
            let is_news = before.client != entry.client || day(before.started_s) != day(at_s);
            each(event(EventKind::Renewed, is_news, binding));
        } else {
            each(event(kind, true, binding));
        }
    }

    /// The bindings whose time was over by `at_s` and that were not told of.
    pub fn expire(&mut self, at_s: u32, mut each: impl FnMut(Event)) {
        for (block_number, block) in &mut self.blocks {
            if block.earliest_s > at_s {
                continue;
            }
            let mut earliest_s = u32::MAX;
            for (at, entry) in block.entries.iter_mut().enumerate() {
                if entry.is_over(at_s) {
                    entry.state = ENDED;
                    each(entry.expired(block_number * BLOCK as u64 + at as u64));
                } else if entry.state == BOUND {
                    earliest_s = earliest_s.min(entry.expires_s);
                }
            }
            block.earliest_s = earliest_s;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(generation: u32, state: BindingState, started_s: u32, expires_s: u32, mac: u8) -> Binding {
        let mut binding = unnumbered(0xc000_0207);
        binding.hw = HwAddress { htype: 1, hlen: 6, ..HwAddress::default() };
        binding.hw.chaddr[0] = mac;
        Binding { generation, state, started_s, expires_s, ..binding }
    }

    fn take(tracker: &mut Tracker, binding: Binding) -> Vec<(&'static str, u32, bool)> {
        let mut events = Vec::new();
        tracker.take(binding, |event| events.push((event.kind.name(), event.at_s, event.is_news)));
        events
    }

    use BindingState::{Bound, Declined, Released};

    #[test]
    fn a_lease_is_bound_renewed_and_released() {
        let mut tracker = Tracker::default();
        assert_eq!(take(&mut tracker, binding(1, Bound, 9000, 9900, 1)), [("bound", 9000, true)]);
        assert_eq!(take(&mut tracker, binding(2, Bound, 9500, 9990, 1)), [("renewed", 9500, false)]);
        assert_eq!(take(&mut tracker, binding(3, Released, 9600, 9600, 1)), [("released", 9600, true)]);
        assert_eq!(take(&mut tracker, binding(4, Bound, 9700, 9990, 1)), [("bound", 9700, true)]);
    }

    #[test]
    fn a_record_that_comes_once_more_is_no_event() {
        let mut tracker = Tracker::default();
        take(&mut tracker, binding(1, Bound, 1000, 2000, 1));
        assert_eq!(take(&mut tracker, binding(1, Bound, 1000, 2000, 1)), []);
        take(&mut tracker, binding(2, Released, 1100, 1100, 1));
        assert_eq!(take(&mut tracker, binding(1, Bound, 1000, 2000, 1)), []);
    }

    #[test]
    fn records_of_two_workers_the_wrong_way_round_are_both_events_and_once() {
        let mut tracker = Tracker::default();
        take(&mut tracker, binding(1, Bound, 1000, 2000, 1));
        assert_eq!(take(&mut tracker, binding(3, Bound, 1100, 2100, 2)), [("bound", 1100, true)]);
        assert_eq!(take(&mut tracker, binding(2, Released, 1099, 1099, 1)), [("released", 1099, true)]);
        assert_eq!(take(&mut tracker, binding(2, Released, 1099, 1099, 1)), []);
        // The address is the second client's.
        let mut ends = Vec::new();
        tracker.expire(3000, |event| ends.push((event.at_s, event.binding.hw.chaddr[0])));
        assert_eq!(ends, [(2100, 2)]);
    }

    #[test]
    fn a_time_that_ran_out_is_told_once_with_whose_it_was_also_when_the_next_one_comes_first() {
        let mut tracker = Tracker::default();
        take(&mut tracker, binding(1, Bound, 1000, 2000, 7));
        let mut expired = Vec::new();
        tracker.expire(1999, |event| expired.push(event));
        assert!(expired.is_empty());
        tracker.expire(2000, |event| expired.push(event));
        tracker.expire(9000, |event| expired.push(event));
        let [event] = &expired[..] else { panic!("{expired:?}") };
        assert_eq!((event.at_s, event.binding.hw.bytes()), (2000, &[7, 0, 0, 0, 0, 0][..]));
        assert_eq!(event.binding.address.to_string(), "192.0.2.7");
        assert_eq!(take(&mut tracker, binding(2, Bound, 9000, 9900, 7)), [("bound", 9000, true)]);
        assert_eq!(
            take(&mut tracker, binding(3, Bound, 9950, 9999, 8)),
            [("expired", 9900, true), ("bound", 9950, true)]
        );
    }

    #[test]
    fn a_lease_that_goes_on_is_told_once_a_day() {
        let mut tracker = Tracker::default();
        take(&mut tracker, binding(1, Bound, 1_000_000, 1_004_000, 1));
        let mut news = 0;
        for generation in 2..=1 + 24 * 2 * 10 {
            let at_s = 1_000_000 + generation * 1800;
            let events = take(&mut tracker, binding(generation, Bound, at_s, at_s + 4000, 1));
            assert_eq!(events.len(), 1);
            news += u32::from(events[0].2);
        }
        assert_eq!(news, 10, "ten days");
    }

    #[test]
    fn a_renewal_that_says_something_new_of_its_client_is_told() {
        let mut tracker = Tracker::default();
        take(&mut tracker, binding(1, Bound, 1000, 2000, 1));
        let mut changed = binding(2, Bound, 1010, 2010, 1);
        changed.client_id.push(9);
        assert_eq!(take(&mut tracker, changed.clone()), [("renewed", 1010, true)]);
        let mut elsewhere = Binding { generation: 3, started_s: 1020, ..changed };
        elsewhere.agent_info.extend([1, 1, b'c']);
        assert_eq!(take(&mut tracker, elsewhere), [("renewed", 1020, true)]);
    }

    #[test]
    fn what_is_first_seen_in_the_middle_of_its_life_goes_on_or_is_over() {
        let mut tracker = Tracker::default();
        assert_eq!(take(&mut tracker, binding(9, Bound, 1000, 2000, 1)), [("renewed", 1000, true)]);
        assert_eq!(take(&mut Tracker::default(), binding(9, Released, 1000, 1000, 1)), []);
        assert_eq!(take(&mut Tracker::default(), binding(1, Declined, 1000, 9000, 1)), [("declined", 1000, true)]);
    }

    #[test]
    fn after_a_restart_it_goes_on_where_it_was() {
        let history = [binding(1, Bound, 1000, 2000, 1), binding(2, Bound, 1500, 2500, 1)];
        let mut tracker = Tracker::default();
        history.iter().for_each(|binding| tracker.restore(binding, 2000));
        assert_eq!(take(&mut tracker, history[1].clone()), []);
        assert_eq!(take(&mut tracker, history[0].clone()), []);
        assert_eq!(take(&mut tracker, binding(3, Released, 1600, 1600, 1)), [("released", 1600, true)]);
        // An end that was told is not told again, and one that was not is.
        let mut told = Tracker::default();
        history.iter().for_each(|binding| told.restore(binding, 2500));
        told.expire(9000, |event| panic!("{event:?}"));
        let mut untold = Tracker::default();
        history.iter().for_each(|binding| untold.restore(binding, 2499));
        let mut ends = 0;
        untold.expire(9000, |_| ends += 1);
        assert_eq!(ends, 1);
    }
}
