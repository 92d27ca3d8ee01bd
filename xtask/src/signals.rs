//! Being told to stop: Ctrl-C, SIGTERM, a closed terminal, or the end of the program that started us.

use std::{
    fmt,
    os::unix::process::parent_id,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static STOP: OnceLock<Stop> = OnceLock::new();

/// Notices when this process is to stop.
#[derive(Debug)]
pub struct Stop {
    signalled: Arc<AtomicBool>,
    parent: u32,
}

impl Stop {
    /// Listens from now on: those signals no longer end the process by themselves.
    ///
    /// # Errors
    /// The system takes no signal handler.
    pub fn listen() -> Result<()> {
        let signalled = Arc::new(AtomicBool::new(false));
        for number in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(number, signalled.clone()).context("cannot handle signals")?;
        }
        STOP.get_or_init(|| Stop { signalled, parent: parent_id() });
        Ok(())
    }

    /// Whether somebody listens.
    pub fn is_listening() -> bool {
        STOP.get().is_some()
    }

    /// Whether it is time to stop; never, unless somebody listens.
    pub fn asked() -> bool {
        STOP.get().is_some_and(|stop| stop.signalled.load(Ordering::Relaxed) || parent_id() != stop.parent)
    }

    /// An error when it is time to stop, so that what is under way unwinds.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn check() -> Result<()> {
        if Self::asked() {
            bail!(Stopped);
        }
        Ok(())
    }

    /// Sleeps, but not past the moment when it is time to stop.
    ///
    /// # Errors
    /// [`Stopped`].
    pub fn sleep(time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            Self::check()?;
            thread::sleep(Duration::from_millis(50));
        }
        Self::check()
    }
}

/// The error that unwinds what is under way when it is time to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped")
    }
}

impl std::error::Error for Stopped {}
