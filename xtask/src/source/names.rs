//! Which file defines the item that a path names.
//!
//! A path is followed as by the compiler: through `crate`, `self` and `super`,
//! through child modules, through imports (a re-export is an import that others may use)
//! and through glob imports, until the path reaches an item. The rest of the path
//! (an enum's variant, a type's function) belongs to that item. A path may lead into
//! another crate, through a re-export, too. Some names that are not those of crates look
//! like crates here, for example `T` in `T::default()`: ask for a crate by its name.
//!
//! Names are not told apart by kind: where a module has a type and a function of one
//! name, the path leads to both.

use std::collections::{BTreeSet, HashMap};

use syn::Item;

use crate::source::imports::{Brings, imports};
use crate::source::references::{Reference, ReferenceKind};
use crate::source::tree::{Crate, FileId, ModuleId};

/// The names of all modules of a crate.
pub struct Names<'a> {
    of: &'a Crate,
    scopes: Vec<Scope>,
    /// The files that define a macro, by the macro's name.
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
    /// A type or trait of the module. More may follow in a path: a
    /// variant, or a function of the type.
    Type,
    /// A function, constant or static of the module.
    Value,
    /// A child module.
    Module(ModuleId),
    /// The items at this path, seen from the module.
    Import(Vec<String>),
}

/// What a path leads to.
#[derive(Default)]
struct Found {
    /// The items: each with the file that defines the item, and a name.
    items: BTreeSet<(FileId, String)>,
    modules: BTreeSet<ModuleId>,
    /// Names that the crate does not define: other crates, among others.
    foreign: BTreeSet<String>,
    /// The imports that are being followed. An import never leads through itself, so that
    /// `use table::table` finds the function and does not go on forever.
    open: BTreeSet<(ModuleId, Vec<String>)>,
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

    /// The files that define the items named by `reference` in `module`, each with the
    /// name of an item. A path to a module does not name an item.
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

    /// The other crates to which `reference` in `module` leads, and some other names.
    pub fn crates(&self, module: ModuleId, reference: &Reference) -> BTreeSet<String> {
        let mut found = Found::default();
        self.follow(module, &reference.path, &mut found);
        found.foreign
    }

