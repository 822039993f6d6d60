//! Which file defines what a path names.
//!
//! A path is followed as the compiler follows one: through `crate`, `self` and `super`,
//! through child modules, through imports (a re-export is an import that others may use)
//! and through glob imports, until it reaches an item. What follows an item in a path
//! (an enum's variant, a type's function) belongs to that item. Paths that lead into
//! other crates, and names of local variables, lead nowhere.
//!
//! Names are not told apart by kind: where a module has a type and a function of one
//! name, the path leads to both.

use std::collections::{BTreeSet, HashMap};

use syn::{ForeignItem, Item};

use crate::source::imports::{Brings, imports};
use crate::source::references::{Reference, ReferenceKind};
use crate::source::tree::{Crate, FileId, ModuleId};

/// What each module of a crate has names for.
pub struct Names<'a> {
    of: &'a Crate,
    scopes: Vec<Scope>,
    /// The files that define a macro of this name.
    macros: HashMap<String, Vec<FileId>>,
}

/// The names of one module.
#[derive(Default)]
struct Scope {
    bindings: HashMap<String, Vec<Binding>>,
    /// The paths of the glob imports.
    globs: Vec<Vec<String>>,
}

/// What a name stands for.
enum Binding {
    /// An item that the module defines itself.
    Item,
    /// A child module.
    Module(ModuleId),
    /// Whatever is at this path, seen from the module.
    Import(Vec<String>),
}

/// What a path leads to.
#[derive(Default)]
struct Found {
    /// The items: the file of each, and its name.
    items: BTreeSet<(FileId, String)>,
    modules: BTreeSet<ModuleId>,
    /// The names on the way, because imports may lead in circles.
    seen: BTreeSet<(ModuleId, Vec<String>)>,
}

impl<'a> Names<'a> {
    /// Gathers the names of all modules of `of`.
    pub fn new(of: &'a Crate) -> Names<'a> {
        let mut names = Names {
            of,
            scopes: Vec::new(),
            macros: HashMap::new(),
        };

        for (id, module) in of.modules() {
            names.scopes.push(scope(&module.items));
            if let Some(parent) = module.parent {
                let bindings = &mut names.scopes[parent.0].bindings;
                let of_name = bindings.entry(module.name.clone()).or_default();
                of_name.push(Binding::Module(id));
            }
            for item in &module.items {
                if let Item::Macro(item) = item
                    && let Some(name) = &item.ident
                {
                    let files = names.macros.entry(name.to_string()).or_default();
                    files.push(module.file);
                }
            }
        }
        names
    }

    /// The files that define what `reference`, in `module`, names, each with the item's
    /// name. A path that leads to a module names no item.
    pub fn definitions(
        &self,
        module: ModuleId,
        reference: &Reference,
    ) -> BTreeSet<(FileId, String)> {
        let path = reference.path.as_slice();
        match (reference.kind, path) {
            (ReferenceKind::Macro, [name]) => {
                let files = self.macros.get(name).map_or(&[][..], Vec::as_slice);
                files
                    .iter()
                    .map(|file| (*file, format!("{name}!")))
                    .collect()
            }
            _ => {
                let mut found = Found::default();
                self.follow(module, path, &mut found);
                found.items
            }
        }
    }

    /// Follows `path`, seen from `module`.
    fn follow(&self, module: ModuleId, path: &[String], found: &mut Found) {
        let Some((first, rest)) = path.split_first() else {
            found.modules.insert(module);
            return;
        };
        match first.as_str() {
            "crate" => self.follow(ModuleId(0), rest, found),
            "self" => self.follow(module, rest, found),
            "super" => {
                if let Some(parent) = self.of.module(module).parent {
                    self.follow(parent, rest, found);
                }
            }
            _ => self.follow_name(module, path, found),
        }
    }

    /// Follows a path whose first part is a name of `module`.
    fn follow_name(&self, module: ModuleId, path: &[String], found: &mut Found) {
        let (name, rest) = (&path[0], &path[1..]);
        if !found.seen.insert((module, path.to_vec())) {
            return;
        }

        let scope = &self.scopes[module.0];
        if let Some(bindings) = scope.bindings.get(name) {
            for binding in bindings {
                match binding {
                    Binding::Item => {
                        let file = self.of.module(module).file;
                        found.items.insert((file, name.clone()));
                    }
                    Binding::Module(child) => self.follow(*child, rest, found),
                    Binding::Import(import) => {
                        self.follow(module, &[import, rest].concat(), found);
                    }
                }
            }
            return;
        }
        for glob in &scope.globs {
            let mut of_glob = Found {
                seen: found.seen.clone(),
                ..Found::default()
            };
            self.follow(module, glob, &mut of_glob);
            for target in of_glob.modules {
                self.follow(target, path, found);
            }
        }
    }
}

fn scope(items: &[Item]) -> Scope {
    let mut scope = Scope::default();
    for import in imports(items) {
        match import.brings {
            Brings::Name(name) => {
                let bindings = scope.bindings.entry(name).or_default();
                bindings.push(Binding::Import(import.path));
            }
            Brings::Everything => scope.globs.push(import.path),
            Brings::Nothing => {}
        }
    }

    for name in items.iter().flat_map(defined) {
        scope.bindings.entry(name).or_default().push(Binding::Item);
    }
    scope
}

/// The names that an item defines.
fn defined(item: &Item) -> Vec<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        Item::ForeignMod(block) => {
            let name = |item: &ForeignItem| match item {
                ForeignItem::Fn(item) => Some(item.sig.ident.to_string()),
                ForeignItem::Static(item) => Some(item.ident.to_string()),
                _ => None,
            };
            return block.items.iter().filter_map(name).collect();
        }
        _ => return Vec::new(),
    };
    vec![name.to_string()]
}
