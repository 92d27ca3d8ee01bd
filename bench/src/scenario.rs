//! What the clients of a run do.

use clap::ValueEnum;

/// A scenario: the way of a client through an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// DISCOVER, OFFER, REQUEST, ACK: a client that takes a lease.
    Dora,
    /// DISCOVER, OFFER: clients that only ask. A server that keeps offers fills up with them.
    DiscoverOnly,
    /// DISCOVER and the same frame back, from `dhcp-storm reflect`: the limit of this machine. Replies are not judged.
    Echo,
}

/// What a client does once it has a good OFFER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterOffer {
    /// Asks for the address (RFC 2131 4.3.2, SELECTING).
    Request,
    /// Is done.
    Done,
}

impl Scenario {
    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Dora => "dora",
            Scenario::DiscoverOnly => "discover-only",
            Scenario::Echo => "echo",
        }
    }

    /// What comes after the OFFER.
    pub fn after_offer(self) -> AfterOffer {
        match self {
            Scenario::Dora => AfterOffer::Request,
            Scenario::DiscoverOnly | Scenario::Echo => AfterOffer::Done,
        }
    }

    /// What a client is after, in the plural.
    pub fn aim(self) -> &'static str {
        match self {
            Scenario::Dora => "bindings",
            Scenario::DiscoverOnly => "offers",
            Scenario::Echo => "echoes",
        }
    }
}
