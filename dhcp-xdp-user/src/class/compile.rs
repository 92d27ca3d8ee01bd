//! From the tree of an expression to its program: names are looked up, types checked, bounds kept.

use std::ops::Range;

use super::{
    ast::{Key, Kind, Node},
    fault::Fault,
    field::Field,
    names::{ATTRIBUTES, FIELDS, FUNCTIONS, NUMBERS, RELAY_SUB_OPTIONS, ROOTS, Type, YOUR_ADDRESS},
    packet::{MAX_CODES, Wanted},
    program::{Instruction, MAX_INSTRUCTIONS, MAX_STACK, Program, Stretch},
    set::ClassId,
};
use crate::{
    config::{kea, nearest},
    wire::options::code,
};

/// A program and what it depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Compiled {
    pub program: Program,
    /// Classes that it asks for, each with where it does.
    pub members: Vec<(ClassId, Range<usize>)>,
    /// Whether it asks if the client is known.
    pub needs_known: bool,
    /// Whether it asks how the message came: what its relay agents say, and where it came in.
    pub needs_path: bool,
}

/// Names that are the configuration's own.
pub(super) struct Names<'a> {
    /// Finds an option by its name.
    pub option: &'a dyn Fn(&str) -> Result<u8, String>,
    /// Finds a class by its name.
    pub class: &'a dyn Fn(&str) -> Result<ClassId, String>,
    /// There is a reply, whose address may be named.
    pub has_reply: bool,
}

/// Compiles an expression that must be of type `wanted_type`.
///
/// # Errors
/// All that is wrong with names, types and bounds, in the order of the text.
pub(super) fn compile(
    node: &Node,
    wanted_type: Type,
    wanted: &mut Wanted,
    names: &Names<'_>,
) -> Result<Compiled, Vec<Fault>> {
    compile_with(node, wanted, names, |compiler| compiler.expect(node, wanted_type)).map(|(compiled, _)| compiled)
}

/// Compiles an expression of whatever type, which is told.
///
/// # Errors
/// As [`compile`].
pub(super) fn compile_any(node: &Node, wanted: &mut Wanted, names: &Names<'_>) -> Result<(Compiled, Type), Vec<Fault>> {
    let (compiled, found) = compile_with(node, wanted, names, |compiler| compiler.value(node))?;
    found.map(|found| (compiled, found)).ok_or_else(Vec::new)
}

fn compile_with<T>(
    node: &Node,
    wanted: &mut Wanted,
    names: &Names<'_>,
    compile: impl FnOnce(&mut Compiler<'_>) -> T,
) -> Result<(Compiled, T), Vec<Fault>> {
    let mut compiler =
        Compiler { compiled: Compiled::default(), wanted, names, faults: Vec::new(), depth: 0, deepest: 0 };
    let result = compile(&mut compiler);
    let length = compiler.compiled.program.instructions.len();
    if compiler.faults.is_empty() && (compiler.deepest > MAX_STACK || length > MAX_INSTRUCTIONS) {
        compiler.fault::<()>(&node.span, "too large an expression; expected parts of it as classes, used by member(…)");
    }
    compiler.faults.sort_by_key(|fault| fault.span.start);
    if compiler.faults.is_empty() { Ok((compiler.compiled, result)) } else { Err(compiler.faults) }
}

pub(super) struct Compiler<'a> {
    pub(super) compiled: Compiled,
    wanted: &'a mut Wanted,
    names: &'a Names<'a>,
    faults: Vec<Fault>,
    /// Values on the stack at this point, and the most of them so far.
    depth: usize,
    deepest: usize,
}

/// A type, or nothing when the reason was complained of.
pub(super) type Found = Option<Type>;

