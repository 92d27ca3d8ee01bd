//! A timer wheel: one timer a client, set and cancelled in constant time, no memory after the start.
//!
//! Doubly linked lists in one array, one list a tick. Eight bytes a client. A timer fires in the tick after its deadline,
//! never before it, as long as its delay is within the wheel's horizon.

/// Slots of the wheel: with a tick of a millisecond, 131 s, twice the longest wait of RFC 2131.
const SLOTS: u32 = 1 << 17;
/// No neighbour.
const NONE: u32 = u32::MAX;
/// In `prev`: the neighbour is the slot itself, its number in the other bits.
const SLOT: u32 = 1 << 31;

#[derive(Clone, Copy)]
struct Link {
    /// The client before, or `SLOT | slot`; [`NONE`] when no timer is set.
    prev: u32,
    /// The client after, or [`NONE`].
    next: u32,
}

/// Bytes that the wheel takes for each client.
pub const BYTES_A_CLIENT: usize = size_of::<Link>();

/// A first-come-first-served line of clients that have no timer, kept in the wheel's own links: it takes no memory.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    first: u32,
    last: u32,
}

impl Line {
    /// Nobody.
    pub const EMPTY: Line = Line { first: NONE, last: NONE };

    /// Whether nobody is in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first == NONE
    }
}

/// One timer for each of a fixed number of clients; or, for those without, a place in a [`Line`].
pub struct Wheel {
    heads: Box<[u32]>,
    links: Box<[Link]>,
    /// A tick is two to the power of this, in nanoseconds.
    tick_shift: u32,
    /// The tick whose slot is next to be emptied.
    cursor: u64,
}

impl Wheel {
    /// A wheel that stands at time 0, with a tick of `tick_ns` or the next power of two above: to divide by it is to shift.
    pub fn new(clients: u32, tick_ns: u64) -> Self {
        Self {
            heads: vec![NONE; SLOTS as usize].into(),
            links: vec![Link { prev: NONE, next: NONE }; clients as usize].into(),
            tick_shift: tick_ns.max(1).next_power_of_two().trailing_zeros(),
            cursor: 0,
        }
    }

    /// All clients in the order of their numbers, none of whom has a timer or stands elsewhere.
    pub fn line_up_all(&mut self) -> Line {
        let count = self.links.len() as u32;
        for (next, link) in (1..).zip(self.links.iter_mut()) {
            *link = Link { prev: NONE, next: if next < count { next } else { NONE } };
        }
        if count == 0 { Line::EMPTY } else { Line { first: 0, last: count - 1 } }
    }

    /// A client without a timer goes to the end of a line. It must not stand in another.
    #[inline]
    pub fn line_up(&mut self, line: &mut Line, client: u32) {
        debug_assert_eq!(self.links[client as usize].prev, NONE, "it has a timer");
        self.links[client as usize].next = NONE;
        if line.is_empty() {
            line.first = client;
        } else {
            self.links[line.last as usize].next = client;
        }
        line.last = client;
    }

    /// The first client of a line, who leaves it.
    #[inline]
    pub fn call_up(&mut self, line: &mut Line) -> Option<u32> {
        if line.is_empty() {
            return None;
        }
        let client = line.first;
        line.first = self.links[client as usize].next;
        self.links[client as usize].next = NONE;
        Some(client)
    }

    /// The longest delay that is kept; a longer one is cut.
    pub fn horizon_ns(&self) -> u64 {
        (u64::from(SLOTS) - 2) << self.tick_shift
    }

    /// Sets a client's timer, in place of the one that it may have.
    #[inline]
    pub fn set(&mut self, client: u32, now_ns: u64, delay_ns: u64) {
        self.cancel(client);
        let due_ns = now_ns.saturating_add(delay_ns);
        let due = (due_ns >> self.tick_shift) + u64::from(due_ns & ((1 << self.tick_shift) - 1) != 0);
        let due = due.clamp(self.cursor, self.cursor + u64::from(SLOTS) - 1);
        let slot = (due % u64::from(SLOTS)) as u32;
        let first = self.heads[slot as usize];
        self.links[client as usize] = Link { prev: SLOT | slot, next: first };
        if first != NONE {
            self.links[first as usize].prev = client;
        }
        self.heads[slot as usize] = client;
    }

