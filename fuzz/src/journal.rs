//! Recovery from a state directory that was damaged in any way. Input: a byte that chooses a journal, then operations on its
//! files of seven bytes each: what to do, which file, where (two bytes), how much, and a value.
//!
//! The journals are true ones, written once at the start. Damage alone must never lead to anything but an error or a
//! beginning of what was written. Some operations also make the checksum of what they changed right, or put whole records
//! elsewhere: of those it is asked only that nothing panics and that no time is lost in them.

use std::{
    collections::BTreeSet,
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use dhcp_xdp::{
    config::Durability,
    journal::{Journal, Lane, Recovery},
    lease::{Binding, BindingState, HwAddress, Space},
    wake::Wake,
};
use tempfile::TempDir;

use crate::{Seed, input::Input};

/// Bytes of a record (`dhcp_xdp::journal::record`), which operations count in.
const RECORD: usize = 64;
/// Operations of one input.
const MOST_OPERATIONS: usize = 12;

/// A state directory's segments by name, and what was written to them, in order.
struct Written {
    files: Vec<(String, Vec<u8>)>,
    bindings: Vec<Binding>,
}

/// A folder in memory where there is one, so that a disk does not slow the fuzzer down.
fn scratch() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a temporary folder")
}

/// Those from number 200 on came through a relay agent.
fn binding(n: u8, id_len: usize) -> Binding {
    let states = [BindingState::Bound, BindingState::Released, BindingState::Expired, BindingState::Declined];
    let mut chaddr = [0; 16];
    chaddr[..6].copy_from_slice(&[2, 0, 0, 0, 0, n]);
    Binding {
        space: Space(u16::from(n % 2) * 0x0301),
        address: Ipv4Addr::new(192, 0, 2, n % 5),
        state: states[usize::from(n) % 4],
        generation: u32::from(n),
        started_s: 1_900_000_000 + u32::from(n),
        expires_s: 1_900_003_600 + u32::from(n),
        hw: HwAddress { htype: 1, hlen: 6, chaddr },
        client_id: (0..id_len).map(|i| i as u8 ^ n).collect(),
        limits: Default::default(),
        agent_info: (0..n.saturating_sub(199).saturating_mul(50)).map(|i| i ^ n).collect(),
    }
}

fn submit(lane: &mut Lane, binding: &Binding) {
    let ticket = lane.submit(&binding.lease(), &binding.hw, &binding.client_id, binding.kept());
    let ticket = ticket.expect("room in a lane");
    let start = Instant::now();
    while lane.durable() < ticket {
        assert!(start.elapsed() < Duration::from_secs(20), "the journal takes no record");
        std::thread::yield_now();
    }
}

/// A journal of these runs of the server, each with its bindings (number and length of the client identifier); after a clean
/// stop, or as a server that was killed leaves it, which is without the last marker.
fn write(runs: &[&[(u8, usize)]], is_clean: bool) -> Written {
    let dir = scratch();
    let mut bindings = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let wake = Arc::new(Wake::new().expect("an eventfd"));
        let (journal, mut lanes) = Journal::start(dir.path(), Durability::Sync, vec![wake]).expect("a journal");
        for &(n, id_len) in *run {
            let binding = binding(n, id_len);
            submit(&mut lanes[0], &binding);
            bindings.push(binding);
        }
        let killed = (i + 1 == runs.len() && !is_clean).then(|| load(&dir));
        drop(lanes);
        journal.stop().expect("a stop");
        if let Some(files) = killed {
            return Written { files, bindings };
        }
    }
    Written { files: load(&dir), bindings }
}

fn load(dir: &TempDir) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(dir.path()).expect("a folder").map(|entry| entry.expect("an entry"));
    let mut files: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().expect("a name"), fs::read(entry.path()).expect("a file")))
        .collect();
    files.sort();
    files
}

fn journals() -> &'static [Written] {
    static ALL: OnceLock<Vec<Written>> = OnceLock::new();
    ALL.get_or_init(|| {
        vec![
            write(&[&[(1, 0), (2, 22), (3, 23), (4, 255)]], false),
            write(&[&[(1, 70), (2, 71), (3, 0)]], true),
            write(&[&[(1, 0), (2, 100)], &[(3, 7)], &[(4, 0), (5, 255), (6, 1)]], false),
            write(&[&[(1, 0)], &[], &[(2, 255)], &[]], true),
            write(&[&[]], false),
            write(&[&[(200, 0), (1, 7), (201, 22)], &[(204, 255), (202, 7)]], false),
        ]
    })
}

/// Whether an operation does what a disk or a crash does, which recovery must see through.
fn operate(files: &mut Vec<(String, Vec<u8>)>, input: &mut Input<'_>) -> bool {
    let (what, which) = (input.byte(), usize::from(input.byte()));
    let (at, amount, value) = (usize::from(input.u16()), usize::from(input.byte()), input.u16() as u8);
    if files.is_empty() {
        return true;
    }
    let which = which % files.len();
    let seed = files[which].1.get(24..28).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let bytes = &mut files[which].1;
    let at = at % (bytes.len() + 1);
    let end = (at + amount).min(bytes.len());
    match what % 12 {
        0 => bytes[at..end].iter_mut().for_each(|byte| *byte ^= value.max(1)),
        1 => bytes[at..end].fill(value),
        2 => bytes.truncate(at),
        3 => bytes.extend(std::iter::repeat_n(value, amount)),
        4 => bytes.truncate(at / RECORD * RECORD),
        5 => {
            files.pop();
        }
        6 => files[which].1.clear(),
        7 => reseal(bytes, at / RECORD, seed, |record| record[4 + amount % 60] = value),
        8 => {
            let record = bytes[at / RECORD * RECORD..end.max(at / RECORD * RECORD)].to_vec();
            bytes.extend(record);
        }
        9 => {
            let bytes = bytes.clone();
            files.push((format!("journal-{:010}.seg", amount), bytes));
        }
        10 => {
            let other = (which + amount) % files.len();
            if other != which {
                let bytes = files[other].1.clone();
                files[which].1 = bytes;
            }
        }
        _ => {
            files.remove(which);
        }
    }
    what % 12 < 6
}

