//! Client messages by the thousand, from a seed: right, odd and malformed ones, direct and relayed.
//!
//! A message names addresses by what they are to its client (the one it was offered, the one it has, another client's), since
//! two servers give different ones: they are filled in for each server.

use std::net::Ipv4Addr;

use super::world::{Client, OTHER_SERVER, RELAYED, SERVER, World};
use crate::net::Datagram;

/// An address, as a client means it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    /// Zero.
    None,
    /// The last one that it was offered.
    Offered,
    /// The one that it has.
    Own,
    /// The one that another client has.
    Of(usize),
    /// This one.
    Is(Ipv4Addr),
}

/// What is wrong or odd about a message's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// The last option runs past the end.
    CutOption,
    /// The cookie is wrong.
    Cookie,
    /// Another `hlen`.
    Hlen(u8),
    /// `op` is BOOTREPLY.
    Op,
    /// No message type.
    NoType,
    /// Pads before, between and after options.
    Pads,
    /// No end option.
    NoEnd,
    /// Options moved into `file` (RFC 2132 9.3).
    OverloadFile,
    /// Options moved into `sname`.
    OverloadName,
    /// `hops` as a relay agent far away would have it.
    Hops(u8),
    /// `secs`.
    Secs(u16),
    /// Bytes after the end option.
    Tail,
}

/// A message.
#[derive(Clone, Debug)]
pub struct Case {
    /// Who sends it.
    pub client: usize,
    /// What it is, in words; differences are told by it.
    pub name: &'static str,
    /// Message type.
    pub kind: u8,
    /// `ciaddr`.
    pub ciaddr: Meant,
    /// Option 50.
    pub requested: Option<Meant>,
    /// Option 54.
    pub server_id: Option<Ipv4Addr>,
    /// Sent to the server's own address.
    pub unicast: bool,
    /// The broadcast flag.
    pub broadcast: bool,
    /// Sent by its relay agent, if it has one: otherwise as RENEWING clients do.
    pub relayed: bool,
    /// More options, in this order.
    pub options: Vec<(u8, Vec<u8>)>,
    /// What is odd about it.
    pub oddity: Option<Oddity>,
}

/// A sequence of numbers from a seed (SplitMix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;
const DECLINE: u8 = 4;
const RELEASE: u8 = 7;
const INFORM: u8 = 8;

impl Case {
    fn new(client: usize, name: &'static str, kind: u8) -> Self {
        Self {
            client,
            name,
            kind,
            ciaddr: Meant::None,
            requested: None,
            server_id: None,
            unicast: false,
            broadcast: false,
            relayed: true,
            options: Vec::new(),
            oddity: None,
        }
    }

    /// The next message: of a client that has a lease, or none, as the dice say.
    pub fn any(dice: &mut Dice, world: &World) -> Self {
        let client = dice.below(world.active);
        let has_lease = world.has_lease(client);
        let mut case =
            if has_lease { Self::of_bound(dice, world, client) } else { Self::of_unbound(dice, world, client) };
        case.broadcast = dice.one_in(3);
        case.decorate(dice);
        // What it gives back is noted without an answer that would say that it was understood.
        if dice.one_in(12) && !matches!(case.kind, DECLINE | RELEASE) {
            case.oddity = Some(Self::oddity(dice));
        }
        case
    }

    fn of_unbound(dice: &mut Dice, world: &World, client: usize) -> Self {
        let new = |name, kind| Self::new(client, name, kind);
        let net = world.clients[client].net();
        match dice.below(21) {
            0..=5 => new("DISCOVER", DISCOVER),
            6 => Self {
                requested: Some(Meant::Is(net.free(dice.below(40) as u8))),
                ..new("DISCOVER for an address of the pool", DISCOVER)
            },
            7 => Self {
                requested: Some(Meant::Is(Ipv4Addr::new(10, 9, 8, 7))),
                ..new("DISCOVER for an address of another net", DISCOVER)
            },
            8 if let Some(other) = world.another_with_lease(dice, client) => {
                Self { requested: Some(Meant::Of(other)), ..new("DISCOVER for another client's address", DISCOVER) }
            }
            9..=13 if world.was_offered(client) => Self {
                requested: Some(Meant::Offered),
                server_id: Some(SERVER),
                ..new("REQUEST for the offer", REQUEST)
            },
            14 if world.was_offered(client) => Self {
                requested: Some(Meant::Offered),
                server_id: Some(OTHER_SERVER),
                ..new("REQUEST to another server", REQUEST)
            },
            15 if let Some(other) = world.another_with_lease(dice, client) => Self {
                requested: Some(Meant::Of(other)),
                server_id: Some(SERVER),
                ..new("REQUEST for another client's address", REQUEST)
            },
            16 => Self {
                requested: Some(Meant::Is(Ipv4Addr::new(10, 9, 8, 7))),
                ..new("INIT-REBOOT of an unknown client, wrong net", REQUEST)
            },
            17 => {
                Self { requested: Some(Meant::Is(net.free(200))), ..new("INIT-REBOOT of an unknown client", REQUEST) }
            }
            18 => Self { ciaddr: Meant::Is(net.host(3)), ..new("INFORM", INFORM) },
            19 => {
                let name = match world.clients[client].relay {
                    None => "RENEWING of an unknown client",
                    Some(_) => "RENEWING of an unknown client through routers",
                };
                // Its own alone, so that nobody was offered it: Kea keeps no record of offers.
                let ciaddr = Meant::Is(net.nobodys(&world.clients[client]));
                Self { ciaddr, unicast: true, relayed: false, ..new(name, REQUEST) }
            }
            _ => Self { server_id: Some(SERVER), ..new("REQUEST for nothing", REQUEST) },
        }
    }

