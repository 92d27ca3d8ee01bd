//! A history that is held back: how long the journal keeps changes for it, what of the disk that takes, and how fast it catches up.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dhcp_xdp::{
    clock::Clock,
    config::{AnyMachine, Durability, parse},
    events::{Events, HistorySettings, Settings, Surroundings},
    journal::{CompactionPolicy, Journal, JournalStatus, Options, Position, Recovery, Retain},
    lease::LeaseTable,
    room::Reserve,
    wake::Wake,
};

use super::{Engine, NEVER, claim, fill, pool, rate};

/// Changes a second of a large ISP: a million clients that renew twice an hour are 556.
const CHANGES_PER_S: f64 = 5000.0;
const MIB: f64 = (1 << 20) as f64;

pub fn behind(quick: bool, dir: &Path) -> Result<()> {
    let lag: u64 = if quick { 128 << 20 } else { 1 << 30 };
    println!("\na history that is held back, and a journal that keeps {} MiB for it", lag >> 20);
    let enough = Reserve::default();
    // Twice as much is not there: this disk is short, whatever it has.
    let short = Reserve { percent: 200, most_bytes: u64::MAX };
    kept(quick, &dir.join("kept"), lag, enough)?;
    kept(quick, &dir.join("short"), lag, short)?;
    catches_up(quick, &dir.join("catches-up"))
}

fn bytes_in(dir: &Path) -> Result<u64> {
    // Some go while this looks.
    Ok(std::fs::read_dir(dir)?.filter_map(|entry| entry.ok()?.metadata().ok()).map(|it| it.len()).sum())
}

/// Records until nothing is kept any more, and waits until what was kept is compacted.
fn kept(quick: bool, dir: &Path, max_bytes: u64, reserve: Reserve) -> Result<()> {
    std::fs::create_dir(dir)?;
    let mut engine = Engine::new(if quick { 100_000 } else { 1_000_000 });
    let wake = Arc::new(Wake::new()?);
    let options = Options {
        compaction: CompactionPolicy::default(),
        retain: Some(Retain { from: Position::default(), max_bytes, reserve }),
        ..Options::new(Durability::Sync)
    };
    let (journal, mut lanes) = Recovery::open(dir)?.start(options, vec![Arc::clone(&wake)])?;
    let mut lane = lanes.pop().context("a lane")?;
    let (mut most, mut at) = (0, 0);
    let start = Instant::now();
    let status = loop {
        let status: JournalStatus = journal.status();
        most = most.max(bytes_in(dir)?);
        if status.compactions > 0 {
            break status;
        }
        if status.followers_dropped == 0 {
            // What is no longer kept is found out, and compacted, in time that this leaves.
            rate(&mut engine, &mut lane, &wake, 8192, 100_000);
            at += 100_000;
        }
        std::thread::sleep(Duration::from_millis(20));
        ensure!(start.elapsed() < Duration::from_secs(900), "nothing is compacted: {status:?}");
    };
    let each = most as f64 / at as f64;
    println!(
        "  {}: no longer kept after {at} changes, which at {CHANGES_PER_S} a second are {:.0} min; the journal took {:.0} MiB at most",
        if reserve == Reserve::default() { "with room   " } else { "without room" },
        at as f64 / CHANGES_PER_S / 60.0,
        most as f64 / MIB,
    );
    if reserve == Reserve::default() {
        println!("  {each:.0} bytes a change");
        // What is kept, the segment that is written and the next one, two snapshots of all addresses.
        let bound = max_bytes as f64 + 3.0 * 64.0 * MIB + 2.0 * 64.0 * f64::from(engine.clients);
        claim(
            "the journal's bytes at most, times what it may keep",
            most as f64 / bound,
            "at most 1.10",
            most as f64 <= 1.1 * bound,
        );
    }
    ensure!(status.failing.is_none(), "{status:?}");
    drop(lane);
    journal.stop()?;
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

/// A history that begins when all is in the journal already.
fn catches_up(quick: bool, dir: &Path) -> Result<()> {
    std::fs::create_dir(dir)?;
    let clients: u32 = if quick { 200_000 } else { 2_000_000 };
    fill(dir, &mut Engine::new(clients), clients.into())?;
    let history = HistorySettings {
        directory: None,
        rotate_bytes: 64 << 20,
        rotate_after: Duration::from_secs(86_400),
        keep: None,
        max_bytes: None,
        max_lag_bytes: 1 << 40,
        keep_free: Reserve::default(),
    };
    std::fs::create_dir(dir.join("history"))?;
    let clock = Clock::start();
    let options =
        Options { compaction: NEVER, clock, retain: Some(history.retain(dir)), ..Options::new(Durability::Sync) };
    let (journal, _lanes): (Journal, _) = Recovery::open(dir)?.start(options, vec![])?;
    let text = format!(
        "state_dir = \"{}\"\n[[interface]]\nname = \"lo\"\n[[subnet]]\nprefix = \"10.0.0.0/8\"\npools = [\"10.0.0.1-10.63.255.255\"]\n",
        dir.display()
    );
    let config = parse("bench", &text, &AnyMachine).map_err(|rejected| anyhow::anyhow!("{rejected}"))?.config;
    let around = Surroundings {
        followers: journal.followers(),
        table: Arc::new(LeaseTable::new(&[pool(clients)], [5, 6])),
        clock,
        config: Arc::new(config),
    };
    let start = Instant::now();
    let events = Events::start(&Settings { history: Some(history), hook: None }, &around)?;
    let lines = loop {
        let stats = events.stats().history.context("no history")?;
        // Of those whose time is over the end is told too.
        if stats.lines >= u64::from(clients) {
            break stats.lines;
        }
        ensure!(start.elapsed() < Duration::from_secs(600), "{stats:?}");
        std::thread::sleep(Duration::from_millis(5));
    };
    let rate = lines as f64 / start.elapsed().as_secs_f64();
    let bytes = bytes_in(&dir.join("history"))? as f64 / lines as f64;
    println!(
        "  it catches up with {rate:.0} lines a second, of {bytes:.0} bytes each, while nobody else wants the machine"
    );
    claim(
        "lines a second, times those of 5,000 changes",
        rate / CHANGES_PER_S,
        "at least 10.00",
        rate >= 10.0 * CHANGES_PER_S,
    );
    journal.stop()?;
    events.stop();
    std::fs::remove_dir_all(dir)?;
    Ok(())
}
