//! A compiled expression and the machine that runs it.
//!
//! A program is a list of instructions for a small stack. Jumps go forward only, so that it takes at most as many steps as it
//! has instructions. The machine allocates nothing: values are slices of the packet or of the program, and what is put
//! together (`concat`, `lower`, `upper`, an option in several parts) lies in a scratch of fixed size.

use std::{
    net::Ipv4Addr,
    ops::{Range, RangeInclusive},
};

use arrayvec::ArrayVec;

use super::{
    field::Field,
    packet::{self, Found, Lookup, Packet},
    set::{ClassId, ClassSet},
};
use crate::wire::dhcp::OPTIONS_OFFSET;

/// Most values on the stack; the compiler refuses what needs more.
pub(super) const MAX_STACK: usize = 16;
/// Most instructions of a program.
pub(super) const MAX_INSTRUCTIONS: usize = 2048;
/// Bytes that one evaluation may put together; what does not fit is missing.
pub const SCRATCH: usize = 1024;

/// A stretch of one of a program's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub start: u16,
    pub len: u16,
}

impl Stretch {
    fn of<T>(self, all: &[T]) -> &[T] {
        let start = usize::from(self.start);
        all.get(start..start + usize::from(self.len)).unwrap_or(&[])
    }
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Equal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instruction {
    Bool(bool),
    Number(u64),
    Bytes(Stretch),
    Field(Field),
    /// By its index among the wanted ones.
    Option(u8),
    SubOption(u8),
    Enterprise(u32),
    Exists,
    /// Without the NULs at its end.
    Text,
    ToNumber,
    ToAddress,
    Length,
    Substring {
        start: i32,
        len: Option<u32>,
    },
    Concat(u8),
    Lower,
    Upper,
    /// An address in text, with this between its numbers.
    AddressText(u8),
    /// Bytes in hexadecimal digits.
    HexText,
    /// A number in decimal digits.
    DecimalText,
    /// The address of the reply.
    YourAddress,
    /// One of the numbers of 16 bits that bytes are is in one of these ranges.
    HasU16(Stretch),
    StartsWith,
    EndsWith,
    Contains,
    BytesEqual,
    Compare(Order),
    /// In one of these ranges.
    InRanges(Stretch),
    /// One of these texts.
    InTexts(Stretch),
    Member(ClassId),
    Not,
    /// Goes there when the top is false, leaving it; drops it otherwise.
    UnlessThen(u16),
    /// Goes there when the top is true, leaving it; drops it otherwise.
    IfThen(u16),
}

/// A compiled expression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Program {
    pub instructions: Vec<Instruction>,
    /// Bytes of literals.
    pub literals: Vec<u8>,
    /// Both ends included.
    pub ranges: Vec<(u64, u64)>,
    pub texts: Vec<Stretch>,
}

