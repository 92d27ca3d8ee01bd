//! Writing to stdout, or to a file, so that a closed pipe ends a command quietly.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use super::failure::Failure;

/// Stdout or a file, buffered.
pub(super) struct Output {
    to: BufWriter<Box<dyn Write>>,
}

impl Output {
    /// Stdout.
    pub fn new() -> Self {
        Self::to(io::stdout().lock())
    }

    /// Anything else.
    pub fn to(to: impl Write + 'static) -> Self {
        Self { to: BufWriter::with_capacity(64 * 1024, Box::new(to)) }
    }

    /// One line.
    pub fn line(&mut self, line: impl std::fmt::Display) -> Result<(), Failure> {
        writeln!(self.to, "{line}").map_err(Failure::of_output)
    }

    /// Text as it is.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.to.write_all(text.as_bytes()).map_err(Failure::of_output)
    }

    /// A value as JSON for people and scripts, with a line end.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        // As it is made: what is long is never in memory as a whole.
        serde_json::to_writer_pretty(&mut self.to, value).map_err(|error| Failure::of_output(error.into()))?;
        self.line("")
    }

    /// What was written so far goes out.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.to.flush().map_err(Failure::of_output)
    }
}