    fn of_bound(dice: &mut Dice, world: &World, client: usize) -> Self {
        let new = |name, kind| Self::new(client, name, kind);
        let net = world.clients[client].net();
        let other = world.another_with_lease(dice, client);
        match (dice.below(20), other) {
            (0..=1, _) => new("DISCOVER of a bound client", DISCOVER),
            (2, Some(other)) => Self {
                requested: Some(Meant::Of(other)),
                ..new("DISCOVER of a bound client for another's address", DISCOVER)
            },
            (3..=4, _) => Self { requested: Some(Meant::Own), ..new("INIT-REBOOT", REQUEST) },
            (5, _) => Self { requested: Some(Meant::Is(net.free(210))), ..new("INIT-REBOOT, wrong address", REQUEST) },
            (6, _) => Self {
                requested: Some(Meant::Is(Ipv4Addr::new(10, 9, 8, 7))),
                ..new("INIT-REBOOT, wrong net", REQUEST)
            },
            (7..=9, _) => Self { ciaddr: Meant::Own, unicast: true, relayed: false, ..new("RENEWING", REQUEST) },
            (10..=11, _) => Self { ciaddr: Meant::Own, ..new("REBINDING", REQUEST) },
            (12, Some(other)) => Self { ciaddr: Meant::Of(other), ..new("REBINDING of another's address", REQUEST) },
            (13, _) => {
                Self { requested: Some(Meant::Own), server_id: Some(SERVER), ..new("REQUEST for its lease", REQUEST) }
            }
            (14, _) => Self { ciaddr: Meant::Own, server_id: Some(SERVER), unicast: true, ..new("RELEASE", RELEASE) },
            (15, Some(other)) => Self {
                ciaddr: Meant::Of(other),
                server_id: Some(SERVER),
                unicast: true,
                ..new("RELEASE of another's address", RELEASE)
            },
            (16, _) => Self { requested: Some(Meant::Own), server_id: Some(SERVER), ..new("DECLINE", DECLINE) },
            (17, Some(other)) => Self {
                requested: Some(Meant::Of(other)),
                server_id: Some(SERVER),
                ..new("DECLINE of another's address", DECLINE)
            },
            (18, _) => Self { ciaddr: Meant::Own, ..new("INFORM of a bound client", INFORM) },
            _ => Self {
                requested: Some(Meant::Own),
                server_id: Some(OTHER_SERVER),
                ..new("bound REQUEST to another server", REQUEST)
            },
        }
    }

    /// Options as clients send them, or do not.
    fn decorate(&mut self, dice: &mut Dice) {
        if !dice.one_in(5) {
            let known = [1, 3, 6, 15, 28, 42, 51, 58, 59, 119, 121, 33, 43, 224, 12];
            let list = (0..1 + dice.below(known.len())).map(|_| dice.pick(&known)).collect();
            self.options.push((55, list));
        }
        if dice.one_in(4) {
            let asked_s = dice.pick(&[30u32, 600, 1800, 3600, 5000, 100_000, u32::MAX]);
            self.options.push((51, asked_s.to_be_bytes().to_vec()));
        }
        if dice.one_in(6) {
            self.options.push((57, dice.pick(&[576u16, 590, 1500]).to_be_bytes().to_vec()));
        }
        if dice.one_in(4) {
            self.options.push((60, b"MSFT 5.0".to_vec()));
        }
        if dice.one_in(6) {
            self.options.push((77, vec![3, b'a', b'b', b'c']));
        }
        if dice.one_in(8) {
            self.options.push((250, vec![0; dice.below(200)]));
        }
    }

    fn oddity(dice: &mut Dice) -> Oddity {
        match dice.below(12) {
            0 => Oddity::CutOption,
            1 => Oddity::Cookie,
            2 => Oddity::Hlen(dice.pick(&[17, 255])),
            3 => Oddity::Op,
            4 => Oddity::NoType,
            5 => Oddity::Pads,
            6 => Oddity::NoEnd,
            7 => Oddity::OverloadFile,
            8 => Oddity::OverloadName,
            9 => Oddity::Hops(dice.pick(&[1, 4, 16])),
            10 => Oddity::Secs(dice.roll() as u16),
            _ => Oddity::Tail,
        }
    }

