//! The server's own pages: what people see at the domain, and what its operator sees.

use integration::Options;
use integration::stage::{PASSWORD, Stage};

use crate::browser::Browser;

#[tokio::test]
async fn people_and_operator_have_a_page_each() {
    let mut options = Options::new("montague.example", integration::address());
    options.extra = "[contacts]\nabuse = [\"mailto:abuse@montague.example\"]\n".to_owned();
    let stage = Stage::set_options("status", [options]);
    let home = &stage.homes[0];
    home.add_user("romeo", PASSWORD).unwrap();
    home.add_user("benvolio", PASSWORD).unwrap();
    let folder = stage.folder().join("browser");
    let mut person = Browser::open(home, integration::address(), &folder).await;
    person.goes("https://montague.example/").await;
    person.sees("h1", "montague.example").await;
    person.sees("a", "mailto:abuse@montague.example").await;
    person.picture("landing.png").await;

    person.goes("https://montague.example/status").await;
    person.sees("h1", "Status").await;
    person.sees("h2", "Check").await;
    // No DNS is here: that is what the check says, in the colour of a fault.
    person.sees("td .bad", "fault").await;
    person.sees("td", "montague.example").await;
    person.sees("td", "accounts").await;
    person.sees("p", "No streams, and nothing waits.").await;
    // The style sheet has come, and nothing was refused by the page's own policy.
    person.says_nothing_of("Content Security Policy").await;
    person.picture("status.png").await;
}
