//! Comparisons and `in`, compiled: what may be compared with what.

use std::{net::Ipv4Addr, ops::Range};

use super::{
    ast::{Comparison, Item, Kind, Node},
    compile::{Compiler, Found},
    names::{NUMBERS, Type},
    program::{Instruction, Order, Stretch},
};

impl Compiler<'_> {
    pub(super) fn compare(&mut self, node: &Node, comparison: Comparison, left: &Node, right: &Node) -> Found {
        let (of_left, of_right) = (self.value(left), self.value(right));
        let (of_left, of_right) = (of_left?, of_right?);
        if of_left != of_right {
            return self.mismatch(node, (left, of_left), (right, of_right));
        }
        let is_order = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        match of_left {
            Type::Condition => {
                return self.fault(
                    &node.span,
                    format!("`{left}` is a condition by itself: write it as `{left}` or `not {left}`"),
                );
            }
            Type::Bytes if is_order => {
                let message = format!("bytes are equal or not; expected == or !=, or numbers, as `{left}.number`");
                return self.fault(&node.span, message);
            }
            Type::Bytes => self.emit(Instruction::BytesEqual, 2),
            Type::Number | Type::Address => self.emit(
                Instruction::Compare(match comparison {
                    Comparison::Equal | Comparison::NotEqual => Order::Equal,
                    Comparison::Less => Order::Less,
                    Comparison::LessEqual => Order::LessEqual,
                    Comparison::Greater => Order::Greater,
                    Comparison::GreaterEqual => Order::GreaterEqual,
                }),
                2,
            ),
        }
        if comparison == Comparison::NotEqual {
            self.emit(Instruction::Not, 1);
        }
        Some(Type::Condition)
    }

    fn mismatch(&mut self, node: &Node, left: (&Node, Type), right: (&Node, Type)) -> Found {
        let advice = match (left, right) {
            ((bytes, Type::Bytes), (_, Type::Number)) | ((_, Type::Number), (bytes, Type::Bytes)) => {
                if matches!(bytes.kind, Kind::Text(_) | Kind::Hex(_)) {
                    "; a number is written without quotes and without 0x, as 42".to_owned()
                } else {
                    format!("; expected `{bytes}.number`")
                }
            }
            ((bytes, Type::Bytes), (_, Type::Address)) | ((_, Type::Address), (bytes, Type::Bytes)) => {
                if matches!(bytes.kind, Kind::Text(_) | Kind::Hex(_)) {
                    "; an address is written without quotes, as 192.0.2.1".to_owned()
                } else {
                    format!("; expected `{bytes}.address`")
                }
            }
            _ => String::new(),
        };
        let message = format!(
            "`{}` is {}, and `{}` is {}: they cannot be compared{advice}",
            left.0,
            left.1.name(),
            right.0,
            right.1.name()
        );
        self.fault(&node.span, message)
    }

    pub(super) fn is_in(&mut self, value: &Node, negated: bool, items: &[Item]) -> Found {
        let found = self.value(value)?;
        match found {
            Type::Condition => {
                return self.fault(
                    &value.span,
                    format!("`{value}` is a condition; only bytes, numbers and addresses can be in something"),
                );
            }
            Type::Bytes => {
                let start = self.compiled.program.texts.len() as u16;
                let good = items.iter().filter(|item| self.text_item(value, item).is_some()).count();
                self.emit(Instruction::InTexts(Stretch { start, len: good as u16 }), 1);
            }
            Type::Number | Type::Address => {
                let start = self.compiled.program.ranges.len() as u16;
                let good = items.iter().filter(|item| self.range_item(value, found, item).is_some()).count();
                self.emit(Instruction::InRanges(Stretch { start, len: good as u16 }), 1);
            }
        }
        if negated {
            self.emit(Instruction::Not, 1);
        }
        Some(Type::Condition)
    }

    fn text_item(&mut self, value: &Node, item: &Item) -> Option<()> {
        let (span, what) = match item {
            Item::One(Node { kind: Kind::Text(bytes) | Kind::Hex(bytes), span }) => {
                let text = self.literal(span, bytes)?;
                self.compiled.program.texts.push(text);
                return Some(());
            }
            Item::One(node) => (node.span.clone(), node.to_string()),
            Item::Range(first, last) => (first.span.start..last.span.end, format!("{first}-{last}")),
            Item::Prefix(address, len, span) => {
                let message = format!(
                    "`{value}` is bytes and {address}/{len} a prefix; expected `{value}.address in {address}/{len}`"
                );
                return self.fault(&span.clone(), message);
            }
        };
        self.fault(
            &span,
            format!("`{value}` is bytes; found {what}, expected texts or bytes, as (\"a\", 0x0b), or `{value}.number`"),
        )
    }

    fn range_item(&mut self, value: &Node, of_value: Type, item: &Item) -> Option<()> {
        let (range, found, span) = match item {
            Item::One(node) => {
                let (number, found) = self.number(node)?;
                ((number, number), found, node.span.clone())
            }
            Item::Range(first, last) => {
                let ((from, found), (to, of_last)) = (self.number(first)?, self.number(last)?);
                let span = first.span.start..last.span.end;
                if found != of_last || from > to {
                    return self
                        .fault(&span, format!("found {first}-{last}; expected the lower end first, as 100-199"));
                }
                ((from, to), found, span)
            }
            Item::Prefix(address, len, span) => (self.prefix(*address, *len, span)?, Type::Address, span.clone()),
        };
        if found != of_value {
            let message = format!("`{value}` is {}, and this is {}", of_value.name(), found.name());
            return self.fault(&span, message);
        }
        self.compiled.program.ranges.push(range);
        Some(())
    }

    fn number(&mut self, node: &Node) -> Option<(u64, Type)> {
        match &node.kind {
            Kind::Number(number) if let Ok(number) = u64::try_from(*number) => Some((number, Type::Number)),
            Kind::Address(address) => Some((u32::from(*address).into(), Type::Address)),
            Kind::Name(name, None) if let Some((_, number)) = NUMBERS.iter().find(|(known, _)| known == name) => {
                Some((*number, Type::Number))
            }
            _ => self.fault(&node.span, format!("found `{node}`; expected a number, an address or a prefix")),
        }
    }

    fn prefix(&mut self, address: Ipv4Addr, len: i64, span: &Range<usize>) -> Option<(u64, u64)> {
        let Some(prefix) = u8::try_from(len).ok().and_then(|len| ipnet::Ipv4Net::new(address, len).ok()) else {
            return self
                .fault(span, format!("found {address}/{len}; expected a prefix of at most 32 bits, as 10.0.0.0/8"));
        };
        if prefix.addr() != prefix.network() {
            return self
                .fault(span, format!("found {prefix}, which has host bits set; the prefix is {}", prefix.trunc()));
        }
        Some((u32::from(prefix.network()).into(), u32::from(prefix.broadcast()).into()))
    }
}
