//! `dhcp-storm replay`: the client messages of a capture, sent again, and what came back.
//!
//! Frames leave as they were captured, but for the Ethernet destination where another is given. A reply belongs to the
//! message with its `chaddr` and `xid`; it is counted, and not judged: what the clients of a capture hold is not known.

use std::{
    collections::HashMap,
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use dhcp_xdp::{capture::Capture, xsk::Device};
use dhcp_xdp_ebpf::{Role, walk};
use serde::Serialize;

use crate::{
    cli::{ReplayArgs, values::Rate},
    host::{self, CpuTime, Host},
    measure::{Latency, new_latency},
    output::{self, Output},
    port::{Clock, Port, SystemClock, Wire},
    reply::{ACK, NAK, OFFER, Reply},
    report::{Percentiles, SCHEMA},
    run::{Failure, command_line, stop_flag},
};

/// Messages handled in one go.
const BATCH: usize = 64;
/// The longest sleep.
const NAP: Duration = Duration::from_millis(2);

/// When messages are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Timing {
    /// As they were captured, so many times as fast.
    Original {
        /// 2: in half of the time.
        speed: f64,
    },
    /// So many a second.
    Rate {
        /// Messages a second.
        rate_per_s: f64,
    },
    /// As fast as they go.
    Max,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Discover,
    Request,
    Inform,
    Decline,
    Release,
    Other,
}

impl Kind {
    const ALL: [Kind; 6] = [Kind::Discover, Kind::Request, Kind::Inform, Kind::Decline, Kind::Release, Kind::Other];

    fn of(message: &[u8]) -> Self {
        match message_type(message) {
            Some(1) => Kind::Discover,
            Some(3) => Kind::Request,
            Some(4) => Kind::Decline,
            Some(7) => Kind::Release,
            Some(8) => Kind::Inform,
            _ => Kind::Other,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Kind::Discover => "discover",
            Kind::Request => "request",
            Kind::Inform => "inform",
            Kind::Decline => "decline",
            Kind::Release => "release",
            Kind::Other => "other",
        }
    }

    fn is_answered(self) -> bool {
        matches!(self, Kind::Discover | Kind::Request | Kind::Inform)
    }

    /// Whether a reply of this type answers it.
    fn is_answered_by(self, message_type: u8) -> bool {
        match self {
            Kind::Discover => matches!(message_type, OFFER | ACK),
            Kind::Request => matches!(message_type, ACK | NAK),
            Kind::Inform => message_type == ACK,
            _ => false,
        }
    }
}

/// Option 53 of a frame.
fn message_type(frame: &[u8]) -> Option<u8> {
    let at = walk(frame, Role::Server).ok()?;
    let mut options = frame.get(usize::from(at.bootp) + 240..)?;
    loop {
        match options {
            [0, rest @ ..] => options = rest,
            [255, ..] | [] | [_] => return None,
            [53, 1, kind, ..] => return Some(*kind),
            [_, len, rest @ ..] => options = rest.get(usize::from(*len)..)?,
        }
    }
}

/// Who waits for an answer to what.
type Key = ([u8; 6], u32, Kind);

/// What came of it.
struct Replayed {
    sent: [u64; Kind::ALL.len()],
    received: u64,
    offers: u64,
    acks: u64,
    naks: u64,
    duplicates: u64,
    unmatched: u64,
    malformed: u64,
    latency: [Latency; Kind::ALL.len()],
    lateness: Latency,
    /// By who waits: when the message was first sent, and whether the answer came.
    waiting: HashMap<Key, (u64, bool)>,
    /// How many of them have their answer.
    answered: u64,
    tx_stalls: u64,
    elapsed_ns: u64,
    load_ns: u64,
    reason: Option<String>,
}

impl Replayed {
    fn new() -> Self {
        Self {
            sent: [0; Kind::ALL.len()],
            received: 0,
            offers: 0,
            acks: 0,
            naks: 0,
            duplicates: 0,
            unmatched: 0,
            malformed: 0,
            latency: std::array::from_fn(|_| new_latency()),
            lateness: new_latency(),
            waiting: HashMap::new(),
            answered: 0,
            tx_stalls: 0,
            elapsed_ns: 0,
            load_ns: 0,
            reason: None,
        }
    }