/// Changes a record and makes its checksum right: CRC-32C from the segment's number on, or from zero in its header.
fn reseal(bytes: &mut [u8], record: usize, seed: u32, change: impl FnOnce(&mut [u8])) {
    let Some(found) = bytes.get_mut(record * RECORD..(record + 1) * RECORD) else { return };
    change(found);
    let crc = crc32c::crc32c_append(if record == 0 { 0 } else { seed }, &found[4..]);
    found[..4].copy_from_slice(&crc.to_le_bytes());
}

/// A folder for this thread's inputs, emptied for each.
struct Bench {
    dir: TempDir,
    number: AtomicU64,
}

impl Bench {
    fn put(&self, files: &[(String, Vec<u8>)]) -> PathBuf {
        let dir = self.dir.path().join(self.number.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&dir).expect("a folder");
        for (name, bytes) in files {
            fs::write(dir.join(name), bytes).expect("a file");
        }
        dir
    }
}

/// Any damage: an error, or a beginning of what was written; and a server that starts on it reads the same.
pub fn run(data: &[u8]) {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    let bench = BENCH.get_or_init(|| Bench { dir: scratch(), number: AtomicU64::new(0) });
    let mut input = Input::new(data);
    let journals = journals();
    let written = &journals[usize::from(input.byte()) % journals.len()];
    let mut files = written.files.clone();
    let mut is_plain_damage = true;
    for _ in 0..MOST_OPERATIONS {
        if input.is_empty() {
            break;
        }
        is_plain_damage &= operate(&mut files, &mut input);
    }
    let dir = bench.put(&files);
    let mut read = Vec::new();
    let report = Journal::read(&dir, |binding| read.push(binding));
    if report.is_ok() && is_plain_damage {
        assert!(written.bindings.starts_with(&read), "{read:?}\nis no beginning of\n{:?}", written.bindings);
    }
    let mut recovered = Vec::new();
    let again = Recovery::open(&dir).and_then(|recovery| recovery.replay(|binding| recovered.push(binding.clone())));
    assert_eq!(again.is_ok(), report.is_ok(), "{again:?} {report:?}");
    if report.is_ok() {
        assert_eq!(recovered, read);
        let mut compacted = Vec::new();
        Journal::compact(&dir).expect("a snapshot of what can be read");
        Journal::read(&dir, |binding| compacted.push(binding)).expect("what compaction wrote");
        let addresses = |bindings: &[Binding]| bindings.iter().map(Binding::at).collect::<BTreeSet<_>>();
        assert!(compacted.iter().all(|binding| read.contains(binding)), "{compacted:?}\nare not all of\n{read:?}");
        assert_eq!(addresses(&compacted), addresses(&read));
    }
    fs::remove_dir_all(&dir).expect("a folder to remove");
}

/// Each journal as it is, and each operation once.
pub fn seeds() -> Vec<Seed> {
    let operation = |what: u8, at: u16, amount: u8| {
        let at = at.to_be_bytes();
        vec![0, what, 0, at[0], at[1], amount, 0, 0x5a]
    };
    vec![
        ("killed", vec![0]),
        ("stopped", vec![1]),
        ("three-runs", vec![2]),
        ("empty-runs", vec![3]),
        ("nothing-written", vec![4]),
        ("through-relay-agents", vec![5]),
        ("bits-flipped-in-option-82", [vec![5], operation(0, 200, 1)[1..].to_vec()].concat()),
        ("length-of-option-82-resealed", [vec![5], operation(7, 130, 38)[1..].to_vec()].concat()),
        ("bits-flipped", operation(0, 200, 1)),
        ("block-overwritten", operation(1, 512, 64)),
        ("bits-flipped-in-an-address", operation(0, 136, 1)),
        ("bits-flipped-in-an-identifier", operation(0, 450, 1)),
        ("bits-flipped-in-the-last-group", operation(0, 1000, 1)),
        ("torn", operation(2, 700, 0)),
        ("noise-behind", operation(3, 0, 100)),
        ("cut-at-a-record", operation(4, 640, 0)),
        ("last-segment-gone", operation(5, 0, 0)),
        ("emptied", operation(6, 0, 0)),
        ("header-resealed", operation(7, 0, 28)),
        ("record-resealed", operation(7, 150, 3)),
        ("records-twice", operation(8, 64, 255)),
        ("segment-twice", operation(9, 0, 9)),
        ("segments-mixed", [vec![2], operation(10, 0, 1)[1..].to_vec()].concat()),
        ("first-segment-gone", [vec![2], operation(11, 0, 0)[1..].to_vec()].concat()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_sealed_anew_is_read() {
        let written = &journals()[1];
        let mut files = written.files.clone();
        let seed = files[0].1[24..28].try_into().map(u32::from_le_bytes).unwrap();
        let records = files[0].1.len() / RECORD;
        let before = files.clone();
        for record in 0..records {
            reseal(&mut files[0].1, record, seed, |_| {});
        }
        assert_eq!(files, before, "the format is the one that this module knows");
    }
}
