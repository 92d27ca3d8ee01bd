//! What the kernel counts on the interfaces at both ends of the wire, beside the generator's own counters.
//!
//! The generator's end is the interface of the run. The server's end is known where both are a veth pair (veth(4)): in the
//! same network namespace it is found by itself, in another one when its name is given. Counters are those of
//! `/proc/net/dev` (proc_pid_net(5)), which follows the namespace of the thread that reads it, mounted anew or not.

use std::{
    fs::{self, File},
    os::fd::AsFd,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, anyhow};
use nix::{
    net::if_::{if_indextoname, if_nametoindex},
    sched::{CloneFlags, setns},
};
use serde::{Deserialize, Serialize};

/// Where iproute2 keeps its named namespaces (ip-netns(8)).
const NAMESPACES: &str = "/run/netns";

/// Counters of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Frames received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames received that the driver or the stack dropped.
    pub rx_dropped: u64,
    /// Frames received damaged.
    pub rx_errors: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that could not be sent.
    pub tx_dropped: u64,
    /// Errors in sending.
    pub tx_errors: u64,
}

impl Counters {
    /// What was counted since.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            rx_packets: self.rx_packets.wrapping_sub(earlier.rx_packets),
            rx_bytes: self.rx_bytes.wrapping_sub(earlier.rx_bytes),
            rx_dropped: self.rx_dropped.wrapping_sub(earlier.rx_dropped),
            rx_errors: self.rx_errors.wrapping_sub(earlier.rx_errors),
            tx_packets: self.tx_packets.wrapping_sub(earlier.tx_packets),
            tx_bytes: self.tx_bytes.wrapping_sub(earlier.tx_bytes),
            tx_dropped: self.tx_dropped.wrapping_sub(earlier.tx_dropped),
            tx_errors: self.tx_errors.wrapping_sub(earlier.tx_errors),
        }
    }

    /// From the text of `/proc/net/dev`.
    fn parse(dev: &str, interface: &str) -> Option<Self> {
        let line = dev.lines().find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))?;
        let values: Vec<u64> = line.split_whitespace().map_while(|value| value.parse().ok()).collect();
        let at = |i: usize| values.get(i).copied();
        Some(Self {
            rx_bytes: at(0)?,
            rx_packets: at(1)?,
            rx_errors: at(2)?,
            rx_dropped: at(3)?,
            tx_bytes: at(8)?,
            tx_packets: at(9)?,
            tx_errors: at(10)?,
            tx_dropped: at(11)?,
        })
    }
}

/// What an interface counted during a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counted {
    /// `generator` or `server`: whose end it is.
    pub end: String,
    /// Its name.
    pub interface: String,
    /// Its network namespace, where it is not the generator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The counters.
    #[serde(flatten)]
    pub counters: Counters,
}

/// An interface, and where it is.
#[derive(Clone, Debug)]
struct Place {
    interface: String,
    /// Namespace as it was named, and its file.
    namespace: Option<(String, PathBuf)>,
}

impl Place {
    fn read(&self) -> Result<Counters> {
        let text = match &self.namespace {
            None => fs::read_to_string("/proc/thread-self/net/dev").context("cannot read the interface counters")?,
            Some((_, file)) => inside(file, || fs::read_to_string("/proc/thread-self/net/dev"))?
                .context("cannot read the interface counters")?,
        };
        Counters::parse(&text, &self.interface).with_context(|| format!("no interface {}", self.interface))
    }
}

/// The interfaces that are watched during a run.
#[derive(Clone, Debug)]
pub struct Watch {
    ends: Vec<(&'static str, Place, Counters)>,
}

impl Watch {
    /// Watches an interface from now on, and its peer if it is a veth whose peer can be found: here, or in the namespace
    /// `peer`, which is a name as `ip netns` has it or a file such as `/proc/4711/ns/net`.
    ///
    /// # Errors
    /// A namespace was named and there is none, or the interface's peer is not in it.
    pub fn begin(interface: &str, peer: Option<&str>) -> Result<Self> {
        let own = Place { interface: interface.to_owned(), namespace: None };
        let mut places = vec![("generator", own)];
        match peer {
            Some(namespace) => places.push(("server", peer_in(interface, namespace)?)),
            None => places.extend(peer_here(interface).map(|place| ("server", place))),
        }
        let ends = places.into_iter().map(|(end, place)| {
            let counters = place.read()?;
            Ok((end, place, counters))
        });
        Ok(Self { ends: ends.collect::<Result<_>>()? })
    }

