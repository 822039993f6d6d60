//! Types without a doc comment.

use syn::visit::{self, Visit};
use syn::{Attribute, Ident, ItemEnum, ItemStruct, ItemTrait, ItemType, ItemUnion, Meta};

use crate::source::tree::{Crate, FileId};

/// A struct, enum, union, trait or type alias, public or private.
#[derive(Debug)]
pub struct TypeItem {
    /// The name of the type.
    pub name: String,
    /// The file that defines the type.
    pub file: FileId,
    /// The line of the name, counted from 1.
    pub line: usize,
    /// Whether a doc comment stands above the type.
    pub is_documented: bool,
}

/// All types of `of`, types within functions included.
pub fn types(of: &Crate) -> Vec<TypeItem> {
    let mut types = Vec::new();
    for module in &of.modules {
        let mut found = Found {
            file: module.file,
            types: &mut types,
        };
        for item in &module.items {
            found.visit_item(item);
        }
    }
    types
}

/// The types of `of` that have no doc comment: `file:line: name`.
pub fn places(of: &Crate) -> Vec<String> {
    let types = types(of).into_iter();
    types
        .filter(|item| !item.is_documented)
        .map(|item| item.place(of))
        .collect()
}

impl TypeItem {
    /// `file:line: name`.
    pub fn place(&self, of: &Crate) -> String {
        let path = of.file(self.file).path.display();
        format!("{path}:{}: {}", self.line, self.name)
    }
}

/// Collects types.
struct Found<'a> {
    file: FileId,
    types: &'a mut Vec<TypeItem>,
}

impl Found<'_> {
    fn add(&mut self, name: &Ident, attributes: &[Attribute]) {
        let is_doc = |attribute: &Attribute| match &attribute.meta {
            Meta::NameValue(pair) => pair.path.is_ident("doc"),
            _ => false,
        };
        self.types.push(TypeItem {
            name: name.to_string(),
            file: self.file,
            line: name.span().start().line,
            is_documented: attributes.iter().any(is_doc),
        });
    }
}

impl<'ast> Visit<'ast> for Found<'_> {
    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        self.add(&item.ident, &item.attrs);
    }

    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        self.add(&item.ident, &item.attrs);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_union(&mut self, item: &'ast ItemUnion) {
        self.add(&item.ident, &item.attrs);
    }

    fn visit_item_trait(&mut self, item: &'ast ItemTrait) {
        self.add(&item.ident, &item.attrs);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_type(&mut self, item: &'ast ItemType) {
        self.add(&item.ident, &item.attrs);
    }
}
