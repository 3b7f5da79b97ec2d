//! A person's browser, with Converse.js.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration::Home;
use integration::ordinary::Ordinary;
use serde_json::{Value, json};

/// `peers/browser.py`, which says what it can do.
pub(crate) struct Browser {
    person: Ordinary,
    folder: PathBuf,
}

impl Browser {
    /// Opens a browser that knows where the domains of a home are as if by the DNS: their web is on
    /// port 443, as browsers expect it.
    pub(crate) async fn open(home: &Home, page: Ipv4Addr, folder: &Path) -> Self {
        let (domain, web) = (home.domain(), home.web());
        let resolve = format!("MAP {domain}:443 {web},MAP {domain} {}", web.ip());
        let converse = integration::cache().join("npm/node_modules/converse.js/dist");
        std::fs::create_dir_all(folder).unwrap();
        let mut command = Command::new(integration::python());
        command
            .arg(integration::peer("browser.py"))
            .arg(origin(page))
            .args([&converse, &home.ca(), folder])
            .arg(resolve);
        let mut person = Ordinary::start("the browser", &mut command);
        person.until(&json!({"event": "ready"})).await;
        let folder = folder.to_owned();
        Self { person, folder }
    }

    pub(crate) async fn login(&mut self, jid: &str, password: &str) {
        self.does(json!({"do": "login", "jid": jid, "password": password}))
            .await;
    }

    /// Waits for an element that shows the text.
    pub(crate) async fn sees(&mut self, css: &str, text: &str) {
        self.does(json!({"do": "see", "css": css, "text": text}))
            .await;
    }

    /// Waits until so many elements show the text.
    pub(crate) async fn counts(&mut self, css: &str, text: &str, number: usize) {
        self.does(json!({"do": "count", "css": css, "text": text, "number": number}))
            .await;
    }

    pub(crate) async fn clicks(&mut self, css: &str, text: &str) {
        self.does(json!({"do": "click", "css": css, "text": text}))
            .await;
    }

    /// Says something in the open conversation.
    pub(crate) async fn says(&mut self, text: &str) {
        self.does(json!({"do": "say", "text": text})).await;
    }

    /// Opens a page.
    pub(crate) async fn goes(&mut self, url: &str) {
        self.does(json!({"do": "go", "url": url})).await;
    }

    /// Nothing in the browser's own log says this.
    pub(crate) async fn says_nothing_of(&mut self, what: &str) {
        self.does(json!({"do": "silent", "of": what})).await;
    }

    /// Opens the page anew.
    pub(crate) async fn reloads(&mut self) {
        self.does(json!({"do": "reload"})).await;
    }

    /// Is a browser that was never here.
    pub(crate) async fn forgets(&mut self) {
        self.does(json!({"do": "forget"})).await;
    }

    /// Saves what is shown, where `COMITY_PICTURES` names a folder for it.
    pub(crate) async fn picture(&mut self, name: &str) {
        let folder = std::env::var_os("COMITY_PICTURES").map(PathBuf::from);
        let file = folder.unwrap_or_else(|| self.folder.clone()).join(name);
        self.does(json!({"do": "picture", "file": file})).await;
        assert!(std::fs::metadata(file).unwrap().len() > 0);
    }

    async fn does(&mut self, order: Value) {
        self.person.order(&order).unwrap();
        let done = self.person.until(&json!({"event": "done"})).await;
        assert_eq!(done["do"], order["do"]);
    }
}

/// Of the page.
pub(crate) fn origin(page: Ipv4Addr) -> String {
    format!("http://{page}:8080")
}
