//! Room on a file system, and how much of it is the journal's. The history asks before it writes, the journal before it keeps
//! segments for a history that is behind; nobody asks for a client.

use std::{
    fs::{self, OpenOptions},
    io,
    path::Path,
    time::Duration,
};

use nix::sys::statvfs::statvfs;

/// Bytes of a removed file that are given back at a time, and the rest between two times.
const FREED_AT_ONCE: u64 = 1 << 20;
const FREEING_REST: Duration = Duration::from_millis(1);

/// What a file system has, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Its size.
    pub total: u64,
    /// What is free for those who are not root.
    pub free: u64,
}

impl Room {
    /// Of the file system that a directory is on; `None`: it has no size (as `tmpfs` without a limit).
    ///
    /// # Errors
    /// What the operating system says.
    pub fn at(dir: &Path) -> io::Result<Option<Self>> {
        let found = statvfs(dir)?;
        let block: u64 = found.fragment_size();
        let bytes = |blocks: u64| blocks.saturating_mul(block);
        let room = Self { total: bytes(found.blocks()), free: bytes(found.blocks_available()) };
        Ok((room.total > 0).then_some(room))
    }
}

/// What of a file system the history leaves to the journal: a share of it, or so many bytes where these are fewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserve {
    /// The share, percent; 0: nothing is left.
    pub percent: u8,
    /// At most, bytes; 0: nothing is left.
    pub most_bytes: u64,
}

impl Reserve {
    /// Of a file system of this size, bytes.
    pub fn of(self, total: u64) -> u64 {
        // Divided first: a size may be anything.
        (total / 100 * u64::from(self.percent)).min(self.most_bytes)
    }

    /// Beneath this the journal has its own work to do with what is left, which is to compact: a snapshot is written before the
    /// files that it replaces go.
    pub fn last_half(self, total: u64) -> u64 {
        self.of(total) / 2
    }
}

/// Removes a file. Its blocks go little by little: freeing those of a segment at once takes ten milliseconds (ext4 with `discard`),
/// in which nobody's `fdatasync` on that file system returns.
///
/// # Errors
/// What the operating system says; then it has its name still.
pub fn remove(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path);
    fs::remove_file(path)?;
    // Without a name it does no harm whatever becomes of this: the last descriptor takes the rest with it.
    if let Ok(file) = file {
        let mut len = file.metadata().map_or(0, |metadata| metadata.len());
        while len > FREED_AT_ONCE {
            len = (len - 1) / FREED_AT_ONCE * FREED_AT_ONCE;
            if file.set_len(len).is_err() {
                break;
            }
            std::thread::sleep(FREEING_REST);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_on_a_file_system_of_some_size() {
        let dir = tempfile::tempdir().unwrap();
        let room = Room::at(dir.path()).unwrap().unwrap();
        assert!(room.total > room.free && room.free > 0, "{room:?}");
        assert!(Room::at(&dir.path().join("x")).is_err());
    }

    #[test]
    fn a_reserve_is_a_share_of_the_file_system_and_no_more_than_its_bytes() {
        let reserve = Reserve { percent: 10, most_bytes: 4 << 30 };
        assert_eq!(reserve.of(8 << 20), (8 << 20) / 100 * 10);
        assert_eq!((reserve.of(1 << 40), reserve.last_half(1 << 40)), (4 << 30, 2 << 30));
        assert!(reserve.of(u64::MAX) == 4 << 30, "no size overflows");
        assert_eq!(Reserve { percent: 0, ..reserve }.of(1 << 40), 0);
        assert_eq!(Reserve { most_bytes: 0, ..reserve }.of(1 << 40), 0);
    }

    #[test]
    fn a_large_file_that_is_removed_has_no_name_and_what_is_no_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, vec![1; 5 << 19]).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
        assert!(remove(dir.path()).is_err() && dir.path().exists());
    }
}
