//! What an expression says of a packet, found by a plain walk over its tree. Also the fuzz target `expression` includes this.

use std::cell::Cell;

use super::{Comparison, Item, Key, Kind, NUMBERS, Node, Options, Packet, RELAY_SUB_OPTIONS, SCRATCH};

/// A prefix's place is no part of what it says.
fn same(item: &Item) -> Item {
    match item {
        Item::Prefix(address, len, _) => Item::Prefix(*address, *len, 0..0),
        other => other.clone(),
    }
}

pub fn without_places(tree: &Node) -> Node {
    let all = |nodes: &[Node]| nodes.iter().map(without_places).collect();
    let one = |node: &Node| Box::new(without_places(node));
    let kind = match &tree.kind {
        Kind::In { value, negated, items } => {
            Kind::In { value: one(value), negated: *negated, items: items.iter().map(same).collect() }
        }
        Kind::Attribute(base, name, key) => Kind::Attribute(one(base), name.clone(), key.clone()),
        Kind::Call(name, arguments) => Kind::Call(name.clone(), all(arguments)),
        Kind::Compare(how, left, right) => Kind::Compare(*how, one(left), one(right)),
        Kind::Not(inner) => Kind::Not(one(inner)),
        Kind::And(nodes) => Kind::And(all(nodes)),
        Kind::Or(nodes) => Kind::Or(all(nodes)),
        other => other.clone(),
    };
    Node { kind, span: 0..0 }
}

/// A value as a plain walk has it.
#[derive(Clone, Debug, PartialEq)]
pub enum Plain {
    Condition(bool),
    Number(Option<u64>),
    Bytes(Option<Vec<u8>>),
}

/// A plain walk over the tree, with nothing in common with the machine but what the language means.
pub struct Walk<'a> {
    packet: Packet<'a>,
    /// Whether the packet is in the one class that expressions ask for.
    is_other: bool,
    option_named: &'a dyn Fn(&str) -> Result<u8, String>,
    /// Bytes that were put together, at least as many as the machine needs room for.
    put_together: Cell<usize>,
}

impl<'a> Walk<'a> {
    pub fn new(packet: Packet<'a>, is_other: bool, option_named: &'a dyn Fn(&str) -> Result<u8, String>) -> Self {
        Self { packet, is_other, option_named, put_together: Cell::new(0) }
    }

    /// Whether the machine had room for all that was put together: else what was too long is missing there, and here it is not.
    pub fn fits(&self) -> bool {
        self.put_together.get() <= SCRATCH
    }

    fn put_together(&self, bytes: Vec<u8>) -> Vec<u8> {
        self.put_together.set(self.put_together.get() + bytes.len());
        bytes
    }

    pub fn condition(&self, tree: &Node) -> bool {
        match self.value(tree) {
            Plain::Condition(value) => value,
            other => panic!("{tree} is {other:?}"),
        }
    }

    pub fn bytes(&self, tree: &Node) -> Option<Vec<u8>> {
        match self.value(tree) {
            Plain::Bytes(bytes) => bytes,
            other => panic!("{tree} is {other:?}"),
        }
    }

    /// Empty when missing.
    fn text(&self, tree: &Node) -> Vec<u8> {
        self.bytes(tree).unwrap_or_default()
    }

    fn number(&self, tree: &Node) -> Option<u64> {
        match self.value(tree) {
            Plain::Number(number) => number,
            other => panic!("{tree} is {other:?}"),
        }
    }

    fn option(&self, code: u8) -> Option<Vec<u8>> {
        if code == 82 && self.packet.header.giaddr().is_unspecified() && !self.packet.destination.is_broadcast() {
            // Past the relay agents: not the client's own word.
            return self.packet.recalled.map(<[u8]>::to_vec);
        }
        let parts = Options::new(self.packet.header).map_while(Result::ok).filter(|option| option.code == code);
        let parts: Vec<&[u8]> = parts.map(|option| option.data).collect();
        match parts[..] {
            [] => None,
            [one] => Some(one.to_vec()),
            _ => Some(self.put_together(parts.concat())),
        }
    }

    fn option_code(&self, key: &Key) -> u8 {
        match key {
            Key::Number(number) => u8::try_from(*number).unwrap(),
            Key::Name(name) => (self.option_named)(name).unwrap(),
        }
    }

    /// A sub-option of option 82, or an enterprise.
    fn inner_key(key: &Key) -> u32 {
        match key {
            Key::Number(number) => u32::try_from(*number).unwrap(),
            Key::Name(name) => RELAY_SUB_OPTIONS.iter().find(|(known, _)| known == name).unwrap().1.into(),
        }
    }

