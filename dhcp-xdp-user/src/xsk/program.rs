//! The XDP program: loading it, attaching it to one interface, its maps, and taking it off again.

use std::{collections::BTreeSet, error::Error as StdError, io, net::Ipv4Addr, os::fd::AsFd, os::fd::AsRawFd};

use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, MapData, PerCpuArray, XskMap},
    programs::{Xdp, XdpMode as AyaMode, links::FdLink, xdp::XdpLinkId},
};
use aya_log::EbpfLogger;
use dhcp_xdp_ebpf::{Role, Verdict, abi::MAX_SOCKETS, map};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

use super::{
    capabilities,
    device::{AttachedProgram, Device, DeviceError},
};
use crate::config::XdpMode;

/// The program's object file, embedded.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("DHCP_XDP_EBPF_OBJECT"));

/// What the program is told before it is loaded.
#[derive(Clone, Copy, Debug)]
pub struct ProgramConfig {
    /// Sockets on each receive queue.
    pub workers: u32,
    /// Which frames are ours.
    pub role: Role,
    /// Only frames to our destinations and to the limited broadcast are ours; see [`Program::set_destinations`].
    pub filter_destination: bool,
}

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachMode {
    /// In the driver.
    Native,
    /// In the kernel's generic path, after the frame was copied into a socket buffer.
    Generic,
}

impl AttachMode {
    /// Its name in statistics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }
}

/// Why the program cannot be loaded or attached.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The interface cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A capability is missing.
    #[error("{interface}: no permission to {action}: {reason}")]
    Permission {
        /// The interface.
        interface: String,
        /// What was tried.
        action: &'static str,
        /// Which capabilities are missing.
        reason: String,
    },
    /// Somebody else's program is there. It is left alone.
    #[error(
        "{interface}: XDP program {} is attached already (`bpftool prog show id {}`); stop the process that holds it \
         (`bpftool link show`), or take it off with `ip link set dev {interface} xdp off`",
        id.map_or_else(|| "of another process".to_owned(), |id| id.to_string()),
        id.map_or_else(|| "ID".to_owned(), |id| id.to_string())
    )]
    Occupied {
        /// The interface.
        interface: String,
        /// The id of the program, where the kernel says.
        id: Option<u32>,
    },
    /// More sockets than the program's map has room for.
    #[error("{interface}: {sockets} sockets are more than the {MAX_SOCKETS} that an interface can have")]
    TooManySockets {
        /// The interface.
        interface: String,
        /// Sockets wanted.
        sockets: u32,
    },
    /// The object file is not the one that this program was built for.
    #[error("{interface}: the XDP object file has no {what}; build it anew with `cargo xtask build-ebpf`")]
    Object {
        /// The interface.
        interface: String,
        /// What is missing.
        what: &'static str,
    },
    /// The kernel refused otherwise.
    #[error("{interface}: cannot {action}: {reason}")]
    Kernel {
        /// The interface.
        interface: String,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        reason: String,
    },
}

/// The XDP program, attached to one interface. It is taken off when this value is dropped, and by the kernel when the
/// process ends in any way.
pub struct Program {
    interface: String,
    #[allow(dead_code, reason = "holds the program and its read-only globals")]
    ebpf: Ebpf,
    /// It goes, and the program with it, when its file descriptor is closed.
    link: Option<FdLink>,
    mode: AttachMode,
    workers: u32,
    sockets: XskMap<MapData>,
    verdicts: PerCpuArray<MapData, u64>,
    destinations: HashMap<MapData, [u8; 4], u8>,
    /// Socket map entries in use.
    open: BTreeSet<u32>,
    /// What the program says of rare events; `None` when it was built without a log.
    events: Option<EbpfLogger<&'static dyn log::Log>>,
}

