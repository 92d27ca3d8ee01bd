//! The state directory, and what the journal in it says about leases.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{RecvTimeoutError, bounded};

use super::StartError;
use crate::{
    clock::Clock,
    config::{Anywhere, Config},
    journal::{Addresses, Recovery, RecoveryReport},
    lease::{Binding, LeaseTable, RestoreError, Space, SpacedAddress},
};

/// A long recovery says how far it is this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Makes the directory if it is not there, for us alone, and refuses one that everybody may write to.
pub(super) fn prepare_dir(path: &Path) -> Result<(), StartError> {
    let fail = |action| move |source: io::Error| StartError::StateDir { path: path.to_owned(), action, source };
    match DirBuilder::new().recursive(true).mode(0o750).create(path) {
        // There, and something else, or a link to nowhere.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(StartError::StateDirNone { path: path.to_owned() });
        }
        made => made.map_err(fail("make it"))?,
    }
    let mode = fs::metadata(path).map_err(fail("look at it"))?.permissions().mode() & 0o777;
    if mode & 0o002 != 0 {
        return Err(StartError::StateDirOpen { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Makes the history's directory if it is not there, and holds it for this process.
pub(super) fn hold_history(path: &Path, state_dir: &Path) -> Result<Option<File>, StartError> {
    let failed = |error| StartError::History(Box::new(error));
    prepare_dir(path).map_err(failed)?;
    let fail = |action| move |source| failed(StartError::StateDir { path: path.to_owned(), action, source });
    let real = |path: &Path| path.canonicalize().map_err(fail("look at it"));
    if real(path)? == real(state_dir)? {
        // The journal holds that one.
        return Ok(None);
    }
    let dir = File::open(path).map_err(fail("open it"))?;
    match dir.try_lock() {
        Ok(()) => Ok(Some(dir)),
        Err(TryLockError::WouldBlock) => Err(StartError::HistoryInUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(fail("lock it")(source)),
    }
}

/// The clock, which goes on from what the journal knows; says so when that is not what the wall clock says.
pub(super) fn resume_clock(journal: &Recovery) -> Clock {
    let clock = Clock::resume(journal.last_moment());
    match clock.moment().wall_ahead_s() {
        ahead @ ..-60 => log::warn!(
            "the wall clock is {} s behind the time of the leases in the journal: leases keep their own time, so that none ends early",
            -ahead
        ),
        ahead @ 60.. => log::warn!(
            "the wall clock is {ahead} s ahead of the time of the leases in the journal, which is off since it was wrong at a former start: leases keep their own time, so that none ends early"
        ),
        _ => {}
    }
    clock
}

/// A table of the configured pools with all that the journal kept.
pub(super) fn recover(config: &Config, journal: &Recovery, now_s: u32) -> Result<LeaseTable, StartError> {
    expect_room(config.address_count())?;
    let start = Instant::now();
    let table = config.lease_table(secret());
    let made = start.elapsed();
    let (strangers, moved) = (AtomicU64::new(0), AtomicU64::new(0));
    // Two threads at one client or address: seldom, and settled at the end.
    let contended = Mutex::new(Vec::new());
    let restore = |bindings: &[Binding]| {
        let known = |binding: &Binding| config.subnets.index_of(binding.at());
        let in_pools = bindings.iter().filter_map(|binding| Some((binding, known(binding)?)));
        for foreign in bindings.iter().filter(|binding| known(binding).is_none()) {
            let count = if Adoption::concerns(config, foreign) { &moved } else { &strangers };
            count.fetch_add(1, Ordering::Relaxed);
        }
        table.restore_all(in_pools, now_s, |binding, subnet, error| match error {
            RestoreError::NotInPool => drop(strangers.fetch_add(1, Ordering::Relaxed)),
            RestoreError::Contended => {
                contended.lock().unwrap_or_else(PoisonError::into_inner).push((binding.clone(), subnet));
            }
        });
    };
    let report = replay(journal, restore)?;
    for (binding, subnet) in contended.into_inner().unwrap_or_else(PoisonError::into_inner) {
        if let Err(error) = table.restore(&binding, subnet, now_s) {
            // Alone, nothing can be in the way.
            log::error!("journal: {} is not restored: {error}", binding.at());
        }
    }
    if moved.into_inner() > 0 {
        let adoption = Mutex::new(Adoption::new(config, &table, now_s));
        replay(journal, |bindings| {
            for binding in bindings.iter().filter(|binding| Adoption::concerns(config, binding)) {
                adoption.lock().unwrap_or_else(PoisonError::into_inner).take(binding);
            }
        })?;
        let count = adoption.into_inner().unwrap_or_else(PoisonError::into_inner).records;
        log::info!("journal: {count} records of addresses that are in a VPN now and were in none");
    }
    if report.torn_bytes > 0 {
        log::warn!("journal: {} bytes of an unfinished write cut off its end", report.torn_bytes);
    }
    let strangers = strangers.into_inner();
    if strangers > 0 {
        log::warn!("journal: {strangers} records of addresses that are in no pool now");
    }
    let counts = table.counts();
    log::info!(
        "journal: {} records in {} files read in {:.1} s, after {:.1} s for the table; {} of {} addresses bound",
        report.records,
        report.segments,
        (start.elapsed() - made).as_secs_f64(),
        made.as_secs_f64(),
        counts.bound,
        counts.total
    );
    Ok(table)
}

/// The subnet of a record of an address outside of all VPNs that has gone into one: there is no such address any more but in that
/// VPN alone.
fn went_into(config: &Config, binding: &Binding) -> Option<u16> {
    if binding.space != Space::GLOBAL || config.subnets.vrfs().is_empty() {
        return None;
    }
    match config.subnets.anywhere(binding.address) {
        Anywhere::In(place) if config.subnets[usize::from(place)].space != Space::GLOBAL => Some(place),
        _ => None,
    }
}

/// Gives subnets that went into a VPN the leases that they had before, but for addresses of which the VPN has records of its own: those
/// were another client's then. For a table that has all other leases by now.
pub(crate) struct Adoption<'a> {
    config: &'a Config,
    table: &'a LeaseTable,
    now_s: u32,
    adopted: Addresses,
    /// How many records were of such leases.
    records: u64,
}

impl<'a> Adoption<'a> {
    pub fn new(config: &'a Config, table: &'a LeaseTable, now_s: u32) -> Self {
        Self { config, table, now_s, adopted: Addresses::default(), records: 0 }
    }

    /// Whether a record is of an address that went into a VPN.
    pub fn concerns(config: &Config, binding: &Binding) -> bool {
        went_into(config, binding).is_some()
    }

    /// Takes any record of the journal.
    pub fn take(&mut self, binding: &Binding) {
        let Some(place) = went_into(self.config, binding) else { return };
        let at = SpacedAddress::new(self.config.subnets[usize::from(place)].space, binding.address);
        let is_free = self.adopted.contains(at) || self.table.get(at, self.now_s).is_none();
        // One that is in no pool is left out.
        if is_free && self.table.restore(binding, place, self.now_s).is_ok() {
            self.adopted.insert(at);
            self.records += 1;
        }
    }
}

/// Replays on all CPUs, and says how far it is now and then.
fn replay(journal: &Recovery, restore: impl Fn(&[Binding]) + Sync) -> Result<RecoveryReport, StartError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let done = AtomicU64::new(0);
    let (end, ended) = bounded::<()>(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let ended = ended;
            while ended.recv_timeout(PROGRESS_EVERY) == Err(RecvTimeoutError::Timeout) {
                let (records, mib) = (done.load(Ordering::Relaxed), journal.bytes() >> 20);
                log::info!("reading the journal: {records} records so far of {mib} MiB");
            }
        });
        let report = journal.replay_with(threads, &done, restore);
        drop(end);
        Ok(report?)
    })
}

