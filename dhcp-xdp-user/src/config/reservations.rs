//! Reservations as the server uses them: found by what a request says of its client, in a time that does not depend on how many
//! there are, without an allocation.
//!
//! All are in one hash table, whose entries are numbers; the identifiers lie one after the other in one piece of memory. A
//! request of a network costs one look for each kind of identifier that the network's reservations use, and nothing where it
//! has none.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::Ipv4Addr,
};

use arrayvec::ArrayVec;
use hashbrown::HashTable;

use crate::{
    class::ClassSet,
    lease::{HwAddress, Space, SpacedAddress},
};

/// What a client is recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// The value of the configuration's `flex_id` expression.
    FlexId,
    /// Client identifier (option 61), with its type.
    ClientId,
    /// Hardware type and address.
    HwAddress,
    /// Agent circuit identifier (option 82, sub-option 1).
    CircuitId,
    /// Agent remote identifier (option 82, sub-option 2).
    RemoteId,
}

impl IdKind {
    /// All of them, in the order in which reservations are looked for: the first that is found counts.
    pub const ALL: [IdKind; 5] =
        [IdKind::FlexId, IdKind::ClientId, IdKind::HwAddress, IdKind::CircuitId, IdKind::RemoteId];

    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            IdKind::FlexId => "flex_id",
            IdKind::ClientId => "client_id",
            IdKind::HwAddress => "hw_address",
            IdKind::CircuitId => "circuit_id",
            IdKind::RemoteId => "remote_id",
        }
    }

    /// Whether a relay agent says it, or may, so that a message that came past all relay agents lacks it.
    pub const fn is_of_relay_agent(self) -> bool {
        matches!(self, IdKind::CircuitId | IdKind::RemoteId | IdKind::FlexId)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// What a request says of its client; each is asked for only where a reservation could match it.
pub trait Identified {
    /// The identifier of a kind that is not the hardware address.
    fn id(&self, kind: IdKind) -> Option<&[u8]>;
    /// The hardware address.
    fn hw(&self) -> &HwAddress;
}

/// One reservation.
#[derive(Clone, Debug)]
pub struct Reservation {
    kind: IdKind,
    scope: u32,
    id: (u32, u32),
    /// The address that is the client's alone.
    pub address: Option<Ipv4Addr>,
    /// Lease time, seconds.
    pub lease_time_s: Option<u32>,
    /// The classes that its client is in, whatever its packets say.
    pub classes: ClassSet,
    /// What is laid over the options of its replies: an index into [`Config::overlays`](super::Config::overlays).
    pub overlay: Option<u32>,
}

impl Reservation {
    /// What its client is recognised by.
    pub fn kind(&self) -> IdKind {
        self.kind
    }
}

/// What a reservation gives its client.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gives {
    /// [`Reservation::address`]
    pub address: Option<Ipv4Addr>,
    /// The space of that address: that of the network where the reservation holds.
    pub space: Space,
    /// [`Reservation::lease_time_s`]
    pub lease_time_s: Option<u32>,
    /// [`Reservation::classes`]
    pub classes: ClassSet,
    /// [`Reservation::overlay`]
    pub overlay: Option<u32>,
}

/// Where a reservation holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In one network, of [`Subnets::network_of`](super::Subnets::network_of).
    Network(u16),
    /// In all of them.
    Everywhere,
}

impl Scope {
    const fn number(self) -> u32 {
        match self {
            Scope::Network(network) => network as u32,
            Scope::Everywhere => u32::MAX,
        }
    }
}

/// All reservations.
#[derive(Clone, Debug, Default)]
pub struct Reservations {
    all: Vec<Reservation>,
    ids: Vec<u8>,
    index: HashTable<u32>,
    hasher: RandomState,
    /// By network: the kinds that its reservations use.
    kinds: Vec<u8>,
    kinds_everywhere: u8,
    /// Sorted by address.
    by_address: Vec<(SpacedAddress, u32)>,
    outside_pools: u64,
}

/// What a new reservation collides with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collision {
    /// The client has this one there already.
    Client(u32),
    /// There is no room for more.
    Full,
}

impl Reservations {
    /// With room for so many.
    pub fn reserve(&mut self, more: usize) {
        self.all.reserve(more);
        self.ids.reserve(more.saturating_mul(8));
        let (all, ids, hasher) = (&self.all, &self.ids, &self.hasher);
        self.index.reserve(more, |&at| hash_of(hasher, &all[at as usize], ids));
    }