/// A value of the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'v> {
    Bool(bool),
    /// Addresses too. `None`: there is no such number.
    Number(Option<u64>),
    Bytes(Option<Bytes<'v>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bytes<'v> {
    Slice(&'v [u8]),
    Scratch(Stretch),
}

/// The machine that runs programs; one can run many, one after the other.
#[derive(Debug, Default)]
pub(super) struct Machine<'v> {
    stack: ArrayVec<Value<'v>, MAX_STACK>,
    scratch: ArrayVec<u8, SCRATCH>,
    your_address: Option<Ipv4Addr>,
}

impl<'v> Machine<'v> {
    /// One for expressions about a reply with this address.
    pub fn of_reply(your_address: Option<Ipv4Addr>) -> Self {
        Self { your_address, ..Self::default() }
    }

    /// The value of a condition.
    pub fn condition(&mut self, program: &'v Program, packet: &Packet<'v>, found: &Found<'v>, is: &ClassSet) -> bool {
        self.run(program, packet, found, is);
        self.bool()
    }

    /// The value of an expression of bytes; empty when it is missing.
    pub fn bytes(&mut self, program: &'v Program, packet: &Packet<'v>, found: &Found<'v>, is: &ClassSet) -> &[u8] {
        self.run(program, packet, found, is);
        let bytes = self.pop_bytes();
        self.slice(bytes)
    }

    /// The value of any expression.
    pub fn value(
        &mut self,
        program: &'v Program,
        packet: &Packet<'v>,
        found: &Found<'v>,
        is: &ClassSet,
    ) -> Option<Value<'v>> {
        self.run(program, packet, found, is);
        self.stack.pop()
    }

    fn run(&mut self, program: &'v Program, packet: &Packet<'v>, found: &Found<'v>, is: &ClassSet) {
        self.stack.clear();
        self.scratch.clear();
        let mut at = 0;
        while let Some(instruction) = program.instructions.get(at) {
            at += 1;
            match *instruction {
                Instruction::UnlessThen(to) | Instruction::IfThen(to) => {
                    let goes = matches!(instruction, Instruction::IfThen(_));
                    if self.stack.last() == Some(&Value::Bool(goes)) {
                        at = at.max(usize::from(to));
                    } else {
                        self.stack.pop();
                    }
                }
                Instruction::Member(class) => self.push(Value::Bool(is.contains(class))),
                Instruction::Field(field) => self.push(read(field, packet)),
                Instruction::Option(index) => {
                    let option = self.option(packet, found.get(index));
                    self.push(Value::Bytes(option));
                }
                other => self.step(other, program),
            }
        }
    }

    /// Instructions that look at nothing but the stack and the program.
    fn step(&mut self, instruction: Instruction, program: &'v Program) {
        let value = match instruction {
            Instruction::Bool(value) => Value::Bool(value),
            Instruction::Number(number) => Value::Number(Some(number)),
            Instruction::Bytes(literal) => Value::Bytes(Some(Bytes::Slice(literal.of(&program.literals)))),
            Instruction::Not => Value::Bool(!self.bool()),
            Instruction::Exists => Value::Bool(match self.stack.pop() {
                Some(Value::Bytes(bytes)) => bytes.is_some(),
                Some(Value::Number(number)) => number.is_some(),
                Some(Value::Bool(_)) | None => false,
            }),
            Instruction::Compare(order) => {
                let (right, left) = (self.number(), self.number());
                Value::Bool(left.zip(right).is_some_and(|(left, right)| match order {
                    Order::Equal => left == right,
                    Order::Less => left < right,
                    Order::LessEqual => left <= right,
                    Order::Greater => left > right,
                    Order::GreaterEqual => left >= right,
                }))
            }
            Instruction::InRanges(ranges) => {
                let ranges = ranges.of(&program.ranges);
                let is_in = |number| ranges.iter().any(|(first, last)| (*first..=*last).contains(&number));
                Value::Bool(self.number().is_some_and(is_in))
            }
            Instruction::InTexts(texts) => {
                let bytes = self.pop_bytes();
                let bytes = self.slice(bytes);
                Value::Bool(texts.of(&program.texts).iter().any(|text| text.of(&program.literals) == bytes))
            }
            Instruction::BytesEqual => self.pair(|left, right| left == right),
            Instruction::StartsWith => self.pair(|left, right| left.starts_with(right)),
            Instruction::EndsWith => self.pair(|left, right| left.ends_with(right)),
            Instruction::Contains => {
                self.pair(|left, right| right.is_empty() || left.windows(right.len()).any(|part| part == right))
            }
            Instruction::Length => {
                let bytes = self.pop_bytes();
                Value::Number(Some(self.slice(bytes).len() as u64))
            }
            Instruction::ToNumber => {
                let bytes = self.pop_bytes();
                Value::Number(number_of(self.slice(bytes), 1..=8))
            }
            Instruction::ToAddress => {
                let bytes = self.pop_bytes();
                Value::Number(number_of(self.slice(bytes), 4..=4))
            }
            Instruction::SubOption(code) => self.narrow(|data| packet::sub_option(data, code)),
            Instruction::Enterprise(number) => self.narrow(|data| packet::enterprise(data, number)),
            Instruction::Text => self.narrow(|data| {
                let end = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                Some(0..end)
            }),
            Instruction::Substring { start, len } => self.narrow(|data| Some(substring(data, start, len))),
            Instruction::Concat(count) => self.concat(count),
            Instruction::AddressText(separator) => self.address_text(separator),
            Instruction::HexText => self.hex_text(),
            Instruction::DecimalText => match self.number() {
                Some(number) => self.decimal_text(number),
                None => Value::Bytes(None),
            },
            Instruction::YourAddress => Value::Number(self.your_address.map(|address| u32::from(address).into())),
            Instruction::HasU16(ranges) => {
                let ranges = ranges.of(&program.ranges);
                let bytes = self.pop_bytes();
                let mut numbers =
                    self.slice(bytes).chunks_exact(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(pair[1]));
                Value::Bool(numbers.any(|number| ranges.iter().any(|(first, last)| (*first..=*last).contains(&number))))
            }
            Instruction::Lower => self.mapped(|byte| byte.to_ascii_lowercase()),
            Instruction::Upper => self.mapped(|byte| byte.to_ascii_uppercase()),
            Instruction::Field(_)
            | Instruction::Option(_)
            | Instruction::Member(_)
            | Instruction::UnlessThen(_)
            | Instruction::IfThen(_) => return,
        };
        self.push(value);
    }

    fn push(&mut self, value: Value<'v>) {
        // The compiler has counted: it fits.
        let pushed = self.stack.try_push(value);
        debug_assert!(pushed.is_ok(), "the compiler counts the stack");
    }

    fn bool(&mut self) -> bool {
        self.stack.pop() == Some(Value::Bool(true))
    }

    fn number(&mut self) -> Option<u64> {
        match self.stack.pop() {
            Some(Value::Number(number)) => number,
            _ => None,
        }
    }

    fn pop_bytes(&mut self) -> Option<Bytes<'v>> {
        match self.stack.pop() {
            Some(Value::Bytes(bytes)) => bytes,
            _ => None,
        }
    }

    /// The bytes themselves; missing ones are empty.
    pub fn slice(&self, bytes: Option<Bytes<'v>>) -> &[u8] {
        match bytes {
            Some(Bytes::Slice(slice)) => slice,
            Some(Bytes::Scratch(stretch)) => stretch.of(&self.scratch),
            None => &[],
        }
    }

    fn pair(&mut self, holds: impl FnOnce(&[u8], &[u8]) -> bool) -> Value<'v> {
        let (right, left) = (self.pop_bytes(), self.pop_bytes());
        Value::Bool(holds(self.slice(left), self.slice(right)))
    }

    /// A part of the top; a part of what is missing is missing.
    fn narrow(&mut self, part: impl FnOnce(&[u8]) -> Option<Range<usize>>) -> Value<'v> {
        let bytes = self.pop_bytes();
        let Some(part) = bytes.and_then(|_| part(self.slice(bytes))) else { return Value::Bytes(None) };
        Value::Bytes(match bytes {
            Some(Bytes::Slice(slice)) => slice.get(part).map(Bytes::Slice),
            Some(Bytes::Scratch(Stretch { start, .. })) => {
                // Both are within the scratch, which a `u16` can count.
                Some(Bytes::Scratch(Stretch { start: start + part.start as u16, len: part.len() as u16 }))
            }
            None => None,
        })
    }

    /// An option's data, joined when it came in parts (RFC 3396).
    fn option(&mut self, packet: &Packet<'v>, lookup: Lookup<'v>) -> Option<Bytes<'v>> {
        match lookup {
            Lookup::Missing => None,
            Lookup::Once(data) => Some(Bytes::Slice(data)),
            Lookup::Repeated(code) => {
                let start = self.scratch.len();
                for part in packet::parts(packet.header, code) {
                    self.scratch.try_extend_from_slice(part).ok()?;
                }
                Some(self.scratched(start))
            }
        }
    }

    fn scratched(&self, start: usize) -> Bytes<'v> {
        Bytes::Scratch(Stretch { start: start as u16, len: (self.scratch.len() - start) as u16 })
    }

    /// The topmost values one after the other.
    fn concat(&mut self, count: u8) -> Value<'v> {
        let from = self.stack.len().saturating_sub(usize::from(count));
        let values: ArrayVec<Value<'v>, MAX_STACK> = self.stack.drain(from..).collect();
        let start = self.scratch.len();
        for value in values {
            let Value::Bytes(bytes) = value else { continue };
            if self.append(bytes).is_none() {
                return Value::Bytes(None);
            }
        }
        Value::Bytes(Some(self.scratched(start)))
    }

    fn append(&mut self, bytes: Option<Bytes<'v>>) -> Option<()> {
        match bytes {
            Some(Bytes::Slice(slice)) => self.scratch.try_extend_from_slice(slice).ok(),
            Some(Bytes::Scratch(stretch)) => (0..stretch.len).try_for_each(|i| {
                let byte = *self.scratch.get(usize::from(stretch.start + i))?;
                self.scratch.try_push(byte).ok()
            }),
            None => Some(()),
        }
    }

    /// An address in text; missing where there is none.
    fn address_text(&mut self, separator: u8) -> Value<'v> {
        let Some(address) = self.number().and_then(|number| u32::try_from(number).ok()) else {
            return Value::Bytes(None);
        };
        let start = self.scratch.len();
        for (at, byte) in address.to_be_bytes().into_iter().enumerate() {
            if at > 0 && self.scratch.try_push(separator).is_err() || self.push_decimal(byte.into()).is_none() {
                return Value::Bytes(None);
            }
        }
        Value::Bytes(Some(self.scratched(start)))
    }

    fn decimal_text(&mut self, number: u64) -> Value<'v> {
        let start = self.scratch.len();
        Value::Bytes(self.push_decimal(number).map(|()| self.scratched(start)))
    }

    fn push_decimal(&mut self, number: u64) -> Option<()> {
        // 2^64 has 20 digits.
        let mut digits = ArrayVec::<u8, 20>::new();
        let mut rest = number;
        loop {
            digits.push(b'0' + (rest % 10) as u8);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        digits.iter().rev().try_for_each(|digit| self.scratch.try_push(*digit).ok())
    }

    fn hex_text(&mut self) -> Value<'v> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let Some(bytes) = self.pop_bytes() else { return Value::Bytes(None) };
        let start = self.scratch.len();
        let len = self.slice(Some(bytes)).len();
        for at in 0..len {
            let byte = self.slice(Some(bytes))[at];
            for digit in [byte >> 4, byte & 15] {
                if self.scratch.try_push(DIGITS[usize::from(digit)]).is_err() {
                    return Value::Bytes(None);
                }
            }
        }
        Value::Bytes(Some(self.scratched(start)))
    }

    fn mapped(&mut self, map: impl Fn(u8) -> u8) -> Value<'v> {
        let Some(bytes) = self.pop_bytes() else { return Value::Bytes(None) };
        let start = self.scratch.len();
        if self.append(Some(bytes)).is_none() {
            return Value::Bytes(None);
        }
        self.scratch[start..].iter_mut().for_each(|byte| *byte = map(*byte));
        Value::Bytes(Some(self.scratched(start)))
    }
}

