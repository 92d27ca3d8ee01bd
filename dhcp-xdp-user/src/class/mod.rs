//! Classes: conditions over the packet, in a small language (docs/classes.md), that decide what a client gets.
//!
//! `config` compiles them when it loads ([`Classes::compile`]); `engine` asks for a packet's classes ([`Classes::members`]),
//! where the configuration has any. Text becomes words ([`lex`]), a tree ([`parse`], [`ast`]) and a program ([`compile`]),
//! which a small machine runs with no allocation ([`program`]).
//!
//! The parser is built with `winnow`, which TOML's parser brings along already: words first, then a tree over words, so that
//! each error has its place. `chumsky` recovers from errors by itself, and is a large dependency for one small grammar; here
//! what recovery needs is a dozen lines ([`parse`] passes over an operand that it cannot read).

mod ast;
mod classes;
mod compare;
mod compile;
mod expression;
mod fault;
mod field;
mod lex;
mod names;
mod operands;
mod packet;
mod parse;
mod program;
mod set;
#[cfg(test)]
mod tests;

pub use classes::{Class, ClassFault, ClassSource, Classes, Part};
pub use expression::{Expression, Scope, Shape};
pub use fault::Fault;
pub(crate) use names::relay_sub_option;
pub use operands::Shown;
pub use packet::Packet;
pub use parse::MAX_TEXT;
pub use program::SCRATCH;
pub use set::{ClassId, ClassSet, MAX_CLASSES};