impl Compiler<'_> {
    pub(super) fn fault<T>(&mut self, span: &Range<usize>, message: impl Into<String>) -> Option<T> {
        self.faults.push(Fault::new(span.clone(), message));
        None
    }

    /// Adds an instruction that takes `takes` values and leaves one.
    pub(super) fn emit(&mut self, instruction: Instruction, takes: usize) {
        self.depth = self.depth.saturating_sub(takes) + 1;
        self.deepest = self.deepest.max(self.depth);
        self.compiled.program.instructions.push(instruction);
    }

    /// A value of this type; anything else is complained of.
    fn expect(&mut self, node: &Node, wanted: Type) -> Option<()> {
        let found = self.value(node)?;
        if found == wanted {
            return Some(());
        }
        let advice = match (wanted, found) {
            (Type::Condition, Type::Bytes | Type::Number) => {
                format!("expected a condition, as `{node}.exists` or a comparison")
            }
            (Type::Condition, _) => "expected a condition, as a comparison".to_owned(),
            (Type::Bytes, Type::Number | Type::Address) => {
                "expected bytes: an option, a text, or bytes in hexadecimal".to_owned()
            }
            (Type::Number, Type::Bytes) => format!("expected a number, as `{node}.number`"),
            (Type::Address, Type::Bytes) => format!("expected an address, as `{node}.address`"),
            _ => format!("expected {}", wanted.name()),
        };
        self.fault(&node.span, format!("`{node}` is {}; {advice}", found.name()))
    }

    pub(super) fn value(&mut self, node: &Node) -> Found {
        match &node.kind {
            Kind::Text(bytes) | Kind::Hex(bytes) => {
                let literal = self.literal(&node.span, bytes)?;
                self.emit(Instruction::Bytes(literal), 0);
                Some(Type::Bytes)
            }
            Kind::Number(number) => match u64::try_from(*number) {
                Ok(number) => {
                    self.emit(Instruction::Number(number), 0);
                    Some(Type::Number)
                }
                Err(_) => self.fault(&node.span, format!("found {number}; no number of a packet is negative")),
            },
            Kind::Address(address) => {
                self.emit(Instruction::Number(u32::from(*address).into()), 0);
                Some(Type::Address)
            }
            Kind::Name(name, key) => self.named(node, name, key.as_ref()),
            Kind::Attribute(base, name, key) => self.attribute(node, base, name, key.as_ref()),
            Kind::Call(name, arguments) => self.call(node, name, arguments),
            Kind::Compare(comparison, left, right) => self.compare(node, *comparison, left, right),
            Kind::In { value, negated, items } => self.is_in(value, *negated, items),
            Kind::Not(inner) => {
                self.expect(inner, Type::Condition)?;
                self.emit(Instruction::Not, 1);
                Some(Type::Condition)
            }
            Kind::And(nodes) => self.chain(nodes, Instruction::UnlessThen),
            Kind::Or(nodes) => self.chain(nodes, Instruction::IfThen),
            Kind::Wrong => None,
        }
    }

    /// `and` and `or`: the first operand that decides ends it.
    fn chain(&mut self, nodes: &[Node], jump: fn(u16) -> Instruction) -> Found {
        let before = self.depth;
        let mut jumps = Vec::new();
        let mut all = Some(Type::Condition);
        for (i, node) in nodes.iter().enumerate() {
            self.depth = before;
            if self.expect(node, Type::Condition).is_none() {
                all = None;
            }
            if i + 1 < nodes.len() {
                jumps.push(self.compiled.program.instructions.len());
                self.compiled.program.instructions.push(jump(0));
            }
        }
        // What does not fit is refused for its length.
        let end = u16::try_from(self.compiled.program.instructions.len()).unwrap_or(u16::MAX);
        for at in jumps {
            self.compiled.program.instructions[at] = jump(end);
        }
        self.depth = before + 1;
        all
    }

    pub(super) fn literal(&mut self, span: &Range<usize>, bytes: &[u8]) -> Option<Stretch> {
        let literals = &mut self.compiled.program.literals;
        // An expression's text has a bound far below this.
        let (Ok(start), Ok(len)) = (u16::try_from(literals.len()), u16::try_from(bytes.len())) else {
            return self.fault(span, "too many literals in one expression");
        };
        literals.extend_from_slice(bytes);
        Some(Stretch { start, len })
    }

    fn named(&mut self, node: &Node, name: &str, key: Option<&Key>) -> Found {
        match (name, key) {
            ("option", Some(key)) => self.option(node, key),
            ("relay", None) => self.option(node, &Key::Number(code::RELAY_AGENT_INFO.into())),
            ("relay", Some(key)) => {
                self.option(node, &Key::Number(code::RELAY_AGENT_INFO.into()))?;
                self.sub_option(node, key, RELAY_SUB_OPTIONS)
            }
            ("vendor", Some(key)) => {
                self.option(node, &Key::Number(code::VENDOR_OPTIONS.into()))?;
                self.enterprise(node, key)
            }
            ("vendor-class", Some(key)) => {
                self.option(node, &Key::Number(code::VENDOR_CLASSES.into()))?;
                self.enterprise(node, key)
            }
            ("message_type", None) => {
                self.option(node, &Key::Number(code::MESSAGE_TYPE.into()))?;
                self.emit(Instruction::ToNumber, 1);
                Some(Type::Number)
            }
            ("true" | "false", None) => {
                self.emit(Instruction::Bool(name == "true"), 0);
                Some(Type::Condition)
            }
            (YOUR_ADDRESS, None) if self.names.has_reply => {
                self.emit(Instruction::YourAddress, 0);
                Some(Type::Address)
            }
            (YOUR_ADDRESS, None) => {
                self.fault(&node.span, "only a computed option can have `your_address`: there is no reply yet")
            }
            ("option", None) => self.fault(&node.span, "found `option`; expected which one, as option[60]"),
            ("vendor" | "vendor-class", None) => {
                let message = format!("found `{name}`; expected whose, by enterprise number, as {name}[4491]");
                self.fault(&node.span, message)
            }
            (_, None) if let Some((_, number)) = NUMBERS.iter().find(|(known, _)| *known == name) => {
                self.emit(Instruction::Number(*number), 0);
                Some(Type::Number)
            }
            (_, None) => self.field(node, name),
            (_, Some(_)) if let Some(advice) = kea::expression(name) => {
                self.fault(&node.span, format!("there is no `{name}`; {advice}"))
            }
            (_, Some(key)) => self.fault(
                &node.span,
                format!("`{name}` takes no [{key}]; only option, relay, vendor and vendor-class do"),
            ),
        }
    }

    /// A field of the packet by its whole name.
    fn field(&mut self, node: &Node, name: &str) -> Found {
        if let Some((_, field, found)) = FIELDS.iter().find(|(known, ..)| *known == name) {
            self.compiled.needs_known |= *field == Field::Known;
            self.compiled.needs_path |= field.is_of_path();
            self.emit(Instruction::Field(*field), 0);
            return Some(*found);
        }
        let known = FIELDS.iter().map(|(name, ..)| *name).chain(self.names.has_reply.then_some(YOUR_ADDRESS));
        let functions = FUNCTIONS.iter().map(|(name, _)| *name);
        let all: Vec<&str> =
            known.chain(ROOTS.iter().copied()).chain(NUMBERS.iter().map(|n| n.0)).chain(functions).collect();
        let advice = match (kea::expression(name), nearest(name, all.iter().copied(), '_')) {
            (Some(advice), _) => advice.to_owned(),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => {
                "a text is written in quotes; fields and functions are listed in docs/classes.md".to_owned()
            }
        };
        self.fault(&node.span, format!("there is no `{name}`; {advice}"))
    }

    fn option(&mut self, node: &Node, key: &Key) -> Found {
        let number = match key {
            Key::Number(number) => match u8::try_from(*number) {
                Ok(code @ 1..=254) => code,
                _ => return self.fault(&node.span, format!("found option number {number}; expected 1 to 254")),
            },
            Key::Name(name) => match (self.names.option)(name) {
                Ok(code) => code,
                Err(why) => return self.fault(&node.span, why),
            },
        };
        if number == code::OVERLOAD {
            return self
                .fault(&node.span, "option 52 says where options lie; it is followed, and not there to be asked for");
        }
        self.compiled.needs_path |= number == code::RELAY_AGENT_INFO;
        match self.wanted.add(number) {
            Some(index) => {
                self.emit(Instruction::Option(index), 0);
                Some(Type::Bytes)
            }
            None => self
                .fault(&node.span, format!("all expressions together may name {MAX_CODES} options; this is one more")),
        }
    }

    fn sub_option(&mut self, node: &Node, key: &Key, names: &[(&str, u8)]) -> Found {
        let code = match key {
            Key::Number(number) => match u8::try_from(*number) {
                Ok(code @ 1..=254) => code,
                _ => return self.fault(&node.span, format!("found sub-option number {number}; expected 1 to 254")),
            },
            Key::Name(name) => match names.iter().find(|(known, _)| known == name) {
                Some((_, code)) => *code,
                None if names.is_empty() => {
                    return self
                        .fault(&node.span, format!("found sub-option `{name}`; expected its number, as option[1]"));
                }
                None => return self.no_sub_option(node, name),
            },
        };
        self.emit(Instruction::SubOption(code), 1);
        Some(Type::Bytes)
    }

    fn no_sub_option(&mut self, node: &Node, name: &str) -> Found {
        let known = || RELAY_SUB_OPTIONS.iter().map(|(name, _)| *name);
        let advice = match nearest(name, known(), '-') {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("expected its number, as relay[1], or one of {}", known().collect::<Vec<_>>().join(", ")),
        };
        self.fault(&node.span, format!("no sub-option of option 82 is known by the name `{name}`; {advice}"))
    }

    fn enterprise(&mut self, node: &Node, key: &Key) -> Found {
        match key {
            Key::Number(number) if let Ok(number) = u32::try_from(*number) => {
                self.emit(Instruction::Enterprise(number), 1);
                Some(Type::Bytes)
            }
            _ => self.fault(&node.span, format!("found enterprise `{key}`; expected its number, as vendor[4491]")),
        }
    }

    fn attribute(&mut self, node: &Node, base: &Node, name: &str, key: Option<&Key>) -> Found {
        // `flags.broadcast`, `vlan.outer` and `relay.circuit-id` are names of their own.
        if let (Kind::Name(root, None), None) = (&base.kind, key) {
            if root == "flags" || root == "vlan" {
                return self.field(node, &format!("{root}.{name}"));
            }
            if root == "relay" && !ATTRIBUTES.contains(&name) {
                self.named(base, root, None)?;
                return self.sub_option(node, &Key::Name(name.to_owned()), RELAY_SUB_OPTIONS);
            }
        }
        let found = self.value(base)?;
        match (name, key, found) {
            ("exists", None, Type::Bytes | Type::Number | Type::Address) => {
                self.emit(Instruction::Exists, 1);
                Some(Type::Condition)
            }
            ("hex", None, Type::Bytes) => Some(Type::Bytes),
            ("text", None, Type::Bytes) => {
                self.emit(Instruction::Text, 1);
                Some(Type::Bytes)
            }
            ("number", None, Type::Bytes) => {
                self.emit(Instruction::ToNumber, 1);
                Some(Type::Number)
            }
            ("address", None, Type::Bytes) => {
                self.emit(Instruction::ToAddress, 1);
                Some(Type::Address)
            }
            ("option", Some(key), Type::Bytes) => {
                let is_relay = matches!(&base.kind, Kind::Name(name, _) if name == "relay")
                    || matches!(&base.kind, Kind::Name(name, Some(Key::Number(82))) if name == "option");
                self.sub_option(node, key, if is_relay { RELAY_SUB_OPTIONS } else { &[] })
            }
            ("vendor", Some(key), Type::Bytes) => self.enterprise(node, key),
            ("option" | "vendor", None, _) => {
                self.fault(&node.span, format!("found `.{name}`; expected which one, as .{name}[1]"))
            }
            _ if ATTRIBUTES.contains(&name) => {
                self.fault(&node.span, format!("`{base}` is {}, which has no `.{name}`", found.name()))
            }
            _ => {
                let advice = match nearest(name, ATTRIBUTES.iter().copied(), '_') {
                    Some(near) => format!("did you mean `.{near}`?"),
                    None => format!("expected one of .{}", ATTRIBUTES.join(", .")),
                };
                self.fault(&node.span, format!("nothing has a `.{name}`; {advice}"))
            }
        }
    }

    fn call(&mut self, node: &Node, name: &str, arguments: &[Node]) -> Found {
        let Some((_, usage)) = FUNCTIONS.iter().find(|(known, _)| *known == name) else {
            let known = || FUNCTIONS.iter().map(|(name, _)| *name);
            let advice = match (kea::expression(name), nearest(name, known(), '_')) {
                (Some(advice), _) => advice.to_owned(),
                (None, Some(near)) => format!("did you mean `{near}`?"),
                (None, None) => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
            };
            return self.fault(&node.span, format!("there is no function `{name}`; {advice}"));
        };
        match (name, arguments) {
            ("member", [argument]) => self.member(argument),
            ("substring", [value, start, len]) => self.substring(value, start, len),
            ("concat", [_, ..]) if arguments.len() <= MAX_STACK => {
                // All are checked, so that all faults are found.
                let good = arguments.iter().filter(|argument| self.expect(argument, Type::Bytes).is_some()).count();
                self.emit(Instruction::Concat(arguments.len() as u8), good);
                (good == arguments.len()).then_some(Type::Bytes)
            }
            ("dotted", [value]) => self.converted(value, Type::Address, Instruction::AddressText(b'.')),
            ("dashed", [value]) => self.converted(value, Type::Address, Instruction::AddressText(b'-')),
            ("hex", [value]) => self.converted(value, Type::Bytes, Instruction::HexText),
            ("decimal", [value]) => self.converted(value, Type::Number, Instruction::DecimalText),
            ("has_u16", [value, numbers @ ..]) if !numbers.is_empty() => self.has_u16(value, numbers),
            ("length", [value]) => self.unary(value, Instruction::Length, Type::Number),
            ("lower", [value]) => self.unary(value, Instruction::Lower, Type::Bytes),
            ("upper", [value]) => self.unary(value, Instruction::Upper, Type::Bytes),
            ("starts_with", [value, part]) => self.binary(value, part, Instruction::StartsWith),
            ("ends_with", [value, part]) => self.binary(value, part, Instruction::EndsWith),
            ("contains", [value, part]) => self.binary(value, part, Instruction::Contains),
            _ => {
                let message = format!("`{name}` with {} value(s); expected it as {usage}", arguments.len());
                self.fault(&node.span, message)
            }
        }
    }

    /// A value as text.
    fn converted(&mut self, value: &Node, from: Type, instruction: Instruction) -> Found {
        self.expect(value, from)?;
        self.emit(instruction, 1);
        Some(Type::Bytes)
    }

    fn has_u16(&mut self, value: &Node, numbers: &[Node]) -> Found {
        let is_bytes = self.expect(value, Type::Bytes);
        let start = self.compiled.program.ranges.len() as u16;
        let mut good = 0;
        for node in numbers {
            match node.kind {
                Kind::Number(number) if let Ok(number) = u16::try_from(number) => {
                    self.compiled.program.ranges.push((number.into(), number.into()));
                    good += 1;
                }
                _ => {
                    self.fault::<()>(&node.span, format!("found `{node}`; expected a number from 0 to 65535"));
                }
            }
        }
        is_bytes?;
        self.emit(Instruction::HasU16(Stretch { start, len: good }), 1);
        (usize::from(good) == numbers.len()).then_some(Type::Condition)
    }

    fn unary(&mut self, value: &Node, instruction: Instruction, gives: Type) -> Found {
        self.expect(value, Type::Bytes)?;
        self.emit(instruction, 1);
        Some(gives)
    }

    fn binary(&mut self, left: &Node, right: &Node, instruction: Instruction) -> Found {
        let (left, right) = (self.expect(left, Type::Bytes), self.expect(right, Type::Bytes));
        left.and(right)?;
        self.emit(instruction, 2);
        Some(Type::Condition)
    }

    fn member(&mut self, argument: &Node) -> Found {
        let Kind::Text(name) = &argument.kind else {
            return self.fault(
                &argument.span,
                format!("found `{argument}`; expected a class's name in quotes, as member(\"voip\")"),
            );
        };
        match (self.names.class)(&String::from_utf8_lossy(name)) {
            Ok(class) => {
                self.compiled.members.push((class, argument.span.clone()));
                self.emit(Instruction::Member(class), 0);
                Some(Type::Condition)
            }
            Err(why) => self.fault(&argument.span, why),
        }
    }

    fn substring(&mut self, value: &Node, start: &Node, len: &Node) -> Found {
        let whole = self.expect(value, Type::Bytes);
        let start_at = match start.kind {
            Kind::Number(number) if let Ok(number) = i32::try_from(number) => Some(number),
            _ => self.fault(
                &start.span,
                format!("found `{start}`; expected where it starts, as 0, or -4 for the last four"),
            ),
        };
        let length = match &len.kind {
            Kind::Name(name, None) if name == "all" => Some(None),
            Kind::Number(number) if let Ok(number) = u32::try_from(*number) => Some(Some(number)),
            _ => self.fault(&len.span, format!("found `{len}`; expected how many bytes, as 6 or all")),
        };
        let ((), start, len) = (whole?, start_at?, length?);
        self.emit(Instruction::Substring { start, len }, 1);
        Some(Type::Bytes)
    }
}
