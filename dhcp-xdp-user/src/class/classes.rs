//! All classes of a configuration: in which order they are asked, and what a packet is in.

use std::{collections::HashMap, ops::Range};

use super::{
    ast::Node,
    compile::{Compiled, Names, compile},
    fault::Fault,
    names::Type,
    operands::{Operand, Shown, operands},
    packet::{Found, Packet, Wanted},
    parse::parse,
    program::{Machine, Program},
    set::{ClassId, ClassSet, MAX_CLASSES},
};
use crate::config::{kea, nearest};

/// A class as it is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClassSource<'a> {
    /// Its name.
    pub name: &'a str,
    /// The condition; without it, and without `spawn`, only reservations put clients into the class.
    pub condition: Option<&'a str>,
    /// An expression of bytes: each of its values is a class of its own.
    pub spawn: Option<&'a str>,
}

/// Which part of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its name.
    Name,
    /// `match`.
    Condition,
    /// `spawn`.
    Spawn,
}

/// One thing that is wrong with a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassFault {
    /// Index of the class.
    pub class: usize,
    /// The part that it is in.
    pub part: Part,
    /// Where in that part's text, and what.
    pub fault: Fault,
}

/// A compiled class.
#[derive(Clone, Debug)]
pub struct Class {
    name: String,
    condition: Option<Program>,
    spawn: Option<Program>,
    /// Both as they are written, in one line.
    texts: [Option<String>; 2],
    operands: Vec<Operand>,
    depends_on_path: bool,
}

impl Class {
    /// Whether it, or a class that it depends on, asks how a message came: what its relay agents say (option 82, `giaddr`), and
    /// where it came in.
    pub fn depends_on_path(&self) -> bool {
        self.depends_on_path
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its condition, in one line.
    pub fn condition(&self) -> Option<&str> {
        self.texts[0].as_deref()
    }

    /// The expression that it is spawned by, in one line.
    pub fn spawn(&self) -> Option<&str> {
        self.texts[1].as_deref()
    }
}

/// All classes of a configuration, compiled.
#[derive(Clone, Debug, Default)]
pub struct Classes {
    classes: Box<[Class]>,
    /// Those that can be asked before it is known whether the client is, and those that need that; each after what it depends
    /// on.
    early: Box<[ClassId]>,
    late: Box<[ClassId]>,
    wanted: Wanted,
}

impl Classes {
    /// Compiles classes. A class may depend on others, wherever those are written. `option` finds options by name.
    ///
    /// # Errors
    /// All that is wrong, class by class.
    pub fn compile(
        sources: &[ClassSource<'_>],
        option: &dyn Fn(&str) -> Result<u8, String>,
    ) -> Result<Self, Vec<ClassFault>> {
        let mut faults = Vec::new();
        let names = names(sources, &mut faults);
        let mut wanted = Wanted::default();
        let mut parts = |class: usize, part: Part, text: Option<&str>, faults: &mut Vec<ClassFault>| {
            let expected = if part == Part::Spawn { Type::Bytes } else { Type::Condition };
            let names = Names { option, class: &|name| find(name, &names, sources), has_reply: false };
            let compiled = parse(text?).and_then(|node: Node| {
                let compiled = compile(&node, expected, &mut wanted, &names)?;
                let of_condition =
                    if part == Part::Condition { operands(&node, &mut wanted, &names) } else { Vec::new() };
                Ok(Read { compiled, text: node.to_string(), operands: of_condition })
            });
            compiled
                .map_err(|found| faults.extend(found.into_iter().map(|fault| ClassFault { class, part, fault })))
                .ok()
        };
        let compiled: Vec<[Option<Read>; 2]> = sources
            .iter()
            .enumerate()
            .map(|(class, source)| {
                let condition = parts(class, Part::Condition, source.condition, &mut faults);
                [condition, parts(class, Part::Spawn, source.spawn, &mut faults)]
            })
            .collect();
        let order = Order::of(&compiled, sources, &mut faults);
        if !faults.is_empty() {
            faults.sort_by_key(|fault| (fault.class, fault.part != Part::Condition));
            return Err(faults);
        }
        let is_late = |class: &ClassId| order.is_late.contains(*class);
        let (late, early): (Vec<_>, Vec<_>) = order.order.iter().copied().partition(is_late);
        let of_path = order.of_path;
        let classes = (0..).zip(sources.iter().zip(compiled)).map(|(id, (source, parts))| {
            let texts = [0, 1].map(|part| parts[part].as_ref().map(|read: &Read| read.text.clone()));
            let [condition, spawn] = parts;
            Class {
                name: source.name.to_owned(),
                operands: condition.as_ref().map_or_else(Vec::new, |read| read.operands.clone()),
                condition: condition.map(|read| read.compiled.program),
                spawn: spawn.map(|read| read.compiled.program),
                texts,
                depends_on_path: of_path.contains(id),
            }
        });
        Ok(Self { classes: classes.collect(), early: early.into(), late: late.into(), wanted })
    }

    /// Whether there is no class: nothing needs to be asked of any packet.
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }

    /// The classes, by their index.
    pub fn iter(&self) -> impl Iterator<Item = &Class> {
        self.classes.iter()
    }

    /// A class by its index.
    pub fn get(&self, class: ClassId) -> Option<&Class> {
        self.classes.get(usize::from(class))
    }

    /// The classes of a packet that do not depend on whether its client is known. What a subnet is chosen by.
    pub fn early_members(&self, packet: &Packet<'_>) -> ClassSet {
        let mut members = ClassSet::EMPTY;
        self.ask(&self.early, packet, &mut members);
        members
    }

    /// All classes of a packet: `members` are those of [`early_members`](Self::early_members) and those that the client's
    /// reservation gives it; `packet.known` is true by now where it is.
    pub fn late_members(&self, packet: &Packet<'_>, mut members: ClassSet) -> ClassSet {
        self.ask(&self.late, packet, &mut members);
        members
    }

    /// All classes of a packet whose client has no reservation that gives it any.
    pub fn members(&self, packet: &Packet<'_>) -> ClassSet {
        self.late_members(packet, self.early_members(packet))
    }

    fn ask(&self, order: &[ClassId], packet: &Packet<'_>, members: &mut ClassSet) {
        if order.is_empty() {
            return;
        }
        let found = Found::new(packet, &self.wanted);
        let mut machine = Machine::default();
        for id in order {
            let Some(class) = self.classes.get(usize::from(*id)) else { continue };
            let is_in = match (&class.condition, &class.spawn) {
                (None, None) => false,
                (Some(condition), _) if !machine.condition(condition, packet, &found, members) => false,
                (_, Some(spawn)) => !machine.bytes(spawn, packet, &found, members).is_empty(),
                (Some(_), None) => true,
            };
            if is_in {
                members.insert(*id);
            }
        }
    }

    /// What the condition of a class looks at in a packet, with its values.
    pub fn looked_at(&self, class: ClassId, packet: &Packet<'_>, members: &ClassSet) -> Vec<(String, Shown)> {
        let Some(class) = self.get(class) else { return Vec::new() };
        let found = Found::new(packet, &self.wanted);
        class.operands.iter().map(|operand| operand.show(packet, &found, members)).collect()
    }

    /// Calls `each` with the value of a packet in a class that is spawned.
    pub fn with_value<T>(
        &self,
        class: ClassId,
        packet: &Packet<'_>,
        members: &ClassSet,
        each: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        let spawn = self.classes.get(usize::from(class))?.spawn.as_ref()?;
        let found = Found::new(packet, &self.wanted);
        Some(each(Machine::default().bytes(spawn, packet, &found, members)))
    }
}

/// A part of a class that was read.
struct Read {
    compiled: Compiled,
    text: String,
    operands: Vec<Operand>,
}

/// The classes by name.
fn names<'a>(sources: &[ClassSource<'a>], faults: &mut Vec<ClassFault>) -> HashMap<&'a str, ClassId> {
    let mut names = HashMap::new();
    for (class, source) in sources.iter().enumerate() {
        let mut fault = |message: String| {
            let fault = Fault::new(0..source.name.len(), message);
            faults.push(ClassFault { class, part: Part::Name, fault });
        };
        let Ok(id) = ClassId::try_from(class) else {
            fault(format!("this is class {} of the configuration; there may be {MAX_CLASSES}", class + 1));
            break;
        };
        if source.name.is_empty() {
            fault("is empty; expected a name, as \"voip\"".to_owned());
        } else if names.contains_key(source.name) {
            fault(format!("class `{}` is there already; each has one [[class]]", source.name));
        } else {
            names.insert(source.name, id);
        }
    }
    names
}

