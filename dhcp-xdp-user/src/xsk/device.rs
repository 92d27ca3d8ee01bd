//! What an interface is: asked of the kernel over rtnetlink and ethtool, which see the network namespace that we are in
//! (`/sys/class/net` sees the one in which it was mounted).

use std::{
    fs, io, mem,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    net::if_::{if_indextoname, if_nametoindex},
    sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket},
};

use super::capabilities;

/// Why an interface cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is none of that name in this network namespace.
    #[error("{0}: no such interface")]
    NotFound(String),
    /// The kernel would not say.
    #[error("{name}: cannot {action}: {source}")]
    Io {
        /// The interface.
        name: String,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// An XDP program that is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedProgram {
    /// Its id, as `bpftool prog show id` takes it.
    pub id: u32,
}

/// A network interface: what the kernel said of it when it was asked.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its MTU, bytes.
    pub mtu: u32,
    /// Receive queues in use.
    pub rx_queues: u32,
    /// Its IPv4 addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// The directed broadcast addresses of its subnets.
    pub broadcasts: Vec<Ipv4Addr>,
    /// Its driver, or empty when the kernel does not say.
    pub driver: String,
    /// Whether it takes VLAN tags off frames before XDP sees them.
    pub strips_vlan_tags: bool,
    /// The XDP program that is attached to it, if any.
    pub program: Option<AttachedProgram>,
}

impl Device {
    /// Asks the kernel about an interface.
    ///
    /// # Errors
    /// There is no such interface, or the kernel would not say.
    pub fn find(name: &str) -> Result<Self, DeviceError> {
        let index = if_nametoindex(name).map_err(|error| unknown(name.to_owned(), error))?;
        let fail = |action| move |source: io::Error| DeviceError::io(name.to_owned(), action, source);
        let link = query_link(index).map_err(fail("ask rtnetlink about it"))?;
        let (addresses, broadcasts) = addresses_of(name).map_err(fail("list its addresses"))?;
        let control = ask_socket().map_err(|e| fail("open a socket to ask ethtool about it")(e.into()))?;
        Ok(Self {
            name: name.to_owned(),
            index,
            mac: link.mac,
            mtu: link.mtu,
            rx_queues: rx_queues(&control, name, index),
            addresses,
            broadcasts,
            driver: driver(&control, name).unwrap_or_default(),
            strips_vlan_tags: strips_vlan_tags(&control, name).unwrap_or(false),
            program: link.program,
        })
    }

    /// Asks the kernel about the interface of this index, whatever its name is now.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub fn at(index: u32) -> Result<Self, DeviceError> {
        let gone = || DeviceError::NotFound(format!("interface {index}"));
        let unknown = |error| unknown(format!("interface {index}"), error);
        let name = if_indextoname(index).map_err(unknown)?.into_string().map_err(|_| gone())?;
        // The C library says no with a null pointer, which the wrapper takes for an empty name; and it needs a socket to ask.
        if name.is_empty() {
            return Err(ask_socket().map_or_else(unknown, |_| gone()));
        }
        // It may be renamed, and its name be another's, in between.
        Self::find(&name).and_then(|device| if device.index == index { Ok(device) } else { Err(gone()) })
    }

    /// Whether it is a pair of virtual Ethernet devices: it hands over frames whose UDP checksum is not filled in, and
    /// its VLAN offload never hides a tag that the other end put there.
    pub fn is_veth(&self) -> bool {
        self.driver == "veth"
    }
}

impl DeviceError {
    fn io(name: String, action: &'static str, source: io::Error) -> Self {
        let is_out_of_files = matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
        let more = |source| io::Error::other(format!("{source}; {}", capabilities::MORE_FILES));
        Self::Io { name, action, source: if is_out_of_files { more(source) } else { source } }
    }
}

/// A socket to ask about interfaces through.
fn ask_socket() -> Result<OwnedFd, Errno> {
    socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)
}

