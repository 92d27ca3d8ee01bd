//! `dhcp-storm reflect`.

use crate::{cli::ReflectArgs, run::Failure};

/// Reflects.
pub fn reflect(_args: &ReflectArgs) -> Result<bool, Failure> {
    Ok(true)
}
