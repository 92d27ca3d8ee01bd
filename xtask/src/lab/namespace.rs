//! Network namespaces, named after the process that made them: `dx<pid>n<number><role>`.

use std::{
    fs,
    os::fd::AsFd,
    path::Path,
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use nix::{
    sched::{CloneFlags, setns},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::command;

/// Where iproute2 keeps its named namespaces.
const FOLDER: &str = "/run/netns";
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A network namespace with its loopback up; removed when dropped, with every process in it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    pub(super) fn new(role: &str) -> Result<Self> {
        let name = format!("dx{}n{}{role}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        command::output(command::tool("ip")?.args(["netns", "add", &name]))?;
        // From here on the drop removes it.
        let namespace = Self { name };
        // Router solicitations and the like would only blur captures and counters.
        if Path::new("/proc/sys/net/ipv6").exists() {
            namespace.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
            namespace.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        }
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that runs in it.
    ///
    /// # Errors
    /// `ip` or the program is not installed.
    pub fn command(&self, program: impl AsRef<Path>) -> Result<Command> {
        let program = program.as_ref();
        let path = if program.components().count() > 1 {
            program.to_owned()
        } else {
            let name = program.to_string_lossy();
            command::find(&name).ok_or_else(|| anyhow!("`{name}` is not installed: run `cargo xtask setup`"))?
        };
        let mut command = command::tool("ip")?;
        command.args(["netns", "exec", &self.name]).arg(path);
        Ok(command)
    }

    /// Runs `ip` in it with these words and gives what it printed.
    ///
    /// # Errors
    /// With what `ip` said.
    pub fn ip(&self, words: &str) -> Result<String> {
        command::output(command::tool("ip")?.args(["-n", &self.name]).args(words.split_whitespace()))
    }

    /// Sets a kernel parameter, named by its path below `/proc/sys`.
    ///
    /// # Errors
    /// The kernel has no such parameter or refuses the value.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        let written = self.enter(|| fs::write(&path, value))?;
        written.with_context(|| format!("cannot set {key} to {value}"))
    }

    /// A file as a process in it reads it: `/proc/net/...`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, path: &str) -> Result<String> {
        // `/proc/net` is that of the process, not of the calling thread.
        let path = path.replacen("/proc/net/", "/proc/thread-self/net/", 1);
        self.enter(|| fs::read_to_string(&path))?.with_context(|| format!("cannot read {path}"))
    }

    /// Calls a function on a thread that has entered the namespace; a socket that it opens stays there.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T> {
        let path = Path::new(FOLDER).join(&self.name);
        let file = fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET).context("cannot enter the namespace")?;
                Ok(inside())
            });
            thread.join().map_err(|_| anyhow!("a thread in {} panicked", self.name))?
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// The process that made a namespace of ours, by its name.
fn maker(name: &str) -> Option<u32> {
    let (pid, rest) = name.strip_prefix("dx")?.split_once('n')?;
    rest.starts_with(|c: char| c.is_ascii_digit()).then_some(())?;
    pid.parse().ok()
}

fn all() -> impl Iterator<Item = String> {
    let entries = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// Removes the namespaces of processes that are no more.
pub fn remove_stale() {
    for name in all() {
        if maker(&name).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            remove(&name);
        }
    }
}

/// Removes all namespaces that a process made.
pub fn remove_of(pid: u32) {
    for name in all().filter(|name| maker(name) == Some(pid)) {
        remove(&name);
    }
}

/// Ends what runs in a namespace and removes it, as far as possible: there is nobody to tell.
fn remove(name: &str) {
    let Ok(mut ip) = command::tool("ip") else { return };
    // A process that forks while we look is found by the next look.
    for _ in 0..20 {
        let Ok(pids) = command::output(Command::new(ip.get_program()).args(["netns", "pids", name])) else { break };
        let pids: Vec<i32> = pids.lines().filter_map(|line| line.trim().parse().ok()).collect();
        if pids.is_empty() {
            break;
        }
        for pid in pids {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(10));
    }
    let _ = command::finish(ip.args(["netns", "delete", name]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_have_a_maker() {
        assert_eq!(maker("dx123n0s"), Some(123));
        assert_eq!(maker("dx77n12relay"), Some(77));
        for name in ["", "dx", "dxn0s", "dx12s", "dx12nets", "mydx1n0s", "dx-1n0s"] {
            assert_eq!(maker(name), None, "{name}");
        }
    }
}