    fn sent(&mut self, frame: &[u8], now: u64) {
        let kind = Kind::of(frame);
        self.sent[kind as usize] += 1;
        if kind.is_answered()
            && let Ok(at) = walk(frame, Role::Server)
        {
            let [a, b, c, d, e, f, ..] = at.chaddr;
            let xid = usize::from(at.bootp) + 4;
            let xid = u32::from_be_bytes([frame[xid], frame[xid + 1], frame[xid + 2], frame[xid + 3]]);
            let waiting = self.waiting.entry(([a, b, c, d, e, f], xid, kind)).or_insert((now, false));
            // A retransmission waits since the first transmission; what was answered and is sent anew begins anew.
            if waiting.1 {
                *waiting = (now, false);
                self.answered -= 1;
            }
        }
    }

    fn take(&mut self, frame: &[u8], now: u64) {
        let Ok(reply) = Reply::parse(frame) else {
            self.received += 1;
            self.malformed += 1;
            return;
        };
        self.received += 1;
        match reply.message_type {
            OFFER => self.offers += 1,
            ACK => self.acks += 1,
            NAK => self.naks += 1,
            _ => {}
        }
        let answered = [Kind::Request, Kind::Inform, Kind::Discover].into_iter().find(|kind| {
            kind.is_answered_by(reply.message_type) && self.waiting.contains_key(&(reply.mac, reply.xid, *kind))
        });
        let Some(kind) = answered else { return self.unmatched += 1 };
        let Some((since, came)) = self.waiting.get_mut(&(reply.mac, reply.xid, kind)) else { return };
        if *came {
            self.duplicates += 1;
        } else {
            *came = true;
            self.answered += 1;
            self.latency[kind as usize].saturating_record(now.saturating_sub(*since));
        }
    }

    fn lost(&self) -> u64 {
        self.waiting.len() as u64 - self.answered
    }
}

/// What is to be sent, and when.
struct Script<'a> {
    capture: &'a Capture,
    times_ns: Vec<u64>,
    timing: Timing,
    rounds: u32,
    server_mac: Option<[u8; 6]>,
    drain: Duration,
}

impl Script<'_> {
    /// How many messages leave.
    fn total(&self) -> u64 {
        self.capture.len() as u64 * u64::from(self.rounds)
    }

    /// When message number `n` is due.
    fn due_ns(&self, n: u64) -> u64 {
        let len = self.capture.len() as u64;
        match self.timing {
            Timing::Max => 0,
            Timing::Rate { rate_per_s } => (n as f64 * 1e9 / rate_per_s) as u64,
            Timing::Original { speed } => {
                let span = self.times_ns.last().map_or(0, |last| last + 1);
                ((n / len).saturating_mul(span).saturating_add(self.times_ns[(n % len) as usize]) as f64 / speed) as u64
            }
        }
    }

    /// Hands over what is due from message number `next` on, a batch at most; returns the number of the next then.
    fn send(&self, mut next: u64, now: u64, port: &mut impl Port, found: &mut Replayed) -> u64 {
        let end = self.total().min(next + BATCH as u64);
        while next < end && self.due_ns(next) <= now {
            let frame = self.capture.frame((next % self.capture.len() as u64) as usize);
            let write = |buffer: &mut [u8]| {
                let Some(out) = buffer.get_mut(..frame.len()) else { return 0 };
                out.copy_from_slice(frame);
                if let Some(mac) = self.server_mac {
                    out[..6].copy_from_slice(&mac);
                }
                frame.len()
            };
            if !port.send(write) {
                found.tx_stalls += 1;
                break;
            }
            if self.timing != Timing::Max {
                found.lateness.saturating_record(now - self.due_ns(next));
            }
            found.sent(frame, now);
            next += 1;
        }
        next
    }

    /// Sends all, and takes what comes back.
    fn play(&self, port: &mut impl Port, clock: &impl Clock, stop: &AtomicBool) -> Replayed {
        let mut found = Replayed::new();
        if let Err(reason) = self.go_on(port, clock, stop, &mut found) {
            found.reason = Some(reason.to_string());
        }
        if found.load_ns == 0 {
            found.load_ns = found.elapsed_ns;
        }
        found
    }

    fn go_on(
        &self,
        port: &mut impl Port,
        clock: &impl Clock,
        stop: &AtomicBool,
        found: &mut Replayed,
    ) -> io::Result<()> {
        let mut next = 0;
        loop {
            let now = clock.now_ns();
            found.elapsed_ns = now;
            if stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("interrupted"));
            }
            let received = port.receive(BATCH, |frame| found.take(frame, now));
            let before = next;
            next = self.send(next, now, port, found);
            port.flush()?;
            if next == self.total() {
                if before < next {
                    found.load_ns = now;
                }
                let awaited = now >= found.load_ns + self.drain.as_nanos() as u64;
                if awaited || (found.received > 0 && found.lost() == 0) {
                    return Ok(());
                }
            }
            if received == 0 && next == before {
                let until = if next < self.total() { self.due_ns(next).saturating_sub(now) } else { u64::MAX };
                // A sleep is woken late: what is due soon is waited for awake.
                if until > 100_000 {
                    port.wait(NAP.min(Duration::from_nanos(until - 50_000)))?;
                }
            }
        }
    }
}

