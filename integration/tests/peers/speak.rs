//! What people of two domains do with each other, whoever runs the other domain.

use integration::ordinary::Ordinary;
use serde_json::json;

/// Messages both ways, and many of them in order.
pub(crate) async fn messages(romeo: &mut Ordinary, juliet: &mut Ordinary) {
    let (his, hers) = (romeo.jid().to_owned(), juliet.jid().to_owned());
    romeo.says(&hers, "Speak again, bright angel");
    juliet.hears(&his, "Speak again, bright angel").await;
    juliet.says(&his, "What man art thou?");
    romeo.hears(&hers, "What man art thou?").await;
}

/// Each sees the other (RFC 6121 §3, §4).
pub(crate) async fn presence(romeo: &mut Ordinary, juliet: &mut Ordinary) {
    let (his, hers) = (romeo.jid().to_owned(), juliet.jid().to_owned());
    let subscribe = json!({"do": "subscribe", "to": hers});
    romeo.order(&subscribe).unwrap();
    for (who, sees) in [(&mut *romeo, hers), (juliet, his)] {
        who.until(&json!({"event": "presence", "from": sees, "type": "available"}))
            .await;
    }
}

/// Somebody asks a server of another domain who it is.
pub(crate) async fn questions(who: &mut Ordinary, domain: &str, software: &str) {
    assert_eq!(who.asks("ping", domain).await, "pong");
    assert_eq!(who.asks("version", domain).await, software);
    let identities = who.asks("disco", domain).await;
    assert!(identities.contains("server/im"), "{identities}");
}

/// What `author` publishes for contacts (XEP-0163) reaches `reader`, whose client has said by its
/// capabilities (XEP-0115) that it wants it.
pub(crate) async fn notifications(author: &mut Ordinary, reader: &mut Ordinary) {
    author
        .order(&json!({"do": "nick", "nick": "Rosaline's cousin"}))
        .unwrap();
    let from = author.jid();
    let wanted = json!({"event": "nick", "from": from, "nick": "Rosaline's cousin"});
    reader.until(&wanted).await;
}
