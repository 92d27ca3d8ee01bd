//! The names of the language, and what each means.

use super::field::Field;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Condition,
    Bytes,
    Number,
    Address,
}

impl Type {
    /// As messages call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Condition => "a condition",
            Self::Bytes => "bytes",
            Self::Number => "a number",
            Self::Address => "an address",
        }
    }
}

/// Fields of the packet; `a.b` is written so.
pub(super) const FIELDS: &[(&str, Field, Type)] = &[
    ("hw_address", Field::HwAddress, Type::Bytes),
    ("chaddr", Field::HwAddress, Type::Bytes),
    ("htype", Field::Htype, Type::Number),
    ("hlen", Field::Hlen, Type::Number),
    ("hops", Field::Hops, Type::Number),
    ("xid", Field::Xid, Type::Number),
    ("secs", Field::Secs, Type::Number),
    ("flags.broadcast", Field::Broadcast, Type::Condition),
    ("ciaddr", Field::Ciaddr, Type::Address),
    ("giaddr", Field::Giaddr, Type::Address),
    ("destination", Field::Destination, Type::Address),
    ("message_length", Field::MessageLength, Type::Number),
    ("interface", Field::Interface, Type::Bytes),
    ("vlan.outer", Field::OuterVlan, Type::Number),
    ("vlan.inner", Field::InnerVlan, Type::Number),
    ("known", Field::Known, Type::Condition),
];

/// Names of numbers: message types (RFC 2132 9.6) as clients send them.
pub(super) const NUMBERS: &[(&str, u64)] =
    &[("discover", 1), ("request", 3), ("decline", 4), ("release", 7), ("inform", 8)];

/// Sub-options of option 82 by name (the IANA registry of relay agent sub-options).
pub(super) const RELAY_SUB_OPTIONS: &[(&str, u8)] = &[
    ("circuit-id", 1),
    ("remote-id", 2),
    ("docsis-device-class", 4),
    ("link-selection", 5),
    ("subscriber-id", 6),
    ("vendor-specific", 9),
    ("flags", 10),
    ("server-identifier-override", 11),
    ("relay-agent-identifier", 12),
    ("relay-source-port", 19),
    ("virtual-subnet-selection", 151),
];

/// What may stand behind a value.
pub(super) const ATTRIBUTES: &[&str] = &["exists", "hex", "text", "number", "address", "option", "vendor"];

/// Functions, each with how it is written.
pub(super) const FUNCTIONS: &[(&str, &str)] = &[
    ("substring", "substring(value, start, length)"),
    ("concat", "concat(value, value, …)"),
    ("length", "length(value)"),
    ("lower", "lower(value)"),
    ("upper", "upper(value)"),
    ("starts_with", "starts_with(value, beginning)"),
    ("ends_with", "ends_with(value, end)"),
    ("contains", "contains(value, part)"),
    ("dotted", "dotted(address)"),
    ("dashed", "dashed(address)"),
    ("hex", "hex(value)"),
    ("decimal", "decimal(number)"),
    ("has_u16", "has_u16(value, number, …)"),
    ("member", "member(\"class\")"),
];

/// The address of the reply, for expressions about one.
pub(super) const YOUR_ADDRESS: &str = "your_address";

/// Names that begin a value and are no field: they take a key, or a name behind a dot.
pub(super) const ROOTS: &[&str] =
    &["option", "relay", "vendor", "vendor-class", "flags", "vlan", "message_type", "true", "false"];

/// The name of a sub-option of option 82.
pub(crate) fn relay_sub_option(code: u8) -> Option<&'static str> {
    RELAY_SUB_OPTIONS.iter().find(|(_, known)| *known == code).map(|(name, _)| *name)
}
