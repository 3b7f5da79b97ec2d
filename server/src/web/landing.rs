//! `/`: what a person sees who has heard of the domain and opens it in a browser.

use comity_net::http::Response;

use super::html::{Page, link, text};
use super::{Route, Visit};

pub(super) const LANDING: Route =
    Route::get("/", |visit| Box::pin(std::future::ready(answer(&visit))));

fn answer(visit: &Visit) -> Response {
    let domain = &visit.domain;
    let mut page = Page::new(domain);
    page.paragraph(text(
        "This is a server for chat by XMPP. Who has an account here talks with people here and at \
         other domains, with a client of their choice. In rooms of the MLS extension nobody but \
         their members can read what is said, this server included.",
    ));
    page.heading("With an account");
    page.list([
        text(format!("Your address has the form name@{domain}.")),
        text("Any XMPP client finds the rest by itself: Conversations, Dino, Gajim, Monal, …"),
        text(format!(
            "Encrypted rooms, in a terminal: comity-chat --account name@{domain}"
        )),
    ]);
    page.heading("Without one");
    let open = visit.home.registrations.open();
    page.paragraph(text(if open {
        "Your client can make one here: look for \"register\" or \"create an account\"."
    } else {
        "Accounts are made by whoever runs this server; there is no form to fill in here."
    }));
    let offers = visit.home.offers.now();
    let contacts = &offers.contacts;
    if !contacts.is_empty() {
        page.heading("Whom to write to");
        let each = contacts
            .iter()
            .flat_map(|(kind, uris)| uris.iter().map(move |uri| (kind, uri)));
        page.list(each.map(|(kind, uri)| text(format!("{kind}: ")).then(link(uri))));
    }
    page.answer()
}
