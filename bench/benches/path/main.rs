//! What a frame costs from its first byte to its reply's last, without sockets and disk: `cargo xtask bench path`.
//!
//! Batches of 64 frames go through `Processor::process` as the ring loop hands them over. Each figure is the median of several
//! rounds, and the kinds take turns, so that a neighbour on the machine slows all alike. Instructions (`--instructions`) are
//! steadier than time.

#![allow(missing_docs, reason = "a program")]

use std::{
    net::Ipv4Addr,
    process::{Command, ExitCode},
    sync::Arc,
    time::Instant,
};

use arrayvec::ArrayVec;
use clap::Parser;
use dhcp_xdp::{
    config::{AnyMachine, Durability, parse},
    journal::{Journal, LaneFull, Ticket},
    lease::{HwAddress, Kept, Lease, LeaseTable, PoolRange},
    wake::Wake,
    worker::{
        batch::{BATCH, Disposition, Frame, Processor, Recorder},
        counters::Counters,
        port::{Port, SharedPort},
    },
};
use etherparse::PacketBuilder;

/// Measures the way of a frame.
#[derive(Parser)]
#[command(
    after_help = "Examples:\n  cargo xtask bench path\n  cargo xtask bench path -- --only plain --rounds 1\n  cargo xtask bench path -- --instructions"
)]
struct Args {
    /// Rounds of each figure.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Batches of a round.
    #[arg(long, default_value_t = 500)]
    batches: u32,
    /// Only this kind of message: plain, list, relayed, journaled (as relayed, with a journal), parts, renewal, recalled.
    #[arg(long)]
    only: Option<String>,
    /// Instructions a frame, counted by valgrind's callgrind, in place of time: what a busy machine does not change.
    #[arg(long)]
    instructions: bool,
    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

const CONFIG: &str = r#"
[[interface]]
name = "eth1"
[[subnet]]
prefix = "10.0.0.0/16"
interface = "eth1"
server_id = "10.0.0.1"
pools = ["10.0.1.0-10.0.255.250"]
[subnet.options]
routers = ["10.0.0.1"]
dns-servers = ["192.0.2.53", "192.0.2.54"]
domain-name = "example.net"
ntp-servers = ["192.0.2.123"]
"#;
const SERVER: [u8; 4] = [10, 0, 0, 1];
const CHUNK: usize = 2048;
const NOW_S: u32 = 1_900_000_000;

/// A journal that keeps nothing.
struct Nothing;

impl Recorder for Nothing {
    fn submit(&mut self, _: &Lease, _: &HwAddress, _: &[u8], _: Kept<'_>) -> Result<Ticket, LaneFull> {
        Ok(Ticket(0))
    }
}

/// A message of client `n`: type, and what else its kind has.
fn frame(kind: &str, message_type: u8, n: u16, requested: Option<Ipv4Addr>) -> Vec<u8> {
    let [high, low] = n.to_be_bytes();
    let mac = [2, 0, 0, 0, high, low];
    let mut message = vec![0u8; 240];
    message[..4].copy_from_slice(&[1, 1, 6, 0]);
    message[28..34].copy_from_slice(&mac);
    message[236..240].copy_from_slice(&[99, 130, 83, 99]);
    message.extend([53, 1, message_type]);
    if let Some(address) = requested {
        message.extend([54, 4]);
        message.extend(SERVER);
        message.extend([50, 4]);
        message.extend(address.octets());
    }
    let id = [&[1][..], &mac].concat();
    if kind == "parts" {
        message.extend([61, 4, id[0], id[1], id[2], id[3], 61, 3, id[4], id[5], id[6]]);
    } else {
        message.extend([61, 7]);
        message.extend(&id);
    }
    message.extend([60, 8]);
    message.extend(b"MSFT 5.0");
    if kind != "plain" {
        message.extend([55, 8, 1, 3, 6, 15, 28, 42, 119, 121]);
    }
    let relayed = matches!(kind, "relayed" | "journaled" | "recalled");
    if relayed {
        message[24..28].copy_from_slice(&[10, 0, 0, 2]);
        message.extend(b"\x52\x12\x01\x06port-1\x02\x08remote01");
    }
    message.push(255);
    message.resize(message.len().max(300), 0);
    let (source, ports) = if relayed { ([10, 0, 0, 2], (67, 67)) } else { ([0; 4], (68, 67)) };
    let destination = if relayed { SERVER } else { [255; 4] };
    let builder = PacketBuilder::ethernet2(mac, [0xff; 6]).ipv4(source, destination, 64).udp(ports.0, ports.1);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &message).expect("a Vec takes all");
    bytes
}

