//! Running other programs, with errors that say which program, and what it said.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};

/// Where administration tools are, which a user's `PATH` often leaves out.
const ADMIN_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// A program in `PATH` or in the folders for administration.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(ADMIN_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// A command for a program that [`find`] finds.
///
/// # Errors
/// It is nowhere.
pub fn tool(program: &str) -> Result<Command> {
    match find(program) {
        Some(path) => Ok(Command::new(path)),
        None => bail!("`{program}` is not installed: run `cargo xtask setup`"),
    }
}

/// As one would type it, for messages.
pub fn spelled(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Runs it with our own terminal.
///
/// # Errors
/// It cannot be started, or ends with another status than success.
pub fn run(command: &mut Command) -> Result<()> {
    let spelled = spelled(command);
    let status = command.status().with_context(|| format!("cannot start `{spelled}`"))?;
    if !status.success() {
        bail!("`{spelled}` failed ({status})");
    }
    Ok(())
}

/// Runs it quietly and gives its standard output.
///
/// # Errors
/// As [`run`]; with what it wrote to standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let spelled = spelled(command);
    let output = finish(command)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{spelled}` failed ({}): {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs it quietly, whatever its status.
///
/// # Errors
/// It cannot be started.
pub fn finish(command: &mut Command) -> Result<Output> {
    let spelled = spelled(command);
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{spelled}`"))
}

/// Whether this process is root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// A command that is run as root: with sudo when we are not.
///
/// # Errors
/// Not root, and there is no sudo.
pub fn as_root(program: impl AsRef<OsStr>) -> Result<Command> {
    if is_root() {
        return Ok(Command::new(program));
    }
    let Some(sudo) = find("sudo") else {
        bail!("this step needs root, and sudo is not installed");
    };
    let mut command = Command::new(sudo);
    // The laboratory and the tests find what was built by these.
    command.arg("--preserve-env=CARGO_MANIFEST_DIR,CARGO_TARGET_DIR,DHCP_XDP_BIN_DIR").arg(program);
    Ok(command)
}
