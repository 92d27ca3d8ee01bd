//! The machine that a run took place on, and what the run cost it.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike as _,
        utsname::uname,
    },
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

/// Name, kernel and processors of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Host name.
    pub name: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Hardware.
    pub machine: String,
    /// Processors that this process may use.
    pub cpus: usize,
    /// Their model, as the kernel names it.
    #[serde(default)]
    pub cpu_model: String,
}

impl Host {
    /// This machine.
    pub fn this() -> Self {
        let text = |field: Option<&std::ffi::OsStr>| field.unwrap_or_default().to_string_lossy().into_owned();
        let names = uname().ok();
        Self {
            name: text(names.as_ref().map(|n| n.nodename())),
            kernel: text(names.as_ref().map(|n| n.release())),
            machine: text(names.as_ref().map(|n| n.machine())),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cpu_model: cpu_model(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        }
    }
}

/// The first processor's model in the text of `/proc/cpuinfo`; empty where the architecture has no such line.
fn cpu_model(cpuinfo: &str) -> String {
    let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let model = fields.into_iter().find(|(name, _)| matches!(name.trim(), "model name" | "Model" | "cpu model"));
    model.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// Seconds since 1970.
pub fn unix_time_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Processor time of this process.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct CpuTime {
    /// In user space, seconds.
    pub user_s: f64,
    /// In the kernel, seconds.
    pub system_s: f64,
}

impl CpuTime {
    /// Up to now; zero when the kernel would not say.
    pub fn now() -> Self {
        let seconds = |time: nix::sys::time::TimeVal| time.num_microseconds() as f64 / 1e6;
        getrusage(UsageWho::RUSAGE_SELF)
            .map(|usage| Self { user_s: seconds(usage.user_time()), system_s: seconds(usage.system_time()) })
            .unwrap_or_default()
    }

    /// What was used since an earlier moment.
    pub fn since(self, earlier: Self) -> Self {
        Self { user_s: self.user_s - earlier.user_s, system_s: self.system_s - earlier.system_s }
    }
}

/// Has the kernel wake the calling thread when its time is over, not up to 50 us later: a schedule is kept better so.
pub fn wake_on_time() {
    // Where it does not work, the lateness says so.
    let _ = nix::sys::prctl::set_timerslack(1);
}

/// Whether an interface takes in frames to any MAC address; true where that cannot be read.
pub fn is_promiscuous(interface: &str) -> bool {
    let flags = nix::ifaddrs::getifaddrs().ok().and_then(|mut all| all.find(|one| one.interface_name == interface));
    flags.is_none_or(|one| one.flags.contains(nix::net::if_::InterfaceFlags::IFF_PROMISC))
}

/// Keeps the calling thread on one processor.
///
/// # Errors
/// There is no such processor for this process.
pub fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set)).with_context(|| format!("--cpu {cpu}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_model_is_found_or_left_empty() {
        assert_eq!(cpu_model("processor\t: 0\nmodel\t\t: 85\nmodel name\t: Some CPU @ 2 GHz\n"), "Some CPU @ 2 GHz");
        assert_eq!(cpu_model("processor: 0\n"), "");
    }
}