    fn value(&self, tree: &Node) -> Plain {
        match &tree.kind {
            Kind::Text(bytes) | Kind::Hex(bytes) => Plain::Bytes(Some(bytes.clone())),
            Kind::Number(number) => Plain::Number(u64::try_from(*number).ok()),
            Kind::Address(address) => Plain::Number(Some(u32::from(*address).into())),
            Kind::Name(name, Some(key)) => Plain::Bytes(match name.as_str() {
                "option" => self.option(self.option_code(key)),
                "relay" => self.option(82).and_then(|data| tlv(&data, 1, Self::inner_key(key))),
                "vendor" => self.option(125).and_then(|data| tlv(&data, 4, Self::inner_key(key))),
                "vendor-class" => self.option(124).and_then(|data| tlv(&data, 4, Self::inner_key(key))),
                other => panic!("{other}"),
            }),
            Kind::Name(name, _) => self.field(name),
            Kind::Attribute(base, name, key) => self.attribute(base, name, key.as_ref()),
            Kind::Call(name, arguments) => self.call(name, arguments),
            Kind::Compare(how, left, right) => Plain::Condition(match (self.value(left), self.value(right)) {
                (Plain::Bytes(left), Plain::Bytes(right)) => {
                    let (left, right) = (left.unwrap_or_default(), right.unwrap_or_default());
                    (left == right) == (*how == Comparison::Equal)
                }
                (Plain::Number(left), Plain::Number(right)) => compare(*how, left, right),
                other => panic!("{other:?}"),
            }),
            Kind::In { value, negated, items } => {
                let value = self.value(value);
                Plain::Condition(items.iter().any(|item| self.is_in(&value, item)) != *negated)
            }
            Kind::Not(inner) => Plain::Condition(!self.condition(inner)),
            Kind::And(nodes) => Plain::Condition(nodes.iter().all(|node| self.condition(node))),
            Kind::Or(nodes) => Plain::Condition(nodes.iter().any(|node| self.condition(node))),
            Kind::Wrong => panic!("wrong"),
        }
    }

    fn field(&self, name: &str) -> Plain {
        let header = self.packet.header;
        let number = |number: u64| Plain::Number(Some(number));
        if let Some((_, value)) = NUMBERS.iter().find(|(known, _)| *known == name) {
            return number(*value);
        }
        match name {
            "hw_address" | "chaddr" => Plain::Bytes(Some(header.chaddr()[..usize::from(header.hlen())].to_vec())),
            "interface" => Plain::Bytes(Some(self.packet.interface.into())),
            "htype" => number(header.htype().into()),
            "hlen" => number(header.hlen().into()),
            "hops" => number(header.hops().into()),
            "xid" => number(header.xid().into()),
            "secs" => number(header.secs().into()),
            "ciaddr" => number(u32::from(header.ciaddr()).into()),
            "giaddr" => number(u32::from(header.giaddr()).into()),
            "destination" => number(u32::from(self.packet.destination).into()),
            "message_length" => number(240 + header.options().len() as u64),
            "message_type" => Plain::Number(self.option(53).and_then(|data| be(&data))),
            "relay" => Plain::Bytes(self.option(82)),
            "known" => Plain::Condition(self.packet.known),
            "true" | "false" => Plain::Condition(name == "true"),
            other => panic!("{other}"),
        }
    }

    fn attribute(&self, base: &Node, name: &str, key: Option<&Key>) -> Plain {
        let root = if let Kind::Name(root, None) = &base.kind { root.as_str() } else { "" };
        match (root, name, key) {
            ("flags", "broadcast", _) => return Plain::Condition(self.packet.header.broadcast()),
            ("vlan", "outer", _) => return Plain::Number(self.packet.vlans[0].map(u64::from)),
            ("vlan", "inner", _) => return Plain::Number(self.packet.vlans[1].map(u64::from)),
            ("relay", name, None)
                if let Some((_, code)) = RELAY_SUB_OPTIONS.iter().find(|(known, _)| *known == name) =>
            {
                return Plain::Bytes(self.option(82).and_then(|data| tlv(&data, 1, (*code).into())));
            }
            _ => {}
        }
        let value = self.value(base);
        if name == "exists" {
            return Plain::Condition(!matches!(value, Plain::Bytes(None) | Plain::Number(None)));
        }
        let Plain::Bytes(bytes) = value else { panic!("{base}.{name}") };
        match (name, key) {
            ("hex", _) => Plain::Bytes(bytes),
            ("text", _) => Plain::Bytes(bytes.map(|mut bytes| {
                while bytes.last() == Some(&0) {
                    bytes.pop();
                }
                bytes
            })),
            ("number", _) => Plain::Number(bytes.and_then(|bytes| be(&bytes))),
            ("address", _) => Plain::Number(bytes.filter(|bytes| bytes.len() == 4).and_then(|bytes| be(&bytes))),
            ("option", Some(key)) => Plain::Bytes(bytes.and_then(|bytes| tlv(&bytes, 1, Self::inner_key(key)))),
            ("vendor", Some(key)) => Plain::Bytes(bytes.and_then(|bytes| tlv(&bytes, 4, Self::inner_key(key)))),
            other => panic!("{other:?}"),
        }
    }