/// What a replay found, for programs.
#[derive(Debug, Serialize)]
struct ReplayReport {
    schema: u32,
    version: &'static str,
    command: String,
    began_at_unix_s: u64,
    host: Host,
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    settings: Settings,
    summary: Summary,
    cpu: CpuTime,
}

/// What was asked for, and what the capture had.
#[derive(Debug, Serialize)]
struct Settings {
    interface: String,
    socket: &'static str,
    file: String,
    messages: usize,
    packets: u64,
    left_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
    rounds: u32,
    speed: Option<f64>,
    rate_per_s: Option<f64>,
}

/// The figures.
#[derive(Debug, Serialize)]
struct Summary {
    load_s: f64,
    elapsed_s: f64,
    offered_per_s: f64,
    sent_per_s: f64,
    received_per_s: f64,
    bindings_per_s: f64,
    sent: u64,
    sent_by_message: std::collections::BTreeMap<&'static str, u64>,
    received: u64,
    offers: u64,
    bindings: u64,
    naks: u64,
    duplicates: u64,
    unmatched: u64,
    malformed: u64,
    /// Messages of a client and transaction that had no answer.
    lost: u64,
    /// Replies are not judged.
    violations: u64,
    latency_us: std::collections::BTreeMap<&'static str, Percentiles>,
    lateness_us: Percentiles,
    tx_stalls: u64,
}

impl Summary {
    fn new(found: &Replayed, timing: Timing) -> Self {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let load_s = seconds(found.load_ns);
        let per_s = |count: u64| if load_s > 0.0 { count as f64 / load_s } else { 0.0 };
        let sent = found.sent.iter().sum();
        let by_kind = Kind::ALL.into_iter();
        Self {
            load_s,
            elapsed_s: seconds(found.elapsed_ns),
            offered_per_s: if let Timing::Rate { rate_per_s } = timing { rate_per_s } else { per_s(sent) },
            sent_per_s: per_s(sent),
            received_per_s: per_s(found.received),
            bindings_per_s: per_s(found.acks),
            sent,
            sent_by_message: by_kind.clone().map(|kind| (kind.name(), found.sent[kind as usize])).collect(),
            received: found.received,
            offers: found.offers,
            bindings: found.acks,
            naks: found.naks,
            duplicates: found.duplicates,
            unmatched: found.unmatched,
            malformed: found.malformed,
            lost: found.lost(),
            violations: 0,
            latency_us: by_kind
                .filter(|kind| kind.is_answered())
                .map(|kind| (kind.name(), Percentiles::from(&found.latency[kind as usize])))
                .collect(),
            lateness_us: (&found.lateness).into(),
            tx_stalls: found.tx_stalls,
        }
    }

    fn print(&self, say: impl Fn(String)) {
        say(format!(
            "messages   {} sent ({:.0}/s) in {:.3} s, {} replies received, {} without an answer",
            self.sent, self.sent_per_s, self.load_s, self.received, self.lost
        ));
        say(format!(
            "replies    {} OFFER, {} ACK, {} NAK, {} duplicate, {} unmatched, {} malformed; not judged",
            self.offers, self.bindings, self.naks, self.duplicates, self.unmatched, self.malformed
        ));
        for (message, p) in self.latency_us.iter().filter(|(_, p)| p.count > 0) {
            say(format!("{message:<10} p50 {:.0}  p90 {:.0}  p99 {:.0}  max {:.0} us", p.p50, p.p90, p.p99, p.max));
        }
        if self.lateness_us.count > 0 {
            say(format!("lateness   p50 {:.0}  p99 {:.0} us", self.lateness_us.p50, self.lateness_us.p99));
        }
    }
}

