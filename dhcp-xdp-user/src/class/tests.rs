//! The language as a whole: what is accepted, what is refused and in which words, and the machine against a plain reading of
//! the tree.

mod documentation;
mod language;
mod reference;
