//! `dhcp-xdp stats`

use std::{collections::BTreeMap, fmt::Write as _};

use clap::Args;
use dhcp_xdp::stats::{InterfaceStats, Stats, WorkerStats};

use super::{explain::EXPLANATIONS, failure::Done, output::Output, state::State};

/// Show what a running server counts: frames, messages, drops by reason, leases, the journal
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  dhcp-xdp stats\n  dhcp-xdp stats --json | jq .ledger\n  dhcp-xdp stats --explain")]
pub(super) struct StatsCommand {
    #[command(flatten)]
    state: State,
    /// As JSON, all counters, also those that are zero
    #[arg(long)]
    json: bool,
    /// Say what each counter counts, without asking a server
    #[arg(long, conflicts_with = "json")]
    explain: bool,
}

impl StatsCommand {
    pub fn run(self) -> Done {
        if self.explain {
            let mut out = Output::new();
            out.text(EXPLANATIONS)?;
            return out.flush();
        }
        let stats = self.state.connect()?.stats().map_err(super::failure::Failure::of)?;
        let mut out = Output::new();
        if self.json {
            out.json(&stats)?;
        } else {
            out.text(&table(&stats))?;
        }
        out.flush()
    }
}

/// The figures that are not zero, for people.
fn table(stats: &Stats) -> String {
    let mut text = format!("dhcp-xdp {}, serving for {}\n", stats.version, duration(stats.uptime_s));
    let ledger = &stats.ledger;
    section(
        &mut text,
        &format!("frames (the ledger {})", if ledger.closes { "closes" } else { "DOES NOT CLOSE" }),
        [
            ("seen by XDP", ledger.seen),
            ("  left to the kernel", ledger.passed),
            ("  redirected", ledger.redirected),
            ("    answered", ledger.answered),
            ("    waiting for disk or probe", ledger.parked),
            ("    dropped for a reason", ledger.dropped),
            ("    lost by the rings", ledger.ring_losses),
            ("    not read yet", ledger.in_rings),
        ],
    );
    let leases = &stats.leases;
    section(
        &mut text,
        "addresses",
        [
            ("in pools or reserved", leases.total),
            ("bound", leases.bound),
            ("offered", leases.offered),
            ("released or expired", leases.remembered),
            ("declined", leases.declined),
        ],
    );
    if leases.agent_info_left_out > 0 {
        let _ = writeln!(text, "  {:<28}{:>14}", "option 82 left out, no room", leases.agent_info_left_out);
    }
    let workers = || stats.interfaces.iter().flat_map(|i| &i.queues).flat_map(|q| &q.workers);
    section(&mut text, "messages", sum(workers().map(|worker| &worker.messages)));
    section(&mut text, "dropped, by reason", sum(workers().map(|worker| &worker.drops)));
    section(&mut text, "to be noticed", sum(workers().map(|worker| &worker.notices)));
    leasequery(&mut text, stats);
    if let Some(ping) = &stats.ping_check {
        section(
            &mut text,
            "ping check",
            [
                ("echo requests sent", ping.sent),
                ("could not be sent", ping.unsent),
                ("addresses that answered", ping.answered),
                ("unreachable, says a router", ping.unreachable),
                ("no answer in time", ping.silent),
            ],
        );
    }
    journal(&mut text, stats);
    events(&mut text, stats);
    for interface in &stats.interfaces {
        describe_interface(&mut text, interface);
    }
    text
}

/// Counters of the same name added up, without those that are zero.
fn sum<'a>(counters: impl Iterator<Item = &'a BTreeMap<String, u64>>) -> Vec<(&'a str, u64)> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (name, count) in counters.flatten() {
        *sums.entry(name).or_default() += count;
    }
    sums.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn section<'a>(text: &mut String, title: &str, rows: impl IntoIterator<Item = (&'a str, u64)>) {
    let mut rows = rows.into_iter().peekable();
    if rows.peek().is_none() {
        return;
    }
    let _ = writeln!(text, "\n{title}");
    for (name, count) in rows {
        let _ = writeln!(text, "  {name:<28}{count:>14}");
    }
}

fn leasequery(text: &mut String, stats: &Stats) {
    let Some(tcp) = &stats.leasequery_tcp else { return };
    let rows = [
        ("connections open", tcp.connections),
        ("active queries open", tcp.active),
        ("connections", tcp.accepted),
        ("  from who may not ask", tcp.refused_source),
        ("  too many", tcp.refused_full),
        ("  too many of a source", tcp.refused_source_full),
        ("bulk queries", tcp.bulk_queries),
        ("active queries", tcp.active_queries),
        ("malformed", tcp.malformed_queries),
        ("not allowed", tcp.queries_not_allowed),
        ("asked for TLS", tcp.tls_refused),
        ("bindings told", tcp.bindings),
    ];
    section(text, "leasequery over TCP", rows);
    let ended = sum(std::iter::once(&tcp.ended));
    section(text, "leasequery over TCP: ends of connections", ended);
}