    /// What was counted since [`begin`](Self::begin); an interface that is gone is left out.
    pub fn end(&self) -> Vec<Counted> {
        let counted = self.ends.iter().filter_map(|(end, place, before)| {
            Some(Counted {
                end: (*end).to_owned(),
                interface: place.interface.clone(),
                namespace: place.namespace.as_ref().map(|(name, _)| name.clone()),
                counters: place.read().ok()?.since(*before),
            })
        });
        counted.collect()
    }
}

/// The peer's index as the kernel tells it, in the peer's namespace: `IFLA_LINK`.
fn link_index(interface: &str) -> Option<u32> {
    let path = Path::new("/sys/class/net").join(interface).join("iflink");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The other end of a veth pair in this namespace. An index alone could be that of any interface here; that each is the
/// other's link makes it sure.
fn peer_here(interface: &str) -> Option<Place> {
    let own = if_nametoindex(interface).ok()?;
    let link = link_index(interface).filter(|link| *link != own)?;
    let name = if_indextoname(link).ok()?.into_string().ok()?;
    (link_index(&name) == Some(own)).then_some(Place { interface: name, namespace: None })
}

fn peer_in(interface: &str, namespace: &str) -> Result<Place> {
    // In another namespace the peer may well have the index that this interface has here: nothing to tell it by.
    let link = link_index(interface).with_context(|| format!("--peer-netns: no interface {interface}"))?;
    let file = if namespace.contains('/') { PathBuf::from(namespace) } else { Path::new(NAMESPACES).join(namespace) };
    let name = inside(&file, || if_indextoname(link))?
        .with_context(|| format!("--peer-netns: the peer of {interface} is not in {namespace}"))?;
    let interface = name.into_string().context("the peer's name is no text")?;
    Ok(Place { interface, namespace: Some((namespace.to_owned(), file)) })
}

/// Calls a function on a thread that has entered a network namespace.
fn inside<T: Send>(namespace: &Path, call: impl FnOnce() -> T + Send) -> Result<T> {
    let file = File::open(namespace).with_context(|| format!("no network namespace {}", namespace.display()))?;
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("cannot enter the network namespace {}", namespace.display()))?;
            Ok(call())
        });
        thread.join().map_err(|_| anyhow!("a thread panicked"))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV: &str = "Inter-|   Receive                  |  Transmit\n face |bytes packets errs drop fifo frame compressed \
                       multicast|bytes packets errs drop fifo colls carrier compressed\n  eth10: 9 9 9 9 0 0 0 0 9 9 9 9 0 0 \
                       0 0\n  eth1: 100 2 1 3 0 0 0 0 200 4 6 5 0 0 0 0\n";

    #[test]
    fn an_interface_is_found_by_its_whole_name_and_its_counters_by_their_column() {
        let expected = Counters {
            rx_packets: 2,
            rx_bytes: 100,
            rx_dropped: 3,
            rx_errors: 1,
            tx_packets: 4,
            tx_bytes: 200,
            tx_dropped: 5,
            tx_errors: 6,
        };
        assert_eq!(Counters::parse(DEV, "eth1"), Some(expected));
        assert_eq!(Counters::parse(DEV, "eth"), None);
        assert_eq!(expected.since(expected), Counters::default());
    }

    #[test]
    fn the_loopback_is_watched_and_has_no_peer() {
        let watch = Watch::begin("lo", None).unwrap();
        let ends = watch.end();
        assert_eq!((ends.len(), ends[0].end.as_str(), ends[0].interface.as_str()), (1, "generator", "lo"));
        let error = Watch::begin("lo", Some("nowhere")).unwrap_err().to_string();
        assert!(error.contains("no network namespace /run/netns/nowhere"), "{error}");
        assert!(Watch::begin("nosuchif0", None).unwrap_err().to_string().contains("nosuchif0"));
    }
}
