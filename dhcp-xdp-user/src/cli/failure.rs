//! How a command ends when it does not end well.

use std::io;

/// Why a command failed; [`super::main`] turns it into a line on stderr and an exit code.
#[derive(Debug)]
pub(super) enum Failure {
    /// Exit code 1: what, where, and what to do, in one line.
    Failed(String),
    /// Everything has been said already: exit code 1, or 2 where the command line is wrong.
    Told {
        /// The command line is wrong.
        usage: bool,
    },
    /// Whoever read our output has gone (`… | head`): nothing to say, and no failure.
    ClosedPipe,
}

impl Failure {
    /// Of anything that can say what it is.
    pub fn of(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// Of writing to stdout.
    pub fn of_output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Failed(format!("cannot write the output: {error}")),
        }
    }
}

/// What a command returns.
pub(super) type Done = Result<(), Failure>;
