//! The walk over frames: by example, cut short everywhere, and against another parser.

use dhcp_xdp_ebpf::{Frame, Role, Verdict, walk};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

const CHADDR: [u8; 16] = [2, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// How a frame differs from a plain DISCOVER.
#[derive(Clone, Debug)]
struct Shape {
    tags: Vec<u16>,
    ethertype: u16,
    version: u8,
    ihl: u8,
    fragment: u16,
    protocol: u8,
    destination: [u8; 4],
    port: u16,
    op: u8,
    payload: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            ethertype: 0x0800,
            version: 4,
            ihl: 5,
            fragment: 0,
            protocol: 17,
            destination: [255; 4],
            port: 67,
            op: 1,
            payload: 240,
        }
    }
}

impl Shape {
    fn frame(&self) -> Vec<u8> {
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 9]);
        for tag in &self.tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0x01, 0x23]);
        }
        frame.extend(self.ethertype.to_be_bytes());
        let header_len = usize::from(self.ihl) * 4;
        let total = header_len + 8 + self.payload;
        let mut ip = vec![0; header_len.max(20)];
        ip[0] = self.version << 4 | self.ihl;
        ip[2..4].copy_from_slice(&(total as u16).to_be_bytes());
        ip[6..8].copy_from_slice(&self.fragment.to_be_bytes());
        ip[8] = 64;
        ip[9] = self.protocol;
        ip[16..20].copy_from_slice(&self.destination);
        frame.extend(ip);
        frame.extend(68u16.to_be_bytes());
        frame.extend(self.port.to_be_bytes());
        frame.extend((8 + self.payload as u16).to_be_bytes());
        frame.extend([0, 0]);
        let mut bootp = vec![0; self.payload];
        if let Some(op) = bootp.first_mut() {
            *op = self.op;
        }
        if let Some(chaddr) = bootp.get_mut(28..44) {
            chaddr.copy_from_slice(&CHADDR);
        }
        frame.extend(bootp);
        frame
    }

    fn walk(&self, role: Role) -> Result<Frame, Verdict> {
        walk(&self.frame()[..], role)
    }

    fn verdict(&self) -> Verdict {
        self.walk(Role::Server).expect_err("this frame is not for the server")
    }
}

#[test]
fn layers_are_found_behind_any_tags_and_any_header_length() {
    for tags in [vec![], vec![0x8100], vec![0x88a8], vec![0x88a8, 0x8100], vec![0x8100, 0x8100]] {
        for ihl in 5..=15 {
            let shape = Shape { tags: tags.clone(), ihl, destination: [192, 0, 2, 1], ..Shape::default() };
            let ipv4 = 14 + 4 * tags.len() as u16;
            let udp = ipv4 + 4 * u16::from(ihl);
            let expected = Frame {
                vlan_tags: tags.len() as u8,
                ipv4,
                udp,
                bootp: udp + 8,
                destination: [192, 0, 2, 1],
                chaddr: CHADDR,
            };
            assert_eq!(shape.walk(Role::Server), Ok(expected), "{shape:?}");
        }
    }
}

#[test]
fn three_tags_are_one_too_many() {
    assert_eq!(Shape { tags: vec![0x88a8, 0x8100, 0x8100], ..Shape::default() }.verdict(), Verdict::PassNotIpv4);
}

#[test]
fn other_protocols_are_passed() {
    for ethertype in [0x0806, 0x86dd, 0x0000, 0x05dc] {
        assert_eq!(Shape { ethertype, ..Shape::default() }.verdict(), Verdict::PassNotIpv4, "{ethertype:#x}");
    }
    assert_eq!(Shape { version: 6, ..Shape::default() }.verdict(), Verdict::PassNotIpv4);
    for protocol in [0, 1, 6, 16, 18, 255] {
        assert_eq!(Shape { protocol, ..Shape::default() }.verdict(), Verdict::PassNotUdp, "{protocol}");
    }
}

#[test]
fn a_header_length_below_20_bytes_is_truncated() {
    for ihl in 0..5 {
        assert_eq!(Shape { ihl, ..Shape::default() }.verdict(), Verdict::PassTruncated, "{ihl}");
    }
}

#[test]
fn every_fragment_is_passed_and_the_other_flags_do_not_matter() {
    for fragment in [0x2000, 0x0001, 0x1fff, 0x2001, 0x6000] {
        assert_eq!(Shape { fragment, ..Shape::default() }.verdict(), Verdict::PassFragment, "{fragment:#x}");
    }
    for fragment in [0x4000, 0x8000, 0xc000] {
        assert!(Shape { fragment, ..Shape::default() }.walk(Role::Server).is_ok(), "{fragment:#x}");
    }
}

