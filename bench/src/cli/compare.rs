//! Arguments of `compare`.

use std::path::PathBuf;

use clap::Args;

pub(super) const HELP: &str = "\
Examples:
  dhcp-storm compare before.json after.json
  dhcp-storm compare before1.json before2.json before3.json --with after1.json after2.json after3.json --html compare.html

With several runs a side the medians are compared, and a difference is called one only where it is larger than what the runs of \
a side differ by among themselves. Exit code: 0 whatever the outcome, 1 when a file could not be read, 2 wrong usage.";

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Results in JSON: the side to compare with; of two files without --with, the second is the other side
    #[arg(value_name = "FILE.json", required = true)]
    pub before: Vec<PathBuf>,
    /// Results of the other side
    #[arg(long = "with", value_name = "FILE.json", num_args = 1..)]
    pub after: Vec<PathBuf>,
    /// Also as a page; - is standard output
    #[arg(long, value_name = "FILE.html")]
    pub html: Option<PathBuf>,
}

impl CompareArgs {
    /// The files of both sides.
    ///
    /// # Errors
    /// There are not two sides: wrong usage.
    pub fn sides(&self) -> Result<(&[PathBuf], &[PathBuf]), String> {
        match (self.before.as_slice(), self.after.as_slice()) {
            ([_, _], []) => Ok(self.before.split_at(1)),
            (_, []) => Err("two files, or several before and several after --with".into()),
            (before, after) => Ok((before, after)),
        }
    }
}
