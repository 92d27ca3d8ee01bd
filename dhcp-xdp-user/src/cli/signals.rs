//! Ctrl-C and SIGTERM, and SIGHUP.

use std::{
    io::{self, IsTerminal as _},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::Duration,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::failure::Failure;

/// Waits for the signals that end a command. From its making on they no longer end the process by themselves.
pub(super) struct Stop {
    signals: Receiver<&'static str>,
}

impl Stop {
    pub fn listen() -> Result<Self, Failure> {
        let fail = |error| Failure::Failed(format!("cannot listen for signals: {error}"));
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(fail)?;
        let (sender, receiver) = channel();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in signals.forever() {
                    let name = match signal {
                        SIGINT => "SIGINT",
                        SIGHUP if !io::stdin().is_terminal() => {
                            // Many a server reads its configuration anew then, and none may die of that.
                            log::warn!("SIGHUP: nothing is done; restart to read the configuration anew");
                            continue;
                        }
                        // Its terminal is gone.
                        SIGHUP => "SIGHUP",
                        _ => "SIGTERM",
                    };
                    if sender.send(name).is_err() {
                        return;
                    }
                }
            })
            .map_err(fail)?;
        Ok(Self { signals: receiver })
    }

    /// The signal's name, or `None` when none came in time.
    pub fn wait(&self, time: Duration) -> Option<&'static str> {
        match self.signals.recv_timeout(time) {
            Ok(name) => Some(name),
            Err(RecvTimeoutError::Timeout) => None,
            // The thread lives as long as the process; without it, waiting on would be for ever.
            Err(RecvTimeoutError::Disconnected) => Some("end of the signal thread"),
        }
    }
}
