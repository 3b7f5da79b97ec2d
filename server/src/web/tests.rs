use comity_net::http::{HeaderMap, Method, Request, Response, header};

use super::*;
use crate::play::Play;

async fn ask(play: &Play, method: Method, host: &str, path: &str) -> Response {
    ask_at(&pages(play), method, host, path).await
}

async fn ask_at(pages: &Pages, method: Method, host: &str, path: &str) -> Response {
    let request = Request {
        method,
        path: path.to_owned(),
        query: None,
        host: host.to_owned(),
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
        pieces: None,
        peer: ([127, 0, 0, 1], 1).into(),
        upgrade: None,
    };
    answer(pages, request).await
}

fn whole(response: &Response) -> Vec<u8> {
    response.body().whole().unwrap().to_vec()
}

fn pages(play: &Play) -> Pages {
    Pages {
        home: play.home.clone(),
        streams: Streams {
            clients: None,
            origins: Arc::new(["https://chat.example".to_owned()]),
            status: None,
        },
    }
}

fn field(response: &Response, name: header::HeaderName) -> &str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_page_is_found_by_path_and_method() {
    let play = Play::of(&[]).await;
    for (method, path, status) in [
        (Method::GET, "/.well-known/host-meta", 200),
        (Method::HEAD, "/.well-known/host-meta", 200),
        (Method::OPTIONS, "/.well-known/host-meta", 204),
        (Method::POST, "/.well-known/host-meta", 405),
        (Method::GET, "/.well-known/host-meta/", 404),
        (Method::GET, "/nothing", 404),
        (Method::GET, "/.well-known/../.well-known/host-meta", 404),
        (Method::OPTIONS, "/nowhere", 404),
    ] {
        let response = ask(&play, method.clone(), "a.example", path).await;
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
        if [204, 405].contains(&status) {
            assert_eq!(field(&response, header::ALLOW), "GET, HEAD, OPTIONS");
        }
    }
}

#[tokio::test]
async fn host_meta_is_what_xep_0156_says_for_everybody_to_read() {
    let play = Play::of(&[]).await;
    let xml = ask(&play, Method::GET, "c.example", "/.well-known/host-meta").await;
    assert_eq!(field(&xml, header::CONTENT_TYPE), "application/xrd+xml");
    assert_eq!(field(&xml, header::ACCESS_CONTROL_ALLOW_ORIGIN), "*");
    let text = String::from_utf8(whole(&xml)).unwrap();
    let start = "<?xml version='1.0' encoding='UTF-8'?>\n\
                 <XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'";
    assert!(text.starts_with(start), "{text}");
    let link = "<Link rel='urn:xmpp:alt-connections:websocket' href='wss://c.example:5443/xmpp-websocket'/>";
    assert!(text.contains(link), "{text}");
    let path = "/.well-known/host-meta.json";
    let json = ask(&play, Method::GET, "c.example", path).await;
    assert_eq!(field(&json, header::CONTENT_TYPE), "application/json");
    let json: serde_json::Value = serde_json::from_slice(&whole(&json)).unwrap();
    let link = |rel: &str| {
        let links = json["links"].as_array().unwrap();
        let found = links.iter().find(|link| link["rel"] == rel).unwrap();
        found["href"].clone()
    };
    let url = "wss://c.example:5443/xmpp-websocket";
    assert_eq!(link("urn:xmpp:alt-connections:websocket"), url, "{json}");
    let url = "https://c.example:5443/.well-known/xmpp-mls-anchors";
    assert_eq!(link("urn:xmpp:mls:0:as"), url, "{json}");
}

#[tokio::test]
async fn anchors_are_what_the_authority_says() {
    let play = Play::of(&[]).await;
    let path = "/.well-known/xmpp-mls-anchors";
    for domain in ["a.example", "c.example"] {
        let response = ask(&play, Method::GET, domain, path).await;
        assert_eq!(response.status(), StatusCode::OK);
        let own = play.home.services.authority(domain).unwrap();
        assert_eq!(whole(&response), own.statement().to_vec());
        assert_eq!(field(&response, header::ACCESS_CONTROL_ALLOW_ORIGIN), "*");
    }
}

#[tokio::test]
async fn a_visitor_without_a_domain_of_ours_sees_the_first() {
    let play = Play::of(&[]).await;
    for (host, expected) in [
        ("c.example", "c.example"),
        ("127.0.0.1", "a.example"),
        ("b.example", "a.example"),
        ("c.example/x", "a.example"),
        ("", "a.example"),
    ] {
        assert_eq!(domain(&play.home, host), expected, "{host}");
    }
}

#[test]
fn a_place_is_what_the_operator_says_or_the_port_we_listen_on() {
    let domains = ["bücher.example".to_owned()];
    let place = |url: &str, port| {
        let places = Places::new(url, port, &domains);
        places.of("bücher.example").map(str::to_owned)
    };
    let named = Some("https://xn--bcher-kva.example:5443".to_owned());
    assert_eq!(place("", Some(5443)), named);
    let named = Some("https://xn--bcher-kva.example".to_owned());
    assert_eq!(place("", Some(443)), named);
    assert_eq!(place("", None), None);
    let named = Some("https://chat.example/x".to_owned());
    assert_eq!(place("https://chat.example/x", Some(1)), named);
    assert_eq!(Places::new("", Some(443), &domains).of("b.example"), None);
}