/// Replays a capture; good if an answer came.
///
/// # Errors
/// What is in the way. What ends it in the middle is no error: the partial result says so.
pub fn replay(args: &ReplayArgs) -> Result<bool, Failure> {
    let timing = match args.rate {
        None => Timing::Original { speed: args.speed },
        Some(Rate::PerSecond(rate_per_s)) => Timing::Rate { rate_per_s },
        Some(Rate::Max) => Timing::Max,
    };
    let device = Device::find(&args.wire.interface)?;
    let capture = Capture::read(&args.file)?;
    let json = args.json.as_deref().map(Output::open).transpose()?;
    let stop = stop_flag()?;
    host::wake_on_time();
    if let Some(cpu) = args.wire.cpu {
        host::pin(cpu)?;
    }
    let mut port = Wire::open(&args.wire, &device, false)?;
    let modes = port.modes();
    eprintln!(
        "{}: {modes}; {}: {} client messages of {} packets{}",
        args.wire.interface,
        args.file.display(),
        capture.len(),
        capture.packets,
        capture.damage.as_ref().map(|damage| format!(" ({damage})")).unwrap_or_default()
    );
    let (began_at_unix_s, cpu) = (host::unix_time_s(), CpuTime::now());
    let clock = SystemClock::start();
    let script = Script {
        capture: &capture,
        times_ns: capture.times_ns(),
        timing,
        rounds: args.rounds,
        server_mac: args.server_mac,
        drain: args.drain,
    };
    let found = script.play(&mut port, &clock, &stop);
    drop(port);
    let report = ReplayReport {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        command: command_line(),
        began_at_unix_s,
        host: Host::this(),
        complete: found.reason.is_none(),
        reason: found.reason.clone(),
        settings: Settings {
            interface: args.wire.interface.clone(),
            socket: modes.socket,
            file: args.file.display().to_string(),
            messages: capture.len(),
            packets: capture.packets,
            left_out: capture.left_out,
            damage: capture.damage.clone(),
            rounds: args.rounds,
            speed: if let Timing::Original { speed } = timing { Some(speed) } else { None },
            rate_per_s: if let Timing::Rate { rate_per_s } = timing { Some(rate_per_s) } else { None },
        },
        summary: Summary::new(&found, timing),
        cpu: CpuTime::now().since(cpu),
    };
    let on_stdout = json.as_ref().is_some_and(Output::is_stdout);
    let say = |line: String| if on_stdout { eprintln!("{line}") } else { println!("{line}") };
    if let Some(reason) = &report.reason {
        say(format!("PARTIAL RESULT after {:.3} s: {reason}", report.summary.elapsed_s));
    }
    report.summary.print(say);
    if let Some(json) = json {
        json.write(&output::json(&report)?)?;
    }
    let interrupted = report.reason.as_deref() == Some("interrupted");
    Ok(report.summary.received > 0 && (report.complete || interrupted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::{Fields, Look, Message, Templates};

    #[test]
    fn every_client_message_is_known() {
        let look = Look::default();
        let templates = Templates::new(&look).unwrap();
        let person = look.person(0, [2, 0, 0, 0, 0, 5], 0);
        let fields = Fields { person, xid: 1, secs: 0, address: 1, server_id: 2, server_mac: None };
        for (message, kind) in [
            (Message::Discover, Kind::Discover),
            (Message::Request, Kind::Request),
            (Message::Renew, Kind::Request),
            (Message::Release, Kind::Release),
            (Message::Decline, Kind::Decline),
        ] {
            let mut buffer = [0; 640];
            let len = templates.write(message, &fields, &mut buffer);
            assert_eq!(Kind::of(&buffer[..len]), kind);
        }
        assert_eq!(Kind::of(&[0; 400]), Kind::Other);
    }
}
