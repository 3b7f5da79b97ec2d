//! A payload as a small tree, parsed only when somebody needs it.

use std::fmt;

use bytes::BytesMut;

use crate::{ns, xml};

/// One element with resolved namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub ns: String,
    pub name: String,
    pub attributes: Vec<Attribute>,
    pub children: Vec<Node>,
}

/// A payload lacks something it must have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    #[error("<{element}> without the attribute '{attribute}'")]
    Attribute { element: String, attribute: String },
    #[error("<{element}> without a <{child} xmlns='{ns}'/>")]
    Child {
        element: String,
        ns: String,
        child: String,
    },
}

/// An attribute; `ns` is `None` for the ordinary, unprefixed kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    pub ns: Option<String>,
    pub name: String,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Element(Element),
    Text(String),
}

impl Element {
    #[must_use]
    pub fn new(ns: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            ns: ns.into(),
            name: name.into(),
            attributes: Vec::new(),
            children: Vec::new(),
        }
    }

    #[must_use]
    pub fn with_attr(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.set_attr(name, value);
        self
    }

    /// Adds the attribute only where there is a value.
    #[must_use]
    pub fn with_attr_opt(self, name: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.with_attr(name, value),
            None => self,
        }
    }

    #[must_use]
    pub fn with_child(mut self, child: Self) -> Self {
        self.children.push(Node::Element(child));
        self
    }

    #[must_use]
    pub fn with_children(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.children
            .extend(children.into_iter().map(Node::Element));
        self
    }

    #[must_use]
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.children.push(Node::Text(text.into()));
        self
    }

    pub fn set_attr(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let (name, value) = (name.into(), value.into());
        match self
            .attributes
            .iter_mut()
            .find(|a| a.ns.is_none() && a.name == name)
        {
            Some(found) => found.value = value,
            None => self.attributes.push(Attribute {
                ns: None,
                name,
                value,
            }),
        }
    }

    #[must_use]
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|a| a.ns.is_none() && a.name == name)
            .map(|a| a.value.as_str())
    }

    /// The attribute, or an error that names it.
    pub fn required_attr(&self, name: &str) -> Result<&str, Missing> {
        self.attr(name).ok_or_else(|| Missing::Attribute {
            element: self.name.clone(),
            attribute: name.to_owned(),
        })
    }

    /// Removes an attribute; returns its value.
    pub fn remove_attr(&mut self, name: &str) -> Option<String> {
        let at = self
            .attributes
            .iter()
            .position(|a| a.ns.is_none() && a.name == name)?;
        Some(self.attributes.remove(at).value)
    }

    /// `xml:lang` of this very element.
    #[must_use]
    pub fn lang(&self) -> Option<&str> {
        self.attributes
            .iter()
            .find(|a| a.name == "lang" && a.ns.as_deref() == Some(ns::XML))
            .map(|a| a.value.as_str())
    }

    pub fn set_lang(&mut self, lang: &str) {
        self.attributes
            .retain(|a| !(a.name == "lang" && a.ns.as_deref() == Some(ns::XML)));
        self.attributes.push(Attribute {
            ns: Some(ns::XML.to_owned()),
            name: "lang".to_owned(),
            value: lang.to_owned(),
        });
    }

    #[must_use]
    pub fn is(&self, ns: &str, name: &str) -> bool {
        self.name == name && self.ns == ns
    }

    pub fn elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The first child element of that name.
    #[must_use]
    pub fn child(&self, ns: &str, name: &str) -> Option<&Self> {
        self.elements().find(|e| e.is(ns, name))
    }

    /// All child elements of that name, in document order.
    pub fn children_named<'e>(
        &'e self,
        ns: &'e str,
        name: &'e str,
    ) -> impl Iterator<Item = &'e Self> {
        self.elements().filter(move |e| e.is(ns, name))
    }

    /// The first child element of that name, or an error that names it.
    pub fn required_child(&self, ns: &str, name: &str) -> Result<&Self, Missing> {
        self.child(ns, name).ok_or_else(|| Missing::Child {
            element: self.name.clone(),
            ns: ns.to_owned(),
            child: name.to_owned(),
        })
    }

    /// Adds a child element at the end.
    pub fn push(&mut self, child: Self) {
        self.children.push(Node::Element(child));
    }

    /// Removes the child elements for which `which` says so; returns how many.
    pub fn remove_children(&mut self, mut which: impl FnMut(&Self) -> bool) -> usize {
        let before = self.children.len();
        self.children
            .retain(|node| !matches!(node, Node::Element(element) if which(element)));
        before - self.children.len()
    }

    /// All direct text, joined.
    #[must_use]
    pub fn text(&self) -> String {
        self.children
            .iter()
            .filter_map(|node| match node {
                Node::Text(text) => Some(text.as_str()),
                Node::Element(_) => None,
            })
            .collect()
    }
}

/// The element as a document of its own.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = BytesMut::new();
        xml::write(self, "", &mut out);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Element {
        Element::new("urn:a", "a")
            .with_attr("x", "1")
            .with_child(Element::new("urn:b", "b").with_text("one"))
            .with_text("between")
            .with_child(Element::new("urn:b", "b").with_text("two"))
    }

    #[test]
    fn children_are_found_by_name() {
        let a = sample();
        let texts: Vec<_> = a.children_named("urn:b", "b").map(Element::text).collect();
        assert_eq!(texts, ["one", "two"]);
        assert_eq!(a.text(), "between");
        assert!(a.child("urn:a", "b").is_none());
        assert_eq!(
            a.required_child("urn:c", "c").map_err(|e| e.to_string()),
            Err("<a> without a <c xmlns='urn:c'/>".to_owned())
        );
    }

    #[test]
    fn attributes_come_and_go() {
        let mut a = sample();
        assert_eq!(a.required_attr("x"), Ok("1"));
        a.set_attr("x", "2");
        assert_eq!(a.remove_attr("x").as_deref(), Some("2"));
        assert_eq!(
            a.required_attr("x").map_err(|e| e.to_string()),
            Err("<a> without the attribute 'x'".to_owned())
        );
        a.set_lang("de");
        a.set_lang("en");
        assert_eq!(a.lang(), Some("en"));
        assert_eq!(a.attr("lang"), None);
    }

    #[test]
    fn children_are_removed() {
        let mut a = sample();
        assert_eq!(a.remove_children(|e| e.text() == "two"), 1);
        assert_eq!(
            a.to_string(),
            "<a xmlns='urn:a' x='1'><b xmlns='urn:b'>one</b>between</a>"
        );
    }
}