    /// Follows `path`, seen from `module`.
    fn follow(&self, module: ModuleId, path: &[String], found: &mut Found) {
        let Some((first, rest)) = path.split_first() else {
            found.modules.insert(module);
            return;
        };
        match first.as_str() {
            "" => found.foreign.extend(rest.first().cloned()),
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
        let scope = &self.scopes[module.0];

        let Some(bindings) = scope.bindings.get(name) else {
            let globs = scope.globs.iter();
            let brings = globs.filter(|glob| self.follow_glob(module, glob, path, found));
            let is_found = brings.count() > 0;
            // A name alone is that of a variable.
            if !is_found && !rest.is_empty() {
                found.foreign.insert(name.clone());
            }
            return;
        };
        for binding in bindings {
            match binding {
                Binding::Value if !rest.is_empty() => {}
                Binding::Type | Binding::Value => {
                    let file = self.of.module(module).file;
                    found.items.insert((file, name.clone()));
                }
                Binding::Module(child) => self.follow(*child, rest, found),
                Binding::Import(import) => {
                    let entry = (module, import.clone());
                    if found.open.insert(entry.clone()) {
                        self.follow(module, &[import, rest].concat(), found);
                        found.open.remove(&entry);
                    } else if !rest.is_empty() {
                        // `use engine::{self, …}` names the crate that it brings.
                        found.foreign.insert(name.clone());
                    }
                }
            }
        }
    }

    /// Follows a path whose first part may be a name that the import `glob::*` brings.
    /// Says whether the import brings that name.
    fn follow_glob(
        &self,
        module: ModuleId,
        glob: &[String],
        path: &[String],
        found: &mut Found,
    ) -> bool {
        let entry = (module, glob.to_vec());
        if !found.open.insert(entry.clone()) {
            return false;
        }
        let mut at = Found {
            open: found.open.clone(),
            ..Found::default()
        };
        self.follow(module, glob, &mut at);

        let mut is_found = false;
        for target in at.modules {
            let scope = &self.scopes[target.0];
            if scope.bindings.contains_key(&path[0]) {
                self.follow(target, path, found);
                is_found = true;
            } else {
                for glob in &scope.globs {
                    is_found |= self.follow_glob(target, glob, path, found);
                }
            }
        }
        found.open.remove(&entry);
        is_found
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

    for (name, binding) in items.iter().filter_map(defined) {
        scope.bindings.entry(name).or_default().push(binding);
    }
    scope
}

/// The name that an item defines.
fn defined(item: &Item) -> Option<(String, Binding)> {
    let (name, binding) = match item {
        Item::Const(item) => (&item.ident, Binding::Value),
        Item::Enum(item) => (&item.ident, Binding::Type),
        Item::Fn(item) => (&item.sig.ident, Binding::Value),
        Item::Static(item) => (&item.ident, Binding::Value),
        Item::Struct(item) => (&item.ident, Binding::Type),
        Item::Trait(item) => (&item.ident, Binding::Type),
        Item::TraitAlias(item) => (&item.ident, Binding::Type),
        Item::Type(item) => (&item.ident, Binding::Type),
        Item::Union(item) => (&item.ident, Binding::Type),
        _ => return None,
    };
    Some((name.to_string(), binding))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::source::references::references;

    /// What the file `from` of a crate names, as `file: item`, and the other crates.
    fn named(files: &[(&str, &str)], from: &str) -> (Vec<String>, BTreeSet<String>) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let of = Crate::read(folder.path(), &folder.path().join("lib.rs")).unwrap();
        let names = Names::new(&of);

        let (mut items, mut crates) = (BTreeSet::new(), BTreeSet::new());
        let modules = of.modules();
        for (id, module) in
            modules.filter(|(_, module)| of.file(module.file).path == Path::new(from))
        {
            for reference in references(module) {
                crates.extend(names.crates(id, &reference));
                for (file, item) in names.definitions(id, &reference) {
                    let path = &of.file(file).path;
                    items.insert(format!("{}: {item}", path.display()));
                }
            }
        }
        (items.into_iter().collect(), crates)
    }

    #[test]
    fn a_path_leads_to_the_file_that_defines_the_item() {
        let files = |text| {
            [
                ("lib.rs", "mod a; mod b; macro_rules! m { () => {} }"),
                (
                    "a/mod.rs",
                    "mod c; pub use c::Deep; pub use c::c; pub struct Own;",
                ),
                (
                    "a/c.rs",
                    "pub struct Deep; pub fn c() {} pub enum Kind { A }",
                ),
                ("b.rs", text),
            ]
        };
        for (text, expected) in [
            ("use crate::a::Deep;", &["a/c.rs: Deep"][..]),
            (
                "use super::a::{self, Own}; fn f() { a::c() }",
                &["a/c.rs: c", "a/mod.rs: Own"],
            ),
            ("use crate::a::*; fn f(x: Deep) {}", &["a/c.rs: Deep"]),
            (
                "use crate::a as other; type X = Vec<other::Own>;",
                &["a/mod.rs: Own"],
            ),
            ("fn f() { println!(\"{}\", crate::a::c()) }", &["a/c.rs: c"]),
            (
                "#[serde(with = \"crate::a::Deep\")] struct X;",
                &["a/c.rs: Deep"],
            ),
            ("m!();", &["lib.rs: m!"]),
            ("use crate::a;", &[]),
            ("#[cfg(test)] use crate::a::Deep;", &[]),
            (
                "mod x { fn f() -> super::super::a::Own {} }",
                &["a/mod.rs: Own"],
            ),
            ("use crate::a::c::Kind::*; fn f() { A }", &["a/c.rs: Kind"]),
        ] {
            assert_eq!(named(&files(text), "b.rs").0, expected, "{text}");
        }
    }

    #[test]
    fn a_reexport_leads_into_another_crate() {
        let files = [
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "pub use engine::Value as Cell;"),
            (
                "b.rs",
                "use ::other::X; use own::{self, Y}; \
                 fn f(cell: crate::a::Cell) { own::g(); variable }",
            ),
        ];
        let (items, crates) = named(&files, "b.rs");
        assert!(items.is_empty(), "{items:?}");
        let expected = ["engine", "other", "own"].map(str::to_owned);
        assert_eq!(crates, BTreeSet::from(expected));
    }
}
