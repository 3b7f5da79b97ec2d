//! XEP-0059: Result Set Management. Which page of many results is wanted, and which it is.

use crate::element::Element;
use crate::ns;

/// What a requester says of the page it wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// No more than these; 0 asks for the count alone.
    pub max: Option<usize>,
    pub page: Page,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Page {
    #[default]
    First,
    /// Behind the result of this name.
    After(String),
    /// Before it.
    Before(String),
    Last,
}

/// Why a `<set/>` is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RsmError {
    #[error("<max/> is a number from 0 on")]
    Max,
    #[error("a page lies behind a result or before one, not both: use the query's own filters")]
    Both,
    #[error("<after/> names a result")]
    After,
    #[error("pages are not found by <index/> here")]
    Index,
}

impl Request {
    /// Reads the `<set/>` of a request; one without is a request for all.
    ///
    /// # Errors
    /// Why it is not understood.
    pub fn of(request: &Element) -> Result<Self, RsmError> {
        let Some(set) = request.child(ns::RSM, "set") else {
            return Ok(Self::default());
        };
        if set.child(ns::RSM, "index").is_some() {
            return Err(RsmError::Index);
        }
        let max = set.child(ns::RSM, "max").map(Element::text);
        let max = max
            .map(|max| max.trim().parse().map_err(|_| RsmError::Max))
            .transpose()?;
        let named = |name| set.child(ns::RSM, name).map(Element::text);
        let page = match (named("after"), named("before")) {
            (Some(_), Some(_)) => return Err(RsmError::Both),
            (Some(after), None) if after.is_empty() => return Err(RsmError::After),
            (Some(after), None) => Page::After(after),
            (None, Some(before)) if before.is_empty() => Page::Last,
            (None, Some(before)) => Page::Before(before),
            (None, None) => Page::First,
        };
        Ok(Self { max, page })
    }
}

/// The `<set/>` of an answer: its first and last result, how many there are in all, and how many
/// of them lie before the first; what is not known is left out.
#[must_use]
pub fn answer(ends: Option<(&str, &str)>, index: Option<u64>, count: Option<u64>) -> Element {
    let mut set = Element::new(ns::RSM, "set");
    if let Some((first, last)) = ends {
        let index = index.map(|index| index.to_string());
        set.push(
            Element::new(ns::RSM, "first")
                .with_attr_opt("index", index)
                .with_text(first),
        );
        set.push(Element::new(ns::RSM, "last").with_text(last));
    }
    if let Some(count) = count {
        set.push(Element::new(ns::RSM, "count").with_text(count.to_string()));
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Header;
    use crate::xml;

    fn read(set: &str) -> Result<Request, RsmError> {
        let text = format!("<q xmlns='urn:q'>{set}</q>");
        Request::of(&xml::parse(text.as_bytes(), &Header::of(ns::CLIENT)).unwrap())
    }

    #[test]
    fn pages() {
        let set =
            |inner: &str| format!("<set xmlns='http://jabber.org/protocol/rsm'>{inner}</set>");
        for (inner, max, page) in [
            ("", None, Page::First),
            ("<max>10</max>", Some(10), Page::First),
            ("<max>0</max>", Some(0), Page::First),
            ("<max>10</max><before/>", Some(10), Page::Last),
            ("<before>a</before>", None, Page::Before("a".to_owned())),
            ("<after>a</after>", None, Page::After("a".to_owned())),
        ] {
            assert_eq!(read(&set(inner)), Ok(Request { max, page }), "{inner}");
        }
        assert_eq!(read(""), Ok(Request::default()));
        for (inner, why) in [
            ("<max>-1</max>", RsmError::Max),
            ("<max>many</max>", RsmError::Max),
            ("<max/>", RsmError::Max),
            ("<after/>", RsmError::After),
            ("<after>a</after><before>b</before>", RsmError::Both),
            ("<max>1</max><index>3</index>", RsmError::Index),
        ] {
            assert_eq!(read(&set(inner)), Err(why), "{inner}");
        }
    }
}
