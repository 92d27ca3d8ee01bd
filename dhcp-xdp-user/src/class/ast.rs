//! An expression as written, and how it is written again.

use std::{fmt, net::Ipv4Addr, ops::Range};

/// A part of an expression and its place in the text. Two are equal when they say the same, wherever they stand.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub kind: Kind,
    pub span: Range<usize>,
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

/// What a part is. Names are not looked up and types not checked yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Text(Vec<u8>),
    /// Written in hexadecimal; at least one byte.
    Hex(Vec<u8>),
    Number(i64),
    Address(Ipv4Addr),
    /// `name` or `name[key]`.
    Name(String, Option<Key>),
    /// `base.name` or `base.name[key]`.
    Attribute(Box<Node>, String, Option<Key>),
    Call(String, Vec<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    In {
        value: Box<Node>,
        negated: bool,
        items: Vec<Item>,
    },
    Not(Box<Node>),
    /// Two or more.
    And(Vec<Node>),
    /// Two or more.
    Or(Vec<Node>),
    /// Could not be read; that was complained of.
    Wrong,
}

/// What stands in brackets.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Key {
    Number(i64),
    Name(String),
}

/// One item of what a value may be `in`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    One(Node),
    Range(Node, Node),
    Prefix(Ipv4Addr, i64, Range<usize>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Comparison {
    pub const ALL: [Self; 6] =
        [Self::Equal, Self::NotEqual, Self::Less, Self::LessEqual, Self::Greater, Self::GreaterEqual];

    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
        }
    }
}

/// How tightly a part binds; one inside another needs parentheses unless it binds more tightly.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Or,
    And,
    Not,
    Comparison,
    Value,
}

impl Kind {
    fn binding(&self) -> Binding {
        match self {
            Kind::Or(_) => Binding::Or,
            Kind::And(_) => Binding::And,
            Kind::Not(_) => Binding::Not,
            Kind::Compare(..) | Kind::In { .. } => Binding::Comparison,
            _ => Binding::Value,
        }
    }
}

impl Node {
    /// Writes it where only what binds at least as tightly as `least` may stand without parentheses.
    fn write(&self, f: &mut fmt::Formatter<'_>, least: Binding) -> fmt::Result {
        if self.kind.binding() < least { write!(f, "({self})") } else { write!(f, "{self}") }
    }
}

fn list(f: &mut fmt::Formatter<'_>, nodes: &[Node], word: &str, least: Binding) -> fmt::Result {
    for (i, node) in nodes.iter().enumerate() {
        if i > 0 {
            f.write_str(word)?;
        }
        node.write(f, least)?;
    }
    Ok(())
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Text(bytes) => {
                f.write_str("\"")?;
                for &byte in bytes {
                    match byte {
                        b'"' | b'\\' => write!(f, "\\{}", byte as char)?,
                        b' '..=b'~' => write!(f, "{}", byte as char)?,
                        _ => write!(f, "\\x{byte:02x}")?,
                    }
                }
                f.write_str("\"")
            }
            Kind::Hex(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Kind::Number(number) => write!(f, "{number}"),
            Kind::Address(address) => write!(f, "{address}"),
            Kind::Name(name, None) => f.write_str(name),
            Kind::Name(name, Some(key)) => write!(f, "{name}[{key}]"),
            Kind::Attribute(base, name, key) => {
                base.write(f, Binding::Value)?;
                write!(f, ".{name}")?;
                key.iter().try_for_each(|key| write!(f, "[{key}]"))
            }
            Kind::Call(name, arguments) => {
                write!(f, "{name}(")?;
                list(f, arguments, ", ", Binding::Or)?;
                f.write_str(")")
            }
            Kind::Compare(comparison, left, right) => {
                left.write(f, Binding::Value)?;
                write!(f, " {} ", comparison.symbol())?;
                right.write(f, Binding::Value)
            }
            Kind::In { value, negated, items } => {
                value.write(f, Binding::Value)?;
                f.write_str(if *negated { " not in (" } else { " in (" })?;
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    match item {
                        Item::One(node) => write!(f, "{node}")?,
                        Item::Range(first, last) => write!(f, "{first} - {last}")?,
                        Item::Prefix(address, len, _) => write!(f, "{address}/{len}")?,
                    }
                }
                f.write_str(")")
            }
            Kind::Not(node) => {
                f.write_str("not ")?;
                node.write(f, Binding::Not)
            }
            Kind::And(nodes) => list(f, nodes, " and ", Binding::Not),
            Kind::Or(nodes) => list(f, nodes, " or ", Binding::And),
            Kind::Wrong => f.write_str("?"),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Number(number) => write!(f, "{number}"),
            Key::Name(name) => f.write_str(name),
        }
    }
}
