use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use comity_mls_credential::anchors::{TlsKey, TlsRoots};
use comity_mls_credential::certificate::issuer_id;
use comity_mls_credential::crl::Crl;
use comity_mls_credential::keys::{Algorithm, PrivateKey};
use comity_mls_credential::leaf::{Leaf, verify};
use comity_mls_credential::transparency::entry::batch_root;
use comity_mls_credential::{csr, signed};
use comity_mls_service::authority::{Options, Trust};
use comity_storage::Storage;
use comity_xmpp::error::StanzaError;

use super::*;
use crate::play::{Person, Play, START_S};

const PATIENCE: Duration = Duration::from_secs(10);
const DOMAIN: &str = "a.example";

/// A person with keys.
struct Client {
    person: Person,
    key: PrivateKey,
    device: Uuid,
}

impl Client {
    async fn of(play: &Play, jid: &str) -> Self {
        Self {
            person: play.bind(jid).await,
            key: PrivateKey::generate(Algorithm::P256).unwrap(),
            device: Uuid::nil(),
        }
    }

    async fn ask(&mut self, request: &Asked) -> Result<Answer, Refusal> {
        self.ask_at(DOMAIN, request).await
    }

    async fn ask_at(&mut self, domain: &str, request: &Asked) -> Result<Answer, Refusal> {
        self.put(domain, request).await;
        self.answer().await
    }

    async fn put(&mut self, domain: &str, request: &Asked) {
        let stanza = Stanza::new(Kind::Iq(request.iq_type()))
            .with_to(Jid::parse(domain).unwrap())
            .with_id("1")
            .with(&request.to_element());
        let xml = stanza.to_bytes(None);
        self.person.send(std::str::from_utf8(&xml).unwrap()).await;
    }

    async fn answer(&mut self) -> Result<Answer, Refusal> {
        let found = self.person.next(PATIENCE).await.expect("an answer");
        match found.kind {
            Kind::Iq(IqType::Result) => {
                Ok(Answer::from_element(&found.first_child().unwrap()).unwrap())
            }
            Kind::Iq(IqType::Error) => {
                let error = found.child(ns::CLIENT, "error").unwrap();
                let error = StanzaError::from_element(&error);
                Err(Refusal::from_stanza_error(&error).expect("a refusal of the extension"))
            }
            other => panic!("{other:?} instead of an answer"),
        }
    }

    async fn notice(&mut self) -> Notice {
        let found = self.person.next(PATIENCE).await.expect("a notice");
        assert_eq!(found.kind, Kind::Message(MessageType::Headline));
        assert_eq!(found.from.as_ref().unwrap().as_str(), DOMAIN);
        Notice::from_element(&found.first_child().unwrap()).unwrap()
    }

    async fn challenge(&mut self) -> Bytes {
        match self.ask(&Asked::Challenge).await.unwrap() {
            Answer::Challenge { nonce } => nonce,
            other => panic!("{other:?}"),
        }
    }

    fn sign(&self, label: &str, parts: &[&[u8]]) -> Bytes {
        let content = signed::content(label, parts);
        self.key.sign(&content).unwrap().into()
    }

    fn account(&self) -> String {
        self.person.jid.to_bare().to_string()
    }

    async fn register(&mut self) {
        let nonce = self.challenge().await;
        let device_key = self.key.public().unwrap().to_spki();
        let account = self.account();
        let signature = self.sign(signed::REGISTER, &[&nonce, account.as_bytes(), &device_key]);
        let request = Asked::Register {
            name: "phone".to_owned(),
            device_key: device_key.into(),
            signature,
        };
        match self.ask(&request).await.unwrap() {
            Answer::Registered { device } => self.device = device,
            other => panic!("{other:?}"),
        }
    }

    fn proof(&self, nonce: &[u8], bound: bool) -> Asked {
        let account = self.account();
        let parts: [&[u8]; 4] = [nonce, account.as_bytes(), self.device.as_bytes(), &[]];
        Asked::Prove {
            device: self.device,
            bound,
            signature: self.sign(signed::PROVE, &parts),
        }
    }

    async fn prove(&mut self) -> Result<Answer, Refusal> {
        let nonce = self.challenge().await;
        let proof = self.proof(&nonce, false);
        self.ask(&proof).await
    }