/// A renewal of client `n`, past all relay agents.
fn renewal(kind: &str, n: u16, address: Ipv4Addr) -> Vec<u8> {
    let mut bytes = frame(if kind == "recalled" { "list" } else { kind }, 3, n, None);
    // From its address to the server; the checksum of UDP is optional.
    bytes[14 + 12..14 + 16].copy_from_slice(&address.octets());
    bytes[14 + 16..14 + 20].copy_from_slice(&SERVER);
    bytes[14 + 10..14 + 12].fill(0);
    let sum = bytes[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum::<u32>();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    bytes[14 + 10..14 + 12].copy_from_slice(&sum.to_be_bytes());
    bytes[34 + 6..34 + 8].fill(0);
    bytes[42 + 12..42 + 16].copy_from_slice(&address.octets());
    bytes
}

/// What is measured: one frame, for callgrind to count from here on.
#[inline(never)]
fn process<R: Recorder>(
    processor: &mut Processor<R>,
    now_s: u32,
    batch: &mut [Frame<'_>],
    out: &mut ArrayVec<Disposition, BATCH>,
) {
    processor.process(now_s, batch, out);
}

/// Nanoseconds a frame of this kind.
fn run(kind: &str, batches: u32) -> f64 {
    if kind != "journaled" {
        return run_with(Nothing, kind, batches);
    }
    let dir = tempfile::tempdir().expect("a directory");
    let wake = Arc::new(Wake::new().expect("a pipe"));
    let (journal, mut lanes) = Journal::start(dir.path(), Durability::Off, vec![wake]).expect("a journal");
    let spent = run_with(lanes.pop().expect("a lane for each to be woken"), kind, batches);
    journal.stop().expect("it wrote all");
    spent
}

/// Clients that discover and request, or renew, batch after batch.
fn run_with<R: Recorder>(recorder: R, kind: &str, batches: u32) -> f64 {
    let config = parse("bench", CONFIG, &AnyMachine).expect("the configuration above").config;
    let pool = &config.subnets[0].pools[0];
    let leases = LeaseTable::new(&[PoolRange { subnet: 0, first: pool.first, last: pool.last }], [1, 2]);
    let addresses = vec![Ipv4Addr::from(SERVER)];
    let port = Port { interface: 0, name: "eth1".into(), addresses, mac: [2, 0, 0, 0, 0xff, 1], mtu: 1500 };
    let (port, counters) = (Arc::new(SharedPort::new(port)), Arc::new(Counters::default()));
    let mut processor = Processor::new(Arc::new(config), Arc::new(leases), recorder, port, counters);
    let mut chunks = vec![[0u8; CHUNK]; BATCH];
    let mut spent_ns = 0;
    let mut batch_of = |frames: &[Vec<u8>], counts: bool| {
        let mut batch: ArrayVec<Frame<'_>, BATCH> = ArrayVec::new();
        for (chunk, frame) in chunks.iter_mut().zip(frames) {
            chunk[..frame.len()].copy_from_slice(frame);
            batch.push(Frame { buffer: chunk, len: frame.len() });
        }
        while !processor.recorder().has_room() {
            std::thread::yield_now();
        }
        let mut out: ArrayVec<Disposition, BATCH> = ArrayVec::new();
        if counts {
            let start = Instant::now();
            process(&mut processor, NOW_S, &mut batch, &mut out);
            spent_ns += start.elapsed().as_nanos();
        } else {
            processor.process(NOW_S, &mut batch, &mut out);
        }
        drop(batch);
        assert!(out.iter().all(|disposition| matches!(disposition, Disposition::Send { .. })), "{kind}: {out:?}");
        let yiaddr = |chunk: &[u8; CHUNK]| Ipv4Addr::from([chunk[58], chunk[59], chunk[60], chunk[61]]);
        chunks.iter().map(yiaddr).collect::<Vec<_>>()
    };
    for round in 0..batches {
        // Some 64,000 clients in turn: most come back.
        let client = |at: u16| (round % 1000) as u16 * 64 + at;
        let discovers: Vec<_> = (0..BATCH as u16).map(|at| frame(kind, 1, client(at), None)).collect();
        let offered = batch_of(&discovers, !renews(kind));
        let requests = (0..BATCH as u16).zip(&offered).map(|(at, ip)| frame(kind, 3, client(at), Some(*ip)));
        let requests: Vec<_> = requests.collect();
        batch_of(&requests, !renews(kind));
        if renews(kind) {
            let renewals = (0..BATCH as u16).zip(&offered).map(|(at, ip)| renewal(kind, client(at), *ip));
            let renewals: Vec<_> = renewals.collect();
            batch_of(&renewals, true);
            batch_of(&renewals, true);
        }
    }
    spent_ns as f64 / frames(batches)
}

/// Whether only renewals count.
fn renews(kind: &str) -> bool {
    matches!(kind, "renewal" | "recalled")
}

/// Frames that count in so many batches: two batches each.
fn frames(batches: u32) -> f64 {
    f64::from(batches * 2 * BATCH as u32)
}

/// Instructions a frame: this program under callgrind, which counts within [`process`] alone.
fn instructions(kind: &str, batches: u32) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*path*process*"])
        .arg(program);
    valgrind.args(["--only", kind, "--rounds", "1", "--batches", &batches.to_string()]);
    let output = valgrind.output().map_err(|error| format!("valgrind: {error}: apt-get install valgrind"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim());
    match collected.and_then(|count| count.parse::<f64>().ok()).filter(|count| *count > 0.0) {
        Some(count) => Ok(count / frames(batches)),
        None => Err(format!("valgrind counted nothing: {}", text.lines().last().unwrap_or_default())),
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let kinds = ["plain", "list", "relayed", "journaled", "parts", "renewal", "recalled"];
    let kinds: Vec<&str> =
        kinds.into_iter().filter(|kind| args.only.as_deref().is_none_or(|only| only == *kind)).collect();
    if args.instructions {
        for kind in kinds {
            match instructions(kind, args.batches.min(20)) {
                Ok(count) => println!("  {kind:<9} {count:>7.0} instructions a frame"),
                Err(error) => {
                    eprintln!("error: {error}");
                    return ExitCode::FAILURE;
                }
            }
        }
        return ExitCode::SUCCESS;
    }
    let mut seen = vec![Vec::new(); kinds.len()];
    for _ in 0..args.rounds.max(1) {
        for (kind, seen) in kinds.iter().zip(&mut seen) {
            seen.push(run(kind, args.batches));
        }
    }
    println!("{} frames a round", args.batches * 2 * BATCH as u32);
    for (kind, mut seen) in kinds.iter().zip(seen) {
        seen.sort_by(f64::total_cmp);
        println!("  {kind:<9} {:>7.0} ns a frame (least {:.0})", seen[seen.len() / 2], seen[0]);
    }
    ExitCode::SUCCESS
}
