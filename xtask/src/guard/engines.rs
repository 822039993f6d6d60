//! Engines that are known to one place: another engine can take the place of each, as
//! long as no other file names what is its own.

use std::collections::BTreeMap;

use crate::source::names::Names;
use crate::source::references::references;
use crate::source::text;
use crate::source::tree::Crate;

/// Whether a file that names an engine's item through a re-export of our own names the
/// engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// A path has to name the engine itself: a wrapper that its owner hands out is fine.
    Direct,
    /// A path may lead to the engine in any way.
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