/// Asks for the table's memory and gives it back: being refused then is an error, while it is an abort in the table's making.
pub(crate) fn expect_room(addresses: u64) -> Result<(), StartError> {
    let bytes = LeaseTable::bytes(addresses);
    let refused = StartError::Memory { addresses, mib: bytes >> 20 };
    match usize::try_from(bytes).map(|bytes| Vec::<u8>::new().try_reserve_exact(bytes)) {
        Ok(Ok(())) => Ok(()),
        _ => Err(refused),
    }
}

/// The secret of the table's hashes: random, and new at each start.
pub(super) fn secret() -> [u64; 2] {
    let mut bytes = [0u8; 16];
    if File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).is_err() {
        log::warn!("/dev/urandom cannot be read: the lease table is hashed with a secret that could be guessed");
    }
    let value = u128::from_ne_bytes(bytes) ^ u128::from(std::process::id());
    [value as u64, (value >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_is_made_for_its_owner_alone() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/b");
        prepare_dir(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o007, 0);
        prepare_dir(&path).unwrap();
    }

    #[test]
    fn a_state_directory_that_everybody_may_write_to_is_refused() {
        let base = tempfile::tempdir().unwrap();
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(prepare_dir(base.path()), Err(StartError::StateDirOpen { mode: 0o777, .. })));
    }

    #[test]
    fn a_history_directory_is_one_servers_alone_and_may_be_the_state_directory() {
        let base = tempfile::tempdir().unwrap();
        let (dir, state) = (base.path().join("history"), base.path().join("state"));
        prepare_dir(&state).unwrap();
        let held = hold_history(&dir, &state).unwrap();
        assert!(held.is_some());
        let error = hold_history(&dir, &state).unwrap_err().to_string();
        assert!(error.contains("in use by another process") && !error.contains('\n'), "{error}");
        drop(held);
        hold_history(&dir, &state).unwrap();
        assert!(hold_history(&state, &state).unwrap().is_none());
    }

    #[test]
    fn a_file_in_place_of_the_state_directory_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = prepare_dir(file.path()).unwrap_err().to_string();
        assert!(error.ends_with("is there and is no directory: move it away, or use another one"), "{error}");
    }

    /// Many clients at few addresses, so that threads meet.
    #[test]
    fn recovery_on_all_cpus_ends_as_recovery_in_order() {
        use crate::{
            config::{AnyMachine, Durability},
            journal::Journal,
            lease::{BindingState, Client, HwAddress, Kept},
        };
        const FILE: &str = "[[interface]]\nname = \"eth1\"\n\
            [[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.10-192.0.2.19\"]\n";
        let dir = tempfile::tempdir().unwrap();
        let mut config = crate::config::parse("f", FILE, &AnyMachine).unwrap().config;
        config.state_dir = dir.path().to_owned();
        let live = config.lease_table([1, 2]);
        let wake = std::sync::Arc::new(crate::wake::Wake::new().unwrap());
        let (journal, mut lanes) = Journal::start(dir.path(), Durability::Off, vec![wake]).unwrap();
        let now_s = 1_800_000_000;
        for round in 0..40_000u32 {
            let number = round.wrapping_mul(0x9e37_79b9) >> 16;
            let mut chaddr = [0; 16];
            chaddr[0] = (number % 23) as u8;
            let hw = HwAddress { htype: 1, hlen: 6, chaddr };
            let client =
                Client { key: live.key(0, &hw, b""), subnet: 0, hw: &hw, client_id: b"", limits: &[], agent_info: &[] };
            let at = now_s + round / 100;
            let Ok(offer) = live.offer(&client, None, at + 1, at) else { continue };
            let Ok(bound) = live.bind(&client, offer.address, at + 3 + number % 5, at) else { continue };
            while !lanes[0].has_room() {
                std::thread::yield_now();
            }
            lanes[0].submit(&bound.lease, &hw, b"", Kept::default()).unwrap();
            for ended in bound.released.into_iter().chain(
                (number % 7 == 0)
                    .then(|| live.release(&client.key, offer.address, at))
                    .flatten()
                    .map(|ended| ended.lease),
            ) {
                lanes[0].submit(&ended, &hw, b"", Kept::default()).unwrap();
            }
        }
        journal.stop().unwrap();
        let in_order = config.lease_table([1, 2]);
        let recovery = Recovery::open(dir.path()).unwrap();
        let at = now_s + 399;
        recovery.replay(|binding| in_order.restore(binding, 0, at).unwrap()).unwrap();
        let want: Vec<Binding> = in_order.iter(at).collect();
        assert!(want.iter().any(|binding| binding.state == BindingState::Bound));
        for _ in 0..5 {
            let table = recover(&config, &recovery, at).unwrap();
            assert_eq!(table.iter(at).collect::<Vec<_>>(), want);
            for binding in want.iter().filter(|binding| binding.state == BindingState::Bound) {
                let found = table.find(&table.key(0, &binding.hw, b""), at);
                assert_eq!(found.map(|lease| lease.address), Some(binding.address), "its client finds it");
            }
        }
    }

    #[test]
    fn a_subnet_that_goes_into_a_vpn_takes_its_leases_along_and_none_from_the_vpns_own_clients() {
        use crate::{
            config::{AnyMachine, Durability},
            journal::Journal,
            lease::{BindingState, HwAddress, Kept, Lease},
        };
        let subnet = |vrf: &str| {
            format!("[[subnet]]\nprefix = \"192.0.2.0/24\"\npools = [\"192.0.2.10-192.0.2.19\"]\nvrf = \"{vrf}\"\n")
        };
        let config = |vrfs: &[&str]| {
            let subnets: String = vrfs.iter().map(|vrf| subnet(vrf)).collect();
            let text = format!("[[interface]]\nname = \"eth1\"\n{subnets}");
            crate::config::parse("f", &text, &AnyMachine).unwrap().config
        };
        let red = config(&["red"]).subnets[0].space;
        let dir = tempfile::tempdir().unwrap();
        let wake = std::sync::Arc::new(crate::wake::Wake::new().unwrap());
        let (journal, mut lanes) = Journal::start(dir.path(), Durability::Sync, vec![wake]).unwrap();
        let now_s = 1_800_000_000;
        let mut record = |space, last: u8, generation, client| {
            let (address, state) = ([192, 0, 2, last].into(), BindingState::Bound);
            let lease = Lease { space, address, state, generation, started_s: now_s, expires_s: now_s + 600 };
            let hw = HwAddress { htype: 1, hlen: 6, chaddr: [client; 16] };
            lanes[0].submit(&lease, &hw, b"", Kept::default()).unwrap();
        };
        record(Space::GLOBAL, 10, 1, 1);
        record(Space::GLOBAL, 10, 2, 2);
        record(Space::GLOBAL, 11, 9, 3);
        record(red, 11, 1, 4);
        record(Space::GLOBAL, 99, 1, 5);
        drop(lanes);
        journal.stop().unwrap();
        let recovery = Recovery::open(dir.path()).unwrap();
        let held = |vrfs: &[&str]| {
            let table = recover(&config(vrfs), &recovery, now_s).unwrap();
            table
                .iter(now_s)
                .map(|lease| (lease.space, lease.address.octets()[3], lease.hw.chaddr[0]))
                .collect::<Vec<_>>()
        };
        assert_eq!(held(&["red"]), [(red, 10, 2), (red, 11, 4)]);
        assert_eq!(held(&["global", "red"]), [(Space::GLOBAL, 10, 2), (Space::GLOBAL, 11, 3), (red, 11, 4)]);
        assert_eq!(held(&["red", "blue"]), [(red, 11, 4)], "nobody can tell which of the two they went into");
    }

    #[test]
    fn two_secrets_differ() {
        assert_ne!(secret(), secret());
    }

    #[test]
    fn pools_that_no_memory_can_hold_are_an_error_and_no_abort() {
        assert!(expect_room(1000).is_ok());
        let error = expect_room(1 << 60).unwrap_err();
        assert!(error.to_string().contains("make the pools smaller"), "{error}");
    }
}
