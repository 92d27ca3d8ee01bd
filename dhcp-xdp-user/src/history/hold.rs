//! From lines to holds: who had an address from when to when.

use serde::{Deserialize, Serialize};

use super::{Line, seconds};
use crate::{control::LeaseView, lease::is_current};

/// One client's time with one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Since when, RFC 3339 in UTC.
    pub from: String,
    /// Whether that is when it was bound; otherwise the client had it before, and it is not known since when.
    pub from_is_known: bool,
    /// Until when; none: no end is in the history.
    pub to: Option<String>,
    /// What ended it: `released`, `expired`, `declined`, `bound` (to another), `renewed` (from elsewhere, or by an address or identifier that
    /// differs), `gap` (events are missing, and it is not known).
    pub ended_by: Option<String>,
    /// The lease as the last line of the hold shows it; its `expires_at` may have been moved on since by renewals that leave no
    /// line.
    #[serde(flatten)]
    pub lease: LeaseView,
    #[serde(skip)]
    generation: u32,
}

impl Hold {
    /// Whether the client had the address at some moment of this span, as far as the history is complete.
    pub fn overlaps(&self, (from_s, to_s): (u32, u32), complete_until_s: u32) -> bool {
        let end_s = match &self.to {
            Some(to) => seconds(to),
            None => self.lease.expires_at.as_deref().map_or(u32::MAX, seconds).max(complete_until_s.saturating_add(1)),
        };
        seconds(&self.from) <= to_s && end_s > from_s
    }
}

/// Makes holds of the lines of one address (and of gaps), in their order.
#[derive(Debug, Default)]
pub(super) struct Holds {
    done: Vec<Hold>,
    current: Option<Hold>,
}

impl Holds {
    fn end(&mut self, at: &str, by: &str) {
        if let Some(hold) = self.current.take() {
            self.done.push(Hold { to: Some(at.to_owned()), ended_by: Some(by.to_owned()), ..hold });
        }
    }

    pub fn gap(&mut self, at: &str) {
        self.end(at, super::GapLine::EVENT);
    }

    pub fn add(&mut self, line: Line) {
        let Line { at, event, generation, lease } = line;
        // Two workers' lines may come the wrong way round: this one is of a former hold.
        if self.current.as_ref().is_some_and(|hold| !is_current(generation, hold.generation)) {
            return;
        }
        let is_bound = event == "bound";
        if !is_bound && event != "renewed" {
            self.end(&at, &event);
            return;
        }
        if let Some(hold) = &mut self.current
            && !is_bound
            && is_same_client(&hold.lease, &lease)
        {
            (hold.lease, hold.generation) = (lease, generation);
            return;
        }
        let goes_on = self.current.is_some();
        self.end(&at, &event);
        let from_is_known = is_bound || goes_on;
        self.current = Some(Hold { from: at, from_is_known, to: None, ended_by: None, lease, generation });
    }

    pub fn finish(mut self) -> Vec<Hold> {
        self.done.extend(self.current);
        self.done
    }
}

/// Whether two leases are alike in all but their time.
fn is_same_client(one: &LeaseView, other: &LeaseView) -> bool {
    let of = |view: &LeaseView| LeaseView {
        state: String::new(),
        started_at: String::new(),
        expires_at: None,
        subnet: None,
        ..view.clone()
    };
    of(one) == of(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::rfc3339;

    const DAY: u32 = 1_800_000_000;

    fn line(at: u32, event: &str, generation: u32, mac: &str) -> Line {
        let lease = LeaseView {
            address: "192.0.2.7".parse().unwrap(),
            hw_address: Some(mac.into()),
            hw_type: 1,
            client_id: None,
            state: event.into(),
            started_at: rfc3339(DAY + at),
            expires_at: Some(rfc3339(DAY + at + 100)),
            subnet: None,
            vrf: None,
            relay_agent_info: None,
            circuit_id: None,
            remote_id: None,
            subscriber_id: None,
            relay_id: None,
        };
        Line { at: rfc3339(DAY + at), event: event.into(), generation, lease }
    }

    /// From, to, what ended it, whose, whether the beginning is known.
    type Told = (u32, Option<u32>, Option<String>, String, bool);

    fn holds(lines: &[Line]) -> Vec<Told> {
        let mut holds = Holds::default();
        lines.iter().for_each(|line| holds.add(line.clone()));
        let of = |text: &String| seconds(text) - DAY;
        let tell = |hold: &Hold| {
            let mac = hold.lease.hw_address.clone().unwrap();
            (of(&hold.from), hold.to.as_ref().map(of), hold.ended_by.clone(), mac, hold.from_is_known)
        };
        holds.finish().iter().map(tell).collect()
    }

    #[test]
    fn a_hold_lasts_from_the_binding_over_renewals_to_its_end() {
        let lines = [
            line(10, "bound", 1, "a"),
            line(60, "renewed", 2, "a"),
            line(160, "expired", 2, "a"),
            line(200, "bound", 3, "b"),
        ];
        let end = Some("expired".to_owned());
        assert_eq!(holds(&lines), [(10, Some(160), end, "a".into(), true), (200, None, None, "b".into(), true)]);
    }

    #[test]
    fn a_renewal_without_a_binding_begins_nobody_knows_when() {
        assert_eq!(holds(&[line(60, "renewed", 9, "a")]), [(60, None, None, "a".into(), false)]);
    }

    #[test]
    fn a_release_that_comes_after_the_next_ones_binding_ends_nothing_of_the_next_one() {
        let lines = [line(10, "bound", 1, "a"), line(20, "bound", 3, "b"), line(20, "released", 2, "a")];
        assert_eq!(
            holds(&lines),
            [(10, Some(20), Some("bound".into()), "a".into(), true), (20, None, None, "b".into(), true)]
        );
    }

    #[test]
    fn a_hold_without_an_end_lasts_as_long_as_its_lease_or_the_history_says() {
        let mut holds = Holds::default();
        holds.add(line(10, "bound", 1, "a"));
        let hold = holds.finish().remove(0);
        let at = |at: u32| (DAY + at, DAY + at);
        assert!(!hold.overlaps(at(9), 0) && hold.overlaps(at(10), 0) && hold.overlaps(at(109), 0));
        assert!(!hold.overlaps(at(110), 0), "the lease is over, and nobody says that it was renewed");
        assert!(hold.overlaps(at(500), DAY + 500), "all until then is in the history, and no end");
        assert!(!hold.overlaps(at(501), DAY + 500));
        assert!(hold.overlaps((DAY, DAY + 10), 0) && !hold.overlaps((DAY, DAY + 9), 0));
    }
}
