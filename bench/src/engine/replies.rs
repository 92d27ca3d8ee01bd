//! What comes in: replies, refusals, and who asks for an address; and what a client does then.

use super::*;

impl Engine<'_> {
    pub(super) fn reply(&mut self, frame: &[u8], now: u64) {
        if let Some(request) = arp::Request::parse(frame) {
            return self.answer_arp(request);
        }
        let now_s = (now / 1_000_000_000) as u32;
        let Self { names, clients, templates, .. } = &*self;
        let verdict = self.judge.judge(frame, Scene { names, clients, templates, now_s });
        let counters = &mut self.measures.counters;
        counters.received += 1;
        match verdict {
            Verdict::Unmatched => return counters.unmatched += 1,
            Verdict::Offer(grant) => self.offer(grant, now),
            Verdict::Ack(grant) => self.ack(grant, now, now_s),
            Verdict::Nak { index } => self.nak(index, now),
            Verdict::Duplicate => counters.duplicates += 1,
            Verdict::Late => counters.late += 1,
            Verdict::OtherServer => counters.other_server += 1,
            Verdict::OtherPath => counters.other_path += 1,
            Verdict::Foreign { .. } => self.attacked(verdict, now_s),
            Verdict::Violation(violation, evidence) => self.measures.violation(violation, evidence),
        }
        self.heard = Heard { at_ns: now, sent_since: 0, ever: true };
    }

    fn offer(&mut self, grant: Grant, now: u64) {
        let Grant { index, address, server_id, server_mac, .. } = grant;
        self.measures.counters.offers += 1;
        self.measures.counters.checksum_offloaded += u64::from(grant.checksum == Checksum::Offloaded);
        self.answered(index, Message::Discover, now);
        if !self.servers.iter().any(|(known, _)| *known == server_id) {
            let _ = self.servers.try_push((server_id, server_mac));
        }
        if self.clients.get(index).exchange == Exchange::Discover {
            self.clients.offered(index, server_id);
            self.done(index, now);
        } else {
            self.clients.request(index, now, address, server_id);
            self.post(index, Message::Request);
        }
    }

    fn ack(&mut self, grant: Grant, now: u64, now_s: u32) {
        let Grant { index, address, server_id, lease_time_s, .. } = grant;
        let client = *self.clients.get(index);
        self.measures.counters.acks += 1;
        self.measures.counters.checksum_offloaded += u64::from(grant.checksum == Checksum::Offloaded);
        self.answered(index, client.outstanding().unwrap_or(Message::Request), now);
        self.judge.bound(index, client.address, address);
        let first = self.clients.bind(index, address, server_id, now_s.saturating_add(lease_time_s));
        self.measures.counters.clients_bound += u64::from(first);
        if client.exchange == Exchange::Decline && self.stage != Stage::Preparing {
            self.clients.depart(index, Phase::Declining, now);
            self.post(index, Message::Decline);
        } else {
            self.done(index, now);
        }
    }

    fn nak(&mut self, index: u32, now: u64) {
        let client = *self.clients.get(index);
        self.measures.counters.naks += 1;
        self.answered(index, client.outstanding().unwrap_or(Message::Request), now);
        if client.phase != Phase::Requesting {
            // It was about the lease that the client held.
            self.judge.left(index, client.address);
            self.clients.forget(index);
            self.clients.restart(index, now);
            self.post(index, Message::Discover);
        } else {
            self.clients.fail(index);
        }
    }

    fn answered(&mut self, index: u32, message: Message, now: u64) {
        let client = self.clients.get(index);
        // The first message of an exchange is the one that was due.
        let lateness_ns = if message == Message::Request { 0 } else { u64::from(client.lateness_us) * 1000 };
        self.measures.answered(message, now.saturating_sub(client.sent_at_ns), lateness_ns);
    }

    /// An exchange has come to its end.
    fn done(&mut self, index: u32, now: u64) {
        let counters = &mut self.measures.counters;
        if self.stage == Stage::Preparing {
            return self.clients.again(index);
        }
        counters.completed += 1;
        if self.clients.mark_done(index) {
            self.measures.client_done(now - self.epoch_ns);
        }
        match self.plan.scenario.hold {
            Some(hold) if self.clients.get(index).phase == Phase::Bound => {
                let chance = self.names.chance(index, self.clients.get(index).round, u8::MAX);
                let part = f64::from(chance) / f64::from(u32::MAX);
                let seconds = hold.least_s + (hold.most_s - hold.least_s) * part;
                self.clients.hold(index, now, (seconds * 1e9) as u64);
            }
            _ if !self.plan.once => self.clients.again(index),
            _ => {}
        }
    }

    /// A client has held its lease for as long as it wanted.
    pub(super) fn leave(&mut self, index: u32, now: u64) {
        let chance = self.names.chance(index, self.clients.get(index).round, u8::MAX - 1);
        let vanish_percent = self.plan.scenario.hold.map_or(0.0, |hold| hold.vanish_percent);
        if f64::from(chance) / f64::from(u32::MAX) * 100.0 < vanish_percent {
            self.measures.counters.vanished += 1;
            self.clients.fail(index);
        } else {
            self.clients.depart(index, Phase::Releasing, now);
            self.post(index, Message::Release);
        }
    }

    /// A message that has no answer is on its way.
    pub(super) fn departed(&mut self, index: u32, message: Message, now: u64) {
        let client = *self.clients.get(index);
        let farewell = if message == Message::Release {
            &mut self.measures.counters.released
        } else {
            &mut self.measures.counters.declined
        };
        *farewell += 1;
        self.judge.left(index, client.address);
        self.clients.forget(index);
        if self.plan.scenario.hold.is_some() {
            self.clients.again(index);
        } else {
            self.done(index, now);
        }
    }

    /// A reply to an attacker. Who starves the pool takes what it is offered.
    fn attacked(&mut self, verdict: Verdict, now_s: u32) {
        let Verdict::Foreign { message_type, mac, xid, address, server_id, lease_time_s } = verdict else { return };
        let hostile = &mut self.measures.counters.hostile;
        hostile.replies += 1;
        match message_type {
            OFFER => {
                hostile.offers += 1;
                if self.plan.scenario.mix.has(Exchange::Starvation) {
                    self.outbox.push_back(Letter::Attack(Attack::Request { mac, xid, address, server_id }));
                }
            }
            ACK => {
                hostile.acks += 1;
                self.judge.taken_by_foreigner(address, now_s.saturating_add(lease_time_s));
            }
            NAK => hostile.naks += 1,
            _ => {}
        }
    }

    /// Answers for relay agents and for addresses that clients hold.
    fn answer_arp(&mut self, request: arp::Request) {
        let look = &self.plan.look;
        let relayed = look.relay.as_ref().is_some_and(|relay| relay.giaddrs.contains(&request.target));
        let mac = match self.judge.client_at(request.target.into()) {
            Some(index) => look.source_mac.unwrap_or_else(|| self.names.mac(index)),
            None if relayed => look.source_mac.unwrap_or_default(),
            None => return,
        };
        self.measures.counters.arp_answered += 1;
        self.outbox.push_back(Letter::Arp { request, mac });
    }
}
