//! A report for a terminal: a word in ten columns, then figures.

use std::fmt::{Arguments, Write as _};

use super::Report;
use crate::{nic::Counted, scenario::Scenario};

/// Lines of text.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, words: Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{words}");
    }
}

impl Report {
    /// The summary for people.
    pub fn text(&self, scenario: &Scenario) -> String {
        let mut lines = Lines::default();
        if let Some(why) = &self.reason {
            lines.add(format_args!("PARTIAL RESULT after {:.3} s: {why}", self.summary.elapsed_s));
        }
        self.add_rates(scenario, &mut lines);
        self.add_latencies(&mut lines);
        self.add_replies(&mut lines);
        self.add_generator(&mut lines);
        self.add_verdict(scenario, &mut lines);
        lines.0
    }

    fn add_rates(&self, scenario: &Scenario, lines: &mut Lines) {
        let s = &self.summary;
        let (what, rate) = (scenario.aim(), s.completed_per_s);
        lines.add(format_args!(
            "{what:<10} {rate:.0}/s of {:.0}/s offered, for {:.3} s ({} clients, seed {})",
            s.offered_per_s, s.load_s, self.settings.clients, self.seed
        ));
        lines.add(format_args!(
            "messages   {} sent ({:.0}/s), {} received ({:.0}/s), {} lost ({:.3} %), {} sent again",
            s.sent,
            s.sent_per_s,
            s.received,
            s.received_per_s,
            s.lost,
            s.lost_ratio * 100.0,
            s.retransmitted
        ));
        let all = match s.time_to_all_done_s {
            Some(seconds) => format!("all after {seconds:.3} s"),
            None => "not all".into(),
        };
        lines.add(format_args!("clients    {} of {} done, {all}", s.clients_done, self.settings.clients));
    }

    fn add_latencies(&self, lines: &mut Lines) {
        for (message, p) in self.summary.latency_us.iter().filter(|(_, p)| p.count > 0) {
            lines.add(format_args!(
                "{message:<10} p50 {:.0}  p90 {:.0}  p99 {:.0}  p99.9 {:.0}  max {:.0} us",
                p.p50, p.p90, p.p99, p.p999, p.max
            ));
        }
        if self.settings.rate_per_s.is_some() {
            let p = &self.summary.lateness_us;
            lines.add(format_args!(
                "lateness   p50 {:.0}  p99 {:.0}  max {:.0} us against the schedule",
                p.p50, p.p99, p.max
            ));
        }
    }

    fn add_replies(&self, lines: &mut Lines) {
        let s = &self.summary;
        lines.add(format_args!(
            "replies    {} duplicate, {} NAK, {} late, {} of other servers, {} unmatched",
            s.duplicates, s.naks, s.late, s.other_server, s.unmatched
        ));
        if let Some(p) = &s.prepared {
            lines.add(format_args!("before     {} of {} leases were taken, in {:.1} s", p.clients, p.wanted, p.took_s));
        }
        if s.released + s.declined > 0 {
            lines.add(format_args!("farewells  {} RELEASE, {} DECLINE sent", s.released, s.declined));
        }
        let h = &s.hostile;
        if h.garbage_sent + h.starvation_sent + h.spoofing_sent > 0 {
            lines.add(format_args!(
                "attackers  {} of garbage, {} of starvation, {} spoofed sent; they were given {} leases and {} refusals",
                h.garbage_sent, h.starvation_sent, h.spoofing_sent, h.acks, h.naks
            ));
        }
    }

    fn add_generator(&self, lines: &mut Lines) {
        let (s, g) = (&self.summary, &self.generator);
        let lost_here = g.rx_dropped + g.rx_ring_full;
        if lost_here > 0 {
            lines.add(format_args!("generator  {lost_here} replies dropped on this end: they count as lost"));
        }
        if s.no_idle_client > 0 {
            lines.add(format_args!(
                "generator  {} starts found no idle client: more --clients are needed for this rate",
                s.no_idle_client
            ));
        }
        let (cpu_s, percent) = (g.cpu.user_s + g.cpu.system_s, g.cpu_share * 100.0);
        lines.add(format_args!("generator  {cpu_s:.2} s of processor time, {percent:.0} % of one processor"));
        for Counted { end, interface, counters: c, .. } in &self.interfaces {
            let dropped = c.tx_dropped + c.rx_dropped + c.tx_errors + c.rx_errors;
            lines.add(format_args!(
                "{interface:<10} {} frames sent, {} received, {dropped} dropped ({end}'s end)",
                c.tx_packets, c.rx_packets
            ));
        }
    }

    fn add_verdict(&self, scenario: &Scenario, lines: &mut Lines) {
        match self.summary.violations {
            0 if !self.answered() => {
                lines.add(format_args!("verdict    no client had an answer: is there a server?"));
            }
            0 if scenario.echo => lines.add(format_args!("verdict    echoes are not judged")),
            0 => lines.add(format_args!("verdict    every reply that came was right")),
            n => lines.add(format_args!("verdict    {n} VIOLATIONS: {:?}", self.violations)),
        }
        if let Some(losses) = self.losses().filter(|_| self.answered()) {
            lines.add(format_args!("           {losses}"));
        }
        for example in &self.violation_examples {
            lines.add(format_args!("           {example}"));
        }
    }
}
