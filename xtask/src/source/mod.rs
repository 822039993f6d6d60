//! The repository's Rust code, taken apart: packages, crates, modules and names.
//!
//! The model: a workspace has packages ([`package`]); a package has one crate for its
//! library and one for each of its programs; a crate is a tree of modules ([`tree`]),
//! and each module stands in a file ([`file`]). Test code is left out while the files are
//! read ([`test_code`]), so nothing that works on a [`tree::Crate`] has to think of tests.
//! [`names`] finds the file that defines the item at a path, and [`references`] collects
//! the paths that a file names.

pub mod file;
pub mod imports;
pub mod names;
pub mod package;
pub mod references;
pub mod test_code;
pub mod text;
pub mod tree;