impl Program {
    /// Loads the program from `object` and attaches it to `device`: in the driver, and where that does not work and the mode
    /// allows it, in the generic path.
    ///
    /// # Errors
    /// See [`ProgramError`]; nothing stays attached.
    pub fn attach(object: &[u8], device: &Device, mode: XdpMode, config: ProgramConfig) -> Result<Self, ProgramError> {
        let interface = device.name.as_str();
        if let Some(AttachedProgram { id }) = device.program {
            return Err(ProgramError::Occupied { interface: interface.to_owned(), id: Some(id) });
        }
        // Kernels before 5.11 count maps and UMEM against this limit; without CAP_SYS_RESOURCE it may stay as it is.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        let mut ebpf = load(object, interface, config)?;
        let (link, mode) = attach(&mut ebpf, device, mode)?;
        let events = EbpfLogger::init(&mut ebpf).ok();
        let mut take = |name: &'static str| {
            ebpf.take_map(name).ok_or(ProgramError::Object { interface: interface.to_owned(), what: name })
        };
        let wrong = |what| move |_: aya::maps::MapError| ProgramError::Object { interface: interface.to_owned(), what };
        Ok(Self {
            interface: interface.to_owned(),
            sockets: take(map::SOCKETS)?.try_into().map_err(wrong(map::SOCKETS))?,
            verdicts: take(map::VERDICTS)?.try_into().map_err(wrong(map::VERDICTS))?,
            destinations: take(map::DESTINATIONS)?.try_into().map_err(wrong(map::DESTINATIONS))?,
            ebpf,
            link: Some(link),
            mode,
            workers: config.workers,
            open: BTreeSet::new(),
            events,
        })
    }

    /// How it is attached.
    pub fn mode(&self) -> AttachMode {
        self.mode
    }

    /// Sends the frames of a worker on a queue to a socket. The socket must be bound to that very queue.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn set_socket(&mut self, queue: u32, worker: u32, socket: &impl AsFd) -> Result<(), ProgramError> {
        let index = queue * self.workers + worker;
        if index >= MAX_SOCKETS {
            return Err(ProgramError::TooManySockets { interface: self.interface.clone(), sockets: index + 1 });
        }
        let fd = socket.as_fd().as_raw_fd();
        self.sockets.set(index, fd, 0).map_err(|e| failed(&self.interface, "put a socket into the map", &e))?;
        self.open.insert(index);
        Ok(())
    }

    /// Sends no more frames to any socket: from now on the program passes all to the kernel.
    ///
    /// This comes before draining the rings. Taking the program off would do it too, but on a device with zero-copy sockets
    /// that also takes away the rings on which the last replies are to leave.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn clear_sockets(&mut self) -> Result<(), ProgramError> {
        while let Some(index) = self.open.pop_first() {
            self.sockets.unset(index).map_err(|e| failed(&self.interface, "take a socket out of the map", &e))?;
        }
        Ok(())
    }

    /// Sends no more frames to the sockets of a queue, or to one of them.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn clear_queue(&mut self, queue: u32, worker: Option<u32>) -> Result<(), ProgramError> {
        let first = queue * self.workers;
        let range = worker.map_or(first..first + self.workers, |worker| first + worker..first + worker + 1);
        for index in range.filter(|index| self.open.contains(index)).collect::<Vec<_>>() {
            self.sockets.unset(index).map_err(|e| failed(&self.interface, "take a socket out of the map", &e))?;
            self.open.remove(&index);
        }
        Ok(())
    }

    /// Sets the unicast and directed-broadcast addresses that are ours, in place of those that were.
    ///
    /// # Errors
    /// The kernel refused: there are more than `MAX_DESTINATIONS`.
    pub fn set_destinations(&mut self, addresses: impl IntoIterator<Item = Ipv4Addr>) -> Result<(), ProgramError> {
        let wanted: BTreeSet<[u8; 4]> = addresses.into_iter().map(|address| address.octets()).collect();
        let present: BTreeSet<[u8; 4]> = self.destinations.keys().filter_map(Result::ok).collect();
        let fail = |e| failed(&self.interface, "set the addresses of the XDP program", &e);
        // New ones first, so that no address that stays is missing at any moment.
        for address in wanted.difference(&present) {
            self.destinations.insert(address, 1, 0).map_err(fail)?;
        }
        for address in present.difference(&wanted) {
            self.destinations.remove(address).map_err(fail)?;
        }
        Ok(())
    }

    /// Passes on to the log what the program said of rare events since the last call (a first frame; of truncated frames
    /// the first and then one in 65,536). To be called now and then.
    pub fn log_events(&mut self) {
        if let Some(events) = &mut self.events {
            events.flush();
        }
    }

    /// How many frames met which verdict, in the order of [`Verdict::ALL`], summed over CPUs.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn verdicts(&self) -> Result<[u64; Verdict::COUNT as usize], ProgramError> {
        let mut counts = [0; Verdict::COUNT as usize];
        for (count, verdict) in counts.iter_mut().zip(Verdict::ALL) {
            let cpus = self.verdicts.get(&(verdict as u32), 0);
            *count = cpus.map_err(|e| failed(&self.interface, "read the verdict counters", &e))?.iter().sum();
        }
        Ok(counts)
    }

    /// Takes the program off the interface. Its counters can still be read.
    pub fn detach(&mut self) {
        self.link = None;
    }
}

fn load(object: &[u8], interface: &str, config: ProgramConfig) -> Result<Ebpf, ProgramError> {
    let role = config.role as u8;
    let filter = u8::from(config.filter_destination);
    let mut ebpf = EbpfLoader::new()
        .override_global(map::WORKERS, &config.workers, true)
        .override_global(map::ROLE, &role, true)
        .override_global(map::FILTER_DESTINATION, &filter, true)
        .load(object)
        .map_err(|e| failed(interface, "load the XDP program", &e))?;
    let program = xdp(&mut ebpf, interface)?;
    program.load().map_err(|e| not_loaded(interface, &e))?;
    Ok(ebpf)
}

