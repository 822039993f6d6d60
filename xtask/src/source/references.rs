//! The paths that a module's code names: in `use` items, types, expressions, patterns,
//! attributes and the arguments of macros.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ItemUse, Lit, Macro, Meta, Path};

use crate::source::imports;
use crate::source::tree::Module;

/// A path that is named somewhere.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The path's parts, for example `["super", "Answer"]`. A path that begins with `::`
    /// has an empty first part.
    pub path: Vec<String>,
    /// What the path can lead to.
    pub kind: ReferenceKind,
    /// The line, counted from 1.
    pub line: usize,
}

/// What a path can lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReferenceKind {
    /// An item.
    Item,
    /// A macro of `macro_rules!`. The name alone leads to the macro, from all of the
    /// crate.
    Macro,
}

/// All paths that `module` names. Child modules have paths of their own.
pub fn references(module: &Module) -> Vec<Reference> {
    let mut found = Found(Vec::new());

    for import in imports::imports(&module.items) {
        found.push(import.path, ReferenceKind::Item, import.line);
    }
    for item in &module.items {
        found.visit_item(item);
    }
    found.0
}

/// Collects references.
struct Found(Vec<Reference>);

impl Found {
    fn push(&mut self, path: Vec<String>, kind: ReferenceKind, line: usize) {
        self.0.push(Reference { path, kind, line });
    }

    /// Code that nobody has parsed: each run of names with `::` between is a path.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut run = Run::default();

        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if !run.is_open {
                        run.end(self);
                    }
                    run.add(&name);
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => run.colon(),
                TokenTree::Group(group) => {
                    run.end(self);
                    self.add_tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => run.end(self),
            }
        }
        run.end(self);
    }
}

/// A path in the making, among tokens that nobody has parsed.
#[derive(Default)]
struct Run {
    path: Vec<String>,
    line: usize,
    /// Colons since the last name.
    colons: usize,
    /// Whether the next name continues the path.
    is_open: bool,
}

impl Run {
    fn add(&mut self, name: &Ident) {
        if self.path.is_empty() {
            self.line = name.span().start().line;
        }
        self.path.push(name.to_string());
        (self.colons, self.is_open) = (0, false);
    }

    fn colon(&mut self) {
        self.colons += 1;
        self.is_open = self.colons == 2 && !self.path.is_empty();
    }

    fn end(&mut self, found: &mut Found) {
        let run = std::mem::take(self);
        if !run.path.is_empty() {
            found.push(run.path, ReferenceKind::Item, run.line);
        }
    }
}

impl<'ast> Visit<'ast> for Found {
    /// Imports are taken apart elsewhere.
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        for attribute in &item.attrs {
            self.visit_attribute(attribute);
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if let Some(first) = path.segments.first() {
            let line = first.ident.span().start().line;
            let before = path.leading_colon.as_ref().map(|_| String::new());
            let names = path.segments.iter().map(|part| part.ident.to_string());
            let names = before.into_iter().chain(names).collect();
            self.push(names, ReferenceKind::Item, line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        if let Some(name) = call.path.get_ident() {
            let line = name.span().start().line;
            self.push(vec![name.to_string()], ReferenceKind::Macro, line);
        }
        self.add_tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    /// Serde's attributes name functions and modules in strings.
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        if let Meta::List(list) = &attribute.meta
            && list.path.is_ident("serde")
        {
            for literal in strings(list.tokens.clone()) {
                let line = literal.span().start().line;
                let names = literal.value();
                let path = names.split("::").map(str::to_owned).collect();
                self.push(path, ReferenceKind::Item, line);
            }
        }
    }
}

/// The strings among an attribute's tokens.
fn strings(tokens: TokenStream) -> Vec<syn::LitStr> {
    let string = |token| match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => {
            strings(group.stream())
        }
        TokenTree::Literal(literal) => match Lit::new(literal) {
            Lit::Str(string) => vec![string],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    };
    tokens.into_iter().flat_map(string).collect()
}
