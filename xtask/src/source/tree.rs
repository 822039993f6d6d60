//! A crate as a tree of modules, each with the items that stand in it.

use std::path::{Path, PathBuf};

use syn::{Attribute, Expr, Item, ItemMod, Lit, Meta};

use crate::error::XtaskError;
use crate::source::file::SourceFile;

/// A library or a program, without its test code.
pub struct Crate {
    /// The files, the root file first.
    pub files: Vec<SourceFile>,
    /// The modules, the root module first; a parent stands before its children.
    pub modules: Vec<Module>,
}

/// The place of a file in [`Crate::files`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub usize);

/// The place of a module in [`Crate::modules`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId(pub usize);

/// A module: a file of its own, or a block `mod name { … }` within one.
pub struct Module {
    /// The name; empty for the root module.
    pub name: String,
    /// `None` for the root module.
    pub parent: Option<ModuleId>,
    /// The file in which the module's items stand.
    pub file: FileId,
    /// The inner attributes of the file, for example the module's documentation. A block
    /// has no inner attributes here.
    pub attributes: Vec<Attribute>,
    /// The items, without child modules: each child is a module of the crate.
    pub items: Vec<Item>,
}

impl Crate {
    /// Reads the crate whose root file is `root`. The files' paths become relative to
    /// `folder`, which is the workspace's.
    ///
    /// # Errors
    /// A file of the crate cannot be read, or it is not Rust.
    pub fn read(folder: &Path, root: &Path) -> Result<Crate, XtaskError> {
        let mut read = Crate {
            files: Vec::new(),
            modules: Vec::new(),
        };
        let path = root.strip_prefix(folder).unwrap_or(root);
        let within = path.parent().unwrap_or(path);

        let position = Position {
            name: String::new(),
            parent: None,
        };
        read.add_file(folder, path, within, position)?;
        Ok(read)
    }

    /// The file with this id.
    pub fn file(&self, id: FileId) -> &SourceFile {
        &self.files[id.0]
    }

    /// The module with this id.
    pub fn module(&self, id: ModuleId) -> &Module {
        &self.modules[id.0]
    }

    /// The modules with their ids, parents first.
    pub fn modules(&self) -> impl Iterator<Item = (ModuleId, &Module)> {
        let ids = (0..).map(ModuleId);
        ids.zip(&self.modules)
    }

    /// Adds the module that stands in the file `path`; the files of its children lie in
    /// the folder `within`.
    fn add_file(
        &mut self,
        folder: &Path,
        path: &Path,
        within: &Path,
        position: Position,
    ) -> Result<(), XtaskError> {
        let (file, syntax) = SourceFile::read(folder, path)?;
        let id = FileId(self.files.len());
        self.files.push(file);

        self.add_module(folder, id, within, position, syntax.attrs, syntax.items)
    }

    fn add_module(
        &mut self,
        folder: &Path,
        file: FileId,
        within: &Path,
        position: Position,
        attributes: Vec<Attribute>,
        items: Vec<Item>,
    ) -> Result<(), XtaskError> {
        let id = ModuleId(self.modules.len());
        let Position { name, parent } = position;
        self.modules.push(Module {
            name,
            parent,
            file,
            attributes,
            items: Vec::new(),
        });

        for item in items {
            match item {
                Item::Mod(module) => self.add_child(folder, id, within, module)?,
                item => self.modules[id.0].items.push(item),
            }
        }
        Ok(())
    }

    fn add_child(
        &mut self,
        folder: &Path,
        parent: ModuleId,
        within: &Path,
        module: ItemMod,
    ) -> Result<(), XtaskError> {
        let name = module.ident.to_string();
        let own = within.join(&name);
        let file = self.module(parent).file;
        let position = Position {
            name,
            parent: Some(parent),
        };

        if let Some((_, items)) = module.content {
            return self.add_module(folder, file, &own, position, Vec::new(), items);
        }
        let path = if let Some(path) = path_attribute(&module.attrs) {
            let of_parent = &self.file(file).path;
            of_parent.parent().unwrap_or(of_parent).join(path)
        } else if folder.join(&own).join("mod.rs").is_file() {
            own.join("mod.rs")
        } else {
            own.with_extension("rs")
        };
        self.add_file(folder, &path, &own, position)
    }
}

/// Where a module stands in the tree.
struct Position {
    name: String,
    parent: Option<ModuleId>,
}

/// The file that `#[path = "…"]` names.
fn path_attribute(attributes: &[Attribute]) -> Option<PathBuf> {
    let value = attributes
        .iter()
        .find_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("path") => Some(&pair.value),
            _ => None,
        })?;
    match value {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(path) => Some(path.value().into()),
            _ => None,
        },
        _ => None,
    }
}
