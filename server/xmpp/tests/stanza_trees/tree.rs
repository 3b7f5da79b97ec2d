//! A document as the independent parser sees it, in a form that compares.

use std::collections::BTreeMap;

use comity_xmpp::element::{self, Element};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) ns: String,
    pub(crate) name: String,
    /// (namespace or nothing, name) to value.
    pub(crate) attributes: BTreeMap<(String, String), String>,
    children: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Tree(Tree),
    Text(String),
}

impl Tree {
    /// By roxmltree.
    pub(crate) fn parse(document: &str) -> Self {
        match roxmltree::Document::parse(document) {
            Ok(document) => Self::from_node(document.root_element()),
            Err(error) => panic!("{error}: {document}"),
        }
    }

    fn from_node(node: roxmltree::Node<'_, '_>) -> Self {
        let mut tree = Self {
            ns: node.tag_name().namespace().unwrap_or_default().to_owned(),
            name: node.tag_name().name().to_owned(),
            attributes: node
                .attributes()
                .map(|a| {
                    let name = (
                        a.namespace().unwrap_or_default().to_owned(),
                        a.name().to_owned(),
                    );
                    (name, a.value().to_owned())
                })
                .collect(),
            children: Vec::new(),
        };
        for child in node.children() {
            match child.text() {
                Some(text) if child.is_text() => tree.push_text(text),
                _ => tree.push(Self::from_node(child)),
            }
        }
        tree
    }

    /// By the crate under test.
    pub(crate) fn of(element: &Element) -> Self {
        let mut tree = Self {
            ns: element.ns.clone(),
            name: element.name.clone(),
            attributes: element
                .attributes
                .iter()
                .map(|a| {
                    (
                        (a.ns.clone().unwrap_or_default(), a.name.clone()),
                        a.value.clone(),
                    )
                })
                .collect(),
            children: Vec::new(),
        };
        for child in &element.children {
            match child {
                element::Node::Element(child) => tree.push(Self::of(child)),
                element::Node::Text(text) => tree.push_text(text),
            }
        }
        tree
    }

    pub(crate) fn push(&mut self, tree: Self) {
        self.children.push(Node::Tree(tree));
    }

    fn push_text(&mut self, text: &str) {
        match self.children.last_mut() {
            Some(Node::Text(before)) => before.push_str(text),
            _ if text.is_empty() => {}
            _ => self.children.push(Node::Text(text.to_owned())),
        }
    }

    pub(crate) fn elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|node| match node {
            Node::Tree(tree) => Some(tree),
            Node::Text(_) => None,
        })
    }

    pub(crate) fn elements_mut(&mut self) -> impl Iterator<Item = &mut Self> {
        self.children.iter_mut().filter_map(|node| match node {
            Node::Tree(tree) => Some(tree),
            Node::Text(_) => None,
        })
    }

    /// Removes the n-th child elements for which `gone` holds; texts that then touch are one.
    pub(crate) fn remove_elements(&mut self, gone: &[bool]) {
        let mut gone = gone.iter();
        for node in std::mem::take(&mut self.children) {
            match node {
                Node::Text(text) => self.push_text(&text),
                Node::Tree(tree) => {
                    if !gone.next().copied().unwrap_or_default() {
                        self.push(tree);
                    }
                }
            }
        }
    }

    /// Puts this element, and those below that are joined to it by the same namespace, into
    /// another.
    pub(crate) fn rename(&mut self, from: &str, to: &str) {
        if self.ns == from {
            for child in self.elements_mut() {
                child.rename(from, to);
            }
            to.clone_into(&mut self.ns);
        }
    }
}
