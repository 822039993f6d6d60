//! The lengths of functions, and the blank lines in bodies.

use std::ops::RangeInclusive;

use proc_macro2::Span;
use syn::visit::{self, Visit};
use syn::{Block, ImplItemFn, Item, ItemFn, Signature, TraitItemFn};

use crate::source::file::SourceFile;

/// The functions of some files.
#[derive(Debug, Default, Clone)]
pub(crate) struct Functions {
    lengths: Vec<Length>,
    /// Lines between the braces of bodies.
    pub(crate) body_lines: usize,
    /// Of the lines of bodies, the blank ones.
    pub(crate) blank_lines: usize,
}

/// The length of a function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Length {
    pub(crate) lines: usize,
    /// `file:line: name`.
    pub(crate) place: String,
}

impl Functions {
    /// Adds the functions among the `items` of a file.
    pub(crate) fn add_items(&mut self, file: &SourceFile, items: &[Item]) {
        let lines = file.text.lines().collect();
        let mut found = Found {
            functions: self,
            file,
            lines,
            depth: 0,
        };
        for item in items {
            found.visit_item(item);
        }
    }

    /// Adds the functions of other files.
    pub(crate) fn add(&mut self, other: &Functions) {
        self.lengths.extend_from_slice(&other.lengths);
        self.body_lines += other.body_lines;
        self.blank_lines += other.blank_lines;
    }

    /// How many functions there are.
    pub(crate) fn count(&self) -> usize {
        self.lengths.len()
    }

    /// The longest functions, at most `count`, the longest first.
    pub(crate) fn longest(&self, count: usize) -> impl Iterator<Item = Length> {
        let mut lengths = self.lengths.clone();
        lengths.sort();
        lengths.into_iter().rev().take(count)
    }

    /// The function with the smallest length that at least `percent` percent of the
    /// functions do not exceed; `None` without any function.
    pub(crate) fn percentile(&self, percent: usize) -> Option<Length> {
        let mut lengths = self.lengths.clone();
        lengths.sort();
        let rank = (lengths.len() * percent).div_ceil(100).max(1);
        lengths.get(rank - 1).cloned()
    }
}

/// Collects the functions of a file.
struct Found<'a> {
    functions: &'a mut Functions,
    file: &'a SourceFile,
    lines: Vec<&'a str>,
    /// How many functions enclose the place that is visited.
    depth: usize,
}

impl Found<'_> {
    fn add(&mut self, signature: &Signature, body: &Block) {
        let first = first_line(signature);
        let (open, close) = (body.brace_token.span.open(), body.brace_token.span.close());
        let name = &signature.ident;

        self.functions.lengths.push(Length {
            lines: line(close) - first + 1,
            place: format!("{}:{first}: {name}", self.file.path.display()),
        });
        if self.depth == 0 {
            self.add_body(line(open) + 1..=line(close).saturating_sub(1));
        }
    }

    fn add_body(&mut self, numbers: RangeInclusive<usize>) {
        for number in numbers {
            if self.file.is_test_line[number - 1] {
                continue;
            }
            self.functions.body_lines += 1;
            if self.lines[number - 1].trim().is_empty() {
                self.functions.blank_lines += 1;
            }
        }
    }
}

impl<'ast> Visit<'ast> for Found<'_> {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.add(&item.sig, &item.block);
        self.depth += 1;
        visit::visit_item_fn(self, item);
        self.depth -= 1;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.add(&item.sig, &item.block);
        self.depth += 1;
        visit::visit_impl_item_fn(self, item);
        self.depth -= 1;
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(body) = &item.default {
            self.add(&item.sig, body);
        }
        self.depth += 1;
        visit::visit_trait_item_fn(self, item);
        self.depth -= 1;
    }
}

/// The line with `fn`.
fn first_line(signature: &Signature) -> usize {
    line(signature.fn_token.span)
}

fn line(span: Span) -> usize {
    span.start().line
}