/// Why the kernel does not say which interface that is.
fn unknown(name: String, error: Errno) -> DeviceError {
    match error {
        Errno::ENODEV | Errno::ENXIO | Errno::EINVAL => DeviceError::NotFound(name),
        error => DeviceError::io(name, "look it up", error.into()),
    }
}

fn addresses_of(name: &str) -> io::Result<(Vec<Ipv4Addr>, Vec<Ipv4Addr>)> {
    let (mut addresses, mut broadcasts) = (Vec::new(), Vec::new());
    for entry in getifaddrs()?.filter(|entry| entry.interface_name == name) {
        let ipv4 = |a: Option<nix::sys::socket::SockaddrStorage>| a.and_then(|a| a.as_sockaddr_in().map(|a| a.ip()));
        let Some(address) = ipv4(entry.address) else { continue };
        addresses.push(address);
        // That of the prefix, also where none was configured: a client computes it from its mask. A /31 and a /32 have none.
        let host_bits = ipv4(entry.netmask).map_or(0, |mask| !u32::from(mask));
        if host_bits > 1 {
            broadcasts.push(Ipv4Addr::from(u32::from(address) | host_bits));
        }
    }
    Ok((addresses, broadcasts))
}

/// What RTM_GETLINK says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Link {
    mac: [u8; 6],
    mtu: u32,
    program: Option<AttachedProgram>,
}

const NETLINK_HEADER_LEN: usize = 16;
const IFINFO_LEN: usize = 16;
const IFLA_XDP_PROG_ID: u16 = 4;

fn query_link(index: u32) -> io::Result<Link> {
    let netlink = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let mut request = [0u8; NETLINK_HEADER_LEN + IFINFO_LEN];
    request[..4].copy_from_slice(&(NETLINK_HEADER_LEN as u32 + IFINFO_LEN as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
    request[6..8].copy_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request[20..24].copy_from_slice(&index.to_ne_bytes());
    sendto(netlink.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = vec![0u8; 32 * 1024];
    let len = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    parse_link(&answer[..len])
}

/// Reads one RTM_NEWLINK message (rtnetlink(7)).
fn parse_link(message: &[u8]) -> io::Result<Link> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "rtnetlink's answer is too short");
    let kind = message.get(4..6).ok_or_else(short)?;
    if u16::from_ne_bytes([kind[0], kind[1]]) != libc::RTM_NEWLINK {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "rtnetlink did not answer with a link"));
    }
    let attributes = message.get(NETLINK_HEADER_LEN + IFINFO_LEN..).ok_or_else(short)?;
    let mut link = Link::default();
    for (kind, value) in Attributes(attributes) {
        match (kind, value) {
            (libc::IFLA_ADDRESS, &[a, b, c, d, e, f]) => link.mac = [a, b, c, d, e, f],
            (libc::IFLA_MTU, &[a, b, c, d]) => link.mtu = u32::from_ne_bytes([a, b, c, d]),
            (libc::IFLA_XDP, nested) => {
                for (kind, value) in Attributes(nested) {
                    if let (IFLA_XDP_PROG_ID, &[a, b, c, d]) = (kind, value) {
                        link.program = Some(AttachedProgram { id: u32::from_ne_bytes([a, b, c, d]) });
                    }
                }
            }
            _ => {}
        }
    }
    Ok(link)
}

/// The attributes (type, value) of a netlink message; ends at the first one that is cut off.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let &[l0, l1, k0, k1, ..] = self.0 else { return None };
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        // The two high bits say that it is nested or big-endian.
        Some((u16::from_ne_bytes([k0, k1]) & 0x3fff, value))
    }
}

/// Receive queues in use: from sysfs where it shows our namespace, else what ethtool counts as channels, else 1.
fn rx_queues(control: &OwnedFd, name: &str, index: u32) -> u32 {
    let sys = Path::new("/sys/class/net").join(name);
    let same = fs::read_to_string(sys.join("ifindex")).is_ok_and(|i| i.trim() == index.to_string());
    let listed = fs::read_dir(sys.join("queues"))
        .map(|entries| entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with("rx-")).count() as u32);
    match listed {
        Ok(count) if same && count > 0 => count,
        _ => channels(control, name).unwrap_or(1).max(1),
    }
}