fn find(name: &str, names: &HashMap<&str, ClassId>, sources: &[ClassSource<'_>]) -> Result<ClassId, String> {
    if let Some(class) = names.get(name) {
        return Ok(*class);
    }
    let known = || sources.iter().map(|source| source.name);
    Err(match (kea::expression(name), nearest(name, known(), '-')) {
        (Some(advice), _) => format!("no [[class]] has the name `{name}`; {advice}"),
        (None, Some(near)) => format!("no [[class]] has the name `{name}`; did you mean `{near}`?"),
        (None, None) => {
            format!("no [[class]] has the name `{name}`; there are {}", known().take(10).collect::<Vec<_>>().join(", "))
        }
    })
}

/// Finds an order in which each class comes after those that it depends on.
struct Order<'a> {
    compiled: &'a [[Option<Read>; 2]],
    sources: &'a [ClassSource<'a>],
    done: ClassSet,
    /// Classes on the way from the first one to the present one.
    path: Vec<ClassId>,
    order: Vec<ClassId>,
    /// Classes that cannot be decided before it is known whether the client is.
    is_late: ClassSet,
    /// Classes that ask how a message came.
    of_path: ClassSet,
}

impl<'a> Order<'a> {
    fn of(compiled: &'a [[Option<Read>; 2]], sources: &'a [ClassSource<'a>], faults: &mut Vec<ClassFault>) -> Self {
        let (path, order) = (Vec::new(), Vec::new());
        let [done, is_late, of_path] = [ClassSet::EMPTY; 3];
        let mut this = Self { compiled, sources, done, path, order, is_late, of_path };
        for class in 0..compiled.len().min(MAX_CLASSES) {
            this.visit(class as ClassId, faults);
        }
        this
    }

    fn visit(&mut self, class: ClassId, faults: &mut Vec<ClassFault>) {
        if self.done.contains(class) {
            return;
        }
        self.path.push(class);
        let compiled = &self.compiled[usize::from(class)];
        // Without a condition it is a reservation that puts clients into it.
        let source = &self.sources[usize::from(class)];
        let mut is_late = source.condition.is_none() && source.spawn.is_none();
        let mut of_path = false;
        for (part, compiled) in [Part::Condition, Part::Spawn].into_iter().zip(compiled) {
            let Some(Read { compiled, .. }) = compiled else { continue };
            is_late |= compiled.needs_known;
            of_path |= compiled.needs_path;
            for (member, span) in &compiled.members {
                if let Some(from) = self.path.iter().position(|on_path| on_path == member) {
                    faults.push(ClassFault { class: class.into(), part, fault: self.cycle(from, span) });
                    continue;
                }
                self.visit(*member, faults);
                is_late |= self.is_late.contains(*member);
                of_path |= self.of_path.contains(*member);
            }
        }
        if of_path {
            self.of_path.insert(class);
        }
        if is_late {
            self.is_late.insert(class);
        }
        self.path.pop();
        self.done.insert(class);
        self.order.push(class);
    }

    fn cycle(&self, from: usize, span: &Range<usize>) -> Fault {
        let name = |class: &ClassId| self.sources[usize::from(*class)].name;
        let mut names: Vec<&str> = self.path[from..].iter().map(name).collect();
        names.push(names[0]);
        let message =
            format!("classes depend on each other in a circle: {}; expected one of them without", names.join(" -> "));
        Fault::new(span.clone(), message)
    }
}
