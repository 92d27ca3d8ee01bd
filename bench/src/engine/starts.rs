//! What begins when: clients' exchanges and attacks.

use super::*;

impl Engine<'_> {
    /// Begins exchanges that are due, a batch at most.
    pub(super) fn begin(&mut self, now: u64) -> bool {
        let mut begun = 0;
        while begun < BATCH && self.outbox.len() + BATCH <= OUTBOX {
            let Some(lateness_ns) = self.due(now) else { break };
            begun += 1;
            let exchange = self.draw();
            if exchange.is_hostile() {
                self.attack(exchange);
            } else if let Some((index, message)) = self.clients.begin(exchange, now, lateness_ns) {
                self.starts += 1;
                self.measures.counters.started += 1;
                self.measures.lateness.saturating_record(lateness_ns);
                self.post(index, message);
            } else if self.plan.once {
                // All are under way. One that fails begins anew when it is idle.
                break;
            } else {
                self.starts += 1;
                self.measures.counters.no_idle_client += 1;
            }
        }
        begun > 0
    }

    /// Whether an exchange is to begin now, and how late that is.
    fn due(&self, now: u64) -> Option<u64> {
        let window_is_open = |window| self.clients.in_window() < window && self.clients.any_idle();
        match (self.stage, &self.plan.pace) {
            (Stage::Preparing, _) => {
                let again = self.measures.counters.abandoned + self.measures.counters.naks;
                let all = self.starts >= u64::from(self.plan.prepared()) + again;
                (!all && window_is_open(PREPARE_WINDOW)).then_some(0)
            }
            (Stage::Drain, _) if !self.comes_back() => None,
            (Stage::Drain, pace) if self.starts < u64::from(self.names.count()) => {
                Some(now.saturating_sub(self.epoch_ns + pace.due_ns(self.starts)))
            }
            (Stage::Drain, _) => Some(0),
            (Stage::Load, Pace::Closed { window }) => window_is_open(*window).then_some(0),
            // A client that begins anew after a failure has no place in the schedule.
            (Stage::Load, _) if self.plan.once && self.starts >= u64::from(self.names.count()) => {
                self.clients.any_idle().then_some(0)
            }
            (Stage::Load, pace) => now.checked_sub(self.epoch_ns + pace.due_ns(self.starts)),
        }
    }

    /// Whether a client is to begin although the load is over: where each is to be served once, one that failed, or, along a
    /// curve, one whose time came while this program was not given a processor.
    pub(super) fn comes_back(&self) -> bool {
        let all_were_due = matches!(self.plan.pace, Pace::Curve(_)) || self.starts >= u64::from(self.names.count());
        self.plan.once && all_were_due && self.clients.any_idle()
    }

    /// What begins next.
    #[inline]
    fn draw(&self) -> Exchange {
        if self.stage == Stage::Preparing {
            return Exchange::Dora;
        }
        let mix = &self.plan.scenario.mix;
        mix.single().unwrap_or_else(|| mix.draw(self.names.chance_of(self.starts, 0)))
    }

    /// An attacker sends.
    fn attack(&mut self, exchange: Exchange) {
        self.starts += 1;
        self.attacks = self.attacks.wrapping_add(1);
        let n = self.attacks;
        let attack = match exchange {
            Exchange::Garbage => Attack::Garbage { n },
            Exchange::Starvation => Attack::Discover { n },
            _ => {
                let victim = self.names.chance_of(n.into(), 1) % self.names.count();
                let client = self.clients.get(victim);
                if client.address == 0 {
                    return;
                }
                let messages = [Message::Release, Message::Decline, Message::Reboot];
                let message = messages[self.names.chance_of(n.into(), 2) as usize % messages.len()];
                Attack::Spoof { n, message, address: client.address, server_id: client.server_id }
            }
        };
        self.outbox.push_back(Letter::Attack(attack));
    }
}
