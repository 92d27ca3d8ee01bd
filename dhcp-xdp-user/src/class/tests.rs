//! The language as a whole: what is accepted, what is refused and in which words, and the machine against a plain reading of
//! the tree.

mod documentation;
mod language;
mod reference;

use super::{ClassFault, ClassSource, Classes};

/// Compiles with the registry's names of options.
fn compile_all(sources: &[ClassSource<'_>]) -> Result<Classes, Vec<ClassFault>> {
    Classes::compile(sources, &|name| crate::config::Definitions::default().option_named(name))
}
