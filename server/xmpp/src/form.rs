//! XEP-0004: Data Forms, and the hidden `FORM_TYPE` that says what a form is for (XEP-0068).

use crate::element::Element;
use crate::ns;

/// Fields of one form, and values of one field: what anybody's form here needs, many times over.
const MOST_FIELDS: usize = 128;
const MOST_VALUES: usize = 1024;

/// A form, of any of its types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    pub kind: FormKind,
    pub title: Option<String>,
    pub fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormKind {
    /// To be filled in.
    Form,
    Submit,
    Cancel,
    /// What was found, or is so.
    Result,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field {
    pub var: String,
    /// `text-single` and so on; a submitted form may leave it out.
    pub kind: Option<&'static str>,
    pub label: Option<&'static str>,
    pub values: Vec<String>,
    pub options: Vec<&'static str>,
}

/// Why an element is no form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("it is no <x xmlns='jabber:x:data'/> of a known type")]
    NoForm,
    #[error("a field has no 'var', or one that is there already")]
    Var,
    #[error("a form has at most {MOST_FIELDS} fields, a field at most {MOST_VALUES} values")]
    TooLarge,
}

impl Form {
    /// An empty form of this kind for this purpose.
    #[must_use]
    pub fn new(kind: FormKind, form_type: &str) -> Self {
        Self {
            kind,
            title: None,
            fields: vec![Field {
                var: "FORM_TYPE".to_owned(),
                kind: Some("hidden"),
                values: vec![form_type.to_owned()],
                ..Field::default()
            }],
        }
    }

    #[must_use]
    pub fn with(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }

    /// # Errors
    /// Why it is none.
    pub fn read(element: &Element) -> Result<Self, FormError> {
        if !element.is(ns::DATA, "x") {
            return Err(FormError::NoForm);
        }
        let kind = match element.attr("type") {
            Some("form") => FormKind::Form,
            Some("submit") => FormKind::Submit,
            Some("cancel") => FormKind::Cancel,
            Some("result") => FormKind::Result,
            _ => return Err(FormError::NoForm),
        };
        let mut fields: Vec<Field> = Vec::new();
        for field in element.children_named(ns::DATA, "field") {
            if field.attr("type") == Some("fixed") {
                continue;
            }
            let Some(var) = field.attr("var") else {
                return Err(FormError::Var);
            };
            if fields.iter().any(|known| known.var == var) {
                return Err(FormError::Var);
            }
            let values: Vec<String> = field
                .children_named(ns::DATA, "value")
                .map(Element::text)
                .take(MOST_VALUES + 1)
                .collect();
            if values.len() > MOST_VALUES || fields.len() == MOST_FIELDS {
                return Err(FormError::TooLarge);
            }
            fields.push(Field {
                var: var.to_owned(),
                values,
                ..Field::default()
            });
        }
        Ok(Self {
            kind,
            title: element.child(ns::DATA, "title").map(Element::text),
            fields,
        })
    }

    #[must_use]
    pub fn field(&self, var: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.var == var)
    }

    /// The first value of a field.
    #[must_use]
    pub fn value(&self, var: &str) -> Option<&str> {
        self.field(var)?.values.first().map(String::as_str)
    }

    /// What the form is for.
    #[must_use]
    pub fn form_type(&self) -> Option<&str> {
        self.value("FORM_TYPE")
    }

    #[must_use]
    pub fn to_element(&self) -> Element {
        let kind = match self.kind {
            FormKind::Form => "form",
            FormKind::Submit => "submit",
            FormKind::Cancel => "cancel",
            FormKind::Result => "result",
        };
        let mut form = Element::new(ns::DATA, "x").with_attr("type", kind);
        if let Some(title) = &self.title {
            form.push(Element::new(ns::DATA, "title").with_text(title.as_str()));
        }
        form.with_children(self.fields.iter().map(Field::to_element))
    }
}

impl Field {
    /// A field of one value.
    #[must_use]
    pub fn single(
        var: &str,
        kind: &'static str,
        label: &'static str,
        value: impl Into<String>,
    ) -> Self {
        Self {
            var: var.to_owned(),
            kind: Some(kind),
            label: Some(label),
            values: vec![value.into()],
            options: Vec::new(),
        }
    }

    #[must_use]
    pub fn with_options(mut self, options: &[&'static str]) -> Self {
        self.options = options.to_vec();
        self
    }

    fn to_element(&self) -> Element {
        let value = |text: &str| Element::new(ns::DATA, "value").with_text(text);
        Element::new(ns::DATA, "field")
            .with_attr("var", self.var.as_str())
            .with_attr_opt("type", self.kind)
            .with_attr_opt("label", self.label)
            .with_children(self.values.iter().map(|text| value(text)))
            .with_children(
                self.options
                    .iter()
                    .map(|option| Element::new(ns::DATA, "option").with_child(value(option))),
            )
    }
}

/// A value of type boolean (XEP-0004 §3.3).
#[must_use]
pub fn boolean(value: &str) -> Option<bool> {
    match value {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Header;
    use crate::xml;

    fn read(text: &str) -> Result<Form, FormError> {
        Form::read(&xml::parse(text.as_bytes(), &Header::of(ns::CLIENT)).unwrap())
    }

    #[test]
    fn a_submitted_form_is_read() {
        let form = read(
            "<x xmlns='jabber:x:data' type='submit'>\
             <field var='FORM_TYPE' type='hidden'><value>urn:x</value></field>\
             <field type='fixed'><value>words</value></field>\
             <field var='a'><value>1</value><value>2</value></field><field var='b'/></x>",
        )
        .unwrap();
        assert_eq!(form.form_type(), Some("urn:x"));
        assert_eq!(form.field("a").map(|a| a.values.len()), Some(2));
        assert_eq!(form.value("b"), None);
        assert_eq!(form.kind, FormKind::Submit);
    }

    #[test]
    fn what_is_none_is_refused() {
        for (text, why) in [
            ("<x xmlns='urn:x' type='submit'/>", FormError::NoForm),
            ("<x xmlns='jabber:x:data'/>", FormError::NoForm),
            (
                "<x xmlns='jabber:x:data' type='submit'><field/></x>",
                FormError::Var,
            ),
            (
                "<x xmlns='jabber:x:data' type='submit'><field var='a'/><field var='a'/></x>",
                FormError::Var,
            ),
        ] {
            assert_eq!(read(text), Err(why), "{text}");
        }
        let fields: String = (0..=MOST_FIELDS)
            .map(|n| format!("<field var='{n}'/>"))
            .collect();
        let large = format!("<x xmlns='jabber:x:data' type='submit'>{fields}</x>");
        assert_eq!(read(&large), Err(FormError::TooLarge));
    }

    #[test]
    fn what_was_written_is_read_again() {
        let form = Form::new(FormKind::Result, "urn:x")
            .with(Field::single("a", "list-single", "A", "1").with_options(&["1", "2"]));
        let again = Form::read(&form.to_element()).unwrap();
        assert_eq!(again.value("a"), Some("1"));
        assert_eq!(again.form_type(), Some("urn:x"));
    }
}
