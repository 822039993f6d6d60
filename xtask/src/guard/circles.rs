//! Circles among the files of a crate.
//!
//! An edge leads from a file to each file that defines an item named in the first file;
//! [`crate::source::names`] says how a path is followed. The files of a circle can only be
//! understood together. The way out of a circle is a new file for the items that both
//! sides need.
//!
//! A `mod.rs` is a file like any other. For example, a `mod.rs` that defines a type for
//! its children and calls a function of a child makes a circle, because each file needs
//! the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Display};
use std::path::Path;

use crate::source::names::Names;
use crate::source::references::references;
use crate::source::tree::{Crate, FileId};

/// The circles of a crate, in words.
pub fn circles(of: &Crate) -> Vec<String> {
    let graph = Graph::new(of);
    graph.circles().iter().map(ToString::to_string).collect()
}

/// Which file names which items of which other file.
struct Graph<'a> {
    of: &'a Crate,
    edges: BTreeMap<FileId, BTreeMap<FileId, Items>>,
}

/// The items that make an edge: the name of each, and the first line that names the item.
type Items = BTreeMap<String, usize>;

/// A row of files in which each file names an item of the next file, and the last file
/// names an item of the first.
#[derive(Debug, PartialEq, Eq)]
struct Circle<'a>(Vec<Edge<'a>>);

/// A step of a circle.
#[derive(Debug, PartialEq, Eq)]
struct Edge<'a> {
    from: &'a Path,
    to: &'a Path,
    items: &'a Items,
}

impl<'a> Graph<'a> {
    /// Draws the edges among the files of `of`.
    fn new(of: &'a Crate) -> Graph<'a> {
        let names = Names::new(of);
        let mut graph = Graph {
            of,
            edges: BTreeMap::new(),
        };

        for (id, module) in of.modules() {
            for reference in references(module) {
                for (file, item) in names.definitions(id, &reference) {
                    graph.add(module.file, file, item, reference.line);
                }
            }
        }
        graph
    }

    /// For each edge that is part of a circle, the shortest circle through that edge;
    /// each circle once, the shortest first.
    fn circles(&self) -> Vec<Circle<'_>> {
        let edges = self.edges.iter();
        let edges = edges.flat_map(|(from, to)| to.keys().map(move |to| (*from, *to)));

        let mut seen = BTreeSet::new();
        let mut circles = Vec::new();
        for (from, to) in edges {
            let Some(way) = self.way(to, from) else {
                continue;
            };
            let files: BTreeSet<FileId> = way.iter().copied().collect();
            if seen.insert(files) {
                circles.push(self.circle(&way));
            }
        }
        circles.sort_by_key(|circle| circle.0.len());
        circles
    }

    fn add(&mut self, from: FileId, to: FileId, item: String, line: usize) {
        if from != to {
            let items = self.edges.entry(from).or_default().entry(to).or_default();
            let first = items.entry(item).or_insert(line);
            *first = line.min(*first);
        }
    }

    /// The shortest way along the edges, both ends included.
    fn way(&self, from: FileId, to: FileId) -> Option<Vec<FileId>> {
        let mut came_from = BTreeMap::from([(from, from)]);
        let mut queue = VecDeque::from([from]);

        while let Some(file) = queue.pop_front() {
            if file == to {
                let mut way = vec![to];
                while way[way.len() - 1] != from {
                    way.push(came_from[&way[way.len() - 1]]);
                }
                way.reverse();
                return Some(way);
            }
            for next in self.edges.get(&file).into_iter().flat_map(BTreeMap::keys) {
                if !came_from.contains_key(next) {
                    came_from.insert(*next, file);
                    queue.push_back(*next);
                }
            }
        }
        None
    }

    fn circle(&self, files: &[FileId]) -> Circle<'_> {
        let next = files.iter().cycle().skip(1);
        let edge = |(from, to): (&FileId, &FileId)| Edge {
            from: &self.of.file(*from).path,
            to: &self.of.file(*to).path,
            items: &self.edges[from][to],
        };
        Circle(files.iter().zip(next).map(edge).collect())
    }
}

impl Display for Circle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, edge) in self.0.iter().enumerate() {
            let bullet = if index == 0 { "circle:" } else { "       " };
            let items: Vec<_> = edge
                .items
                .iter()
                .map(|(name, line)| format!("{name} (line {line})"))
                .collect();
            let (from, to) = (edge.from.display(), edge.to.display());
            writeln!(f, "{bullet} {from} → {to}: {}", items.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_circle_is_told_with_the_names_that_make_it() {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("lib.rs", "mod a;\nmod b;\nmod c;\nuse a::A;\n"),
            ("a.rs", "use crate::b::B;\npub struct A;\n"),
            ("b.rs", "pub struct B;\nfn f(x: crate::c::C) {}\n"),
            (
                "c.rs",
                "pub struct C;\n#[cfg(test)]\nuse crate::b::B;\nuse super::a::A;\n",
            ),
        ] {
            fs::write(folder.path().join(path), text).unwrap();
        }

        let of = Crate::read(folder.path(), &folder.path().join("lib.rs")).unwrap();
        let told = "circle: b.rs → c.rs: C (line 2)\n\
                    \x20       c.rs → a.rs: A (line 4)\n\
                    \x20       a.rs → b.rs: B (line 1)\n";
        assert_eq!(circles(&of), [told]);
    }
}
