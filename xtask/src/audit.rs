//! Checks of the dependencies, with tools that not everyone has.

use anyhow::{Result, bail};

use crate::{cargo::cargo, command, group};

/// Runs `cargo deny` (licences, advisories, sources) and `cargo machete` (dependencies that nobody uses).
///
/// # Errors
/// One of them is not installed, or found something.
pub fn audit() -> Result<()> {
    let checks: [(&str, &[&str]); 2] = [("cargo-deny", &["deny", "check"]), ("cargo-machete", &["machete"])];
    let missing: Vec<&str> =
        checks.iter().map(|(program, _)| *program).filter(|program| command::find(program).is_none()).collect();
    if !missing.is_empty() {
        bail!("not installed: {0}; `cargo install --locked {0}` installs", missing.join(" "));
    }
    for (_, words) in checks {
        group::run(cargo().args(words))?;
    }
    Ok(())
}