/// Why the kernel did not load the program. The verifier's log is long; its last lines say what it minds.
fn not_loaded(interface: &str, error: &aya::programs::ProgramError) -> ProgramError {
    let action = "load the XDP program";
    let aya::programs::ProgramError::LoadError { io_error, verifier_log } = error else {
        return failed(interface, action, error);
    };
    let log = verifier_log.to_string();
    // After what it minds come lines of statistics.
    let statistics = ["verification time", "stack depth", "processed "];
    let complaint = log
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start)));
    // A program that passes can still find no file descriptor or memory; the log then has statistics alone.
    let Some(complaint) = complaint.filter(|_| io_error.raw_os_error() != Some(libc::EPERM)) else {
        return failed(interface, action, io_error);
    };
    log::debug!("{interface}: the verifier's log:\n{log}");
    ProgramError::Kernel {
        interface: interface.to_owned(),
        action,
        reason: format!("its verifier refuses it ({complaint}); it does so where CAP_PERFMON is missing"),
    }
}

fn xdp<'a>(ebpf: &'a mut Ebpf, interface: &str) -> Result<&'a mut Xdp, ProgramError> {
    let program = ebpf.program_mut(map::PROGRAM).and_then(|program| program.try_into().ok());
    program.ok_or_else(|| ProgramError::Object { interface: interface.to_owned(), what: map::PROGRAM })
}

fn attach(ebpf: &mut Ebpf, device: &Device, mode: XdpMode) -> Result<(FdLink, AttachMode), ProgramError> {
    let program = xdp(ebpf, &device.name)?;
    let modes: &[AttachMode] = match mode {
        XdpMode::Auto => &[AttachMode::Native, AttachMode::Generic],
        XdpMode::Native => &[AttachMode::Native],
        XdpMode::Generic => &[AttachMode::Generic],
    };
    let mut last = None;
    for &mode in modes {
        let flag = if mode == AttachMode::Native { AyaMode::Driver } else { AyaMode::Skb };
        let error = match program.attach_to_if_index(device.index, flag) {
            Ok(id) => return Ok((held(program, id, &device.name)?, mode)),
            Err(error) => error,
        };
        match os_error(&error) {
            // EBUSY: attached over netlink; EEXIST: in the other mode. Somebody came between our look and now.
            Some(libc::EBUSY | libc::EEXIST) => {
                let id = Device::find(&device.name)?.program.map(|program| program.id);
                return Err(ProgramError::Occupied { interface: device.name.clone(), id });
            }
            Some(libc::EPERM) => {}
            _ if mode == AttachMode::Native => {
                log::warn!("{}: the driver does not take the XDP program ({})", device.name, chain(&error));
            }
            _ => {}
        }
        last = Some(failed(&device.name, "attach the XDP program", &error));
        if matches!(last, Some(ProgramError::Permission { .. })) {
            break;
        }
    }
    let interface = device.name.clone();
    Err(last.unwrap_or(ProgramError::Object { interface, what: map::PROGRAM }))
}

/// Takes the link out of aya's keeping, so that detaching is dropping it. A kernel older than 5.9 has no such links; what
/// aya attaches there instead would outlive a killed process, and is taken off here.
fn held(program: &mut Xdp, id: XdpLinkId, interface: &str) -> Result<FdLink, ProgramError> {
    let link = program.take_link(id).map_err(|e| failed(interface, "attach the XDP program", &e))?;
    FdLink::try_from(link).map_err(|_| ProgramError::Kernel {
        interface: interface.to_owned(),
        action: "attach the XDP program",
        reason: "the kernel has no BPF links for XDP; Linux 5.9 or newer is needed".to_owned(),
    })
}

fn failed(interface: &str, action: &'static str, error: &(dyn StdError + 'static)) -> ProgramError {
    let interface = interface.to_owned();
    match os_error(error) {
        // Not EACCES: that is what the verifier says of a program that it refuses.
        Some(libc::EPERM) => {
            let needed =
                if action.starts_with("attach") { &capabilities::NEEDED[..1] } else { &capabilities::NEEDED[..3] };
            ProgramError::Permission { interface, action, reason: capabilities::reason(needed) }
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            let reason = format!("{}; {}", chain(error), capabilities::MORE_FILES);
            ProgramError::Kernel { interface, action, reason }
        }
        _ => ProgramError::Kernel { interface, action, reason: chain(error) },
    }
}

/// The operating system's error number somewhere beneath an error.
fn os_error(error: &(dyn StdError + 'static)) -> Option<i32> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(number) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        next = error.source();
    }
    None
}

/// An error and what is beneath it, on one line.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        next = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