    fn call(&self, name: &str, arguments: &[Node]) -> Plain {
        let pair = |holds: fn(&[u8], &[u8]) -> bool| {
            let (left, right) = (self.text(&arguments[0]), self.text(&arguments[1]));
            Plain::Condition(holds(&left, &right))
        };
        match name {
            "member" => Plain::Condition(self.is_other),
            "length" => Plain::Number(Some(self.text(&arguments[0]).len() as u64)),
            "lower" => {
                Plain::Bytes(self.bytes(&arguments[0]).map(|bytes| self.put_together(bytes.to_ascii_lowercase())))
            }
            "upper" => {
                Plain::Bytes(self.bytes(&arguments[0]).map(|bytes| self.put_together(bytes.to_ascii_uppercase())))
            }
            "concat" => {
                Plain::Bytes(Some(self.put_together(arguments.iter().flat_map(|part| self.text(part)).collect())))
            }
            "starts_with" => pair(|whole, part| whole.starts_with(part)),
            "ends_with" => pair(|whole, part| whole.ends_with(part)),
            "contains" => pair(|whole, part| (0..=whole.len()).any(|at| whole[at..].starts_with(part))),
            "substring" => Plain::Bytes(self.bytes(&arguments[0]).map(|bytes| {
                let Kind::Number(start) = arguments[1].kind else { panic!() };
                let start = if start < 0 { bytes.len() as i64 + start } else { start };
                if start < 0 {
                    return Vec::new();
                }
                let rest = bytes.into_iter().skip(start as usize);
                match arguments[2].kind {
                    Kind::Number(len) => rest.take(len as usize).collect(),
                    _ => rest.collect(),
                }
            })),
            other => panic!("{other}"),
        }
    }

    fn is_in(&self, value: &Plain, item: &Item) -> bool {
        let within = |from: u64, to: u64| matches!(value, Plain::Number(Some(number)) if (from..=to).contains(number));
        match item {
            Item::One(Node { kind: Kind::Text(text) | Kind::Hex(text), .. }) => {
                matches!(value, Plain::Bytes(bytes) if bytes.as_deref().unwrap_or_default() == text)
            }
            Item::One(node) => self.number(node).is_some_and(|number| within(number, number)),
            Item::Range(first, last) => within(self.number(first).unwrap(), self.number(last).unwrap()),
            Item::Prefix(address, len, _) => {
                let Plain::Number(Some(number)) = value else { return false };
                let host = 32 - u32::try_from(*len).unwrap();
                (number >> host) == (u64::from(u32::from(*address)) >> host)
            }
        }
    }
}

fn compare(how: Comparison, left: Option<u64>, right: Option<u64>) -> bool {
    let (Some(left), Some(right)) = (left, right) else {
        // What is missing is equal to nothing, and neither less nor greater.
        return how == Comparison::NotEqual;
    };
    match how {
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
        Comparison::Less => left < right,
        Comparison::LessEqual => left <= right,
        Comparison::Greater => left > right,
        Comparison::GreaterEqual => left >= right,
    }
}

fn be(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > 8 {
        return None;
    }
    let mut padded = [0; 8];
    padded[8 - bytes.len()..].copy_from_slice(bytes);
    Some(u64::from_be_bytes(padded))
}

/// The data behind a key of `width` bytes and a length of one.
fn tlv(data: &[u8], width: usize, wanted: u32) -> Option<Vec<u8>> {
    let mut at = 0;
    while at < data.len() {
        if width == 1 && data[at] == 0 {
            at += 1;
            continue;
        }
        if width == 1 && data[at] == 255 {
            return None;
        }
        let mut key = 0u32;
        for i in 0..width {
            key = key << 8 | u32::from(*data.get(at + i)?);
        }
        let len = usize::from(*data.get(at + width)?);
        let found = data.get(at + width + 1..at + width + 1 + len)?;
        if key == wanted {
            return Some(found.to_vec());
        }
        at += width + 1 + len;
    }
    None
}
