//! The clients, and what each of the two servers gave them.

use std::net::Ipv4Addr;

use super::messages::{Dice, Meant};

/// The server's address, and its identifier.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// A server that is not there.
pub const OTHER_SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 77);

/// A net of clients, a /20.
#[derive(Clone, Copy, Debug)]
pub struct Net {
    /// Its second and third octet.
    pub third: [u8; 2],
    /// MAC address of the relay agent towards it.
    pub mac: [u8; 6],
}

/// Clients on the server's own link.
pub const LINK: Net = Net { third: [18, 0], mac: [0; 6] };
/// Clients behind a relay agent.
pub const RELAYED: Net = Net { third: [19, 0], mac: [2, 0, 0, 0, 0xfe, 1] };

impl Net {
    /// An address that no server leases.
    pub fn host(self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, self.third[0], 0, last)
    }

    /// An address outside of the pool that is reserved for a client.
    pub fn reserved(self, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, self.third[0], 0, number)
    }

    /// An address at the pool's end, which is never reached by taking one after the other.
    pub fn free(self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, self.third[0], 15, last)
    }

    /// Such an address that no other client has anything to do with.
    pub fn nobodys(self, client: &Client) -> Ipv4Addr {
        let [.., b, c] = client.mac;
        Ipv4Addr::new(198, self.third[0], 8 + b % 7, c)
    }

    /// The pool, as both configurations have it.
    pub fn pool(self) -> (Ipv4Addr, Ipv4Addr) {
        (Ipv4Addr::new(198, self.third[0], 1, 0), Ipv4Addr::new(198, self.third[0], 15, 250))
    }

    fn has_in_pool(self, address: Ipv4Addr) -> bool {
        let (first, last) = self.pool();
        (first..=last).contains(&address)
    }
}

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    pub mac: [u8; 6],
    pub client_id: Option<Vec<u8>>,
    /// Its relay agent's address.
    pub relay: Option<Ipv4Addr>,
    /// What the relay agent says of it (option 82).
    pub agent_info: Vec<u8>,
}

impl Client {
    /// The client with this number: every other one behind the relay agent, some with identifiers.
    pub fn number(number: u32) -> Self {
        let [.., b, c] = number.to_be_bytes();
        let mac = [2, 0, 7, 1, b, c];
        let client_id = match number % 4 {
            0 | 3 => None,
            1 => Some([&[1][..], &mac].concat()),
            _ => Some([&[255, 1, 2, 3, 4, 0, 3, 0, 1][..], &mac].concat()),
        };
        let relay = (number % 2 == 1).then(|| RELAYED.host(1));
        let agent_info = match number % 3 {
            0 => Vec::new(),
            1 => vec![1, 4, b'p', b'o', b, c],
            _ => vec![1, 3, b'o', b, c, 2, 2, b'r', c],
        };
        Self { mac, client_id, relay, agent_info }
    }

    /// Where it is.
    pub fn net(&self) -> Net {
        if self.relay.is_some() { RELAYED } else { LINK }
    }
}

/// What one server gave one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    pub offered: Option<Ipv4Addr>,
    pub lease: Option<Ipv4Addr>,
    /// The last lease that it had.
    pub previous: Option<Ipv4Addr>,
}

/// What an address is to a client: what two servers that give different ones can be compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Zero,
    /// The one that it has, or had.
    Own,
    Previous,
    /// The one that it asked for.
    Requested,
    /// One of the pool.
    Pool,
    /// One that another client has.
    Taken,
    Elsewhere,
}

/// All clients, and what the two servers gave them.
pub struct World {
    /// Those that send first; behind them the ones that were replaced.
    pub clients: Vec<Client>,
    /// How many send.
    pub active: usize,
    pub given: [Vec<Given>; 2],
    next: u32,
}

impl World {
    pub fn new(clients: u32) -> Self {
        let given = vec![Given::default(); clients as usize];
        Self {
            clients: (0..clients).map(Client::number).collect(),
            given: [given.clone(), given],
            active: clients as usize,
            next: clients,
        }
    }

    /// Another client takes this one's place: of this one the two servers think differently now.
    pub fn replace(&mut self, client: usize) {
        // Its leases stay: nobody else may get them.
        self.clients.push(self.clients[client].clone());
        for given in &mut self.given {
            let old = std::mem::take(&mut given[client]);
            given.push(old);
        }
        self.clients[client] = Client::number(self.next);
        self.next += 1;
    }

    pub fn has_lease(&self, client: usize) -> bool {
        self.given.iter().all(|given| given[client].lease.is_some())
    }

    pub fn was_offered(&self, client: usize) -> bool {
        self.given.iter().all(|given| given[client].offered.is_some())
    }

    /// Another client of the same net that has a lease.
    pub fn another_with_lease(&self, dice: &mut Dice, client: usize) -> Option<usize> {
        let start = dice.below(self.active);
        let order = (start..self.active).chain(0..start);
        let is_near = |other: usize| self.clients[other].relay == self.clients[client].relay;
        order.into_iter().find(|&other| other != client && is_near(other) && self.has_lease(other))
    }

    /// An address that a client means, as one server has it.
    pub fn fill_in(&self, server: usize, client: usize, meant: Meant) -> Ipv4Addr {
        let given = &self.given[server];
        let found = match meant {
            Meant::None => None,
            Meant::Offered => given[client].offered,
            Meant::Own => given[client].lease,
            Meant::Of(other) => given[other].lease,
            Meant::Is(address) => Some(address),
        };
        found.unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// What an address that one server gave is to the client.
    pub fn class(&self, server: usize, client: usize, requested: Ipv4Addr, address: Ipv4Addr) -> Class {
        let given = &self.given[server];
        let is_others = given.iter().enumerate().any(|(i, given)| i != client && given.lease == Some(address));
        match address {
            Ipv4Addr::UNSPECIFIED => Class::Zero,
            _ if is_others => Class::Taken,
            _ if given[client].lease == Some(address) => Class::Own,
            _ if given[client].previous == Some(address) => Class::Previous,
            _ if requested == address => Class::Requested,
            _ if self.clients[client].net().has_in_pool(address) => Class::Pool,
            _ => Class::Elsewhere,
        }
    }
}
