//! Engines that only one place may know.
//!
//! As long as no other file names an item of the engine, another engine can be put in its
//! place by a change of that place alone.

use std::collections::BTreeMap;

use crate::source::names::Names;
use crate::source::references::references;
use crate::source::text;
use crate::source::tree::Crate;

/// Whether a re-export of our own hides the engine behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Only a path that names the engine itself counts.
    Direct,
    /// A path that leads to the engine through a re-export counts, too.
    Reexports,
}

/// The places where the crate `of` names the crate `engine`: for each file the first
/// line that does.
pub fn uses(of: &Crate, engine: &str, follow: Follow) -> BTreeMap<String, usize> {
    let names = Names::new(of);
    let mut places = BTreeMap::new();

    for (id, module) in of.modules() {
        let path = of.file(module.file).path.display().to_string();
        for reference in references(module) {
            let starts = reference.path.iter().find(|part| !part.is_empty());
            let is_direct = starts.is_some_and(|part| part == engine);
            if (is_direct || follow == Follow::Reexports)
                && names.crates(id, &reference).contains(engine)
            {
                let first = places.entry(path.clone()).or_insert(reference.line);
                *first = reference.line.min(*first);
            }
        }
    }
    places
}

/// The places where the crate `of` has the keyword `async`: for each file the first line.
pub fn async_code(of: &Crate) -> BTreeMap<String, usize> {
    let first = |file| {
        let tokens = text::split(file).tokens;
        let found = tokens
            .into_iter()
            .find(|token| &file.text[token.place.clone()] == "async");
        Some((file.path.display().to_string(), found?.line))
    };
    of.files.iter().filter_map(first).collect()
}