// Of <linux/ethtool.h>.
const ETHTOOL_GDRVINFO: u32 = 0x3;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

fn driver(control: &OwnedFd, name: &str) -> io::Result<String> {
    // struct ethtool_drvinfo: cmd, then driver[32], and 160 bytes that do not matter here.
    let mut info = [0u32; 49];
    info[0] = ETHTOOL_GDRVINFO;
    ethtool(control, name, &mut info)?;
    let bytes: Vec<u8> = info[1..9].iter().flat_map(|word| word.to_ne_bytes()).take_while(|&b| b != 0).collect();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn strips_vlan_tags(control: &OwnedFd, name: &str) -> io::Result<bool> {
    let mut value = [ETHTOOL_GFLAGS, 0];
    ethtool(control, name, &mut value)?;
    Ok(value[1] & ETH_FLAG_RXVLAN != 0)
}

/// Channels that receive: `rx_count + combined_count` of struct ethtool_channels.
fn channels(control: &OwnedFd, name: &str) -> io::Result<u32> {
    let mut value = [0u32; 9];
    value[0] = ETHTOOL_GCHANNELS;
    ethtool(control, name, &mut value)?;
    Ok(value[5] + value[8])
}

/// One ethtool request; `request` is the structure of its command, whose first word is the command.
fn ethtool<const N: usize>(control: &OwnedFd, name: &str, request: &mut [u32; N]) -> io::Result<()> {
    // SAFETY: an all-zero ifreq is a valid value of that plain C structure.
    let mut ifreq: libc::ifreq = unsafe { mem::zeroed() };
    if name.len() >= ifreq.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in ifreq.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    ifreq.ifr_ifru.ifru_data = request.as_mut_ptr().cast();
    // SAFETY: SIOCETHTOOL reads and writes the structure of the command in `request[0]`, and each caller passes an array of
    // that structure's size; both it and `ifreq` outlive the call.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), libc::SIOCETHTOOL, &raw mut ifreq) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn message(attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0u8; NETLINK_HEADER_LEN + IFINFO_LEN];
        bytes[4..6].copy_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
        bytes.extend(attributes.concat());
        bytes
    }

    #[test]
    fn a_link_message_gives_address_mtu_and_program() {
        let xdp = [attribute(2, &[1]), attribute(IFLA_XDP_PROG_ID, &77u32.to_ne_bytes())].concat();
        let bytes = message(&[
            attribute(libc::IFLA_IFNAME, b"veth0\0"),
            attribute(libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]),
            attribute(libc::IFLA_MTU, &1500u32.to_ne_bytes()),
            attribute(libc::IFLA_XDP | 0x8000, &xdp),
        ]);
        let link = Link { mac: [2, 0, 0, 0, 0, 1], mtu: 1500, program: Some(AttachedProgram { id: 77 }) };
        assert_eq!(parse_link(&bytes).unwrap(), link);
    }

    #[test]
    fn a_cut_off_link_message_never_panics() {
        let bytes = message(&[attribute(libc::IFLA_MTU, &[1, 2, 3, 4]), attribute(libc::IFLA_XDP, &[9; 12])]);
        for len in 0..bytes.len() {
            let _ = parse_link(&bytes[..len]);
        }
        let zero_length = message(&[vec![0, 0, 4, 0]]);
        assert_eq!(parse_link(&zero_length).unwrap(), Link::default());
    }

    #[test]
    fn the_loopback_interface_is_found_with_its_address() {
        let lo = Device::find("lo").unwrap();
        assert!(lo.index >= 1 && lo.rx_queues >= 1 && lo.mtu > 0, "{lo:?}");
        assert_eq!(Device::at(lo.index).unwrap().name, "lo");
        assert!(matches!(Device::at(u32::MAX >> 1), Err(DeviceError::NotFound(_))));
    }

    #[test]
    fn an_unknown_interface_is_named_in_the_error() {
        assert_eq!(Device::find("none-such").unwrap_err().to_string(), "none-such: no such interface");
    }
}