/// A handshake, with one field of it changed or left out.
async fn shake_hands(play: &Play, change: (&str, &str)) -> Response {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "xmpp"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("origin", "https://chat.example"),
    ] {
        let value = if name == change.0 { change.1 } else { value };
        if !value.is_empty() {
            let name: header::HeaderName = name.parse().unwrap();
            headers.insert(name, value.parse().unwrap());
        }
    }
    let request = Request {
        method: Method::GET,
        path: "/xmpp-websocket".to_owned(),
        query: None,
        host: "a.example".to_owned(),
        headers,
        body: bytes::Bytes::new(),
        pieces: None,
        peer: ([127, 0, 0, 1], 1).into(),
        upgrade: None,
    };
    answer(&pages(play), request).await
}

#[tokio::test]
async fn a_handshake_that_is_none_is_refused() {
    let play = Play::of(&[]).await;
    for (name, value, status) in [
        ("upgrade", "", 426),
        ("connection", "keep-alive", 426),
        ("sec-websocket-version", "8", 426),
        ("sec-websocket-protocol", "", 400),
        ("sec-websocket-protocol", "mqtt", 400),
        ("sec-websocket-key", "", 400),
        ("sec-websocket-key", "short", 400),
        ("origin", "https://evil.example", 403),
        // All is well, but there are no streams on this stage.
        ("origin", "", 503),
        ("sec-websocket-protocol", "mqtt, xmpp", 503),
    ] {
        let response = shake_hands(&play, (name, value)).await;
        assert_eq!(response.status().as_u16(), status, "{name}: {value}");
    }
}

fn shown(response: &Response) -> String {
    String::from_utf8(whole(response)).unwrap()
}

#[tokio::test]
async fn people_find_out_what_this_is() {
    let offers = crate::offers::Offers {
        contacts: vec![("abuse", vec!["mailto:abuse@a.example".to_owned()])],
        ..crate::offers::Offers::default()
    };
    let play = Play::offering(&[], offers).await;
    let page = ask(&play, Method::GET, "c.example", "/").await;
    assert_eq!(page.status(), StatusCode::OK);
    let text = shown(&page);
    assert!(text.contains("<h1>c.example</h1>") && text.contains("name@c.example"));
    assert!(
        text.contains("abuse: <a href=\"mailto:abuse@a.example\""),
        "{text}"
    );
    let style = ask(&play, Method::GET, "c.example", "/style.css").await;
    assert_eq!(
        field(&style, header::CONTENT_TYPE),
        "text/css; charset=utf-8"
    );
    for response in [&page, &style] {
        let policy = field(response, header::CONTENT_SECURITY_POLICY);
        assert!(policy.starts_with("default-src 'none'; style-src 'self'"));
        assert_eq!(field(response, header::X_CONTENT_TYPE_OPTIONS), "nosniff");
    }
    // Nothing from elsewhere.
    assert!(!text.contains("src=") && !shown(&style).contains("url("));
}

#[tokio::test]
async fn the_operator_sees_what_is_wrong_and_nobody_else_does() {
    let play = Play::of(&["alice@a.example"]).await;
    let status = ask(&play, Method::GET, "a.example", "/status").await;
    assert_eq!(status.status(), StatusCode::NOT_FOUND);
    let fault = crate::check::Finding {
        check: "dns",
        about: "a.example".to_owned(),
        level: crate::check::Level::Fault,
        what: "there is no <record>".to_owned(),
        todo: Some("add it".to_owned()),
    };
    let with = |from: &str| {
        let mut conf = comity_conf::Conf::default();
        conf.web.status_from = vec![from.parse().unwrap()];
        let mut pages = pages(&play);
        pages.streams.status = Some(Status::after(conf, vec![fault.clone()]));
        pages
    };
    let status = ask_at(&with("192.0.2.1"), Method::GET, "a.example", "/status").await;
    assert_eq!(status.status(), StatusCode::FORBIDDEN);
    assert!(shown(&status).contains("web.status_from") && !shown(&status).contains("record"));
    let status = ask_at(&with("127.0.0.1"), Method::GET, "a.example", "/status").await;
    assert_eq!(status.status(), StatusCode::OK);
    let text = shown(&status);
    for part in [
        "<span class=\"bad\">faults: 1, advice: 0</span>",
        "there is no &lt;record&gt;",
        "<span class=\"todo\">add it</span>",
        "<tr><td>a.example</td><td>1</td><td>0</td></tr>",
        "No streams, and nothing waits.",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn whoever_watches_learns_whether_it_lives_and_takes_work() {
    let play = Play::of(&[]).await;
    let health = ask(&play, Method::GET, "a.example", "/health").await;
    assert_eq!(
        (health.status(), &*shown(&health)),
        (StatusCode::OK, "alive\n")
    );
    let ready = ask(&play, Method::GET, "a.example", "/ready").await;
    assert_eq!(
        (ready.status(), &*shown(&ready)),
        (StatusCode::OK, "ready\n")
    );
    play.home.storage.close().await;
    let ready = ask(&play, Method::GET, "a.example", "/ready").await;
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    let health = ask(&play, Method::GET, "a.example", "/health").await;
    assert_eq!(health.status(), StatusCode::OK);
}
