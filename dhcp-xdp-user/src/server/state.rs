//! The state directory, and what the journal in it says about leases.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
    time::{Duration, Instant},
};

use super::StartError;
use crate::{
    config::Config,
    journal::Journal,
    lease::{Binding, LeaseTable},
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

/// A table of the configured pools with all that the journal kept.
pub(super) fn recover(config: &Config, now_s: u32) -> Result<LeaseTable, StartError> {
    expect_room(config.address_count())?;
    let table = config.lease_table(secret());
    let start = Instant::now();
    let mut said = start;
    let (mut records, mut known) = (0u64, 0);
    // The table takes many at once faster than one by one.
    let mut some: Vec<(Binding, u16)> = Vec::with_capacity(LeaseTable::RESTORE_BATCH);
    let mut restore = |some: &mut Vec<(Binding, u16)>| {
        known += table.restore_all(some, now_s) as u64;
        some.clear();
    };
    let report = Journal::recover(&config.state_dir, |binding| {
        records += 1;
        if let Some(subnet) = config.subnets.index_of(binding.address) {
            some.push((binding, subnet));
        }
        if some.len() == some.capacity() {
            restore(&mut some);
        }
        if records.is_multiple_of(4096) && said.elapsed() >= PROGRESS_EVERY {
            said = Instant::now();
            log::info!("reading the journal: {records} records so far");
        }
    })?;
    restore(&mut some);
    let strangers = records - known;
    if report.torn_bytes > 0 {
        log::warn!("journal: {} bytes of an unfinished write cut off its end", report.torn_bytes);
    }
    if strangers > 0 {
        log::warn!("journal: {strangers} records of addresses that are in no pool now");
    }
    let counts = table.counts();
    log::info!(
        "journal: {} records in {} segments read in {:.1} s; {} of {} addresses bound",
        report.records,
        report.segments,
        start.elapsed().as_secs_f64(),
        counts.bound,
        counts.total
    );
    Ok(table)
}

/// Asks for the table's memory and gives it back: being refused then is an error, while it is an abort in the table's making.
fn expect_room(addresses: u64) -> Result<(), StartError> {
    let bytes = LeaseTable::bytes(addresses);
    let refused = StartError::Memory { addresses, mib: bytes >> 20 };
    match usize::try_from(bytes).map(|bytes| Vec::<u8>::new().try_reserve_exact(bytes)) {
        Ok(Ok(())) => Ok(()),
        _ => Err(refused),
    }
}

/// The secret of the table's hashes: random, and new at each start.
fn secret() -> [u64; 2] {
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
    fn a_file_in_place_of_the_state_directory_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = prepare_dir(file.path()).unwrap_err().to_string();
        assert!(error.ends_with("is there and is no directory: move it away, or use another one"), "{error}");
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
