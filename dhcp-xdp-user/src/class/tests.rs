//! The language as a whole: what is accepted, what is refused and in which words, and the machine against a plain reading of
//! the tree.

mod documentation;
mod language;
mod reference;
mod walk;

use super::{
    ClassFault, ClassSource, Classes, Packet, SCRATCH,
    ast::{Comparison, Item, Key, Kind, Node},
    names::{NUMBERS, RELAY_SUB_OPTIONS},
};
use crate::wire::options::Options;

/// Compiles with the registry's names of options.
fn compile_all(sources: &[ClassSource<'_>]) -> Result<Classes, Vec<ClassFault>> {
    Classes::compile(sources, &option_named)
}

fn option_named(name: &str) -> Result<u8, String> {
    crate::config::Definitions::default().option_named(name)
}