/// A value of the packet itself.
fn read<'v>(field: Field, packet: &Packet<'v>) -> Value<'v> {
    let header = &packet.header;
    let number = |number: u64| Value::Number(Some(number));
    let address = |address: Ipv4Addr| number(u32::from(address).into());
    match field {
        Field::HwAddress => Value::Bytes(Some(Bytes::Slice(header.hw_address()))),
        Field::Htype => number(header.htype().into()),
        Field::Hlen => number(header.hlen().into()),
        Field::Hops => number(header.hops().into()),
        Field::Xid => number(header.xid().into()),
        Field::Secs => number(header.secs().into()),
        Field::Broadcast => Value::Bool(header.broadcast()),
        Field::Ciaddr => address(header.ciaddr()),
        Field::Giaddr => address(header.giaddr()),
        Field::Destination => address(packet.destination),
        Field::MessageLength => number((OPTIONS_OFFSET + header.options().len()) as u64),
        Field::Interface => Value::Bytes(Some(Bytes::Slice(packet.interface.as_bytes()))),
        Field::OuterVlan => Value::Number(packet.vlans[0].map(u64::from)),
        Field::InnerVlan => Value::Number(packet.vlans[1].map(u64::from)),
        Field::Known => Value::Bool(packet.known),
    }
}

/// The number that bytes are, the first byte first, when there are as many as there may be.
fn number_of(bytes: &[u8], lengths: RangeInclusive<usize>) -> Option<u64> {
    lengths.contains(&bytes.len()).then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// `len` bytes from `start`, which counts from the end when it is negative; nothing when it lies outside.
fn substring(data: &[u8], start: i32, len: Option<u32>) -> Range<usize> {
    let from_end = start.unsigned_abs() as usize;
    let start =
        if start < 0 { data.len().checked_sub(from_end) } else { Some(from_end).filter(|at| *at <= data.len()) };
    let Some(start) = start else { return 0..0 };
    start..len.map_or(data.len(), |len| start.saturating_add(len as usize).min(data.len()))
}
