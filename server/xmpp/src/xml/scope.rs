//! Which prefix means which namespace at one place of a document (Namespaces in XML 1.0).

use std::borrow::Cow;

use crate::ns;
use crate::stream::Header;

/// One declaration in force.
#[derive(Clone, Debug)]
pub(super) struct Binding<'a> {
    /// Empty for the default namespace.
    pub(super) prefix: &'a str,
    /// Empty where `xmlns=''` undeclared the default.
    pub(super) ns: Cow<'a, str>,
    /// Of the element that declares it; 0 for the stream header, 1 for the top-level element.
    pub(super) depth: usize,
}

#[derive(Debug)]
pub(super) struct Scope<'a> {
    bindings: Vec<Binding<'a>>,
}

impl<'a> Scope<'a> {
    pub(super) fn new(header: &'a Header) -> Self {
        let mut bindings = Vec::with_capacity(8);
        let mut bind = |prefix, ns| {
            bindings.push(Binding {
                prefix,
                ns: Cow::Borrowed(ns),
                depth: 0,
            });
        };
        bind("", header.content_ns.as_str());
        bind("xml", ns::XML);
        for (prefix, ns) in &header.prefixes {
            bind(prefix, ns);
        }
        Self { bindings }
    }

    pub(super) fn len(&self) -> usize {
        self.bindings.len()
    }

    pub(super) fn push(&mut self, binding: Binding<'a>) {
        self.bindings.push(binding);
    }

    /// Forgets what elements at this depth and below declared.
    pub(super) fn leave(&mut self, depth: usize) {
        while self.bindings.last().is_some_and(|b| b.depth >= depth) {
            self.bindings.pop();
        }
    }

    pub(super) fn find(&self, prefix: &str) -> Option<usize> {
        self.bindings.iter().rposition(|b| b.prefix == prefix)
    }

    /// What the element at this depth, the innermost one, declared.
    pub(super) fn declared_at(&self, depth: usize) -> impl Iterator<Item = &Binding<'a>> {
        self.bindings
            .iter()
            .rev()
            .take_while(move |b| b.depth >= depth)
    }

    pub(super) fn at(&self, index: usize) -> &Binding<'a> {
        &self.bindings[index]
    }
}
