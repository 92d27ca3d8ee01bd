//! One expression for itself, whose value is wanted in bytes: a flexible identifier, an option that is computed.

use std::net::Ipv4Addr;

use super::{
    compile::{Compiled, Names, compile},
    fault::Fault,
    names::Type,
    packet::{Found, Packet, Wanted},
    parse::parse,
    program::{Machine, Program, Value},
    set::{ClassId, ClassSet},
};

/// How a value is written in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As they are.
    Bytes,
    /// Four bytes.
    Address,
    /// A number of 1, 2 or 4 bytes, the most significant first; one that does not fit is missing.
    Number(u8),
    /// A byte, 0 or 1.
    Condition,
}

impl Shape {
    const fn wanted(self) -> Type {
        match self {
            Self::Bytes => Type::Bytes,
            Self::Address => Type::Address,
            Self::Number(_) => Type::Number,
            Self::Condition => Type::Condition,
        }
    }
}

/// What an expression may name.
pub struct Scope<'a> {
    /// Finds an option by its name.
    pub option: &'a dyn Fn(&str) -> Result<u8, String>,
    /// Finds a class by its name.
    pub class: &'a dyn Fn(&str) -> Result<ClassId, String>,
    /// There is a reply, whose address it may name.
    pub has_reply: bool,
}

/// A compiled expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    program: Program,
    wanted: Wanted,
    shape: Shape,
    text: String,
}

impl Expression {
    /// Compiles one.
    ///
    /// # Errors
    /// All that is wrong with it, in the order of the text.
    pub fn compile(text: &str, shape: Shape, scope: &Scope<'_>) -> Result<Self, Vec<Fault>> {
        let node = parse(text)?;
        let mut wanted = Wanted::default();
        let names = Names { option: scope.option, class: scope.class, has_reply: scope.has_reply };
        let Compiled { program, .. } = compile(&node, shape.wanted(), &mut wanted, &names)?;
        Ok(Self { program, wanted, shape, text: node.to_string() })
    }

    /// Its text, in one line.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Calls `each` with the value's bytes. `None`: it is missing, empty, or a number that does not fit. `your_address` is that
    /// of the reply, if there is one and it has any. Nothing is allocated.
    pub fn value<T>(
        &self,
        packet: &Packet<'_>,
        is: &ClassSet,
        your_address: Option<Ipv4Addr>,
        each: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        let found = Found::new(packet, &self.wanted);
        let mut machine = Machine::of_reply(your_address);
        match (machine.value(&self.program, packet, &found, is)?, self.shape) {
            (Value::Bytes(bytes), _) => Some(machine.slice(bytes)).filter(|bytes| !bytes.is_empty()).map(each),
            (Value::Bool(value), _) => Some(each(&[u8::from(value)])),
            (Value::Number(number), Shape::Number(size)) => {
                let bytes = number?.to_be_bytes();
                let (above, kept) = bytes.split_at_checked(bytes.len().checked_sub(size.into())?)?;
                above.iter().all(|byte| *byte == 0).then(|| each(kept))
            }
            (Value::Number(number), _) => Some(each(&u32::try_from(number?).ok()?.to_be_bytes())),
        }
    }
}
