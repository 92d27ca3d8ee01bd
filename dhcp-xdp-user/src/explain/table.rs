//! The lease table of an explanation: empty, or with what a journal has.

use std::path::Path;

use crate::{
    config::Config,
    journal::{Journal, JournalError},
    lease::LeaseTable,
    server::{StartError, expect_room},
};

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// There is no memory for it.
    #[error(transparent)]
    Memory(#[from] StartError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is none.
    #[error("{0}: no journal is there; expected a server's state directory")]
    NoJournal(String),
}

/// A table of the configured addresses; with the leases of a state directory, if one is named, as they are at `now_s`. That
/// directory is only read, also beside a running server.
///
/// # Errors
/// [`TableError`].
pub fn lease_table(config: &Config, state_dir: Option<&Path>, now_s: u32) -> Result<LeaseTable, TableError> {
    expect_room(config.address_count())?;
    // Always the same secret: the same capture is explained in the same way.
    let table = config.lease_table([0x6578_706c, 0x6169_6e65]);
    let Some(dir) = state_dir else { return Ok(table) };
    let report = Journal::read(dir, |binding| {
        if let Some(subnet) = config.subnets.index_of(binding.at()) {
            // What is in no pool now is nobody's.
            let _ = table.restore(&binding, subnet, now_s);
        }
    })?;
    if report.segments == 0 { Err(TableError::NoJournal(dir.display().to_string())) } else { Ok(table) }
}
