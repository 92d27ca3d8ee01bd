//! What an expression looks at, with its values: for who explains why a packet is in a class or not.

use std::net::Ipv4Addr;

use super::{
    ast::{Item, Kind, Node},
    compile::{Compiled, Names, compile_any},
    names::{NUMBERS, Type},
    packet::{Found, Packet, Wanted},
    program::{Machine, Program, Value},
    set::ClassSet,
};

/// A part of an expression that has a value of its own.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    text: String,
    kind: Type,
    program: Program,
}

/// The value of a part of an expression; `None` is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A condition.
    Condition(bool),
    /// Bytes.
    Bytes(Option<Vec<u8>>),
    /// A number.
    Number(Option<u64>),
    /// An address.
    Address(Option<Ipv4Addr>),
}

/// The operands of an expression that compiles, each once.
pub(super) fn operands(node: &Node, wanted: &mut Wanted, names: &Names<'_>) -> Vec<Operand> {
    let mut all = Vec::new();
    collect(node, &mut |node| {
        let text = node.to_string();
        if all.iter().any(|operand: &Operand| operand.text == text) {
            return;
        }
        // They are parts of what compiles.
        if let Ok((Compiled { program, .. }, kind)) = compile_any(node, wanted, names) {
            all.push(Operand { text, kind, program });
        }
    });
    all
}

fn collect(node: &Node, add: &mut dyn FnMut(&Node)) {
    match &node.kind {
        Kind::Name(name, None)
            if name == "true" || name == "false" || NUMBERS.iter().any(|(known, _)| known == name) => {}
        Kind::Attribute(base, name, None) if name == "exists" => collect(base, add),
        Kind::Name(..) | Kind::Attribute(..) => add(node),
        Kind::Call(name, arguments) => match name.as_str() {
            "substring" | "concat" | "lower" | "upper" | "member" | "dotted" | "dashed" | "hex" | "decimal" => {
                add(node)
            }
            _ => arguments.iter().for_each(|argument| collect(argument, add)),
        },
        Kind::Compare(_, left, right) => {
            collect(left, add);
            collect(right, add);
        }
        Kind::In { value, items, .. } => {
            collect(value, add);
            for item in items {
                if let Item::One(node) = item {
                    collect(node, add);
                }
            }
        }
        Kind::Not(inner) => collect(inner, add),
        Kind::And(nodes) | Kind::Or(nodes) => nodes.iter().for_each(|node| collect(node, add)),
        Kind::Text(_) | Kind::Hex(_) | Kind::Number(_) | Kind::Address(_) | Kind::Wrong => {}
    }
}

impl Operand {
    /// Its text, and its value for a packet.
    pub fn show<'v>(&'v self, packet: &Packet<'v>, found: &Found<'v>, is: &ClassSet) -> (String, Shown) {
        let mut machine = Machine::default();
        let shown = match (machine.value(&self.program, packet, found, is), self.kind) {
            (Some(Value::Bool(value)), _) => Shown::Condition(value),
            (Some(Value::Number(number)), Type::Address) => {
                Shown::Address(number.and_then(|number| u32::try_from(number).ok()).map(Ipv4Addr::from))
            }
            (Some(Value::Number(number)), _) => Shown::Number(number),
            (Some(Value::Bytes(bytes)), _) => Shown::Bytes(bytes.map(|_| machine.slice(bytes).to_vec())),
            (None, _) => Shown::Bytes(None),
        };
        (self.text.clone(), shown)
    }
}
