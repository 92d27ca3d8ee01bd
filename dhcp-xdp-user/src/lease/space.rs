//! Address spaces: two VPNs may have the same addresses, each for its own clients (RFC 6607).

use std::{fmt, net::Ipv4Addr};

/// An address space by its number, which is the same in every record of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space(pub u16);

impl Space {
    /// Outside of all VPNs.
    pub const GLOBAL: Self = Self(0);
}

/// An address and the space that it is of: what a lease is of. An address alone is one of the global space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpacedAddress {
    /// The space.
    pub space: Space,
    /// The address.
    pub address: Ipv4Addr,
}

impl SpacedAddress {
    /// An address of a space.
    pub const fn new(space: Space, address: Ipv4Addr) -> Self {
        Self { space, address }
    }

    /// Both as one number, which sorts as they do. In the global space it is the address's own.
    pub const fn number(self) -> u64 {
        (self.space.0 as u64) << 32 | self.address.to_bits() as u64
    }

    /// What has this [`number`](Self::number); of more bits than one has, the upper ones are left out.
    pub const fn of_number(number: u64) -> Self {
        Self { space: Space((number >> 32) as u16), address: Ipv4Addr::from_bits(number as u32) }
    }
}

impl From<Ipv4Addr> for SpacedAddress {
    fn from(address: Ipv4Addr) -> Self {
        Self { space: Space::GLOBAL, address }
    }
}

/// As an IPv6 address with its zone is written (RFC 4007 11.2): `10.0.0.1%7`; in the global space the address alone.
impl fmt::Display for SpacedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        if self.space == Space::GLOBAL { Ok(()) } else { write!(f, "%{}", self.space.0) }
    }
}

impl serde::Serialize for SpacedAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_its_space_are_one_number_and_one_text() {
        let at = SpacedAddress::new(Space(7), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!((at.number(), SpacedAddress::of_number(at.number())), (0x7_0a00_0001, at));
        assert_eq!(SpacedAddress::from(at.address).number(), 0x0a00_0001);
        assert_eq!(
            (at.to_string(), SpacedAddress::from(at.address).to_string()),
            ("10.0.0.1%7".into(), "10.0.0.1".into())
        );
        assert!(SpacedAddress::from(Ipv4Addr::BROADCAST) < at, "the global space comes first");
    }
}