    /// Removes a client's timer, if it has one.
    #[inline]
    pub fn cancel(&mut self, client: u32) {
        let Link { prev, next } = self.links[client as usize];
        if prev == NONE {
            return;
        }
        if prev & SLOT != 0 {
            self.heads[(prev & !SLOT) as usize] = next;
        } else {
            self.links[prev as usize].next = next;
        }
        if next != NONE {
            self.links[next as usize].prev = prev;
        }
        self.links[client as usize] = Link { prev: NONE, next: NONE };
    }

    /// Takes one timer that is due, or `None` when there is none up to now.
    pub fn pop(&mut self, now_ns: u64) -> Option<u32> {
        let now = now_ns >> self.tick_shift;
        while self.cursor <= now {
            let first = self.heads[(self.cursor % u64::from(SLOTS)) as usize];
            if first != NONE {
                self.cancel(first);
                return Some(first);
            }
            self.cursor += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_timer_fires_once_and_not_before_its_time() {
        let mut wheel = Wheel::new(2, 1_000);
        wheel.set(1, 500, 10_000);
        assert_eq!(wheel.pop(10_400), None);
        assert_eq!(wheel.pop(11_600), Some(1));
        assert_eq!(wheel.pop(1_000_000), None);
    }

    #[test]
    fn setting_again_moves_the_timer_also_to_an_earlier_time() {
        let mut wheel = Wheel::new(1, 1_000);
        wheel.set(0, 0, 64_000);
        wheel.set(0, 0, 4_000);
        assert_eq!(wheel.pop(4_096), Some(0));
        assert_eq!(wheel.pop(100_000), None);
    }

    #[test]
    fn a_line_serves_first_who_came_first() {
        let mut wheel = Wheel::new(4, 1_000);
        let mut line = wheel.line_up_all();
        let mut other = Line::EMPTY;
        assert_eq!((wheel.call_up(&mut line), wheel.call_up(&mut line)), (Some(0), Some(1)));
        wheel.line_up(&mut other, 1);
        wheel.line_up(&mut line, 0);
        assert_eq!(wheel.call_up(&mut other), Some(1));
        wheel.set(1, 0, 5_000);
        let rest: Vec<u32> = std::iter::from_fn(|| wheel.call_up(&mut line)).collect();
        assert_eq!(rest, [2, 3, 0]);
        assert_eq!(wheel.pop(5_120), Some(1), "a timer goes its own way");
        assert!(other.is_empty() && wheel.call_up(&mut other).is_none());
    }

    proptest! {
        #[test]
        fn it_does_what_a_sorted_map_does(
            steps in proptest::collection::vec((0u32..8, 0u64..300_000, 0u8..4), 1..200)
        ) {
            let mut wheel = Wheel::new(8, 1_000);
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let (mut now, mut next_tick) = (0u64, 0u64);
            for (client, amount, what) in steps {
                match what {
                    0 => { wheel.cancel(client); model.remove(&client); }
                    1 => now += amount,
                    _ => {
                        wheel.set(client, now, amount);
                        model.insert(client, (now + amount).div_ceil(1_024).max(next_tick));
                    }
                }
                let mut fired = Vec::new();
                while let Some(client) = wheel.pop(now) { fired.push(client); }
                fired.sort_unstable();
                let expected: Vec<u32> =
                    model.iter().filter(|(_, due)| **due <= now / 1_024).map(|(c, _)| *c).collect();
                prop_assert_eq!(&fired, &expected);
                next_tick = now / 1_024 + 1;
                model.retain(|c, _| !expected.contains(c));
            }
        }
    }
}
