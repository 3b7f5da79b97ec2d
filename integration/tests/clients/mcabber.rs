//! mcabber, which takes PLAIN.

use integration::stage::PASSWORD;

use crate::scene::Scene;
use crate::terminal::Terminal;

#[test]
fn mcabber() {
    let scene = Scene::set("mcabber");
    let settings = scene.stage.folder().join("mcabberrc");
    let text = format!(
        "set jid = romeo@montague.example\nset password = {PASSWORD}\nset server = {}\n\
         set port = 5222\nset tls = 1\nset ssl_ignore_checks = 1\nset disable_random_resource = 1\n",
        scene.host()
    );
    std::fs::write(&settings, text).unwrap();
    let terminal = Terminal::open(
        scene.stage.folder(),
        &format!("mcabber -f {}", settings.display()),
    );
    // Online; the column is too narrow for the whole address.
    terminal.shows("{o} romeo@montague");
    terminal.enter("/say_to juliet@capulet.example O, wilt thou leave me so");
    // She is listed once her answer is here; an empty line opens the conversation.
    terminal.shows("juliet@capulet");
    terminal.enter("/roster search juliet");
    terminal.enter("");
    terminal.shows("echo: O, wilt thou leave me so");
}
