//! The history gives way to the journal: it writes while its file system has more free than is left for the journal, and waits
//! else. Where the operator has set a limit to what it takes, it goes on in place of its oldest files, and so in no more room than it
//! has: files that nobody set a limit for are evidence, and others who fill a disk cannot have them removed.

use std::{io, path::PathBuf};

use crate::{
    history::Writer,
    room::{Reserve, Room},
};

/// Whoever asks a file system for its room.
pub(super) type AskRoom = Box<dyn Fn() -> io::Result<Option<Room>> + Send>;

/// Says whether there is room.
pub(super) struct Keeper {
    pub reserve: Reserve,
    pub room: AskRoom,
    is_short: bool,
    /// Bytes that were removed for what is written while the room is short, and are not written yet.
    credit: u64,
}

impl Keeper {
    pub fn new(dir: PathBuf, reserve: Reserve) -> Self {
        Self::asking(reserve, Box::new(move || Room::at(&dir)))
    }

    pub fn asking(reserve: Reserve, room: AskRoom) -> Self {
        Self { reserve, room, is_short: false, credit: 0 }
    }

    /// Whether what waits may be written; else why not, in words for the operator.
    pub fn allow(&mut self, writer: &mut Writer) -> io::Result<Result<(), String>> {
        let wanted = writer.pending() as u64;
        if wanted == 0 {
            return Ok(Ok(()));
        }
        // What has no size says with an error when it is full, as does one that cannot be asked.
        let Ok(Some(room)) = (self.room)() else { return Ok(Ok(())) };
        let reserve = self.reserve.of(room.total);
        // Some more before it goes on, so that it does not begin and stop all the time.
        let margin = if self.is_short { reserve / 8 } else { 0 };
        self.is_short = room.free < reserve + margin + wanted;
        if !self.is_short || reserve == 0 {
            (self.is_short, self.credit) = (false, 0);
            return Ok(Ok(()));
        }
        if room.free >= self.reserve.last_half(room.total) + wanted {
            while self.credit < wanted {
                let Some(bytes) = writer.replace_oldest()? else { break };
                self.credit += bytes;
            }
            if self.credit >= wanted {
                return Ok(Ok(()));
            }
        }
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        Ok(Err(format!(
            "held back: {:.1} MiB are free on its file system, and {:.1} MiB are left free for the journal (keep_free_percent, \
             keep_free_mib): make room there, or give the history a disk of its own (directory)",
            mib(room.free),
            mib(reserve)
        )))
    }

    /// So many bytes were written: what was removed for those that could not be is there for the next attempt.
    pub fn wrote(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };

    use tempfile::TempDir;

    use super::*;
    use crate::{history, journal::Position};

    const MIB: u64 = 1 << 20;
    const TOTAL: u64 = 1000 * MIB;
    const TENTH: Reserve = Reserve { percent: 10, most_bytes: u64::MAX };

    struct World {
        dir: TempDir,
        writer: Writer,
        keeper: Keeper,
        free: Arc<AtomicU64>,
        at_s: u32,
    }

    impl World {
        fn new(reserve: Reserve, max_bytes: Option<u64>) -> Self {
            let dir = TempDir::new().unwrap();
            let settings = history::Settings {
                dir: dir.path().to_owned(),
                rotate_bytes: 10_000,
                rotate_after: Duration::from_secs(86_400),
                keep: None,
                max_bytes,
            };
            let free = Arc::new(AtomicU64::new(TOTAL));
            let asked = Arc::clone(&free);
            let room = move || Ok(Some(Room { total: TOTAL, free: asked.load(Ordering::Relaxed) }));
            let writer = Writer::open(settings, false).unwrap();
            Self { dir, writer, keeper: Keeper::asking(reserve, Box::new(room)), free, at_s: 1_800_000_000 }
        }

        /// About a thousand bytes; whether they were written.
        fn write(&mut self) -> bool {
            if self.writer.pending() == 0 {
                self.writer.add(&"x".repeat(997));
            }
            let allowed = self.keeper.allow(&mut self.writer).unwrap().is_ok();
            if allowed {
                self.at_s += 1;
                let wanted = self.writer.pending();
                self.writer.commit(Position::default(), 0, self.at_s).unwrap();
                self.keeper.wrote(wanted as u64);
            }
            allowed
        }

        fn set_free(&self, free: u64) {
            self.free.store(free, Ordering::Relaxed);
        }

        /// Bytes of all files of the history.
        fn taken(&self) -> u64 {
            let sizes =
                std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
            sizes.sum()
        }
    }

    #[test]
    fn it_waits_beneath_the_reserve_and_goes_on_some_way_above_it() {
        let mut world = World::new(TENTH, None);
        for (free, is_written) in [(101, true), (99, false), (101, false), (112, false), (113, true), (101, true)] {
            world.set_free(free * MIB);
            assert_eq!(world.write(), is_written, "{free} MiB");
        }
    }

    #[test]
    fn without_a_reserve_or_on_a_file_system_that_does_not_say_the_disk_itself_is_the_limit() {
        let mut world = World::new(Reserve::default(), None);
        world.set_free(0);
        assert!(world.write());
        let rooms: [fn() -> io::Result<Option<Room>>; 2] = [|| Ok(None), || Err(io::ErrorKind::NotFound.into())];
        for room in rooms {
            world.keeper = Keeper::asking(TENTH, Box::new(room));
            assert!(world.write());
        }
    }

    #[test]
    fn without_a_limit_no_file_is_removed_for_room() {
        let mut world = World::new(TENTH, None);
        (0..50).for_each(|_| assert!(world.write()));
        let taken = world.taken();
        world.set_free(99 * MIB);
        assert!(!world.write() && !world.write());
        assert_eq!((world.taken(), world.writer.take_removed_early()), (taken, 0));
    }

    #[test]
    fn with_a_limit_it_goes_on_in_place_of_its_oldest_files_and_no_more_of_them_go_than_are_written() {
        let mut world = World::new(TENTH, Some(1 << 30));
        (0..100).for_each(|_| assert!(world.write()));
        let before = world.taken();
        // Whoever fills the disk has no more removed by it.
        world.set_free(60 * MIB);
        for round in 0..60 {
            assert!(world.write(), "{round}");
            assert!(world.taken() <= before, "{round}: more than before");
            assert!(world.taken() >= before - 12_000, "{round}: more was removed than a file");
        }
        assert!((5..=7).contains(&world.writer.take_removed_early()));
    }

    #[test]
    fn attempts_that_fail_have_no_more_files_removed_than_one_that_does_not() {
        let mut world = World::new(TENTH, Some(1 << 30));
        (0..100).for_each(|_| assert!(world.write()));
        world.set_free(60 * MIB);
        world.writer.add(&"x".repeat(997));
        for _ in 0..50 {
            assert!(world.keeper.allow(&mut world.writer).unwrap().is_ok());
            world.keeper.wrote(0);
        }
        assert_eq!(world.writer.take_removed_early(), 1);
    }

    #[test]
    fn the_last_half_of_the_reserve_is_written_to_by_nobody_and_nothing_is_removed_for_it() {
        let mut world = World::new(TENTH, Some(1 << 30));
        (0..50).for_each(|_| assert!(world.write()));
        let taken = world.taken();
        world.set_free(49 * MIB);
        assert!(!world.write() && !world.write());
        assert_eq!((world.taken(), world.writer.take_removed_early()), (taken, 0));
    }
}