    async fn enrol(&mut self) -> Bytes {
        let key = PrivateKey::generate(Algorithm::P256).unwrap();
        let made = csr::create(&key.public().unwrap(), |content| key.sign(content)).unwrap();
        let account = self.account();
        let hash = issuer_id(&key.public().unwrap()).unwrap().0;
        let signature = self.sign(
            signed::ENROL,
            &[
                account.as_bytes(),
                self.device.as_bytes(),
                &batch_root(&[hash]),
            ],
        );
        let request = Asked::Enrol {
            device: self.device,
            requests: vec![made.into()],
            signature,
        };
        match self.ask(&request).await.unwrap() {
            Answer::Certificates(mut certificates) => certificates.remove(0),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_device_comes_to_be_and_is_certified() {
    let play = Play::of(&["alice@a.example"]).await;
    let mut phone = Client::of(&play, "alice@a.example/phone").await;
    let mut desk = Client::of(&play, "alice@a.example/desk").await;
    phone.register().await;
    match desk.notice().await {
        Notice::DeviceAdded(device) => assert_eq!(device.id, phone.device),
        other => panic!("{other:?}"),
    }
    assert_eq!(play.home.sessions.device(&phone.person.jid), None);
    assert_eq!(phone.prove().await, Ok(Answer::Proved));
    let proved = play.home.sessions.device(&phone.person.jid);
    assert_eq!(proved, Some(phone.device));

    let certificate = phone.enrol().await;
    let anchors = &play.home.services.trust.anchors;
    let leaf = verify(&certificate, anchors.as_ref(), Some(play.home.now_s())).unwrap();
    assert_eq!(leaf.device, Some(phone.device));
    assert_eq!(leaf.account.as_str(), "alice@a.example");

    match desk.ask(&Asked::Devices).await.unwrap() {
        Answer::Devices(devices) => assert_eq!(devices[0].id, phone.device),
        other => panic!("{other:?}"),
    }
    phone.person.gets_nothing().await;
}

#[tokio::test]
async fn a_challenge_is_good_for_one_answer() {
    let play = Play::of(&["alice@a.example"]).await;
    let mut phone = Client::of(&play, "alice@a.example/phone").await;
    phone.register().await;
    let nonce = phone.challenge().await;
    let bound = phone.proof(&nonce, true);
    let refused = phone.ask(&bound).await.unwrap_err();
    assert!(matches!(refused, Refusal::BadRequest { .. }), "{refused}");
    // The nonce is spent, though the proof would be right.
    let right = phone.proof(&nonce, false);
    let refused = phone.ask(&right).await.unwrap_err();
    assert!(matches!(refused, Refusal::BadRequest { .. }), "{refused}");
    // Another session's challenge is of no use.
    let mut desk = Client::of(&play, "alice@a.example/desk").await;
    (desk.device, desk.key) = (phone.device, phone.key.clone());
    let nonce = phone.challenge().await;
    desk.challenge().await;
    let proof = desk.proof(&nonce, false);
    assert_eq!(desk.ask(&proof).await, Err(Refusal::BadSignature));
    assert_eq!(play.home.sessions.device(&desk.person.jid), None);
}

#[tokio::test]
async fn a_revoked_device_loses_its_sessions_rights() {
    let play = Play::of(&["alice@a.example"]).await;
    let mut phone = Client::of(&play, "alice@a.example/phone").await;
    let mut desk = Client::of(&play, "alice@a.example/desk").await;
    phone.register().await;
    desk.notice().await;
    desk.register().await;
    phone.notice().await;
    desk.prove().await.unwrap();
    let account = phone.account();
    let signature = phone.sign(
        signed::REVOKE,
        &[
            account.as_bytes(),
            phone.device.as_bytes(),
            desk.device.as_bytes(),
        ],
    );
    let revoke = Asked::Revoke {
        device: phone.device,
        revoked: desk.device,
        signature,
    };
    assert_eq!(phone.ask(&revoke).await, Ok(Answer::Revoked));
    let told = desk.notice().await;
    assert_eq!(told, Notice::DeviceRevoked { id: desk.device });
    assert_eq!(play.home.sessions.device(&desk.person.jid), None);
    assert_eq!(desk.prove().await, Err(Refusal::UnknownDevice));
    // Again: nothing new, nobody told.
    assert_eq!(phone.ask(&revoke).await, Ok(Answer::Revoked));
    desk.person.gets_nothing().await;
}

#[tokio::test]
async fn only_ones_own_domain_gives_devices() {
    let play = Play::of(&["alice@a.example"]).await;
    let mut phone = Client::of(&play, "alice@a.example/phone").await;
    let refused = phone.ask_at("c.example", &Asked::Challenge).await;
    assert!(matches!(refused, Err(Refusal::NotAllowed { .. })));
    play.arrives(
        "<iq type='get' id='1' from='eve@b.example/x' to='a.example'>\
         <challenge xmlns='urn:xmpp:mls:0:as'/></iq>",
    )
    .await;
    play.sent_away(&[
        "<iq type='error' id='1' from='a.example' to='eve@b.example/x'><error type='auth'>\
         <forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><not-allowed xmlns='urn:xmpp:mls:0' \
         rule=\"devices and certificates are asked for at one's own domain\"/></error></iq>",
    ]);
    phone
        .person
        .send("<iq type='get' id='2' to='a.example'><riddle xmlns='urn:xmpp:mls:0:as'/></iq>")
        .await;
    let refused = phone.answer().await;
    assert!(matches!(refused, Err(Refusal::BadRequest { .. })));
}

/// The server of `b.example`, as far as its anchors go, and where its TLS certificate ends.
async fn authority_of_b(directory: &Path) -> (Authority, PathBuf) {
    std::fs::create_dir(directory).unwrap();
    let wall = std::time::UNIX_EPOCH + Duration::from_secs(START_S);
    let made = comity_net::tls::local::ensure(directory, &["b.example".to_owned()], wall).unwrap();
    let files = &made.certificates[0];
    let key = TlsKey::from_pem(
        &std::fs::read(&files.chain).unwrap(),
        &std::fs::read(&files.key).unwrap(),
    );
    let storage = Storage::open(":memory:".as_ref()).await.unwrap();
    let trust = Trust::new(TlsRoots::default());
    let options = Options::new("b.example", directory.join("ca"));
    let authority = Authority::open(options, storage, trust, key.unwrap(), START_S).await;
    (authority.unwrap(), made.authority)
}

/// Waits until b.example is asked for its anchors, and answers for it.
async fn b_shows(play: &Play, statement: Bytes) {
    let mut id = play.away.last_id();
    for _ in 0..1000 {
        if id.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        id = play.away.last_id();
    }
    let answer = Answer::Anchors { statement };
    let answer = Stanza::new(Kind::Iq(IqType::Result))
        .with_id(id.expect("a request to b.example"))
        .with_from(Jid::parse("b.example").unwrap())
        .with_to(Jid::parse(DOMAIN).unwrap())
        .with(&answer.to_element())
        .to_bytes(None);
    play.arrives(std::str::from_utf8(&answer).unwrap()).await;
}

#[tokio::test]
async fn anchors_of_ours_are_shown_to_anybody() {
    let play = Play::of(&["alice@a.example"]).await;
    let mut phone = Client::of(&play, "alice@a.example/phone").await;
    for domain in ["a.example", "c.example"] {
        let asked = Asked::Anchors {
            domain: domain.to_owned(),
        };
        let ours = play.home.services.authority(domain).unwrap().statement();
        let answer = phone.ask(&asked).await.unwrap();
        assert_eq!(answer, Answer::Anchors { statement: ours });
    }
    // Peers are shown ours, and nobody else's.
    play.arrives(
        "<iq type='get' id='1' from='b.example' to='a.example'>\
         <anchors xmlns='urn:xmpp:mls:0:as' domain='d.example'/></iq>",
    )
    .await;
    play.sent_away(&[
        "<iq type='error' id='1' from='a.example' to='b.example'><error type='auth'>\
         <forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><not-allowed xmlns='urn:xmpp:mls:0' \
         rule=\"a domain's anchors are asked for at the domain itself\"/></error></iq>",
    ]);
}

#[tokio::test]
async fn anchors_of_others_are_fetched_once_checked_and_pinned() {
    let directory = std::env::temp_dir().join(format!("comity-{}", random::id()));
    let (b, root) = authority_of_b(&directory).await;
    let play = Play::believing(&["alice@a.example"], vec![root]).await;
    let mut phone = Client::of(&play, "alice@a.example/phone").await;
    let mut desk = Client::of(&play, "alice@a.example/desk").await;
    let asked = anchors_of_b();
    phone.put(DOMAIN, &asked).await;
    desk.put(DOMAIN, &asked).await;
    b_shows(&play, b.statement()).await;
    let expected = Answer::Anchors {
        statement: b.statement(),
    };
    assert_eq!(phone.answer().await, Ok(expected.clone()));
    assert_eq!(desk.answer().await, Ok(expected.clone()));
    assert_eq!(play.away.count(), 1, "one request for both");

    let hub = b.hub(2.into()).unwrap();
    let anchors = &play.home.services.trust.anchors;
    verify(&hub.certificate, anchors.as_ref(), None).unwrap();
    let learn = |domain: &str, issuer| {
        let error = CredentialError::UnknownIssuer {
            domain: domain.to_owned(),
            issuer,
        };
        let home = play.home.clone();
        async move { learn(&home, DOMAIN, &error).await }
    };
    let issuer = Leaf::read(&hub.certificate).unwrap().issuer;
    learn("b.example", issuer).await.unwrap();
    learn("b.example", IssuerId([7; 32])).await.unwrap_err();
    learn("c.example", issuer).await.unwrap_err();

    // b is away: what it said last is good until it expires, and no longer.
    play.clock.forward(Duration::from_secs(86_400));
    phone.put(DOMAIN, &asked).await;
    b_is_away(&play, 2).await;
    assert_eq!(phone.answer().await, Ok(expected));
    play.clock.forward(Duration::from_secs(7 * 86_400));
    phone.put(DOMAIN, &asked).await;
    b_is_away(&play, 3).await;
    let refused = phone.answer().await;
    assert!(matches!(refused, Err(Refusal::UnreachableDomain { .. })));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn anchors_nobody_vouches_for_are_not_handed_on() {
    let directory = std::env::temp_dir().join(format!("comity-{}", random::id()));
    let (b, _) = authority_of_b(&directory).await;
    let play = Play::of(&["alice@a.example"]).await;
    let mut phone = Client::of(&play, "alice@a.example/phone").await;
    phone.put(DOMAIN, &anchors_of_b()).await;
    b_shows(&play, b.statement()).await;
    let refused = phone.answer().await;
    assert!(matches!(refused, Err(Refusal::BadCredential { .. })));
    // Asked again at once, the answer is the same, and b is left in peace.
    let again = phone.ask(&anchors_of_b()).await;
    assert_eq!(again, refused);
    assert_eq!(play.away.count(), 1);
    let pinned = play.home.storage.pinned_anchors("b.example").await;
    assert_eq!(pinned.unwrap(), None);
    std::fs::remove_dir_all(&directory).unwrap();
}

fn anchors_of_b() -> Asked {
    Asked::Anchors {
        domain: "b.example".to_owned(),
    }
}

/// Waits for the request of that number, which cannot be sent.
async fn b_is_away(play: &Play, number: usize) {
    for _ in 0..1000 {
        if play.away.count() >= number {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let id = play.away.last_id().unwrap();
    play.arrives(&format!(
        "<iq type='error' id='{id}' from='b.example' to='a.example'><error type='wait'>
         <remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
    ))
    .await;
}

fn revoke(by: &Client, device: Uuid) -> Asked {
    let account = by.account();
    let parts: [&[u8]; 3] = [account.as_bytes(), by.device.as_bytes(), device.as_bytes()];
    Asked::Revoke {
        device: by.device,
        revoked: device,
        signature: by.sign(signed::REVOKE, &parts),
    }
}

#[tokio::test]
async fn a_revocation_is_told_and_stands_in_the_list() {
    let play = Play::of(&["alice@a.example", "bob@a.example", "carol@c.example"]).await;
    let mut phone = Client::of(&play, "alice@a.example/phone").await;
    phone.register().await;
    phone.prove().await.unwrap();
    let mut desk = Client::of(&play, "alice@a.example/desk").await;
    desk.register().await;
    phone.notice().await;
    let certificate = desk.enrol().await;
    // A device of another domain of ours is told too; who is no device is not.
    let mut bob = Client::of(&play, "bob@a.example/phone").await;
    let end = revoke(&phone, desk.device);
    assert_eq!(phone.ask(&end).await, Ok(Answer::Revoked));
    let told = phone.notice().await;
    let Notice::CrlIssued {
        domain,
        issuer,
        number,
    } = told
    else {
        panic!("{told:?}");
    };
    assert_eq!(domain, DOMAIN);
    bob.person.gets_nothing().await;

    let asked = |offset| Asked::Crl {
        domain: DOMAIN.to_owned(),
        issuer,
        offset,
    };
    let answer = bob.ask(&asked(0)).await.unwrap();
    let Answer::Crl {
        number: found,
        size,
        offset: 0,
        part,
    } = answer
    else {
        panic!("{answer:?}");
    };
    assert_eq!((found, size as usize), (number, part.len()));
    let leaf = Leaf::read(&certificate).unwrap();
    let crl = Crl::read(&part).unwrap();
    assert_eq!(crl.revoked(&leaf.serial).unwrap().crl_number, number);
    let refused = bob.ask(&asked(size)).await;
    assert!(matches!(refused, Err(Refusal::BadRequest { .. })));
    let anchors = &play.home.services.trust.anchors;
    verify(&certificate, anchors.as_ref(), Some(START_S)).unwrap_err();
    // Peers are shown ours and nobody else's.
    let of = |domain: &str| {
        format!(
            "<iq type='get' id='1' from='b.example' to='a.example'><crl xmlns='urn:xmpp:mls:0:as' \
             domain='{domain}' issuer='{}' offset='0'/></iq>",
            "7".repeat(64)
        )
    };
    for domain in ["a.example", "d.example"] {
        play.arrives(&of(domain)).await;
    }
    assert_eq!(play.away.count(), 2);
}

/// Waits for the request of that number to b.example, and answers it.
async fn b_answers(play: &Play, number: usize, answer: &Answer) {
    for _ in 0..2000 {
        if play.away.count() >= number {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(play.away.count(), number);
    let answer = Stanza::new(Kind::Iq(IqType::Result))
        .with_id(play.away.last_id().unwrap())
        .with_from(Jid::parse("b.example").unwrap())
        .with_to(Jid::parse(DOMAIN).unwrap())
        .with(&answer.to_element())
        .to_bytes(None);
    play.arrives(std::str::from_utf8(&answer).unwrap()).await;
}

fn crl_answer(crl: &Crl) -> Answer {
    crate::services::revocations::answer(crl, 0).unwrap()
}

#[tokio::test]
async fn lists_of_others_are_fetched_kept_for_an_hour_and_renewed_when_they_say_so() {
    let directory = std::env::temp_dir().join(format!("comity-{}", random::id()));
    let (b, root) = authority_of_b(&directory).await;
    let play = Play::believing(&["alice@a.example"], vec![root]).await;
    let mut phone = Client::of(&play, "alice@a.example/phone").await;
    phone.register().await;
    phone.prove().await.unwrap();
    let issuer = Leaf::read(&b.hub(2.into()).unwrap().certificate)
        .unwrap()
        .issuer;
    let first = b.crl(&issuer).unwrap();
    let asked = Asked::Crl {
        domain: "b.example".to_owned(),
        issuer: issuer.0,
        offset: 0,
    };
    phone.put(DOMAIN, &asked).await;
    let statement = b.statement();
    b_answers(&play, 1, &Answer::Anchors { statement }).await;
    b_answers(&play, 2, &crl_answer(&first)).await;
    assert_eq!(phone.answer().await, Ok(crl_answer(&first)));
    // Within the hour b is left in peace.
    assert_eq!(phone.ask(&asked).await, Ok(crl_answer(&first)));
    assert_eq!(play.away.count(), 2);

    // b says that there is another, and it is fetched and told of.
    let entry = comity_mls_credential::crl::Entry {
        serial: vec![0x42; 16],
        at: START_S,
    };
    let ca = directory.join("ca");
    let second = newer(&ca, first.number() + 5, &[entry]);
    let told = |from: &str, number: u64| {
        let issuer: String = issuer
            .0
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect();
        format!(
            "<message type='headline' from='{from}' to='a.example'><crl-issued \
             xmlns='urn:xmpp:mls:0:as' domain='b.example' issuer='{issuer}' number='{number}'/>\
             </message>"
        )
    };
    // Known already, or not theirs to say.
    play.arrives(&told("b.example", first.number())).await;
    play.arrives(&told("d.example", second.number())).await;
    assert_eq!(play.away.count(), 2);
    play.arrives(&told("b.example", second.number())).await;
    b_answers(&play, 3, &crl_answer(&second)).await;
    let notice = phone.notice().await;
    let number = second.number();
    assert!(matches!(notice, Notice::CrlIssued { number: n, .. } if n == number));
    let trust = &play.home.services.trust;
    assert_eq!(
        trust.revoked(&issuer, &[0x42; 16]).unwrap().crl_number,
        number
    );

    // b is away: what it said last is given on.
    play.clock.forward(Duration::from_secs(2 * 86_400));
    phone.put(DOMAIN, &asked).await;
    b_is_away(&play, 4).await;
    b_is_away(&play, 5).await;
    assert_eq!(phone.answer().await, Ok(crl_answer(&second)));
    std::fs::remove_dir_all(&directory).unwrap();
}

/// A list as the CA in that directory signs it.
fn newer(ca: &Path, number: u64, entries: &[comity_mls_credential::crl::Entry]) -> Crl {
    use comity_mls_credential::{crl, issue::Issuer};
    let read = |name: &str| std::fs::read(ca.join(name)).unwrap();
    let pem = openssl::x509::X509::from_pem(&read("issuing-1.pem")).unwrap();
    let issuer = Issuer {
        key: PrivateKey::from_pem(&read("issuing-1.key")).unwrap(),
        certificate: pem.to_der().unwrap(),
    };
    let until = START_S + crl::LIFETIME_S;
    let der = crl::make(&issuer, number, START_S, until, entries).unwrap();
    Crl::read(&der).unwrap()
}
