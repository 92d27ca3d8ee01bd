//! The XDP program in the kernel: its verifier takes it, and what runs there decides as the walk does in user space.

use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, MapData, PerCpuArray},
    programs::{TestRun, TestRunOptions, Xdp},
};
use aya_log::EbpfLogger;
use dhcp_xdp_ebpf::{Role, Verdict, map, walk};
use libtest_mimic::Trial;

use crate::{
    net::{Datagram, discover},
    test,
};

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("DHCP_XDP_EBPF_OBJECT"));
/// `XDP_PASS` (linux/bpf.h).
const PASS: u32 = 2;

pub fn tests() -> Vec<Trial> {
    vec![
        test("the_verifier_takes_the_program_in_both_roles", verifier),
        test("kernel_and_user_space_walk_alike", walk_alike),
        test("only_our_destinations_are_taken_where_the_filter_is_on", destinations),
        test("rare_events_are_logged_and_only_they", log),
    ]
}

fn load(role: Role, workers: u32, filter: bool) -> Result<Ebpf> {
    let (role, filter) = (role as u8, u8::from(filter));
    let mut loader = EbpfLoader::new();
    loader.override_global(map::ROLE, &role, true);
    loader.override_global(map::WORKERS, &workers, true);
    loader.override_global(map::FILTER_DESTINATION, &filter, true);
    let mut ebpf = loader.load(OBJECT).context("the object file")?;
    program(&mut ebpf)?.load().context("the verifier")?;
    Ok(ebpf)
}

fn program(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    Ok(ebpf.program_mut(map::PROGRAM).context("no program of this name")?.try_into()?)
}

fn verifier() -> Result<()> {
    for role in [Role::Server, Role::Client] {
        for workers in [1, 2, 64] {
            for filter in [false, true] {
                load(role, workers, filter)?;
            }
        }
    }
    Ok(())
}

/// Runs the program over a frame and says under which verdict it counted it.
fn verdict(ebpf: &mut Ebpf, frame: &[u8]) -> Result<Verdict> {
    let before = verdicts(ebpf)?;
    let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
    let result = program(ebpf)?.test_run(options)?;
    ensure!(result.return_value == PASS, "action {} where no socket is", result.return_value);
    let after = verdicts(ebpf)?;
    let mut changed = Verdict::ALL.iter().zip(before.iter().zip(&after)).filter(|(_, (before, after))| before != after);
    let (&verdict, (before, after)) = changed.next().context("no counter changed")?;
    ensure!(after - before == 1 && changed.next().is_none(), "counted more than once");
    Ok(verdict)
}

fn verdicts(ebpf: &Ebpf) -> Result<Vec<u64>> {
    let counters: PerCpuArray<&MapData, u64> = ebpf.map(map::VERDICTS).context("no counters")?.try_into()?;
    let sum = |verdict: &Verdict| Ok(counters.get(&(*verdict as u32), 0)?.iter().sum());
    Verdict::ALL.iter().map(sum).collect()
}

/// Frames of all kinds: each with and without tags, with IP options, wrong in each of its fields, and cut everywhere.
fn frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100], &[0x8100, 0x8100, 0x8100]] {
        for options in [0, 4, 40] {
            for (op, port) in [(1, 67), (2, 67), (2, 68), (1, 68), (1, 53), (0, 67)] {
                let mut payload = discover([2, 0, 0, 0, 0, 7], 1);
                payload[0] = op;
                let datagram = Datagram { tags, ip_options: options, destination_port: port, ..Datagram::default() };
                frames.push(datagram.frame(&payload));
            }
        }
    }
    let whole = Datagram::default().frame(&discover([2, 0, 0, 0, 0, 7], 1));
    // The kernel takes no frame that is shorter than an Ethernet header.
    frames.extend((14..120).map(|len| whole[..len].to_vec()));
    // EtherType, version and length, fragment, protocol.
    for (offset, value) in [(12, 0x86), (14, 0x65), (14, 0x44), (20, 0x20), (21, 0x01), (20, 0x40), (23, 6)] {
        let mut frame = whole.clone();
        frame[offset] = value;
        frames.push(frame);
    }
    frames
}

fn walk_alike() -> Result<()> {
    for role in [Role::Server, Role::Client] {
        let mut ebpf = load(role, 2, false)?;
        for frame in frames() {
            let expected = walk(&frame[..], role).map_or_else(|verdict| verdict, |_| Verdict::PassNoSocket);
            let found = verdict(&mut ebpf, &frame)?;
            ensure!(found == expected, "kernel {found:?}, user space {expected:?}, {role:?}: {frame:02x?}");
        }
    }
    Ok(())
}

fn destinations() -> Result<()> {
    let mut ebpf = load(Role::Server, 1, true)?;
    let ours = [198, 18, 0, 1];
    let mut map: HashMap<&mut MapData, [u8; 4], u8> =
        ebpf.map_mut(map::DESTINATIONS).context("no destinations")?.try_into()?;
    map.insert(ours, 1, 0)?;
    let payload = discover([2, 0, 0, 0, 0, 7], 1);
    for (destination, expected) in [
        (ours, Verdict::PassNoSocket),
        ([255; 4], Verdict::PassNoSocket),
        ([198, 18, 0, 2], Verdict::PassOtherDestination),
        ([1, 0, 18, 198], Verdict::PassOtherDestination),
    ] {
        let frame = Datagram { destination, ..Datagram::default() }.frame(&payload);
        let found = verdict(&mut ebpf, &frame)?;
        ensure!(found == expected, "{found:?} for {destination:?}");
    }
    Ok(())
}

/// Keeps what it is told.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl log::Log for &Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        if let Ok(mut lines) = self.0.lock() {
            lines.push(record.args().to_string());
        }
    }
    fn flush(&self) {}
}

fn log() -> Result<()> {
    let mut ebpf = load(Role::Server, 1, false)?;
    let lines = Lines::default();
    let mut logger = EbpfLogger::init_with_logger(&mut ebpf, &lines)?;
    let whole = Datagram::default().frame(&discover([2, 0, 0, 0, 0, 7], 1));
    let arp = [&[0xff; 12][..], &[0x08, 0x06], &[0; 46]].concat();
    // Without a change of CPU: each CPU tells of its own first.
    for _ in 0..50 {
        verdict(&mut ebpf, &whole[..60])?;
        verdict(&mut ebpf, &whole)?;
        verdict(&mut ebpf, &arp)?;
    }
    logger.flush();
    let lines = lines.0.lock().map_or_else(|_| Vec::new(), |lines| lines.clone());
    let cpus = std::thread::available_parallelism()?.get();
    for text in ["truncated frame of 60 bytes passed: 0 before it", "no socket for queue 0: 0 frames passed before"] {
        let count = lines.iter().filter(|line| line.contains(text)).count();
        ensure!((1..=cpus).contains(&count), "\"{text}\" {count} times in {lines:?}");
    }
    ensure!(lines.len() <= 2 * cpus, "{lines:?}");
    Ok(())
}