    /// Adds one. An identifier of kind [`IdKind::HwAddress`] is the hardware type and then the address.
    ///
    /// # Errors
    /// [`Collision`]; nothing was added.
    pub fn add(&mut self, scope: Scope, kind: IdKind, id: &[u8], gives: Gives) -> Result<u32, Collision> {
        let number = u32::try_from(self.all.len()).map_err(|_| Collision::Full)?;
        let (Ok(start), Ok(len)) = (u32::try_from(self.ids.len()), u32::try_from(id.len())) else {
            return Err(Collision::Full);
        };
        if let Some(other) = self.at(scope.number(), kind, id) {
            return Err(Collision::Client(other));
        }
        self.ids.extend_from_slice(id);
        let Gives { address, space, lease_time_s, classes, overlay } = gives;
        let (scope_number, id_at) = (scope.number(), (start, len));
        let reservation = Reservation { kind, scope: scope_number, id: id_at, address, lease_time_s, classes, overlay };
        self.all.push(reservation);
        let (all, ids, hasher) = (&self.all, &self.ids, &self.hasher);
        let hash = hash(hasher, scope.number(), kind, id);
        self.index.insert_unique(hash, number, |&at| hash_of(hasher, &all[at as usize], ids));
        match scope {
            Scope::Everywhere => self.kinds_everywhere |= kind.bit(),
            Scope::Network(network) => {
                let at = usize::from(network);
                if self.kinds.len() <= at {
                    self.kinds.resize(at + 1, 0);
                }
                self.kinds[at] |= kind.bit();
            }
        }
        if let Some(address) = address {
            self.by_address.push((SpacedAddress::new(space, address), number));
        }
        Ok(number)
    }

    /// Ends adding: afterwards reservations are found by address. Tells of each pair with one address; `in_pool` says whether
    /// an address is in a pool.
    pub fn end(&mut self, in_pool: impl Fn(SpacedAddress) -> bool, mut twice: impl FnMut(SpacedAddress, u32, u32)) {
        self.by_address.sort_unstable();
        for pair in self.by_address.windows(2) {
            if let [(address, first), (other, second)] = pair
                && address == other
            {
                twice(*address, *first, *second);
            }
        }
        self.outside_pools = self.by_address.iter().filter(|(address, _)| !in_pool(*address)).count() as u64;
    }

    /// The reservation of a client in a network: one of the network before one that holds everywhere, in the order of
    /// [`IdKind::ALL`].
    pub fn find(&self, network: u16, client: &impl Identified) -> Option<u32> {
        let here = self.kinds.get(usize::from(network)).copied().unwrap_or(0);
        if here | self.kinds_everywhere == 0 {
            return None;
        }
        self.find_in(Scope::Network(network), here, client)
            .or_else(|| self.find_in(Scope::Everywhere, self.kinds_everywhere, client))
    }

    fn find_in(&self, scope: Scope, kinds: u8, client: &impl Identified) -> Option<u32> {
        IdKind::ALL.into_iter().filter(|kind| kinds & kind.bit() != 0).find_map(|kind| match kind {
            IdKind::HwAddress => self.at(scope.number(), kind, &hw_id(client.hw())),
            _ => self.at(scope.number(), kind, client.id(kind)?),
        })
    }

    fn at(&self, scope: u32, kind: IdKind, id: &[u8]) -> Option<u32> {
        let is_it = |&at: &u32| {
            let one = &self.all[at as usize];
            one.scope == scope && one.kind == kind && id_of(one, &self.ids) == id
        };
        self.index.find(hash(&self.hasher, scope, kind, id), is_it).copied()
    }

    /// A reservation by its number.
    pub fn get(&self, number: u32) -> Option<&Reservation> {
        self.all.get(number as usize)
    }

    /// All of them with their identifiers, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&Reservation, &[u8])> {
        self.all.iter().map(|one| (one, id_of(one, &self.ids)))
    }

    /// Whether reservations that hold in this network are by identifiers of this kind.
    pub fn uses(&self, network: u16, kind: IdKind) -> bool {
        let here = self.kinds.get(usize::from(network)).copied().unwrap_or(0);
        (here | self.kinds_everywhere) & kind.bit() != 0
    }

    /// Whether reservations that hold in this network are by what relay agents say.
    pub fn has_circuits(&self, network: u16) -> bool {
        IdKind::ALL.into_iter().any(|kind| kind.is_of_relay_agent() && self.uses(network, kind))
    }

    /// The reservation of an address, in logarithmic time.
    pub fn of_address(&self, at: impl Into<SpacedAddress>) -> Option<u32> {
        let at = self.by_address.binary_search_by_key(&at.into(), |(address, _)| *address).ok()?;
        Some(self.by_address[at].1)
    }

    /// All reserved addresses, sorted.
    pub fn addresses(&self) -> impl Iterator<Item = SpacedAddress> + '_ {
        self.by_address.iter().map(|(address, _)| *address)
    }

    /// How many reserved addresses are in no pool.
    pub fn outside_pools(&self) -> u64 {
        self.outside_pools
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// Hardware type and address, one after the other.
pub(super) fn hw_id(hw: &HwAddress) -> ArrayVec<u8, 17> {
    let mut id = ArrayVec::new();
    id.push(hw.htype);
    id.extend(hw.bytes().iter().copied().take(16));
    id
}

fn id_of<'a>(one: &Reservation, ids: &'a [u8]) -> &'a [u8] {
    let (start, len) = (one.id.0 as usize, one.id.1 as usize);
    &ids[start..start + len]
}

fn hash_of(hasher: &RandomState, one: &Reservation, ids: &[u8]) -> u64 {
    hash(hasher, one.scope, one.kind, id_of(one, ids))
}

fn hash(hasher: &RandomState, scope: u32, kind: IdKind, id: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_u64(u64::from(scope) << 8 | kind as u64);
    hasher.write(id);
    hasher.finish()
}
