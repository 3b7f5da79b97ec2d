//! profanity.

use integration::stage::PASSWORD;

use crate::scene::Scene;
use crate::terminal::Terminal;

#[test]
fn profanity() {
    let scene = Scene::set("profanity");
    let terminal = Terminal::open(scene.stage.folder(), "profanity");
    terminal.shows("Profanity");
    let connect = format!(
        "/connect romeo@montague.example server {} port 5222 tls trust",
        scene.host()
    );
    terminal.enter(&connect);
    terminal.shows("Enter password");
    terminal.enter(PASSWORD);
    terminal.shows("logged in successfully");
    terminal.enter("/msg juliet@capulet.example With love's light wings");
    terminal.shows("echo: With love's light wings");
}