#[test]
fn each_role_reads_its_own_ports_and_its_own_op() {
    let frame = |port, op| Shape { port, op, ..Shape::default() };
    assert!(frame(67, 1).walk(Role::Server).is_ok());
    assert_eq!(frame(68, 1).walk(Role::Server), Err(Verdict::PassOtherPort));
    assert_eq!(frame(67, 2).walk(Role::Server), Err(Verdict::PassOtherOp));
    assert!(frame(67, 2).walk(Role::Client).is_ok(), "a reply to a relay agent");
    assert!(frame(68, 2).walk(Role::Client).is_ok());
    assert_eq!(frame(67, 1).walk(Role::Client), Err(Verdict::PassOtherOp));
    for port in [0, 53, 66, 69, 0x4300, 0xffff] {
        assert_eq!(frame(port, 1).walk(Role::Server), Err(Verdict::PassOtherPort), "{port}");
        assert_eq!(frame(port, 2).walk(Role::Client), Err(Verdict::PassOtherPort), "{port}");
    }
    for op in [0, 2, 3, 255] {
        assert_eq!(frame(67, op).walk(Role::Server), Err(Verdict::PassOtherOp), "{op}");
    }
}

#[test]
fn a_frame_cut_anywhere_before_the_end_of_chaddr_is_truncated() {
    for tags in [vec![], vec![0x8100], vec![0x88a8, 0x8100]] {
        for ihl in [5, 6, 15] {
            let shape = Shape { tags: tags.clone(), ihl, ..Shape::default() };
            let whole = shape.frame();
            let needed = 14 + 4 * tags.len() + 4 * usize::from(ihl) + 8 + 44;
            for len in 0..whole.len() {
                let outcome = walk(&whole[..len], Role::Server);
                if len < needed {
                    assert_eq!(outcome, Err(Verdict::PassTruncated), "{len} bytes of {shape:?}");
                } else {
                    assert_eq!(outcome, shape.walk(Role::Server), "{len} bytes of {shape:?}");
                }
            }
        }
    }
}

prop_compose! {
    /// A frame that is nearly right: each field is what it should be, or anything.
    fn nearly()(
        tags in prop::collection::vec(prop::sample::select(vec![0x8100u16, 0x88a8]), 0..4),
        ethertype in prop_oneof![8 => Just(0x0800u16), 1 => any::<u16>()],
        version in prop_oneof![8 => Just(4u8), 1 => 0..16u8],
        ihl in 0..16u8,
        fragment in prop_oneof![4 => Just(0u16), 1 => any::<u16>()],
        protocol in prop_oneof![8 => Just(17u8), 1 => any::<u8>()],
        destination in any::<[u8; 4]>(),
        port in prop_oneof![4 => Just(67u16), 2 => Just(68u16), 1 => any::<u16>()],
        op in 0..4u8,
        payload in 0..300usize,
    ) -> Shape {
        Shape { tags, ethertype, version, ihl, fragment, protocol, destination, port, op, payload }
    }
}

/// What another parser finds in a frame that the walk takes: the offsets of IPv4 and of the UDP payload, and the port.
fn elsewhere(frame: &[u8]) -> Option<(usize, usize, u16)> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(NetSlice::Ipv4(ip)) = packet.net else { return None };
    let Some(TransportSlice::Udp(udp)) = packet.transport else { return None };
    let offset = |part: &[u8]| part.as_ptr().addr() - frame.as_ptr().addr();
    Some((offset(ip.header().slice()), offset(udp.payload()), udp.destination_port()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        for role in [Role::Server, Role::Client] {
            let _ = walk(&bytes[..], role);
        }
    }

    #[test]
    fn what_is_taken_is_what_another_parser_finds(shape in nearly(), cut in 0..400usize) {
        let mut frame = shape.frame();
        frame.truncate(frame.len().saturating_sub(cut.saturating_sub(200)));
        for role in [Role::Server, Role::Client] {
            let found = elsewhere(&frame);
            match walk(&frame[..], role) {
                Ok(walked) => {
                    // The other one also checks lengths that the headers claim, and then finds nothing.
                    if let Some((ipv4, bootp, port)) = found {
                        prop_assert_eq!(usize::from(walked.ipv4), ipv4);
                        prop_assert_eq!(usize::from(walked.bootp), bootp);
                        prop_assert!(port == 67 || (port == 68 && role == Role::Client));
                    }
                    let bootp = usize::from(walked.bootp);
                    prop_assert_eq!(frame[bootp], role as u8);
                    prop_assert_eq!(&frame[bootp + 28..bootp + 44], &walked.chaddr[..]);
                }
                Err(verdict) => {
                    // A whole DHCP message in what the other one takes is never lost.
                    let ours = found.is_some_and(|(_, bootp, port)| {
                        port == 67 && frame.len() >= bootp + 44 && frame[bootp] == role as u8 && shape.tags.len() <= 2
                    });
                    prop_assert!(!ours, "passed as {verdict:?}");
                }
            }
        }
    }
}