fn journal(text: &mut String, stats: &Stats) {
    let journal = &stats.journal;
    let rows = [("records", journal.records), ("groups", journal.groups), ("compactions", journal.compactions)];
    section(text, "journal", rows);
    let [p50, p99, max] = journal.commit_latency_us;
    let _ = writeln!(text, "  commit latency: half within {p50} us, 99 % within {p99} us, at most {max} us");
    if journal.compacting {
        let _ = writeln!(text, "  compacting");
    }
    if journal.held_back_bytes > 0 {
        let _ = writeln!(text, "  kept for a history that is behind: {} MiB", journal.held_back_bytes >> 20);
    }
    if journal.followers_dropped > 0 {
        let _ = writeln!(text, "  no longer kept, it was too much: {} times", journal.followers_dropped);
    }
    if let Some(why) = &journal.compaction_failing {
        let _ = writeln!(text, "  not compacted, tried again: {why}");
    }
    if let Some(why) = &journal.failing {
        let _ = writeln!(text, "  FAILING: {why}");
    }
}

fn events(text: &mut String, stats: &Stats) {
    if let Some(history) = &stats.events.history {
        let rows = [
            ("lines", history.lines),
            ("renewals left out", history.renewals_left_out),
            ("bytes of journal to read", history.behind_bytes),
            ("gaps", history.gaps),
            ("times held back", history.held_back),
            ("files removed early", history.removed_early),
        ];
        section(text, "lease history", rows);
        if let Some(why) = &history.failing {
            let _ = writeln!(text, "  FAILING: {why}");
        }
    }
    if let Some(hook) = &stats.events.hook {
        let rows = [
            ("run", hook.done),
            ("failed", hook.failed),
            ("took too long", hook.timed_out),
            ("left something running", hook.left_running),
            ("dropped, too many waited", hook.dropped),
            ("waiting", hook.waiting),
        ];
        section(text, "hook", rows);
    }
}

fn describe_interface(text: &mut String, interface: &InterfaceStats) {
    let _ = writeln!(text, "\n{}: XDP {}, sockets {}", interface.name, interface.mode, interface.bind_mode);
    for (verdict, count) in sum(std::iter::once(&interface.xdp)) {
        let _ = writeln!(text, "  {verdict:<28}{count:>14}");
    }
    let _ = writeln!(
        text,
        "  {:<6}{:<7}{:<4}{:>14}{:>14}{:>10}{:>12}{:>12}",
        "queue", "worker", "cpu", "received", "sent", "parked", "dropped", "ring losses"
    );
    for (queue, worker) in interface.queues.iter().flat_map(|q| q.workers.iter().map(|w| (q.queue, w))) {
        let WorkerStats { worker: number, cpu, received, sent, parked, drops, rx_dropped, rx_ring_full, .. } = worker;
        let cpu = cpu.map_or("-".to_owned(), |cpu| cpu.to_string());
        let dropped: u64 = drops.values().sum();
        let lost = rx_dropped + rx_ring_full;
        let _ = writeln!(
            text,
            "  {queue:<6}{number:<7}{cpu:<4}{received:>14}{sent:>14}{parked:>10}{dropped:>12}{lost:>12}"
        );
    }
}

/// Seconds as days, hours, minutes and seconds.
pub(super) fn duration(seconds: u64) -> String {
    let (days, hours, minutes, s) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{s} s"),
        (0, 0, _) => format!("{minutes} min {s} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use dhcp_xdp::{
        events::{EventStats, HistoryStats},
        journal::JournalStatus,
        ping::PingStats,
        stats::{FrameStats, LeaseStats, Ledger, QueueStats, SCHEMA},
        worker::counters::{Counters, DropReason, Message},
    };

    use super::*;

    #[test]
    fn the_table_shows_what_happened_and_no_zeros_of_reasons() {
        let counters = Counters::default();
        counters.received(3);
        counters.sent(2);
        counters.message(Message::Ack);
        counters.dropped(DropReason::NoSubnet);
        let interfaces = vec![InterfaceStats {
            name: "eth1".into(),
            mode: "native".into(),
            bind_mode: "copy".into(),
            addresses: vec![],
            xdp: [("redirected".to_owned(), 3), ("pass_not_udp".to_owned(), 0)].into(),
            queues: vec![QueueStats {
                queue: 0,
                frames: FrameStats::default(),
                workers: vec![WorkerStats::of(0, None, &counters.snapshot())],
            }],
        }];
        let text = table(&Stats {
            schema: SCHEMA,
            version: "1.2.3".into(),
            uptime_s: 3661,
            ledger: Ledger::of(&interfaces),
            interfaces,
            journal: JournalStatus {
                failing: Some("no space".into()),
                held_back_bytes: 130 << 20,
                followers_dropped: 2,
                ..JournalStatus::default()
            },
            leases: LeaseStats { total: 10, bound: 1, ..LeaseStats::default() },
            leasequery_tcp: None,
            ping_check: Some(PingStats { sent: 5, answered: 1, ..PingStats::default() }),
            events: EventStats {
                history: Some(HistoryStats { held_back: 7, ..HistoryStats::default() }),
                ..EventStats::default()
            },
        });
        for part in [
            "serving for 1 h 1 min",
            "no_subnet",
            "addresses that answered",
            "FAILING: no space",
            "kept for a history that is behind: 130 MiB",
            "no longer kept, it was too much: 2 times",
            "times held back                          7",
            "eth1: XDP native, sockets copy",
            "ack",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
        for part in ["bad_cookie", "pass_not_udp", "DOES NOT CLOSE"] {
            assert!(!text.contains(part), "{part} is in:\n{text}");
        }
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    }
}
