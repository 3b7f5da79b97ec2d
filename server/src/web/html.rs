//! Pages for people: plain HTML and one style sheet, nothing that runs, nothing from elsewhere.

use comity_net::http::{Response, StatusCode, body, header};

use super::{Later, Route, Visit};

pub(super) const STYLE: Route = Route::get("/style.css", style);

const SHEET: &str = include_str!("style.css");
/// The sheet beside, the empty icon, and nothing else: no script, no frame, no form.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

fn style(_: Visit) -> Later<Response> {
    Box::pin(std::future::ready(guarded(body(
        "text/css; charset=utf-8",
        SHEET,
    ))))
}

/// Something within a line: text that is escaped already.
pub(super) struct Inline(String);

pub(super) fn text(text: impl AsRef<str>) -> Inline {
    Inline(escaped(text.as_ref()))
}

/// A link, where the address is of a kind that may be followed; else the address alone.
pub(super) fn link(uri: &str) -> Inline {
    let known = ["https://", "http://", "mailto:", "xmpp:"];
    let shown = escaped(uri);
    match known.iter().any(|scheme| uri.starts_with(scheme)) {
        true => Inline(format!(
            "<a href=\"{shown}\" rel=\"noreferrer\">{shown}</a>"
        )),
        false => Inline(shown),
    }
}

/// Text that is marked as good, odd or bad.
pub(super) fn marked(mark: &'static str, shown: &str) -> Inline {
    Inline(format!("<span class=\"{mark}\">{}</span>", escaped(shown)))
}

impl Inline {
    pub(super) fn then(self, more: Self) -> Self {
        Self(self.0 + &more.0)
    }
}

pub(super) struct Page {
    title: String,
    content: String,
}

impl Page {
    pub(super) fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            content: String::new(),
        }
    }

    pub(super) fn heading(&mut self, heading: &str) {
        self.line(&format!("<h2>{}</h2>", escaped(heading)));
    }

    pub(super) fn paragraph(&mut self, what: Inline) {
        self.line(&format!("<p>{}</p>", what.0));
    }

    pub(super) fn list(&mut self, items: impl IntoIterator<Item = Inline>) {
        self.line("<ul>");
        for Inline(item) in items {
            self.line(&format!("<li>{item}</li>"));
        }
        self.line("</ul>");
    }

    pub(super) fn table<const COLUMNS: usize>(
        &mut self,
        heading: Option<[&str; COLUMNS]>,
        rows: impl IntoIterator<Item = [Inline; COLUMNS]>,
    ) {
        self.line("<table>");
        if let Some(heading) = heading {
            let cells = heading.map(|cell| format!("<th>{}</th>", escaped(cell)));
            self.line(&format!("<tr>{}</tr>", cells.concat()));
        }
        for row in rows {
            let cells = row.map(|Inline(cell)| format!("<td>{cell}</td>"));
            self.line(&format!("<tr>{}</tr>", cells.concat()));
        }
        self.line("</table>");
    }

    pub(super) fn answer(self) -> Response {
        let title = escaped(&self.title);
        let page = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n\
             <link rel=\"icon\" href=\"data:,\">\n</head>\n\
             <body>\n<h1>{title}</h1>\n{}</body>\n</html>\n",
            self.content
        );
        guarded(body("text/html; charset=utf-8", page))
    }

    fn line(&mut self, line: &str) {
        self.content.push_str(line);
        self.content.push('\n');
    }
}

/// A refusal that a person reads.
pub(super) fn refused(status: StatusCode, title: &str, why: &str) -> Response {
    let mut page = Page::new(title);
    page.paragraph(text(why));
    let mut response = page.answer();
    *response.status_mut() = status;
    response
}

fn guarded(mut response: Response) -> Response {
    let fields = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    for (name, value) in fields {
        let value = header::HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    response
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_becomes_markup() {
        let mut page = Page::new("<a> & 'b'");
        page.heading("<script>");
        page.paragraph(text("1 < 2").then(marked("bad", "\"<\"")));
        page.list([link("javascript:alert(1)"), link("mailto:\"><b>")]);
        page.table(Some(["<th>"]), [[text("<td>")]]);
        let response = page.answer();
        let text = String::from_utf8(response.body().whole().unwrap().to_vec()).unwrap();
        assert!(
            text.contains("<title>&lt;a&gt; &amp; &#39;b&#39;</title>"),
            "{text}"
        );
        assert!(
            !text.contains("<script>") && !text.contains("<b>"),
            "{text}"
        );
        assert!(text.contains("<li>javascript:alert(1)</li>"), "{text}");
        assert!(
            text.contains("href=\"mailto:&quot;&gt;&lt;b&gt;\""),
            "{text}"
        );
        assert!(text.contains("<th>&lt;th&gt;</th>") && text.contains("<td>&lt;td&gt;</td>"));
        let policy = response.headers().get(header::CONTENT_SECURITY_POLICY);
        assert!(
            policy
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("default-src 'none'")
        );
    }
}
