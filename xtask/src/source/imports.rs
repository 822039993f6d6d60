//! `use` items, one path at a time.

use syn::visit::{self, Visit};
use syn::{Item, ItemUse, UseTree};

/// One path of a `use` item.
#[derive(Debug, PartialEq)]
pub struct Import {
    /// The path, for example `["crate", "api", "route"]`. The path of a glob import ends
    /// with the module or enum before the star. A path that begins with
    /// `::` has an empty first part.
    pub path: Vec<String>,
    /// The names that the import brings into scope.
    pub brings: Brings,
    /// The line, counted from 1.
    pub line: usize,
}

/// The names that an import brings into its module.
#[derive(Debug, PartialEq)]
pub enum Brings {
    /// One name: the path's last part, or the name after `as`.
    Name(String),
    /// All names of a module or enum: `use path::*`.
    Everything,
    /// No name: `use path::Trait as _`.
    Nothing,
}

/// All imports among `items`, imports within functions included.
pub fn imports(items: &[Item]) -> Vec<Import> {
    let mut found = Found(Vec::new());
    for item in items {
        found.visit_item(item);
    }
    found.0
}

/// Collects imports.
struct Found(Vec<Import>);

impl<'ast> Visit<'ast> for Found {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let before = item.leading_colon.as_ref().map(|_| String::new());
        self.add(&item.tree, before.as_slice());
        visit::visit_item_use(self, item);
    }
}

impl Found {
    fn add(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: String| [before, &[name]].concat();

        match tree {
            UseTree::Path(tree) => self.add(&tree.tree, &with(tree.ident.to_string())),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add(tree, before);
                }
            }
            UseTree::Name(tree) => {
                let path = path_of(before, &tree.ident);
                let name = path.last().cloned().unwrap_or_default();
                self.push(path, Brings::Name(name), &tree.ident);
            }
            UseTree::Rename(tree) if tree.rename == "_" => {
                self.push(path_of(before, &tree.ident), Brings::Nothing, &tree.ident);
            }
            UseTree::Rename(tree) => {
                let name = Brings::Name(tree.rename.to_string());
                self.push(path_of(before, &tree.ident), name, &tree.ident);
            }
            UseTree::Glob(tree) => {
                let line = tree.star_token.spans[0].start().line;
                let path = before.to_vec();
                self.0.push(Import {
                    path,
                    brings: Brings::Everything,
                    line,
                });
            }
        }
    }

    fn push(&mut self, path: Vec<String>, brings: Brings, at: &proc_macro2::Ident) {
        let line = at.span().start().line;
        self.0.push(Import { path, brings, line });
    }
}

/// The path `before::last`; `self` as the last part means `before` itself.
fn path_of(before: &[String], last: &proc_macro2::Ident) -> Vec<String> {
    if last == "self" && !before.is_empty() {
        before.to_vec()
    } else {
        [before, &[last.to_string()]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_taken_apart_into_paths() {
        let text = "use a::{self, b::C as D, e::*, f::G as _}; use ::other::H;";
        let file = syn::parse_file(text).unwrap();

        let found: Vec<_> = imports(&file.items)
            .into_iter()
            .map(|import| (import.path.join("::"), import.brings))
            .collect();
        let expected = [
            ("a".to_owned(), Brings::Name("a".to_owned())),
            ("a::b::C".to_owned(), Brings::Name("D".to_owned())),
            ("a::e".to_owned(), Brings::Everything),
            ("a::f::G".to_owned(), Brings::Nothing),
            ("::other::H".to_owned(), Brings::Name("H".to_owned())),
        ];
        assert_eq!(found, expected);
    }
}
