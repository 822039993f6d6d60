//! Which code is test code, and how a file loses that code.
//!
//! Test code is each item with `#[cfg(test)]` or `#[test]`; besides, each file that is
//! called `tests.rs` and each file in a folder `tests` or `conformance`.

use std::ops::RangeInclusive;
use std::path::Path;

use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, Block, ImplItem, Item, ItemImpl, ItemMod, ItemTrait, Meta, Stmt, TraitItem,
};

/// Whether a file holds nothing but test code. `path` is relative to the workspace's
/// folder, so that the names of the folders above do not count.
pub fn is_test_file(path: &Path) -> bool {
    let is_test_folder =
        |name: &std::ffi::OsStr| name == "tests" || name == "conformance";
    path.iter().any(is_test_folder) || path.ends_with("tests.rs")
}

/// Takes the test code out of `file`. Returns the lines on which that code stood,
/// counted from 1.
pub fn remove_test_code(file: &mut syn::File) -> Vec<RangeInclusive<usize>> {
    let mut removal = Removal::default();
    removal.remove(&mut file.items, item_attributes);
    removal.visit_file_mut(file);
    removal.lines
}

/// Walks through a file and takes test code out.
#[derive(Default)]
struct Removal {
    /// The lines of the code that was taken out.
    lines: Vec<RangeInclusive<usize>>,
}

impl Removal {
    fn remove<T: Spanned>(
        &mut self,
        nodes: &mut Vec<T>,
        attributes: fn(&T) -> &[Attribute],
    ) {
        nodes.retain(|node| {
            let is_for_tests = attributes(node).iter().any(is_for_tests);
            if is_for_tests {
                let span = node.span();
                self.lines.push(span.start().line..=span.end().line);
            }
            !is_for_tests
        });
    }
}

impl VisitMut for Removal {
    fn visit_item_mod_mut(&mut self, module: &mut ItemMod) {
        if let Some((_, items)) = &mut module.content {
            self.remove(items, item_attributes);
        }
        visit_mut::visit_item_mod_mut(self, module);
    }

    fn visit_item_impl_mut(&mut self, block: &mut ItemImpl) {
        self.remove(&mut block.items, |item| match item {
            ImplItem::Const(item) => &item.attrs,
            ImplItem::Fn(item) => &item.attrs,
            ImplItem::Type(item) => &item.attrs,
            ImplItem::Macro(item) => &item.attrs,
            _ => &[],
        });
        visit_mut::visit_item_impl_mut(self, block);
    }

    fn visit_item_trait_mut(&mut self, item: &mut ItemTrait) {
        self.remove(&mut item.items, |item| match item {
            TraitItem::Const(item) => &item.attrs,
            TraitItem::Fn(item) => &item.attrs,
            TraitItem::Type(item) => &item.attrs,
            TraitItem::Macro(item) => &item.attrs,
            _ => &[],
        });
        visit_mut::visit_item_trait_mut(self, item);
    }

    fn visit_block_mut(&mut self, block: &mut Block) {
        self.remove(&mut block.stmts, |statement| match statement {
            Stmt::Local(local) => &local.attrs,
            Stmt::Item(item) => item_attributes(item),
            Stmt::Macro(call) => &call.attrs,
            Stmt::Expr(..) => &[],
        });
        visit_mut::visit_block_mut(self, block);
    }
}

fn is_for_tests(attribute: &Attribute) -> bool {
    match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) => {
            list.path.is_ident("cfg") && list.tokens.to_string() == "test"
        }
        Meta::NameValue(_) => false,
    }
}

fn item_attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