    /// The whole frame, with the addresses that one server gave.
    pub fn frame(&self, client: &Client, xid: u32, fill_in: &dyn Fn(Meant) -> Ipv4Addr) -> Vec<u8> {
        let relay = self.relayed.then_some(client.relay).flatten();
        let ciaddr = fill_in(self.ciaddr);
        let payload = self.payload(client, xid, ciaddr, relay.is_some(), fill_in);
        let (source, source_port) = match relay {
            Some(giaddr) => (giaddr, 67),
            None => (ciaddr, 68),
        };
        let destination = if relay.is_some() || self.unicast { SERVER } else { Ipv4Addr::BROADCAST };
        let mac = if relay.is_some() { RELAYED.mac } else { client.mac };
        Datagram { mac, source: source.octets(), destination: destination.octets(), source_port, ..Datagram::default() }
            .frame(&payload)
    }

    fn payload(
        &self,
        client: &Client,
        xid: u32,
        ciaddr: Ipv4Addr,
        is_relayed: bool,
        fill_in: &dyn Fn(Meant) -> Ipv4Addr,
    ) -> Vec<u8> {
        let mut options: Vec<(u8, Vec<u8>)> = vec![(53, vec![self.kind])];
        if let Some(id) = &client.client_id {
            options.push((61, id.clone()));
        }
        if let Some(requested) = self.requested {
            options.push((50, fill_in(requested).octets().to_vec()));
        }
        if let Some(server_id) = self.server_id {
            options.push((54, server_id.octets().to_vec()));
        }
        options.extend(self.options.iter().cloned());
        if is_relayed && !client.agent_info.is_empty() {
            options.push((82, client.agent_info.clone()));
        }
        let mut header = vec![0; 236];
        header[..4].copy_from_slice(&[1, 1, 6, u8::from(is_relayed)]);
        header[4..8].copy_from_slice(&xid.to_be_bytes());
        header[10] = if self.broadcast { 0x80 } else { 0 };
        header[12..16].copy_from_slice(&ciaddr.octets());
        if let Some(giaddr) = client.relay.filter(|_| is_relayed) {
            header[24..28].copy_from_slice(&giaddr.octets());
        }
        header[28..34].copy_from_slice(&client.mac);
        self.assemble(header, options)
    }

    fn assemble(&self, mut header: Vec<u8>, mut options: Vec<(u8, Vec<u8>)>) -> Vec<u8> {
        let mut cookie = [99, 130, 83, 99];
        let mut area = Vec::new();
        match self.oddity {
            Some(Oddity::Cookie) => cookie[3] = 98,
            Some(Oddity::Hlen(hlen)) => header[2] = hlen,
            Some(Oddity::Op) => header[0] = 2,
            Some(Oddity::NoType) => options.retain(|(code, _)| *code != 53),
            Some(Oddity::Hops(hops)) => header[3] = hops,
            Some(Oddity::Secs(secs)) => header[8..10].copy_from_slice(&secs.to_be_bytes()),
            Some(Oddity::OverloadFile) => overload(&mut header[108..236], &mut options, 1),
            Some(Oddity::OverloadName) => overload(&mut header[44..108], &mut options, 2),
            _ => {}
        }
        let pads = if self.oddity == Some(Oddity::Pads) { 3 } else { 0 };
        for (code, data) in &options {
            area.extend(vec![0; pads]);
            area.extend([*code, data.len() as u8]);
            area.extend(data);
        }
        match self.oddity {
            Some(Oddity::CutOption) => area.extend([12, 200, b'x']),
            Some(Oddity::NoEnd) => {}
            Some(Oddity::Tail) => area.extend([255, 12, 200, 1, 2, 3]),
            _ => area.push(255),
        }
        area.extend(vec![0; pads]);
        [&header[..], &cookie, &area].concat()
    }
}

/// Moves what fits of the options (not the message type, which servers look for first) into a field of the header.
fn overload(field: &mut [u8], options: &mut Vec<(u8, Vec<u8>)>, value: u8) {
    let mut at = 0;
    options.retain(|(code, data)| {
        let fits = !matches!(code, 53 | 82) && at + 2 + data.len() < field.len();
        if fits {
            field[at..at + 2].copy_from_slice(&[*code, data.len() as u8]);
            field[at + 2..at + 2 + data.len()].copy_from_slice(data);
            at += 2 + data.len();
        }
        !fits
    });
    field[at] = 255;
    options.insert(1, (52, vec![value]));
}

/// The renewal that shows that all messages before it were dealt with.
pub fn probe(client: &Client, address: Ipv4Addr, xid: u32) -> Vec<u8> {
    let case = Case { ciaddr: Meant::Own, unicast: true, relayed: false, ..Case::new(0, "probe", REQUEST) };
    case.frame(client, xid, &|_| address)
}

/// The two messages with which a client gets its first lease.
pub fn first_lease(step: usize) -> Case {
    let server_id = Some(SERVER);
    match step {
        0 => Case::new(0, "first DISCOVER", DISCOVER),
        _ => Case { requested: Some(Meant::Offered), server_id, ..Case::new(0, "first REQUEST", REQUEST) },
    }
}
